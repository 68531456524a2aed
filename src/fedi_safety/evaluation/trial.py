"""What the policy in force says of one object of a store: the front half of a scan, over it alone.

It is given a store that can only be read and remembers nothing: no ledger is asked, made or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedi_safety.app.engine import open_engine
from fedi_safety.app.ledger import SystemClock
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import StoreUsageError
from fedi_safety.core.nulls import NoMemory, ReadableSubset
from fedi_safety.core.pipeline import Options, Pipeline
from fedi_safety.core.policy import Policy
from fedi_safety.core.types import Judged, Object, Unscanned

if TYPE_CHECKING:
    from fedi_safety.core.ports import Store


@dataclass(frozen=True, slots=True)
class Trial:
    """One object under a policy as it is in force; every detector was asked, whatever the cascade would leave out."""

    policy: Policy
    result: Judged | Unscanned
    detectors: Mapping[str, str]
    device: str


def try_object(settings: Settings, store: Store, key: str, policy: Policy) -> Trial:
    """Judge one object, without asking for a person's earlier word. Raises `StoreUsageError` where it is not there."""
    found = _listed(store, key)
    engine = open_engine(settings)
    try:
        in_force = engine.in_force(policy)
        cascade = engine.cascade(in_force, enabled=False)
        if isinstance(found, Unscanned):
            return Trial(in_force, found, cascade.versions, engine.device)
        pipeline = Pipeline(
            store=ReadableSubset(store, [found]),
            decoder=engine.decoder,
            cascade=cascade,
            ledger=NoMemory(),
            policy=in_force,
            options=Options(max_bytes=settings.limits.max_bytes, fetchers=1, decoders=1, scorers=1),
            clock=SystemClock(),
        )
        with closing(pipeline.results()) as results:
            (result,) = (each for batch in results for each in batch if isinstance(each, Judged | Unscanned))
        return Trial(in_force, result, cascade.versions, engine.device)
    finally:
        engine.close()


def _listed(store: Store, key: str) -> Object | Unscanned:
    for item in store.list([key]):
        obj = item.object if isinstance(item, Unscanned) else item
        if obj.key == key:
            return item
    raise StoreUsageError(f"{store.url}/{key}", "there is no such object", "check the path or URL")
