"""Reads an upload into memory, raw or as a form, within limits of size, time and memory. No disk is involved (I1).

What does not fit into memory any more is hashed as it passes and let go of: the backlog can still name it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from fedi_safety.core.queues import ByteBudget
from fedi_safety.gate.responses import Refusal

FIELD = "file"
"""The field of a form that holds the upload."""

_FORM_BYTES = 64 << 10  # what a form may have around the file
_HEADER_BYTES = 8 << 10
_PARTS = 16


@dataclass(frozen=True, slots=True)
class Body:
    """An upload as it came in. `data` is None if there was no memory for it; hash and size are known all the same."""

    data: bytes | None = field(repr=False)
    sha256: bytes
    size: int
    claimed_type: str | None


class _Sink:
    """Takes the upload's bytes in pieces."""

    def __init__(self, budget: ByteBudget, max_bytes: int) -> None:
        self._budget = budget
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._pieces: list[bytes] | None = []
        self.size = 0
        self.claimed_type: str | None = None

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self._max_bytes:
            raise too_large(self._max_bytes)
        self._hash.update(piece)
        if self._pieces is not None:
            if self._budget.try_take(len(piece)):
                self._pieces.append(bytes(piece))
            else:
                self._budget.give_back(self.size - len(piece))
                self._pieces = None

    def body(self) -> Body:
        data = None if self._pieces is None else b"".join(self._pieces)
        return Body(data, self._hash.digest(), self.size, self.claimed_type)

    def let_go(self) -> None:
        """Give the memory back: the upload was not taken after all."""
        if self._pieces is not None:
            self._budget.give_back(sum(len(piece) for piece in self._pieces))
            self._pieces = None


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
    budget: ByteBudget,
    *,
    max_bytes: int,
    seconds: float,
) -> Body:
    """Read an upload. What it takes from `budget` is the caller's to give back, if the body has data.

    Raises `Refusal`: 400 for a malformed form, 408 when it takes too long, 413 when it is too large.
    """
    if length is not None and length.isdigit() and int(length) > max_bytes + _FORM_BYTES:
        raise too_large(max_bytes)
    sink = _Sink(budget, max_bytes)
    kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
    form: _Form | None = None
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= 200:
            raise bad_form("its form names no boundary")
        form = _Form(boundary, sink)
    else:
        sink.claimed_type = plain_type(content_type)
    try:
        async with asyncio.timeout(seconds):
            async for piece in stream:
                if piece:
                    (sink if form is None else form).add(piece)
        if form is not None and not (form.found and form.ended):
            raise bad_form("its form is cut short" if form.found else f"its form has no field {FIELD!r}")
    except TimeoutError:
        sink.let_go()
        raise Refusal(408, "body_timeout", f"it did not arrive within {seconds:g} s", close=True) from None
    except BaseException:
        sink.let_go()
        raise
    return sink.body()


def plain_type(content_type: str) -> str | None:
    """Return a media type without its parameters, None where there is none."""
    plain = content_type.partition(";")[0].strip().lower()
    return plain[:100] or None


def too_large(max_bytes: int) -> Refusal:
    """Return what is said of an upload that is too large."""
    return Refusal(413, "too_large", f"more than {max_bytes} bytes", close=True)


def bad_form(what: str) -> Refusal:
    """Return what is said of a form that cannot be read."""
    return Refusal(400, "bad_multipart", what, close=True)
