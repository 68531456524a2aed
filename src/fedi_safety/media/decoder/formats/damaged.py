"""What viewers show of a still that is cut or damaged: the file, mended so far that its reader gives what decodes.

Viewers draw as they read and keep what they have; Pillow gives up. Here only what its readers stumble over is put
right: a JPEG gets its end, a PNG the structure around its picture data. No pixel is invented. Runs in the child only.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from PIL import Image, ImageFile

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.decoder.formats import gif, png
from fedi_safety.media.decoder.frames.still import Still
from fedi_safety.media.decoder.guards import plugin
from fedi_safety.media.decoder.structure.probe import jxl_header

# What may be said of a file of which something decodes nevertheless. Any other reason is about all of it.
DAMAGE = frozenset({Reason.CORRUPT, Reason.TRUNCATED})

_SOI, _EOI, _SOS, _COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
_BETWEEN_SCANS = (0xC4, _SOS, 0xDB, 0xDD, _COMMENT)
_APPLICATION = range(0xE0, 0xF0)
# Of the segments that a reader may pass over: JFIF, EXIF, a colour profile, how colours are coded. The first three are
# left out where the file does not decode with them.
_KEPT, _NEEDED = (0xE0, 0xE1, 0xE2, 0xEE), (0xEE,)

_MOST_FILLED = 1 << 24  # pixels
_CELLS = (16, 16)
_EVEN = 8  # of 255: what cells of a picture in which nothing is may differ by


@contextmanager
def leniently() -> Iterator[None]:
    """Let Pillow's readers keep what they decoded before a file broke off. A child decodes one medium at a time."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def opened(data: bytes, media_type: MediaType) -> Image.Image:
    """Open a picture. Within `leniently`, where a reader gives whole pictures only, another one that gives a part."""
    if ImageFile.LOAD_TRUNCATED_IMAGES and media_type is MediaType.WEBP:
        from fedi_safety.media.decoder.formats.webp_part import decode_part

        return decode_part(data)
    if ImageFile.LOAD_TRUNCATED_IMAGES and media_type is MediaType.JXL and (header := jxl_header(data)) is not None:
        from fedi_safety.media.decoder.formats.jxl import decode_frame

        return decode_frame(data, header, 0)  # without what would make a JPEG of it again
    return plugin(media_type)(io.BytesIO(data))


def load(image: Image.Image) -> None:
    """Decode an opened picture. Within `leniently` what libtiff decoded stands where it then gave up, too."""
    try:
        image.load()
    except OSError:
        if not ImageFile.LOAD_TRUNCATED_IMAGES or getattr(image, "tile", None):
            raise
        image.load()  # raises where there is no picture


def mended(data: bytes, media_type: MediaType) -> Iterator[bytes]:
    """Yield files to try instead of a damaged one, the best first; none where its library shows whole pictures only."""
    if media_type is MediaType.JPEG:
        for kept in (_KEPT, _NEEDED):
            whole = _jpeg(data, kept)
            if whole is not None:
                yield whole
    elif media_type is MediaType.PNG:
        whole = png.rebuilt(data)
        if whole is not None:
            yield whole
    elif media_type is MediaType.GIF:
        yield gif.in_order(data)
    elif media_type is MediaType.BMP:
        yield data
        yield data + _runs(data)
    elif media_type in (MediaType.TIFF, MediaType.ICO, MediaType.WEBP, MediaType.JXL):
        yield data


def _runs(data: bytes) -> bytes:
    """Return what fills a run-length coded BMP up, in its first colour: its reader gives whole pictures only."""
    width, height = (abs(int.from_bytes(data[at : at + 4], "little", signed=True)) for at in (18, 22))
    if int.from_bytes(data[30:34], "little") not in (1, 2) or width * height > _MOST_FILLED:
        return b""
    return (b"\xff\0" * (width // 255 + 1) + b"\0\0") * height + b"\0\1"


def without_gaps(image: Image.Image, media_type: MediaType, data: bytes, instead: bytes) -> Image.Image:
    """Return what an interlaced picture shows that was decoded from a file of `mended`, of which passes are missing.

    Raises `Unscannable` where not even one is there.
    """
    if media_type is MediaType.GIF:
        return gif.without_gaps(image) if gif.is_interlaced(data) else image
    filled = png.without_gaps(image, instead) if media_type is MediaType.PNG else image
    if filled is None:
        raise Unscannable(Reason.TRUNCATED, "not even its first pass is whole")
    return filled


def shows_something(still: Still) -> bool:
    """Whether anything is to be seen. One even colour is what a reader leaves where it decoded nothing."""
    pictures = (still.image, still.on_black) if still.on_black is not None else (still.image,)
    return any(_differs(picture) for picture in pictures)


def _differs(picture: Image.Image) -> bool:
    bands = cast("tuple[tuple[int, int], ...]", picture.resize(_CELLS, Image.Resampling.BOX).getextrema())
    return any(highest - lowest > _EVEN for lowest, highest in bands)


def _whole_segments(data: bytes, at: int) -> int:
    """Return where a file ends but for a segment that it breaks off in, which would swallow the marker put there."""
    last = max((data.rfind(bytes((0xFF, kind)), at + 1) for kind in _BETWEEN_SCANS), default=-1)
    begun = last >= 0 and last + 2 + max(2, int.from_bytes(data[last + 2 : last + 4], "big")) > len(data)
    return last if begun or last == len(data) - 2 else len(data)


def _jpeg(data: bytes, kept: tuple[int, ...]) -> bytes | None:
    """Return a JPEG as libjpeg reads it, which looks for the next marker behind what it cannot read; with an end."""
    pieces = [data[:2]]
    at = data.find(b"\xff", 2)
    while 0 <= at < len(data) - 4:
        kind = data[at + 1]
        if kind == 0xFF:
            at += 1
            continue
        if kind == _EOI:
            return None
        if kind == _SOS:
            return b"".join((*pieces, data[at : _whole_segments(data, at)], bytes((0xFF, _EOI))))
        if kind <= 1 or 0xD0 <= kind <= _SOI:
            at = data.find(b"\xff", at + 2)
            continue
        end = at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
        if kind in kept or not (kind in _APPLICATION or kind == _COMMENT):
            pieces.append(data[at:end])
        at = data.find(b"\xff", end)
    return None
