"""Checks that the ledger's past was not altered: the event chain, and the tables against it. Changes nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import Column, Connection, bindparam, func, select

from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger.records import Verification
from fedi_safety.core.moderation import ActionState
from fedi_safety.ledger import codec
from fedi_safety.ledger.checks import apart
from fedi_safety.ledger.checks.chain import (
    PAGE_ROWS,
    Broken,
    Rows,
    check_chain,
    pages,
    read_payload,
    says,
    told_by,
)
from fedi_safety.ledger.checks.judged import check_judgements, not_clear, same
from fedi_safety.ledger.compact.vocabulary import REASONS, SCORES, Vocabulary
from fedi_safety.ledger.counts import upkeep
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Kind
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

_TAKE_BACK = (Kind.UNCONFIRMED.value, Kind.DISMISSED.value)  # a person's word for a content


def verify(database: Database) -> Verification:
    """Check the whole ledger page by page, all that events tell of in one consistent view.

    Found: an event altered, reordered, inserted or missing, at the end too; runs, plans, acts, breakers, dismissals,
    confirmations, actions through the app, traces with their sightings, and verdicts in force with their reasons,
    labels, policy and scores, that are not what their events say, or whose rows are gone; then kept counters that are
    not what they count. Not found: a chain computed
    anew by somebody who may write the file (compare `head` with a note kept elsewhere), and what no event tells of,
    which `Verification.not_covered` names.

    Counters are held against what they count in a view and a thread of their own: the database does nearly all of it.
    Judgements of a long chain are checked by another process, in the same state of the ledger (`checks.apart`).
    """

    came_to: list[str | Exception | None] = []

    def count() -> None:
        try:
            with database.read() as connection:
                came_to.append(upkeep.wrong(connection))
        except Exception as error:  # noqa: BLE001  # it is raised below
            came_to.append(error)

    counting = threading.Thread(target=count, name="counters", daemon=True)  # which keeps no process from ending
    counting.start()
    with apart.judging(database) as judging, judging.beside(database) as connection:
        found = _by_events(connection, judging.came_to)
    if found.problem is not None:
        return found
    counting.join()
    (miscounted,) = came_to
    if isinstance(miscounted, Exception):
        raise miscounted
    return replace(found, miscounted=miscounted)


def verify_in(connection: Connection) -> Verification:
    """Do the same as one transaction sees it."""
    found = _by_events(connection, check_judgements)
    return found if found.problem is not None else replace(found, miscounted=upkeep.wrong(connection))


def _by_events(connection: Connection, judged: Callable[[Connection, int], bool]) -> Verification:
    """Check all but the counters; `judged` says what `check_judgements` does."""
    length, head = connection.execute(select(chain.c.length, chain.c.head)).one()
    try:
        told = check_chain(connection, length, head)
        _check_breakers(connection, stores.c.breaker, told.breakers, "breaker")
        _check_breakers(connection, stores.c.action_breaker, told.action_breakers, "breaker of actions")
        _check_counts(connection, told.kinds)
        _check_plans(connection)
        _check_acts(connection)
        _check_singles(connection)
        _check_dismissals(connection)
        _check_traces(connection)
        _check_app_actions(connection, told.app_actions)
        _check_seals(connection, told.seals)
        _check_confirmations(connection, told.kinds[Kind.CONFIRMED])
        if not judged(connection, told.kinds[Kind.JUDGED]):
            _check_verdicts(connection)
    except Broken as broken:
        return Verification(length, head.hex(), str(broken))
    return Verification(length, head.hex(), None, _not_covered(connection))


def _not_covered(connection: Connection) -> tuple[str, ...]:
    """Return what no event vouches for, as people call it."""
    count = connection.execute(select(func.count()).select_from(contents)).scalar_one()
    clear = count - not_clear(connection)
    return (
        f"labels, reasons, scores and explanations of {clear:,} clear contents",
        "which objects there are and where they lie, with the gaps",
        "uploads at the gate",
        "what the operator was told of, and what waits to be told",
        "how far the daemon has looked, and when a failed trace is due again",
        "kept embeddings",
        "scores of single frames (the highest of each content are covered)",
    )


def _check_breakers(connection: Connection, column: Column[Any], told: dict[str, str | None], name: str) -> None:
    for url, why in connection.execute(select(stores.c.url, column)):
        if why != told.pop(url, None):
            raise Broken(f"the {name} of {url} is not what its last event says")
    if any(why is not None for why in told.values()):
        raise Broken(f"the {name} of a store that is gone held its actions back")


def _check_counts(connection: Connection, kinds: Counter[str]) -> None:
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
        told, there = kinds[kind.value], connection.execute(query).scalar_one()
        if told != there:
            raise Broken(f"events tell of {told} {name}, and there are {there}")


def _check_plans(connection: Connection) -> None:
    p, e = plans.c, events.c
    columns = (p.id, p.state, p.open, p.act, p.size, p.mtime_ns, p.tag, objects.c.key, contents.c.sha256)
    query = select(*columns).join(objects, objects.c.id == p.object_id).join(contents, contents.c.id == p.content_id)

    for page in pages(connection, query, p.id):
        first: dict[int, str] = {}
        last: dict[int, str] = {}
        told = select(e.plan_id, e.kind, e.payload).where(e.plan_id.between(page[0].id, page[-1].id))
        for plan_id, kind, payload in connection.execute(told.order_by(e.plan_id, e.seq)):
            if kind == Kind.PLANNED:
                first[plan_id] = payload
            if '"state":' in payload:
                last[plan_id] = payload
        for row in page:
            _check_plan(row, first.get(row.id, "{}"), last.get(row.id, "{}"))


def _check_plan(row: Any, first: str, last: str) -> None:
    """Compare a plan with the event that made it, and the last one that says how it stands."""
    own = identity(codec.key_text(row.key), row.act, row.size, row.mtime_ns, row.tag)
    own["sha256"] = row.sha256.hex()
    if not all(says(first, name, value) for name, value in own.items()):
        said = read_payload(first)
        if own != {name: said.get(name) for name in own}:
            raise Broken(f"plan {row.id} is not about what was planned")
    stands = row.state if says(last, "state", row.state) else read_payload(last).get("state")
    if stands != row.state or row.open != (row.state in ("planned", "started", "failed")):
        raise Broken(f"plan {row.id} is {row.state}, and its last event says {stands}")


def _check_acts(connection: Connection) -> None:
    a = acts.c
    for page in pages(connection, select(*a), a.id):
        seqs = [seq for row in page for seq in (row.started_seq, row.closed_seq) if seq is not None]
        told = told_by(connection, seqs)
        for row in page:
            begun = told.get(row.started_seq, {})
            said = begun.get("kind"), begun.get("plan"), begun.get("run"), begun.get("at")
            if said != (Kind.ACT_STARTED, row.plan_id, row.run_id, row.started_at):
                raise Broken(f"action {row.id} has no event that says it was started")
            if (row.closed_seq, row.closed_at, row.outcome, row.detail, row.receipt) == (None,) * 5:
                continue
            ended = told.get(row.closed_seq, {})
            interrupted = ended.get("kind") == Kind.ACT_INTERRUPTED
            outcome = "interrupted" if interrupted else ended.get("state")
            known = interrupted or ended.get("kind") == Kind.ACT_CLOSED
            if not interrupted and ended.get("run") != row.run_id:
                raise Broken(f"action {row.id} of run {row.run_id} was closed by run {ended.get('run')}")
            told_end = ended.get("plan"), outcome, ended.get("at"), ended.get("detail", ""), ended.get("receipt")
            own = row.plan_id, row.outcome, row.closed_at, row.detail, codec.receipt_digest(row.receipt)
            if not known or told_end != own:
                raise Broken(f"action {row.id} has no event that says it ended so")


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
            raise Broken(what.format(found))


def _check_verdicts(connection: Connection) -> None:
    """Compare what is in force of each content with the last event about it; without one it must be clear.

    Of what is not clear, all that explains it must be what that event vouches for.
    """
    c, e = contents.c, events.c
    vocabulary = Vocabulary(connection)
    standing, before = 0, b""
    for page in _last_words(connection):
        for row in page:
            sha256, said = row.of, read_payload(row.payload)
            if sha256 == before:
                raise Broken(f"two judgements rest on event {row.last}")
            before = sha256
            if row.id is None or said["verdict"] != row.verdict:
                raise Broken(f"content {sha256.hex()} is {row.verdict}, and its last event says {said['verdict']}")
            if row.verdict == Verdict.CLEAR.value:
                continue
            standing += 1
            if not _as_vouched(vocabulary, row):
                raise Broken(f"content {sha256.hex()} is not {row.verdict} for what its last event says")
            if said.get("explanation") != digest_of(row.body):
                raise Broken(f"content {sha256.hex()} is explained otherwise than its last event says")
    without = select(c.sha256, c.verdict).where(c.verdict != Verdict.CLEAR.value, NOT_CLEAR)
    if not_clear(connection) != standing:
        told = select(e.seq).where(e.sha256 == c.sha256, e.kind == Kind.JUDGED.value).exists()
        other = connection.execute(without.where(~told).limit(1)).one()
        raise Broken(f"content {other.sha256.hex()} is {other.verdict}, and its last event says clear")


def _last_words(connection: Connection) -> Iterator[Rows]:
    """Yield the last event about each content that has one, with the content and the judgement that it vouches for."""
    c, e, j, told = contents.c, events.c, judgements.c, events.alias("told")
    last = (
        select(e.sha256.label("of"), func.max(e.seq).label("last"))
        .where(e.kind == Kind.JUDGED.value, e.sha256.is_not(None), e.sha256 > bindparam("after"))
        .group_by(e.sha256)
        .order_by(e.sha256)
        .limit(PAGE_ROWS)
        .subquery()
    )
    stands = ("id", "verdict", "policy", "detectors_id", "labels", *REASONS, *SCORES)
    vouched = ("policy", "detectors_id", "labels", "reasons", "signals")
    query = (
        select(last.c.of, last.c.last, told.c.payload, *(c[name] for name in stands), explanations.c.body)
        .add_columns(*(j[name].label(f"told_{name}") for name in vouched))
        .join_from(last, told, told.c.seq == last.c.last)
        .outerjoin(contents, c.sha256 == last.c.of)
        .outerjoin(explanations, explanations.c.content_id == c.id)
        .outerjoin(judgements, (j.content_id == c.id) & (j.event_seq == last.c.last))
        .order_by(last.c.of)
    )
    after = b""
    while page := connection.execute(query, {"after": after}).all():
        yield page
        after = page[-1].of


def _as_vouched(vocabulary: Vocabulary, row: Any) -> bool:
    """Whether a content stands for what the judgement says that its last event vouches for."""
    if (row.policy, row.detectors_id) != (row.told_policy, row.told_detectors_id):
        return False
    told = row.told_labels, row.told_reasons, row.told_signals
    return same(vocabulary, (row.names_id, row.scores, row.signals, row.shape_id, row.reasons, row.labels), told)


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
    for page in pages(connection, query, d.id):
        told = told_by(connection, [seq for row in page for seq in (row.last, row.begun) if seq is not None])
        for row in page:
            begun, said = told.get(row.begun, {}), told.get(row.last, {})
            stands = said.get("kind") == Kind.DISMISSED
            expected = begun.get("at"), begun.get("reason"), None if stands else said.get("at")
            if (row.at, row.reason, row.undone_at) != expected or row.dismissed_at != (row.at if stands else None):
                raise Broken(f"the dismissal of content {row.sha256.hex()} is not what its last event says")
    standing = select(func.count()).select_from(dismissals).where(d.undone_at.is_(None))
    marked = select(func.count()).select_from(contents).where(c.dismissed_at.is_not(None))
    if connection.execute(standing).scalar_one() != connection.execute(marked).scalar_one():
        raise Broken("contents stand dismissed that nobody dismissed")


def _check_traces(connection: Connection) -> None:
    """Compare every attempt to trace, and all that it found, with the event that vouches for it."""
    s, t = sightings.c, traces.c
    for page in pages(connection, select(*t), t.id):
        told = told_by(connection, [row.event_seq for row in page if row.event_seq is not None])
        found = sightings_of(connection, [row.id for row in page])
        for row in page:
            said = told.get(row.event_seq, {})
            own = Kind.TRACED, row.id, row.run_id, row.at, digest_of_trace(row._mapping, found.get(row.id, ()))
            if own != tuple(said.get(name) for name in ("kind", "trace", "run", "at", "digest")):
                raise Broken(f"trace {row.id} is not what its event says")
    lost = select(func.count()).select_from(sightings).where(s.trace_id.not_in(select(t.id)))
    if connection.execute(lost).scalar_one():
        raise Broken("there are sightings of no trace")


def _check_app_actions(connection: Connection, told_last: dict[int, int]) -> None:
    """Compare every action through the app with the last event about it, which vouches for all that it says."""
    a = app_actions.c
    for page in pages(connection, select(*a), a.id):
        told = told_by(connection, [row.event_seq for row in page if row.event_seq is not None])
        for row in page:
            said = told.get(row.event_seq, {})
            own = row.id, row.state, digest_of_action(row._mapping)
            if row.event_seq != told_last.get(row.id) or own != tuple(
                said.get(name) for name in ("about", "state", "digest")
            ):
                raise Broken(f"action {row.id} through the app is not what its last event says")
            if row.open != ActionState(row.state).open:
                raise Broken(f"action {row.id} through the app is {row.state}, and not held so")


def _check_seals(connection: Connection, told_last: dict[int, int]) -> None:
    """Compare every sealed copy with the last event about it, which vouches for all that its row says."""
    for page in pages(connection, select(*seals.c), seals.c.id):
        told = told_by(connection, [row.event_seq for row in page if row.event_seq is not None])
        for row in page:
            said = told.get(row.event_seq, {})
            own = row.id, row.state, digest_of_seal(row._mapping)
            if row.event_seq != told_last.get(row.id) or own != tuple(
                said.get(name) for name in ("about", "seal", "digest")
            ):
                raise Broken(f"the sealed copy {row.name} is not what its last event says")


def _check_confirmations(connection: Connection, events_told: int) -> None:
    """Compare every person's word for a content with its last event; a dismissal takes it back as well."""
    c, e, first = confirmations.c, events.c, events.alias("first").c
    of_it = select(func.max(e.seq)).where(e.sha256 == c.sha256).correlate(confirmations)
    given = of_it.where(e.kind == Kind.CONFIRMED.value).scalar_subquery()
    # The first that took it back since: what took it back once is not changed by another.
    undoing = select(func.min(first.seq)).where(first.sha256 == c.sha256, first.kind.in_(_TAKE_BACK))
    undoing = undoing.where(first.seq > given).correlate(confirmations)
    standing = 0
    query = select(*c, given.label("given"), undoing.scalar_subquery().label("taken"))
    for page in pages(connection, query, c.id):
        told = told_by(connection, [seq for row in page for seq in (row.given, row.taken) if seq is not None])
        for row in page:
            said = told.get(row.given, {})
            undone = None if row.taken is None else told.get(row.taken, {}).get("at")
            own = row.at, row.by, row.reason, row.undone_at
            standing += row.undone_at is None
            if (said.get("at"), said.get("by"), said.get("reason"), undone) != own:
                raise Broken(f"the confirmation of content {row.sha256.hex()} is not what its events say")
    if not events_told and not standing:
        return  # without a look at every event
    kinds = (Kind.CONFIRMED.value, *_TAKE_BACK)
    later = select(func.max(e.seq).label("seq")).where(e.kind.in_(kinds)).group_by(e.sha256)
    stand = select(func.count()).select_from(events).where(e.seq.in_(later), e.kind == Kind.CONFIRMED.value)
    if connection.execute(stand).scalar_one() != standing:
        raise Broken("the confirmation of a content is gone")
