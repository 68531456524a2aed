"""Writes a list's entries for others: text, CSV, vPDQ, and tables as servers take them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import StringIO
from itertools import chain, groupby

from fedi_safety.core.errors import KnownUsageError
from fedi_safety.core.known.effects import LEAST_QUALITY
from fedi_safety.core.known.types import Effect, Entry, HashKind, KnownList

_COLUMNS = ("kind", "hash", "id", "category", "seen", "expires", "quality", "positive", "negative", "clip")


@dataclass(slots=True)
class Writing:
    """A list in a format: to be iterated once for its text; then it has counted what is in it and what was left out."""

    known: KnownList
    entries: Iterable[Entry]
    format: str
    written: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Refuse what must not leave. Raises `KnownUsageError`."""
        if not self.known.redistribute:
            cause = "it may not be passed on (redistribute = no)"
            raise KnownUsageError(self.known.name, cause, "only its publisher can allow that")
        if self.format not in WRITERS:
            raise KnownUsageError(self.format[:40], "no such format to write", f"one of {', '.join(WRITERS)}")
        if self.known.effect is Effect.NEGATIVE and self.format in ("piefed", "pixelfed"):
            cause = "it names what is harmless, and a server would block it"
            raise KnownUsageError(self.known.name, cause, "write it as text or csv")

    def __iter__(self) -> Iterator[str]:
        """Yield the text, a piece at a time."""
        return WRITERS[self.format](self._kept())

    def _kept(self) -> Iterator[Entry]:
        taken = _TAKEN[self.format]
        for entry in self.entries:
            if entry.kind is HashKind.PDQ and entry.quality is not None and entry.quality < LEAST_QUALITY:
                self.left_out[f"quality below {LEAST_QUALITY}"] += 1
            elif not taken(entry):
                what = "a clip's frame" if entry.clip else entry.kind.value
                self.left_out[f"{self.format} takes no {what}"] += 1
            else:
                self.written += 1
                yield entry


def _text(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        yield f"{entry.kind.value} {entry.hash.hex()}\n"


def _csv(entries: Iterable[Entry]) -> Iterator[str]:
    return _table(_COLUMNS, (_cells(entry) for entry in entries))


def _cells(entry: Entry) -> tuple[str | int, ...]:
    quality = "" if entry.quality is None else entry.quality
    times = _iso(entry.seen_s), _iso(entry.expires_s)
    told = entry.id, entry.category, *times, quality, entry.positive, entry.negative, entry.clip
    return entry.kind.value, entry.hash.hex(), *told


def _iso(at_s: float | None) -> str:
    return "" if at_s is None else datetime.fromtimestamp(at_s, UTC).isoformat()


def _vpdq(entries: Iterable[Entry]) -> Iterator[str]:
    """Write the frames of one clip as an array, as others read it; those of several as an object of such arrays."""
    clips = groupby(entries, lambda entry: entry.clip)
    first = next(clips, None)
    if first is None:
        yield "[]\n"
        return
    name, frames = first[0], [_frame(entry) for entry in first[1]]
    second = next(clips, None)
    if second is None:
        yield json.dumps(frames, indent=0) + "\n"
        return
    yield f"{{{json.dumps(name)}: {json.dumps(frames, indent=0)}"
    for name, of_clip in chain((second,), clips):
        yield f",\n{json.dumps(name)}: {json.dumps([_frame(entry) for entry in of_clip], indent=0)}"
    yield "}\n"


def _frame(entry: Entry) -> str:
    return f"{entry.hash.hex()},{100 if entry.quality is None else entry.quality},{_second(entry)}"


def _second(entry: Entry) -> str:
    second = entry.id.rpartition("@")[2]
    return second if second.replace(".", "", 1).isdigit() else "0.0"


def _piefed(entries: Iterable[Entry]) -> Iterator[str]:
    bits = (f"{int.from_bytes(entry.hash, 'big'):0256b}" for entry in entries)
    return _table(("hash", "file_name", "note"), ((each, "", "fedi-safety") for each in bits))


def _pixelfed(entries: Iterable[Entry]) -> Iterator[str]:
    rows = ((entry.hash.hex(), entry.id, "fedi-safety", "true") for entry in entries)
    return _table(("sha256", "name", "description", "active"), rows)


def _table(names: tuple[str, ...], rows: Iterable[tuple[str | int, ...]]) -> Iterator[str]:
    yield _line(names)
    for row in rows:
        yield _line(row)


def _line(cells: tuple[str | int, ...]) -> str:
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


WRITERS: dict[str, Callable[[Iterable[Entry]], Iterator[str]]] = {
    "text": _text,
    "csv": _csv,
    "vpdq": _vpdq,
    "piefed": _piefed,
    "pixelfed": _pixelfed,
}

_TAKEN: dict[str, Callable[[Entry], bool]] = {
    "text": lambda entry: not entry.clip,
    "csv": lambda _entry: True,
    "vpdq": lambda entry: bool(entry.clip),
    "piefed": lambda entry: entry.kind is HashKind.PDQ and not entry.clip,
    "pixelfed": lambda entry: entry.kind is HashKind.SHA256,
}
