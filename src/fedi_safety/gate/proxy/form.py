"""A form with files, taken apart in the one way that every server's parser shares.

The parser that is installed says where its parts are, and the body is then held to the strictest reading of RFC 7578
and RFC 2046: each `--boundary` anywhere in it begins a part or ends the form, on a line of its own. What is not so is
refused, as two parsers might find different files in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from fedi_safety.gate.body import bad_form
from fedi_safety.gate.proxy.media_type import ambiguous, type_and_parameters
from fedi_safety.gate.proxy.pieces import Pieces

MOST_PARTS = 512
_HEADER_BYTES = 4 << 10
_END = b"\r\n"
_HEADER = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_FORM_DATA = re.compile(r"form-data[ \t]*(;.*)\Z", re.DOTALL)
_DISPOSITION = re.compile(r';[ \t]*(name|filename|filename\*)=(?:([A-Za-z0-9_.\'%-]+)|"([^"\\\x00-\x1f\x7f]*)")[ \t]*')
_EXTENDED = re.compile(r"utf-8'[A-Za-z-]*'(?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-Fa-f]{2})*\Z", re.IGNORECASE)
_PLAIN_ENCODINGS = frozenset({b"binary", b"8bit", b"7bit"})
_TEXTS = frozenset({"text/plain", "application/json"})
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1"})


@dataclass(frozen=True, slots=True)
class Part:
    """One part: where its data lie in the body, and its header. `is_file` unless every server reads a text."""

    start: int
    end: int
    name: str
    file_name: str | None
    type: str | None
    is_file: bool
    text: bytes = field(default=b"", repr=False)  # of what is no file


class _Finder:
    """Finds each place of a text in a body that comes in pieces."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._tail = b""
        self._size = 0
        self.places: list[int] = []

    def add(self, piece: bytes) -> None:
        kept = self._tail
        base = self._size - len(kept)
        head = piece[: len(self._text) - 1]
        self._search(kept + head, base, limit=len(kept))
        self._search(piece, self._size, limit=len(piece))
        self._size += len(piece)
        keep = len(self._text) - 1
        self._tail = (kept + piece)[-keep:] if len(piece) < keep else piece[-keep:]

    def _search(self, data: bytes, base: int, limit: int) -> None:
        """Note each place that begins before `limit`."""
        at = data.find(self._text)
        while at != -1 and at < limit:
            self.places.append(base + at)
            if len(self.places) > MOST_PARTS + 1:
                raise bad_form("its form has too many parts")
            at = data.find(self._text, at + 1)


class Form:
    """A form that comes in pieces; `parts` when all of it is there."""

    def __init__(self, boundary: bytes) -> None:
        """Take it apart at this boundary."""
        self._delimiter = b"--" + boundary
        self._finder = _Finder(self._delimiter)
        self._sizes: list[int] = []
        self._ended = False
        self._parser = MultipartParser(
            boundary, {"on_part_begin": self._begin, "on_part_data": self._data, "on_end": self._end}
        )

    def add(self, piece: bytes) -> None:
        """Take the next piece. Raises `Refusal`."""
        try:
            if not self._ended:  # what comes behind its end is refused; the parser would log each piece of it
                self._parser.write(piece)
        except FormParserError as error:
            raise bad_form("its form is malformed") from error
        self._finder.add(piece)

    def _begin(self) -> None:
        if len(self._sizes) >= MOST_PARTS:
            raise bad_form("its form has too many parts")
        self._sizes.append(0)

    def _data(self, _data: bytes, start: int, end: int) -> None:
        self._sizes[-1] += end - start

    def _end(self) -> None:
        self._ended = True

    def parts(self, body: Pieces) -> list[Part]:
        """Return its parts, now that `body` is all of it. Raises `Refusal`."""
        if not self._ended:
            raise bad_form("its form is cut short")
        places, size = self._finder.places, len(self._delimiter)
        if len(places) != len(self._sizes) + 1:
            raise ambiguous("its boundary stands where it parts nothing")
        if body.between(0, places[0]) not in (b"", _END):
            raise ambiguous("something stands before its first part")
        end = places[-1] + size
        if body.between(end, end + 2) != b"--" or body.between(end + 2, body.size) not in (b"", _END):
            raise ambiguous("something stands behind its end")
        return [self._part(body, places[i] + size, places[i + 1], self._sizes[i]) for i in range(len(self._sizes))]

    @staticmethod
    def _part(body: Pieces, line: int, following: int, size: int) -> Part:
        """Return the part between the rest of one delimiter's line and the next delimiter."""
        end = following - len(_END)
        start = end - size
        if body.between(line, line + 2) != _END or body.between(end, following) != _END:
            raise ambiguous("its boundary does not stand on a line of its own")
        if not line + 2 < start <= line + 2 + _HEADER_BYTES:
            raise ambiguous("the header of a part is missing or too long")
        head = body.between(line + 2, start)
        if head.find(_END + _END) != len(head) - 4:
            raise ambiguous("the header of a part does not end where its data begin")
        headers = _headers(head[:-4])
        name, file_name, named = _disposition(headers)
        kind = _type(headers)
        if (length := headers.get(b"content-length")) is not None and length != b"%d" % size:
            raise ambiguous("the length of a part is not what its header says")
        is_file = named or not (kind is None or kind in _TEXTS)
        text = b"" if is_file else body.between(start, end)
        if not is_file and not _is_text(text):
            is_file, text = True, b""
        return Part(start, end, name, file_name, kind, is_file, text)


def _headers(head: bytes) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in head.split(_END):
        found = _HEADER.fullmatch(line)
        if found is None:
            raise ambiguous("a line in the header of a part is not written as it should be")
        name = found[1].lower()
        if name in headers:
            raise ambiguous("a line stands twice in the header of a part")
        headers[name] = found[2]
    known = {b"content-disposition", b"content-type", b"content-length", b"content-transfer-encoding"}
    if any(name.startswith(b"content-") for name in headers.keys() - known):
        raise ambiguous("the header of a part says more of its data than a form's does")
    if headers.get(b"content-transfer-encoding", b"binary").lower() not in _PLAIN_ENCODINGS:
        raise ambiguous("a part is packed by Content-Transfer-Encoding")
    return headers


def _disposition(headers: dict[bytes, bytes]) -> tuple[str, str | None, bool]:
    """Return the name of the field, that of the file, and whether there is any word of a file."""
    try:
        text = headers[b"content-disposition"].decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        raise ambiguous("a part has no Content-Disposition, or one that is not UTF-8") from None
    found = _FORM_DATA.match(text)
    if found is None:
        raise ambiguous("a part is not form-data")
    given: dict[str, str] = {}
    rest, at = found[1].rstrip("; \t"), 0
    while at < len(rest):
        one = _DISPOSITION.match(rest, at)
        if one is None or one[1] in given:
            raise ambiguous("the Content-Disposition of a part is not written as it should be")
        given[one[1]] = one[2] if one[2] is not None else one[3]
        at = one.end()
    if "name" not in given or given["name"] == "_charset_":
        raise ambiguous("a part has no name of its own")
    if "filename*" in given and not _EXTENDED.match(given["filename*"]):
        raise ambiguous("the name of a file is encoded otherwise than in UTF-8")
    return given["name"], given.get("filename"), "filename" in text.lower()


def _type(headers: dict[bytes, bytes]) -> str | None:
    value = headers.get(b"content-type", b"").decode("latin-1")
    if not value:
        return None
    plain, parameters = type_and_parameters(value, "part's Content-Type")
    if plain.startswith(("multipart/", "message/")):
        raise ambiguous("a part is a form or a message by itself")
    if parameters.get("charset", "utf-8").lower() not in _CHARSETS:
        raise ambiguous("the charset of a part is none that every server knows")
    return plain


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False
