"""What earlier runs on a store say about the next one. Works in the caller's transaction, and only reads."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, select

from fedi_safety.core.enums import ActKind
from fedi_safety.ledger.schema import runs


def was_dry(connection: Connection, store: str) -> bool:
    """See `Ledger.was_dry_run`."""
    r = runs.c
    # The first versions made dry runs of whole stores alone, and did not say so.
    return _any(connection, store, r.dry_run.is_(True), r.whole.is_not(False), r.kind == "scan", r.status == "done")


def was_real(connection: Connection, store: str) -> bool:
    """See `Ledger.was_real_run`."""
    return _any(connection, store, runs.c.dry_run.is_(False), runs.c.whole.is_(True), runs.c.act.is_not(None))


def chosen_act(connection: Connection, store: str) -> ActKind | None:
    """See `Ledger.chosen_act`."""
    r = runs.c
    chosen = select(r.act).where(r.store == store, r.act.is_not(None)).order_by(r.id.desc()).limit(1)
    word = connection.execute(chosen).scalar_one_or_none()
    return None if word is None else ActKind(word)


def _any(connection: Connection, store: str, *conditions: ColumnElement[bool]) -> bool:
    found = select(runs.c.id).where(runs.c.store == store, *conditions).limit(1)
    return connection.execute(found).first() is not None
