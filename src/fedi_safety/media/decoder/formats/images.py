"""Bytes of a still -> one upright 8-bit sRGB frame, scaled down to what detectors need. Runs in the child only.

Transparent pixels show white, as viewers do, and black in a second version, because something may be hidden by either.
Of a multi-page file the first picture is taken. Embedded thumbnails are never decoded in place of the picture. High
dynamic range is clipped by the libraries, not tone-mapped.
"""

from __future__ import annotations

from dataclasses import replace

from PIL import (
    Image,
    JpegImagePlugin,
)

from fedi_safety.core.enums import Detail, MediaType
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.decoder.formats.damaged import (
    DAMAGE,
    leniently,
    load,
    mended,
    opened,
    shows_something,
    without_gaps,
)
from fedi_safety.media.decoder.formats.png import lean
from fedi_safety.media.decoder.frames.orientation import exif_orientation
from fedi_safety.media.decoder.frames.still import Still, finished
from fedi_safety.media.decoder.frames.tiles import smallest_part
from fedi_safety.media.decoder.guards import explained, refuse_bomb, refuse_items, refuse_scans
from fedi_safety.media.decoder.structure.probe import declared_pixels

# The smallest sides left by a JPEG decoder that scales as it decodes: enough for a good filter to finish the job.
_DRAFT_LONGEST_SIDE = 512
_DRAFT_SHORTEST_SIDE = 256
# Of these formats many files leave the byte for transparency empty; viewers take such a picture as opaque.
_OPAQUE_IF_ALL_CLEAR = frozenset({MediaType.BMP, MediaType.ICO})


def decode_still(
    data: bytes,
    media_type: MediaType,
    max_pixels: int,
    detail: Detail = Detail.COARSE,
    tiles: int = 0,
    *,
    only_whole: bool = False,
) -> Still:
    """Decode the first picture of a medium, as finely as so many tiles of it in such a pass need it.

    Of one that is cut or damaged, what viewers show of it, and its `problem`; nothing if `only_whole`. Raises
    `Unscannable`, or `MemoryError` at the address space limit.
    """
    try:
        with explained(data, media_type):
            return _decode(data, media_type, max_pixels, detail, tiles)
    except Unscannable as refusal:
        if only_whole or refusal.reason not in DAMAGE:
            raise
        problem = refusal
    for instead in mended(data, media_type):
        try:
            with explained(data, media_type), leniently():
                still = _decode(instead, media_type, max_pixels, detail, tiles, damaged=data)
        except Unscannable:
            continue
        if shows_something(still):
            return replace(still, problem=problem)
    raise problem


def _decode(
    data: bytes, media_type: MediaType, max_pixels: int, detail: Detail, tiles: int, *, damaged: bytes | None = None
) -> Still:
    """Decode a picture; `damaged` is the file that this one is put in place of."""
    refuse_bomb(declared_pixels(data, media_type), max_pixels)
    refuse_items(data, media_type)
    image = opened(lean(data) if media_type is MediaType.PNG else data, media_type)
    width, height = image.size
    refuse_bomb(width * height, max_pixels)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        refuse_scans(data, width * height)
        scale = _draft_scale(*smallest_part(width, height, tiles, closely=detail is Detail.FINE))
        if scale > 1:
            # Requesting the quotients rounded down makes Pillow choose exactly this scale.
            image.draft("RGB", (width // scale, height // scale))
    load(image)
    if media_type is MediaType.TIFF:
        width, height = image.size  # turned upright while loading
    refuse_bomb(width * height, max_pixels)  # some libraries know the true size only now
    orientation = _orientation(image, media_type)
    if damaged is not None:
        image = without_gaps(image, media_type, damaged, data)
    if media_type in _OPAQUE_IF_ALL_CLEAR and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        image.putalpha(255)
    return finished(image, width, height, orientation)


def _draft_scale(width: int, height: int) -> int:
    for scale in (8, 4, 2):
        if max(width, height) >= scale * _DRAFT_LONGEST_SIDE and min(width, height) >= scale * _DRAFT_SHORTEST_SIDE:
            return scale
    return 1


def _orientation(image: Image.Image, media_type: MediaType) -> int:
    """Return the EXIF orientation that is still to be applied.

    HEIC and TIFF readers turn the picture themselves; in JXL the codestream's orientation counts, which its reader
    applies, unless the file is a repacked JPEG.
    """
    if media_type in (MediaType.HEIC, MediaType.TIFF):
        return 1
    if media_type is MediaType.JXL and not getattr(image, "jpeg", False):
        return 1
    exif = image.info.get("exif")
    return exif_orientation(exif) if isinstance(exif, bytes) else 1
