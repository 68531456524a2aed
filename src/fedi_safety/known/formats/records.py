"""Lists as JSON: StopNCII, Tech Against Terrorism, VICS 2.0, and vPDQ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedi_safety.core.errors import KnownUsageError
from fedi_safety.core.known.types import HashKind
from fedi_safety.known.formats.hashes import Unusable, hash_of, is_kind, kind_of
from fedi_safety.known.formats.items import Flaw, Item, Source, entry_of, withdrawn
from fedi_safety.known.formats.json_stream import elements
from fedi_safety.known.records import Withdrawn

_ENDED = ("Withdrawn", "Deleted")


def read_stopncii(source: Source) -> Iterator[Item]:
    """Yield the records of `FetchHashes`. Withdrawn and deleted ones go; a later record replaces an earlier one."""
    for name, number, record in elements(source.path):
        if name != "hashRecords" or not number:
            continue
        place = f"record {number}"
        if not isinstance(record, dict):
            yield Flaw(place, "no record")
            continue
        kind, text = _text(record, "signalType"), _text(record, "hashValue")
        if _text(record, "hashStatus") in _ENDED:
            try:
                which = kind_of(kind)
                yield Withdrawn(kind=which, hash=hash_of(which, text))
            except Unusable as error:
                yield Flaw(place, error.cause, error.detail)
            continue
        said = record.get("CSPFeedbacks")
        opinions = (
            [_text(each, "feedbackValue") for each in said if isinstance(each, dict)] if isinstance(said, list) else []
        )
        yield entry_of(
            place,
            kind,
            text,
            seen=_number(record.get("lastModtimestamp")),
            positive=opinions.count("Blocked"),
            negative=opinions.count("NotBlocked"),
        )


def read_tat(source: Source) -> Iterator[Item]:
    """Yield the records of Tech Against Terrorism's hash list, a file or a page; deleted ones go."""
    for name, number, record in elements(source.path):
        if name not in ("", "results") or not number:
            continue
        place = f"record {number}"
        if not isinstance(record, dict):
            yield Flaw(place, "no record")
            continue
        own = _text(record, "id")
        seen = _text(record, "updated_on") or _text(record, "created_on")
        if record.get("deleted") is True:
            yield withdrawn(place, own, seen)
            continue
        yield entry_of(
            place,
            _text(record, "algorithm"),
            _text(record, "hash_digest"),
            id=own,
            category=_text(record, "ideology"),
            seen=seen,
        )


def read_vics(source: Source) -> Iterator[Item]:
    """Yield the hashes of Project VIC's media, with their category."""
    for name, number, record in elements(source.path):
        if name != "value" or not number:
            continue
        place = f"record {number}"
        if not isinstance(record, dict):
            yield Flaw(place, "no record")
            continue
        hashes = [(key, value) for key, value in record.items() if isinstance(value, str) and value and is_kind(key)]
        if not hashes:
            yield Flaw(place, "no hash")
        for kind, text in hashes:
            yield entry_of(
                place,
                kind,
                text,
                id=_text(record, "MediaID"),
                category=_text(record, "Category"),
                seen=_text(record, "DateUpdated"),
            )


def read_vpdq(source: Source) -> Iterator[Item]:
    """Yield the frames of clips: an array of `hash,quality,second` is one, an object of such arrays has several."""
    for clip, number, frame in elements(source.path):
        place = f"frame {number}" + (f" of {clip[:40]!r}" if clip else "")
        parts = frame.split(",") if isinstance(frame, str) else []
        if len(parts) != 3 or not number:
            yield Flaw(place, "no frame", "hash, quality and second belong between commas")
            continue
        name = clip or source.path.name.split(".")[0]
        text, quality, second = (part.strip() for part in parts)
        yield entry_of(place, HashKind.PDQ, text, id=f"{name}@{second}", quality=quality, clip=name)


def format_of(source: Source) -> str:
    """Return which of these a file is, by its first records. Raises `KnownUsageError`."""
    for name, number, value in elements(source.path):
        if number and isinstance(value, str) and value.count(",") == 2:
            return "vpdq"
        if name == "hashRecords":
            return "stopncii"
        if name == "@odata.context" or (name == "value" and number):
            return "vics"
        if name in ("", "results") and isinstance(value, dict) and "hash_digest" in value:
            return "tat"
    raise KnownUsageError(
        str(source.path), "it is JSON, but no list of hashes that is known here", "name the format with --format"
    )


def _text(record: Any, name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e16 else None
