"""Objects that stand alike, counted: each object's row names its group, and each group's row how many those are.

Kept in the transaction that changes what they count. Which group an object belongs to follows from its row and its
content's alone, so that `restate` after any change is all there is to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, func, insert, literal, select, update

from fedi_safety.core.enums import Verdict
from fedi_safety.ledger import codec
from fedi_safety.ledger.counts.spans import spans
from fedi_safety.ledger.counts.tables import object_groups
from fedi_safety.ledger.reading.candidates import every_group, wanted_groups
from fedi_safety.ledger.reading.states import IMPORTED_LABEL as IMPORTED_LABEL
from fedi_safety.ledger.reading.states import Group as Group
from fedi_safety.ledger.reading.through import Through
from fedi_safety.ledger.schema import State, contents, objects

_o, _c, _g = objects.c, contents.c, object_groups.c
_OF_PREDECESSOR = {State.HISTORY.value: Verdict.BLOCK.value, State.TRUSTED.value: Verdict.CLEAR.value}
_NEEDED = (
    _o.store_id, _o.state,
    case((_o.state == State.UNSCANNED.value, _o.reason), else_=literal("")).label("reason"),
    # The predecessor's label; of all other objects a sentence that is nearly everywhere another.
    case((_o.state.in_(_OF_PREDECESSOR), _o.detail), else_=literal("")).label("detail"),
    _c.verdict, _c.labels, _c.partly.is_not(None).label("partly"),
)  # fmt: skip
_CHANGE = update(objects).where(_o.id == bindparam("row")).values(group_id=bindparam("group"))
_COUNT = update(object_groups).where(_g.id == bindparam("row")).values(objects=_g.objects + bindparam("more"))


def group_of(
    store_id: int,
    state: str,
    reason: str | None,
    detail: str | None,
    verdict: str | None,
    labels: str | None,
    partly: bool,
) -> Group:
    """Return the group of an object with these columns, the last three of its content."""
    if state in _OF_PREDECESSOR:
        told = [IMPORTED_LABEL, detail] if detail else [IMPORTED_LABEL]
        return Group(store_id, state, "", _OF_PREDECESSOR[state], codec.dumps(told))
    if state == State.UNSCANNED:
        return Group(store_id, state, reason or "", "", labels or "[]")
    return Group(store_id, state, "", verdict or "", labels or "[]", bool(partly) and state == State.JUDGED)


class Groups:
    """The groups of a ledger in one writing transaction; `write` brings their counts up to date."""

    def __init__(self, connection: Connection) -> None:
        """Read the groups, of which there are few."""
        self._connection = connection
        self._ids = {group: number for number, group, _ in every(connection)}
        self._more: Counter[int] = Counter()

    def number(self, group: Group) -> int:
        """Return a group's row, made where it is new."""
        found = self._ids.get(group)
        if found is None:
            statement = insert(object_groups).returning(_g.id)
            found = int(self._connection.execute(statement, group._asdict() | {"objects": 0}).scalar_one())
            self._ids[group] = found
        return found

    def move(self, before: int | None, after: int) -> None:
        """Note that an object is of another group now, or new."""
        if before != after:
            self._more[after] += 1
            if before is not None:
                self._more[before] -= 1

    def write(self) -> None:
        """Write what was noted."""
        rows = [{"row": number, "more": more} for number, more in sorted(self._more.items()) if more]
        if rows:
            self._connection.execute(_COUNT, rows)
        self._more.clear()


def every(connection: Connection) -> Iterator[tuple[int, Group, int]]:
    """Yield all groups: number, group, and how many objects it is said to have."""
    yield from every_group(Through(connection))


def numbers(connection: Connection, wanted: Callable[[Group], bool]) -> list[int]:
    """Return the groups that have objects and are wanted."""
    return wanted_groups(Through(connection), wanted)


def restate(connection: Connection, *, contents_of: Iterable[int] = (), rows: Iterable[int] = ()) -> None:
    """Put objects into their groups, and count: those that have these contents, and these rows themselves."""
    groups: Groups | None = None
    for column, ids in ((_o.content_id, sorted(set(contents_of))), (_o.id, sorted(set(rows)))):
        for part in codec.chunks(ids):
            groups = groups or Groups(connection)
            _put(connection, groups, standing(connection, column.in_(part)))
    if groups is not None:
        groups.write()


def standing(connection: Connection, where: Any) -> Sequence[Any]:
    """Return of objects what their groups follow from: their number, their group as it is, and `group_of`'s columns."""
    query = select(_o.id, _o.group_id, *_NEEDED).outerjoin(contents, _c.id == _o.content_id).where(where)
    return connection.execute(query).all()


def _put(connection: Connection, groups: Groups, found: Sequence[Any]) -> None:
    changed = []
    for row, before, *columns in found:
        after = groups.number(group_of(*columns))
        if before != after:
            groups.move(before, after)
            changed.append({"row": row, "group": after})
    if changed:
        connection.execute(_CHANGE, changed)


def put_page(connection: Connection, after: int, limit: int) -> int | None:
    """Put the next objects behind the one numbered `after` into their groups; return the last, None at the end."""
    page = select(_o.id).where(_o.id > after).order_by(_o.id).limit(limit)
    ids = list(connection.execute(page).scalars())
    if not ids:
        return None
    groups = Groups(connection)
    _put(connection, groups, standing(connection, _o.id.between(ids[0], ids[-1])))
    return int(ids[-1])


def told(connection: Connection) -> Iterator[tuple[int | None, Group, int]]:
    """Yield how many objects stand so and name this group, by reading every object; a group may come several times.

    Nearly all are plainly what their group says: to group these by its number alone takes a third of the time.
    """
    known = {number: group for number, group, _ in every(connection)}
    for some in spans(connection, _o.id):
        yield from _told_among(connection, some, known)


def _told_among(
    connection: Connection, some: ColumnElement[bool], known: Mapping[int, Group]
) -> Iterator[tuple[int | None, Group, int]]:
    own = case((_plainly, 1), else_=0).label("own")
    joined = objects.outerjoin(contents, _c.id == _o.content_id).outerjoin(object_groups, _g.id == _o.group_id)
    each = select(_o.group_id, own).select_from(joined).where(some).subquery()
    counted = select(each.c.group_id, each.c.own, func.count()).group_by(each.c.group_id, each.c.own)
    others = False
    for number, plain, count in connection.execute(counted):
        if plain:
            yield number, known[number], count
        else:
            others = True
    if others:
        columns = (_o.group_id, *_NEEDED)
        rows = select(*columns).select_from(joined).where(some, own == 0).subquery()
        for number, *standing_so, count in connection.execute(select(*rows.c, func.count()).group_by(*rows.c)):
            yield number, group_of(*standing_so), count


_unscanned = _o.state == State.UNSCANNED.value
_plainly = and_(
    _g.store_id == _o.store_id,
    _g.state == _o.state,
    _o.state.not_in(list(_OF_PREDECESSOR)),
    _g.reason == case((_unscanned, func.coalesce(_o.reason, "")), else_=""),
    _g.verdict == case((_unscanned, ""), else_=func.coalesce(_c.verdict, "")),
    _g.labels == func.coalesce(_c.labels, "[]"),
    _g.partly == case((and_(_c.partly.is_not(None), _o.state == State.JUDGED.value), True), else_=False),
)
"""That an object's group is what `group_of` says; it may be without this being so."""
