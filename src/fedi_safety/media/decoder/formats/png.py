"""What of a PNG makes its picture: the reader is given nothing else. Decodes no pixels. Runs in the child only."""

from __future__ import annotations

import zlib

_SIGNATURE_BYTES = 8
# Of the chunks that a reader may ignore: transparency, and how the picture is turned. Colours are told by profiles.
_KEPT = frozenset({b"tRNS", b"eXIf"})
_IGNORABLE = 0x20  # a bit of the first letter
_MAX_PROFILE_BYTES = 1 << 20  # Pillow reads no larger one


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
    if kind == b"iCCP":
        return _profile_fits(data[start:end])
    return kind in _KEPT or not kind[0] & _IGNORABLE


def _profile_fits(body: bytes) -> bool:
    """Whether a profile, behind its name and method, inflates to what can be read. A broken one is the reader's."""
    inflate = zlib.decompressobj()
    try:
        inflate.decompress(body[body.find(b"\0") + 2 :], _MAX_PROFILE_BYTES)
    except zlib.error:
        return True
    return not inflate.unconsumed_tail
