"""Files of several pictures that are no animation: pages of a TIFF, pictures of a HEIC or AVIF. Runs in the child only.

Each page decodes as a still of its own, so that one that is damaged, or over the cap, hinders no other. Of many, those
that are looked at are drawn from the whole file, as frames of an animation are. Pages do not tell how they hang
together: what a viewer shows as layers or as a smaller version of another page is judged as a page.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import field
from typing import cast

from PIL import Image

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.places import Place
from fedi_safety.media.caps import MAX_PAGES
from fedi_safety.media.decoder.formats.heif_items import avif_items
from fedi_safety.media.decoder.formats.images import decode_still
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from fedi_safety.media.decoder.frames.sampling import Moment, choose
from fedi_safety.media.decoder.frames.still import Still, finished
from fedi_safety.media.decoder.guards import explained, plugin, refuse_bomb

_SUB_DIRECTORIES = 330
# So many directories, and entries of each, are looked through for others below: all may lie in the same bytes.
_MAX_LOOKED_BELOW = 1000
_MAX_ENTRIES = 256


def decode_pages(data: bytes, media_type: MediaType, bounds: Bounds, showing: Emitter) -> DecodeSummary | None:
    """Show pages of a file that has several; None if it has one. Raises `Unscannable` or `MemoryError`."""
    if media_type is MediaType.TIFF:
        return _tiff(data, bounds, showing)
    if media_type is MediaType.HEIC:
        return _heic(data, bounds, showing)
    if media_type is MediaType.AVIF:
        return _avif(data, bounds, showing)
    return None


def show_pages(
    count: int, page: Callable[[int], Still], bounds: Bounds, showing: Emitter, *, risky: int = 0
) -> DecodeSummary:
    """Show chosen ones of `count` pages, which `page` decodes, by their place from 0 on; the first `risky` of them
    last, because they may end this process. Raises what `page` raises where there is but one.
    """
    if count == 1:
        still = page(0)
        showing.show(0, Place(), still, on_black_index=1)
        return DecodeSummary(problem=still.problem)
    chosen = choose([Moment(0.0, 0, True)] * count, bounds.frames, bounds.random)
    bounds.random.shuffle(chosen)  # when the time is up, what is missing is missing anywhere
    chosen.sort(key=lambda index: index < risky)
    problem: Unscannable | None = None
    tried = 0
    for index in chosen:
        if bounds.late:
            break
        tried += 1
        try:
            still = page(index)
        except Unscannable as refusal:
            problem = problem or Unscannable(refusal.reason, f"picture {index + 1}: {refusal.detail}")
        except MemoryError:
            detail = f"picture {index + 1}: decoding it needs more memory than the cap allows"
            problem = problem or Unscannable(Reason.TOO_LARGE, detail)
        else:
            if still.problem is not None:
                problem = problem or Unscannable(still.problem.reason, f"picture {index + 1}: {still.problem.detail}")
            showing.show(index, Place(page=index + 1), still, on_black_index=index + count)
    if problem is None and tried < len(chosen):
        problem = Unscannable(Reason.TOO_SLOW, f"{tried} of {len(chosen)} chosen pictures in the time there is")
    return DecodeSummary(count, count > len(chosen), problem)


# --- TIFF


@dataclass(slots=True)
class _Directories:
    """Where the directories of a TIFF begin, in the order of its pages, and why there are no more if it breaks off."""

    at: list[int] = field(default_factory=list)
    problem: Unscannable | None = None


def _tiff(data: bytes, bounds: Bounds, showing: Emitter) -> DecodeSummary | None:
    found = _directories(data)
    if len(found.at) < 2 and found.problem is None:
        return None

    def page(index: int) -> Still:
        start = _beginning_at(data, found.at[index])
        whole = showing.part is not None
        return decode_still(start, MediaType.TIFF, bounds.max_pixels, bounds.detail, bounds.tiles, only_whole=whole)

    if not found.at:
        return None  # the reader says better what is wrong
    went = show_pages(len(found.at), page, bounds, showing)
    return DecodeSummary(went.total, went.more, went.problem or found.problem)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a TIFF writes its numbers."""

    order: str
    big: bool

    @property
    def offset(self) -> str:
        """Return the format of a place in the file."""
        return self.order + ("Q" if self.big else "I")

    @property
    def first_at(self) -> int:
        """Return where the place of the first directory is written."""
        return 8 if self.big else 4

    @property
    def count(self) -> str:
        """Return the format of the number of a directory's entries."""
        return self.order + ("Q" if self.big else "H")

    @property
    def entry(self) -> str:
        """Return the format of an entry: tag, kind, how many values, and the value or where it is."""
        return self.order + ("HHQQ" if self.big else "HHII")


def _layout(data: bytes) -> _Layout:
    order = "<" if data[:2] == b"II" else ">"
    return _Layout(order, data[2:4] in (b"+\0", b"\0+"))


def _beginning_at(data: bytes, at: int) -> bytes:
    """Return the same file with the directory there as its first."""
    layout = _layout(data)
    written = struct.pack(layout.offset, at)
    return b"".join((data[: layout.first_at], written, data[layout.first_at + len(written) :]))


def _directories(data: bytes) -> _Directories:
    """Walk the chain of directories, then those that hang below one of them. What was seen is not walked again."""
    layout = _layout(data)
    found = _Directories()
    seen: set[int] = set()
    below: list[int] = []
    try:
        _walk(data, layout, int(struct.unpack_from(layout.offset, data, layout.first_at)[0]), found, seen, below)
        for start in below:  # grows while it is walked, by what hangs below those
            _walk(data, layout, start, found, seen, below)
    except (struct.error, OverflowError):  # of a place behind the end, or of one that no file has
        found.problem = Unscannable(Reason.TRUNCATED, f"there is no directory of picture {len(found.at) + 1}")
    return found


def _walk(data: bytes, layout: _Layout, start: int, found: _Directories, seen: set[int], below: list[int]) -> None:
    """Add a chain of directories. Raises `struct.error` where one lies behind the end."""
    at = start
    while at and at not in seen:
        if len(found.at) == MAX_PAGES:
            found.problem = Unscannable(Reason.TOO_LARGE, f"more than {MAX_PAGES} pictures")
            return
        seen.add(at)
        (count,) = struct.unpack_from(layout.count, data, at)
        entries = at + struct.calcsize(layout.count)
        size = struct.calcsize(layout.entry)
        (after,) = struct.unpack_from(layout.offset, data, entries + count * size)
        found.at.append(at)
        if len(found.at) <= _MAX_LOOKED_BELOW and len(below) < MAX_PAGES:
            below += _below(data, layout, entries, count)
        at = int(after)


def _below(data: bytes, layout: _Layout, entries: int, count: int) -> list[int]:
    """Return where the directories begin that an entry of this one names."""
    size = struct.calcsize(layout.entry)
    wide = struct.calcsize(layout.offset)
    for entry in range(entries, entries + min(count, _MAX_ENTRIES) * size, size):
        tag, kind, values, value = struct.unpack_from(layout.entry, data, entry)
        if tag != _SUB_DIRECTORIES:
            continue
        each = {4: 4, 13: 4, 16: 8, 18: 8}.get(kind, 0)
        if not each or values > MAX_PAGES:
            return []
        where = entry + size - wide if values * each <= wide else value
        code = f"{layout.order}{values}{'I' if each == 4 else 'Q'}"
        return [int(start) for start in struct.unpack_from(code, data, where)]
    return []


# --- HEIC


def _heic(data: bytes, bounds: Bounds, showing: Emitter) -> DecodeSummary | None:
    with explained(data, MediaType.HEIC):
        image: Image.Image = plugin(MediaType.HEIC)(io.BytesIO(data))  # decodes nothing yet
    count = cast("int", getattr(image, "n_frames", 1))
    if count < 2:
        return None
    main = image.tell()
    order = [main, *(index for index in range(min(count, MAX_PAGES)) if index != main)]  # first what viewers show

    def page(index: int) -> Still:
        with explained(data, MediaType.HEIC):
            image.seek(order[index])
            refuse_bomb(image.width * image.height, bounds.max_pixels)
            image.load()
            refuse_bomb(image.width * image.height, bounds.max_pixels)  # the true size is known only now
            copy = image.copy()
            copy.info = dict(image.info)
            return finished(copy, *copy.size)

    return show_pages(len(order), page, bounds, showing)


# --- AVIF


def _avif(data: bytes, bounds: Bounds, showing: Emitter) -> DecodeSummary | None:
    items = avif_items(data)
    if items is None or len(items.numbers) < 2:
        return None

    def page(index: int) -> Still:
        shown = items.showing(data, index)
        return decode_still(shown, MediaType.AVIF, bounds.max_pixels, bounds.detail, bounds.tiles)

    return show_pages(len(items.numbers), page, bounds, showing)
