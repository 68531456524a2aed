"""Animations (GIF, APNG, WebP, AVIF, JXL): frames chosen over the whole length, drawn as a viewer would see them.

Runs in the child only. Of GIF, APNG and WebP no more is decoded than the chosen frames are made of.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from PIL import Image

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.places import Part, Place
from fedi_safety.media.caps import (
    MAX_CANVAS_PIXELS,
    MAX_COMPARED,
    MAX_PIXELS_PER_FRAME,
    SECONDS_PER_FRAME,
    affordable,
)
from fedi_safety.media.decoder.formats import apng, gif, webp
from fedi_safety.media.decoder.formats.canvas import Canvas, Patch, Patches
from fedi_safety.media.decoder.formats.damaged import DAMAGE, leniently, load, opened
from fedi_safety.media.decoder.formats.images import decode_still
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from fedi_safety.media.decoder.frames.orientation import TURNED
from fedi_safety.media.decoder.frames.sampling import Moment, choose, runs, seconds
from fedi_safety.media.decoder.frames.still import finished, with_alpha
from fedi_safety.media.decoder.guards import explained, plugin, refuse_bomb, refuse_items
from fedi_safety.media.decoder.structure.probe import JxlHeader, declared_pixels, is_cut, jxl_header

_PATCHED: dict[MediaType, Callable[[bytes], Patches]] = {
    MediaType.GIF: gif.patches,
    MediaType.PNG: apng.patches,
    MediaType.WEBP: webp.patches,
}


def decode_animation(data: bytes, media_type: MediaType, bounds: Bounds, showing: Emitter) -> DecodeSummary | None:
    """Show frames of an animation; None if these bytes are a still. Raises `Unscannable` or `MemoryError`."""
    read = _PATCHED.get(media_type)
    if read is not None:
        found = read(data)
        if len(found.patches) + (found.still is not None) > 1 or (found.patches and found.other_sizes):
            return _in_all_sizes(found, bounds, showing)
    elif media_type is MediaType.AVIF:
        return _avif(data, bounds, showing)
    elif media_type is MediaType.JXL and (header := jxl_header(data)) is not None and header.moves:
        return _jxl(data, header, bounds, showing)
    return None


# --- GIF, APNG, WebP


def _in_all_sizes(found: Patches, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    """Show an animation as browsers do; then, with fewer frames, as other viewers do: in other sizes, or turned."""
    ways = [(found.width, found.height, 1), *((width, height, 1) for width, height in found.other_sizes)]
    if found.orientation in TURNED:
        ways.append((found.width, found.height, found.orientation))
    if len(ways) == 1:
        return _patched(found, bounds, showing)
    before, base = showing.shown, showing.base
    went = DecodeSummary(0)
    fewer = replace(bounds, frames=max(2, bounds.frames // 2))
    showing.pictures = base  # a moment is one picture, in whichever way it is shown
    for number, (width, height, turned) in enumerate(ways):
        try:
            way = replace(found, width=width, height=height, orientation=turned)
            also = _patched(way, fewer if number else bounds, showing)
        except Unscannable as refusal:
            also = DecodeSummary(0, problem=refusal)
        showing.base += 2 * (len(found.patches) + 1)
        went = DecodeSummary(went.total + len(found.patches), went.more or also.more, went.problem or also.problem)
    showing.base, showing.pictures = base, None
    if showing.shown == before and went.problem is not None:
        raise went.problem
    return went


def _patched(found: Patches, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    refuse_bomb(found.width * found.height, bounds.max_pixels)
    if not found.width or not found.height:
        raise Unscannable(Reason.CORRUPT, "it says that it has no size")
    moments = found.moments()
    if found.width * found.height > MAX_CANVAS_PIXELS:
        return _first(found, bounds, showing)
    chosen, bounds, dear = _chosen(moments, found.width * found.height, bounds)
    compared = _compared(moments, showing) if dear is None and found.orientation not in TURNED else frozenset()
    drawer = _Drawer(found, moments, bounds, showing, frozenset(chosen), compared, first_anyway=dear is not None)
    if found.still is not None:
        drawer.show_still(found.still)
    planned = runs(moments, sorted(drawer.shown | compared))
    if dear is None:
        bounds.random.shuffle(planned)  # when the time is up, what is missing is missing anywhere
        planned.sort(key=lambda run: drawer.shown.isdisjoint(run[1]))  # but first of what nobody judges
    for start, wanted in planned:
        drawer.draw(start, wanted)
    problem = found.problem or drawer.problem or dear
    if problem is None and drawer.drawn < len(chosen):
        problem = Unscannable(Reason.TOO_SLOW, f"{drawer.drawn} of {len(chosen)} chosen frames in the time there is")
    return DecodeSummary(len(moments), len(moments) > len(chosen), problem)


def _compared(moments: list[Moment], showing: Emitter) -> frozenset[int]:
    """Return the frames by which an animation is found again."""
    return frozenset(seconds(moments, MAX_COMPARED)) if showing.comparing else frozenset()


def _first(found: Patches, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    """Show the picture that stands for an animation which is too large to be drawn, and say that this is not all."""
    total = len(found.patches)
    still = decode_still(found.still or found.patches[0].build(), found.media_type, bounds.max_pixels)
    showing.show(0, Place(), still, on_black_index=total)
    problem = f"only the first of {total} frames, each of {found.width * found.height / 1e6:.1f} megapixels"
    return DecodeSummary(total, problem=Unscannable(Reason.TOO_LARGE, problem))


def _chosen(moments: list[Moment], pixels: int, bounds: Bounds) -> tuple[list[int], Bounds, Unscannable | None]:
    """Choose frames of so many pixels. Of very large ones fewer, the first among them, and in less time: and say so."""
    paid = affordable(bounds.frames, pixels)
    chosen = choose(moments, paid, bounds.random)
    if paid >= min(bounds.frames, len(moments)):
        return chosen, bounds, None
    until = min(bounds.until, time.monotonic() + bounds.frames * SECONDS_PER_FRAME * MAX_PIXELS_PER_FRAME / pixels)
    dear = f"at most {paid} of {len(moments)} frames are looked at, each is of {pixels / 1e6:.1f} megapixels"
    return chosen, replace(bounds, until=until), Unscannable(Reason.TOO_LARGE, dear)


@dataclass(slots=True)
class _Drawer:
    """Draws runs of patches and shows the wanted ones."""

    found: Patches
    moments: list[Moment]
    bounds: Bounds
    showing: Emitter
    shown: frozenset[int]
    compared: frozenset[int]
    first_anyway: bool = False  # show the first frame of all, however short the time is
    drawn: int = 0
    problem: Unscannable | None = None
    profile: object = None

    def draw(self, start: int, wanted: Sequence[int]) -> None:
        """Draw from the key frame `start` on, and hand on each of `wanted`, ascending."""
        clear_or_opaque = self.found.media_type is MediaType.GIF
        canvas = Canvas(self.found.width, self.found.height, clear_or_opaque=clear_or_opaque)
        for index in range(start, wanted[-1] + 1):
            if self.bounds.late and (index or not self.first_anyway):
                return
            canvas.draw(self.found.patches[index], self._decoded(index, self.found.patches[index]))
            if index in wanted:
                self._show(index, canvas.image)
                self.drawn += index in self.shown

    def _decoded(self, index: int, patch: Patch) -> Image.Image | None:
        """Return a patch's picture; None, and keep the reason, if it is damaged: the others may still be good."""
        kind = self.found.media_type
        try:
            refuse_bomb(patch.width * patch.height, self.bounds.max_pixels)
            data = patch.build()
            try:
                return self._opened(data, kind)
            except Unscannable as refusal:
                if refusal.reason not in DAMAGE:
                    raise
                self._note(index, refusal)
            with leniently():  # what is there of it
                return self._opened(data, kind)
        except Unscannable as refusal:
            self._note(index, refusal)
            return None

    def _opened(self, data: bytes, kind: MediaType) -> Image.Image:
        with explained(data, kind):
            image = opened(data, kind)
            load(image)
            self.profile = self.profile or image.info.get("icc_profile")
            return with_alpha(image)

    def _note(self, index: int, refusal: Unscannable) -> None:
        self.problem = self.problem or Unscannable(refusal.reason, f"frame {index + 1}: {refusal.detail}")

    def _show(self, index: int, drawn: Image.Image) -> None:
        if profile := self.found.profile or self.profile:
            drawn.info["icc_profile"] = profile
        count = len(self.moments)
        place = Place(self.moments[index].time_s) if count > 1 else Place()
        still = finished(drawn, *drawn.size, self.found.orientation)
        if index in self.shown:
            self.showing.show(index, place, still, on_black_index=index + count, among=min(count, self.bounds.frames))
        if index in self.compared:
            self.showing.compare(index, place, still)

    def show_still(self, data: bytes) -> None:
        """Show the picture that stands in where animations are not shown. It need not be one of the frames."""
        try:
            still = decode_still(
                data, self.found.media_type, self.bounds.max_pixels, self.bounds.detail, self.bounds.tiles
            )
        except Unscannable as refusal:
            self.problem = self.problem or refusal
            return
        self.problem = self.problem or still.problem
        last = 2 * len(self.moments)
        self.showing.show(last, Place(part=Part.COVER), still, on_black_index=last + 1)


# --- AVIF


def _avif(data: bytes, bounds: Bounds, showing: Emitter) -> DecodeSummary | None:
    if b"avis" not in data[8:64]:
        return None
    refuse_bomb(declared_pixels(data, MediaType.AVIF), bounds.max_pixels)
    refuse_items(data, MediaType.AVIF)
    with explained(data, MediaType.AVIF):
        image: Image.Image = plugin(MediaType.AVIF)(io.BytesIO(data))
        count = getattr(image, "n_frames", 1)
        if count < 2:
            return None
        refuse_bomb(image.width * image.height, bounds.max_pixels)

    def picture(index: int) -> tuple[Image.Image, Place]:
        image.seek(index)
        image.load()
        copy = image.copy()
        copy.info["icc_profile"] = image.info.get("icc_profile")
        return copy, Place(image.info.get("timestamp", 0) / 1000)

    moments = [Moment(0.0, 0, True)] * count if count <= bounds.frames else _avif_moments(data, count)
    return _each(data, MediaType.AVIF, image.width * image.height, moments, picture, bounds, showing)


def _avif_moments(data: bytes, count: int) -> list[Moment]:
    """Return the table of frames; where the track does not tell it, frames of which nothing is known."""
    from fedi_safety.media.decoder.formats.video import tables

    with suppress(Unscannable):
        for moments in tables(data, MediaType.AVIF):
            if len(moments) == count:
                return moments
    return [Moment(0.0, 0, True)] * count


# --- JXL


def _jxl(data: bytes, header: JxlHeader, bounds: Bounds, showing: Emitter) -> DecodeSummary | None:
    from fedi_safety.media.decoder.formats import jxl

    refuse_bomb(header.width * header.height, bounds.max_pixels)
    with explained(data, MediaType.JXL):
        count = jxl.count_frames(data, header)
    if count < 2:
        return None

    def picture(index: int) -> tuple[Image.Image, Place]:
        return jxl.decode_frame(data, header, index), Place(page=index + 1)

    pixels = header.width * header.height
    return _each(data, MediaType.JXL, pixels, [Moment(0.0, 0, True)] * count, picture, bounds, showing)


def _each(
    data: bytes,
    media_type: MediaType,
    pixels: int,
    moments: list[Moment],
    picture: Callable[[int], tuple[Image.Image, Place]],
    bounds: Bounds,
    showing: Emitter,
) -> DecodeSummary:
    """Show chosen frames of what a library decodes frame by frame, in order: it may need the ones before."""
    chosen, bounds, problem = _chosen(moments, pixels, bounds)
    compared = _compared(moments, showing) if problem is None else frozenset()
    tried = 0
    for index in sorted({*chosen, *compared}):
        if bounds.late:
            break
        tried += index in chosen
        try:
            with explained(data, media_type):
                image, place = picture(index)
        except Unscannable as refusal:
            problem = problem or Unscannable(refusal.reason, f"frame {index + 1}: {refusal.detail}")
            continue
        still = finished(image, *image.size)
        if index in chosen:
            showing.show(index, place, still, on_black_index=index + len(moments), among=len(chosen))
        if index in compared:
            showing.compare(index, place, still)
    if problem is None and tried < len(chosen):
        problem = Unscannable(Reason.TOO_SLOW, f"{tried} of {len(chosen)} chosen frames in the time there is")
    if problem is None and is_cut(data, media_type):
        problem = Unscannable(Reason.TRUNCATED, "it ends too early")
    return DecodeSummary(len(moments), len(moments) > len(chosen), problem)
