"""Bytes of a still -> one upright 8-bit sRGB frame, scaled down to what detectors need. Runs in the child only.

Transparent pixels show white, as viewers do, and black in a second version, because something may be hidden by either.
Of a multi-page file the first picture is taken. Embedded thumbnails are never decoded in place of the picture. High
dynamic range is clipped by the libraries, not tone-mapped.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import Look, MediaType, Reason
from fedi_safety.media.caps import (
    FRAME_LONGEST_SIDE,
    FRAME_SHORTEST_SIDE,
    MAX_FRAME_PIXELS,
    MAX_ITEMS,
    MAX_SCANNED_PIXELS,
    USUAL_SCANS,
)
from fedi_safety.media.decoder.formats.png import lean
from fedi_safety.media.decoder.frames.orientation import Edges, exif_orientation, stored, upright
from fedi_safety.media.decoder.frames.tiles import smallest_part
from fedi_safety.media.decoder.structure.probe import COUNTED, count_items, count_scans, declared_pixels, is_cut

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
    MediaType.TIFF: TiffImagePlugin.TiffImageFile,
    MediaType.AVIF: AvifImagePlugin.AvifImageFile,
}

_UNSUPPORTED = re.compile(r"unsupported|not supported|not implemented|not available|cannot handle|unknown", re.I)
_TRUNCATED = re.compile(r"truncat|unexpected end|end of file|not enough|incomplete|need more input", re.I)

# The smallest sides left by a JPEG decoder that scales as it decodes: enough for a good filter to finish the job.
_DRAFT_LONGEST_SIDE = 512
_DRAFT_SHORTEST_SIDE = 256

Pair = tuple[Image.Image, Image.Image | None]  # a picture on white, and on black where that differs


@dataclass(frozen=True, slots=True)
class Source:
    """A decoded picture as it is stored, from which frames are cut: on white, its alpha if it has one, its profile."""

    image: Image.Image
    alpha: Image.Image | None
    profile: bytes | None
    orientation: int

    def frame(self, part: Edges | None = None) -> Pair:
        """Return a frame, upright and in sRGB: of all of it, or of a part in shares (0 to 1) of the upright picture."""
        box = None if part is None else stored(part, self.orientation, self.image.size)
        size = fit(*(self.image.size if box is None else (box[2] - box[0], box[3] - box[1])))
        image = self.image.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=1.5)
        black: Image.Image | None = None
        if self.alpha is not None:
            alpha = self.alpha.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=1.5)
            # What white added to each pixel is what alpha lacks.
            lacking = ImageChops.invert(alpha)
            black = ImageChops.subtract(image, lacking if image.mode == "L" else Image.merge("RGB", (lacking,) * 3))
            black = upright(_srgb(black, self.profile), self.orientation)
        return upright(_srgb(image, self.profile), self.orientation), black


@dataclass(frozen=True, slots=True)
class Still:
    """A decoded picture: its true size, upright, and what a frame shows of it in RGB; on black where that differs.

    `source` is what frames of its parts are cut from, where there is one.
    """

    width: int
    height: int
    image: Image.Image
    on_black: Image.Image | None = None
    source: Source | None = None

    @property
    def frame_width(self) -> int:
        """Return the width of the frame."""
        return self.image.width

    @property
    def frame_height(self) -> int:
        """Return the height of the frame."""
        return self.image.height

    @property
    def rgb(self) -> bytes:
        """Return the frame as `core.types.Frame` wants it."""
        return self.image.tobytes()


def decode_still(data: bytes, media_type: MediaType, max_pixels: int, look: Look = Look.FIRST, tiles: int = 0) -> Still:
    """Decode the first picture of a medium, as finely as so many tiles of it at such a look need it.

    Raises `Unscannable`, or `MemoryError` at the address space limit.
    """
    with explained(data, media_type):
        return _decode(data, media_type, max_pixels, look, tiles)


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


def _decode(data: bytes, media_type: MediaType, max_pixels: int, look: Look, tiles: int) -> Still:
    refuse_bomb(declared_pixels(data, media_type), max_pixels)
    refuse_items(data, media_type)
    image: Image.Image = plugin(media_type)(io.BytesIO(lean(data) if media_type is MediaType.PNG else data))
    width, height = image.size
    refuse_bomb(width * height, max_pixels)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        _refuse_scans(data, width * height)
        scale = _draft_scale(*smallest_part(width, height, tiles, closely=look is Look.SECOND))
        if scale > 1:
            # Requesting the quotients rounded down makes Pillow choose exactly this scale.
            image.draft("RGB", (width // scale, height // scale))
    image.load()
    if media_type is MediaType.TIFF:
        width, height = image.size  # turned upright while loading
    refuse_bomb(width * height, max_pixels)  # some libraries know the true size only now
    return finished(image, width, height, _orientation(image, media_type))


def finished(image: Image.Image, width: int, height: int, orientation: int = 1) -> Still:
    """Make the frame of a decoded picture of whatever mode; `width` and `height` are its true size as it is stored."""
    profile = image.info.get("icc_profile")
    kept = profile if isinstance(profile, bytes) else None
    source = Source(*_flat(_eight_bit(image)), kept, orientation)
    if 5 <= orientation <= 8:
        width, height = height, width
    return Still(width, height, *source.frame(), source)


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


def _refuse_scans(data: bytes, pixels: int) -> None:
    """Raise `Unscannable` for a JPEG that wants to be gone over again and again."""
    scans = count_scans(data)
    if scans > USUAL_SCANS and scans * pixels > MAX_SCANNED_PIXELS:
        raise Unscannable(Reason.TOO_LARGE, f"{scans} scans of {pixels / 1e6:.1f} megapixels")


def _draft_scale(width: int, height: int) -> int:
    for scale in (8, 4, 2):
        if max(width, height) >= scale * _DRAFT_LONGEST_SIDE and min(width, height) >= scale * _DRAFT_SHORTEST_SIDE:
            return scale
    return 1


def fit(width: int, height: int) -> tuple[int, int]:
    """Return the frame's size: longest side 768 if the shortest keeps 256, never enlarged, never over the cap."""
    longest, shortest = max(width, height), min(width, height)
    factor = max(FRAME_LONGEST_SIDE / longest, min(FRAME_SHORTEST_SIDE, shortest) / shortest)
    factor = min(1.0, factor, (MAX_FRAME_PIXELS / (width * height)) ** 0.5)
    if factor == 1.0:
        return width, height
    fitted_longest = max(1, round(longest * factor))
    fitted_shortest = max(1, min(round(shortest * factor), MAX_FRAME_PIXELS // fitted_longest))
    fitted_longest = min(fitted_longest, MAX_FRAME_PIXELS // fitted_shortest)
    return (fitted_longest, fitted_shortest) if width >= height else (fitted_shortest, fitted_longest)


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


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale pictures of 16 or 32 bits, or of floats, to 8 bits; Pillow's own conversion would clip them."""
    if image.mode.startswith("I;16"):
        table = [(value * 255 + 32767) // 65535 for value in range(65536)]
        transparent = image.info.pop("transparency", None)
        if isinstance(transparent, int) and 0 <= transparent <= 65535:
            table[transparent] = 255
        # Mode I is what has 16-bit tables; they are not defined for the big-endian modes.
        return image.convert("I").point(table, "L")
    if image.mode in ("I", "F"):
        lowest, highest = cast(tuple[float, float], image.getextrema())
        # 32-bit files carry no statement of their range: take the smallest of the usual ones that holds it.
        white = next((most for most in (1.0, 255.0, 65535.0) if highest <= most), highest)
        if image.mode == "I" and white == 1.0:
            white = 255.0
        black = min(0.0, lowest)
        scale = 255.0 / (white - black) if white > black else 1.0
        return image.convert("F").point(lambda value: value * scale - black * scale).convert("L")
    return image


def _flat(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the picture as L, RGB, CMYK or LAB, on white where it is transparent, and its alpha unless all opaque."""
    if image.mode == "1":
        return image.convert("L"), None
    _mend_key(image)
    transparent = image.info.get("transparency")
    if image.mode == "P":
        image = image.convert("RGB" if transparent is None else "RGBA")
    elif image.mode in ("L", "RGB") and transparent is not None:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK", "LAB", "LA", "RGBA"):
        image = image.convert("RGBA" if image.mode in ("PA", "La", "RGBa") else "RGB")
    if image.mode not in ("LA", "RGBA"):
        return image, None
    opaque = "L" if image.mode == "LA" else "RGB"
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert(opaque), None
    canvas = Image.new(opaque, image.size, "white")
    canvas.paste(image.convert(opaque), mask=alpha)
    return canvas, alpha


def with_alpha(image: Image.Image) -> Image.Image:
    """Return a decoded picture as RGBA, whatever its mode."""
    image = _eight_bit(image)
    _mend_key(image)
    return image.convert("RGBA")


def _mend_key(image: Image.Image) -> None:
    """The key colour of a 16-bit PNG has 16 bits, but its pixels were cut to their high bytes."""
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        image.info["transparency"] = tuple(value >> 8 for value in key)


# --- colour ---------------------------------------------------------------------------------------------------------
_SRGB = ImageCms.createProfile("sRGB")
_LAB = ImageCms.createProfile("LAB")
_SAME_COLOUR = 4  # of 255: the rounding of profiles that all mean sRGB
_MAX_PROFILES = 16
# (SHA-256 of the profile, mode) -> transform; None for a profile that is broken or means sRGB.
_transforms: OrderedDict[tuple[bytes, str], ImageCms.ImageCmsTransform | None] = OrderedDict()


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Apply the picture's own colour profile and return it as RGB. A broken profile is ignored."""
    if image.mode == "LAB":
        transform = ImageCms.buildTransform(_LAB, _SRGB, "LAB", "RGB")
        return cast(Image.Image, ImageCms.applyTransform(image, transform))
    if profile:
        key = (hashlib.sha256(profile).digest(), image.mode)
        if key not in _transforms:
            _transforms[key] = _transform(profile, image.mode)
            if len(_transforms) > _MAX_PROFILES:
                _transforms.popitem(last=False)
        _transforms.move_to_end(key)
        known = _transforms[key]
        if known is not None:
            return cast(Image.Image, ImageCms.applyTransform(image, known))
    return image if image.mode == "RGB" else image.convert("RGB")


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the way from `profile` to sRGB; None if it cannot be built or changes nothing.

    Whether a profile means sRGB is told by what it does, not by its name: the name is the uploader's to choose.
    """
    try:
        transform = ImageCms.buildTransform(ImageCms.ImageCmsProfile(io.BytesIO(profile)), _SRGB, mode, "RGB")
        if mode == "CMYK":
            return transform
        probe = _PROBES[mode]
        changed = ImageChops.difference(
            cast(Image.Image, ImageCms.applyTransform(probe, transform)), probe.convert("RGB")
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    bands = cast(tuple[tuple[int, int], ...], changed.getextrema())
    return None if max(highest for _, highest in bands) <= _SAME_COLOUR else transform


_STEPS = (0, 51, 102, 153, 204, 255)
_PROBES = {
    "L": Image.frombytes("L", (256, 1), bytes(range(256))),
    "RGB": Image.frombytes(
        "RGB", (216, 1), bytes(v for r in _STEPS for g in _STEPS for b in _STEPS for v in (r, g, b))
    ),
}
