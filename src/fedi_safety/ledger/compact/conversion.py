"""Scores and reasons of earlier ledgers made compact, page by page. Works in the caller's transaction.

What it leaves is what it finds: a ledger whose scores nobody can read is left for `ledger verify` to tell.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, select, update

from fedi_safety.ledger import codec
from fedi_safety.ledger.compact.vocabulary import REASONS, SCORES, Vocabulary
from fedi_safety.ledger.counts.upkeep import finish_runs
from fedi_safety.ledger.schema import contents

PAGE_ROWS = 2_000

_c = contents.c
_CHANGE = update(contents).where(_c.id == bindparam("row")).values({n: bindparam(n) for n in (*SCORES, *REASONS)})


def begin(connection: Connection) -> int:
    """Return the content behind which it goes on."""
    first = connection.execute(select(func.min(_c.id)).where(_c.names_id.is_(None))).scalar_one_or_none()
    last = connection.execute(select(func.max(_c.id))).scalar_one_or_none() or 0
    return int(last if first is None else first - 1)


def step(connection: Connection, after: int) -> int | None:
    """Make the next contents compact; return the last of them, None at the end."""
    query = select(_c.id, _c.names_id, _c.signals, _c.reasons).where(_c.id > after).order_by(_c.id).limit(PAGE_ROWS)
    page = connection.execute(query).all()
    vocabulary = Vocabulary(connection)
    rows = []
    for row in page:
        if row.names_id is None:
            signals = codec.signals_from(row.signals)
            reasons = vocabulary.reason_columns(codec.reasons_from(row.reasons), signals)
            rows.append({"row": row.id} | vocabulary.columns(signals) | reasons)
    if rows:
        connection.execute(_CHANGE, rows)
    return page[-1].id if page else None


def finish(connection: Connection) -> None:
    """Count what verdicts runs gave."""
    finish_runs(connection)
