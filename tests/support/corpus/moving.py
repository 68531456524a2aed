"""Animations and clips for tests, drawn by code: every frame shows its own number, so that a test can tell it again."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
from PIL import Image

from fedi_safety.core.enums import MediaType
from fedi_safety.core.types import Frame
from fedi_safety.media.decoder.dispatch import decode
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from support.corpus.media_zoo import chunk, saved

WIDTH, HEIGHT = 160, 96
_CELL, _BITS = 16, 12
_DIGITS = [(40 + 16 * (bit % 5), 32 + 16 * (bit // 5)) for bit in range(_BITS)]


def numbered(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """Return a picture that shows a number as light and dark squares on grey; corners tell how it is turned."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (110, 110, 110))
    for bit, (x, y) in enumerate(_DIGITS):
        image.paste((235,) * 3 if number >> bit & 1 else (20,) * 3, (x, y, x + _CELL, y + _CELL))
    image.paste((200, 30, 30), (0, 0, 32, 24))
    image.paste((30, 60, 200), (WIDTH - 32, 0, WIDTH, 24))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def picture(frame: Frame) -> Image.Image:
    """Return a frame as an image."""
    return Image.frombytes("RGB", (frame.width, frame.height), frame.rgb)


def number(image: Image.Image) -> int:
    """Read the number that a picture shows. It must be upright, whatever its size."""
    image = image.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    value = 0
    for bit, (x, y) in enumerate(_DIGITS):
        level = (
            image.crop((x + 4, y + 4, x + _CELL - 4, y + _CELL - 4))
            .resize((1, 1), Image.Resampling.BOX)
            .getpixel((0, 0))
        )
        assert isinstance(level, int | float)
        value |= (level > 128) << bit
    return value


def upright(frame: Frame) -> bool:
    """Whether the corners of a numbered picture are where they were drawn."""
    image = picture(frame).resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    (red, _, other), (_, _, blue) = image.getpixel((8, 6)), image.getpixel((WIDTH - 8, 6))  # type: ignore[misc]
    return bool(red > 140 > other and blue > 140)


def shown(
    data: bytes, kind: MediaType, *, frames: int = 1000, seed: int = 0, max_pixels: int = 10**8, seconds: float = 60
) -> tuple[list[Frame], DecodeSummary]:
    """Decode in this process; return the frames by index, and how it went."""
    found: list[Frame] = []
    bounds = Bounds(max_pixels, frames, time.monotonic() + seconds, Random(seed))
    went = decode(data, kind, bounds, Emitter(lambda frame, _width, _height: found.append(frame)))
    if went.problem is not None and not found:
        raise went.problem
    return sorted(found, key=lambda frame: frame.index), went


# --- clips


def clip(
    form: str,
    codec: str,
    pictures: Iterable[Image.Image],
    *,
    rate: int = 25,
    times: Sequence[int] | None = None,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    turn: tuple[float, bool, bool] | None = None,
    aspect: tuple[int, int] | None = None,
    cover: bytes | None = None,
    attached: tuple[str, bytes] | None = None,
    second: Iterable[Image.Image] | None = None,
) -> bytes:
    """Encode a clip. `times` gives each frame's milliseconds, `turn` a display rotation with flips."""
    memory = os.memfd_create("clip")  # some options want to read again what was written
    target = f"/proc/self/fd/{memory}"
    with av.open(target, "w", form, container_options=container_options or {}) as container:
        tracks = [
            (_track(container, codec, rate, pixels, options, images[0].size, times is not None), images)
            for images in (list(pictures), list(second or ()))
            if images
        ]
        if turn is not None:
            tracks[0][0].set_display_rotation(turn[0], hflip=turn[1], vflip=turn[2])
        if aspect is not None:
            tracks[0][0].codec_context.sample_aspect_ratio = Fraction(*aspect)
        if cover is not None and form == "matroska":
            attached, cover = ("image/jpeg", cover), None
        if attached is not None:
            container.add_attachment("attached", *attached)
        if cover is not None:
            art: Any = container.add_stream("mjpeg", rate=1)
            art.width, art.height, art.pix_fmt = 64, 64, "yuvj420p"
            art.disposition = av.stream.Disposition.attached_pic
            container.start_encoding()
            packet = av.Packet(cover)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = art, 0, 0, True
            container.mux(packet)
        for track, images in tracks:
            _encode(container, track, images, times)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # as root, SVT-AV1 takes real-time priority
    try:
        return Path(target).read_bytes()
    finally:
        os.close(memory)


def _track(
    container: Any,
    codec: str,
    rate: int,
    pixels: str,
    options: dict[str, str] | None,
    size: tuple[int, int],
    timed: bool,
) -> Any:
    track = container.add_stream(codec, rate=rate, options=options or {})
    track.pix_fmt = pixels
    track.width, track.height = size
    track.codec_context.thread_count = 1
    if timed:
        track.codec_context.time_base = Fraction(1, 1000)
    return track


def _encode(container: Any, track: Any, pictures: Sequence[Image.Image], times: Sequence[int] | None) -> None:
    for index, image in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.asarray(image), format={"RGBA": "rgba", "RGB": "rgb24"}[image.mode])
        if times is not None:
            frame.pts, frame.time_base = times[index], Fraction(1, 1000)
        container.mux(track.encode(frame))
    container.mux(track.encode(None))


def sound(form: str, codec: str) -> bytes:
    """Encode silence, without any picture."""
    target = io.BytesIO()
    with av.open(target, "w", form) as container:
        track: Any = container.add_stream(codec, rate=48000)
        for _ in range(20):
            frame = av.AudioFrame(format="fltp", layout="stereo", samples=960)
            frame.sample_rate = 48000
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return target.getvalue()


# --- animations of patches


@dataclass(frozen=True)
class Piece:
    """One frame of an animation: a picture, where it is put, how, and what becomes of it (0 stay, 1 clear, 2 undo)."""

    image: Image.Image  # RGBA, alpha 0 or 255
    x: int = 0
    y: int = 0
    blends: bool = True
    dispose: int = 0
    milliseconds: int = 100


def composed(pieces: Sequence[Piece], size: tuple[int, int]) -> Iterator[Image.Image]:
    """Yield what a viewer sees, pixel by pixel as the formats' specifications put it."""
    canvas = Image.new("RGBA", size)
    for piece in pieces:
        before = canvas.copy()
        for y in range(piece.image.height):
            for x in range(piece.image.width):
                pixel = piece.image.getpixel((x, y))
                assert isinstance(pixel, tuple)
                if pixel[3] or not piece.blends:
                    canvas.putpixel((piece.x + x, piece.y + y), pixel if pixel[3] else (0, 0, 0, 0))
        yield canvas.copy()
        box = (piece.x, piece.y, piece.x + piece.image.width, piece.y + piece.image.height)
        if piece.dispose == 1:
            canvas.paste((0, 0, 0, 0), box)
        elif piece.dispose == 2:
            canvas = before


def gif(pieces: Sequence[Piece], size: tuple[int, int]) -> bytes:
    """Write a GIF. Pieces always blend in this format."""
    parts = [b"GIF89a", struct.pack("<HHBBB", *size, 0, 0, 0)]
    for piece in pieces:
        assert piece.blends
        flat = Image.new("RGB", piece.image.size, (1, 2, 3))
        flat.paste(piece.image, mask=piece.image.getchannel("A"))
        reduced = flat.quantize(200, dither=Image.Dither.NONE)
        clear = 255
        hidden = piece.image.getchannel("A").point(lambda value: 0 if value else 255)
        reduced.paste(clear, mask=hidden)
        colours = (reduced.getpalette() or [])[:768]
        table = bytes(colours).ljust(768, b"\0")
        transparent = hidden.getbbox() is not None
        flags = {0: 1, 1: 2, 2: 3}[piece.dispose] << 2 | transparent
        control = struct.pack("<BHB", flags, piece.milliseconds // 10, clear if transparent else 0)
        parts += [b"\x21\xf9\x04", control, b"\0"]
        parts += [b"\x2c", struct.pack("<HHHHB", piece.x, piece.y, *piece.image.size, 0x87), table]
        parts.append(_lzw(reduced.tobytes()))
    return b"".join((*parts, b"\x3b"))


def _lzw(pixels: bytes) -> bytes:
    """Code pixels of 8 bits as a GIF does, without compressing: codes of 9 bits, begun anew before they grow."""
    codes: list[int] = []
    for at in range(0, len(pixels), 200):
        codes += [256, *pixels[at : at + 200]]
    codes.append(257)
    digits = [f"{code:09b}" for code in range(258)]
    value = int("".join(map(digits.__getitem__, reversed(codes))), 2)  # a sum would take a pixel's time for each pixel
    data = value.to_bytes((9 * len(codes) + 7) // 8, "little")
    blocks = b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
    return b"\x08" + blocks + b"\0"


def apng(pieces: Sequence[Piece], size: tuple[int, int], *, default: Image.Image | None = None) -> bytes:
    """Write an animated PNG; `default` is a picture of its own for who does not know animations."""
    out = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 6, 0, 0, 0))]
    out.append(chunk(b"acTL", struct.pack(">II", len(pieces), 0)))
    sequence = 0
    if default is not None:
        out.append(chunk(b"IDAT", _idat(default)))
    for index, piece in enumerate(pieces):
        place = struct.pack(">IIIII", sequence, *piece.image.size, piece.x, piece.y)
        out.append(chunk(b"fcTL", place + struct.pack(">HHBB", piece.milliseconds, 1000, piece.dispose, piece.blends)))
        sequence += 1
        if index == 0 and default is None:
            out.append(chunk(b"IDAT", _idat(piece.image)))
        else:
            out.append(chunk(b"fdAT", struct.pack(">I", sequence) + _idat(piece.image)))
            sequence += 1
    return b"".join((*out, chunk(b"IEND", b"")))


def _idat(image: Image.Image) -> bytes:
    data = saved(image.convert("RGBA"), "PNG")
    at, found = 8, b""
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            found += data[at + 8 : at + 8 + size]
        at += 12 + size
    return found


def webp(pieces: Sequence[Piece], size: tuple[int, int]) -> bytes:
    """Write an animated WebP, lossless. Its pieces lie at even places and are never undone."""
    body = b"WEBP" + _riff(b"VP8X", struct.pack("<BxxxHBHB", 0x12, size[0] - 1, 0, size[1] - 1, 0))
    body += _riff(b"ANIM", bytes(6))
    for piece in pieces:
        assert piece.dispose < 2
        assert piece.x % 2 == piece.y % 2 == 0
        small = (piece.x // 2, piece.y // 2, piece.image.width - 1, piece.image.height - 1, piece.milliseconds)
        head = b"".join(value.to_bytes(3, "little") for value in small)
        flags = (not piece.blends) << 1 | piece.dispose
        data = saved(piece.image, "WEBP", lossless=True, exact=True, method=0)
        body += _riff(b"ANMF", head + bytes([flags]) + data[data.index(b"VP8L") :])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
