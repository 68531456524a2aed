"""Pages of a PDF, by PDFium, which comes with the extra `pdf`. Runs in the child only.

A page is drawn as large as detectors want it, with the fonts that are in the file. Files attached to it, and what a
viewer shows only on a click, are not looked at.
"""

from __future__ import annotations

from typing import Any, cast

from PIL import Image

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.caps import MAX_PAGES
from fedi_safety.media.decoder.confine.process import only_computing
from fedi_safety.media.decoder.formats.multipage import show_pages
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from fedi_safety.media.decoder.frames.still import Still, finished, fit
from fedi_safety.media.decoder.guards import explained, refuse_bomb

_PROCESSOR_SECONDS = 3.0  # for each page
_LARGE = 4096  # a page has no size in pixels; its frame is that of a picture so large and of its shape


def decode_document(data: bytes, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    """Show pages of a document. Raises `Unscannable`, also where the extra is not installed, or `MemoryError`."""
    try:
        import pypdfium2
    except ImportError as error:
        raise Unscannable(Reason.UNSUPPORTED, "a PDF document needs the extra `pdf`") from error
    with explained(data, MediaType.PDF), only_computing(_PROCESSOR_SECONDS):
        document: Any = pypdfium2.PdfDocument(data)
        count = len(document)
    if count < 1:
        raise Unscannable(Reason.EMPTY, "it has no pages")

    def page(index: int) -> Still:
        with explained(data, MediaType.PDF), only_computing(_PROCESSOR_SECONDS):
            sheet = document[index]
            width, height = (max(1.0, side) for side in sheet.get_size())
            unit = _LARGE / max(width, height)
            frame = fit(max(1, round(width * unit)), max(1, round(height * unit)))
            share = min(1.0, 0.97 * (bounds.max_pixels / (frame[0] * frame[1])) ** 0.5)  # sides are rounded up
            drawn = sheet.render(scale=share * max(frame) / max(width, height))
            image = cast("Image.Image", drawn.to_pil()).convert("RGB")
            sheet.close()
        refuse_bomb(image.width * image.height, bounds.max_pixels)
        return finished(image, *image.size)

    went = show_pages(min(count, MAX_PAGES), page, bounds, showing)
    if count > MAX_PAGES and went.problem is None:
        return DecodeSummary(went.total, went.more, Unscannable(Reason.TOO_LARGE, f"more than {MAX_PAGES} pages"))
    return went
