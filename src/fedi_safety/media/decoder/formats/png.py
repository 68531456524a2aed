"""What of a PNG makes its picture: the reader is given nothing else. Decodes no pixels. Runs in the child only.

Damage outside the pixels is left out with what it is in, as viewers do: a chunk that a reader may ignore counts only
where its checksum, and its length, are right.
"""

from __future__ import annotations

import re
import struct
import zlib

from PIL import Image

_SIGNATURE_BYTES = 8
_HEADER_END = 33
# Of the chunks that a reader may ignore: transparency, and how the picture is turned. Colours are told by profiles.
_KEPT = frozenset({b"tRNS", b"eXIf"})
_IGNORABLE = 0x20  # a bit of the first letter
_MAX_PROFILE_BYTES = 1 << 20  # Pillow reads no larger one
_KIND = re.compile(rb"[A-Za-z]{4}")
_GREY, _COLOURS, _PALETTE = 0, 2, 3  # colour types that have transparency of their own
# Adam7: where the pixels of each pass begin, and how far apart they are; after how many passes the picture is whole on
# which grid.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_GRIDS = ((0, 0), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2), (1, 1))
_LAST_FILTER = 4
_MOST_MENDED_BYTES = 128 << 20  # of picture data: what is larger is left to its reader
_PIECE_BYTES = 4096
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def lean(data: bytes) -> bytes:
    """Return a PNG without texts, private chunks and colour profiles of more than 1 MiB; `data` if it has none.

    A text that inflates to gigabytes makes Pillow give the whole picture up, where every viewer shows it; and a million
    empty chunks take it seconds. What is no whole chunk is left as it is, to be judged by the reader.
    """
    kept: list[tuple[int, int]] = []
    begin = 0  # of what is kept and not in the list yet
    at = _SIGNATURE_BYTES
    while at + 12 <= len(data):
        kind = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        if not of_use(kind, data, at + 8, end - 4):
            if at > begin:
                kept.append((begin, at))
            begin = end
        at = end
        if kind == b"IEND":
            break
    if not begin:
        return data
    return b"".join(data[start:end] for start, end in (*kept, (begin, len(data))))


def of_use(kind: bytes, data: bytes, start: int, end: int) -> bool:
    """Whether a picture's looks depend on a chunk whose body is `data[start:end]`."""
    if not kind[0] & _IGNORABLE:
        return True
    if kind not in _KEPT and kind != b"iCCP":
        return False
    if zlib.crc32(data[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
        return False
    if kind == b"tRNS":
        return _transparency_fits(data, end - start)
    return kind == b"eXIf" or _profile_fits(data[start:end])


def rebuilt(data: bytes) -> bytes | None:
    """Return a PNG of a damaged one's header and picture data, as far as it goes; None where there is none of it.

    What of a chunk is there counts, and checksums do not: whoever reads it finds out how much decodes.
    """
    header = data[16:29]
    if data[12:16] != b"IHDR" or len(data) < _HEADER_END:
        return None
    before: list[bytes] = []
    pixels: list[bytes] = []
    at = _HEADER_END
    while at + 8 < len(data):
        kind, start = data[at + 4 : at + 8], at + 8
        end = start + int.from_bytes(data[at : at + 4], "big")
        if kind == b"IDAT":
            pixels.append(data[start:end])
        elif kind == b"IEND" or _KIND.match(kind) is None:
            break
        elif not pixels and (kind == b"PLTE" or (kind[0] & _IGNORABLE and of_use(kind, data, start, end))):
            before.append(chunk(kind, data[start:end]))
        at = end + 4
    if not pixels:
        return None
    picture = _with_known_filters(header, b"".join(pixels))
    parts = (chunk(b"IHDR", header), *before, chunk(b"IDAT", picture), chunk(b"IEND", b""))
    return data[:_SIGNATURE_BYTES] + b"".join(parts)


def without_gaps(image: Image.Image, data: bytes) -> Image.Image | None:
    """Return what the whole passes of an interlaced PNG, made by `rebuilt`, show; None where not even one is whole.

    A reader leaves gaps between their pixels, in which a picture drowns; viewers fill them.
    """
    if not data[28] or data[25] not in _SAMPLES:
        return image
    width, height = struct.unpack(">II", data[16:24])
    sizes = [rows * line for rows, line in _rows(data[16:29])]
    at = data.find(b"IDAT", _HEADER_END)
    there = len(_inflated(data[at + 4 : at + 4 + int.from_bytes(data[at - 4 : at], "big")], sum(sizes)))
    whole = 0
    while whole < len(sizes) and (there := there - sizes[whole]) >= 0:
        whole += 1
    across, down = _GRIDS[whole]
    if not across or (across, down) == (1, 1):
        return image if across else None
    smaller = (-(-width // across), -(-height // down))
    matrix = (across, 0, 0.5 - across / 2, 0, down, 0.5 - down / 2)  # the first pixel of each cell
    thinned = image.transform(smaller, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)
    closer = min(across, down)
    thinned = thinned.resize((-(-width // closer), -(-height // closer)), Image.Resampling.NEAREST)
    thinned.info = dict(image.info)
    return thinned


def _rows(header: bytes) -> list[tuple[int, int]]:
    """Return of each pass how many rows it has, and how many bytes a row, with the one that names its filter."""
    width, height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * _SAMPLES[colours]
    found = []
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        found.append((rows, 1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else (0, 0))
    return found


def _with_known_filters(header: bytes, pixels: bytes) -> bytes:
    """Return picture data in which rows with a filter that does not exist have none: viewers go on, readers do not."""
    if header[9] not in _SAMPLES:
        return pixels
    rows = _rows(header)
    most = sum(count * line for count, line in rows)
    if most > _MOST_MENDED_BYTES:
        return pixels
    there = _inflated(pixels, most)
    at, wrong = 0, False
    for count, line in rows:
        for start in range(at, min(at + count * line, len(there)), line or 1):
            if there[start] > _LAST_FILTER:
                there[start], wrong = 0, True
        at += count * line
    return zlib.compress(there, 1) if wrong else pixels


def _inflated(pixels: bytes, most: int) -> bytearray:
    """Return what picture data inflate to, up to `most` bytes and up to where they are damaged; sums do not count."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    there = bytearray()
    at, step = 2, _PIECE_BYTES  # behind the header
    while at < len(pixels) and len(there) < most and not inflate.eof:
        before = inflate.copy() if step > 1 else inflate
        try:
            there += inflate.decompress(inflate.unconsumed_tail + pixels[at : at + step], most - len(there))
        except zlib.error:
            if step == 1:
                break
            inflate, step = before, 1  # what came before the damage counts to the last byte
            continue
        at += step
    return there


def _transparency_fits(data: bytes, size: int) -> bool:
    """Whether a transparency chunk of so many bytes belongs to the colours that the header names."""
    colours, depth = data[25], data[24]
    return size == {_GREY: 2, _COLOURS: 6}.get(colours, 0) if colours != _PALETTE else 0 < size <= 1 << min(depth, 8)


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a whole chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _profile_fits(body: bytes) -> bool:
    """Whether a profile, behind its name and method, inflates to what can be read. A broken one is the reader's."""
    inflate = zlib.decompressobj()
    try:
        inflate.decompress(body[body.find(b"\0") + 2 :], _MAX_PROFILE_BYTES)
    except zlib.error:
        return True
    return not inflate.unconsumed_tail
