"""The ledger's own disk is full, for real: nothing is removed that could not be recorded, and nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SharedRunLock
from fedi_safety.app.stores import Target
from fedi_safety.config.loading import load_settings
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import LedgerError
from fedi_safety.core.ports import Store
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.watch.cycles import Shared, StoreWatch
from support.fakes import FakeDecoder, FakeStore, TickingClock, detectors, red_circles
from support.passes import RED_CIRCLE, Bench
from support.servers.disk import small_disk

pytestmark = pytest.mark.needs("disk")


@pytest.fixture
def store() -> FakeStore:
    return FakeStore({f"k{i:03}": RED_CIRCLE if i == 7 else f"pic circle=0.{i:04}".encode() for i in range(400)})


def test_a_scan_ends_with_one_line_and_the_next_goes_on(tmp_path: Path, store: FakeStore) -> None:
    with small_disk(tmp_path) as disk:
        bench = Bench(tmp_path / "ledger.db", store)
        disk.fill()
        with pytest.raises(LedgerError, match="full") as caught:
            bench.scan()
        assert caught.value.exit_code == 3 and "\n" not in caught.value.line()
        assert store.removed == []
        disk.free()
        tally, _ = bench.scan()
        assert tally.accounted and store.removed == ["k007"]
        assert bench.ledger.verify().problem is None
        bench.close()


@dataclass(frozen=True)
class FakeTarget:
    store: FakeStore
    settings: Settings
    name: str = "fake"
    url: str = "fake://store"

    def open(self) -> Store:
        return self.store


def test_the_daemon_says_so_backs_off_and_goes_on(tmp_path: Path, store: FakeStore) -> None:
    condemned = store.objects.pop("k007")
    clock = TickingClock()
    with small_disk(tmp_path) as disk:
        ledger = open_ledger(tmp_path / "ledger.db", clock=clock)
        engine = Engine(FakeDecoder(), list(detectors()), "fake", 2)
        shared = Shared(ledger, engine, red_circles(), SharedRunLock(ledger), clock)
        watch = StoreWatch(cast("Target", FakeTarget(store, load_settings())), shared)
        assert watch.step() == 30
        disk.fill()
        store.put("k007", condemned)
        rests = []
        for _ in range(4):
            rests.append(watch.step())
            clock.advance(rests[-1])
        assert rests == [30, 60, 120, 240]
        assert watch.health.state == "failing" and "full" in (watch.health.error or "")
        assert store.removed == []
        disk.free()
        watch.step()
        assert watch.health.state == "ok" and store.removed == ["k007"]
        assert ledger.verify().problem is None
        watch.close()
        ledger.dispose()
