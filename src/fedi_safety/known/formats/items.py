"""What a file of hashes holds, in whatever format: entries, withdrawals, and what cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fedi_safety.core.errors import printable
from fedi_safety.core.known.types import Entry, HashKind
from fedi_safety.known.formats.hashes import Unusable, hash_of, kind_of, time_of
from fedi_safety.known.records import Withdrawn

MOST_TEXT = 200
"""The longest id or category, in characters."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that a file has and that cannot be compared here: where, its cause as it is counted, and what it is."""

    place: str
    cause: str
    detail: str = ""


Item = Entry | Withdrawn | Flaw


def withdrawn(place: str, id: str, seen: str | float | None = None) -> Withdrawn | Flaw:
    """Return the withdrawal of what has this id, or why it is none."""
    if not id or len(id) > MOST_TEXT:
        return Flaw(place, "a deletion without an id")
    return Withdrawn(printable(id), time_of(seen))


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be read: a file, the kind of bare hashes in it where somebody said so, and its clips' name."""

    path: Path
    kind: HashKind | None = None


ReadFn = Callable[[Source], Iterator[Item]]


def entry_of(
    place: str,
    kind: str | HashKind,
    text: str,
    *,
    id: str = "",
    category: str = "",
    seen: str | float | None = None,
    expires: str | float | None = None,
    quality: str | float | None = None,
    positive: int = 0,
    negative: int = 0,
    clip: str = "",
) -> Entry | Flaw:
    """Return one hash of a list as an entry, or why it is none."""
    try:
        which = kind if isinstance(kind, HashKind) else kind_of(kind)
        digest = hash_of(which, text)
        if max(map(len, (id, category, clip))) > MOST_TEXT:
            raise Unusable(f"an id or category of more than {MOST_TEXT} characters")
    except Unusable as error:
        return Flaw(place, error.cause, error.detail)
    return Entry(
        which,
        digest,
        printable(id),
        printable(category),
        time_of(seen),
        time_of(expires),
        _quality(quality),
        positive,
        negative,
        printable(clip),
    )


def _quality(said: str | float | None) -> int | None:
    try:
        number = float(said if said is not None else "")
    except ValueError:
        return None
    return int(number) if 0 <= number <= 100 else None
