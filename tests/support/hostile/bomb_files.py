"""Makes bombs, with little memory and time of its own: small files that ask for a lot of both."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import Any

import av
import pillow_heif
import pillow_jxl  # noqa: F401 - it registers itself
from PIL import Image

from support.corpus.media_zoo import bmp, chunk, jpeg_with_size, saved
from support.corpus.moving import clip, numbered

pillow_heif.register_heif_opener()

_PNG = b"\x89PNG\r\n\x1a\n"


def _ihdr(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


@cache
def _block_of_zeros() -> bytes:
    """Return a MiB of zeros, deflated up to a byte's boundary: such blocks may follow each other as often as wanted."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)


def zeros(size: int) -> bytes:
    """Return so many zeros, deflated: a thousandth of them."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = deflate.compress(bytes(size & ((1 << 20) - 1))) + deflate.flush()
    adler = (size % 65521) << 16 | 1
    return b"\x78\xda" + _block_of_zeros() * (size >> 20) + end + struct.pack(">I", adler)


def _small_png(*before: bytes, after: tuple[bytes, ...] = (), pixels: bytes | None = None) -> bytes:
    data = zlib.compress(b"\0\x40\x80\xc0" * 8 * 8) if pixels is None else pixels
    return b"".join((_PNG, _ihdr(1, 32), *before, chunk(b"IDAT", data), *after, chunk(b"IEND", b"")))


def png_65535() -> bytes:
    return b"".join((_PNG, _ihdr(65535, 65535), chunk(b"IDAT", zeros(64 << 20)), chunk(b"IEND", b"")))


def png_at_the_cap() -> bytes:
    """100 megapixels of one bit each: what a header within the cap can cost."""
    return b"".join((_PNG, _ihdr(10000, 10000, 1, 0), chunk(b"IDAT", zeros(1251 * 10000)), chunk(b"IEND", b"")))


def png_rgba16_interlaced_at_the_cap() -> bytes:
    size = 8 * 9990 * 9990 + 20000
    return b"".join((_PNG, _ihdr(9990, 9990, 16, 6, 1), chunk(b"IDAT", zeros(size)), chunk(b"IEND", b"")))


def png_4_gib() -> bytes:
    """4 GiB of zeros in the stream of a picture that needs 256 bytes."""
    return _small_png(pixels=zeros_4_gib())


@cache
def zeros_4_gib() -> bytes:
    return zeros(4 << 30)


def png_text(kind: bytes, before: bool) -> bytes:
    """4 GiB in a text, or a colour profile, beside the picture."""
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
    bomb = chunk(kind, head + zeros_4_gib())
    return _small_png(bomb) if before else _small_png(after=(bomb,))


def png_many_texts() -> bytes:
    """Many texts, each below what a reader allows."""
    return _small_png(chunk(b"zTXt", b"k\0\0" + zeros(1 << 20)) * 1000)


def png_many_chunks() -> bytes:
    return _small_png(chunk(b"prVt", b"") * 1_000_000)


def gif(
    width: int,
    height: int,
    frames: int,
    patch: tuple[int, int] = (1, 1),
    pixels: bytes = b"\x02\x02\x4c\x01\0",
    flags: int = 0,
) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    control = b"\x21\xf9\x04" + bytes([flags]) + b"\x02\0\0\0"
    one = control + b"\x2c" + struct.pack("<HHHHB", 0, 0, *patch, 0) + pixels
    return head + one * frames + b"\x3b"


def gif_large_frames() -> bytes:
    """Frames of 100 megapixels each, each laid over the one before."""
    big = Image.new("P", (9990, 9990))
    big.putpalette([0, 0, 0, 255, 255, 255])
    data = saved(big, "GIF")
    at = data.index(b"\x2c", 13 + (3 << (1 + (data[10] & 7))))
    one = b"\x21\xf9\x04\x01\x02\0\0\0" + data[at:-1]
    return data[:at] + one * 60 + b"\x3b"


def apng(width: int, height: int, frames: int, patch: tuple[int, int] = (1, 1), dispose: int = 2) -> bytes:
    parts = [_PNG, _ihdr(width, height, 8, 6), chunk(b"acTL", struct.pack(">II", frames, 0))]
    pixels = zeros((4 * patch[0] + 1) * patch[1])
    for number in range(frames):
        control = struct.pack(">IIIIIHHBB", 2 * number, *patch, 0, 0, 1, 10, dispose, 1)
        parts += [chunk(b"fcTL", control), chunk(b"fdAT", struct.pack(">I", 2 * number + 1) + pixels)]
    return b"".join((*parts, chunk(b"IEND", b"")))


def _three_bytes(number: int) -> bytes:
    return struct.pack("<I", number)[:3]


def webp_animation(width: int, height: int, frames: int, patch: Image.Image | None = None) -> bytes:
    still = saved(patch or Image.new("RGB", (1, 1)), "WEBP", lossless=True)
    body = still[12:]
    size = patch.size if patch else (1, 1)
    one = _three_bytes(0) * 2 + _three_bytes(size[0] - 1) + _three_bytes(size[1] - 1) + _three_bytes(20) + b"\0" + body
    frame = b"ANMF" + struct.pack("<I", len(one)) + one + bytes(len(one) % 2)
    head = b"VP8X" + struct.pack("<I", 10) + b"\x12\0\0\0" + _three_bytes(width - 1) + _three_bytes(height - 1)
    inner = b"WEBP" + head + b"ANIM" + struct.pack("<IIH", 6, 0, 0) + frame * frames
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


def webp_still(side: int) -> bytes:
    return saved(Image.new("RGB", (side, side)), "WEBP", lossless=True)


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def _full_box(kind: bytes, *parts: bytes) -> bytes:
    return box(kind, bytes(4), *parts)


def avif_grid(
    rows: int, columns: int, side: int, tile: int = 64, brand: bytes = b"avif", coding: bytes = b"av01"
) -> bytes:
    """A grid of one tile that stands in all places, with sides that it says by itself."""
    kind = "AVIF" if coding == b"av01" else "HEIF"
    single = saved(Image.new("RGB", (tile, tile), (90, 120, 30)), kind)
    config = _property(single, b"av1C" if coding == b"av01" else b"hvcC")
    at = single.index(b"mdat")
    payload = single[at + 4 : at - 4 + int.from_bytes(single[at - 4 : at], "big")]
    count = rows * columns
    grid = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, side, side)

    def made(offset: int) -> bytes:
        def info(number: int, kind: bytes) -> bytes:
            return box(b"infe", b"\x02\0\0\0", struct.pack(">HH", number, 0), kind, b"\0")

        def place(number: int, start: int, size: int) -> bytes:
            return struct.pack(">HHHII", number, 0, 1, start, size)

        items = [info(1, b"grid"), *(info(n, coding) for n in range(2, count + 2))]
        places = [
            place(1, offset, len(grid)),
            *(place(n, offset + len(grid), len(payload)) for n in range(2, count + 2)),
        ]
        tied = [struct.pack(">HBB", 1, 1, 1), *(struct.pack(">HBBB", n, 2, 2, 0x83) for n in range(2, count + 2))]
        sizes = [_full_box(b"ispe", struct.pack(">II", s, s)) for s in (side, tile)]
        meta = box(
            b"meta",
            bytes(4),
            _full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
            _full_box(b"pitm", struct.pack(">H", 1)),
            _full_box(b"iloc", b"\x44\0", struct.pack(">H", count + 1), *places),
            _full_box(b"iinf", struct.pack(">H", count + 1), *items),
            _full_box(
                b"iref",
                box(b"dimg", struct.pack(">HH", 1, count), *(struct.pack(">H", n) for n in range(2, count + 2))),
            ),
            box(b"iprp", box(b"ipco", *sizes, config), _full_box(b"ipma", struct.pack(">I", count + 1), *tied)),
        )
        return box(b"ftyp", brand, bytes(4), b"mif1", brand) + meta

    head = made(0)
    return made(len(head) + 8) + box(b"mdat", grid, payload)


def _property(data: bytes, kind: bytes) -> bytes:
    at = data.index(kind) - 4
    return data[at : at + int.from_bytes(data[at : at + 4], "big")]


def jpeg_huge() -> bytes:
    return jpeg_with_size(65500, 65500)


def jpeg_scans() -> bytes:
    """A progressive picture of 25 megapixels whose last scan comes 400 times: each goes over all of it."""
    data = saved(Image.new("RGB", (5000, 5000), (9, 99, 199)), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    start = data.rindex(b"\xff\xc4", 0, at)  # with its table
    return data[:-2] + data[start:-2] * 400 + b"\xff\xd9"


def tiff_many_directories() -> bytes:
    """A million directories, each of one line, one after another."""
    pixel = struct.pack("<H", 8) + b"".join(
        struct.pack("<HHII", tag, kind, 1, value)
        for tag, kind, value in (
            (256, 4, 1),
            (257, 4, 1),
            (258, 3, 8),
            (259, 3, 1),
            (262, 3, 1),
            (273, 4, 0),
            (278, 4, 1),
            (279, 4, 1),
        )
    )
    size = len(pixel) + 4
    parts = [b"II*\0" + struct.pack("<I", 8)]
    parts += [pixel + struct.pack("<I", 8 + size * (n + 1)) for n in range(600_000)]
    parts.append(pixel + struct.pack("<I", 0))
    return b"".join(parts)


def tiff_loop() -> bytes:
    """Directories that lead back to the first."""
    data = bytearray(saved(Image.new("L", (8, 8)), "TIFF"))
    at = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[at : at + 2], "little")
    data[at + 2 + 12 * count : at + 6 + 12 * count] = struct.pack("<I", at)
    return bytes(data)


def tiff_strips(compression: int, data: bytes, width: int = 9990, height: int = 9990, rows: int = 9990) -> bytes:
    """One strip, said to hold the whole picture."""
    entries = (
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, compression),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, rows),
        (279, 4, len(data)),
    )
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4)


def tiff_many_strips() -> bytes:
    """More strips than the file has bytes for."""
    entries = (
        (256, 4, 1, 1),
        (257, 4, 1, 99_000_000),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 99_000_000, 8),
        (278, 4, 1, 1),
        (279, 4, 99_000_000, 8),
    )
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *each) for each in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)


def bmp_rle() -> bytes:
    """A run-length picture of 100 megapixels that ends, or jumps, at once."""
    data = bytearray(bmp(8, 1, b"\0\2\xff\xff" * 100000 + b"\0\1", colours=bytes(1024)))
    data[18:26] = struct.pack("<ii", 9990, 9990)
    return bytes(data)


def bmp_plain() -> bytes:
    data = bytearray(bmp(24, 0, bytes(100)))
    data[18:26] = struct.pack("<ii", 65535, 65535)
    return bytes(data)


def jxl_huge() -> bytes:
    """A codestream that says 2^30 x 2^30."""
    bits, at = 0, 0
    for value, count in ((0, 1), (3, 2), ((1 << 30) - 1, 30), (0, 3), (3, 2), ((1 << 30) - 1, 30), (1, 1)):
        bits |= value << at
        at += count
    return b"\xff\x0a" + bits.to_bytes(16, "little") + bytes(64)


def jxl_at_the_cap() -> bytes:
    return saved(Image.new("RGB", (9000, 9000), (1, 2, 3)), "JXL", effort=1)


@cache
def _mp4() -> bytes:
    return clip("mp4", "libx264", [numbered(n) for n in range(10)])


def repeated(form: str, codec: str, size: tuple[int, int], count: int, options: dict[str, str] | None = None) -> bytes:
    """A clip of 1 frame a second: a key frame, then `count` times the same difference to the frame before."""
    made = clip(form, codec, [numbered(n, size) for n in range(2)], rate=1, options=options)
    output = io.BytesIO()
    source: Any
    target: Any
    with av.open(io.BytesIO(made)) as source, av.open(output, "w", form) as target:
        track = target.add_stream_from_template(source.streams.video[0])
        first, second = [packet for packet in source.demux(video=0) if packet.size][:2]
        step = second.pts - first.pts
        for number in range(count + 1):
            packet: Any = av.Packet(bytes(second if number else first))
            packet.stream, packet.time_base, packet.is_keyframe = track, second.time_base, not number
            packet.pts = packet.dts = number * step
            target.mux(packet)
    return output.getvalue()


def ten_hours(form: str, codec: str, size: tuple[int, int]) -> bytes:
    """Ten hours of one frame a second, with one key frame: whoever wants the last has to decode them all."""
    return repeated(form, codec, size, 36_000, {"bf": "0", "g": "100000"})


def mp4_many(kind: bytes, count: int = 1_000_000_000) -> bytes:
    """The table `kind` of a clip says that there are so many samples."""
    data = bytearray(_mp4())
    at = data.index(kind) + 8  # behind version and flags
    numbers = {b"stsz": (1, count), b"stts": (1, count, 1), b"stco": (count,), b"stsc": (count, 1, 1 << 30)}[kind]
    data[at : at + 4 * len(numbers)] = struct.pack(f">{len(numbers)}I", *numbers)
    return bytes(data)


def mp4_deep() -> bytes:
    """Boxes in boxes, a hundred thousand deep, in place of a movie."""
    deep = b"".join(struct.pack(">I", 8 * (100_000 - n)) + b"moov" for n in range(100_000))
    return box(b"ftyp", b"isom", bytes(4), b"isom") + deep


def mp4_wide() -> bytes:
    """Two million empty movies before the true one."""
    return box(b"ftyp", b"isom", bytes(4), b"isom") + box(b"moov") * 2_000_000 + _mp4()[28:]


def ebml(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return kind + struct.pack(">Q", (len(body) if size is None else size) | 1 << 56) + body


def mkv_huge(kind: bytes) -> bytes:
    """An element that says it has 2^55 bytes."""
    head = ebml(b"\x1a\x45\xdf\xa3", ebml(b"\x42\x82", b"matroska"))
    return head + ebml(b"\x18\x53\x80\x67", ebml(kind, bytes(64), (1 << 55) - 1), (1 << 55) - 1)


def mkv_deep() -> bytes:
    body = b""
    for _ in range(2000):  # tags may lie in tags
        body = ebml(b"\x67\xc8", body)
    head = ebml(b"\x1a\x45\xdf\xa3", ebml(b"\x42\x82", b"matroska"))
    return head + ebml(b"\x18\x53\x80\x67", ebml(b"\x12\x54\xc3\x67", ebml(b"\x73\x73", body)))


def clip_of_bombs() -> bytes:
    """A clip whose cover is a picture of 65,535 x 65,535."""
    return clip("matroska", "libx264", [numbered(n) for n in range(3)], attached=("image/png", png_65535()))


def clip_in_clip(depth: int) -> bytes:
    """A clip with a clip attached, and so on."""
    data = png_65535()
    for _ in range(depth):
        data = clip("matroska", "libx264", [numbered(n) for n in range(3)], attached=("video/x-matroska", data))
    return data


def clip_huge() -> bytes:
    """A clip of 16,384 x 8,192 pixels."""
    return clip("matroska", "mjpeg", [Image.new("RGB", (16384, 8192))], pixels="yuvj420p")
