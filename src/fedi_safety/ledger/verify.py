"""Checks that the ledger's past was not altered: the event chain, and the tables against it. Changes nothing."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Any

from sqlalchemy import Column, Connection, Row, func, or_, select

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger.records import Verification
from fedi_safety.core.moderation import ActionState
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact.vocabulary import AS_STORED, PAST, REASONS, SCORES, Vocabulary
from fedi_safety.ledger.counts import upkeep
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import CHAIN_START, Kind, entry_hash
from fedi_safety.ledger.explanations import digest as digest_of
from fedi_safety.ledger.followup.app_actions import digest as digest_of_action
from fedi_safety.ledger.followup.seals import digest as digest_of_seal
from fedi_safety.ledger.followup.traces import digest as digest_of_trace
from fedi_safety.ledger.followup.traces import sightings_of
from fedi_safety.ledger.planning import identity
from fedi_safety.ledger.schema import (
    NOT_CLEAR,
    acts,
    app_actions,
    chain,
    confirmations,
    contents,
    detector_sets,
    dismissals,
    events,
    explanations,
    judgements,
    objects,
    plans,
    runs,
    seals,
    sightings,
    stores,
    traces,
)
from fedi_safety.ledger.verdicts import digest

_OF_ACTIONS = (Kind.ACTION_PLANNED, Kind.ACTION_STARTED, Kind.ACTION_CLOSED, Kind.ACTION_WAITING)
_TAKE_BACK = (Kind.UNCONFIRMED.value, Kind.DISMISSED.value)  # a person's word for a content
_Rows = Sequence[Row[*tuple[Any, ...]]]


class _Broken(Exception):
    """The first break, as its message."""


def verify(database: Database) -> Verification:
    """Check the whole ledger in one consistent view, page by page.

    Found: an event altered, reordered, inserted or missing, at the end too; runs, plans, acts, breakers, dismissals,
    confirmations, actions through the app, traces with their sightings, and verdicts in force with their reasons,
    labels, policy and scores, that are not what their events say, or whose rows are gone; then kept counters that are
    not what they count. Not found: a chain computed
    anew by somebody who may write the file (compare `head` with a note kept elsewhere), and what no event tells of,
    which `Verification.not_covered` names.
    """
    with database.read() as connection:
        return verify_in(connection)


def verify_in(connection: Connection) -> Verification:
    """Do the same as one transaction sees it."""
    length, head = connection.execute(select(chain.c.length, chain.c.head)).one()
    try:
        told = _check_chain(connection, length, head)
        _check_breakers(connection, stores.c.breaker, told.breakers, "breaker")
        _check_breakers(connection, stores.c.action_breaker, told.action_breakers, "breaker of actions")
        _check_counts(connection)
        _check_plans(connection)
        _check_acts(connection)
        _check_singles(connection)
        _check_judgements(connection)
        _check_verdicts(connection)
        _check_dismissals(connection)
        _check_traces(connection)
        _check_app_actions(connection, told.app_actions)
        _check_seals(connection, told.seals)
        _check_confirmations(connection)
    except _Broken as broken:
        return Verification(length, head.hex(), str(broken))
    return Verification(length, head.hex(), None, _not_covered(connection), upkeep.wrong(connection))


def _not_covered(connection: Connection) -> tuple[str, ...]:
    """Return what no event vouches for, as people call it."""
    count = select(func.count()).select_from(contents)
    told = count.where(contents.c.verdict != Verdict.CLEAR.value, NOT_CLEAR)
    clear = connection.execute(count).scalar_one() - connection.execute(told).scalar_one()
    return (
        f"labels, reasons, scores and explanations of {clear:,} clear contents",
        "which objects there are and where they lie, with the gaps",
        "uploads at the gate",
        "what the operator was told of, and what waits to be told",
        "how far the daemon has looked, and when a failed trace is due again",
        "kept embeddings",
        "scores of single frames (the highest of each content are covered)",
    )


@dataclass(slots=True)
class _Told:
    """What the chain told last: why breakers hold, and by which event each app action and sealed copy stands."""

    breakers: dict[str, str | None] = field(default_factory=dict)
    action_breakers: dict[str, str | None] = field(default_factory=dict)
    app_actions: dict[int, int] = field(default_factory=dict)
    seals: dict[int, int] = field(default_factory=dict)


def _check_chain(connection: Connection, length: int, head: bytes) -> _Told:
    """Follow the chain, and check the runs on the way; return what it told last."""
    last = _Told()
    e = events.c
    columns = (e.seq, e.at, e.kind, e.payload, e.sha256, e.plan_id, e.prev_hash, e.hash)
    expected, before = 1, CHAIN_START
    after = 0
    while True:
        query = select(*columns).where(e.seq > after).order_by(e.seq).limit(codec.BATCH_ROWS)
        page = connection.execute(query).all()
        if not page:
            break
        for seq, at, kind, payload, sha256, plan_id, prev_hash, own in page:
            if seq != expected:
                raise _Broken(f"event {expected} is missing")
            if prev_hash != before or own != entry_hash(prev_hash, seq, at, kind, payload):
                raise _Broken(f"event {seq} was altered, or the one before it")
            said = json.loads(payload)
            if said.get("sha256") != (sha256.hex() if sha256 is not None else None) or said.get("plan") != plan_id:
                raise _Broken(f"event {seq} points to something else than it says")
            if kind in (Kind.BREAKER_TRIPPED, Kind.BREAKER_RESET):
                last.breakers[said["store"]] = said["why"]
            elif kind in (Kind.ACTION_BREAKER_TRIPPED, Kind.ACTION_BREAKER_RESET):
                last.action_breakers[said["store"]] = said["why"]
            elif kind in _OF_ACTIONS:
                last.app_actions[said["about"]] = seq
            elif kind.startswith("seal."):
                last.seals[said["about"]] = seq
            expected, before = seq + 1, own
        _check_runs(connection, page)
        after = page[-1].seq
    if expected - 1 != length:
        raise _Broken(f"there are {expected - 1} events and not {length}: some at the end are missing, or were added")
    if before != head:
        raise _Broken("the last event is not the one that was written last")
    return last


def _check_runs(connection: Connection, page: _Rows) -> None:
    """Compare the runs that events of a page begin or end with their rows."""
    told = [(row, json.loads(row.payload)) for row in page if row.kind in (Kind.RUN_BEGUN, Kind.RUN_ENDED)]
    r = runs.c
    query = select(*r).where(r.id.in_([said["run"] for _, said in told]))
    rows = {row.id: row for row in connection.execute(query)} if told else {}
    for event, said in told:
        run = rows.get(said["run"])
        if run is None:
            raise _Broken(f"run {said['run']} is gone")
        settings = json.loads(run.settings)
        if event.kind == Kind.RUN_BEGUN:
            own = [run.kind, run.store, settings, run.started_at, run.dry_run, run.whole, run.act]
            expected = [said["kind"], said["store"], said["settings"], event.at]
            expected += [bool(settings.get("dry_run", False)), settings.get("whole"), settings.get("chosen_act")]
        else:
            own = [run.status, None if run.summary is None else json.loads(run.summary), run.ended_at]
            expected = [said["status"], said["summary"], event.at]
        if own != expected:
            raise _Broken(f"run {run.id} is not what its events say")


def _check_breakers(connection: Connection, column: Column[Any], told: dict[str, str | None], name: str) -> None:
    for url, why in connection.execute(select(stores.c.url, column)):
        if why != told.pop(url, None):
            raise _Broken(f"the {name} of {url} is not what its last event says")
    if any(why is not None for why in told.values()):
        raise _Broken(f"the {name} of a store that is gone held its actions back")


def _check_counts(connection: Connection) -> None:
    """Find rows that are gone though an event tells of them, and rows that no event tells of."""
    for kind, query, name in (
        (Kind.PLANNED, select(func.count()).select_from(plans), "plans"),
        (Kind.ACT_STARTED, select(func.count()).select_from(acts), "actions"),
        (Kind.RUN_BEGUN, select(func.count()).select_from(runs), "runs"),
        (Kind.RUN_ENDED, select(func.count(runs.c.ended_at)), "ended runs"),
        (Kind.TRACED, select(func.count()).select_from(traces), "traces"),
        (Kind.ACTION_PLANNED, select(func.count()).select_from(app_actions), "actions through the app"),
        (Kind.SEAL_RESERVED, select(func.count()).select_from(seals), "sealed copies"),
        (Kind.JUDGED, select(func.count(judgements.c.event_seq)), "judgements"),
    ):
        told = connection.execute(select(func.count()).where(events.c.kind == kind.value)).scalar_one()
        there = connection.execute(query).scalar_one()
        if told != there:
            raise _Broken(f"events tell of {told} {name}, and there are {there}")


def _told(connection: Connection, seqs: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return events by number, as dictionaries with their kind and time."""
    e = events.c
    query = select(e.seq, e.kind, e.at, e.payload).where(e.seq.in_(seqs))
    return {
        seq: {**json.loads(payload), "kind": kind, "at": at} for seq, kind, at, payload in connection.execute(query)
    }


def _check_plans(connection: Connection) -> None:
    p = plans.c
    columns = (p.id, p.state, p.open, p.act, p.size, p.mtime_ns, p.tag, objects.c.key, contents.c.sha256)
    query = select(*columns).join(objects, objects.c.id == p.object_id).join(contents, contents.c.id == p.content_id)
    for page in _pages(connection, query, p.id):
        ids = [row.id for row in page]
        first: dict[int, dict[str, Any]] = {}
        last: dict[int, str] = {}
        told = select(events.c.plan_id, events.c.kind, events.c.payload).where(events.c.plan_id.in_(ids))
        for plan_id, kind, payload in connection.execute(told.order_by(events.c.seq)):
            said = json.loads(payload)
            if kind == Kind.PLANNED:
                first[plan_id] = said
            last[plan_id] = said.get("state", last.get(plan_id))
        for row in page:
            said = first.get(row.id, {})
            own = identity(codec.key_text(row.key), row.act, row.size, row.mtime_ns, row.tag)
            own["sha256"] = row.sha256.hex()
            if own != {name: said.get(name) for name in own}:
                raise _Broken(f"plan {row.id} is not about what was planned")
            if last.get(row.id) != row.state or row.open != (row.state in ("planned", "started", "failed")):
                raise _Broken(f"plan {row.id} is {row.state}, and its last event says {last.get(row.id)}")


def _check_acts(connection: Connection) -> None:
    a = acts.c
    for page in _pages(connection, select(*a), a.id):
        seqs = [seq for row in page for seq in (row.started_seq, row.closed_seq) if seq is not None]
        told = _told(connection, seqs)
        for row in page:
            begun = told.get(row.started_seq, {})
            said = begun.get("kind"), begun.get("plan"), begun.get("run"), begun.get("at")
            if said != (Kind.ACT_STARTED, row.plan_id, row.run_id, row.started_at):
                raise _Broken(f"action {row.id} has no event that says it was started")
            if (row.closed_seq, row.closed_at, row.outcome, row.detail, row.receipt) == (None,) * 5:
                continue
            ended = told.get(row.closed_seq, {})
            interrupted = ended.get("kind") == Kind.ACT_INTERRUPTED
            outcome = "interrupted" if interrupted else ended.get("state")
            known = interrupted or ended.get("kind") == Kind.ACT_CLOSED
            if not interrupted and ended.get("run") != row.run_id:
                raise _Broken(f"action {row.id} of run {row.run_id} was closed by run {ended.get('run')}")
            told_end = ended.get("plan"), outcome, ended.get("at"), ended.get("detail", ""), ended.get("receipt")
            own = row.plan_id, row.outcome, row.closed_at, row.detail, codec.receipt_digest(row.receipt)
            if not known or told_end != own:
                raise _Broken(f"action {row.id} has no event that says it ended so")


def _check_singles(connection: Connection) -> None:
    """Find what two writers can do to each other: two open plans of an object, two open acts of a plan."""
    p, a = plans.c, acts.c
    for one, where, what in (
        (p.object_id, p.open.is_(True), "object {} has two open plans"),
        (a.plan_id, a.closed_at.is_(None), "plan {} has two open actions"),
    ):
        twice = select(one).where(where).group_by(one).having(func.count() > 1).order_by(one).limit(1)
        found = connection.execute(twice).scalar_one_or_none()
        if found is not None:
            raise _Broken(what.format(found))


def _check_judgements(connection: Connection) -> None:
    """Compare the history with the events that vouch for it. What is in force has its content's own columns."""
    j = judgements.c
    query = (
        select(j.id, j.at, j.run_id, j.verdict, j.policy, j.event_seq, *PAST, contents.c.sha256, detector_sets.c.body)
        .join(contents, contents.c.id == j.content_id)
        .join(detector_sets, detector_sets.c.id == j.detectors_id)
        .where(or_(j.event_seq.is_not(None), j.verdict != Verdict.CLEAR.value))
    )
    vocabulary = Vocabulary(connection)
    for page in _pages(connection, query, j.id):
        told = _told(connection, [row.event_seq for row in page if row.event_seq is not None])
        for row in page:
            said = told.get(row.event_seq, {})
            own = row.sha256.hex(), digest({**row._mapping, **_past(vocabulary, row)}, row.sha256, row.body)
            if said.get("kind") != Kind.JUDGED or (said.get("sha256"), said.get("digest")) != own:
                own_too = ", or what is in force of it," if row.reasons == AS_STORED else ""
                raise _Broken(f"judgement {row.id} of content {row.sha256.hex()}{own_too} was altered")


def _past(vocabulary: Vocabulary, row: Any) -> dict[str, Any]:
    """Return how a judgement was reasoned; nothing where its columns were altered so that nobody can read them."""
    try:
        return vocabulary.past(row)
    except (ValueError, LookupError, TypeError, struct.error):
        return {"labels": None, "reasons": None, "signals": None}


def _check_verdicts(connection: Connection) -> None:
    """Compare what is in force of each content with the last event about it; without one it must be clear.

    Of what is not clear, all that explains it must be what that event vouches for.
    """
    c, e, j = contents.c, events.c, judgements.c
    last = (
        select(e.sha256, func.max(e.seq).label("last"))
        .where(e.kind == Kind.JUDGED.value, e.sha256.is_not(None))
        .group_by(e.sha256)
        .order_by(e.sha256)
        .limit(codec.BATCH_ROWS)
    )
    names = ("policy", "detectors_id", "labels", *REASONS, *SCORES)
    columns = (c.id, c.sha256, c.verdict, *(c[name] for name in names), explanations.c.body)
    query = select(*columns).outerjoin(explanations, explanations.c.content_id == c.id)
    judged = select(j.event_seq, j.policy, j.detectors_id, *PAST).join(contents, c.id == j.content_id)
    vocabulary = Vocabulary(connection)
    after, standing = b"", 0
    while page := connection.execute(last.where(e.sha256 > after)).all():
        after = page[-1].sha256
        told = _told(connection, [row.last for row in page])
        rows = {row.sha256: row for row in connection.execute(query.where(c.sha256.in_([r.sha256 for r in page])))}
        vouched = {row.event_seq: row for row in connection.execute(judged.where(j.event_seq.in_(list(told)))).all()}
        for sha256, seq in page:
            row = rows.get(sha256)
            verdict = None if row is None else row.verdict
            if row is None or told[seq]["verdict"] != verdict:
                raise _Broken(f"content {sha256.hex()} is {verdict}, and its last event says {told[seq]['verdict']}")
            if verdict == Verdict.CLEAR.value:
                continue
            standing += 1
            if not _as_vouched(vocabulary, row, vouched.get(seq)):
                raise _Broken(f"content {sha256.hex()} is not {verdict} for what its last event says")
            if told[seq].get("explanation") != digest_of(row.body):
                raise _Broken(f"content {sha256.hex()} is explained otherwise than its last event says")
    without = select(c.sha256, c.verdict).where(c.verdict != Verdict.CLEAR.value, NOT_CLEAR)
    found = connection.execute(select(func.count()).select_from(without.subquery())).scalar_one()
    if found != standing:
        said = select(e.seq).where(e.sha256 == c.sha256, e.kind == Kind.JUDGED.value).exists()
        other = connection.execute(without.where(~said).limit(1)).one()
        raise _Broken(f"content {other.sha256.hex()} is {other.verdict}, and its last event says clear")


def _as_vouched(vocabulary: Vocabulary, content: Any, judged: Any) -> bool:
    """Whether a content stands for what the judgement says that its last event vouches for."""
    if judged is None or (content.policy, content.detectors_id) != (judged.policy, judged.detectors_id):
        return False
    if judged.reasons == AS_STORED:  # its digest is of the content's own columns
        return True
    try:
        signals = vocabulary.signals(content.names_id, content.scores, content.signals)
        reasons = vocabulary.reasons(content.shape_id, content.reasons, signals)
        told = codec.reasons_from(judged.reasons), codec.signals_from(judged.signals or "{}")
    except (ValueError, LookupError, TypeError, struct.error):
        return False
    return content.labels == judged.labels and (reasons, signals) == told


def _check_dismissals(connection: Connection) -> None:
    d, e, c = dismissals.c, events.c, contents.c
    kinds = (Kind.DISMISSED.value, Kind.RESTORED.value)
    last = select(func.max(e.seq)).where(e.sha256 == d.sha256, e.kind.in_(kinds)).correlate(dismissals)
    dismissed = (
        select(func.max(e.seq)).where(e.sha256 == d.sha256, e.kind == Kind.DISMISSED.value).correlate(dismissals)
    )
    query = select(
        *d, last.scalar_subquery().label("last"), dismissed.scalar_subquery().label("begun"), c.dismissed_at
    ).outerjoin(contents, c.sha256 == d.sha256)  # fmt: skip
    for page in _pages(connection, query, d.id):
        told = _told(connection, [seq for row in page for seq in (row.last, row.begun) if seq is not None])
        for row in page:
            begun, said = told.get(row.begun, {}), told.get(row.last, {})
            stands = said.get("kind") == Kind.DISMISSED
            expected = begun.get("at"), begun.get("reason"), None if stands else said.get("at")
            if (row.at, row.reason, row.undone_at) != expected or row.dismissed_at != (row.at if stands else None):
                raise _Broken(f"the dismissal of content {row.sha256.hex()} is not what its last event says")
    standing = select(func.count()).select_from(dismissals).where(d.undone_at.is_(None))
    marked = select(func.count()).select_from(contents).where(c.dismissed_at.is_not(None))
    if connection.execute(standing).scalar_one() != connection.execute(marked).scalar_one():
        raise _Broken("contents stand dismissed that nobody dismissed")


def _check_traces(connection: Connection) -> None:
    """Compare every attempt to trace, and all that it found, with the event that vouches for it."""
    s, t = sightings.c, traces.c
    for page in _pages(connection, select(*t), t.id):
        told = _told(connection, [row.event_seq for row in page if row.event_seq is not None])
        found = sightings_of(connection, [row.id for row in page])
        for row in page:
            said = told.get(row.event_seq, {})
            own = Kind.TRACED, row.id, row.run_id, row.at, digest_of_trace(row._mapping, found.get(row.id, ()))
            if own != tuple(said.get(name) for name in ("kind", "trace", "run", "at", "digest")):
                raise _Broken(f"trace {row.id} is not what its event says")
    lost = select(func.count()).select_from(sightings).where(s.trace_id.not_in(select(t.id)))
    if connection.execute(lost).scalar_one():
        raise _Broken("there are sightings of no trace")


def _check_app_actions(connection: Connection, told_last: dict[int, int]) -> None:
    """Compare every action through the app with the last event about it, which vouches for all that it says."""
    a = app_actions.c
    for page in _pages(connection, select(*a), a.id):
        told = _told(connection, [row.event_seq for row in page if row.event_seq is not None])
        for row in page:
            said = told.get(row.event_seq, {})
            own = row.id, row.state, digest_of_action(row._mapping)
            if row.event_seq != told_last.get(row.id) or own != tuple(
                said.get(name) for name in ("about", "state", "digest")
            ):
                raise _Broken(f"action {row.id} through the app is not what its last event says")
            if row.open != ActionState(row.state).open:
                raise _Broken(f"action {row.id} through the app is {row.state}, and not held so")


def _check_seals(connection: Connection, told_last: dict[int, int]) -> None:
    """Compare every sealed copy with the last event about it, which vouches for all that its row says."""
    for page in _pages(connection, select(*seals.c), seals.c.id):
        told = _told(connection, [row.event_seq for row in page if row.event_seq is not None])
        for row in page:
            said = told.get(row.event_seq, {})
            own = row.id, row.state, digest_of_seal(row._mapping)
            if row.event_seq != told_last.get(row.id) or own != tuple(
                said.get(name) for name in ("about", "seal", "digest")
            ):
                raise _Broken(f"the sealed copy {row.name} is not what its last event says")


def _check_confirmations(connection: Connection) -> None:
    """Compare every person's word for a content with its last event; a dismissal takes it back as well."""
    c, e, first = confirmations.c, events.c, events.alias("first").c
    of_it = select(func.max(e.seq)).where(e.sha256 == c.sha256).correlate(confirmations)
    given = of_it.where(e.kind == Kind.CONFIRMED.value).scalar_subquery()
    # The first that took it back since: what took it back once is not changed by another.
    undoing = select(func.min(first.seq)).where(first.sha256 == c.sha256, first.kind.in_(_TAKE_BACK))
    undoing = undoing.where(first.seq > given).correlate(confirmations)
    standing = 0
    query = select(*c, given.label("given"), undoing.scalar_subquery().label("taken"))
    for page in _pages(connection, query, c.id):
        told = _told(connection, [seq for row in page for seq in (row.given, row.taken) if seq is not None])
        for row in page:
            said = told.get(row.given, {})
            undone = None if row.taken is None else told.get(row.taken, {}).get("at")
            own = row.at, row.by, row.reason, row.undone_at
            standing += row.undone_at is None
            if (said.get("at"), said.get("by"), said.get("reason"), undone) != own:
                raise _Broken(f"the confirmation of content {row.sha256.hex()} is not what its events say")
    kinds = (Kind.CONFIRMED.value, *_TAKE_BACK)
    later = select(func.max(e.seq).label("seq")).where(e.kind.in_(kinds)).group_by(e.sha256)
    stand = select(func.count()).select_from(events).where(e.seq.in_(later), e.kind == Kind.CONFIRMED.value)
    if connection.execute(stand).scalar_one() != standing:
        raise _Broken("the confirmation of a content is gone")


def _pages(connection: Connection, query: Any, key: Any) -> Iterator[_Rows]:
    """Run `query` page by page in order of `key`, which must be among its columns."""
    after = 0
    while True:
        page = connection.execute(query.where(key > after).order_by(key).limit(codec.BATCH_ROWS)).all()
        if not page:
            return
        yield page
        after = page[-1]._mapping[key]
