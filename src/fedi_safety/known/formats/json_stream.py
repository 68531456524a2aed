"""JSON a record at a time: the elements of the arrays that stand at the top of a file, however large."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedi_safety.core.errors import KnownUsageError
from fedi_safety.known.formats.stream import texts

_MOST_RECORD = 1 << 20  # characters
_SPACE = " \t\n\r"


def elements(path: Path) -> Iterator[tuple[str, int, Any]]:
    """Yield the name of an array, the number of an element in it from 1, and that element.

    A file that is one array has the name "". Of an object at the top what is no array comes with the number 0. Raises
    `KnownUsageError`.
    """
    cursor = _Cursor(path)
    opened = cursor.peek()
    if opened == "[":
        yield from cursor.array("")
    elif opened == "{":
        cursor.take("{")
        while cursor.peek() != "}":
            name = cursor.value("a name")
            cursor.take(":")
            if cursor.peek() == "[":
                yield from cursor.array(str(name))
            else:
                yield str(name), 0, cursor.value(f"{str(name)[:40]!r}")
            cursor.between("}")
        cursor.take("}")
    else:
        raise cursor.error("the beginning", "it is no JSON array or object")
    if cursor.peek():
        raise cursor.error("the end", "something stands after it")


class _Cursor:
    """A place in a file's text, of which it holds one record and what was read with it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces = texts(path)
        self._decode = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0

    def error(self, place: str, cause: str) -> KnownUsageError:
        """Return what is wrong where."""
        return KnownUsageError(str(self._path), f"{place}: {cause}", "it is damaged or cut off; get it anew")

    def peek(self) -> str:
        """Return the next character that is no space, "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, wanted: str) -> None:
        """Step over a character that must come next."""
        if self.peek() != wanted:
            raise self.error("its structure", f"{wanted!r} is missing")
        self._at += 1

    def between(self, closing: str) -> None:
        """Step over a comma, unless the end comes next."""
        if self.peek() != closing:
            self.take(",")
            if self.peek() == closing:
                raise self.error("its structure", "a comma stands before the end")

    def array(self, name: str) -> Iterator[tuple[str, int, Any]]:
        """Yield the elements of an array."""
        self.take("[")
        number = 0
        while self.peek() != "]":
            number += 1
            yield name, number, self.value(f"record {number}")
            self.between("]")
        self.take("]")

    def value(self, place: str) -> Any:
        """Return the next value, whole."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except RecursionError:
                raise self.error(place, "values lie too deep in each other") from None
            except ValueError as error:
                why = getattr(error, "msg", str(error))
            else:
                if end < len(self._text) or not self._more():  # a number may go on
                    self._at = end
                    return value
                continue
            if len(self._text) - self._at > _MOST_RECORD or not self._more():
                raise self.error(place, why)

    def _more(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._text, self._at = self._text[self._at :] + piece, 0
        return True
