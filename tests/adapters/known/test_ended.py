"""What rests on an entry or a list that ended is decided anew by time; lists that are gone are never taken for none."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from fedi_safety.app import engine
from fedi_safety.app.engine import open_engine
from fedi_safety.app.known.lists import apply_ended, open_catalog
from fedi_safety.cli import run
from fedi_safety.config.schema import Known, KnownSource, Settings
from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import ModelError, Unscannable
from fedi_safety.core.known.types import Effect, Entry, HashKind, KnownList
from fedi_safety.core.types import Fingerprints
from fedi_safety.gate.list_gauges import ListGauges
from fedi_safety.judging.metrics import Metrics
from fedi_safety.watch.lists import ListWatch
from support.fakes import TickingClock
from support.judged_before import World, flipped, pdq
from support.servers.pictrs import free_port
from support.servers.publishers import File, serving

THEIRS = KnownList("theirs")
FAR = 4_000_000_000.0
BLOCK, CLEAR = (Verdict.BLOCK, True), (Verdict.CLEAR, True)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.catalog.close()
    made.ledger.dispose()


def called(world: World, *arguments: str) -> int:
    config = world.folder / "config.toml"
    keys = {"store": "store", "ledger": "ledger.db", "policy": "policy.toml"}
    config.write_text("".join(f"{key} = {json.dumps(str(world.folder / name))}\n" for key, name in keys.items()))
    return run([*arguments, "--config", str(config)])


def let_end(world: World, table: str = "entries") -> None:
    """As if time had passed."""
    with closing(sqlite3.connect(world.folder / "known/lists.sqlite")) as connection, connection:
        connection.execute(f"UPDATE {table} SET expires_s = ? WHERE expires_s = ?", (time.time() - 1, FAR))


def by_scan(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ModelError("a network", "is not loaded for this")

    monkeypatch.setattr(engine, "open_engine", fails)
    assert called(world, "scan", "--act", "delete", "--without-dry-run") != 0


def by_apply(world: World, _: pytest.MonkeyPatch) -> None:
    called(world, "apply", "--act", "delete", "--yes")  # of the other object there is no file


def by_watch(world: World, _: pytest.MonkeyPatch) -> None:
    ListWatch(world.settings, world.ledger, TickingClock()).step()


def by_gate(world: World, _: pytest.MonkeyPatch) -> None:
    async def once() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end() -> None:
            apply_ended(world.settings, world.ledger)
            loop.call_soon_threadsafe(ended.set)

        running = asyncio.ensure_future(ListGauges(Metrics(), list, ended=end).run())
        await ended.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(once())


@pytest.mark.parametrize("by", [by_scan, by_apply, by_watch, by_gate])
@pytest.mark.parametrize("table", ["entries", "lists"])
def test_what_rests_on_something_that_ended_is_decided_anew_before_anything_is_done(
    world: World, by: Callable[[World, pytest.MonkeyPatch], None], table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pdq(), pdq()
    world.judged("ends", [flipped(one, 9)])
    world.judged("stays", [other])
    world.take(KnownList("theirs", expires_s=FAR), Entry(HashKind.PDQ, one, "1", expires_s=FAR))
    world.take(KnownList("others"), Entry(HashKind.PDQ, other, "1"))
    assert world.planned() == ["ends", "stays"]
    let_end(world, table)
    by(world, monkeypatch)
    assert (world.verdict("ends"), world.verdict("stays")) == (CLEAR, BLOCK)
    assert "ends" not in world.planned()
    world.whole()


def test_what_ended_is_applied_once_and_where_it_changes_nothing_no_run_is_kept(world: World) -> None:
    one = pdq()
    world.judged("near", [one])
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"), Entry(HashKind.PDQ, pdq(), "2", expires_s=FAR))

    def runs() -> int:
        return world.ledger.begin_run("scan", world.url, {})

    before = runs()
    assert world.catalog.next_end() == FAR
    assert apply_ended(world.settings, world.ledger) is None and not world.catalog.ended(world.ledger.name)
    let_end(world)
    assert world.catalog.ended(world.ledger.name)
    assert apply_ended(world.settings, world.ledger) is None
    assert not world.catalog.ended(world.ledger.name) and world.catalog.ended("of another ledger")
    assert runs() == before + 1 and world.verdict("near") == BLOCK


def test_an_end_of_what_was_harmless_counts_as_well(world: World) -> None:
    one = pdq()
    world.judged("near", [one])
    world.take(KnownList("harmless", Effect.NEGATIVE), Entry(HashKind.PDQ, one, "1", expires_s=FAR))
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    assert world.verdict("near") == CLEAR
    let_end(world)
    apply_ended(world.settings, world.ledger)
    assert (world.verdict("near"), world.planned()) == (BLOCK, ["near"])


# --- lists that are gone


def gone(world: World, *, met: bool = True) -> None:
    """Take a list in, and its folder away, as a disk that is not mounted does."""
    one = pdq()
    world.judged("near", [one if met else pdq()])
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    world.catalog.close()
    (world.folder / "known").rename(world.folder / "elsewhere")


@pytest.mark.parametrize("met", [True, False])
def test_lists_that_are_gone_when_it_starts_are_no_answer(world: World, met: bool) -> None:
    assert not world.ledger.had_lists()
    gone(world, met=met)
    assert world.ledger.had_lists()
    settings = world.settings.model_copy(update={"detectors": ["known"]})
    opened = open_engine(settings, world.ledger.had_lists)
    try:
        assert opened.recognizer is not None
        with pytest.raises(Unscannable, match="there were lists"):
            opened.recognizer.exact(Fingerprints(bytes(32), bytes(20), bytes(16), 1))
        (world.folder / "elsewhere").rename(world.folder / "known")
        assert opened.recognizer.exact(Fingerprints(bytes(32), bytes(20), bytes(16), 1)) == []
    finally:
        opened.close()


@pytest.mark.parametrize("command", [["scan"], ["watch", "--once"], ["serve"]])
def test_whoever_judges_asks_the_ledger_whether_there_were_lists(
    world: World, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone(world)
    asked: list[bool] = []

    def opens(_settings: Settings, had_lists: Callable[[], bool]) -> None:
        asked.append(had_lists())
        raise ModelError("a network", "is not loaded for this")

    monkeypatch.setattr(engine, "open_engine", opens)
    monkeypatch.setattr("fedi_safety.gate.service.open_engine", opens)
    monkeypatch.setenv("FEDI_SAFETY_GATE__PORT", str(free_port()))
    monkeypatch.setenv("FEDI_SAFETY_ACT", "report")
    assert called(world, *command) != 0
    assert asked == [True]


def test_where_lists_are_gone_no_source_makes_others_in_their_place(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    gone(world)
    published = File(b"pdq " + pdq().hex().encode())
    with serving(published):
        sources = [KnownSource(name="source", kind="url", url=published.url)]
        settings = world.settings.model_copy(update={"known": Known(sources=sources)})
        ListWatch(settings, world.ledger, TickingClock()).step()
    assert not (world.folder / "known").exists()
    assert world.verdict("near") == BLOCK
    assert any("there were lists" in message for message in caplog.messages)


def test_a_person_can_begin_without_the_lists_that_are_gone(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    gone(world)
    for command in (["hashes", "verify"], ["hashes", "match"], ["hashes", "fetch"]):
        assert called(world, *command) == 3
        said = capsys.readouterr().err
        assert "there were lists" in said and "hashes verify --repair" in said, command
    assert world.verdict("near") == BLOCK
    assert called(world, "hashes", "verify", "--repair") == 0
    assert called(world, "hashes", "verify") == 0
    assert called(world, "hashes", "match") == 0
    assert world.verdict("near") == CLEAR
    with open_catalog(world.settings) as catalog:
        images = catalog.images(expected=True)
        assert images.empty, "dropped by a person, all of them: that is none"
        images.close()


def test_where_no_list_ever_was_none_is_missed(world: World) -> None:
    world.judged("near", [pdq()])
    assert called(world, "hashes", "match") == 0
    assert not world.ledger.had_lists()
    with open_catalog(world.settings) as catalog:
        assert catalog.images(expected=world.ledger.had_lists()).empty
    with pytest.raises(Unscannable), open_catalog(world.settings) as catalog:
        _ = catalog.images(expected=True).empty
