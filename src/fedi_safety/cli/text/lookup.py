"""What the follow-up commands share: finding what a person means, and rows as JSON."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedi_safety.core.errors import UsageError
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.config.schema import Settings
    from fedi_safety.core.ledger.objects import ObjectReader
    from fedi_safety.core.ledger.records import Row, Shown
    from fedi_safety.core.moderation import AppAction
    from fedi_safety.core.sightings import Sighting, TraceRecord
    from fedi_safety.core.types import RuleHit

_WIDEST = 48  # characters of a column; what is longer moves its own line only


def known_store(settings: Settings, ledger: ObjectReader, named: str | None) -> str | None:
    """Return the ledger's name of the store that was named, or None for all. Raises `UsageError` for an unknown one."""
    if named is None:
        return None
    from fedi_safety.app.stores import store_url

    url = store_url(settings, named)
    urls = ledger.store_urls()
    if url not in urls:
        known = f"it knows {', '.join(urls[:5])}{', ...' if len(urls) > 5 else ''}" if urls else "it is empty"
        raise UsageError(url, "the ledger knows no such store", f"{known}; scan it first, or name another --ledger")
    return url


def find(ledger: ObjectReader, target: str, store: str | None = None) -> Shown:
    """Return everything about a key, a path below a store's root, or a SHA-256 in hex. Raises `UsageError`."""
    if re.fullmatch(r"[0-9a-fA-F]{64}", target):
        found = ledger.show(bytes.fromhex(target), store)
    else:
        found = ledger.show(target, store) or _by_path(ledger, target, store)
    if found is None:
        raise UsageError(target, "the ledger knows no such object or content", f"see {hint('list')}")
    return found


def _by_path(ledger: ObjectReader, target: str, store: str | None) -> Shown | None:
    """People copy paths; the ledger has keys below a store's root."""
    from fedi_safety.stores import local_root

    path = str(Path(target).absolute())
    for url in ledger.store_urls():
        place = local_root(url)
        if place is None or store not in (None, url):
            continue
        root = str(place).rstrip("/") + "/"
        if path.startswith(root) and (found := ledger.show(path[len(root) :], url)):
            return found
    return None


def row_json(row: Row) -> dict[str, Any]:
    """Return one line of `list --json`."""
    act = None if row.act is None or row.act_state is None else {"kind": row.act.value, "state": row.act_state.value}
    return {
        "store": row.store,
        "key": row.key,
        "state": row.state,
        "verdict": None if row.verdict is None else row.verdict.value,
        "labels": list(row.labels),
        "reasons": [reason_json(hit) for hit in row.reasons],
        "signals": {name: signal.value for name, signal in sorted(row.signals.items())},
        "skipped": None if row.skipped is None else row.skipped.value,
        "unscanned": None if row.unscanned is None else row.unscanned.value,
        "partly": row.partly,
        "act": act,
        "at": None if row.at is None else iso_time(row.at),
        "judged_at": None if row.judged_at is None else iso_time(row.judged_at),
        "sha256": None if row.sha256 is None else row.sha256.hex(),
    }


def reason_json(hit: RuleHit) -> dict[str, Any]:
    """Return why a rule held: its factors, each with the signal, value and frame that raised it."""
    return {
        "rule": hit.rule,
        "verdict": None if hit.verdict is None else hit.verdict.value,
        "label": hit.label,
        "across_frames": hit.across_frames,
        "second_look": hit.second_look,
        "factors": [asdict(factor) for factor in hit.factors],
    }


def trace_json(record: TraceRecord) -> dict[str, Any]:
    """Return an attempt to trace, with all that it found."""
    subject = record.subject
    return {
        "store": subject.store,
        "key": subject.key,
        "sha256": None if subject.sha256 is None else subject.sha256.hex(),
        "url": subject.url,
        "aliases": list(subject.aliases),
        "origins": list(subject.origins),
        "server": record.server,
        "at": iso_time(record.at),
        "state": record.state.value,
        "detail": record.detail,
        "retry_at": None if record.retry_at is None else iso_time(record.retry_at),
        "sightings": [
            asdict(sighting) | {"at": None if sighting.at is None else iso_time(sighting.at)}
            for sighting in record.sightings
        ],
    }


def trace_text(record: TraceRecord) -> str:
    """Return how an attempt to trace ended, in words, and what comes of it."""
    from fedi_safety.core.sightings import TraceState

    said = {
        TraceState.FOUND: "found",
        TraceState.NOTHING: "it knows of nothing",
        TraceState.UNKNOWN: "unknown",
        TraceState.POORLY: "found, not in full" if record.sightings else "nothing found, not every way was open",
        TraceState.FAILED: "failed",
        TraceState.NOT_TRACED: "not traced, and the removal waited no longer",
        TraceState.NAMES: "its names are kept",
    }[record.state]
    again = f"; asked again from {iso_time(record.retry_at)} on" if record.retry_at is not None else ""
    why = f": {record.detail}" if record.detail else ""
    return f"traced by {record.server}: {said}{why}{again}"


def sighting_lines(record: TraceRecord) -> list[str]:
    """Return what an attempt to trace found, a line each, in columns; then the names that were learnt."""
    rows = [_sighting_cells(sighting) for sighting in record.sightings]
    widths = [min(max(len(row[at]) for row in rows), _WIDEST) for at in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        lines.append("  ".join(cells).rstrip())
    for name, known in (("aliases", record.subject.aliases), ("origins", record.subject.origins)):
        if known:
            lines.append(f"{name} {' '.join(known)}")
    return lines


def upload_json(upload: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of an upload that the gate refused, or let in without a verdict."""
    sighting = upload["told"].get("sighting")
    told = {name: upload["told"].get(name) for name in ("address", "file_name")}
    anew = {name: upload["told"].get(name) for name in ("came_as", "became")}
    anew["unlike"] = upload["told"].get("likeness", {}).get("why")
    told |= {name: value for name, value in anew.items() if value is not None}
    when = None if sighting is None or sighting["at"] is None else iso_time(sighting["at"])
    return upload | {
        "at": iso_time(upload["at"]),
        "told": told | {"sighting": None if sighting is None else sighting | {"at": when}},
    }


def upload_lines(upload: dict[str, Any]) -> list[str]:
    """Return the same for people."""
    told = upload["told"]
    who = upload["sender"] + (f" at {told['address']}" if told.get("address") not in (None, upload["sender"]) else "")
    why = ", ".join(filter(None, (upload["state"], upload["reason"], upload["detail"])))
    more = (
        ("sent by", _person(told.get("sighting"))),
        ("called", told.get("file_name")),
        ("at", upload["url"]),
        ("came as", told.get("came_as")),
        ("kept by its server as", told.get("became")),
        ("not found again by what it shows:", told.get("likeness", {}).get("why")),
    )
    return [
        f"{iso_time(upload['at'])}  upload {upload['upload']} from {who}: {why}",
        *(f"    {name} {said}" for name, said in more if said),
    ]


def _person(sighting: dict[str, Any] | None) -> str:
    """Return whose an upload is, where that was learnt: by name, and by the server's own id."""
    found = sighting or {}
    name, own = found.get("person") or "", found.get("person_id")
    return f"{name} (person {own})".strip() if own else name


def _sighting_cells(sighting: Sighting) -> tuple[str, ...]:
    """Return as what, by whom, when, how sure, which record and where: a column each, empty where nobody tells."""
    where = {True: "local", False: "remote", None: ""}[sighting.local]
    person = sighting.person or (f"person {sighting.person_id}" if sighting.person_id else "")
    instance = "" if sighting.instance and sighting.instance in person else sighting.instance or ""
    belongs = ", ".join(part for part in (instance, where) if part)
    who = f"{person} ({belongs})" if person and belongs else person or belongs
    at = "" if sighting.at is None else f"{datetime.fromtimestamp(sighting.at, UTC):%Y-%m-%d %H:%M} UTC"
    sure = f"{sighting.certainty.value} by {sighting.way.value}"
    return (sighting.kind.value.replace("_", " "), who, at, sure, sighting.record or "", sighting.url or "")


def action_json(action: AppAction) -> dict[str, Any]:
    """Return an action through the app."""
    return {
        "id": action.id,
        "store": action.store,
        "server": action.server,
        "action": action.action,
        "target": action.target.value,
        "target_id": action.target_id,
        "url": action.url,
        "state": action.state.value,
        "detail": action.detail,
        "attempts": action.attempts,
        "at": iso_time(action.at),
    }


def action_line(action: AppAction) -> str:
    """Return the same for people."""
    from fedi_safety.core.moderation import ActionState

    waits = f"; {hint('confirm KEY')} lets it be done" if action.state is ActionState.UNCONFIRMED else ""
    detail = f": {action.detail}" if action.detail else ""
    return f"{iso_time(action.at)}  {action.state.value}: {action.text}, by {action.server}{detail}{waits}"


def iso_time(at: float) -> str:
    """Return a moment as people and programs read it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
