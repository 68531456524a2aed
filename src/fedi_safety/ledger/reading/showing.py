"""`show`: everything about one object or content. Never the picture itself, which no ledger has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from fedi_safety.core.ledger.rows import PastEvent, PastJudgement, Shown
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact.meanings import JUDGED, REASONS, SCORES, Meanings
from fedi_safety.ledger.reading import kept
from fedi_safety.ledger.reading.asking import Asking, Reading
from fedi_safety.ledger.reading.rows import row_from, rows_where

_CONTENT = (
    *("id", "media_type", "width", "height", "frames", "total", "partly", "scored_at", "run_id"),
    *("verdict", "policy", "labels", *REASONS, *SCORES),
)
_PAST = (
    *(f"judgements.{name}" for name in ("at", "run_id", "verdict", "policy", *JUDGED)),
    *(f"contents.{name} AS own_{name}" for name in (*SCORES, *REASONS, "labels")),
)
_PLAN = (
    *("plans.id", "plans.run_id", "runs.dry_run", 'objects."key"', "plans.act", "plans.state", "plans.created_at"),
    *("plans.updated_at", "plans.attempts", "plans.error"),
)
_ACT = ("id", "plan_id", "run_id", "started_at", "closed_at", "outcome", "detail", "receipt")


def store_urls(reading: Reading) -> list[str]:
    """Return the URLs of all stores that the ledger knows, oldest first."""
    with reading.asked() as asking:
        return [row["url"] for row in asking.ask("SELECT url FROM stores ORDER BY id")]


def show(reading: Reading, target: str | bytes, store: str | None = None) -> Shown | None:
    """Return everything about an object's key (`str`) or a content's SHA-256 (`bytes`); None if neither is known.

    A key that several stores have gives all of their rows, and the history of the first one's content.
    """
    with reading.asked() as asking:
        found = _objects(asking, target, store)
        meanings = Meanings(asking)
        rows = [row_from(row, meanings) for row in found]
        sha256 = target if isinstance(target, bytes) else next((row["sha256"] for row in found if row["sha256"]), None)
        content = None if sha256 is None else _content(asking, sha256)
        refused = [] if sha256 is None else kept.uploads_of(asking, sha256)
        if content is None and not rows and not refused:
            return None
        plans = _plans(asking, [row["id"] for row in found], None if content is None else content.id)
        plan_ids = [plan["id"] for plan in plans]
        events = _events(asking, sha256 if content is not None else None, plan_ids)
        acts = _acts(asking, plan_ids)
        traced = [] if sha256 is None else kept.traces_of(asking, [sha256]).get(sha256, [])
        shown = Shown(rows, sha256, plans=plans, acts=acts, events=events, traces=traced, uploads=refused)
        if content is None or sha256 is None:
            return shown
        dismissed = "SELECT reason FROM dismissals WHERE sha256 = :sha256 AND undone_at IS NULL"
        return replace(
            shown,
            media_type=content.media_type,
            width=content.width,
            height=content.height,
            frames=content.frames,
            total=content.total,
            partly=content.partly,
            detectors=codec.detectors_from(content.body),
            dismissal=next((row["reason"] for row in asking.ask(dismissed, sha256=sha256)), None),
            judgements=_judgements(asking, content, meanings),
            explanation=kept.explanation_of(asking, content.id),
            actions=kept.actions_of(asking, sha256),
            confirmation=kept.confirmation_of(asking, sha256),
        )


def _objects(asking: Asking, target: str | bytes, store: str | None) -> Sequence[Mapping[str, Any]]:
    known, values = ("", {}) if store is None else (" WHERE url = :store", {"store": store})
    ids = [row["id"] for row in asking.ask(f"SELECT id FROM stores{known}", **values)]
    # The index of keys begins with the store.
    here = 'objects."key" = :target' if isinstance(target, str) else "contents.sha256 = :target"
    wanted = codec.key_bytes(target) if isinstance(target, str) else target
    query = rows_where([here, "objects.store_id IN :ids"], " LIMIT :most")
    return asking.ask(query, target=wanted, ids=ids, most=codec.BATCH_ROWS)


def _content(asking: Asking, sha256: bytes) -> SimpleNamespace | None:
    columns = ", ".join(f"contents.{name}" for name in _CONTENT)
    query = (
        f"SELECT {columns}, detector_sets.body FROM contents "
        "JOIN detector_sets ON detector_sets.id = contents.detectors_id WHERE contents.sha256 = :sha256"
    )
    found = asking.ask(query, sha256=sha256)
    return SimpleNamespace(**found[0]) if found else None


def _judgements(asking: Asking, content: Any, meanings: Meanings) -> list[PastJudgement]:
    """Return the history of a content; a first verdict that is clear and has no row there is told by the content's."""
    query = (
        f"SELECT {', '.join(_PAST)}, detector_sets.body FROM judgements "
        "JOIN contents ON contents.id = judgements.content_id "
        "JOIN detector_sets ON detector_sets.id = judgements.detectors_id "
        "WHERE judgements.content_id = :content ORDER BY judgements.id"
    )
    found = []
    for row in (SimpleNamespace(**row) for row in asking.ask(query, content=content.id)):
        told = meanings.past(row)
        judgement = codec.judgement_from(row.verdict, row.policy, told["labels"], told["reasons"])
        signals = None if told["signals"] is None else codec.signals_from(told["signals"])
        found.append(PastJudgement(row.at, row.run_id, judgement, signals, codec.detectors_from(row.body)))
    if not found:
        first = meanings.judgement(content)
        found.append(PastJudgement(content.scored_at, content.run_id, first, None, codec.detectors_from(content.body)))
    return found


def _plans(asking: Asking, object_ids: list[int], content_id: int | None) -> list[dict[str, Any]]:
    wanted, values = _any_of(
        ("plans.object_id IN :objects", "objects", object_ids), ("plans.content_id = :content", "content", content_id)
    )
    if not values:
        return []
    query = (
        f"SELECT {', '.join(_PLAN)} FROM plans JOIN objects ON objects.id = plans.object_id "
        f"JOIN runs ON runs.id = plans.run_id WHERE {wanted} ORDER BY plans.id LIMIT :most"
    )
    rows = asking.ask(query, **values, most=codec.BATCH_ROWS)
    return [{**row, "dry_run": bool(row["dry_run"]), "key": codec.key_text(row["key"])} for row in rows]


def _acts(asking: Asking, plan_ids: list[int]) -> list[dict[str, Any]]:
    if not plan_ids:
        return []
    rows = asking.ask(f"SELECT {', '.join(_ACT)} FROM acts WHERE plan_id IN :plans ORDER BY id", plans=plan_ids)
    return [{**row, "receipt": codec.receipt_from(row["receipt"])} for row in rows]


def _events(asking: Asking, sha256: bytes | None, plan_ids: list[int]) -> list[PastEvent]:
    wanted, values = _any_of(("plan_id IN :plans", "plans", plan_ids), ("sha256 = :sha256", "sha256", sha256))
    if not values:
        return []
    rows = asking.ask(f"SELECT seq, at, kind, payload FROM events WHERE {wanted} ORDER BY seq", **values)
    return [PastEvent(row["seq"], row["at"], row["kind"], codec.said_from(row["payload"])) for row in rows]


def _any_of(*conditions: tuple[str, str, Any]) -> tuple[str, dict[str, Any]]:
    """Join conditions, each with its value's name and value, of which one is to hold; what has no value is left out.

    Beside an empty list databases ask no index, and go through the whole table.
    """
    known = [condition for condition in conditions if condition[2] is not None and condition[2] != []]
    return " OR ".join(text for text, _, _ in known), {name: value for _, name, value in known}
