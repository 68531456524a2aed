"""Actions through the app, and a person's word for them. Works in the caller's transaction.

Every change of an action's state appends an event, which vouches for the row as it is then.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, or_, select, update

from fedi_safety.core.enums import PlanState, Verdict
from fedi_safety.core.errors import printable
from fedi_safety.core.moderation import ActionState, AppAction, Confirmation, Intended, TargetKind
from fedi_safety.core.ports import Clock
from fedi_safety.ledger import codec, lookup
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Event, Kind, append
from fedi_safety.ledger.planning import due_again
from fedi_safety.ledger.reading.kept import actions_of, confirmation_of
from fedi_safety.ledger.reading.kept_rows import action_from
from fedi_safety.ledger.reading.through import Through
from fedi_safety.ledger.schema import (
    NOT_CLEAR,
    app_actions,
    confirmations,
    contents,
    events,
    objects,
    plans,
    sightings,
    stores,
)

_a, _c = app_actions.c, contents.c
_VOUCHED = (
    *("sha256", "store_id", "trace_id", "sighting_id", "run_id", "server", "action", "target", "target_id", "url"),
    *("about", "state", "open", "detail", "created_at", "updated_at", "begun_at", "attempts"),
)
_WAITING = (ActionState.UNCONFIRMED.value, ActionState.PLANNED.value, ActionState.FAILED.value)
STARTABLE = (ActionState.PLANNED.value, ActionState.FAILED.value)
_WITHOUT = (ActionState.DISMISSED.value, ActionState.SUPERSEDED.value)
_ROWS = select(app_actions, stores.c.url.label("store")).join(stores, stores.c.id == _a.store_id)


def digest(row: Any) -> str:
    """Return the hash over an action's columns, which its latest event carries."""
    own = [cell.hex() if isinstance(cell := row[name], bytes) else cell for name in _VOUCHED]
    return hashlib.sha256(codec.dumps(own).encode("ascii")).hexdigest()


def vouched(connection: Connection, sha256: bytes) -> str | None:
    """Return what vouches for a content beyond a classifier's word, or None: a person's confirmation.

    This is the one place that says so; a match with a list of known images is to join it here, once there are lists.
    """
    found = confirmation(connection, sha256)
    return None if found is None else f"confirmed by {found.by}"


def plan(
    connection: Connection,
    at: float,
    run: int | None,
    trace_id: int,
    sha256: bytes,
    store_id: int,
    wanted: Sequence[Intended],
) -> None:
    """Plan what a trace asks for, each target of a content once; what was dismissed or superseded before waits again.

    Of a content that is not condemned, or that somebody dismissed, nothing is planned.
    """
    standing = connection.execute(select(_c.verdict, _c.dismissed_at).where(_c.sha256 == sha256)).one_or_none()
    if not wanted or standing is None or standing.verdict != Verdict.BLOCK.value or standing.dismissed_at is not None:
        return
    query = select(sightings.c.id).where(sightings.c.trace_id == trace_id).order_by(sightings.c.id)
    seen = list(connection.execute(query).scalars())
    free = vouched(connection, sha256) is not None
    for one in wanted:
        state = ActionState.PLANNED if free or not one.target.needs_person else ActionState.UNCONFIRMED
        same = {"sha256": sha256, "store_id": store_id, "server": one.server, "action": one.action,
                "target": one.target.value, "target_id": printable(one.target_id)}  # fmt: skip
        fresh = {"trace_id": trace_id, "sighting_id": seen[one.sighting], "run_id": run, "state": state.value,
                 "open": True, "detail": "", "updated_at": at,
                 "url": None if one.url is None else printable(one.url),
                 "about": None if one.about is None else printable(one.about)}  # fmt: skip
        where = and_(*(_a[name] == cell for name, cell in same.items()))
        known = connection.execute(select(_a.id, _a.state).where(where)).one_or_none()
        if known is None:
            row = same | fresh | {"created_at": at, "begun_at": None, "attempts": 0}
            made = int(connection.execute(insert(app_actions).returning(_a.id), row).scalar_one())
            tell(connection, at, run, Kind.ACTION_PLANNED, [made])
        elif known.state in _WITHOUT:
            connection.execute(update(app_actions).where(_a.id == known.id).values(fresh))
            tell(connection, at, run, Kind.ACTION_WAITING, [known.id])


def start(
    connection: Connection, at: float, run: int, action: AppAction, most: int | None, since: float
) -> AppAction | None:
    """See `ActionLedger.start_action`. A person's no wins until then, whatever became of the action before."""
    row = connection.execute(_ROWS.where(_a.id == action.id, _ready(at))).one_or_none()
    if row is None:
        return None
    if row.target in NEED_PERSON and vouched(connection, row.sha256) is None:
        return None
    if most is not None and begun(connection, row.store, since, but=row.id) >= most:
        return None
    values = {"state": ActionState.STARTED.value, "updated_at": at, "begun_at": at, "run_id": run}
    taken = connection.execute(
        update(app_actions)
        .where(_a.id == row.id, _a.state == row.state, _a.attempts == row.attempts)
        .values(values | {"attempts": row.attempts + 1})
        .returning(_a.id)
    ).scalar_one_or_none()
    if taken is None:
        return None
    tell(connection, at, run, Kind.ACTION_STARTED, [row.id])
    return replace(action_from(row._mapping), state=ActionState.STARTED, attempts=row.attempts + 1, at=at, begun_at=at)


NEED_PERSON = tuple(target.value for target in TargetKind if target.needs_person)


def _ready(now: float, *, only_due: bool = False) -> ColumnElement[bool]:
    """Return the condition that an action may be started: still condemned, and the bytes are away in its store.

    With `only_due` what failed must have waited its time.
    """
    condemned = select(_c.sha256).where(
        _c.verdict == Verdict.BLOCK.value, NOT_CLEAR, _c.decided, _c.dismissed_at.is_(None)
    )
    of_it = (
        select(plans.c.id)
        .join(contents, _c.id == plans.c.content_id)
        .join(objects, objects.c.id == plans.c.object_id)
        .where(_c.sha256 == _a.sha256, objects.c.store_id == _a.store_id)
        .correlate(app_actions)
    )
    away = plans.c.state.in_((PlanState.DONE.value, PlanState.GONE.value))
    found = and_(
        _a.state.in_(STARTABLE),
        _a.sha256.in_(condemned),
        exists(of_it.where(away)),
        ~exists(of_it.where(plans.c.open)),
    )
    failed = _a.state == ActionState.FAILED.value
    return and_(found, or_(~failed, due_again(_a.updated_at, _a.attempts, now))) if only_due else found


def close(connection: Connection, at: float, run: int, action: AppAction, state: ActionState, detail: str) -> None:
    """Close an action that this run started. Raises `ValueError` for one that it is not doing."""
    if state not in (ActionState.DONE, ActionState.GONE, ActionState.FAILED):
        raise ValueError(f"an action cannot end as {state.value}")
    values = {"state": state.value, "open": state.open, "detail": printable(detail)[:500], "updated_at": at}
    mine = and_(_a.id == action.id, _a.state == ActionState.STARTED.value, _a.run_id == run)
    if not connection.execute(update(app_actions).where(mine).values(values).returning(_a.id)).first():
        raise ValueError(f"action {action.id} was not started by run {run}")
    tell(connection, at, run, Kind.ACTION_CLOSED, [action.id])


def take_back(connection: Connection, at: float, run: int, store: str) -> int:
    """See `ActionLedger.take_back_actions`."""
    here = _a.store_id.in_(select(stores.c.id).where(stores.c.url == store))
    started = and_(here, _a.open, _a.state == ActionState.STARTED.value)
    again = {"state": ActionState.PLANNED.value, "detail": "cut off", "updated_at": at, "run_id": run}
    ids = list(connection.execute(update(app_actions).where(started).values(again).returning(_a.id)).scalars())
    tell(connection, at, run, Kind.ACTION_WAITING, sorted(ids))
    condemned = select(_c.sha256).where(_c.verdict == Verdict.BLOCK.value, NOT_CLEAR)
    close_waiting(connection, at, run, and_(here, _a.sha256.not_in(condemned)), ActionState.SUPERSEDED)
    return len(ids)


def close_waiting(
    connection: Connection, at: float, run: int | None, where: ColumnElement[bool], state: ActionState
) -> int:
    """Close what matches `where` and is not under way; return how many."""
    values = {"state": state.value, "open": False, "updated_at": at, "run_id": run}
    waiting = update(app_actions).where(_a.open, _a.state.in_(_WAITING), where).values(values)
    ids = list(connection.execute(waiting.returning(_a.id)).scalars())
    tell(connection, at, run, Kind.ACTION_CLOSED, sorted(ids))
    return len(ids)


def dismiss(connection: Connection, at: float, run: int | None, sha256: bytes) -> None:
    """Take a person's word for a content back, and close what waits; the event of the dismissal tells of it."""
    own = and_(confirmations.c.sha256 == sha256, confirmations.c.undone_at.is_(None))
    connection.execute(update(confirmations).where(own).values(undone_at=at))
    close_waiting(connection, at, run, _a.sha256 == sha256, ActionState.DISMISSED)


def confirmation(connection: Connection, sha256: bytes) -> Confirmation | None:
    """Return a person's word for a content, where it stands."""
    return confirmation_of(Through(connection), sha256)


def begun(connection: Connection, store: str, after: float, *, but: int | None = None) -> int:
    """Count what was begun for a store since then, or since a person last let its breaker of actions go."""
    e = events.c
    query = select(e.at, e.payload).where(e.kind == Kind.ACTION_BREAKER_RESET.value, e.at > after)
    let_go = [at for at, payload in connection.execute(query) if codec.said_from(payload)["store"] == store]
    count = (
        select(func.count())
        .select_from(app_actions)
        .join(stores, stores.c.id == _a.store_id)
        .where(stores.c.url == store, _a.begun_at > max([after, *let_go]), _a.id != (but or 0))
    )
    return connection.execute(count).scalar_one()


def figures(connection: Connection, store_id: int) -> tuple[Counter[str], str | None]:
    """Return how many actions for a store's contents stand how, and why their breaker holds them back, if it does."""
    query = select(_a.state, func.count()).where(_a.store_id == store_id).group_by(_a.state)
    counts = Counter[str]()
    for state, count in connection.execute(query):
        counts[state] = count
    return counts, connection.execute(select(stores.c.action_breaker).where(stores.c.id == store_id)).scalar_one()


def set_breaker(connection: Connection, at: float, run: int, store: str, why: str | None) -> None:
    """Trip or reset a store's breaker of actions. Resetting one that holds nothing back is no event."""
    own = stores.c.id == lookup.store_row(connection, store)
    if connection.execute(select(stores.c.action_breaker).where(own)).scalar_one() == why:
        return
    connection.execute(update(stores).where(own).values(action_breaker=why))
    kind = Kind.ACTION_BREAKER_RESET if why is None else Kind.ACTION_BREAKER_TRIPPED
    append(connection, at, [Event(kind, {"run": run, "store": store, "why": why})])


def tell(connection: Connection, at: float, run: int | None, kind: Kind, ids: Sequence[int]) -> None:
    """Append an event for each of these rows as they are now, and point them to it."""
    for part in codec.chunks(ids):
        rows = connection.execute(select(app_actions).where(_a.id.in_(part)).order_by(_a.id)).mappings().all()
        new = [
            Event(
                kind,
                {"run": run, "state": row["state"], "digest": digest(row), "about": row["id"]}
                | {name: row[name] for name in ("server", "action", "target", "target_id", "detail")},
                row["sha256"],
            )
            for row in rows
        ]
        for row, seq in zip(rows, append(connection, at, new), strict=True):
            connection.execute(update(app_actions).where(_a.id == row["id"]).values(event_seq=seq))


def read(connection: Connection, where: ColumnElement[bool]) -> list[AppAction]:
    return [action_from(row) for row in connection.execute(_ROWS.where(where).order_by(_a.id)).mappings()]


class ActionSide:
    """The side of a ledger that remembers actions through the app; see `core.ledger.actions`."""

    database: Database
    clock: Clock

    def due_actions(self, store: str, *, only_due: bool = False) -> list[AppAction]:
        """Return what may be started for contents of a store, oldest first."""
        with self.database.read() as connection:
            return read(connection, and_(stores.c.url == store, _a.open, _ready(self.clock.now(), only_due=only_due)))

    def start_action(self, run: int, action: AppAction, most: int | None, since: float) -> AppAction | None:
        """Commit that this run is about to do it; None where it may not be done."""
        with self.database.write() as connection:
            return start(connection, self.clock.now(), run, action, most, since)

    def close_action(self, run: int, action: AppAction, state: ActionState, detail: str) -> None:
        """Commit how an action ended that this run started."""
        with self.database.write() as connection:
            close(connection, self.clock.now(), run, action, state, detail)

    def take_back_actions(self, run: int, store: str) -> int:
        """Let what an earlier run started and never finished wait again; close what is condemned no longer."""
        with self.database.write() as connection:
            return take_back(connection, self.clock.now(), run, store)

    def actions_since(self, store: str, after: float) -> int:
        """Count what was begun for a store since then, or since a person last let its breaker of actions go."""
        with self.database.read() as connection:
            return begun(connection, store, after)

    def action_breaker(self, store: str) -> str | None:
        """Return why the breaker of actions holds a store's actions through the app back, or None."""
        with self.database.read() as connection:
            query = select(stores.c.action_breaker).where(stores.c.url == store)
            return connection.execute(query).scalar_one_or_none()

    def set_action_breaker(self, run: int, store: str, why: str | None) -> None:
        """Trip or reset a store's breaker of actions, and record the event."""
        with self.database.write() as connection:
            set_breaker(connection, self.clock.now(), run, store, why)

    def unconfirmed_actions(self, store: str) -> int:
        """Count what waits for a person's word, of contents that are condemned."""
        with self.database.read() as connection:
            query = select(func.count()).select_from(app_actions).join(stores, stores.c.id == _a.store_id)
            waits = _a.state == ActionState.UNCONFIRMED.value
            return connection.execute(query.where(stores.c.url == store, waits)).scalar_one()

    def actions_of(self, sha256: bytes) -> list[AppAction]:
        """Return the actions through the app for a content, oldest first."""
        with self.database.read() as connection:
            return actions_of(Through(connection), sha256)

    def confirmation(self, sha256: bytes) -> Confirmation | None:
        """Return a person's word that a content is what it was condemned for, where it stands."""
        with self.database.read() as connection:
            return confirmation(connection, sha256)
