"""Reads an upload into memory, raw or as a form, within limits of size, time and memory. No disk is involved (I1).

Where there is no memory for it now, no more of it is read: whoever sends it waits. What there was none for in time is
refused, whatever the policy says of a full queue: else anybody could have the gate accept what nobody looked at.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from fedi_safety.gate.memory import Holding
from fedi_safety.gate.responses import Refusal

FIELD = "file"
"""The field of a form that holds the upload."""

_FORM_BYTES = 64 << 10  # what a form may have around the file
_HEADER_BYTES = 8 << 10
_PARTS = 16
MOST_NAME = 200
"""Characters of a file's name that are kept."""


@dataclass(frozen=True, slots=True)
class Body:
    """An upload as it came in, and what its sender calls it."""

    data: bytes = field(repr=False)
    sha256: bytes
    size: int
    claimed_type: str | None
    file_name: str | None = None


class Arriving:
    """Counts a body while it arrives, and waits for memory for what came."""

    def __init__(self, holding: Holding, max_bytes: int) -> None:
        """Take at most `max_bytes` into `holding`."""
        self._holding = holding
        self._max_bytes = max_bytes
        self.size = 0
        self.waits = False

    def count(self, size: int) -> None:
        """Count so many bytes more. Raises `Refusal` 413."""
        self.size += size
        if self.size > self._max_bytes:
            raise too_large(self._max_bytes)

    async def settle(self) -> None:
        """Wait until there is memory for what was counted."""
        self.waits = True
        if size := self.size - self._holding.size:
            await self._holding.take(size)
        self.waits = False


async def arrive(
    stream: AsyncIterator[bytes], arriving: Arriving, add: Callable[[bytes], None], seconds: float
) -> None:
    """Hand all pieces of a body to `add`, which counts them. Raises `Refusal`.

    408 when it takes too long, 503 when there was no memory for it within that time.
    """
    try:
        async with asyncio.timeout(seconds):
            async for piece in stream:
                if piece:
                    add(piece)
                    await arriving.settle()
    except TimeoutError:
        if arriving.waits:
            raise Refusal(503, "busy", f"there was no memory for it within {seconds:g} s", close=True) from None
        raise body_timeout(seconds) from None


class _Sink(Arriving):
    """Takes the upload's bytes in pieces."""

    def __init__(self, holding: Holding, max_bytes: int) -> None:
        super().__init__(holding, max_bytes)
        self._hash = hashlib.sha256()
        self._pieces: list[bytes] = []
        self.claimed_type: str | None = None
        self.file_name: str | None = None

    def add(self, piece: bytes) -> None:
        self.count(len(piece))
        self._hash.update(piece)
        self._pieces.append(bytes(piece))

    def body(self) -> Body:
        self._holding.whole()
        return Body(b"".join(self._pieces), self._hash.digest(), self.size, self.claimed_type, self.file_name)


class _Form:
    """A form's parts, read as they come; only the one field is kept."""

    def __init__(self, boundary: bytes, sink: _Sink) -> None:
        self._sink = sink
        self._name = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._other_bytes = 0
        self._parts = 0
        self._wanted = False
        self.found = False
        self.ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    def add(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise bad_form("its form is malformed") from error

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise bad_form("its form has too many parts")
        self._headers = {}
        self._header_bytes = 0
        self._wanted = False

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _HEADER_BYTES:
            raise bad_form("the header of a part is too long")

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._wanted = options.get(b"name") == FIELD.encode()
        if self._wanted:
            if self.found:
                raise bad_form(f"its form has several fields {FIELD!r}")
            self.found = True
            name = options.get(b"filename", b"").decode("utf-8", "replace")
            self._sink.file_name = name[:MOST_NAME] or None
            self._sink.claimed_type = plain_type(self._headers.get(b"content-type", b"").decode("latin-1"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._sink.add(data[start:end])
            return
        self._other_bytes += end - start
        if self._other_bytes > _FORM_BYTES:
            raise bad_form(f"its form has more than the field {FIELD!r}")

    def _end(self) -> None:
        self.ended = True


async def read(
    stream: AsyncIterator[bytes],
    content_type: str,
    length: str | None,
    holding: Holding,
    *,
    max_bytes: int,
    seconds: float,
) -> Body:
    """Read an upload. What it takes into `holding` is the caller's to give back, also where it raises.

    Raises `Refusal`: 400 for a malformed form, 408 when it takes too long, 413 when it is too large, 503 when there was
    no memory for it.
    """
    if length is not None and length.isdigit() and int(length) > max_bytes + _FORM_BYTES:
        raise too_large(max_bytes)
    sink = _Sink(holding, max_bytes)
    kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
    form: _Form | None = None
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= 200:
            raise bad_form("its form names no boundary")
        form = _Form(boundary, sink)
    else:
        sink.claimed_type = plain_type(content_type)
    await arrive(stream, sink, (sink if form is None else form).add, seconds)
    if form is not None and not (form.found and form.ended):
        raise bad_form("its form is cut short" if form.found else f"its form has no field {FIELD!r}")
    return sink.body()


async def read_small(stream: AsyncIterator[bytes], *, max_bytes: int, seconds: float) -> bytes:
    """Read a body that is a message. Raises `Refusal`: 408 when it takes too long, 413 when it is too large."""
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for piece in stream:
                size += len(piece)
                if size > max_bytes:
                    raise too_large(max_bytes)
                pieces.append(piece)
    except TimeoutError:
        raise body_timeout(seconds) from None
    return b"".join(pieces)


def plain_type(content_type: str) -> str | None:
    """Return a media type without its parameters, None where there is none."""
    plain = content_type.partition(";")[0].strip().lower()
    return plain[:100] or None


def too_large(max_bytes: int) -> Refusal:
    """Return what is said of an upload that is too large."""
    return Refusal(413, "too_large", f"more than {max_bytes} bytes", close=True)


def body_timeout(seconds: float) -> Refusal:
    """Return what is said of a body that takes too long."""
    return Refusal(408, "body_timeout", f"it did not arrive within {seconds:g} s", close=True)


def bad_form(what: str) -> Refusal:
    """Return what is said of a form that cannot be read."""
    return Refusal(400, "bad_multipart", what, close=True)
