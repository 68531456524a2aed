"""Which objects a filter may let through, oldest first and by the page, found by an index wherever one tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, union_all

from fedi_safety.core.enums import SKIPPED
from fedi_safety.core.ledger.records import Filters
from fedi_safety.ledger import codec
from fedi_safety.ledger.counts import groups
from fedi_safety.ledger.counts.groups import Group
from fedi_safety.ledger.schema import State, contents, objects, plans, stores

_FEW = 20_000  # keys with a prefix that are sorted at once; of more, one is soon met by going through all objects
_FEW_GROUPS = 200  # that one query can name
_SKIPPED_STATE = "skipped"
_SKIPPED = frozenset(reason.value for reason in SKIPPED)
_o, _c, _p = objects.c, contents.c, plans.c

Pick = Callable[[int, int], Select[Any]]
"""Gets a place and a number; selects so many ids behind that place, in ascending order."""


def candidates(connection: Connection, wanted: Filters) -> Pick:
    """Return what selects the ids of objects that `wanted` may let through; what it leaves open is the caller's."""
    if wanted.sha256 is not None:
        of_content = select(_c.id).where(_c.sha256 == wanted.sha256)
        return _any_of([_o.content_id.in_(of_content), _o.sha256 == wanted.sha256])
    if wanted.prefix and (few := _few_keys(connection, wanted)):
        return _any_of(few)
    if wanted.plan_state is not None or wanted.act is not None:
        return _planned(wanted)
    numbers = _numbers(connection, wanted)
    if numbers is None or len(numbers) > _FEW_GROUPS:
        return _any_of([_o.id > 0])
    return _any_of([_o.group_id == number for number in numbers])


def wants(wanted: Filters, store_id: int | None, *, every_store: bool) -> Callable[[Group], bool]:
    """Return whether objects of a group can be wanted, as far as groups tell."""

    def fits(group: Group) -> bool:
        if not every_store and group.store_id != store_id:
            return False
        if wanted.state is not None and known_as(group) != wanted.state:
            return False
        if wanted.verdict is not None and group.verdict != wanted.verdict.value:
            return False
        if wanted.reason is not None and group.reason != wanted.reason.value:
            return False
        if wanted.label is not None and wanted.label not in codec.labels_from(group.labels):
            return False
        return group.partly or not wanted.partly

    return fits


def known_as(group: Group) -> str:
    """Return the state of a group's objects as people know it (`records.STATES`)."""
    if group.reason in _SKIPPED:
        return _SKIPPED_STATE
    return State.JUDGED.value if group.state == State.TRUSTED else group.state


def _numbers(connection: Connection, wanted: Filters) -> list[int] | None:
    plain = (wanted.store, wanted.state, wanted.verdict, wanted.label, wanted.reason)
    if all(one is None for one in plain) and not wanted.partly:
        return None
    store_id = None
    if wanted.store is not None:
        store_id = connection.execute(select(stores.c.id).where(stores.c.url == wanted.store)).scalar_one_or_none()
    return groups.numbers(connection, wants(wanted, store_id, every_store=wanted.store is None))


def _any_of(conditions: Sequence[ColumnElement[bool]]) -> Pick:
    """Select what any of these conditions lets through: each walks its own index, and few ids of each are merged."""

    def pick(after: int, size: int) -> Select[Any]:
        each = [
            select(_o.id).where(condition, _o.id > after).order_by(_o.id).limit(size).subquery()
            for condition in conditions
        ]
        if not each:
            return select(_o.id).where(_o.id < 0)
        if len(each) == 1:
            return select(each[0].c.id).order_by(each[0].c.id)
        merged = union_all(*(select(one.c.id) for one in each)).subquery()
        return select(merged.c.id).distinct().order_by(merged.c.id).limit(size)

    return pick


def _planned(wanted: Filters) -> Pick:
    """Select objects of which some plan is so; whether it is the latest is the caller's to see."""
    conditions = []
    if wanted.plan_state is not None:
        conditions.append(_p.state == wanted.plan_state.value)
    if wanted.act is not None:
        conditions.append(_p.act == wanted.act.value)

    def pick(after: int, size: int) -> Select[Any]:
        query = select(_p.object_id.label("id")).where(*conditions, _p.object_id > after)
        return query.distinct().order_by(_p.object_id).limit(size)

    return pick


def prefixed(prefix: str) -> list[ColumnElement[bool]]:
    """Return the condition that a key begins so, in words of the index of keys."""
    low = codec.key_bytes(prefix)
    high = low.rstrip(b"\xff")
    return [_o.key >= low, *([_o.key < high[:-1] + bytes([high[-1] + 1])] if high else [])]


def _few_keys(connection: Connection, wanted: Filters) -> list[ColumnElement[bool]]:
    """Return conditions that find the keys by their index, store by store; none where there are too many to sort."""
    query = select(stores.c.id).order_by(stores.c.id)
    if wanted.store is not None:
        query = query.where(stores.c.url == wanted.store)
    ids = list(connection.execute(query).scalars())
    begins = prefixed(wanted.prefix or "")
    left, found = _FEW, list[ColumnElement[bool]]()
    for store_id in ids:
        here = select(_o.id).where(_o.store_id == store_id, *begins).limit(left + 1).subquery()
        left -= connection.execute(select(func.count()).select_from(here)).scalar_one()
        if left < 0:
            return []
        # Not in order of its ids: the index of keys is what is to be walked.
        keys = select(_o.id).where(_o.store_id == store_id, *begins)
        found.append(_o.id.in_(keys))
    return found or [_o.id < 0]
