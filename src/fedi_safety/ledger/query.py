"""The read-only side for follow-up: listing objects with what is known of them, and everything about one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from fedi_safety.core.enums import SKIPPED, ActKind, PlanState, Reason, Verdict
from fedi_safety.core.ledger.records import Filters, PastEvent, PastJudgement, Row, Shown
from fedi_safety.core.types import RuleHit, Signal
from fedi_safety.ledger import codec, explanations, uploads
from fedi_safety.ledger.compact.vocabulary import PAST, REASONS, SCORES, Vocabulary
from fedi_safety.ledger.counts.candidates import Pick, candidates, prefixed
from fedi_safety.ledger.counts.groups import IMPORTED_LABEL
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.followup import app_actions, traces
from fedi_safety.ledger.followup.history import is_turn
from fedi_safety.ledger.schema import (
    State,
    acts,
    contents,
    detector_sets,
    dismissals,
    events,
    judgements,
    objects,
    plans,
    runs,
    stores,
)

_FIRST_ROWS = 50
_SKIPPED_STATE = "skipped"
_SKIPPED = tuple(sorted(reason.value for reason in SKIPPED))


_o, _c, _p, _j = objects.c, contents.c, plans.c, judgements.c
_latest = select(func.max(plans.c.id)).where(plans.c.object_id == objects.c.id).correlate(objects).scalar_subquery()
# A verdict that was always clear leaves no event, and is told by the object's own time.
_turns = (_j.event_seq.is_not(None), is_turn(dismissals=True))
_last_turn = select(func.max(_j.at)).where(_j.content_id == _o.content_id, *_turns).correlate(objects).scalar_subquery()
_AWAY = (State.REMOVED.value, State.GONE.value)
_ENDED = (PlanState.DONE.value, PlanState.GONE.value)
_ROWS = (
    select(
        _o.id, stores.c.url, _o.key, _o.state, _o.size, _o.sha256.label("own_sha256"), _o.reason, _o.detail,
        _o.judged_at, _c.sha256, _c.verdict, _c.labels, *(_c[name] for name in (*REASONS, *SCORES)), _c.policy,
        _c.dismissed_at,
        _p.act, _p.state.label("plan_state"), _p.error, _c.partly, _o.first_seen, _p.updated_at.label("plan_at"),
        _last_turn.label("turned_at"),
    )
    .join(stores, stores.c.id == _o.store_id)
    .outerjoin(contents, _c.id == _o.content_id)
    .outerjoin(plans, _p.id == _latest)
)  # fmt: skip


def list_objects(database: Database, filters: Filters | None = None, limit: int | None = None) -> Iterator[Row]:
    """Yield the objects that `filters` lets through, oldest first, page by page, at most `limit`.

    An index tells which objects may be meant (`counts.candidates`); the first page is short, so that it is soon there.
    """
    wanted = filters or Filters()
    conditions = _conditions(wanted)
    after, left, size = 0, limit, _FIRST_ROWS
    pick: Pick | None = None

    def page_behind() -> tuple[Pick, list[int], list[Row]]:
        with database.read() as connection:
            picking = pick or candidates(connection, wanted)
            ids = list(connection.execute(picking(after, size)).scalars())
            found = _ROWS.where(_o.id.in_(ids), *conditions).order_by(_o.id).limit(left)
            vocabulary = Vocabulary(connection)
            return picking, ids, [_row(row, vocabulary) for row in connection.execute(found).mappings()] if ids else []

    while left is None or left > 0:
        pick, ids, page = database.whole(page_behind)
        yield from page
        if len(ids) < size:
            return
        after, size = ids[-1], codec.BATCH_ROWS
        left = None if left is None else left - len(page)


def _conditions(wanted: Filters) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.store is not None:
        found.append(stores.c.url == wanted.store)
    if wanted.state is not None:
        found.append(_in_state(wanted.state))
    if wanted.verdict is not None:
        clauses = [and_(_c.verdict == wanted.verdict.value, _o.state != State.UNSCANNED.value)]
        if wanted.verdict is not Verdict.REVIEW:
            taken_over = State.HISTORY if wanted.verdict is Verdict.BLOCK else State.TRUSTED
            clauses.append(_o.state == taken_over.value)
        found.append(or_(*clauses))
    if wanted.label is not None:
        by_import: ColumnElement[bool] = _o.state.in_((State.HISTORY.value, State.TRUSTED.value))
        if wanted.label != IMPORTED_LABEL:
            by_import = and_(by_import, _o.detail == wanted.label)
        found.append(or_(by_import, _c.labels.contains(codec.dumps(wanted.label), autoescape=True)))
    if wanted.reason is not None:
        found += [_o.reason == wanted.reason.value, _o.state == State.UNSCANNED.value]
    if wanted.act is not None:
        found.append(_p.act == wanted.act.value)
    if wanted.plan_state is not None:
        found.append(_p.state == wanted.plan_state.value)
    if wanted.prefix:
        found += prefixed(wanted.prefix)
    if wanted.partly:
        found += [_c.partly.is_not(None), _o.state == State.JUDGED.value]
    if wanted.since is not None:
        found.append(_stands_since(wanted.since))
    if wanted.sha256 is not None:
        found.append(or_(_c.sha256 == wanted.sha256, _o.sha256 == wanted.sha256))
    return found


def is_skipped() -> ColumnElement[bool]:
    """Return the condition that an object is no media. It stands among the unscanned ones, told by its reason."""
    return and_(_o.state == State.UNSCANNED.value, _o.reason.in_(_SKIPPED))


def _in_state(name: str) -> ColumnElement[bool]:
    """Return the condition that an object is in a state as people know it (`records.STATES`)."""
    if name == _SKIPPED_STATE:
        return is_skipped()
    if name == State.UNSCANNED:
        return and_(_o.state == State.UNSCANNED.value, _o.reason.not_in(_SKIPPED))
    same = (State.JUDGED, State.TRUSTED) if name == State.JUDGED else (State(name),)
    return _o.state.in_([state.value for state in same])


def _stands_since(at: float) -> ColumnElement[bool]:
    """Return the condition that an object stands as it does since then or later. In words of indexes; see `_at`."""
    turned = _o.content_id.in_(select(_j.content_id).where(_j.at >= at, *_turns))
    return or_(
        and_(_o.state == State.JUDGED.value, or_(_o.judged_at >= at, turned)),
        and_(_o.state.in_(_AWAY), _p.state.in_(_ENDED), _p.updated_at >= at),
        and_(_o.state.not_in((State.JUDGED.value, *_AWAY)), _o.first_seen >= at),
    )


def _at(row: Any) -> float | None:
    """Return since when an object stands as it does; None where nobody noted when it was gone."""
    if row["state"] == State.JUDGED.value:
        return float(max(row["judged_at"] or row["first_seen"], row["turned_at"] or 0.0))
    if row["state"] in _AWAY:
        return float(row["plan_at"]) if row["plan_state"] in _ENDED else None
    return float(row["first_seen"])


@codec.stored("an object")
def _row(row: Any, vocabulary: Vocabulary) -> Row:
    state = State(row["state"])
    verdict = None if row["verdict"] is None else Verdict(row["verdict"])
    labels = codec.labels_from(row["labels"]) if row["labels"] is not None else ()
    if state in (State.HISTORY, State.TRUSTED):
        verdict = Verdict.BLOCK if state is State.HISTORY else Verdict.CLEAR
        labels = (IMPORTED_LABEL, row["detail"]) if row["detail"] else (IMPORTED_LABEL,)
    unscanned = state is State.UNSCANNED
    reason = Reason(row["reason"]) if unscanned else None
    skipped = reason is not None and reason.skipped
    signals: dict[str, Signal] = {}
    reasons: tuple[RuleHit, ...] = ()
    if row["verdict"] is not None:
        signals = vocabulary.signals(*(row[name] for name in SCORES))
        reasons = () if unscanned else vocabulary.reasons(row["shape_id"], row["reasons"], signals)
    known_as = _SKIPPED_STATE if skipped else State.JUDGED.value if state is State.TRUSTED else state.value
    return Row(
        store=row["url"],
        key=codec.key_text(row["key"]),
        state=known_as,
        size=row["size"] if row["size"] >= 0 else None,
        sha256=row["sha256"] or row["own_sha256"],
        verdict=None if unscanned else verdict,
        labels=() if unscanned else labels,
        reasons=reasons,
        signals=signals,
        policy=row["policy"],
        dismissed=row["dismissed_at"] is not None,
        unscanned=None if skipped else reason,
        detail=(row["detail"] or "") if unscanned else "",
        act=None if row["act"] is None else ActKind(row["act"]),
        act_state=None if row["plan_state"] is None else PlanState(row["plan_state"]),
        error=row["error"],
        judged_at=row["judged_at"],
        partly=None if unscanned else row["partly"],
        skipped=reason if skipped else None,
        at=_at(row),
    )


def store_urls(database: Database) -> list[str]:
    """Return the URLs of all stores that the ledger knows, oldest first."""
    with database.read() as connection:
        return list(connection.execute(select(stores.c.url).order_by(stores.c.id)).scalars())


def show(database: Database, target: str | bytes, store: str | None = None) -> Shown | None:
    """Return everything about an object's key (`str`) or a content's SHA-256 (`bytes`); None if neither is known.

    A key that several stores have gives all of their rows, and the history of the first one's content.
    """
    with database.read() as connection:
        known = select(stores.c.id) if store is None else select(stores.c.id).where(stores.c.url == store)
        ids = list(connection.execute(known).scalars())
        # The index of keys begins with the store.
        here = _o.key == codec.key_bytes(target) if isinstance(target, str) else _c.sha256 == target
        query = _ROWS.where(here, _o.store_id.in_(ids)).order_by(_o.id)
        found = connection.execute(query.limit(codec.BATCH_ROWS)).mappings().all()
        vocabulary = Vocabulary(connection)
        rows = [_row(row, vocabulary) for row in found]
        sha256 = target if isinstance(target, bytes) else next((row["sha256"] for row in found if row["sha256"]), None)
        content = None
        if sha256 is not None:
            shape = (_c.id, _c.media_type, _c.width, _c.height, _c.frames, _c.total, _c.partly, _c.scored_at, _c.run_id)
            judged = (_c[name] for name in ("verdict", "policy", "labels", *REASONS, *SCORES))
            columns = (*shape, *judged, detector_sets.c.body)
            joined = select(*columns).join(detector_sets, detector_sets.c.id == _c.detectors_id)
            content = connection.execute(joined.where(_c.sha256 == sha256)).one_or_none()
        refused = [] if sha256 is None else uploads.of_content(connection, sha256)
        if content is None and not rows and not refused:
            return None
        plan_rows = _plans_of(connection, [row["id"] for row in found], None if content is None else content.id)
        plan_ids = [row["id"] for row in plan_rows]
        shown_events = _events_of(connection, sha256 if content is not None else None, plan_ids)
        act_rows = _acts_of(connection, plan_ids)
        traced = traces.of_contents(connection, [] if sha256 is None else [sha256]).get(sha256 or b"", [])
        shown = Shown(rows, sha256, plans=plan_rows, acts=act_rows, events=shown_events, traces=traced, uploads=refused)
        if content is None or sha256 is None:
            return shown
        d = dismissals.c
        dismissal = connection.execute(select(d.reason).where(d.sha256 == sha256, d.undone_at.is_(None)))
        return replace(
            shown,
            media_type=content.media_type,
            width=content.width,
            height=content.height,
            frames=content.frames,
            total=content.total,
            partly=content.partly,
            detectors=codec.detectors_from(content.body),
            dismissal=dismissal.scalar_one_or_none(),
            judgements=_judgements_of(connection, content, vocabulary),
            explanation=explanations.of_content(connection, content.id),
            actions=app_actions.of_content(connection, sha256),
            confirmation=app_actions.confirmation(connection, sha256),
        )


def _judgements_of(connection: Connection, content: Any, vocabulary: Vocabulary) -> list[PastJudgement]:
    """Return the history of a content; a first verdict that is clear and has no row there is told by the content's."""
    j = judgements.c
    query = (
        select(j.at, j.run_id, j.verdict, j.policy, *PAST, detector_sets.c.body)
        .join(contents, _c.id == j.content_id)
        .join(detector_sets, detector_sets.c.id == j.detectors_id)
        .where(j.content_id == content.id)
        .order_by(j.id)
    )
    found = []
    for row in connection.execute(query).all():
        told = vocabulary.past(row)
        judgement = codec.judgement_from(row.verdict, row.policy, told["labels"], told["reasons"])
        signals = None if told["signals"] is None else codec.signals_from(told["signals"])
        found.append(PastJudgement(row.at, row.run_id, judgement, signals, codec.detectors_from(row.body)))
    if not found:
        first = vocabulary.judgement(content)
        found.append(PastJudgement(content.scored_at, content.run_id, first, None, codec.detectors_from(content.body)))
    return found


def _plans_of(connection: Connection, object_ids: Sequence[int], content_id: int | None) -> list[dict[str, Any]]:
    p = plans.c
    query = (
        select(
            p.id, p.run_id, runs.c.dry_run, objects.c.key, p.act, p.state, p.created_at, p.updated_at, p.attempts,
            p.error,
        )
        .join(objects, objects.c.id == p.object_id)
        .join(runs, runs.c.id == p.run_id)
        .where(or_(p.object_id.in_(object_ids), p.content_id == content_id))
        .order_by(p.id)
        .limit(codec.BATCH_ROWS)
    )  # fmt: skip
    rows = [dict(row) for row in connection.execute(query).mappings()]
    return [row | {"key": codec.key_text(row["key"])} for row in rows]


def _acts_of(connection: Connection, plan_ids: Sequence[int]) -> list[dict[str, Any]]:
    a = acts.c
    columns = (a.id, a.plan_id, a.run_id, a.started_at, a.closed_at, a.outcome, a.detail, a.receipt)
    query = select(*columns).where(a.plan_id.in_(plan_ids)).order_by(a.id)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    return [row | {"receipt": codec.receipt_from(row["receipt"])} for row in rows]


def _events_of(connection: Connection, sha256: bytes | None, plan_ids: Sequence[int]) -> list[PastEvent]:
    e = events.c
    of_content = [e.sha256 == sha256] if sha256 is not None else []
    query = select(e.seq, e.at, e.kind, e.payload).where(or_(e.plan_id.in_(plan_ids), *of_content)).order_by(e.seq)
    return [PastEvent(seq, at, kind, codec.said_from(payload)) for seq, at, kind, payload in connection.execute(query)]
