"""Plain text, a hash a line: `pdq f8f0...` as python-threatexchange has it, a bare hash, or as `sha256sum` writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from fedi_safety.core.errors import KnownUsageError
from fedi_safety.core.known.types import HashKind
from fedi_safety.known.formats.hashes import is_kind
from fedi_safety.known.formats.items import Flaw, Item, Source, entry_of
from fedi_safety.known.formats.stream import lines

_SUM = re.compile(r"([0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}) [ *]\S")
_BY_LENGTH = {32: HashKind.MD5, 40: HashKind.SHA1, 64: HashKind.SHA256, 256: HashKind.PDQ}


def read_text(source: Source) -> Iterator[Item]:
    """Yield what each line says; empty ones, and those that begin with `#`, say nothing.

    Raises `KnownUsageError` for bare hashes of 64 digits, which may be of two kinds, unless the source says which.
    """
    for number, line in lines(source.path):
        text = line.strip()
        if text and not text.startswith("#"):
            yield _item(source, number, text)


def _item(source: Source, number: int, text: str) -> Item:
    place = f"line {number}"
    if found := _SUM.match(text):
        return entry_of(place, _BY_LENGTH[len(found[1])], found[1])
    kind, _, rest = text.partition(" ")
    if rest and is_kind(kind):
        return entry_of(place, kind, rest)
    if rest:
        return Flaw(place, "an unknown kind of hash", f"kind {kind[:40]!r}")
    bare = source.kind or _BY_LENGTH.get(len(text))
    if bare is None:
        return Flaw(place, "a wrong length", f"{len(text)} characters")
    if source.kind is None and len(text) == 64:
        cause = f"{place}: 64 digits are a SHA-256 or a PDQ"
        raise KnownUsageError(str(source.path), cause, "say which with --kind sha256 or --kind pdq")
    return entry_of(place, bare, text)


def is_text(path: Path) -> bool:
    """Whether the first line that says anything has a hash, or the name of a kind and something."""
    for _, line in islice(lines(path), 1000):
        text = line.strip()
        if text and not text.startswith("#"):
            words = text.split()
            return bool(_SUM.match(text)) or (len(words) == 1 and len(text) in _BY_LENGTH) or is_kind(words[0])
    return False
