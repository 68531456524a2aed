"""Plans and acts: what shall be done about objects, and the record of doing it. Works in the caller's transaction.

Every change of a plan's state appends an event, so that the last event of a plan tells its state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, case, insert, or_, select, update

from fedi_safety.core.enums import ActKind, PlanState, Verdict
from fedi_safety.core.errors import printable
from fedi_safety.core.types import Object, Outcome, Plan
from fedi_safety.ledger import codec, embeddings
from fedi_safety.ledger.counts import groups, tallies
from fedi_safety.ledger.counts.tallies import Tally, What, acts_counted, plans_counted
from fedi_safety.ledger.events import Event, Kind, append
from fedi_safety.ledger.schema import State, acts, contents, events, objects, plans, runs, stores

WAITING = (PlanState.PLANNED.value, PlanState.FAILED.value)
"""States of an open plan whose act is not under way; only these may be closed without an act."""

_WAITS_S = {attempts: 60.0 * 2 ** (attempts - 1) for attempts in range(1, 7)}

_SET_STATE = (
    update(plans)
    .where(plans.c.id == bindparam("row"))
    .values(state=bindparam("state"), open=bindparam("open"), updated_at=bindparam("updated_at"))
)
_SET_CLOSED = _SET_STATE.values(attempts=plans.c.attempts + 1, error=bindparam("error"))
_CLOSE_ACT = (
    update(acts)
    .where(acts.c.id == bindparam("row"))
    .values({name: bindparam(name) for name in ("closed_at", "closed_seq", "outcome", "detail", "receipt")})
)
_AWAY = update(objects).where(objects.c.id == bindparam("row")).values(state=bindparam("now"))
# What stands there now was not judged: a size that no object has makes the next lookup miss.
_FORGOTTEN = (
    update(objects)
    .where(objects.c.id == bindparam("row"))
    .values(state=State.UNSCANNED.value, content_id=None, size=-1, mtime_ns=-1, tag="", judged_at=None)
    .values(reason="changed", attempts=0, retry_at=None)
)


def make_plans(
    connection: Connection,
    at: float,
    run: int,
    store: str,
    store_id: int,
    wanted: Sequence[tuple[Object, bytes]],
    act: ActKind,
) -> list[Plan]:
    """See `Ledger.plan`. What is being done about an object is left alone, and gets no second plan."""
    object_ids = _object_ids(connection, store_id, [obj for obj, _ in wanted])
    content_ids = _content_ids(connection, [sha256 for _, sha256 in wanted])
    targets: dict[int, tuple[Object, bytes]] = {}
    for obj, sha256 in wanted:
        if obj.key not in object_ids or sha256 not in content_ids:
            raise ValueError(f"a plan for an object that was not recorded: {obj.key!r}")
        if content_ids[sha256] is not None:
            targets[object_ids[obj.key]] = obj, sha256
    kept: dict[int, Plan] = {}
    busy: set[int] = set()  # objects that something else is being done about
    stale: list[tuple[int, bytes]] = []
    for plan_id, object_id, plan in _open_of_objects(connection, list(targets)):
        obj, sha256 = targets[object_id]
        started = plan.state is PlanState.STARTED
        same = plan.sha256 == sha256 and plan.act is act and (started or plan.object == obj)
        if same and object_id not in kept:
            kept[object_id] = plan
        elif started:
            busy.add(object_id)
        else:
            stale.append((plan_id, plan.sha256))
    _close_without_act(connection, at, run, stale, PlanState.SUPERSEDED)
    missing = [(o, *target) for o, target in targets.items() if o not in kept and o not in busy]
    for part in codec.chunks(missing):
        kept.update(_insert(connection, at, run, store, content_ids, part, act))
    return [kept[object_id] for obj, _ in wanted if (object_id := object_ids[obj.key]) in kept]


def _insert(
    connection: Connection,
    at: float,
    run: int,
    store: str,
    content_ids: dict[bytes, int | None],
    missing: Iterable[tuple[int, Object, bytes]],
    act: ActKind,
) -> dict[int, Plan]:
    rows: list[dict[str, Any]] = []
    targets: dict[int, tuple[Object, bytes]] = {}
    for object_id, obj, sha256 in missing:
        targets[object_id] = obj, sha256
        rows.append(
            {
                "run_id": run,
                "object_id": object_id,
                "content_id": content_ids[sha256],
                "act": act.value,
                "state": PlanState.PLANNED.value,
                "open": True,
                "size": obj.size,
                "mtime_ns": obj.mtime_ns,
                "tag": obj.tag,
                "created_at": at,
                "updated_at": at,
                "attempts": 0,
            }
        )
    inserted = connection.execute(insert(plans).returning(plans.c.id, plans.c.object_id), rows).all()
    made: dict[int, Plan] = {}
    new: list[Event] = []
    for plan_id, object_id in sorted(inserted):
        obj, sha256 = targets[object_id]
        made[object_id] = Plan(plan_id, obj, sha256, act, PlanState.PLANNED)
        payload = {"run": run, "store": store, "state": PlanState.PLANNED.value} | identity(
            obj.key, act.value, obj.size, obj.mtime_ns, obj.tag
        )
        new.append(Event(Kind.PLANNED, payload, sha256, plan_id))
    append(connection, at, new)
    tallies.add(connection, tallies.plans_of(connection, [plan_id for plan_id, _ in inserted]))
    return made


def identity(key: str, act: str, size: int, mtime_ns: int, tag: str) -> dict[str, Any]:
    """Return the part of a plan's first event that pins down what it is about."""
    return {"key": key, "act": act, "size": size, "mtime_ns": mtime_ns, "tag": tag}


def start(connection: Connection, at: float, run: int, wanted: Sequence[Plan]) -> list[Plan]:
    """Open an act of this run for each plan that still waits and whose content is still condemned; return those plans.

    Asked in the transaction that starts them, so that a person's no, or a milder policy, wins until then whatever
    became of the plan before: it is closed instead. What a policy left undecided waits until it is decided. A plan that
    another run has started is that run's.
    """
    standing = _standing(connection, [plan.id for plan in wanted])
    refused: dict[PlanState, list[tuple[int, bytes]]] = {PlanState.DISMISSED: [], PlanState.SUPERSEDED: []}
    startable: dict[int, Plan] = {}
    for plan in wanted:
        now = standing.get(plan.id)
        if now is None:
            continue
        if now.dismissed_at is not None:
            refused[PlanState.DISMISSED].append((plan.id, plan.sha256))
        elif now.verdict != Verdict.BLOCK.value:
            refused[PlanState.SUPERSEDED].append((plan.id, plan.sha256))
        elif now.decided:
            startable[plan.id] = plan
    for state, found in refused.items():
        _close_without_act(connection, at, run, found, state)
    taken = _take(connection, at, list(startable))
    begun = [plan for plan in startable.values() if plan.id in taken]
    if not begun:
        return []
    new = [Event(Kind.ACT_STARTED, {"run": run, "state": "started"}, plan.sha256, plan.id) for plan in begun]
    seqs = append(connection, at, new)
    rows = [
        {"plan_id": plan.id, "run_id": run, "started_at": at, "started_seq": seq}
        for plan, seq in zip(begun, seqs, strict=True)
    ]
    connection.execute(insert(acts), rows)
    opened = Counter[Tally]()
    for tally, count in tallies.plans_of(connection, [plan.id for plan in begun]).items():
        opened[Tally(What.ACTS, tally.store_id, "open")] += count
    tallies.add(connection, opened)
    return [replace(plan, state=PlanState.STARTED) for plan in begun]


def _standing(connection: Connection, plan_ids: Sequence[int]) -> dict[int, Row[*tuple[Any, ...]]]:
    """Return what is in force for the content of each plan that waits."""
    c = contents.c
    found: dict[int, Row[*tuple[Any, ...]]] = {}
    for part in codec.chunks(plan_ids):
        query = (
            select(plans.c.id, c.verdict, c.decided, c.dismissed_at)
            .join(contents, c.id == plans.c.content_id)
            .where(plans.c.id.in_(part), plans.c.open.is_(True), plans.c.state.in_(WAITING))
        )
        found.update({row.id: row for row in connection.execute(query)})
    return found


def _take(connection: Connection, at: float, plan_ids: Sequence[int]) -> set[int]:
    """Make waiting plans started, each for one taker alone; return those that are the caller's now."""
    c = contents.c
    condemned = select(c.id).where(c.verdict == Verdict.BLOCK.value, c.decided.is_(True), c.dismissed_at.is_(None))
    condemned = condemned.where(c.id == plans.c.content_id).correlate(plans)
    taken: set[int] = set()
    for part in codec.chunks(plan_ids):
        statement = (
            update(plans)
            .where(plans.c.id.in_(part), plans.c.open.is_(True), plans.c.state.in_(WAITING))
            .where(condemned.exists())
            .values(state=PlanState.STARTED.value, updated_at=at)
            .returning(plans.c.id)
        )
        with plans_counted(connection, part):
            taken.update(connection.execute(statement).scalars())
    return taken


def give_back(connection: Connection, at: float, run: int, where: ColumnElement[bool]) -> None:
    """Let started plans that match `where` wait again, for nobody is doing them.

    Their open acts are closed as interrupted: how far they came nobody knows, and doing one twice is harmless.
    """
    query = (
        select(*_PLAN_COLUMNS)
        .join(objects, objects.c.id == plans.c.object_id)
        .join(contents, contents.c.id == plans.c.content_id)
        .where(plans.c.open.is_(True), plans.c.state == PlanState.STARTED.value, where)
        .order_by(plans.c.id)
    )
    found = [_plan(row) for row in connection.execute(query)]
    for part in codec.chunks(found):
        owners = {plan.id: plan.sha256 for plan in part}
        lost = connection.execute(
            select(acts.c.id, acts.c.plan_id)
            .where(acts.c.plan_id.in_(owners), acts.c.closed_at.is_(None))
            .order_by(acts.c.id)
        ).all()
        state = PlanState.PLANNED.value
        new = [Event(Kind.ACT_INTERRUPTED, {"run": run, "state": state}, owners[plan], plan) for _, plan in lost]
        rows = [
            {"row": act, "closed_at": at, "closed_seq": seq, "outcome": "interrupted", "detail": "", "receipt": None}
            for (act, _), seq in zip(lost, append(connection, at, new), strict=True)
        ]
        if rows:
            with acts_counted(connection, [act for act, _ in lost]):
                connection.execute(_CLOSE_ACT, rows)
        _set_states(connection, at, list(owners), PlanState.PLANNED)


def interrupted(connection: Connection, where: ColumnElement[bool]) -> list[Plan]:
    """Return the waiting plans that match `where` and that a run may have carried out before it ended amid it."""
    cut_off = select(acts.c.id).where(acts.c.plan_id == plans.c.id, acts.c.outcome == "interrupted").exists()
    query = (
        select(*_PLAN_COLUMNS)
        .join(objects, objects.c.id == plans.c.object_id)
        .join(contents, contents.c.id == plans.c.content_id)
        .where(plans.c.open.is_(True), plans.c.state == PlanState.PLANNED.value, where, cut_off)
        .order_by(plans.c.id)
    )
    found = [_plan(row) for row in connection.execute(query)]
    lost = _taken_back(connection, [plan.id for plan in found])
    return [plan for plan in found if plan.id in lost]


def of_store(store: str) -> ColumnElement[bool]:
    """Return the condition that a plan is about an object of this store."""
    return plans.c.object_id.in_(
        select(objects.c.id).join(stores, stores.c.id == objects.c.store_id).where(stores.c.url == store)
    )


def owned_by(run: int, plan_ids: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition that a plan is among these, and this run is doing it."""
    own = select(acts.c.plan_id).where(acts.c.run_id == run, acts.c.closed_at.is_(None))
    return and_(plans.c.id.in_(plan_ids), plans.c.id.in_(own))


def close(connection: Connection, at: float, run: int, outcomes: Sequence[Outcome]) -> tuple[list[bytes], list[bytes]]:
    """Close the acts that this run has open for these plans. Raises `ValueError` for a plan that it is not doing.

    Returns the contents of which objects are removed, and of which they were gone. What is gone after a run that began
    to remove it and never finished is that run's doing.
    """
    ours = _taken_back(connection, [o.plan.id for o in outcomes if o.state is PlanState.GONE])
    begun = _begun(connection, run, [outcome.plan.id for outcome in outcomes])
    new: list[Event] = []
    act_rows: list[dict[str, Any]] = []
    plan_rows: list[dict[str, Any]] = []
    away: list[dict[str, Any]] = []
    ended_as: dict[State, list[bytes]] = {State.REMOVED: [], State.GONE: []}
    emptied: list[int] = []  # contents that lose an object
    forgotten: list[dict[str, Any]] = []
    for outcome in outcomes:
        plan, state, detail = outcome.plan, outcome.state, printable(outcome.detail)
        if state not in (PlanState.DONE, PlanState.GONE, PlanState.CHANGED, PlanState.FAILED):
            raise ValueError(f"an action cannot end as {state.value}")
        if plan.id not in begun:
            raise ValueError(f"plan {plan.id} was not started by run {run}")
        object_id, content_id, current = begun.pop(plan.id)
        receipt = codec.receipt_text(outcome.receipt)
        ended = {"run": run, "state": state.value, "detail": detail}
        if receipt is not None:
            ended["receipt"] = codec.receipt_digest(receipt)
        new.append(Event(Kind.ACT_CLOSED, ended, plan.sha256, plan.id))
        act_rows.append({"row": current, "closed_at": at, "outcome": state.value, "detail": detail, "receipt": receipt})
        error = detail if state is PlanState.FAILED else None
        plan_rows.append({"row": plan.id, "state": state.value, "open": state.open, "updated_at": at, "error": error})
        if state is PlanState.CHANGED:
            forgotten.append({"row": object_id})
        elif state in (PlanState.DONE, PlanState.GONE):
            now = State.REMOVED if state is PlanState.DONE or plan.id in ours else State.GONE
            away.append({"row": object_id, "now": now.value})
            ended_as[now].append(plan.sha256)
            emptied.append(content_id)
    for row, seq in zip(act_rows, append(connection, at, new), strict=True):
        row["closed_seq"] = seq
    _write_closed(connection, act_rows, plan_rows, away, forgotten)
    embeddings.forget_orphans(connection, emptied)
    return ended_as[State.REMOVED], ended_as[State.GONE]


def _write_closed(
    connection: Connection,
    act_rows: Sequence[dict[str, Any]],
    plan_rows: Sequence[dict[str, Any]],
    away: Sequence[dict[str, Any]],
    forgotten: Sequence[dict[str, Any]],
) -> None:
    """Write how acts ended, and what became of plans and objects, and count it."""
    with (
        acts_counted(connection, [row["row"] for row in act_rows]),
        plans_counted(connection, [row["row"] for row in plan_rows]),
        tallies.judged_counted(connection, [row["row"] for row in forgotten]),
    ):
        for statement, rows in (
            (_CLOSE_ACT, act_rows),
            (_SET_CLOSED, plan_rows),
            (_AWAY, away),
            (_FORGOTTEN, forgotten),
        ):
            if rows:
                connection.execute(statement, rows)
    groups.restate(connection, rows=[row["row"] for row in (*away, *forgotten)])


def _taken_back(connection: Connection, plan_ids: Sequence[int]) -> set[int]:
    """Return the plans of which an earlier act was interrupted without its own run having said how far it came."""
    found: set[int] = set()
    for part in codec.chunks(plan_ids):
        query = (
            select(acts.c.plan_id, acts.c.run_id, events.c.payload)
            .join(events, events.c.seq == acts.c.closed_seq)
            .where(acts.c.plan_id.in_(part), acts.c.outcome == "interrupted")
        )
        found.update(plan for plan, own, said in connection.execute(query) if codec.said_from(said)["run"] != own)
    return found


def _begun(connection: Connection, run: int, plan_ids: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """Return for each plan that this run is doing its object, its content, and the act that is open."""
    found: dict[int, tuple[int, int, int]] = {}
    for part in codec.chunks(plan_ids):
        query = (
            select(acts.c.id, plans.c.id, plans.c.object_id, plans.c.content_id)
            .join(plans, plans.c.id == acts.c.plan_id)
            .where(plans.c.id.in_(part), plans.c.state == PlanState.STARTED.value)
            .where(acts.c.closed_at.is_(None), acts.c.run_id == run)
            .order_by(acts.c.id)
        )
        for act_id, plan_id, object_id, content_id in connection.execute(query):
            found[plan_id] = object_id, content_id, act_id
    return found


def close_waiting(
    connection: Connection, at: float, run: int | None, where: ColumnElement[bool], state: PlanState
) -> int:
    """Close plans that match `where` and whose act is not under way; return how many."""
    query = (
        select(plans.c.id, contents.c.sha256)
        .join(contents, contents.c.id == plans.c.content_id)
        .where(plans.c.open.is_(True), plans.c.state.in_(WAITING), where)
    )
    found = [(row, sha256) for row, sha256 in connection.execute(query)]
    _close_without_act(connection, at, run, found, state)
    return len(found)


def _close_without_act(
    connection: Connection, at: float, run: int | None, found: Sequence[tuple[int, bytes]], state: PlanState
) -> None:
    new = [Event(Kind.PLAN_CLOSED, {"run": run, "state": state.value}, sha256, row) for row, sha256 in found]
    append(connection, at, new)
    _set_states(connection, at, [row for row, _ in found], state)


def _set_states(connection: Connection, at: float, ids: Sequence[int], state: PlanState) -> None:
    rows = [{"row": row, "state": state.value, "open": state.open, "updated_at": at} for row in ids]
    if rows:
        with plans_counted(connection, ids):
            connection.execute(_SET_STATE, rows)


_PLAN_COLUMNS = (
    plans.c.id,
    plans.c.object_id,
    objects.c.key,
    plans.c.size,
    plans.c.mtime_ns,
    plans.c.tag,
    contents.c.sha256,
    plans.c.act,
    plans.c.state,
)


def _plan(row: Row[*tuple[Any, ...]]) -> Plan:
    row_id, _, key, size, mtime_ns, tag, sha256, act, state = row
    obj = Object(codec.key_text(key), size, mtime_ns, tag)
    return Plan(row_id, obj, sha256, ActKind(act), PlanState(state))


def open_page(connection: Connection, after: int, store: str | None, act: ActKind | None) -> list[Plan]:
    """Return the next open plans behind the plan numbered `after`."""
    query = (
        select(*_PLAN_COLUMNS)
        .join(objects, objects.c.id == plans.c.object_id)
        .join(contents, contents.c.id == plans.c.content_id)
        .where(plans.c.open.is_(True), plans.c.id > after)
        .order_by(plans.c.id)
        .limit(codec.BATCH_ROWS)
    )
    if store is not None:
        query = query.join(stores, stores.c.id == objects.c.store_id).where(stores.c.url == store)
    if act is not None:
        query = query.where(plans.c.act == act.value)
    return [_plan(row) for row in connection.execute(query)]


def due_again(failed_at: ColumnElement[Any], attempts: ColumnElement[Any], now: float) -> ColumnElement[bool]:
    """Return the condition that what failed is due again: after a minute, doubled with every attempt up to an hour."""
    return failed_at + case(_WAITS_S, value=attempts, else_=3600.0) <= now


def due_page(connection: Connection, now: float, store: str, act: ActKind, limit: int) -> list[Plan]:
    """Return open plans that a real run made and that may be carried out now: untried, or failed and due again.

    What a dry run planned waits for a person.
    """
    p = plans.c
    failed = and_(p.state == PlanState.FAILED.value, due_again(p.updated_at, p.attempts, now))
    untried = and_(p.state == PlanState.PLANNED.value, runs.c.dry_run.is_(False))
    query = (
        select(*_PLAN_COLUMNS)
        .join(objects, objects.c.id == p.object_id)
        .join(contents, contents.c.id == p.content_id)
        .join(stores, stores.c.id == objects.c.store_id)
        .join(runs, runs.c.id == p.run_id)
        .where(p.open.is_(True), p.act == act.value, stores.c.url == store, or_(failed, untried))
        .order_by(p.updated_at, p.id)
        .limit(limit)
    )
    return [_plan(row) for row in connection.execute(query)]


def failed_count(connection: Connection, store: str) -> int:
    """Return how many acts on a store have failed and are still to be done."""
    return tallies.by_name(connection, What.PLANS, store)[PlanState.FAILED.value]


def _open_of_objects(connection: Connection, object_ids: Sequence[int]) -> list[tuple[int, int, Plan]]:
    found: list[tuple[int, int, Plan]] = []
    for part in codec.chunks(object_ids):
        query = (
            select(*_PLAN_COLUMNS)
            .join(objects, objects.c.id == plans.c.object_id)
            .join(contents, contents.c.id == plans.c.content_id)
            .where(plans.c.object_id.in_(part), plans.c.open.is_(True))
            .order_by(plans.c.id)
        )
        found.extend((row.id, row.object_id, _plan(row)) for row in connection.execute(query))
    return found


def _object_ids(connection: Connection, store_id: int, wanted: Sequence[Object]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in codec.chunks(wanted):
        keys = [codec.key_bytes(obj.key) for obj in part]
        query = select(objects.c.key, objects.c.id).where(objects.c.store_id == store_id, objects.c.key.in_(keys))
        found.update((codec.key_text(key), row) for key, row in connection.execute(query))
    return found


def _content_ids(connection: Connection, sha256s: Sequence[bytes]) -> dict[bytes, int | None]:
    """Return the row of each content, None for one that a person dismissed."""
    found: dict[bytes, int | None] = {}
    c = contents.c
    for part in codec.chunks(sha256s):
        query = select(c.sha256, c.id, c.dismissed_at).where(c.sha256.in_(part))
        found.update((sha, row if at is None else None) for sha, row, at in connection.execute(query))
    return found
