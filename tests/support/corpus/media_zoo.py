"""Every still format, layout and kind of damage that the decoder must cope with, drawn by code.

All samples show the same picture: four quadrants of known colours, 96x64, so that a test can tell whether colours and
orientation came out right. Nothing here is a photograph.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image, ImageCms

from fedi_safety.core.enums import MediaType, Reason

Colour = tuple[int, int, int]
Quadrants = tuple[Colour, Colour, Colour, Colour]  # top left, top right, bottom left, bottom right

WIDTH, HEIGHT = 96, 64
COLOURS: Quadrants = ((220, 40, 40), (40, 180, 60), (40, 60, 200), (230, 210, 50))
GREYS: Quadrants = ((40, 40, 40), (110, 110, 110), (180, 180, 180), (240, 240, 240))
BILEVEL: Quadrants = ((0, 0, 0), (255, 255, 255), (255, 255, 255), (255, 255, 255))
WHITE = (255, 255, 255)
GONE: Quadrants = (WHITE, *COLOURS[1:])  # the first quadrant is transparent

T = Image.Transpose
# How an upright picture is stored so that each EXIF orientation turns it upright again.
STORED = {
    1: None,
    2: T.FLIP_LEFT_RIGHT,
    3: T.ROTATE_180,
    4: T.FLIP_TOP_BOTTOM,
    5: T.TRANSPOSE,
    6: T.ROTATE_90,
    7: T.TRANSVERSE,
    8: T.ROTATE_270,
}


@dataclass(frozen=True)
class Sample:
    """One file and what decoding it must give: four colours, or the reason why there is no picture."""

    name: str
    data: bytes
    media_type: MediaType
    expected: Quadrants | Reason
    tolerance: int = 3
    size: tuple[int, int] = (WIDTH, HEIGHT)


def quadrant(x: int, y: int) -> int:
    """Return which quadrant a pixel lies in."""
    return (x >= WIDTH // 2) + 2 * (y >= HEIGHT // 2)


def picture(colours: Quadrants = COLOURS, scale: int = 1) -> Image.Image:
    """Draw the subject."""
    image = Image.new("RGB", (WIDTH * scale, HEIGHT * scale))
    half_width, half_height = image.width // 2, image.height // 2
    for index, colour in enumerate(colours):
        x, y = index % 2 * half_width, index // 2 * half_height
        image.paste(colour, (x, y, x + half_width, y + half_height))
    return image


def stored(orientation: int, image: Image.Image | None = None) -> Image.Image:
    """Return the picture as a camera held otherwise would store it."""
    turn = STORED[orientation]
    image = picture() if image is None else image
    return image if turn is None else image.transpose(turn)


def exif(orientation: int) -> bytes:
    """Return EXIF that says nothing but the orientation."""
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 274, 3, 1, orientation, 0, 0)


def holed(image: Image.Image | None = None) -> Image.Image:
    """Make the first quadrant transparent, with black underneath."""
    result = (picture() if image is None else image).convert("RGBA")
    result.paste((0, 0, 0, 0), (0, 0, result.width // 2, result.height // 2))
    return result


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode with Pillow."""
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


# --- colour profiles ------------------------------------------------------------------------------------------------
def srgb_profile() -> bytes:
    """Return an ordinary sRGB profile."""
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def swapped_profile() -> bytes:
    """Return a profile that calls itself sRGB but means blue by red and red by blue."""
    profile = srgb_profile()
    head, count = profile[:132], int.from_bytes(profile[128:132], "big")
    table = profile[132 : 132 + 12 * count]
    table = table.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    return head + table + profile[132 + 12 * count :]


def swapped(image: Image.Image) -> Image.Image:
    """Return the picture with red and blue exchanged."""
    red, green, blue = image.split()
    return Image.merge("RGB", (blue, green, red))


# --- writers for what Pillow cannot write ---------------------------------------------------------------------------
def chunk(kind: bytes, body: bytes) -> bytes:
    """Return one PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png(
    sample: Callable[[int, int], tuple[int, ...]],
    depth: int,
    colour_type: int,
    extra: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """Write a PNG of any depth and colour type; `sample` gives a pixel's channels."""

    digits = [format(value, f"0{depth}b") for value in range(1 << min(depth, 8))]

    def row(xs: range, y: int) -> bytes:
        values = [value for x in xs for value in sample(x, y)]
        if depth == 16:
            return b"\0" + struct.pack(f">{len(values)}H", *values)
        if depth == 8:
            return b"\0" + bytes(values)
        bits = "".join(map(digits.__getitem__, values))
        bits += "0" * (-len(bits) % 8)
        return b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")

    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(row(range(x, WIDTH, dx), at) for x, y, dx, dy in passes for at in range(y, HEIGHT, dy))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour_type, 0, 0, int(interlaced))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def palette(colours: Quadrants = COLOURS) -> bytes:
    """Return a PNG palette."""
    return chunk(b"PLTE", b"".join(bytes(colour) for colour in colours))


def bmp(depth: int, compression: int, pixels: bytes, masks: bytes = b"", colours: bytes = b"") -> bytes:
    """Write a BMP, rows bottom to top."""
    offset = 14 + 40 + len(masks) + len(colours)
    head = struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset)
    info = struct.pack(
        "<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, depth, compression, len(pixels), 0, 0, len(colours) // 4, 0
    )
    return head + info + masks + colours + pixels


def bmp_rle8() -> bytes:
    """Write a run-length coded BMP of 8 bits."""
    half = WIDTH // 2
    rows = b""
    for y in reversed(range(HEIGHT)):
        left, right = quadrant(0, y), quadrant(half, y)
        rows += bytes((half, left, half, right, 0, 0))
    colours = b"".join(bytes((*reversed(colour), 0)) for colour in COLOURS)
    return bmp(8, 1, rows + b"\0\1", colours=colours)


def bmp16(compression: int) -> bytes:
    """Write a BMP of 16 bits: 5-5-5, or 5-6-5 by masks."""
    green_bits = 6 if compression else 5

    def pixel(x: int, y: int) -> int:
        red, green, blue = COLOURS[quadrant(x, y)]
        return (red >> 3) << (5 + green_bits) | (green >> (8 - green_bits)) << 5 | blue >> 3

    pixels = b"".join(struct.pack("<H", pixel(x, y)) for y in reversed(range(HEIGHT)) for x in range(WIDTH))
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x1F) if compression else b""
    return bmp(16, compression, pixels, masks)


def tiff(strips: list[bytes], bits: int, photometric: int, samples: int, planar: int = 1, order: str = "<") -> bytes:
    """Write an uncompressed TIFF, one strip for each plane."""
    at = 8
    offsets = []
    for strip in strips:
        offsets.append(at)
        at += len(strip)
    tags: list[tuple[int, int, list[int]]] = [
        (256, 3, [WIDTH]),
        (257, 3, [HEIGHT]),
        (258, 3, [bits] * samples),
        (259, 3, [1]),
        (262, 3, [photometric]),
        (273, 4, offsets),
        (277, 3, [samples]),
        (278, 3, [HEIGHT]),
        (279, 4, [len(strip) for strip in strips]),
        (284, 3, [planar]),
    ]
    arrays, entries = b"", b""
    for tag, kind, values in tags:
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            where = at + len(arrays)
            arrays += packed
            packed = struct.pack(order + "I", where)
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at + len(arrays))
    return head + b"".join(strips) + arrays + struct.pack(order + "H", len(tags)) + entries + bytes(4)


def jpeg_ycck(image: Image.Image | None = None) -> bytes:
    """Write an Adobe YCCK JPEG: a CMYK one whose channels hold YCC of the inverted colours, and says so."""
    inverted = (picture() if image is None else image).point(lambda value: 255 - value).convert("YCbCr")
    channels = [channel.point(lambda value: 255 - value) for channel in inverted.split()]
    data = saved(Image.merge("CMYK", (*channels, Image.new("L", inverted.size, 0))), "JPEG", quality=95)
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    return data[:at] + b"\2" + data[at + 1 :]


def jpeg_with_size(width: int, height: int) -> bytes:
    """Return a JPEG whose header lies about its size."""
    data = saved(picture(), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


# --- the samples ----------------------------------------------------------------------------------------------------
def _jpegs() -> Iterator[Sample]:
    def sample(name: str, data: bytes, expected: Quadrants = COLOURS, tolerance: int = 6) -> Sample:
        return Sample(f"jpeg {name}", data, MediaType.JPEG, expected, tolerance)

    yield sample("4:4:4", saved(picture(), "JPEG", quality=95, subsampling=0))
    yield sample("4:2:0", saved(picture(), "JPEG", quality=90))
    yield sample("progressive", saved(picture(), "JPEG", quality=90, progressive=True))
    yield sample("restart markers", saved(picture(), "JPEG", quality=90, restart_marker_rows=1))
    yield sample("grey", saved(picture(GREYS).convert("L"), "JPEG", quality=95), GREYS)
    yield sample("CMYK as Adobe inverts it", saved(picture().convert("CMYK"), "JPEG", quality=95))
    yield sample("YCCK as Adobe inverts it", jpeg_ycck())
    for orientation in STORED:
        image, tag = stored(orientation), exif(orientation)
        yield sample(f"orientation {orientation}", saved(image, "JPEG", quality=95, exif=tag))
    yield sample("orientation 9 means nothing", saved(picture(), "JPEG", quality=95, exif=exif(9)))
    yield sample("broken EXIF", saved(picture(), "JPEG", quality=95, exif=b"Exif\0\0MM\0*\0\0\xff\xff"))
    yield sample("sRGB profile", saved(picture(), "JPEG", quality=95, icc_profile=srgb_profile()))
    yield sample("profile", saved(swapped(picture()), "JPEG", quality=95, icc_profile=swapped_profile()))
    yield sample("broken profile", saved(picture(), "JPEG", quality=95, icc_profile=b"not a profile" * 20))
    yield sample(
        "profile of another colour space",
        saved(picture(GREYS).convert("L"), "JPEG", quality=95, icc_profile=srgb_profile()),
        GREYS,
    )
    yield sample("with a clip behind it", saved(picture(), "JPEG", quality=95) + b"\0\0\0\x18ftypmp42" + bytes(500))


def _pngs() -> Iterator[Sample]:
    def sample(name: str, data: bytes, expected: Quadrants = COLOURS, tolerance: int = 1) -> Sample:
        return Sample(f"png {name}", data, MediaType.PNG, expected, tolerance)

    def index(x: int, y: int) -> tuple[int, ...]:
        return (quadrant(x, y),)

    for interlaced in (False, True):
        how = " interlaced" if interlaced else ""
        yield sample(f"1-bit{how}", png(lambda x, y: (int(quadrant(x, y) > 0),), 1, 0, interlaced=interlaced), BILEVEL)
        yield sample(
            f"2-bit grey{how}",
            png(index, 2, 0, interlaced=interlaced),
            ((0, 0, 0), (85, 85, 85), (170, 170, 170), WHITE),
        )
        yield sample(
            f"4-bit grey{how}",
            png(lambda x, y: (5 * quadrant(x, y),), 4, 0, interlaced=interlaced),
            ((0, 0, 0), (85, 85, 85), (170, 170, 170), WHITE),
        )
        for depth, factor in ((8, 1), (16, 257)):

            def grey(x: int, y: int, factor: int = factor) -> tuple[int, ...]:
                return (GREYS[quadrant(x, y)][0] * factor,)

            def colour(x: int, y: int, factor: int = factor) -> tuple[int, ...]:
                return tuple(value * factor for value in COLOURS[quadrant(x, y)])

            def alpha(x: int, y: int, factor: int = factor) -> tuple[int, ...]:
                return (255 * factor if quadrant(x, y) else 0,)

            def grey_alpha(
                x: int, y: int, grey: Callable[..., Any] = grey, alpha: Callable[..., Any] = alpha
            ) -> tuple[int, ...]:
                return (*grey(x, y), *alpha(x, y))

            def colour_alpha(
                x: int, y: int, colour: Callable[..., Any] = colour, alpha: Callable[..., Any] = alpha
            ) -> tuple[int, ...]:
                return (*colour(x, y), *alpha(x, y))

            grey_key = chunk(b"tRNS", struct.pack(">H", GREYS[0][0] * factor))
            colour_key = chunk(b"tRNS", struct.pack(">HHH", *(value * factor for value in COLOURS[0])))
            yield sample(f"{depth}-bit grey{how}", png(grey, depth, 0, interlaced=interlaced), GREYS)
            yield sample(f"{depth}-bit{how}", png(colour, depth, 2, interlaced=interlaced))
            yield sample(
                f"{depth}-bit grey, alpha{how}", png(grey_alpha, depth, 4, interlaced=interlaced), (WHITE, *GREYS[1:])
            )
            yield sample(f"{depth}-bit, alpha{how}", png(colour_alpha, depth, 6, interlaced=interlaced), GONE)
            yield sample(f"{depth}-bit grey, key{how}", png(grey, depth, 0, grey_key, interlaced), (WHITE, *GREYS[1:]))
            yield sample(f"{depth}-bit, key{how}", png(colour, depth, 2, colour_key, interlaced), GONE)
        for depth in (2, 4, 8):
            yield sample(f"{depth}-bit palette{how}", png(index, depth, 3, palette(), interlaced))
            yield sample(
                f"{depth}-bit palette, tRNS{how}",
                png(index, depth, 3, palette() + chunk(b"tRNS", b"\0"), interlaced),
                GONE,
            )
    half = chunk(b"tRNS", b"\x80")
    mixed: Quadrants = ((237, 147, 147), *COLOURS[1:])
    yield sample("half transparent on white", png(index, 8, 3, palette() + half), mixed, 2)
    yield sample("orientation 6", saved(stored(6), "PNG", exif=exif(6)))
    yield sample("profile", saved(swapped(picture()), "PNG", icc_profile=swapped_profile()), tolerance=3)
    yield sample(
        "animated, the first frame", saved(picture(), "PNG", save_all=True, append_images=[Image.new("RGB", (96, 64))])
    )


def _gifs() -> Iterator[Sample]:
    yield Sample("gif", saved(picture(), "GIF"), MediaType.GIF, COLOURS)
    yield Sample("gif not interlaced", saved(picture(), "GIF", interlace=0), MediaType.GIF, COLOURS)
    yield Sample("gif 87a", b"GIF87a" + saved(picture(), "GIF")[6:], MediaType.GIF, COLOURS)
    yield Sample("gif transparent", saved(holed(), "GIF"), MediaType.GIF, GONE)
    second = Image.new("RGB", (WIDTH, HEIGHT))
    animated = saved(picture(), "GIF", save_all=True, append_images=[second], duration=100)
    yield Sample("gif animated, the first frame", animated, MediaType.GIF, COLOURS)


def _webps() -> Iterator[Sample]:
    def sample(name: str, data: bytes, expected: Quadrants = COLOURS, tolerance: int = 8) -> Sample:
        return Sample(f"webp {name}", data, MediaType.WEBP, expected, tolerance)

    yield sample("lossy", saved(picture(), "WEBP", quality=95))
    yield sample("lossless", saved(picture(), "WEBP", lossless=True), tolerance=0)
    yield sample("alpha", saved(holed(), "WEBP", lossless=True), GONE, 0)
    yield sample("lossy, alpha", saved(holed(), "WEBP", quality=95), GONE)
    second = Image.new("RGB", (WIDTH, HEIGHT))
    animated = saved(picture(), "WEBP", lossless=True, save_all=True, append_images=[second], duration=100)
    yield sample("animated, the first frame", animated)
    for orientation in STORED:
        data = saved(stored(orientation), "WEBP", lossless=True, exif=exif(orientation))
        yield sample(f"orientation {orientation}", data)
    yield sample("profile", saved(swapped(picture()), "WEBP", lossless=True, icc_profile=swapped_profile()))


def _bmps() -> Iterator[Sample]:
    def sample(name: str, data: bytes, expected: Quadrants = COLOURS, tolerance: int = 0) -> Sample:
        return Sample(f"bmp {name}", data, MediaType.BMP, expected, tolerance)

    yield sample("24-bit", saved(picture(), "BMP"))
    yield sample("32-bit", saved(picture().convert("RGBA"), "BMP"))
    yield sample("8-bit", saved(picture().quantize(4), "BMP"), tolerance=2)
    yield sample("grey", saved(picture(GREYS).convert("L"), "BMP"), GREYS)
    yield sample("1-bit", saved(picture(BILEVEL).convert("1"), "BMP"), BILEVEL)
    yield sample("run-length coded", bmp_rle8())
    yield sample("16-bit 5-5-5", bmp16(0), tolerance=8)
    yield sample("16-bit 5-6-5", bmp16(3), tolerance=8)


def _tiffs() -> Iterator[Sample]:
    def sample(name: str, data: bytes, expected: Quadrants = COLOURS, tolerance: int = 1) -> Sample:
        return Sample(f"tiff {name}", data, MediaType.TIFF, expected, tolerance)

    def values(channel: int) -> list[int]:
        return [COLOURS[quadrant(x, y)][channel] for y in range(HEIGHT) for x in range(WIDTH)]

    for compression in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"):
        yield sample(compression, saved(picture(), "TIFF", compression=compression))
    yield sample("JPEG", saved(picture(), "TIFF", compression="jpeg", quality=95), tolerance=6)
    for compression in ("group3", "group4"):
        yield sample(compression, saved(picture(BILEVEL).convert("1"), "TIFF", compression=compression), BILEVEL)
    yield sample("grey", saved(picture(GREYS).convert("L"), "TIFF"), GREYS)
    yield sample("palette", saved(picture().quantize(4), "TIFF"), tolerance=2)
    yield sample("CMYK", saved(picture().convert("CMYK"), "TIFF"))
    yield sample("alpha", saved(holed(), "TIFF"), GONE)
    yield sample("Lab", saved(_lab(), "TIFF"), tolerance=8)
    yield sample("BigTIFF", saved(picture(), "TIFF", big_tiff=True))
    yield sample("two pages", saved(picture(), "TIFF", save_all=True, append_images=[Image.new("RGB", (96, 64))]))
    greys = [GREYS[quadrant(x, y)][0] for y in range(HEIGHT) for x in range(WIDTH)]
    for order in ("<", ">"):
        name = {"<": "little-endian", ">": "big-endian"}[order]
        wide = struct.pack(f"{order}{len(greys)}H", *(value * 257 for value in greys))
        yield sample(f"16-bit grey, {name}", tiff([wide], 16, 1, 1, order=order), GREYS)
        rgb = [value * 257 for pixel in zip(values(0), values(1), values(2), strict=True) for value in pixel]
        yield sample(f"16-bit, {name}", tiff([struct.pack(f"{order}{len(rgb)}H", *rgb)], 16, 2, 3, order=order))
    yield sample("planar", tiff([bytes(values(channel)) for channel in range(3)], 8, 2, 3, planar=2))
    for name, most in (("0 to 1", 1 / 255), ("0 to 255", 1.0)):
        floats = Image.new("F", (WIDTH, HEIGHT))
        floats.putdata([value * most for value in greys[:-1]] + [255 * most])
        yield sample(f"float, {name}", saved(floats, "TIFF"), GREYS)
    whole = Image.new("I", (WIDTH, HEIGHT))
    whole.putdata([value * 257 for value in greys[:-1]] + [65535])
    yield sample("32-bit", saved(whole, "TIFF"), GREYS)
    for orientation in STORED:
        yield sample(f"orientation {orientation}", saved(stored(orientation), "TIFF", tiffinfo={274: orientation}))


def _lab() -> Image.Image:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    converted = ImageCms.applyTransform(picture(), to_lab)
    assert converted is not None
    return converted


def _avifs() -> Iterator[Sample]:
    def sample(name: str, data: bytes, expected: Quadrants = COLOURS, tolerance: int = 8) -> Sample:
        return Sample(f"avif {name}", data, MediaType.AVIF, expected, tolerance)

    yield sample("plain", saved(picture(), "AVIF", quality=95, speed=9))
    yield sample("4:4:4", saved(picture(), "AVIF", quality=95, subsampling="4:4:4", speed=9))
    yield sample("grey", saved(picture(GREYS).convert("L"), "AVIF", quality=95, speed=9), GREYS)
    yield sample("alpha", saved(holed(), "AVIF", quality=95, speed=9), GONE)
    second = Image.new("RGB", (WIDTH, HEIGHT))
    animated = saved(picture(), "AVIF", quality=95, speed=9, save_all=True, append_images=[second], duration=100)
    yield sample("animated, the first frame", animated)
    for orientation in STORED:
        data = saved(stored(orientation), "AVIF", quality=95, speed=9, exif=exif(orientation))
        yield sample(f"orientation {orientation}", data)
    profile = swapped_profile()
    yield sample("profile", saved(swapped(picture()), "AVIF", quality=95, speed=9, icc_profile=profile))


def _heics() -> Iterator[Sample]:
    import pillow_heif

    pillow_heif.register_heif_opener()

    def sample(name: str, data: bytes, expected: Quadrants = COLOURS, tolerance: int = 8) -> Sample:
        return Sample(f"heic {name}", data, MediaType.HEIC, expected, tolerance)

    yield sample("plain", saved(picture(), "HEIF", quality=95))
    yield sample("grey", saved(picture(GREYS).convert("L"), "HEIF", quality=95), GREYS)
    yield sample("alpha", saved(holed(), "HEIF", quality=95), GONE)
    deep = Image.frombytes("I;16", (WIDTH, HEIGHT), _deep_greys())
    yield sample("10-bit grey", saved(deep, "HEIF", quality=95), GREYS)
    for orientation in STORED:
        data = saved(stored(orientation), "HEIF", quality=95, exif=exif(orientation))
        yield sample(f"orientation {orientation}", data)
    yield sample("profile", saved(swapped(picture()), "HEIF", quality=95, icc_profile=swapped_profile()))


def _jxls() -> Iterator[Sample]:
    import pillow_jxl  # noqa: F401 - registers itself

    def sample(name: str, data: bytes, expected: Quadrants = COLOURS, tolerance: int = 8) -> Sample:
        return Sample(f"jxl {name}", data, MediaType.JXL, expected, tolerance)

    yield sample("lossy", saved(picture(), "JXL", quality=95, effort=3))
    yield sample("lossless", saved(picture(), "JXL", lossless=True, effort=3), tolerance=0)
    yield sample("container", saved(picture(), "JXL", lossless=True, effort=3, use_container=True), tolerance=0)
    yield sample("grey", saved(picture(GREYS).convert("L"), "JXL", lossless=True, effort=3), GREYS)
    yield sample("alpha", saved(holed(), "JXL", lossless=True, effort=3), GONE)
    for orientation in STORED:
        yield sample(f"repacked JPEG, orientation {orientation}", repacked_jpeg(orientation))
    ignored = saved(picture(), "JXL", lossless=True, effort=3, use_container=True, exif=exif(3))
    yield sample("EXIF does not turn it, its codestream would", ignored, tolerance=0)
    # The encoder calls 16-bit samples linear light; a reader that honours this must brighten them.
    deep = Image.frombytes("I;16", (WIDTH, HEIGHT), _deep_greys())
    tl, tr, bl, br = (_gamma_coded(grey) for grey, _, _ in GREYS)
    yield sample("16-bit linear grey", saved(deep, "JXL", lossless=True, effort=3), (tl, tr, bl, br), 2)


def repacked_jpeg(orientation: int, image: Image.Image | None = None) -> bytes:
    """Return a JXL from which the JPEG can be restored to the byte. The encoder wants a named file."""
    descriptor = os.memfd_create("jpeg")
    try:
        os.write(descriptor, saved(stored(orientation, image), "JPEG", quality=95, exif=exif(orientation)))
        with Image.open(f"/proc/self/fd/{descriptor}") as jpeg:
            return saved(jpeg, "JXL", lossless_jpeg=True)
    finally:
        os.close(descriptor)


def _gamma_coded(linear: int) -> Colour:
    """Return linear light (0 to 255) as sRGB codes it."""
    value = round(255 * (1.055 * (linear / 255) ** (1 / 2.4) - 0.055))
    return (value, value, value)


def _deep_greys() -> bytes:
    values = (GREYS[quadrant(x, y)][0] * 257 for y in range(HEIGHT) for x in range(WIDTH))
    return struct.pack(f"<{WIDTH * HEIGHT}H", *values)


def _noise(count: int) -> bytes:
    """Return bytes that look random and are the same each time."""
    state, out = 12345, bytearray()
    for _ in range(count):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        out.append(state >> 16 & 0xFF)
    return bytes(out)


def _textured() -> Image.Image:
    """Return the picture with noise on it, so that a file has enough bytes to be cut anywhere."""
    noise = Image.frombytes("RGB", (WIDTH, HEIGHT), _noise(WIDTH * HEIGHT * 3))
    return Image.blend(picture(), noise, 0.5)


@cache
def whole() -> dict[MediaType, bytes]:
    """Return one good, noisy file of each format, to be damaged."""
    import pillow_heif
    import pillow_jxl  # noqa: F401 - registers itself

    pillow_heif.register_heif_opener()
    image = _textured()
    return {
        MediaType.JPEG: saved(image, "JPEG", quality=90),
        MediaType.PNG: saved(image, "PNG"),
        MediaType.GIF: saved(image, "GIF"),
        MediaType.WEBP: saved(image, "WEBP", quality=90),
        MediaType.BMP: saved(image, "BMP"),
        MediaType.TIFF: saved(image, "TIFF", compression="tiff_lzw"),
        MediaType.AVIF: saved(image, "AVIF", quality=90, speed=9),
        MediaType.HEIC: saved(image, "HEIF", quality=90),
        MediaType.JXL: saved(image, "JXL", quality=90, effort=3, use_container=True),
    }


# What viewers show of these files as far as the pixels go, and what is therefore judged in part.
SHOWN_CUT = (MediaType.JPEG, MediaType.PNG, MediaType.GIF, MediaType.WEBP, MediaType.BMP)


def _cut(kind: MediaType, data: bytes) -> Iterator[Sample]:
    for percent in (60, 97):
        cut = data[: len(data) * percent // 100]
        yield Sample(f"{kind.value} cut at {percent} %", cut, kind, Reason.TRUNCATED)


@cache
def cut() -> list[Sample]:
    """Return stills whose end is missing, of the formats that are judged as far as their pixels go."""
    return [sample for kind in SHOWN_CUT for sample in _cut(kind, whole()[kind])]


def _damaged() -> Iterator[Sample]:
    for kind, data in whole().items():
        if kind not in SHOWN_CUT:
            yield from _cut(kind, data)
        yield Sample(f"{kind.value} cut in its header", data[:40], kind, Reason.TRUNCATED)
    garbled = {
        MediaType.PNG: whole()[MediaType.PNG][:60] + _noise(400) + whole()[MediaType.PNG][460:],
        MediaType.GIF: whole()[MediaType.GIF][:13] + _noise(3000),
        MediaType.WEBP: whole()[MediaType.WEBP][:20] + _noise(len(whole()[MediaType.WEBP]) - 20),
        # Video codecs conceal what is wrong in their data; in the container nothing can be concealed.
        MediaType.AVIF: _garbled_box(whole()[MediaType.AVIF], b"meta"),
        MediaType.HEIC: _garbled_box(whole()[MediaType.HEIC], b"hvcC"),
        MediaType.JXL: whole()[MediaType.JXL][:60] + _noise(len(whole()[MediaType.JXL]) - 60),
    }
    for kind, data in garbled.items():
        yield Sample(f"{kind.value} garbled", data, kind, Reason.CORRUPT)
    yield Sample("another format than told", whole()[MediaType.PNG], MediaType.JPEG, Reason.CORRUPT)
    deep = saved(picture(), "JPEG")
    at = deep.index(b"\xff\xc0") + 4
    yield Sample("jpeg 12-bit", deep[:at] + b"\x0c" + deep[at + 1 :], MediaType.JPEG, Reason.UNSUPPORTED)


def _garbled_box(data: bytes, kind: bytes) -> bytes:
    at = data.index(kind) + 8
    return data[:at] + _noise(40) + data[at + 40 :]


def _bombs() -> Iterator[Sample]:
    huge = struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", huge) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    yield Sample("png bomb", bomb, MediaType.PNG, Reason.TOO_LARGE)
    yield Sample("jpeg bomb", jpeg_with_size(65500, 65500), MediaType.JPEG, Reason.TOO_LARGE)
    gif = saved(picture(), "GIF")
    yield Sample("gif bomb", gif[:6] + b"\xff\xff\xff\xff" + gif[10:], MediaType.GIF, Reason.TOO_LARGE)
    data = saved(picture(), "BMP")
    data = data[:18] + struct.pack("<ii", 65535, 65535) + data[26:]
    yield Sample("bmp bomb", data, MediaType.BMP, Reason.TOO_LARGE)
    data = tiff([bytes(WIDTH * HEIGHT)], 8, 1, 1)
    for tag in (256, 257):
        at = data.index(struct.pack("<HHI", tag, 3, 1)) + 8
        data = data[:at] + b"\xff\xff" + data[at + 2 :]
    yield Sample("tiff bomb", data, MediaType.TIFF, Reason.TOO_LARGE)
    webp = b"VP8L" + struct.pack("<IBI", 10, 0x2F, 16382 | 16382 << 14) + bytes(5)
    webp = b"RIFF" + struct.pack("<I", 4 + len(webp)) + b"WEBP" + webp
    yield Sample("webp bomb", webp, MediaType.WEBP, Reason.TOO_LARGE)
    bits = 0 | 3 << 1 | 65534 << 3 | 0 << 33 | 3 << 36 | 65534 << 38
    jxl = b"\xff\x0a" + bits.to_bytes(16, "little")
    yield Sample("jxl bomb", jxl, MediaType.JXL, Reason.TOO_LARGE)
    boxed = b"\0\0\0\x0cJXL \r\n\x87\n" + struct.pack(">I", len(jxl) + 12) + b"jxlp" + bytes(4) + jxl
    yield Sample("jxl bomb in a container", boxed, MediaType.JXL, Reason.TOO_LARGE)
    for kind in (MediaType.AVIF, MediaType.HEIC):
        data = whole()[kind]
        at = data.index(b"ispe") + 8
        data = data[:at] + struct.pack(">II", 30000, 30000) + data[at + 8 :]
        yield Sample(f"{kind.value} bomb", data, kind, Reason.TOO_LARGE)


@cache
def good() -> tuple[Sample, ...]:
    """Return all files that show the picture."""
    makers = (_jpegs, _pngs, _gifs, _webps, _bmps, _tiffs, _avifs, _heics, _jxls)
    return tuple(sample for maker in makers for sample in maker())


@cache
def bad() -> tuple[Sample, ...]:
    """Return all files that must come back as unscanned, with the reason."""
    return (*_damaged(), *_bombs())


def not_media() -> dict[str, bytes]:
    """Return things that lie about in media stores and are no media, by the names they might have."""
    return {
        "empty.png": b"",
        "page.jpg": b"<!DOCTYPE html>\n<html><head><title>Not found</title></head><body></body></html>",
        "feed.png": b'<?xml version="1.0"?>\n<rss version="2.0"><channel></channel></rss>',
        "table.csv": b"id,name\n1,one\n2,two\n",
        "archive.zip": b"PK\x03\x04\x14\0\0\0" + bytes(30),
        "data.db": b"SQLite format 3\0" + bytes(80),
        "note.txt": b"BM is not always a bitmap, and this is a text about it.",
        "bm": b"BM",
        "zeros.bin": bytes(4096),
        "riff.ani": b"RIFF\x24\0\0\0ACONanih",
        "short": b"\xff\xd8",
    }
