"""Tables with a header line: CSV, PieFed's `blocked_image`, Pixelfed's `media_blocklists`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from fedi_safety.core.errors import KnownUsageError
from fedi_safety.core.known.types import HashKind
from fedi_safety.known.formats.hashes import is_kind
from fedi_safety.known.formats.items import Flaw, Item, Source, entry_of
from fedi_safety.known.formats.stream import lines

Row = Mapping[str, str]

_KIND = ("kind", "type", "signal_type", "algorithm", "hash_type")
_HASH = ("hash", "signal", "value", "digest", "hash_digest", "hash_value")
_ID = ("id", "entry", "entry_id", "mediaid")
_CATEGORY = ("category", "classification", "reason")
_SEEN = ("seen", "updated_on", "updated", "timestamp", "created_on", "created")
_EXPIRES = ("expires", "expires_on")
_OFF = ("f", "false", "0", "no")
_MOST_LINES = 1_000  # that one row may have; a quote that is never closed makes one of them all


def header(path: Path) -> list[str]:
    """Return the names of a table's columns, in small letters; empty where the first line is no header of hashes."""
    for _, line in lines(path):
        if not line.strip() or line.startswith("#"):
            continue
        names = [name.strip().lower() for name in next(csv.reader([line], delimiter=_delimiter(line)), [])]
        return names if any(name in _HASH or is_kind(name) for name in names) else []
    return []


def read_csv(source: Source) -> Iterator[Item]:
    """Yield the hashes of each row: those of columns named after kinds, and `hash` with the kind of `kind`."""
    for number, row in _rows(source.path):
        place = f"line {number}"
        kind = _first(row, _KIND) or (source.kind.value if source.kind else "")
        hashes = [(name, text) for name, text in row.items() if text and is_kind(name)]
        if text := _first(row, _HASH):
            hashes.append((kind or _by_shape(text), text))
        if not hashes:
            yield Flaw(place, "no hash")
        for each, text in hashes:
            yield entry_of(
                place,
                each,
                text,
                id=_first(row, _ID),
                category=_first(row, _CATEGORY),
                seen=_first(row, _SEEN),
                expires=_first(row, _EXPIRES),
                quality=row.get("quality"),
                positive=_count(row.get("positive")),
                negative=_count(row.get("negative")),
                clip=row.get("clip", ""),
            )


def read_piefed(source: Source) -> Iterator[Item]:
    """Yield the pictures of PieFed's table `blocked_image`, as `\\copy ... CSV HEADER` writes it."""
    for number, row in _rows(source.path):
        yield entry_of(f"line {number}", HashKind.PDQ, row.get("hash", ""), id=row.get("id", ""))


def read_pixelfed(source: Source) -> Iterator[Item]:
    """Yield what Pixelfed's table `media_blocklists` names; what is switched off there, and SHA-512, is not usable."""
    for number, row in _rows(source.path):
        place = f"line {number}"
        if row.get("active", "").lower() in _OFF:
            yield Flaw(place, "switched off by the server")
        elif row.get("sha256"):
            yield entry_of(place, HashKind.SHA256, row["sha256"], id=row.get("id", ""))
        else:
            yield Flaw(place, "SHA-512 hashes" if row.get("sha512") else "no hash")


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    names: list[str] = []
    delimiter = ","
    skipped = row_lines = 0

    def kept() -> Iterator[str]:
        nonlocal delimiter, skipped, row_lines
        seen = False
        for number, line in lines(path):
            if not seen and (not line.strip() or line.startswith("#")):
                skipped += 1
                continue
            if not seen:
                seen, delimiter = True, _delimiter(line)
            row_lines += 1
            if row_lines > _MOST_LINES:
                cause = f"line {number}: a row of more than {_MOST_LINES} lines"
                raise KnownUsageError(str(path), cause, "is a quote missing before it?")
            yield line + "\n"

    given = kept()
    first = next(given, None)
    if first is None:
        return
    names = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter))]
    reader = csv.reader(given, delimiter=delimiter)
    try:
        for cells in reader:
            row_lines = 0
            if cells:
                yield skipped + 1 + reader.line_num, dict(zip(names, (cell.strip() for cell in cells), strict=False))
    except csv.Error as error:
        cause = f"line {skipped + 1 + reader.line_num}: {error}"
        raise KnownUsageError(str(path), cause, "is a quote missing before it?") from None


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _first(row: Row, names: tuple[str, ...]) -> str:
    return next((row[name] for name in names if row.get(name)), "")


def _by_shape(text: str) -> str:
    """Return the kind of a hash that alone has this length; 64 digits may be of two."""
    return {32: "md5", 40: "sha1", 256: "pdq"}.get(len(text), "")


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else 0
