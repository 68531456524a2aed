"""Sealed copies of what was removed. Works in the caller's transaction.

Every change of a copy's row appends an event, which vouches for the row as it is then.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, bindparam, insert, or_, select, update

from fedi_safety.core.enums import PlanState, Verdict
from fedi_safety.core.errors import LedgerUsageError, printable
from fedi_safety.core.ports import Clock
from fedi_safety.core.sealing.copies import Seal, SealState
from fedi_safety.core.types import Plan
from fedi_safety.ledger import codec
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Event, Kind, append
from fedi_safety.ledger.reading.kept import seals_of
from fedi_safety.ledger.reading.kept_rows import seal_from
from fedi_safety.ledger.reading.through import Through
from fedi_safety.ledger.schema import contents, objects, plans, seals, stores

_s = seals.c
VOUCHED = (
    *("plan_id", "sha256", "store_id", "key", "vault", "name", "state", "size", "digest", "created_at", "made_at"),
    *("expires_at", "held", "authority", "reference", "filed_at", "restored_at", "ended_at", "detail"),
)
_ROWS = select(seals, stores.c.url.label("store")).join(stores, stores.c.id == _s.store_id)
_Row: TypeAlias = Mapping[Any, Any]
_THERE = (SealState.RESERVED.value, SealState.SEALED.value)


def digest(row: Any) -> str:
    """Return the hash over a copy's columns, which its latest event carries."""
    own = [cell.hex() if isinstance(cell := row[name], bytes) else cell for name in VOUCHED]
    return hashlib.sha256(codec.dumps(own).encode("ascii")).hexdigest()


def reserve(connection: Connection, at: float, planned: Sequence[Plan], vault: str) -> dict[int, Seal]:
    """See `SealWriter.reserve_seals`."""
    found: dict[int, Seal] = {}
    ids = [plan.id for plan in planned]
    query = _ROWS.where(_s.plan_id.in_(ids), _s.state.in_(_THERE)).order_by(_s.id)
    for row in connection.execute(query).mappings().all():
        if row["plan_id"] in found:
            continue
        if row["vault"] == vault or row["state"] == SealState.SEALED.value:
            found[row["plan_id"]] = seal_from(row)
            continue
        gone = {"state": SealState.EXPIRING.value, "detail": "given up for another vault"}
        _set(connection, at, None, row["id"], Kind.SEAL_EXPIRING, gone)
    new = [plan for plan in planned if plan.id not in found]
    return found | (_reserved(connection, at, new, vault) if new else {})


def _reserved(connection: Connection, at: float, new: Sequence[Plan], vault: str) -> dict[int, Seal]:
    """Give each a row with a name of its own, and tell of it."""
    owner = select(plans.c.id, objects.c.store_id, objects.c.key)
    owner = owner.join(objects, objects.c.id == plans.c.object_id).where(plans.c.id.in_([plan.id for plan in new]))
    of = {row.id: row for row in connection.execute(owner)}
    made = [
        {
            "plan_id": plan.id,
            "sha256": plan.sha256,
            "store_id": of[plan.id].store_id,
            "key": of[plan.id].key,
            "vault": vault,
            "name": f"{secrets.token_hex(16)}.age",  # says nothing, not even to whoever knows hashes
            "state": SealState.RESERVED.value,
            "created_at": at,
            "detail": "",
        }
        for plan in new
    ]
    connection.execute(insert(seals), made)
    query = _ROWS.where(_s.plan_id.in_(list(of)), _s.state == SealState.RESERVED.value).order_by(_s.id)
    rows = connection.execute(query).mappings().all()
    return {seal.plan: seal for seal in _vouched(connection, at, None, Kind.SEAL_RESERVED, rows, {})}


def record(
    connection: Connection, at: float, seal: Seal, size: int, of: bytes, keep_s: float | None, detail: str = ""
) -> bool:
    """See `SealWriter.record_seal`."""
    values = {
        "state": SealState.SEALED.value,
        "size": size,
        "digest": of,
        "made_at": at,
        "expires_at": None if keep_s is None else at + keep_s,
        "detail": detail,
    }
    _set(connection, at, None, seal.id, Kind.SEAL_MADE, values)
    return may_go(connection, seal)


def may_go(connection: Connection, seal: Seal) -> bool:
    """Whether the original of a copy may be removed now: its plan is under way, and it stands condemned."""
    c = contents.c
    query = (
        select(plans.c.id)
        .join(contents, c.id == plans.c.content_id)
        .where(plans.c.id == seal.plan, plans.c.state == PlanState.STARTED.value)
        .where(c.verdict == Verdict.BLOCK.value, c.decided.is_(True), c.dismissed_at.is_(None))
    )
    return connection.execute(query).first() is not None


def due(connection: Connection, now: float, limit: int) -> list[Seal]:
    """See `SealLedger.due_seals`."""
    query = _ROWS.where(_is_due(now)).order_by(_s.id).limit(limit)
    return [seal_from(row) for row in connection.execute(query).mappings()]


def _is_due(now: float) -> ColumnElement[bool]:
    idle = select(plans.c.id).where(plans.c.id == _s.plan_id, plans.c.open.is_(False)).exists()
    over = and_(_s.state == SealState.SEALED.value, _s.held.is_(None), _s.expires_at <= now)
    # A name that was reserved for an act that never came to its end: what lies under it has no record.
    left = and_(_s.state == SealState.RESERVED.value, idle)
    return or_(over, left, _s.state == SealState.EXPIRING.value)


def start_destroying(connection: Connection, at: float, run: int | None, seal: Seal) -> bool:
    """See `SealLedger.start_destroying`. A person's hold wins until then."""
    row = connection.execute(select(_s.state).where(_s.id == seal.id, _is_due(at))).one_or_none()
    if row is None:
        return False
    if row.state != SealState.EXPIRING.value:
        _set(connection, at, run, seal.id, Kind.SEAL_EXPIRING, {"state": SealState.EXPIRING.value})
    return True


def end_destroying(connection: Connection, at: float, run: int | None, seal: Seal, detail: str) -> None:
    """See `SealLedger.end_destroying`."""
    state = connection.execute(select(_s.state).where(_s.id == seal.id)).scalar_one_or_none()
    if state != SealState.EXPIRING.value:  # another store's pass was quicker
        return
    values = {"state": SealState.DESTROYED.value, "ended_at": at, "detail": printable(detail)[:500]}
    _set(connection, at, run, seal.id, Kind.SEAL_DESTROYED, values)


def change(connection: Connection, at: float, seal: Seal, kind: Kind, values: dict[str, Any], what: str) -> Seal:
    """Change a copy by a person's word. Raises `LedgerUsageError` where its file is gone, or about to go."""
    row = connection.execute(select(_s.state).where(_s.id == seal.id)).one_or_none()
    state = None if row is None else row.state
    if state != SealState.SEALED.value:
        why = "is not complete yet" if state == SealState.RESERVED.value else "is destroyed"
        raise LedgerUsageError(f"the sealed copy {seal.name}", why, f"there is nothing to {what}")
    return _set(connection, at, None, seal.id, kind, values)


def _set(connection: Connection, at: float, run: int | None, row_id: int, kind: Kind, values: dict[str, Any]) -> Seal:
    """Change a row and tell of it; return it as it is then."""
    row = connection.execute(_ROWS.where(_s.id == row_id)).mappings().one()
    return _vouched(connection, at, run, kind, [row], values)[0]


def _vouched(
    connection: Connection, at: float, run: int | None, kind: Kind, rows: Sequence[_Row], values: dict[str, Any]
) -> list[Seal]:
    """Change rows so, each in one statement with the number of the event that tells of it; return them."""
    now = [{**row, **values} for row in rows]
    told = [
        Event(
            kind,
            {"about": row["id"], "run": run, "seal": row["state"], "name": row["name"], "digest": digest(row)},
            row["sha256"],
        )
        for row in now
    ]
    numbers = append(connection, at, told)
    changed = update(seals).where(_s.id == bindparam("row")).values(**values, event_seq=bindparam("seq"))
    connection.execute(changed, [{"row": row["id"], "seq": seq} for row, seq in zip(now, numbers, strict=True)])
    return [seal_from(row) for row in now]


class SealSide:
    """The side of a ledger that keeps sealed copies; see the ports in `core.ledger.seals`."""

    database: Database
    clock: Clock

    def reserve_seals(self, plans: Sequence[Plan], vault: str) -> dict[int, Seal]:
        """Return by plan the sealed copies of these in this vault, made where there is none yet."""
        with self.database.write() as connection:
            return reserve(connection, self.clock.now(), plans, vault)

    def record_seal(self, seal: Seal, size: int, digest: bytes, keep_s: float | None, detail: str = "") -> bool:
        """Commit that the file was read back and opens; return whether its content may still be removed."""
        with self.database.write() as connection:
            return record(connection, self.clock.now(), seal, size, digest, keep_s, detail)

    def may_go(self, seal: Seal) -> bool:
        """Return whether the original of a copy that was made before may be removed now."""
        with self.database.read() as connection:
            return may_go(connection, seal)

    def due_seals(self, limit: int) -> list[Seal]:
        """Return copies whose time is over and that nobody holds, and files that belong to no act any more."""
        with self.database.read() as connection:
            return due(connection, self.clock.now(), limit)

    def start_destroying(self, run: int | None, seal: Seal) -> bool:
        """Commit that a file is about to be destroyed; return whether it may be."""
        with self.database.write() as connection:
            return start_destroying(connection, self.clock.now(), run, seal)

    def end_destroying(self, run: int | None, seal: Seal, detail: str) -> None:
        """Commit that a file is gone, after reading back."""
        with self.database.write() as connection:
            end_destroying(connection, self.clock.now(), run, seal, detail)

    def seals(self, *, sha256: bytes | None = None, states: Sequence[SealState] = ()) -> list[Seal]:
        """Return sealed copies, oldest first."""
        with self.database.read() as connection:
            return seals_of(Through(connection), sha256, states)

    def seal_page(self, *, before: int | None = None, limit: int = 50) -> list[Seal]:
        """Return the copies that lie in a vault, newest first, from the one before that number on."""
        # By what it is not, which no index has: their order is that of their numbers, and a page of it is read.
        query = _ROWS.where(_s.state.not_in((SealState.RESERVED.value, SealState.DESTROYED.value)))
        query = query if before is None else query.where(_s.id < before)
        with self.database.read() as connection:
            return [seal_from(row) for row in connection.execute(query.order_by(_s.id.desc()).limit(limit)).mappings()]

    def seal_named(self, name: str) -> Seal | None:
        """Return the copy with this file name; None where there is none."""
        with self.database.read() as connection:
            row = connection.execute(_ROWS.where(_s.name == name)).mappings().one_or_none()
            return None if row is None else seal_from(row)

    def hold_seal(self, seal: Seal, reason: str) -> Seal:
        """Stop that a copy ends by itself."""
        with self.database.write() as connection:
            return change(connection, self.clock.now(), seal, Kind.SEAL_HELD, {"held": printable(reason)}, "hold")

    def release_seal(self, seal: Seal) -> Seal:
        """Let it end by itself again."""
        with self.database.write() as connection:
            return change(connection, self.clock.now(), seal, Kind.SEAL_RELEASED, {"held": None}, "release")

    def file_seal(self, seal: Seal, authority: str, reference: str, at: float, keep_s: float | None) -> Seal:
        """Record that its content was reported to an authority; with `keep_s` it is kept that long from then on."""
        values: dict[str, Any] = {"authority": printable(authority), "reference": printable(reference), "filed_at": at}
        if keep_s is not None:
            values["expires_at"] = at + keep_s
        with self.database.write() as connection:
            return change(connection, self.clock.now(), seal, Kind.SEAL_FILED, values, "file")

    def note_opened(self, seal: Seal, how: str, detail: str) -> None:
        """Record that a person opened a copy: `how` is `restored` or `unsealed`."""
        now = self.clock.now()
        kind = Kind.SEAL_RESTORED if how == "restored" else Kind.SEAL_UNSEALED
        values: dict[str, Any] = {"detail": printable(detail)[:500]}
        if kind is Kind.SEAL_RESTORED:
            values["restored_at"] = now
        with self.database.write() as connection:
            change(connection, now, seal, kind, values, "open")
