"""Sources of lists that are watched: each in its time, later and later where it fails, and never in the stores' way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedi_safety.app.known.figures import source_figures
from fedi_safety.clients import list_server
from fedi_safety.config.schema import Known, KnownSource
from fedi_safety.core.errors import SharingError
from fedi_safety.core.known.types import KnownList
from fedi_safety.known.catalog import Catalog
from fedi_safety.watch import lists as watched
from fedi_safety.watch.lists import ListWatch, ListWatcher
from support.fakes import TickingClock
from support.judged_before import World, flipped, pdq
from support.servers.publishers import File, serving, status

HOUR_S = 3600.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.catalog.close()
    made.ledger.dispose()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[File]:
    monkeypatch.setattr(list_server, "TRIES", 1)
    publisher = File()
    with serving(publisher):
        yield publisher


def text(*hashes: bytes) -> bytes:
    return b"".join(b"pdq " + each.hex().encode() + b"\n" for each in hashes)


def watch(world: World, clock: TickingClock, *publishers: File, every_s: float = HOUR_S) -> ListWatch:
    sources = [
        KnownSource(name=f"list {number}", kind="url", url=each.url, every_s=every_s)
        for number, each in enumerate(publishers)
    ]
    world.settings = world.settings.model_copy(update={"known": Known(sources=sources)})
    return ListWatch(world.settings, world.ledger, clock)


def test_a_source_is_fetched_when_its_time_has_come_and_what_it_brings_is_planned(
    world: World, published: File
) -> None:
    one, clock = pdq(), TickingClock()
    world.judged("near", [flipped(one, 9)])
    published.data = text(one)
    lists = watch(world, clock, published)
    rest = lists.step()
    assert (world.planned(), len(published.asked)) == (["near"], 1)
    assert rest == watched._LOOK_S
    clock.advance(HOUR_S - 60)
    assert lists.step() == pytest.approx(60, abs=2)
    assert len(published.asked) == 1
    clock.advance(60)
    lists.step()
    assert len(published.asked) == 2
    again = watch(world, clock, published)
    again.step()
    assert len(published.asked) == 2, "a daemon that starts anew asks for nothing that is not due"


@pytest.mark.long
def test_a_source_that_fails_is_asked_later_and_later_and_the_others_are_fetched(world: World, published: File) -> None:
    clock, other = TickingClock(), File(text(pdq()))
    published.spoil(status(500), times=99)
    with serving(other):
        lists = watch(world, clock, published, other)
        lists.step()
        (failing, read) = lists.states
        assert (failing.failures, read.failures) == (1, 0)
        assert "it answered 500" in failing.failure
        rests = []
        for _ in range(9):
            before = len(published.asked)
            waited = 0
            while len(published.asked) == before:
                clock.advance(30)
                waited += 30
                lists.step()
            rests.append(waited)
    assert rests[:4] == [60, 120, 240, 480]
    assert rests[-1] == HOUR_S
    late = {each.name: each.late for each in source_figures(world.settings)}
    assert late["list 0"], "who failed ten times and was never read is late"


def test_who_asks_to_wait_is_not_asked_until_then(world: World, published: File) -> None:
    clock = TickingClock()
    published.data = text(pdq())
    published.spoil(status(429, Retry_After="7200"))
    lists = watch(world, clock, published)
    lists.step()
    clock.advance(7100)
    lists.step()
    assert len(published.asked) == 1
    clock.advance(101)
    lists.step()
    assert len(published.asked) == 2


def test_a_clock_that_was_set_back_delays_no_fetch(world: World, published: File) -> None:
    clock = TickingClock()
    published.data = text(pdq())
    lists = watch(world, clock, published)
    lists.step()
    clock.set_back(40 * 86_400)
    lists.step()
    assert len(published.asked) == 2


def test_stopping_ends_a_fetch_and_its_comparison_and_the_next_one_makes_up_for_it(
    world: World, published: File
) -> None:
    one, stop = pdq(), threading.Event()
    world.judged("near", [one])
    published.data = text(one)
    published.before = lambda _asked: stop.set()
    lists = watch(world, TickingClock(), published)
    lists._keep_going = lambda: not stop.is_set()
    thread = ListWatcher(lists, stop)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert world.planned() == []
    published.before = lambda _asked: None
    stop.clear()
    clock = TickingClock(4_000_000_000.0)
    watch(world, clock, published).step()
    assert world.planned() == ["near"]


def test_the_index_is_merged_while_nothing_is_fetched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    merged = []
    monkeypatch.setattr(Catalog, "merge", lambda self: merged.append(self))
    lists = watch(world, TickingClock())
    lists.step()
    assert (merged, (world.folder / "known").exists()) == ([], False), "where there is no list nothing is made"
    world.catalog.put(KnownList("mine"), [])
    lists.step()
    assert len(merged) == 1


def test_publishers_are_read_on_every_hour_and_one_that_is_refused_holds_nobody_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, asked = TickingClock(), []
    tried: dict[str, float | None] = {"one": None, "two": None}

    def read_on(_settings: object, _ledger: object, _catalog: object, name: str, **_: object) -> None:
        asked.append(name)
        tried[name] = clock.now()
        raise SharingError(name, "another history than before")

    def publishers(*_: object) -> SimpleNamespace:
        return SimpleNamespace(all=lambda: [SimpleNamespace(name=name, tried_s=at) for name, at in tried.items()])

    monkeypatch.setattr(watched, "open_publishers", publishers)
    monkeypatch.setattr(watched, "read_on", read_on)
    lists = watch(world, clock)
    lists.step()
    clock.advance(HOUR_S - 1)
    lists.step()
    assert asked == ["one", "two"]
    clock.advance(1)
    lists.step()
    assert asked == ["one", "two"] * 2


def test_what_cannot_be_a_sources_list_is_said_now_and_then_and_not_every_second(
    world: World, published: File, caplog: pytest.LogCaptureFixture
) -> None:
    clock = TickingClock()
    world.catalog.put(KnownList("list 0"), [])
    lists = watch(world, clock, published)
    assert lists.step() == pytest.approx(60, abs=1)
    clock.advance(30)
    lists.step()
    assert sum("from no source" in message for message in caplog.messages) == 1
    assert published.asked == []
