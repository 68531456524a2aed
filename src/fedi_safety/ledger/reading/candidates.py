"""Which objects a filter may let through, oldest first and by the page, found by an index wherever one tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fedi_safety.core.enums import SKIPPED
from fedi_safety.core.ledger.rows import Filters
from fedi_safety.ledger import codec
from fedi_safety.ledger.reading.asking import Asking, Piece
from fedi_safety.ledger.reading.states import Group, State

_FEW = 20_000  # keys with a prefix that are sorted at once; of more, one is soon met by going through all objects
_FEW_GROUPS = 200  # that one query can name
_SKIPPED_STATE = "skipped"
_SKIPPED = frozenset(reason.value for reason in SKIPPED)

Pick = Callable[[int, int], Piece]
"""Gets a place and a number; asks for so many ids behind that place, in ascending order."""


def candidates(asking: Asking, wanted: Filters) -> Pick:
    """Return what asks for the ids of objects that `wanted` may let through; what it leaves open is the caller's."""
    if wanted.sha256 is not None:
        of_content = "objects.content_id IN (SELECT contents.id FROM contents WHERE contents.sha256 = :sha256)"
        return _any_of([(of_content, {"sha256": wanted.sha256}), ("objects.sha256 = :sha256", {})])
    if wanted.prefix and (few := _few_keys(asking, wanted)):
        return _any_of(few)
    if wanted.plan_state is not None or wanted.act is not None:
        return _planned(wanted)
    numbers = _numbers(asking, wanted)
    if numbers is None or len(numbers) > _FEW_GROUPS:
        return _any_of([("objects.id > 0", {})])
    return _any_of([(f"objects.group_id = :group{at}", {f"group{at}": number}) for at, number in enumerate(numbers)])


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


def every_group(asking: Asking) -> Iterator[tuple[int, Group, int]]:
    """Yield all groups: number, group, and how many objects it is said to have."""
    columns = ", ".join(Group._fields)
    for row in asking.ask(f"SELECT id, {columns}, objects FROM object_groups"):  # names of ours
        told = {name: row[name] for name in Group._fields} | {"partly": bool(row["partly"])}
        yield row["id"], Group(**told), row["objects"]


def wanted_groups(asking: Asking, wanted: Callable[[Group], bool]) -> list[int]:
    """Return the groups that have objects and are wanted."""
    return sorted(number for number, group, count in every_group(asking) if count and wanted(group))


def _numbers(asking: Asking, wanted: Filters) -> list[int] | None:
    plain = (wanted.store, wanted.state, wanted.verdict, wanted.label, wanted.reason)
    if all(one is None for one in plain) and not wanted.partly:
        return None
    store_id = None
    if wanted.store is not None:
        found = asking.ask("SELECT id FROM stores WHERE url = :store", store=wanted.store)
        store_id = found[0]["id"] if found else None
    return wanted_groups(asking, wants(wanted, store_id, every_store=wanted.store is None))


def _any_of(conditions: Sequence[Piece]) -> Pick:
    """Ask for what any of these conditions lets through: each walks its own index, and few ids of each are merged."""
    values = {name: value for _, own in conditions for name, value in own.items()}
    each = [
        "SELECT objects.id AS id FROM objects "
        f"WHERE {condition} AND objects.id > :after ORDER BY objects.id LIMIT :size"
        for condition, _ in conditions
    ]
    if not each:
        return lambda _after, _size: ("SELECT objects.id AS id FROM objects WHERE objects.id < 0", {})
    asked = each[0]
    if len(each) > 1:
        parts = " UNION ALL ".join(f"SELECT id FROM ({one}) AS part{at}" for at, one in enumerate(each))
        asked = f"SELECT DISTINCT id FROM ({parts}) AS merged ORDER BY id LIMIT :size"
    return lambda after, size: (asked, {**values, "after": after, "size": size})


def _planned(wanted: Filters) -> Pick:
    """Ask for objects of which some plan is so; whether it is the latest is the caller's to see."""
    conditions, values = ["plans.object_id > :after"], {}
    if wanted.plan_state is not None:
        conditions.append("plans.state = :plan_state")
        values["plan_state"] = wanted.plan_state.value
    if wanted.act is not None:
        conditions.append("plans.act = :act")
        values["act"] = wanted.act.value
    asked = (
        f"SELECT DISTINCT plans.object_id AS id FROM plans WHERE {' AND '.join(conditions)} "
        "ORDER BY plans.object_id LIMIT :size"
    )
    return lambda after, size: (asked, {**values, "after": after, "size": size})


def prefixed(prefix: str) -> Piece:
    """Return the condition that a key begins so, in words of the index of keys."""
    low = codec.key_bytes(prefix)
    high = low.rstrip(b"\xff")
    if not high:
        return 'objects."key" >= :low', {"low": low}
    next_one = high[:-1] + bytes([high[-1] + 1])
    return 'objects."key" >= :low AND objects."key" < :high', {"low": low, "high": next_one}


def _few_keys(asking: Asking, wanted: Filters) -> list[Piece]:
    """Return conditions that find the keys by their index, store by store; none where there are too many to sort."""
    known, store = ("", {}) if wanted.store is None else (" WHERE url = :store", {"store": wanted.store})
    ids = [row["id"] for row in asking.ask(f"SELECT id FROM stores{known} ORDER BY id", **store)]
    begins, keys = prefixed(wanted.prefix or "")
    left, found = _FEW, list[Piece]()
    for at, store_id in enumerate(ids):
        here = f"SELECT objects.id FROM objects WHERE objects.store_id = :store{at} AND {begins}"
        values = {**keys, f"store{at}": store_id}
        count = f"SELECT count(*) AS count FROM ({here} LIMIT :most) AS few"
        left -= asking.ask(count, **values, most=left + 1)[0]["count"]
        if left < 0:
            return []
        # Not in order of its ids: the index of keys is what is to be walked.
        found.append((f"objects.id IN ({here})", values))
    return found or [("objects.id < 0", {})]
