"""The test card: a harmless picture, drawn here, whose content a built-in rule condemns under every policy.

Put it on an instance and watch the whole chain find and remove it. Its bytes never change, so its SHA-256 is fixed;
a server that re-encodes uploads makes another content of it, which is then not recognised.
"""

from __future__ import annotations

import struct
import zlib

TEST_CARD_SHA256 = bytes.fromhex("c4fa3b5fb8cfa39c65f1b3c4650f0e54f373551adee48841e693916edbdd3cfe")
TEST_CARD_NAME = "fedi-safety-test-card.png"

_WIDTH, _HEIGHT = 480, 270
_PALETTE = bytes.fromhex("f4f1e8 1f3a5f c8553d e9b44c")  # paper, ink, and two colours for the bars
_LINES = (("FEDI-SAFETY", 6, 60), ("TEST CARD", 6, 116), ("HARMLESS. REMOVE ME.", 3, 180))
# Rows of 5 bits, top to bottom.
_FONT = {
    "A": "0e11111f111111",
    "C": "0e11101010110e",
    "D": "1e11111111111e",
    "E": "1f10101e10101f",
    "F": "1f10101e101010",
    "H": "1111111f111111",
    "I": "0e04040404040e",
    "L": "1010101010101f",
    "M": "111b1515111111",
    "O": "0e11111111110e",
    "R": "1e11111e141211",
    "S": "0f10100e01011e",
    "T": "1f040404040404",
    "V": "11111111110a04",
    "Y": "11110a04040404",
    "-": "0000001f000000",
    ".": "00000000000c0c",
    " ": "00000000000000",
}


def draw_test_card() -> bytes:
    """Return the card as a PNG file of 480x270 pixels, the same bytes every time."""
    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 2, 3, 0, 0, 0)
    rows = b"".join(b"\0" + _packed(row) for row in _pixels())
    body = _chunk(b"IHDR", header) + _chunk(b"PLTE", _PALETTE) + _chunk(b"IDAT", _stored(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _pixels() -> list[bytearray]:
    rows = [bytearray(_WIDTH) for _ in range(_HEIGHT)]
    for y in range(_HEIGHT):
        for x in range(_WIDTH):
            if y < 36 or y >= _HEIGHT - 36:
                rows[y][x] = 1 + x // 24 % 3
    for text, scale, top in _LINES:
        left = (_WIDTH - len(text) * 6 * scale) // 2
        for i, letter in enumerate(text):
            _draw(rows, bytes.fromhex(_FONT[letter]), left + i * 6 * scale, top, scale)
    return rows


def _draw(rows: list[bytearray], glyph: bytes, left: int, top: int, scale: int) -> None:
    for y in range(7 * scale):
        for x in range(5 * scale):
            if glyph[y // scale] >> (4 - x // scale) & 1:
                rows[top + y][left + x] = 1


def _packed(row: bytearray) -> bytes:
    return bytes(row[i] << 6 | row[i + 1] << 4 | row[i + 2] << 2 | row[i + 3] for i in range(0, len(row), 4))


def _stored(data: bytes) -> bytes:
    """Wrap `data` in a zlib stream without compression: compressors differ between versions, this does not."""
    blocks = [data[i : i + 65535] for i in range(0, len(data), 65535)]
    out = b"\x78\x01"
    for i, block in enumerate(blocks):
        out += struct.pack("<BHH", i == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
    return out + struct.pack(">I", zlib.adler32(data))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
