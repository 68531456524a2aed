"""A list's bytes, unpacked, a piece at a time: bounded, whatever the file claims to be."""

from __future__ import annotations

import codecs
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from fedi_safety.core.errors import KnownUsageError

_PIECE_BYTES = 1 << 16
_GZIP = b"\x1f\x8b"
_MOST_TIMES = 200  # XML of hashes packs to a tenth; only what was made to burst packs to a thousandth
_FREE_BYTES = 16 << 20
MOST_LINE = 1 << 16
"""The longest line, or piece of text, in characters."""


def pieces(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, those of a gzip file unpacked. Raises `KnownUsageError`, also for one made to burst."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise KnownUsageError(
            str(path), "it is a pipe or a device, which can be read only once", "write it into a file"
        )
    try:
        with path.open("rb") as file:
            raw = iter(lambda: file.read(_PIECE_BYTES), b"")
            head = next(raw, b"")
            if not head:
                raise KnownUsageError(str(path), "the file is empty", "name a file with hashes")
            packed = head.startswith(_GZIP)
            yield from _unpacked(path, _chained(head, raw)) if packed else _chained(head, raw)
    except IsADirectoryError:
        raise KnownUsageError(str(path), "it is a directory", "name a file with hashes") from None
    except FileNotFoundError:
        raise KnownUsageError(str(path), "there is no such file", "check its name") from None


def _chained(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _unpacked(path: Path, packed: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what a gzip file holds, all of its parts, as long as it stays in proportion to what was read."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    taken = given = 0
    try:
        for piece in packed:
            taken += len(piece)
            while piece:
                out = unpacker.decompress(piece, _PIECE_BYTES)
                given += len(out)
                if given > _FREE_BYTES + _MOST_TIMES * taken:
                    cause = f"it unpacks to more than {_MOST_TIMES} times its size"
                    raise KnownUsageError(str(path), cause, "no list of hashes does; get it anew")
                if out:
                    yield out
                piece = unpacker.unconsumed_tail
                if unpacker.eof:
                    piece = unpacker.unused_data
                    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS) if piece else unpacker
                elif not out and not piece:
                    break
    except zlib.error as error:
        raise KnownUsageError(str(path), f"damaged gzip file ({error})", "get it anew") from None
    if not unpacker.eof:
        raise KnownUsageError(str(path), "the gzip file is cut off", "get it anew")


def texts(path: Path) -> Iterator[str]:
    """Yield the same as text without a byte order mark, its lines ended by `\\n`. Raises `KnownUsageError`."""
    decoder = None
    given = 0
    try:
        for piece in pieces(path):
            if decoder is None:
                wide = piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
                plain = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")()
                decoder = io.IncrementalNewlineDecoder(plain, translate=True)
            text = decoder.decode(piece)
            if "\0" in text:
                raise _no_text(path, given)
            given += len(text)
            yield text
        if decoder is not None and (rest := decoder.decode(b"", final=True)):
            yield rest
    except UnicodeDecodeError:
        raise _no_text(path, given) from None


def _no_text(path: Path, given: int) -> KnownUsageError:
    cause = f"it is no UTF-8 or UTF-16 text (after character {given})"
    return KnownUsageError(str(path), cause, "name a list in one of the formats of docs/known.md")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, whatever ends it. Raises `KnownUsageError` for one that is far too long."""
    number, rest = 0, ""
    for text in texts(path):
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            number += 1
            yield number, line
        if len(rest) > MOST_LINE:
            cause = f"line {number + 1} has more than {MOST_LINE} characters"
            raise KnownUsageError(str(path), cause, "no line of a list has; name another format with --format")
    if rest:
        yield number + 1, rest
