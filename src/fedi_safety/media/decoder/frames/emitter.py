"""What a child shows of a medium: frames as they come, nearly equal ones once. Runs in the child only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from PIL import Image

from fedi_safety.core.enums import Detail, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.places import Part, Place
from fedi_safety.core.frames.shown import VIEW_BITS, Frame
from fedi_safety.media.decoder.frames.screens import screen_box
from fedi_safety.media.decoder.frames.similarity import SMALL, alike, repeats
from fedi_safety.media.decoder.frames.still import OnWhiteAndBlack, Source, Still
from fedi_safety.media.decoder.frames.tiles import Box
from fedi_safety.media.decoder.frames.views import (
    BARE,
    ON_SCREEN,
    OPAQUE,
    UNFRAMED,
    Views,
    border_box,
    frame_box,
    tile_at,
)

Emit = Callable[[Frame, int, int], None]

_COMPARED_SIDE = 512
_ENOUGH = 256  # pixels a side: a hash of more is the same within a bit or two
_CELLS = (32, 32)
_NEARLY = 10  # of 255: what a cell of the grid may differ by in any channel


@dataclass(slots=True)
class Bounds:
    """What decoding one medium may cost, and the chance by which moments are drawn."""

    max_pixels: int
    frames: int
    until: float  # on the monotonic clock: no new frame is begun after it
    random: Random
    detail: Detail = Detail.COARSE
    tiles: int = 0  # further views of stills, besides the whole

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.until


@dataclass(frozen=True, slots=True)
class DecodeSummary:
    """How a medium went: how many frames there are in it, whether there is more to look at, and what went wrong.

    `more` says that there are further moments of what moves, `closer` that stills can be shown in further views.
    """

    total: int = 1
    more: bool = False
    problem: Unscannable | None = None
    closer: bool = False


class Emitter:
    """Takes pictures of one medium and hands on those that show something new.

    Two pictures are nearly equal if no cell of a 32x32 grid differs by more than 4 % in any channel: something that
    covers a thousandth of the picture, or that flickers, makes a new one. Nearly equal pictures are one and the same:
    what further views of either show belongs to it. A view is left out only where another view of its own picture
    shows the same, since what a picture shows together is judged together.
    """

    def __init__(self, emit: Emit, bounds: Bounds | None = None, compare: Emit | None = None) -> None:
        """Hand frames to `emit`, with the true size of the picture. Without `bounds` pictures are shown as a whole.

        `compare` is handed, at a first pass, what is not judged but compared with lists of known images.
        """
        self._emit = emit
        self._compare = None if bounds is None or bounds.detail is not Detail.COARSE else compare
        self._bounds = bounds
        self._tiles = 0 if bounds is None else bounds.tiles
        self._further = 0  # views of stills, whether there was time for them or not
        self._closer = False
        self._late = False
        self._seen = _Seen()
        self.base = 0  # added to every index: what comes before in a file that is several things
        self.pictures: int | None = None  # the base of what is shown once more in another way: the same pictures
        self.part: Part | None = None  # of every frame of what is a further medium in a file
        self.shown = 0
        self.lost = False  # whether there were more moments than indexes

    def show(
        self,
        index: int,
        place: Place,
        still: Still,
        *,
        on_black_index: int,
        among: int = 1,
        picture: int | None = None,
    ) -> None:
        """Hand on a picture, and its version on black, each unless it was seen before; then its parts.

        `among` is for frames of what moves: so many share the budget for tiles, and none of them is turned. `picture`
        is the index of the picture that this is another view of, if it is one.
        """
        indexes = index, on_black_index
        shows = (self.base if self.pictures is None else self.pictures) + (index if picture is None else picture)
        shows = self._both(indexes, 0, place, (still.image, still.on_black), still, shows)
        if self._bounds is None or still.source is None:
            return
        if among == 1 and picture is None and self._compare is not None:
            self._compare_further(index, place, still)
        budget = min(self._tiles, self._bounds.tiles // among)
        closely, turning = self._bounds.detail is Detail.FINE, among == 1
        if not self._bounds.tiles:
            self._closer = self._closer or turning
            return
        if not (turning or budget):
            return
        views = Views(still, place, budget, self._bounds.random, closely, turning)
        taken = 0
        for view in views:
            if self._bounds.late:
                self._late = True
                break
            self._both(indexes, view.number, view.place, view.pair, still, shows)
            taken += 1
        self._tiles -= taken
        self._further += views.of
        self._closer = self._closer or turning or views.of > taken

    @property
    def comparing(self) -> bool:
        """Whether moments are wanted by which the medium, if it moves, is found again."""
        return self._compare is not None and self.part is None

    def compare(self, index: int, place: Place, still: Still) -> None:
        """Hand on a picture that is only compared with lists of known images, whether it was shown or not.

        There may be many of these, and a hash is of no more than this size.
        """
        image = still.image
        if max(image.size) > _COMPARED_SIDE:
            factor = _COMPARED_SIDE / max(image.size)
            size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
            image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        self._compared(index, 0, place, image, still)

    def _compare_further(self, index: int, place: Place, still: Still) -> None:
        """Hand on what else of a still is compared: within its borders, the picture on a screen, its hidden colours."""
        size = still.width, still.height
        bare = border_box(still.image, *size)
        unframed = None if bare is None else frame_box(still.image, *size)
        screen = screen_box(still.image, *size)
        for view, box in ((BARE, bare), (UNFRAMED, unframed if unframed != bare else None), (ON_SCREEN, screen)):
            if box is not None and still.source is not None:
                how = replace(place, tile=tile_at(1, 1, box)) if view == ON_SCREEN else replace(place, bare=True)
                self._compared(index, view, how, _cut(still.image, still.source, box), still)
        if still.opaque is not None:
            self._compared(index, OPAQUE, replace(place, opaque=True), still.opaque, still)

    def _compared(self, index: int, view: int, place: Place, image: Image.Image, still: Still) -> None:
        if self.part is not None:
            place = replace(place, part=self.part)
        moment = self.base + index
        if self._compare is not None and not moment >> VIEW_BITS:
            frame = Frame(moment + (view << VIEW_BITS), image.width, image.height, image.tobytes(), place)
            self._compare(frame, still.width, still.height)

    def completed(self, shown: DecodeSummary) -> DecodeSummary:
        """Return how a medium went, with what was shown of its stills besides the whole."""
        problem = shown.problem
        if problem is None and self._late:
            problem = Unscannable(Reason.TOO_SLOW, "not all parts of the picture in the time there is")
        return replace(shown, total=shown.total + self._further, closer=self._closer, problem=problem)

    def _both(
        self, indexes: tuple[int, int], view: int, place: Place, pair: OnWhiteAndBlack, still: Still, shows: int
    ) -> int:
        """Hand on a picture or a view of it; return the number of the picture that it turned out to show."""
        image, black = pair
        shows = self._one(indexes[0], view, place, image, still, shows)
        if black is not None:
            self._one(indexes[1], view, replace(place, on_black=True), black, still, shows)
        return shows

    def _one(self, index: int, view: int, place: Place, image: Image.Image, still: Still, shows: int) -> int:
        if self.part is not None:
            place = replace(place, part=self.part)
        moment = self.base + index
        if moment >> VIEW_BITS:
            self.lost = True
            return shows
        whole = view == 0 and not place.on_black
        known = self._seen.showing(image, shows, whole=whole, further=self.part is not None)
        if known is not None:
            return known
        self.shown += 1
        number = moment + (view << VIEW_BITS)
        part_of = None if number == shows else shows
        self._emit(Frame(number, image.width, image.height, image.tobytes(), place, part_of), still.width, still.height)
        return shows


class _Seen:
    """What was handed on of one medium, as small grids: by picture, and the whole ones of all pictures."""

    def __init__(self) -> None:
        self._first: tuple[Image.Image, int] | None = (
            None  # most media have one picture, which is compared with nothing
        )
        self._views: dict[int, list[Image.Image]] = {}
        self._wholes: list[tuple[Image.Image, int]] = []

    def showing(self, image: Image.Image, picture: int, *, whole: bool, further: bool) -> int | None:
        """Return the number of the picture that shows this already; None, and remember it, where none does.

        What is not `whole` is compared with views of its own picture alone. `further` is what a file has besides.
        """
        if self._first is None:
            self._first = image, picture
            return None
        first, its_number = self._first
        if further and max(image.size) <= SMALL and repeats(image, first):
            return its_number
        if not self._wholes:
            self._add(_grid(first), its_number, whole=True)
        grid = _grid(image)
        if any(alike(grid, other, _NEARLY) for other in self._views.get(picture, ())):
            return picture
        if whole:
            for other, number in self._wholes:
                if alike(grid, other, _NEARLY):
                    return number
        self._add(grid, picture, whole=whole)
        return None

    def _add(self, grid: Image.Image, picture: int, *, whole: bool) -> None:
        self._views.setdefault(picture, []).append(grid)
        if whole:
            self._wholes.append((grid, picture))


def _cut(image: Image.Image, source: Source, box: Box) -> Image.Image:
    """Return a part of a frame; cut from the picture itself where that would be too small to be hashed well."""
    width, height = image.size
    left, right = round(box.left * width), round(box.right * width)
    inner = image.crop((left, round(box.top * height), right, round(box.bottom * height)))
    return source.frame(box)[0] if min(inner.size) < _ENOUGH else inner


def _grid(image: Image.Image) -> Image.Image:
    return image.resize(_CELLS, Image.Resampling.BOX)
