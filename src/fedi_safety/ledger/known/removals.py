"""What was removed or refused, and what a person dismissed although a list has it: read for lists that are shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import and_, func, select

from fedi_safety.core.enums import PlanState, Verdict
from fedi_safety.core.ledger.removals import Cleared, Removal
from fedi_safety.core.ledger.uploads import UploadState
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.known.matches import names_an_entry
from fedi_safety.ledger.schema import NOT_CLEAR, confirmations, contents, dismissals, plans, uploads

_PAGE = 2_000
_c, _d, _n = contents.c, dismissals.c, confirmations.c
_done = (
    select(func.min(plans.c.updated_at))
    .where(plans.c.content_id == _c.id, plans.c.state == PlanState.DONE.value)
    .scalar_subquery()
)
_refused = (
    select(func.min(uploads.c.at))
    .where(uploads.c.sha256 == _c.sha256, uploads.c.state == UploadState.REFUSED.value)
    .scalar_subquery()
)
_REMOVALS = (
    select(_c.id, _c.sha256, func.coalesce(_done, _refused).label("removed_at"), _n.at.label("confirmed_at"))
    .outerjoin(confirmations, and_(_n.sha256 == _c.sha256, _n.undone_at.is_(None)))
    .where(_c.verdict == Verdict.BLOCK.value, NOT_CLEAR, _c.dismissed_at.is_(None))
)
_CLEARED = (
    select(_c.id, _c.sha256, _d.at)
    .join(dismissals, and_(_d.sha256 == _c.sha256, _d.undone_at.is_(None)))
    .where(names_an_entry())
)


class RemovalSide:
    """The side of a ledger that knows what was removed; see the port `RemovalReader`."""

    database: Database

    def removals(self) -> Iterator[Removal]:
        """Yield what was removed or refused and stands condemned."""
        for _, sha256, removed_at, confirmed_at in self._rows(_REMOVALS):
            if removed_at is not None:
                yield Removal(sha256, removed_at, confirmed_at)

    def cleared(self) -> Iterator[Cleared]:
        """Yield what a person dismissed although a list has it."""
        for _, sha256, at in self._rows(_CLEARED):
            yield Cleared(sha256, at)

    def _rows(self, query: Any) -> Iterator[Sequence[Any]]:
        """Yield rows by their content's number; nothing is held open while one is looked at."""
        after = 0
        while True:
            with self.database.read() as connection:
                rows = connection.execute(query.where(_c.id > after).order_by(_c.id).limit(_PAGE)).all()
            if not rows:
                return
            yield from rows
            after = rows[-1][0]
