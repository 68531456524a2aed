"""Views and their limits: events of the chain, and nothing beside it, so that none can be taken out unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, select, text

from fedi_safety.core.errors import printable
from fedi_safety.core.ledger.views import VIEW_DAY_S, View, ViewLimit
from fedi_safety.core.ports import Clock
from fedi_safety.ledger import codec
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Event, Kind, append
from fedi_safety.ledger.schema import OF_VIEWS, events

_e = events.c


def _events(kind: Kind) -> Select[*tuple[Any, ...]]:
    """Select events of one of the two kinds, in the words of their index."""
    return select(_e.at, _e.payload).where(text(OF_VIEWS), _e.kind == kind.value)


def of_day(connection: Connection, now: float) -> Counter[str]:
    """Return how many views each person had within the last day."""
    rows = connection.execute(_events(Kind.VIEWED).where(_e.at > now - VIEW_DAY_S))
    return Counter(codec.said_from(row.payload)["by"] for row in rows)


def limits(connection: Connection) -> dict[str, ViewLimit]:
    """Return the last limit of each person."""
    found: dict[str, ViewLimit] = {}
    for at, payload in connection.execute(_events(Kind.VIEW_LIMIT).order_by(_e.seq)):
        said = codec.said_from(payload)
        found[said["person"]] = ViewLimit(said["person"], said["most"], said["by"], at)
    return found


def note(connection: Connection, now: float, view: View, most: int) -> bool:
    """See `ViewLedger.note_view`."""
    by = printable(view.by)
    own = limits(connection).get(by)
    if of_day(connection, now)[by] >= (most if own is None else own.most):
        return False
    said = {"by": by, "pixels": view.pixels, "frame": view.frame, "whole": view.whole}
    append(connection, now, [Event(Kind.VIEWED, said, view.sha256)])
    return True


class ViewSide:
    """The side of a ledger that knows of views; see the port `ViewLedger`."""

    database: Database
    clock: Clock

    def note_view(self, view: View, most: int) -> bool:
        """Commit that a person is about to be shown this; whether they may."""
        with self.database.write() as connection:
            return note(connection, self.clock.now(), view, most)

    def views_of_day(self) -> Mapping[str, int]:
        """Return how many views each person had within the last day."""
        with self.database.read() as connection:
            return of_day(connection, self.clock.now())

    def view_limits(self) -> Mapping[str, ViewLimit]:
        """Return the limits that were set, by person."""
        with self.database.read() as connection:
            return limits(connection)

    def set_view_limit(self, person: str, most: int, by: str) -> None:
        """Set a person's limit."""
        said = {"person": printable(person), "most": most, "by": printable(by)}
        with self.database.write() as connection:
            append(connection, self.clock.now(), [Event(Kind.VIEW_LIMIT, said)])
