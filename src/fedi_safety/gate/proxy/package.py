"""A request's body on an upload path: read into memory once, all files in it found, and handed on as it came.

What is handed on are the very bytes that came, in other pieces: those of the files are the ones that were judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from fedi_safety.gate.body import MOST_NAME, Arriving, Body, arrive, too_large
from fedi_safety.gate.memory import Holding
from fedi_safety.gate.proxy.form import Form, Part
from fedi_safety.gate.proxy.media_type import BodyKind, MediaTypeHeader
from fedi_safety.gate.proxy.pieces import Pieces
from fedi_safety.gate.proxy.values import files_in_fields, files_in_json, files_in_text
from fedi_safety.gate.responses import Refusal

MOST_FILES = 64
"""Files of one request."""

_FORM_BYTES = 1 << 20  # what a request may have around its files
_WRITTEN_OUT_BYTES = 32 << 20  # of a body that has to be read as a text
_COPIES = 3  # of such a body, while it is read
_SENT_BYTES = 256 << 10
_TOKEN_FIELD = "i"  # Misskey's
_MOST_TOKEN = 1024


@dataclass(frozen=True, slots=True)
class Package:
    """A body in memory. `pieces` together are what came; `files` what of it is judged."""

    pieces: tuple[bytes, ...] = field(repr=False)
    size: int
    files: tuple[Body, ...]
    token: str | None = field(default=None, repr=False)  # of a field that has one; never kept or logged

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield it as it came."""
        for piece in self.pieces:
            for start in range(0, len(piece), _SENT_BYTES):  # at once it would be copied twice on its way to the socket
                yield piece[start : start + _SENT_BYTES]


async def take_in(
    stream: AsyncIterator[bytes], header: MediaTypeHeader, holding: Holding, *, max_bytes: int, seconds: float
) -> Package:
    """Read all of a body, and find the files in it. What it takes into `holding` is the caller's to give back.

    Raises `Refusal`: 400 for what can be read in two ways, 408 when it takes too long, 413 when it is too large, 503
    when there was no memory for it.
    """
    written_out = header.kind in (BodyKind.JSON, BodyKind.FIELDS)
    limit = min(_WRITTEN_OUT_BYTES, max_bytes // _COPIES) if written_out else max_bytes + _FORM_BYTES
    arriving = Arriving(holding, limit)
    form = Form(header.boundary) if header.kind is BodyKind.FORM else None
    body = Pieces()

    def add(piece: bytes) -> None:
        arriving.count(len(piece))
        if form is not None:
            form.add(piece)
        body.add(piece)

    await arrive(stream, arriving, add, seconds)
    if written_out and body.size:
        await holding.take((_COPIES - 1) * body.size)
    holding.whole()
    if form is not None:
        package = _from_form(body, form.parts(body), max_bytes)
    elif written_out:
        read = files_in_json if header.kind is BodyKind.JSON else files_in_fields
        data = body.between(0, body.size)
        package = Package((data,), len(data), tuple(_file(kind, file) for kind, file in read(data) if file))
    else:
        data = body.between(0, body.size)
        package = Package((data,), len(data), (_file(header.plain, data),) if data else ())
    if len(package.files) > MOST_FILES:
        raise Refusal(413, "too_many", f"more than {MOST_FILES} files", close=True)
    return package


def _from_form(body: Pieces, parts: Sequence[Part], max_bytes: int) -> Package:
    size = body.size
    wanted = [part for part in parts if part.is_file and part.end > part.start]  # an empty one is a field left empty
    if any(part.end - part.start > max_bytes for part in wanted):
        raise too_large(max_bytes)
    cut = body.cut((part.start, part.end) for part in wanted)
    data = [piece for piece, is_file in cut if is_file]
    files = [_file(part.type, piece, part.file_name) for part, piece in zip(wanted, data, strict=True)]
    texts = [part for part in parts if not part.is_file]
    files += [_file(kind, file) for part in texts for kind, file in _written_out(part) if file]
    token = next((p.text.decode() for p in texts if p.name == _TOKEN_FIELD and len(p.text) <= _MOST_TOKEN), None)
    return Package(tuple(piece for piece, _ in cut), size, tuple(files), token)


def _written_out(part: Part) -> Iterator[tuple[str | None, bytes]]:
    if part.type == "application/json":
        return files_in_json(part.text)
    return files_in_text(part.text.decode("utf-8"))


def _file(kind: str | None, data: bytes, name: str | None = None) -> Body:
    shown = None if name is None else name[:MOST_NAME] or None
    return Body(data, hashlib.sha256(data).digest(), len(data), kind[:100] if kind else None, shown)
