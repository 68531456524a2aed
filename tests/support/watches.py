"""A watched fake store on a fake clock, and daemons one after another on its ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SharedRunLock
from fedi_safety.app.stores import Target
from fedi_safety.config.loading import load_settings
from fedi_safety.config.schema import Settings
from fedi_safety.core.ledger.notices import Channel
from fedi_safety.core.ledger.records import Filters, Watermark
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Store
from fedi_safety.core.types import Object, Unscanned
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.watch.cycles import Rhythm, Shared, StoreWatch, Wanted
from support.fakes import FakeDecoder, FakeStore, TickingClock, detectors, red_circles


class TimedStore(FakeStore):
    """A store that knows when each object came, and that can be down."""

    def __init__(self, clock: TickingClock) -> None:
        super().__init__()
        self.clock = clock
        self.came: dict[str, float] = {}
        self.down: Exception | None = None
        self.listed: list[float | None] = []
        self.takes_s = 0.0

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        self.came[key] = self.clock.now()

    def describe(self, key: str) -> Object:
        obj = super().describe(key)
        return Object(key, obj.size, int(self.came[key] * 1e9), obj.tag)

    def list(self, prefixes: Sequence[str] = (), since: float | None = None) -> Iterator[Object | Unscanned]:
        if self.down is not None:
            raise self.down
        self.listed.append(since)
        for item in list(super().list(prefixes, since)):
            assert isinstance(item, Object)
            if since is None or self.came[item.key] >= since:
                yield item
        self.clock.advance(self.takes_s)


@dataclass(frozen=True)
class FakeTarget:
    store: TimedStore
    settings: Settings
    name: str = "fake"
    url: str = "fake://store"
    local_root: Path | None = None

    def open(self) -> Store:
        return self.store


@dataclass
class Rig:
    """A watched fake store; `restart` makes a new daemon on the same ledger."""

    path: Path
    settings: Settings = field(default_factory=load_settings)
    rhythm: Rhythm = field(default_factory=Rhythm)
    wanted: Wanted = field(default_factory=Wanted)
    policy: Policy = field(default_factory=red_circles)
    channels: Sequence[Channel] = ()

    def __post_init__(self) -> None:
        self.clock = TickingClock()
        self.store = TimedStore(self.clock)
        self.decoder = FakeDecoder()
        self.engine = Engine(self.decoder, list(detectors()), "fake", 2)
        self.ledger = open_ledger(self.path, clock=self.clock, channels=self.channels)
        self.restart()

    def restart(self) -> None:
        lock = SharedRunLock(self.ledger)
        self.shared = Shared(self.ledger, self.engine, self.policy, lock, self.clock, self.rhythm, self.wanted)
        self.watch = StoreWatch(cast("Target", FakeTarget(self.store, self.settings)), self.shared)

    def step(self, *touched: str) -> float:
        """One cycle, and the rest after it."""
        rest = self.watch.step(touched)
        self.clock.advance(rest)
        return rest

    @property
    def mark(self) -> Watermark | None:
        return self.ledger.watermark(self.store.url)

    def states(self) -> dict[str, str]:
        return {row.key: row.state for row in self.ledger.list_objects(Filters())}
