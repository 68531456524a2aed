"""What stands between a file and the libraries that decode it: readers by format, caps, errors explained."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.caps import (
    MAX_ITEMS,
    MAX_SCANNED_PIXELS,
    USUAL_SCANS,
)
from fedi_safety.media.decoder.structure.probe import COUNTED, count_items, count_scans, is_cut

# The pixel cap is checked here, against the header and before anything is decoded; Pillow's own is only a warning.
Image.MAX_IMAGE_PIXELS = None
# The parent runs as many children as it wants work in parallel; threads here would only cost memory.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_PLUGINS: dict[MediaType, type[ImageFile.ImageFile]] = {
    MediaType.JPEG: JpegImagePlugin.JpegImageFile,
    MediaType.PNG: PngImagePlugin.PngImageFile,
    MediaType.GIF: GifImagePlugin.GifImageFile,
    MediaType.WEBP: WebPImagePlugin.WebPImageFile,
    MediaType.BMP: BmpImagePlugin.BmpImageFile,
    MediaType.ICO: IcoImagePlugin.IcoImageFile,
    MediaType.TIFF: TiffImagePlugin.TiffImageFile,
    MediaType.AVIF: AvifImagePlugin.AvifImageFile,
}

_UNSUPPORTED = re.compile(r"unsupported|not supported|not implemented|not available|cannot handle|unknown", re.I)

_TRUNCATED = re.compile(r"truncat|unexpected end|end of file|not enough|incomplete|need more input", re.I)


@contextmanager
def explained(data: bytes, media_type: MediaType) -> Iterator[None]:
    """Turn whatever a library raises because of its input into `Unscannable`. `MemoryError` passes."""
    try:
        yield
    except (Unscannable, MemoryError):
        raise
    except Exception as error:  # a decoder library may raise anything at all because of its input
        raise _explain(error, data, media_type) from error


def _explain(error: Exception, data: bytes, media_type: MediaType) -> Unscannable:
    text = f"{type(error).__name__}: {error}"
    # Where the container counts all its bytes, it knows better than a library's choice of words.
    if is_cut(data, media_type) or (media_type not in COUNTED and _TRUNCATED.search(text)):
        return Unscannable(Reason.TRUNCATED, text)
    if isinstance(error, NotImplementedError) or _UNSUPPORTED.search(text):
        return Unscannable(Reason.UNSUPPORTED, text)
    return Unscannable(Reason.CORRUPT, text)


def plugin(media_type: MediaType) -> type[ImageFile.ImageFile]:
    """Return the reader of a format. The rare ones are imported when the first such file comes."""
    if media_type is MediaType.HEIC:
        import pillow_heif
        from pillow_heif.as_plugin import HeifImageFile

        pillow_heif.options.DECODE_THREADS = 1
        pillow_heif.options.THUMBNAILS = False
        pillow_heif.options.DEPTH_IMAGES = False
        pillow_heif.options.AUX_IMAGES = False
        _PLUGINS[media_type] = HeifImageFile
    elif media_type is MediaType.JXL:
        from pillow_jxl import JpegXLImagePlugin

        JpegXLImagePlugin.DECODE_THREADS = 0
        _PLUGINS[media_type] = JpegXLImagePlugin.JXLImageFile
    return _PLUGINS[media_type]


def refuse_bomb(pixels: int, max_pixels: int) -> None:
    """Raise `Unscannable` for more pixels than the cap."""
    if pixels > max_pixels:
        raise Unscannable(Reason.TOO_LARGE, f"{pixels / 1e6:.1f} megapixels, the cap is {max_pixels / 1e6:.1f}")


def refuse_items(data: bytes, media_type: MediaType) -> None:
    """Raise `Unscannable` for an AVIF or HEIC of so many tiles that reading their table alone takes seconds."""
    if media_type in (MediaType.AVIF, MediaType.HEIC) and (count := count_items(data)) > MAX_ITEMS:
        raise Unscannable(Reason.TOO_LARGE, f"about {count} items, the cap is {MAX_ITEMS}")


def refuse_scans(data: bytes, pixels: int) -> None:
    """Raise `Unscannable` for a JPEG that wants to be gone over again and again."""
    scans = count_scans(data)
    if scans > USUAL_SCANS and scans * pixels > MAX_SCANNED_PIXELS:
        raise Unscannable(Reason.TOO_LARGE, f"{scans} scans of {pixels / 1e6:.1f} megapixels")
