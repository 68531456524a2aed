"""The formats in which lists of hashes are given away: one row a format. Nothing here keeps or compares a hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fedi_safety.core.errors import KnownUsageError
from fedi_safety.core.known.types import Entry, HashKind
from fedi_safety.core.wording.nearest import did_you_mean
from fedi_safety.known.formats import records, table, text
from fedi_safety.known.formats.items import Flaw, Item, ReadFn, Source
from fedi_safety.known.formats.ncmec import read_ncmec
from fedi_safety.known.formats.stream import texts
from fedi_safety.known.records import Withdrawn


@dataclass(frozen=True, slots=True)
class Format:
    """How files of a format are read."""

    name: str
    about: str
    read: ReadFn


FORMATS = {
    each.name: each
    for each in (
        Format("text", "plain text, a hash a line", text.read_text),
        Format("csv", "a table with a header line", table.read_csv),
        Format("ncmec", "NCMEC's hash sharing, version 2 (XML)", read_ncmec),
        Format("stopncii", "StopNCII (JSON)", records.read_stopncii),
        Format("tat", "Tech Against Terrorism (JSON)", records.read_tat),
        Format("vics", "Project VIC, VICS 2.0 (JSON)", records.read_vics),
        Format("vpdq", "vPDQ, the frames of clips (JSON)", records.read_vpdq),
        Format("piefed", "PieFed's table blocked_image (CSV)", table.read_piefed),
        Format("pixelfed", "Pixelfed's table media_blocklists (CSV)", table.read_pixelfed),
    )
}


@dataclass(slots=True)
class Reading:
    """A list's file: to be iterated once for what it says, streaming; then it has counted what was not usable.

    `flaws` are counts by cause, `first` says of each where it was met first. Raises `KnownUsageError` while it is read,
    where the file is damaged.
    """

    source: Source
    format: Format
    flaws: Counter[str] = field(default_factory=Counter)
    first: dict[str, Flaw] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Entry | Withdrawn]:
        """Yield its entries, and what it takes back of them: which of both counts is the catalog's to tell."""
        for item in self.format.read(self.source):
            if isinstance(item, Flaw):
                self.flaws[item.cause] += 1
                self.first.setdefault(item.cause, item)
            else:
                yield item


def read(path: Path, named: str | None = None, kind: HashKind | None = None) -> Reading:
    """Return a file's reading, in the format that was named or that it looks like. Raises `KnownUsageError`.

    `kind` is that of hashes that stand without one.
    """
    source = Source(path, kind)
    if named is not None and named not in FORMATS:
        raise KnownUsageError(
            named[:40], "there is no such format", f"one of {', '.join(FORMATS)}{did_you_mean(named, FORMATS)}"
        )
    return Reading(source, FORMATS[named or _looks_like(source)])


def _looks_like(source: Source) -> str:
    head = "".join(text for text, _ in zip(texts(source.path), range(1), strict=False)).lstrip()
    if head.startswith("<"):
        return "ncmec"
    if head.startswith(("{", "[")):
        return records.format_of(source)
    columns = set(table.header(source.path))
    if columns:
        if "sha256" in columns and columns & {"sha512", "active"}:
            return "pixelfed"
        return "piefed" if {"hash", "file_name"} <= columns else "csv"
    if text.is_text(source.path):
        return "text"
    raise KnownUsageError(
        str(source.path), "it looks like none of the formats that are known here", "name it with --format"
    )


__all__ = ["FORMATS", "Flaw", "Format", "Item", "Reading", "read"]
