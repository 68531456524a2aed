"""Every still format in every colour model, depth and orientation that can be written here."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from fedi_safety.core.enums import MediaType
from support.corpus import media_zoo
from support.corpus.media_zoo import chunk, exif, saved, stored
from support.corpus.zoo.subject import HEIGHT, WIDTH, Item, cut_out, disc, subject

Maker = Callable[..., Item]


def _item(form: str, kind: MediaType, name: str, data: bytes, bare: bool = False) -> Item:
    return Item(form, f"{form}, {name}", data, kind, bare=bare)


def _turned(make: Maker, kind: str, **options: Any) -> Iterator[Item]:
    """Yield all orientations that EXIF can name."""
    for orientation in media_zoo.STORED:
        data = saved(stored(orientation, subject()), kind, exif=exif(orientation), **options)
        yield make(f"orientation {orientation}", data)


def register() -> None:
    """Teach Pillow HEIC and JXL."""
    import pillow_heif
    import pillow_jxl  # noqa: F401 - registers itself

    pillow_heif.register_heif_opener()


def jpegs() -> Iterator[Item]:
    """Yield JPEG: samplings, scans, colour models, profiles, orientations, sizes that are decoded at a part."""
    make = partial(_item, "JPEG", MediaType.JPEG)
    for sampling in range(3):
        yield make(f"sampling {sampling}", saved(subject(), "JPEG", quality=90, subsampling=sampling))
        yield make(
            f"progressive, sampling {sampling}",
            saved(subject(), "JPEG", quality=90, subsampling=sampling, progressive=True),
        )
    yield make("RGB", saved(subject(), "JPEG", quality=95, keep_rgb=True))
    yield make("restart markers", saved(subject(), "JPEG", restart_marker_rows=1))
    yield make("grey", saved(disc(), "JPEG"), True)
    yield make("CMYK", saved(subject().convert("CMYK"), "JPEG", quality=95))
    yield make("YCCK", media_zoo.jpeg_ycck(subject()))
    profile = media_zoo.swapped_profile()
    yield make("profile", saved(media_zoo.swapped(subject()), "JPEG", quality=95, icc_profile=profile))
    for scale in (8, 25, 40):
        yield make(f"{scale} times as large", saved(subject(size=(WIDTH * scale, HEIGHT * scale)), "JPEG"))
    yield from _turned(make, "JPEG", quality=90)


def pngs() -> Iterator[Item]:
    """Yield PNG: all colour types and depths, interlaced or not, with and without transparency."""
    make = partial(_item, "PNG", MediaType.PNG)
    colours = np.asarray(subject())
    dark = np.asarray(disc())
    alpha = np.asarray(cut_out())[..., 3]
    few = subject().quantize(8)
    table = chunk(b"PLTE", bytes((few.getpalette() or [])[:24]))
    indices = np.asarray(few)

    def values(of: np.ndarray[Any, Any], depth: int) -> Callable[[int, int], tuple[int, ...]]:
        scaled = of.astype(int) * ((1 << depth) - 1) // 255
        return lambda x, y: tuple(int(value) for value in np.atleast_1d(scaled[y, x]))

    for laced in (False, True):
        how = ", interlaced" if laced else ""
        for depth in (1, 2, 4, 8, 16):
            yield make(f"grey of {depth} bits{how}", media_zoo.png(values(dark, depth), depth, 0, b"", laced), True)
        for depth in (4, 8):
            coded = media_zoo.png(lambda x, y: (int(indices[y, x]),), depth, 3, table, laced)
            yield make(f"palette of {depth} bits{how}", coded)
        for depth in (8, 16):
            yield make(f"colours of {depth} bits{how}", media_zoo.png(values(colours, depth), depth, 2, b"", laced))
            both = np.dstack((colours, alpha))
            yield make(
                f"colours and alpha of {depth} bits{how}", media_zoo.png(values(both, depth), depth, 6, b"", laced)
            )
            both = np.dstack((dark, alpha))
            yield make(
                f"grey and alpha of {depth} bits{how}", media_zoo.png(values(both, depth), depth, 4, b"", laced), True
            )
            key = chunk(b"tRNS", struct.pack(">HHH", *(170 * ((1 << depth) - 1) // 255,) * 3))
            yield make(
                f"colours of {depth} bits, key{how}", media_zoo.png(values(colours, depth), depth, 2, key, laced)
            )
    yield from _turned(make, "PNG")


def gifs() -> Iterator[Item]:
    """Yield GIF: interlaced or not, transparent, grey."""
    make = partial(_item, "GIF", MediaType.GIF)
    yield make("interlaced", saved(subject(), "GIF", interlace=1))
    yield make("not interlaced", saved(subject(), "GIF", interlace=0))
    yield make("transparent", saved(cut_out(), "GIF"))
    yield make("grey", saved(disc(), "GIF"), True)
    yield make("87a", b"GIF87a" + saved(subject(), "GIF")[6:])


def webps() -> Iterator[Item]:
    """Yield WebP: lossy, lossless, alpha, orientations."""
    make = partial(_item, "WebP", MediaType.WEBP)
    yield make("lossy", saved(subject(), "WEBP", quality=90))
    yield make("lossless", saved(subject(), "WEBP", lossless=True))
    yield make("lossy, alpha", saved(cut_out(), "WEBP", quality=90))
    yield make("lossless, alpha", saved(cut_out(), "WEBP", lossless=True))
    profile = media_zoo.swapped_profile()
    yield make("profile", saved(media_zoo.swapped(subject()), "WEBP", lossless=True, icc_profile=profile))
    yield from _turned(make, "WEBP", quality=90)


def bmps() -> Iterator[Item]:
    """Yield BMP of 1, 8, 16, 24 and 32 bits."""
    make = partial(_item, "BMP", MediaType.BMP)
    yield make("1 bit", saved(disc().convert("1"), "BMP"), True)
    yield make("grey", saved(disc(), "BMP"), True)
    yield make("8 bits", saved(subject().quantize(16), "BMP"))
    yield make("24 bits", saved(subject(), "BMP"))
    yield make("32 bits", saved(subject().convert("RGBA"), "BMP"))
    rows = np.asarray(subject())[::-1].astype(np.uint16)
    red, green, blue = rows[..., 0], rows[..., 1], rows[..., 2]
    five = (red >> 3) << 10 | (green >> 3) << 5 | blue >> 3
    yield make("16 bits, 5-5-5", media_zoo.bmp(16, 0, five.astype("<u2").tobytes()))
    six = (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
    yield make(
        "16 bits, 5-6-5", media_zoo.bmp(16, 3, six.astype("<u2").tobytes(), struct.pack("<III", 0xF800, 0x7E0, 0x1F))
    )


def tiffs() -> Iterator[Item]:
    """Yield TIFF: compressions, colour models, depths, byte orders, planes, orientations."""
    make = partial(_item, "TIFF", MediaType.TIFF)
    for compression in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "jpeg"):
        yield make(compression, saved(subject(), "TIFF", compression=compression))
    for compression in ("group3", "group4", "raw"):
        yield make(f"1 bit, {compression}", saved(disc().convert("1"), "TIFF", compression=compression), True)
    yield make("grey", saved(disc(), "TIFF"), True)
    yield make("palette", saved(subject().quantize(16), "TIFF"))
    yield make("CMYK", saved(subject().convert("CMYK"), "TIFF"))
    yield make("alpha", saved(cut_out(), "TIFF"))
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(subject(), to_lab)
    assert lab is not None
    yield make("Lab", saved(lab, "TIFF"))
    yield make("BigTIFF", saved(subject(), "TIFF", big_tiff=True))
    colours, dark = np.asarray(subject()), np.asarray(disc())
    for order in "<>":
        deep = (colours.astype(np.uint16) * 257).astype(order + "u2").tobytes()
        yield make(f"16 bits {order}", media_zoo.tiff([deep], 16, 2, 3, order=order))
        deep = (dark.astype(np.uint16) * 257).astype(order + "u2").tobytes()
        yield make(f"grey of 16 bits {order}", media_zoo.tiff([deep], 16, 1, 1, order=order), True)
    yield make("planes", media_zoo.tiff([colours[..., at].tobytes() for at in range(3)], 8, 2, 3, planar=2))
    yield make("floats", saved(Image.fromarray(dark.astype(np.float32) / 255), "TIFF"), True)
    yield make("32 bits", saved(Image.fromarray(dark.astype(np.int32) * 257), "TIFF"), True)
    for orientation in media_zoo.STORED:
        data = saved(stored(orientation, subject()), "TIFF", tiffinfo={274: orientation})
        yield make(f"orientation {orientation}", data)


def avifs() -> Iterator[Item]:
    """Yield AVIF: samplings, depths, alpha, orientations."""
    import imagecodecs

    make = partial(_item, "AVIF", MediaType.AVIF)
    for sampling in ("4:2:0", "4:2:2", "4:4:4"):
        yield make(sampling, saved(subject(), "AVIF", quality=90, speed=10, subsampling=sampling))
    yield make("grey", saved(disc(), "AVIF", quality=90, speed=10), True)
    yield make("alpha", saved(cut_out(), "AVIF", quality=90, speed=10))
    deep = np.asarray(subject()).astype(np.uint32)
    for bits in (10, 12):
        values = (deep * ((1 << bits) - 1) // 255).astype(np.uint16)
        data = imagecodecs.avif_encode(values, level=90, speed=10, bitspersample=bits)
        yield make(f"{bits} bits", bytes(data))
    yield from _turned(make, "AVIF", quality=90, speed=10)


def heics() -> Iterator[Item]:
    """Yield HEIC: depths, alpha, orientations."""
    register()
    make = partial(_item, "HEIC", MediaType.HEIC)
    for chroma in ("420", "422", "444"):
        yield make(chroma, saved(subject(), "HEIF", quality=90, chroma=chroma))
    yield make("grey", saved(disc(), "HEIF", quality=90), True)
    yield make("alpha", saved(cut_out(), "HEIF", quality=90))
    deep = (np.asarray(disc()).astype(np.uint16) * 257).astype("<u2")
    yield make("grey of 10 bits", saved(Image.frombytes("I;16", (WIDTH, HEIGHT), deep.tobytes()), "HEIF"), True)
    yield from _turned(make, "HEIF", quality=90)


def jxls() -> Iterator[Item]:
    """Yield JXL: lossy, lossless, depths, alpha, JPEG inside in all orientations."""
    import imagecodecs

    register()
    make = partial(_item, "JXL", MediaType.JXL)
    yield make("lossy", saved(subject(), "JXL", quality=90, effort=3))
    yield make("lossless", saved(subject(), "JXL", lossless=True, effort=3))
    yield make("container", saved(subject(), "JXL", lossless=True, effort=3, use_container=True))
    yield make("grey", saved(disc(), "JXL", lossless=True, effort=3), True)
    yield make("alpha", saved(cut_out(), "JXL", lossless=True, effort=3))
    deep = np.asarray(subject()).astype(np.uint32)
    for bits in (10, 12, 16):
        values = (deep * ((1 << bits) - 1) // 255).astype(np.uint16)
        data = imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=bits, effort=3)
        yield make(f"{bits} bits", bytes(data))
    for orientation in media_zoo.STORED:
        yield make(f"JPEG inside, orientation {orientation}", media_zoo.repacked_jpeg(orientation, subject()))


def stills() -> Iterator[Item]:
    """Yield all of them."""
    for maker in (jpegs, pngs, gifs, webps, bmps, tiffs, avifs, heics, jxls):
        yield from maker()
