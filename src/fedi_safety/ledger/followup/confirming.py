"""A person's word that a content is what a rule said, and taking it back. Works in the caller's transaction."""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, and_, insert, update

from fedi_safety.core.enums import PlanState, Verdict
from fedi_safety.core.errors import LedgerUsageError, printable
from fedi_safety.core.moderation import ActionState, AppAction
from fedi_safety.core.policy import PERSONS_WORD
from fedi_safety.core.ports import Clock
from fedi_safety.core.wording.hints import hint
from fedi_safety.ledger import uploads, verdicts
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Event, Kind, append
from fedi_safety.ledger.followup.app_actions import NEED_PERSON, STARTABLE, close_waiting, read, tell
from fedi_safety.ledger.planning import close_waiting as close_plans
from fedi_safety.ledger.schema import app_actions, confirmations, plans

_a = app_actions.c


def confirm(connection: Connection, at: float, sha256: bytes, reason: str, by: str) -> list[AppAction]:
    """See `Confirming.confirm`."""
    standing = _confirmable(connection, sha256)
    values = {"at": at, "by": printable(by), "reason": printable(reason), "undone_at": None}
    own = confirmations.c.sha256 == sha256
    if not connection.execute(update(confirmations).where(own).values(values).returning(confirmations.c.id)).first():
        connection.execute(insert(confirmations), values | {"sha256": sha256})
    append(connection, at, [Event(Kind.CONFIRMED, {"by": values["by"], "reason": values["reason"]}, sha256)])
    if standing["verdict"] == Verdict.REVIEW.value:
        verdicts.condemn(connection, at, sha256, standing)
        uploads.judged(connection, at, [sha256])
    waits = and_(_a.sha256 == sha256, _a.state == ActionState.UNCONFIRMED.value)
    free = {"state": ActionState.PLANNED.value, "updated_at": at, "run_id": None}
    ids = sorted(connection.execute(update(app_actions).where(waits).values(free).returning(_a.id)).scalars())
    tell(connection, at, None, Kind.ACTION_WAITING, ids)
    return read(connection, and_(_a.sha256 == sha256, _a.state.in_(STARTABLE)))


def _confirmable(connection: Connection, sha256: bytes) -> RowMapping:
    """Return how a content stands, of which a person says that it is what a rule said."""
    thing, standing = f"content {sha256.hex()}", verdicts.content_row(connection, sha256)
    if standing is None:
        raise LedgerUsageError(thing, "is not in the ledger", f"see {hint('list')} for what is")
    if standing["dismissed_at"] is not None:
        raise LedgerUsageError(thing, "was dismissed", f"{hint('dismiss --undo {}', sha256.hex())} takes that back")
    if standing["verdict"] == Verdict.CLEAR.value:
        cause = "is not condemned, nor sent to review"
        raise LedgerUsageError(thing, cause, "only what a rule found can be confirmed")
    return standing


def unconfirm(connection: Connection, at: float, sha256: bytes, reason: str, by: str) -> bool:
    """See `Confirming.unconfirm`."""
    own = and_(confirmations.c.sha256 == sha256, confirmations.c.undone_at.is_(None))
    undone = update(confirmations).where(own).values(undone_at=at).returning(confirmations.c.id)
    if connection.execute(undone).first() is None:
        return False
    append(connection, at, [Event(Kind.UNCONFIRMED, {"by": printable(by), "reason": printable(reason)}, sha256)])
    standing = verdicts.content_row(connection, sha256)
    if standing is not None and standing["policy"] == PERSONS_WORD:
        verdicts.uncondemn(connection, at, sha256, standing)
        close_plans(connection, at, None, plans.c.content_id == standing["id"], PlanState.SUPERSEDED)
        close_waiting(connection, at, None, _a.sha256 == sha256, ActionState.SUPERSEDED)
        return True
    waits = and_(_a.sha256 == sha256, _a.state.in_(STARTABLE), _a.target.in_(NEED_PERSON))
    again = {"state": ActionState.UNCONFIRMED.value, "updated_at": at, "run_id": None}
    ids = sorted(connection.execute(update(app_actions).where(waits).values(again).returning(_a.id)).scalars())
    tell(connection, at, None, Kind.ACTION_WAITING, ids)
    return True


class ConfirmingSide:
    """The side of a ledger that has people's word for contents; see the port `Confirming`."""

    database: Database
    clock: Clock

    def confirm(self, sha256: bytes, reason: str, by: str) -> list[AppAction]:
        """Record a person's word that this content is what it was condemned for; return what may be done by it now."""
        with self.database.write() as connection:
            return confirm(connection, self.clock.now(), sha256, reason, by)

    def unconfirm(self, sha256: bytes, reason: str, by: str) -> bool:
        """Take a person's word back; return whether there was one."""
        with self.database.write() as connection:
            return unconfirm(connection, self.clock.now(), sha256, reason, by)
