"""A worker's engine between gates and sweeps: gates first, whatever there is to sweep."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SharedRunLock, SystemClock
from fedi_safety.app.stores import Target
from fedi_safety.cli import run
from fedi_safety.config.loading import load_settings
from fedi_safety.core.ledger.records import Filters
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.watch.cycles import Shared, StoreWatch
from fedi_safety.worker.sweeps import PatientEngine, Sweeps, Turn
from support.fakes import FakeDecoder, FakeStore, detectors, red_circles

JOBS = 2
OBJECTS = 120


class Place:
    """A fake store as a target."""

    name = url = "fake://store"
    local_root = None

    def __init__(self, store: FakeStore) -> None:
        self.settings = load_settings(None, act="delete", breaker={"max_removed_share": 1.0})
        self.store = store

    def open(self) -> FakeStore:
        return self.store


class Swept:
    """A worker's sweep of one store; `busy` says that a gate has something in hand."""

    def __init__(self, ledger: SqlLedger) -> None:
        self.ledger = ledger
        self.busy = False
        self.store = FakeStore({f"{n:04}": b"pic red=0.2 circle=%d" % n for n in range(OBJECTS)})
        self.store.put("condemned", b"pic red=0.9 circle=0.9")
        self.decoder = FakeDecoder()
        self.detectors = list(detectors())
        self.engine = Engine(FakeDecoder(), list(self.detectors), "fake", JOBS)
        self.turn = Turn(lambda: self.busy)
        patient = PatientEngine(self.engine, self.decoder, self.turn)
        policy = self.engine.in_force(red_circles())
        shared = Shared(ledger, patient, policy, SharedRunLock(ledger), SystemClock())
        place = cast("Target", Place(self.store))
        self.sweeps = Sweeps([StoreWatch(place, shared, self.store)], shared, self.turn)

    @property
    def states(self) -> list[str]:
        return sorted(row.state for row in self.ledger.list_objects(Filters()))

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, (len(self.decoder.decoded), self.states)
            time.sleep(0.01)


@contextmanager
def swept(place: str | Path) -> Iterator[Swept]:
    ledger = open_ledger(place, clock=SystemClock())
    made = Swept(ledger)
    try:
        yield made
    finally:
        made.sweeps.stop()
        ledger.dispose()


def test_the_engine_joins_a_sweep_when_no_gate_asks_and_leaves_it_when_one_does(ledger_place: str | Path) -> None:
    with swept(ledger_place) as s:
        s.busy = True
        s.sweeps.start()
        s.wait_for(lambda: len(s.store.fetched) > 0)
        time.sleep(0.3)
        assert s.decoder.decoded == [] and not any(d.seen for d in s.detectors)
        halves = threading.Event()
        real = s.decoder.decode

        def decode(*arguments: Any) -> Any:
            if len(s.decoder.decoded) == OBJECTS // 2:
                s.busy = True  # a gate asks, amid the pass
                halves.set()
            return real(*arguments)

        s.decoder.decode = decode  # type: ignore[method-assign,assignment]
        s.busy = False
        assert halves.wait(20)
        time.sleep(0.3)
        done = len(s.decoder.decoded)
        assert OBJECTS // 2 <= done <= OBJECTS // 2 + JOBS, "only what had begun is finished"
        time.sleep(0.3)
        assert len(s.decoder.decoded) == done
        s.decoder.decode = real  # type: ignore[method-assign]
        s.busy = False
        s.wait_for(lambda: len(s.states) == OBJECTS + 1 and set(s.states) == {"judged", "removed"})
        assert s.store.removed == ["condemned"]
        s.wait_for(lambda: s.ledger.watermark("fake://store") is not None)


def test_it_stops_at_once_although_gates_ask_without_end(ledger_place: str | Path) -> None:
    with swept(ledger_place) as s:
        s.busy = True
        s.sweeps.start()
        s.wait_for(lambda: len(s.store.fetched) > 0)
        began = time.monotonic()
        s.sweeps.stop()
        assert time.monotonic() - began < 20  # they ask without end
        assert s.store.removed == [], "what nobody judged is not removed"


def test_two_workers_with_one_store_do_not_sweep_it_twice(ledger_place: str | Path) -> None:
    """Whoever has the right to runs goes on; the other waits for it, and takes over when it is gone."""
    with swept(ledger_place) as one, swept(ledger_place) as other:
        one.busy = True
        one.sweeps.start()
        one.wait_for(lambda: len(one.store.fetched) > 0)
        watch = other.sweeps._watchers[0].watch
        watch.step()
        assert watch.failing and "another fedi-safety run" in (watch.health.error or "")
        one.sweeps.stop()
        assert watch.cycle() and set(other.states) == {"judged", "removed"} and len(other.states) == OBJECTS + 1
        assert len({*one.decoder.decoded, *other.decoder.decoded}) == OBJECTS + 1


@pytest.mark.parametrize("busy", [True, False])
def test_a_turn_is_given_while_nobody_is_busy(busy: bool) -> None:
    turn = Turn(lambda: busy)
    waited = threading.Thread(target=turn.wait)
    waited.start()
    waited.join(0.2)
    assert waited.is_alive() == busy
    turn.end()
    waited.join(5)
    assert not waited.is_alive()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sweep", "nosuch"], "nosuch"),
        (
            ["--sweep", "media"],
            "nobody has chosen what is done about condemned objects; see what would be",
        ),
        (["--sweep", "media", "--sweep", "media"], "--sweep: a store is named twice; name it once"),
        (["--sweep", "media", "--ledger", "mysql://here/ledger"], "only SQLite and PostgreSQL ledgers are supported"),
    ],
    ids=["no store", "no word of a person", "twice", "no ledger"],
)
def test_what_cannot_be_swept_is_said_in_one_line(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDI_SAFETY_WORKER__KEY", "k")
    (tmp_path / "media").mkdir()
    ledger = [] if "--ledger" in options else ["--ledger", str(tmp_path / "ledger.db")]
    assert run(["worker", "http://127.0.0.1:9", *options, *ledger]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and said in told[0], told
