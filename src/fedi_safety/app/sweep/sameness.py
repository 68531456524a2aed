"""Whether a worker judges as the pass does: the same program, policy, weights and lists, and the same store."""

from __future__ import annotations

from fedi_safety.app.engine import Engine
from fedi_safety.app.sweep.messages import Named, Orders
from fedi_safety.core.errors import StoreUsageError, SweepUsageError, Unscannable
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Store

_SAME_PROGRAM = "install the same fedi-safety on every machine of the cluster"


def named(engine: Engine, in_force: Policy) -> Named:
    """Return what these detectors and lists are, under a policy as they put it in force."""
    detectors = {each.name: each.version for each in engine.detectors}
    detectors |= {each.name: each.version for each in engine.content_detectors}
    if engine.recognizer is not None:
        detectors[engine.recognizer.name] = engine.recognizer.version
    try:
        lists = "" if engine.lists is None else engine.lists.digest
    except Unscannable as error:
        lists = error.detail
    return Named(in_force.id, detectors, lists)


def check_program(theirs: str, ours: str) -> None:
    """Raise `SweepUsageError` where the driver is of another version than this worker."""
    if theirs != ours:
        raise SweepUsageError("fedi-safety", f"is {ours} there, and the pass is made by {theirs}", _SAME_PROGRAM)


def check_named(wanted: Named, found: Named) -> None:
    """Raise `SweepUsageError` where a worker would judge by anything else than the pass does."""
    for name in sorted({*wanted.detectors, *found.detectors}):
        here, there = wanted.detectors.get(name, "none"), found.detectors.get(name, "none")
        if here != there:
            remedy = "install the same models there; where devices differ, set `precision` to fp32"
            raise SweepUsageError(f"detector {name}", f"is {there} there, and {here} in this pass", remedy)
    if wanted.lists != found.lists:
        remedy = "give it the same lists (docs/scale.md)"
        raise SweepUsageError("lists of known images", "are others there than in this pass", remedy)
    if wanted.policy != found.policy:
        cause = f"is in force as {found.policy} there, and as {wanted.policy} in this pass"
        raise SweepUsageError("policy", cause, _SAME_PROGRAM)


def check_store(store: Store, orders: Orders) -> None:
    """Raise `StoreUsageError` where a store is not the one of the pass: none of the sampled objects is there."""
    if store.url != orders.store:
        raise StoreUsageError(store.url, f"is not {orders.store}", "name the store in the same way on every machine")
    for obj in orders.samples:
        try:
            store.fetch(obj, _enough)
        except _There:
            return
        except Unscannable:
            continue
    if orders.samples:
        cause = f"it is not the store of this pass: none of {len(orders.samples)} of its objects is there"
        raise StoreUsageError(store.url, cause, "mount it there, in the same place")


class _There(Exception):
    """The head of an object came: that is enough."""


def _enough(_head: bytes) -> None:
    raise _There
