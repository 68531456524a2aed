"""The daemon's cycles on a fake clock: no gap after any outage, nothing judged twice, every error said."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedi_safety.app.stores import Target
from fedi_safety.config.loading import load_settings
from fedi_safety.core.enums import ActKind, Reason
from fedi_safety.core.errors import LedgerError, StoreError, StoreUsageError, UsageError
from fedi_safety.core.ledger.records import Watermark
from fedi_safety.core.ports import Store
from fedi_safety.watch.cycles import BACK_OFF_MOST_S, Rhythm, Wanted, look_back
from support.passes import CIRCLE, RED_CIRCLE
from support.watches import Rig

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "ledger.db")
    yield made
    made.watch.close()
    made.ledger.dispose()


@pytest.fixture
def slow_rig(tmp_path: Path) -> Iterator[Rig]:
    """One whose cycles are a few minutes apart, for what takes hours whatever they are."""
    made = Rig(tmp_path / "ledger.db", rhythm=Rhythm(every_s=150))
    yield made
    made.watch.close()
    made.ledger.dispose()


def judged_once(rig: Rig) -> bool:
    return len(rig.decoder.decoded) == len(set(rig.decoder.decoded))


def picture(number: int) -> bytes:
    return f"pic circle=0.{number:05}".encode()


# --- what a cycle looks at


@pytest.mark.parametrize(
    ("mark", "since"),
    [
        (None, None),
        (Watermark(1000, 1000, "other"), None),
        (Watermark(10_000, 10_000, "b"), 10_000 - 1200),
        (Watermark(10_060, 10_000, "b"), None),  # the clock was set back
        (Watermark(1000, 9_000, "b"), 1000 - 1200),  # a long outage: from where it was
        (Watermark(9_990, 10_000 - DAY, "b"), None),  # a sweep is due
    ],
)
def test_what_a_cycle_looks_at(mark: Watermark | None, since: float | None) -> None:
    assert look_back(mark, "b", 10_000, Rhythm()) == since


def test_first_everything_then_what_is_new(rig: Rig) -> None:
    rig.store.put("old", RED_CIRCLE)
    rig.clock.advance(DAY)
    assert rig.step() == 30
    assert rig.store.removed == ["old"]
    rig.store.put("new", RED_CIRCLE + b" x=1")
    rig.step()
    assert rig.store.removed == ["old", "new"]
    assert rig.store.listed[0] is None and rig.store.listed[1] is not None
    assert rig.watch.health.state == "ok"
    assert rig.watch.health.counts["acted"] == 2


def test_the_health_tells_gaps_from_what_is_no_media(rig: Rig) -> None:
    rig.store.put("good", picture(1))
    rig.store.put("text", b"a,b")
    rig.store.put("half", b"bad truncated")
    rig.step()
    assert (rig.watch.health.counts["unscanned"], rig.watch.health.counts["skipped"]) == (1, 1)
    rig.shared.wanted = replace(rig.wanted, skipped_as_unscanned=True)
    rig.clock.advance(DAY)
    rig.step()
    assert (rig.watch.health.counts["unscanned"], rig.watch.health.counts["skipped"]) == (2, 0)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("hours", [0.1, 0.5, 3, 20, 70, 2000])
def test_an_outage_of_any_length_leaves_no_gap(rig: Rig, hours: float) -> None:
    rig.step()
    rig.watch.close()
    for i in range(20):
        rig.store.put(f"missed-{i}", picture(i))
        rig.clock.advance(hours * HOUR / 20)
    rig.restart()
    rig.step()
    assert len(rig.states()) == 20
    assert judged_once(rig) and len(rig.decoder.decoded) == 20


@pytest.mark.long
def test_a_store_that_is_down_for_hours_is_said_and_backed_off(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.step()
    before = rig.mark
    rig.store.down = StoreUsageError("s3://bucket", "the access key is not valid", "check the credentials")
    rests = []
    until = rig.clock.now() + 5 * HOUR
    while rig.clock.now() < until:
        rests.append(rig.step())
        rig.store.put(f"while-down-{len(rests)}", picture(len(rests)))
    assert rests[:6] == [30, 60, 120, 240, 480, BACK_OFF_MOST_S]
    assert len(rests) < 60  # no busy loop
    assert rig.mark == before
    assert rig.watch.failing and rig.watch.health.state == "failing"
    assert "the access key is not valid" in (rig.watch.health.error or "")
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING and "not valid" in r.getMessage()]
    assert len(warnings) == len(rests)
    rig.store.down = None
    assert rig.step() == 30
    assert rig.watch.health.state == "ok" and rig.watch.health.error is None
    assert len(rig.states()) == len(rests) and judged_once(rig)


def test_a_crash_in_the_middle_of_a_cycle_leaves_no_gap(rig: Rig) -> None:
    rig.step()
    before = rig.mark
    for i in range(30):
        rig.store.put(f"k{i:02}", picture(i))
    fetched = []

    def die(key: str) -> None:
        fetched.append(key)
        if len(fetched) > 10:
            raise RuntimeError("a fault of the program")

    rig.store.before_fetch = die
    rig.clock.advance(HOUR)
    rig.step()
    assert rig.watch.health.state == "failing" and rig.mark == before
    rig.store.before_fetch = lambda _key: None
    rig.clock.advance(5 * HOUR)
    rig.restart()
    rig.step()
    assert len(rig.states()) == 30  # what was in hand and not recorded is judged again


def test_a_slow_store_delays_the_next_cycle_and_loses_nothing(rig: Rig) -> None:
    rig.step()
    rig.store.takes_s = 50 * MINUTE  # longer than the overlap
    for i in range(5):
        rig.store.put(f"k{i}", picture(i))
        assert rig.step() == 30  # never a busy loop, never two at once
    assert len(rig.states()) == 5 and judged_once(rig)


def test_a_clock_that_was_set_back_leaves_no_gap(rig: Rig) -> None:
    rig.step()
    rig.clock.set_back(30 * DAY)
    rig.store.put("earlier", picture(1))
    rig.clock.advance(10 * DAY)
    rig.step()
    assert rig.store.listed[-1] is None
    assert set(rig.states()) == {"earlier"}
    rig.step()
    assert rig.store.listed[-1] is not None  # and then it is trusted again


def test_objects_just_before_the_mark_are_met_again(rig: Rig) -> None:
    rig.step()
    rig.store.put("late", picture(1))
    rig.store.came["late"] -= 15 * MINUTE  # the store's clock is behind
    rig.step()
    assert set(rig.states()) == {"late"}


@pytest.mark.long
def test_a_failed_object_is_tried_again_when_it_has_left_the_window(slow_rig: Rig) -> None:
    rig = slow_rig
    rig.step()
    rig.store.put("k", picture(1))
    rig.store.failing["k"] = Reason.FETCH_FAILED
    until = rig.clock.now() + 3 * HOUR
    while rig.clock.now() < until:
        rig.step()
    tries = len(rig.store.fetched)
    assert 5 <= tries <= 12  # its own back-off, not every cycle
    rig.store.failing.clear()
    until = rig.clock.now() + 3 * HOUR
    while rig.clock.now() < until:
        rig.step()
    assert rig.states() == {"k": "judged"} and judged_once(rig)


@pytest.mark.long
def test_a_removal_that_failed_is_tried_again_however_old_it_is(
    slow_rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = slow_rig
    rig.step()
    rig.store.put("k", RED_CIRCLE)
    rig.store.refusing.add("k")
    until = rig.clock.now() + 5 * HOUR
    while rig.clock.now() < until:
        rig.step()
        assert (rig.watch.health.state, rig.watch.health.error) == ("failing", "failing: 1 removals failed")
    tries = [r for r in caplog.records if "not removed: k" in r.getMessage()]
    assert 8 <= len(tries) <= 12  # its own back-off, not every cycle
    rig.store.refusing.clear()
    until = rig.clock.now() + HOUR
    while rig.clock.now() < until:
        rig.step()
    assert rig.store.removed == ["k"]
    assert (rig.watch.health.state, rig.watch.health.counts["acted"]) == ("ok", 1)
    assert judged_once(rig)


@pytest.mark.long
def test_a_removal_that_a_broken_cycle_left_is_made_by_the_next(rig: Rig) -> None:
    """The object is older than any window: only its verdict had to wait."""
    rig.step()
    rig.store.put("k", RED_CIRCLE)
    rig.store.put("l", CIRCLE)
    rig.store.failing = {"k": Reason.FETCH_FAILED, "l": Reason.FETCH_FAILED}
    until = rig.clock.now() + 2 * HOUR
    while rig.clock.now() < until:
        rig.step()
    rig.store.failing.clear()

    def down(key: str) -> None:
        if key == "l" and "k" in rig.states():
            raise StoreError("fake", "down")

    rig.store.before_fetch = down
    until = rig.clock.now() + 2 * HOUR
    while rig.clock.now() < until and rig.states()["k"] != "judged":
        rig.step()
    assert rig.watch.failing and rig.store.removed == []
    rig.store.before_fetch = lambda _key: None
    rig.step()
    assert rig.store.removed == ["k"]


def test_what_a_dry_run_planned_or_the_breaker_holds_is_left_alone(rig: Rig) -> None:
    rig.step()
    rig.store.put("k", RED_CIRCLE)
    rig.wanted = Wanted(dry_run=True)
    rig.restart()
    rig.step()
    mark = rig.mark
    assert mark is not None
    rig.watch.close()
    rig.wanted = Wanted()
    rig.restart()
    rig.clock.advance(2 * HOUR)
    # As if the real daemon had already looked there: nothing but the dry run's plan is left of it.
    rig.ledger.set_watermark(
        rig.store.url, Watermark(rig.clock.now(), rig.clock.now(), rig.watch._basis(ActKind.DELETE))
    )
    rig.step()
    assert rig.store.removed == []
    rig.store.put("l", RED_CIRCLE + b" x")
    rig.store.refusing.add("l")
    rig.step()
    rig.ledger.set_breaker(1, rig.store.url, "too many")
    rig.store.refusing.clear()
    rig.clock.advance(2 * HOUR)
    rig.step()
    assert rig.store.removed == [] and rig.watch.health.state == "breaker"


@pytest.mark.long
def test_an_object_that_disappears_meanwhile_is_fine(rig: Rig) -> None:
    rig.step()
    rig.store.put("k", RED_CIRCLE)

    def vanish(key: str) -> None:
        del rig.store.objects[key]

    rig.store.before_fetch = vanish
    rig.step()
    assert rig.watch.health.state == "ok"
    for _ in range(50):
        rig.step()
    assert rig.store.fetched == ["k"]


def test_a_new_policy_and_a_dry_run_s_end_bring_old_objects_back(rig: Rig) -> None:
    rig.store.put("old", RED_CIRCLE)
    rig.wanted = Wanted(dry_run=True)
    rig.restart()
    rig.step()
    rig.clock.advance(HOUR)
    rig.step()
    assert rig.store.removed == []
    rig.watch.close()
    rig.wanted = Wanted()
    rig.restart()
    rig.step()
    assert rig.store.removed == ["old"]


def test_touched_keys_are_looked_at_whatever_their_time(rig: Rig) -> None:
    rig.step()
    mark = rig.mark
    rig.store.put("moved/in", RED_CIRCLE)
    rig.store.came["moved/in"] -= 30 * DAY
    rig.step("moved")
    assert rig.store.removed == ["moved/in"] and rig.mark == mark


def test_a_watch_that_does_nothing_is_recorded_by_the_word_that_people_choose(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "ledger.db", settings=load_settings(act="report"))
    rig.store.put("k", RED_CIRCLE)
    rig.step()
    rig.store.put("l", RED_CIRCLE + b" x")
    rig.step()
    rig.watch.close()
    assert rig.store.removed == [] and rig.mark is not None and json.loads(rig.mark.basis)[0] == "report"
    with rig.ledger.database.read() as connection:
        runs = connection.exec_driver_sql("SELECT settings FROM runs ORDER BY id").scalars().all()
        assert connection.exec_driver_sql("SELECT count(*) FROM plans").scalar_one() == 0
    assert [json.loads(settings)["act"] for settings in runs] == ["report", "report"]
    rig.ledger.dispose()


@pytest.mark.long
def test_idle_cycles_leave_the_ledger_as_it_is(rig: Rig) -> None:
    rig.step()
    with rig.ledger.database.read() as connection:
        events = connection.exec_driver_sql("SELECT count(*) FROM events").scalar_one()
    for _ in range(100):
        rig.step()
    with rig.ledger.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar_one() == events + 1
        assert connection.exec_driver_sql("SELECT count(*) FROM runs").scalar_one() == 2


def test_a_stop_in_mid_cycle_does_not_move_the_mark(rig: Rig) -> None:
    rig.step()
    before = rig.mark
    for i in range(50):
        rig.store.put(f"k{i:02}", picture(i))

    def stop(_key: str) -> None:
        rig.shared.stop.set()
        rig.watch.halt()

    rig.store.before_fetch = stop
    rig.step()
    assert rig.watch.cut_short and rig.mark == before
    rig.store.before_fetch = lambda _key: None
    rig.restart()
    rig.step()
    assert len(rig.states()) == 50 and judged_once(rig)


def test_a_full_disk_is_backed_off_and_said(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.step()
    rig.store.put("k", picture(1))
    real = rig.ledger.record

    def full(*_args: object) -> None:
        raise LedgerError("ledger.db", "the disk is full", "free some space")

    monkeypatch.setattr(type(rig.ledger), "record", full)
    assert [rig.step() for _ in range(3)] == [30, 60, 120]
    assert "the disk is full" in (rig.watch.health.error or "")
    monkeypatch.undo()
    assert real is not None
    rig.step()
    assert rig.states() == {"k": "judged"}


@pytest.mark.long
def test_many_small_cycles_together_trip_the_breaker(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings(breaker={"max_removed": 10, "min_judged": 100_000})
    rig = Rig(tmp_path / "ledger.db", settings)
    rig.step()
    for i in range(30):
        rig.store.put(f"k{i:02}", RED_CIRCLE + f" x={i}".encode())
        rig.step()
    assert len(rig.store.removed) <= 11
    assert rig.watch.health.state == "breaker"
    assert any("breaker" in r.getMessage() and r.levelno == logging.WARNING for r in caplog.records)
    assert len(rig.states()) == 30  # judging goes on
    rig.ledger.set_breaker(1, rig.store.url, None)  # somebody looked and resumed
    rig.store.put("fine", CIRCLE)
    rig.step()
    assert rig.watch.health.state in ("ok", "breaker")
    rig.watch.close()
    rig.ledger.dispose()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("whole", [False, True])
def test_the_breaker_survives_a_kill(whole: bool, tmp_path: Path) -> None:
    """I6: the day that it counts over is in the ledger, so that a daemon that dies every minute removes no more."""
    settings = load_settings(breaker={"max_removed": 5, "min_judged": 100_000})
    rhythm = Rhythm(sweep_s=1.0) if whole else Rhythm()
    rig = Rig(tmp_path / "ledger.db", settings, rhythm)
    rig.step()
    for i in range(16):
        rig.store.put(f"k{i:02}", RED_CIRCLE + f" x={i}".encode())
        rig.step()
        rig.restart()  # killed: nothing was closed, and memory is gone
    assert len(rig.store.removed) <= 6, "with a limit of 5 the breaker trips at the sixth"
    assert rig.ledger.breaker(rig.store.url) is not None
    assert "5 within a day, more than 5" in (rig.ledger.breaker(rig.store.url) or "")
    rig.ledger.set_breaker(1, rig.store.url, None)  # somebody looked, and let it go: the day begins anew
    assert rig.ledger.removed_since(rig.store.url, rig.clock.now() - DAY) == 0
    rig.watch.close()
    rig.ledger.dispose()


@pytest.mark.long
def test_fifty_hours_of_outages(rig: Rig) -> None:
    """Down, slow, failing reads, restarts, by a fixed pattern: each object judged exactly once, none lost."""
    number = 0
    rig.step()
    until = rig.clock.now() + 50 * HOUR
    while rig.clock.now() < until:
        number += 1
        rig.store.put(f"k{number:05}", picture(number))
        rig.store.down = StoreError("fake", "down") if number % 17 in (3, 4, 5) else None
        rig.store.takes_s = 40 * MINUTE if number % 29 == 0 else 0
        rig.store.failing = {f"k{number:05}": Reason.FETCH_FAILED} if number % 7 == 0 else {}
        if number % 11 == 0:
            rig.watch.close()
            rig.clock.advance(2 * HOUR)
            rig.restart()
        rig.step()
    rig.store.down, rig.store.failing, rig.store.takes_s = None, {}, 0
    rig.clock.advance(DAY)
    rig.step()
    assert number > 100
    assert set(rig.states().values()) == {"judged"} and len(rig.states()) == number
    assert judged_once(rig)


def test_a_store_that_was_not_there_at_the_start_is_settled_before_its_first_cycle(rig: Rig) -> None:
    rig.store.put("bad", RED_CIRCLE)
    agreed: list[str] = []

    def settle(target: Target, store: Store) -> Target:
        agreed.append(store.url)
        if len(agreed) == 1:
            raise UsageError(store.url, "nobody has chosen what is done about condemned objects")
        return replace(target, settings=target.settings.model_copy(update={"act": "delete"}))

    rig.shared.settle = settle
    rig.step()
    assert rig.watch.health.state == "failing" and "nobody has chosen" in (rig.watch.health.error or "")
    assert rig.store.objects
    for _ in range(2):
        rig.step()
    assert not rig.store.objects and rig.watch.health.state == "ok"
    assert len(agreed) == 2, "once is enough"
