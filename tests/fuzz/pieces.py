"""Where a file's parts lie: chunks, boxes, markers, blocks, pages. What mutation takes apart and puts together anew.

Good-natured: it reads what the tests' own generators wrote, and gives up silently at what it does not understand.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

_CONTAINERS = {
    b"moov",
    b"trak",
    b"mdia",
    b"minf",
    b"stbl",
    b"iprp",
    b"ipco",
    b"udta",
    b"edts",
    b"dinf",
    b"moof",
    b"traf",
}
_MASTERS = {0x18538067, 0x1654AE6B, 0xAE, 0x1F43B675, 0x1C53BB6B, 0x1941A469, 0x61A7, 0xA0, 0xE0}
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part from `start` to `end`, and the field in it that says how long it is."""

    start: int
    end: int
    length_at: int
    length_size: int
    big_endian: bool = True


def pieces(data: bytes) -> list[Piece]:
    """Return the parts of a file, outer ones before inner ones; none where it has none, or is too short to say."""
    try:
        return _pieces(data)
    except (IndexError, struct.error):
        return []


def _pieces(data: bytes) -> list[Piece]:
    if data.startswith(_PNG):
        return list(_png(data))
    if data[:4] == b"RIFF":
        return list(_riff(data, 0, len(data)))
    if data[:3] == b"\xff\xd8\xff":
        return list(_jpeg(data))
    if data[:4] == b"GIF8":
        return list(_gif(data))
    if data[:4] == b"OggS":
        return list(_ogg(data))
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return list(_ebml(data, 0, len(data)))
    if data[:4] in (b"II*\0", b"MM\0*"):
        return list(_tiff(data))
    if data[4:8] in (b"ftyp", b"JXL ", b"moov", b"mdat"):
        return list(_boxes(data, 0, len(data)))
    return []


def mended(data: bytes) -> bytes:
    """Return the file with its checksums put right, so that mutations get past them."""
    fixed = bytearray(data)
    if data.startswith(_PNG):
        for piece in _png(data):
            if piece.end - piece.start >= 12:
                fixed[piece.end - 4 : piece.end] = struct.pack(">I", zlib.crc32(data[piece.start + 4 : piece.end - 4]))
    elif data[:4] == b"OggS":
        for piece in _ogg(data):
            fixed[piece.start + 22 : piece.start + 26] = bytes(4)
            check = _ogg_crc(bytes(fixed[piece.start : piece.end]))
            fixed[piece.start + 22 : piece.start + 26] = struct.pack("<I", check)
    return bytes(fixed)


def _png(data: bytes) -> Iterator[Piece]:
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return
        yield Piece(at, end, at, 4)
        at = end


def _riff(data: bytes, at: int, end: int) -> Iterator[Piece]:
    while at + 8 <= end:
        stop = min(end, at + 8 + int.from_bytes(data[at + 4 : at + 8], "little"))
        stop += stop % 2
        yield Piece(at, stop, at + 4, 4, big_endian=False)
        if data[at : at + 4] in (b"RIFF", b"LIST"):
            yield from _riff(data, at + 12, min(stop, end))
        elif data[at : at + 4] == b"ANMF":
            yield from _riff(data, at + 24, min(stop, end))
        at = stop


def _jpeg(data: bytes) -> Iterator[Piece]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDA:  # the scan goes on to the end
            end = len(data)
        if end > len(data):
            return
        yield Piece(at, end, at + 2, 2)
        at = end


def _gif(data: bytes) -> Iterator[Piece]:
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while at + 10 < len(data) and data[at] in (0x21, 0x2C):
        start, at = at, at + 2
        if data[start] == 0x2C:
            at = start + 11 + (3 << (data[start + 9] & 7) + 1 if data[start + 9] & 0x80 else 0)
        first = at
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
        yield Piece(start, min(at, len(data)), min(first, len(data) - 1), 1)


def _ogg(data: bytes) -> Iterator[Piece]:
    at = 0
    while data[at : at + 4] == b"OggS" and at + 27 < len(data):
        count = data[at + 26]
        end = at + 27 + count + sum(data[at + 27 : at + 27 + count])
        if end > len(data):
            return
        yield Piece(at, end, at + 26, 1)
        at = end


def _boxes(data: bytes, at: int, end: int) -> Iterator[Piece]:
    while at + 8 <= end:
        size = int.from_bytes(data[at : at + 4], "big") or end - at
        kind = data[at + 4 : at + 8]
        if size < 8 or at + size > end:
            return
        yield Piece(at, at + size, at, 4)
        if kind in _CONTAINERS:
            yield from _boxes(data, at + 8, at + size)
        elif kind == b"meta":
            yield from _boxes(data, at + 12, at + size)
        at += size


def _vint(data: bytes, at: int, keep: bool) -> tuple[int, int]:
    """Return a number of EBML and how many bytes it takes; 0 bytes where there is none."""
    if at >= len(data) or not data[at]:
        return 0, 0
    size = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + size], "big")
    return (value if keep else value & (1 << 7 * size) - 1), size


def _ebml(data: bytes, at: int, end: int) -> Iterator[Piece]:
    while at < end:
        kind, wide = _vint(data, at, True)
        length, size = _vint(data, at + wide, False)
        if not wide or not size:
            return
        stop = min(end, at + wide + size + length)
        yield Piece(at, stop, at + wide, size)
        if kind in _MASTERS:
            yield from _ebml(data, at + wide + size, stop)
        at = stop


def _tiff(data: bytes) -> Iterator[Piece]:
    order = "<" if data[:2] == b"II" else ">"
    at = struct.unpack_from(order + "I", data, 4)[0]
    if at + 2 > len(data):
        return
    (count,) = struct.unpack_from(order + "H", data, at)
    for entry in range(at + 2, min(at + 2 + 12 * count, len(data) - 11), 12):
        yield Piece(entry, entry + 12, entry + 4, 4, big_endian=order == ">")


@cache
def _ogg_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
        table.append(value)
    return tuple(table)


def _ogg_crc(page: bytes) -> int:
    value, table = 0, _ogg_table()
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ table[value >> 24 ^ byte]
    return value
