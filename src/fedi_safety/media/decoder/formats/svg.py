"""SVG drawings, rendered by resvg without network, files, scripts or fonts. Runs in the child only.

Shown are the drawing, as large as detectors want it, and each picture that is embedded in it as a `data:` address, in
full: it may be hidden, cut or faded in the drawing, or stand where resvg does not look. What resvg does not do (HTML
inside, scripts, motion, other style sheets) makes the object one that is judged in part, and so does style that it does
not know and that cannot be written in other words (`svg_style`). Text is not drawn.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field, replace

import resvg_py
from PIL import PngImagePlugin

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.caps import FRAME_LONGEST_SIDE, FRAME_SHORTEST_SIDE
from fedi_safety.media.decoder.confine.process import only_computing
from fedi_safety.media.decoder.formats.damaged import DAMAGE, shows_something
from fedi_safety.media.decoder.formats.images import decode_still
from fedi_safety.media.decoder.formats.multipage import show_pages
from fedi_safety.media.decoder.formats.svg_document import MAX_EMBEDDED, Document, read
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from fedi_safety.media.decoder.frames.still import Still, finished, fit
from fedi_safety.media.decoder.guards import explained
from fedi_safety.media.sniff import sniff

_DPI = 96  # pixels an inch: so CSS has it, and every viewer
_MAX_NESTING = 4  # drawings in drawings
_PROCESSOR_SECONDS = 0.9  # for a rendering, of which there are at most two; some filters would take hours


@dataclass(slots=True)
class _Found:
    """The drawing and those inside it, the pictures inside them, and why that is not all there is to see."""

    drawings: list[Document] = field(default_factory=list)
    pictures: list[tuple[bytes, MediaType]] = field(default_factory=list)
    problem: Unscannable | None = None


def decode_drawing(data: bytes, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    """Show a drawing and what is embedded in it. Raises `Unscannable` or `MemoryError`."""
    found = _collect(data)

    def page(index: int) -> Still:
        if index < len(found.drawings):
            return _drawn(found.drawings[index], bounds.max_pixels)
        picture, kind = found.pictures[index - len(found.drawings)]
        return decode_still(picture, kind, bounds.max_pixels, bounds.detail, bounds.tiles)

    count = len(found.drawings) + len(found.pictures)
    went = show_pages(count, page, bounds, showing, risky=len(found.drawings))
    return DecodeSummary(went.total, went.more, went.problem or found.problem)


def _collect(data: bytes) -> _Found:
    """Find what there is to see. Raises `Unscannable` for a drawing that cannot be read."""
    document = read(data)
    found = _Found()
    waiting: list[tuple[Document, int]] = [(document, 0)]
    embedded = 0
    while waiting:
        document, depth = waiting.pop(0)
        found.drawings.append(document)
        if document.not_drawn:
            _note(found, Reason.UNSUPPORTED, f"{document.not_drawn} in a drawing is not shown")
        for source in document.embedded:
            embedded += 1
            if embedded > MAX_EMBEDDED or depth == _MAX_NESTING:
                _note(found, Reason.TOO_LARGE, f"more than {MAX_EMBEDDED} pictures, or drawings {_MAX_NESTING} deep")
                break
            try:
                kind = sniff(source[:4096])
                if kind is MediaType.SVG:
                    waiting.append((read(source), depth + 1))
                elif kind.is_clip or kind is MediaType.PDF:
                    _note(found, Reason.UNSUPPORTED, f"{kind.value} in a drawing is not shown")
                else:
                    found.pictures.append((source, kind))
            except Unscannable as refusal:
                if refusal.reason not in (Reason.NOT_MEDIA, Reason.EMPTY):  # fonts and the like are nothing to see
                    _note(found, refusal.reason, f"embedded: {refusal.detail}")
    return found


def _note(found: _Found, reason: Reason, detail: str) -> None:
    found.problem = found.problem or Unscannable(reason, detail)


# --- rendering


def _drawn(document: Document, max_pixels: int) -> Still:
    """Draw it. Of one that is cut what there is, if that is anything: else its problem is raised."""
    if document.problem is None:
        return _rendered(document.text, max_pixels)
    try:
        still = _rendered(document.text, max_pixels)
    except Unscannable as refusal:
        raise document.problem if refusal.reason in DAMAGE else refusal from refusal
    if not shows_something(still):
        raise document.problem
    return replace(still, problem=document.problem)


def _rendered(text: str, max_pixels: int) -> Still:
    """Draw it, as large as a frame may be, whatever size it claims."""
    side = min(FRAME_LONGEST_SIDE, math.isqrt(max_pixels))
    with explained(b"", MediaType.SVG):
        image = _picture(text, side, side)
        if min(image.size) < FRAME_SHORTEST_SIDE:
            width, height = fit(image.width * FRAME_LONGEST_SIDE, image.height * FRAME_LONGEST_SIDE)
            share = min(1.0, 0.97 * (max_pixels / (width * height)) ** 0.5)  # resvg may round a side up
            image = _picture(text, max(1, int(width * share)), max(1, int(height * share)))
        return finished(image, *image.size)


def _picture(text: str, width: int, height: int) -> PngImagePlugin.PngImageFile:
    """Draw into a box of this size: as large as fits, sides in proportion."""
    try:
        with only_computing(_PROCESSOR_SECONDS):
            drawn = resvg_py.svg_to_bytes(svg_string=text, width=width, height=height, dpi=_DPI, skip_system_fonts=True)
    except ValueError as error:
        if "limit reached" in str(error):
            raise Unscannable(Reason.TOO_LARGE, f"{error}") from error
        raise
    image = PngImagePlugin.PngImageFile(io.BytesIO(drawn))
    image.load()
    return image
