"""What is kept of a content beside its verdicts: copies, traces, actions, uploads, words; of each its row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fedi_safety.ledger import codec
from fedi_safety.ledger.reading.asking import Asking

if TYPE_CHECKING:  # of nearly all contents nothing of this is kept
    from fedi_safety.core.moderation import AppAction, Confirmation
    from fedi_safety.core.sealing.copies import Seal, SealState
    from fedi_safety.core.sightings import TraceRecord
    from fedi_safety.core.types import Explanation

_MOST_SHOWN = 100


def seals_of(asking: Asking, sha256: bytes | None, states: Sequence[SealState]) -> list[Seal]:
    """Return sealed copies; see `SealReader.seals`."""
    conditions, values = [], dict[str, Any]()
    if sha256 is not None:
        conditions.append("seals.sha256 = :sha256")
        values["sha256"] = sha256
    if states:
        conditions.append("seals.state IN :states")
        values["states"] = [state.value for state in states]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    query = "SELECT seals.*, stores.url AS store FROM seals JOIN stores ON stores.id = seals.store_id"
    rows = asking.ask(f"{query}{where} ORDER BY seals.id", **values)
    if not rows:
        return []
    from fedi_safety.ledger.reading.kept_rows import seal_from

    return [seal_from(row) for row in rows]


def traces_of(asking: Asking, sha256s: Sequence[bytes]) -> dict[bytes, list[TraceRecord]]:
    """Return the attempts at these contents, oldest first."""
    found: dict[bytes, list[TraceRecord]] = defaultdict(list)
    for part in codec.chunks(sha256s):
        for record in traces_where(asking, "traces.sha256 IN :these", list(part)):
            found[record.subject.sha256 or b""].append(record)
    return dict(found)


def traces_where(asking: Asking, condition: str, these: list[Any]) -> list[TraceRecord]:
    """Return the attempts that a condition on `:these` lets through, oldest first."""
    query = "SELECT traces.*, stores.url AS store FROM traces LEFT OUTER JOIN stores ON stores.id = traces.store_id"
    rows = asking.ask(f"{query} WHERE {condition} ORDER BY traces.id", these=these)
    if not rows:
        return []
    from fedi_safety.ledger.reading.kept_rows import sighting_from, trace_from

    found = sightings_of(asking, [row["id"] for row in rows])
    return [trace_from(row, [sighting_from(cells) for cells in found.get(row["id"], ())]) for row in rows]


def sightings_of(asking: Asking, trace_ids: Sequence[int]) -> dict[int, list[Any]]:
    """Return the rows that these attempts found, by attempt, in order."""
    found: dict[int, list[Any]] = defaultdict(list)
    for part in codec.chunks(trace_ids):
        query = "SELECT * FROM sightings WHERE trace_id IN :these ORDER BY id"
        for row in asking.ask(query, these=list(part)):
            found[row["trace_id"]].append({**row, "local": None if row["local"] is None else bool(row["local"])})
    return found


def actions_of(asking: Asking, sha256: bytes) -> list[AppAction]:
    """Return the actions for a content, oldest first."""
    query = (
        "SELECT app_actions.*, stores.url AS store FROM app_actions JOIN stores ON stores.id = app_actions.store_id "
        "WHERE app_actions.sha256 = :sha256 ORDER BY app_actions.id"
    )
    rows = asking.ask(query, sha256=sha256)
    if not rows:
        return []
    from fedi_safety.ledger.reading.kept_rows import action_from

    return [action_from(row) for row in rows]


def confirmation_of(asking: Asking, sha256: bytes) -> Confirmation | None:
    """Return a person's word for a content, where it stands."""
    query = 'SELECT at, "by", reason FROM confirmations WHERE sha256 = :sha256 AND undone_at IS NULL'
    found = asking.ask(query, sha256=sha256)
    if not found:
        return None
    from fedi_safety.core.moderation import Confirmation

    return Confirmation(*found[0].values())


def explanations_of(asking: Asking, content_ids: Iterable[int]) -> dict[int, str]:
    """Return what is kept of what these contents' scores rest on, as texts by their row."""
    query = "SELECT content_id, body FROM explanations WHERE content_id IN :these"
    found: dict[int, str] = {}
    for part in codec.chunks(list(content_ids)):
        found |= {row["content_id"]: row["body"] for row in asking.ask(query, these=list(part))}
    return found


def explanation_of(asking: Asking, content_id: int) -> Explanation | None:
    """Return what is kept of one content; None where that is nothing, or nothing that can be read here."""
    body = explanations_of(asking, [content_id]).get(content_id)
    if body is None:
        return None
    from fedi_safety.core.explained.text import explanation_from

    try:
        return explanation_from(body)
    except ValueError:
        return None


def uploads_of(asking: Asking, sha256: bytes) -> list[dict[str, Any]]:
    """Return what is kept of uploads of a content, oldest first; also of what a server made another content of."""
    query = "SELECT * FROM uploads WHERE sha256 = :sha256 OR told LIKE :came ORDER BY id LIMIT :most"
    rows = asking.ask(query, sha256=sha256, came=f'%"came_as":"{sha256.hex()}"%', most=_MOST_SHOWN)
    names = ("upload", "at", "sender", "state", "reason", "detail", "by", "media_type", "url", "outcome")
    return [{name: row[name] for name in names} | {"told": _told(row["told"], row["sha256"])} for row in rows]


def _told(text: str | None, sha256: bytes | None) -> dict[str, Any]:
    """Return what is told of an upload; where its server made another content of it, also which."""
    told = codec.said_from(text or "{}")
    return told | {"became": sha256.hex()} if "came_as" in told and sha256 is not None else told
