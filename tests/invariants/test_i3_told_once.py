"""I3: what happened is told once: a crash loses no message, and repeats one whose answer was lost once at the most.

`kill -9` between any two of the change, its commit, the sending and the mark; and 10,000 changes (`./dev soak notify`)
told to a receiver that fails half the time, with restarts in between.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from fedi_safety.app.notices.channels import Line
from fedi_safety.app.notices.sending import ChannelSender, Senders, send_rest
from fedi_safety.core.ledger.notices import Channel, NoticeState, Sent
from fedi_safety.core.notices.text import Words
from fedi_safety.core.notices.transitions import Condition, Transition
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.ledger.notices.outbox import Told
from fedi_safety.ledger.notices.sending import GIVE_UP_S, HELD_S
from support.fakes import FakeClock
from support.killing import killed_at
from support.share import Share

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

CHANNEL = Channel("json://a.example", frozenset(Transition), 900.0)
OPEN = NoticeState.WAITING, NoticeState.SENDING
STORE = "file:///srv/media"


class Killed(BaseException):
    """The process ended here."""


class Recorder:
    """Takes messages as `answer` says, and remembers what it took, by the notice's number."""

    def __init__(self, answer: Callable[[], str] = lambda: "accept") -> None:
        self.answer = answer
        self.told: list[Mapping[str, Any]] = []
        self.unsure: Counter[int] = Counter()  # after which of them nobody could know that they had arrived

    def send(self, said: Words, facts: Mapping[str, Any]) -> Sent:
        answer = self.answer()
        if answer == "dies":
            self.unsure[facts["id"]] += 1
            raise Killed
        if answer == "fails":
            return Sent(False, "it answered 500")
        self.told.append(facts)
        if answer == "accept":
            return Sent(True)
        self.unsure[facts["id"]] += 1
        if answer == "dies after":
            raise Killed
        return Sent(False, "the connection broke off before the answer", lost=True)


def line(recorder: Any) -> Line:
    return Line(CHANNEL, lambda: recorder)


@cache
def empty_ledger() -> bytes:
    with TemporaryDirectory() as folder:
        open_ledger(Path(folder) / "ledger.db", clock=FakeClock()).dispose()
        return (Path(folder) / "ledger.db").read_bytes()


class Disk:
    """A receiver whose memory outlives the process: a line for each message, on the disk before it answers."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def send(self, said: Words, facts: Mapping[str, Any]) -> Sent:
        with self.path.open("a") as log:
            log.write(f"{facts['transition']}\n")
            log.flush()
            os.fsync(log.fileno())
        return Sent(True)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []


def trip_and_tell(folder: Path, clock: FakeClock) -> None:
    ledger = open_ledger(folder / "ledger.db", clock=clock, channels=[CHANNEL])
    run = ledger.begin_run("scan", STORE, {})
    ledger.set_breaker(run, STORE, "too much")
    drain(ledger, Disk(folder / "told"))
    ledger.dispose()


def drain(ledger: SqlLedger, recorder: Any) -> None:
    sender = ChannelSender(ledger, line(recorder), None)
    while sender.step(at_once=True):
        pass
    sender.close()


@pytest.mark.long
def test_killed_at_any_step_it_is_told_once_or_once_more_where_nobody_can_know(tmp_path: Path) -> None:
    fatal, twice = 0, 0
    killed = True
    while killed:
        fatal += 1
        folder = tmp_path / str(fatal)
        folder.mkdir()
        (folder / "ledger.db").write_bytes(empty_ledger())
        killed = killed_at(fatal, partial(trip_and_tell, folder, FakeClock()))
        before = Disk(folder / "told").lines()
        clock = FakeClock()
        clock.advance(HELD_S + 1)
        ledger = open_ledger(folder / "ledger.db", clock=clock, channels=[CHANNEL])
        happened = ledger.breaker(STORE) is not None
        written = ledger.notices(tuple(NoticeState), 9)
        assert len(written) == happened, "a change is told if and only if it is recorded"
        state = written[0].state if written else None
        drain(ledger, Disk(folder / "told"))
        told = Disk(folder / "told").lines()
        assert len(told) == (0 if not happened else 1 if state is not NoticeState.SENDING else 1 + len(before))
        twice += len(told) == 2
        assert ledger.verify().problem is None
        ledger.dispose()
    assert fatal > 15 and 0 < twice < fatal / 2


def test_whatever_happens_each_change_is_told_once_and_counts_come_to_the_same(tmp_path: Path, share: Share) -> None:
    chance = random.Random(share.seed)
    changes = share.of(60, 10_000)
    (tmp_path / "ledger.db").write_bytes(empty_ledger())
    clock = FakeClock()
    recorder = Recorder(
        lambda: chance.choices(["accept", "fails", "loses", "dies", "dies after"], [48, 40, 6, 3, 3])[0]
    )
    happened: Counter[str] = Counter()
    ledger = open_ledger(tmp_path / "ledger.db", clock=clock, channels=[CHANNEL])
    sender = ChannelSender(ledger, line(recorder), None)
    restarts = 0
    for _ in range(changes):
        for kind, about, count in something_happens(ledger, clock, chance):
            happened[f"{kind} {about}"] += count
        span_s = chance.choice([0.0, 1.0, 40.0, 300.0])
        try:
            for _ in range(5):  # a sender looks again while time goes by, and not at changes alone
                clock.advance(span_s / 5)
                while chance.random() < 0.8 and sender.step(at_once=chance.random() < 0.1):
                    pass
            if chance.random() < 0.02:
                raise Killed
        except Killed:
            restarts += 1
            ledger.dispose()
            clock.advance(chance.choice([1.0, HELD_S + 1]))
            ledger = open_ledger(tmp_path / "ledger.db", clock=clock, channels=[CHANNEL])
            sender = ChannelSender(ledger, line(recorder), None)
    recorder.answer = lambda: "accept"
    while ledger.notices(OPEN, 1):
        clock.advance(HELD_S + 3600)
        while sender.step(at_once=True):
            pass
    assert ledger.notices((NoticeState.GIVEN_UP,), 1) == [], f"nothing lasted a day of {GIVE_UP_S:g} s"
    figure = told_in_full(ledger, recorder, happened)
    share.figure(f"{changes} changes, {restarts} restarts: {figure}")
    assert ledger.verify().problem is None
    ledger.dispose()


def told_in_full(ledger: SqlLedger, recorder: Recorder, happened: Counter[str]) -> str:
    """Check what was told: each once, or once more where its answer was lost, and altogether what happened."""
    once: dict[int, Mapping[str, Any]] = {}
    for facts in recorder.told:
        known = once.setdefault(facts["id"], facts)
        assert {**known, "again": 0, "text": ""} == {**facts, "again": 0, "text": ""}, "it is the same message"
    times = Counter(facts["id"] for facts in recorder.told)
    assert [number for number, count in times.items() if count > (2 if recorder.unsure[number] else 1)] == []
    unconfirmed = {notice.id: notice for notice in ledger.notices((NoticeState.UNCONFIRMED,), 1 << 20)}
    assert {number for number, count in recorder.unsure.items() if count > 1} == set(unconfirmed)
    said: Counter[str] = Counter()
    for facts in once.values():
        said[f"{facts['transition']} {facts['about']}"] += facts["count"]
    for notice in unconfirmed.values():  # it may have arrived twice, once or never, and the ledger says so
        if notice.id not in once:
            said[f"{notice.transition.value} {notice.about}"] += notice.count
    assert said == happened
    return (
        f"{len(once)} messages, {len(recorder.told) - len(once)} twice, {sum(recorder.unsure.values())} answers lost, "
        f"{len(unconfirmed)} unconfirmed, of which {len(unconfirmed.keys() - once.keys())} did not arrive"
    )


def something_happens(ledger: SqlLedger, clock: FakeClock, chance: random.Random) -> list[tuple[Transition, str, int]]:
    """Make one change, and return what is to be told of it."""
    about = f"file:///srv/{chance.randrange(20)}"
    kind = chance.randrange(3)
    if kind == 0:
        before = ledger.breaker(about)
        ledger.set_breaker(1, about, "too much" if before is None else None)
        return [(Transition.BREAKER_TRIPPED if before is None else Transition.BREAKER_RESET, about, 1)]
    if kind == 1:
        condition = chance.choice(list(Condition))
        detail = chance.choice([None, "so it is"])
        changed = ledger.set_condition(condition, about, detail)
        told = Transition.WELL_AGAIN if detail is None else Transition(condition.value)
        return [(told, about, 1)] if changed else []
    counted = chance.choice([transition for transition in Transition if transition.counted])
    count = chance.randrange(1, 50)
    with ledger.database.write() as connection:
        ledger.outbox.write(connection, clock.now(), Told(counted, about, count))
    return [(counted, about, count)]


def test_two_processes_tell_nothing_twice(tmp_path: Path) -> None:
    path, clock = tmp_path / "ledger.db", FakeClock()
    recorder = Recorder()
    ledgers = [open_ledger(path, clock=clock, channels=[CHANNEL]) for _ in range(2)]
    for n in range(12):
        ledgers[0].set_breaker(1, f"file:///srv/{n}", "too much")
    threads = [threading.Thread(target=drain, args=[ledger, recorder]) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drain(ledgers[0], recorder)  # both may have found the other at it
    assert sorted(facts["id"] for facts in recorder.told) == list(range(1, 13))
    for ledger in ledgers:
        ledger.dispose()


def test_a_command_that_ends_sends_what_is_gathered_and_leaves_the_rest(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db", clock=FakeClock(), channels=[CHANNEL])
    with ledger.database.write() as connection:
        ledger.outbox.write(connection, 0.0, Told(Transition.REMOVED, STORE, 3))
    recorder = Recorder()
    assert send_rest(ledger, [line(recorder)], None, 30.0) == 0
    assert [facts["count"] for facts in recorder.told] == [3]
    ledger.set_breaker(1, STORE, "too much")
    assert send_rest(ledger, [line(recorder)], None, 0.0) == 1  # its time is over
    ledger.dispose()


def test_what_runs_long_sends_by_itself_and_lets_go(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db", clock=FakeClock(0.0), channels=[CHANNEL])
    ledger.set_breaker(1, STORE, "too much")
    told = threading.Event()

    class Here(Recorder):
        def send(self, said: Words, facts: Mapping[str, Any]) -> Sent:
            told.set()
            return super().send(said, facts)

    recorder = Here()
    senders = Senders(ledger, [line(recorder)], None)
    senders.start()
    assert told.wait(60)
    senders.stop()
    for thread in senders._threads:
        thread.join(60)
    assert len(recorder.told) == 1
    assert ledger.take_notice(CHANNEL.name, "another") is None and ledger.notices(OPEN, 1) == []
    with suppress(OSError):
        ledger.dispose()
