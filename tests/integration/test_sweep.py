"""A pass by workers, over a cluster of threads: what comes of it when they die, hang, differ, or see another store."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SystemClock
from fedi_safety.app.progress import PassProgress
from fedi_safety.app.scan import scan
from fedi_safety.app.sweep import worker as workers
from fedi_safety.app.sweep.driver import Patience, SweepPass
from fedi_safety.app.sweep.messages import Failure, Shard
from fedi_safety.clients.pictrs_safety import GateUnreachable
from fedi_safety.config.schema import Breaker, Settings
from fedi_safety.core.enforcement import Passing
from fedi_safety.core.enums import ActKind, PlanState, Verdict
from fedi_safety.core.errors import (
    ExitCode,
    FediSafetyError,
    LedgerError,
    LedgerUsageError,
    StoreError,
    SupersededError,
    SweepError,
    SweepUsageError,
)
from fedi_safety.core.ledger.records import Filters
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.runs import RunReport, ScanRequest
from fedi_safety.core.types import Object, Removal
from fedi_safety.ledger.database.postgresql.faults import Cut
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.stores.local import LocalStore
from support.fakes import FakeDecoder, detectors, red_circles
from support.sweeping import ThreadCluster, Worker

BAD, FINE = b"pic red=0.9 circle=0.9 ", b"pic red=0.1 "
OBJECTS, EVERY = 90, 9
VERY_RED = Rule("very red circle", {"red": 0.95, "circle": 0.95}, Verdict.BLOCK)
MILD = replace(red_circles(), name="mild", rules=(VERY_RED,))
SHORT = Patience(worker=30, silent=20, dead=40, outside=1.0, halt=20)


class CountedStore(LocalStore):
    """Counts the removals that were carried out, by key."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.removed: Counter[str] = Counter()

    def remove(self, obj: Object, sha256: bytes) -> Removal:
        removal = super().remove(obj, sha256)
        self.removed[obj.key] += removal.state is PlanState.DONE
        return removal


@dataclass
class Place:
    """A store of small texts that stand for pictures, its ledger, and passes over it by workers."""

    folder: Path
    settings: Settings = field(init=False)
    said: list[str] = field(default_factory=list)
    clusters: list[ThreadCluster] = field(default_factory=list)

    def __post_init__(self) -> None:
        media = self.folder / "media"
        for number in range(OBJECTS):
            path = media / f"{number % 6}" / f"{number:03}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((BAD if number % EVERY == 0 else FINE) + str(number).encode())
        breaker = Breaker(min_judged=1000, max_removed=100)
        self.settings = Settings(ledger=str(self.folder / "ledger.db"), detectors=["known"], breaker=breaker)
        self.store = CountedStore(str(media))
        self.ledger: SqlLedger = open_ledger(self.folder / "ledger.db", clock=SystemClock(), busy_timeout_s=30)

    def engine(self) -> Engine:
        return Engine(FakeDecoder(), list(detectors()), "cpu", 1)

    def sweep(
        self,
        cluster: ThreadCluster | None = None,
        patience: Patience = SHORT,
        on_start: Callable[[Passing, PassProgress], None] | None = None,
        policy: Policy | None = None,
        **asked: Any,
    ) -> RunReport:
        cluster = cluster or ThreadCluster()
        self.clusters.append(cluster)
        return scan(
            self.settings,
            ScanRequest(self.store.url, **{"act": ActKind.DELETE, **asked}),
            ledger=self.ledger,
            store=self.store,
            engine=self.engine(),
            policy=policy or red_circles(),
            on_start=on_start,
            sweep=lambda parts: SweepPass(parts, cluster, say=self.said.append, patience=patience),
        )

    @property
    def condemned(self) -> set[str]:
        return {f"{number % 6}/{number:03}" for number in range(0, OBJECTS, EVERY)}

    def states(self) -> Counter[str]:
        return Counter(row.state for row in self.ledger.list_objects(Filters()))

    def check_done(self) -> None:
        """Every object was judged, what is condemned is gone by one removal each, and the ledger is whole."""
        assert self.store.removed == Counter(self.condemned)
        assert self.states() == {"judged": OBJECTS - len(self.condemned), "removed": len(self.condemned)}
        assert self.ledger.verify().problem is None

    def close(self) -> None:
        for cluster in self.clusters:
            cluster.close()
        self.ledger.dispose()
        self.store.close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    found = Place(tmp_path)
    monkeypatch.setattr(workers, "open_engine", lambda *_: found.engine())
    monkeypatch.setattr("fedi_safety.core.coredumps.forbid", lambda: None)  # this process is the tests'
    monkeypatch.setattr(workers, "open_store", lambda url, _settings: LocalStore(url.removeprefix("file://")))
    yield found
    found.close()


def judges(work: Callable[[Worker, Shard, int], None]) -> Callable[[Worker, str, tuple[Any, ...]], None]:
    """Have `work` called with every part that is begun, and its number."""
    lock, count = threading.Lock(), 0

    def before(worker: Worker, method: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if method == "judge":
            with lock:
                count += 1
                number = count
            work(worker, arguments[0], number)

    return before


def test_a_sweep_is_the_pass_that_one_process_makes(place: Place, tmp_path: Path) -> None:
    report = place.sweep(dry_run=True)
    one = open_ledger(tmp_path / "one.db", clock=SystemClock())
    alone = scan(
        place.settings,
        ScanRequest(place.store.url, dry_run=True, act=ActKind.DELETE),
        ledger=one,
        store=place.store,
        engine=place.engine(),
        policy=red_circles(),
    )
    ours, theirs = (replace(each.tally, bytes=0) for each in (report, alone))
    assert ours == theirs and report.tally.accounted and report.listing == alone.listing
    ours_rows, their_rows = (
        sorted((row.key, row.state, row.verdict, row.sha256, row.reasons, row.act_state) for row in each.list_objects())
        for each in (place.ledger, one)
    )
    assert ours_rows == their_rows
    assert len({worker.place.id for worker in place.clusters[0].started}) == 2, "both had a part"
    one.dispose()
    assert not place.store.removed
    report = place.sweep()
    assert (report.tally.already_judged, report.tally.acted, report.device) == (
        OBJECTS,
        len(place.condemned),
        "cpu x 2",
    )
    place.check_done()


def test_what_a_worker_had_in_hand_when_it_died_is_judged_by_another(place: Place) -> None:
    def die(worker: Worker, _shard: Shard, number: int) -> None:
        if number % 3 == 1:
            worker.dead.set()

    place.sweep(ThreadCluster(before=judges(die)))
    assert any("lost a worker (the process died)" in line for line in place.said)
    place.check_done()


def test_a_machine_that_goes_and_one_that_comes(place: Place) -> None:
    cluster = ThreadCluster(machines=1)

    def change(_worker: Worker, _shard: Shard, number: int) -> None:
        if number == 1:
            cluster.gone.add("m0")
            cluster.machines = 2
            threading.Event().wait(3)  # until the driver has looked

    cluster.before = judges(change)
    place.sweep(cluster)
    assert {worker.place.id for worker in cluster.started} == {"m0", "m1"}
    place.check_done()


def test_a_worker_that_was_thought_dead_records_nothing_once_the_run_is_over(place: Place) -> None:
    late, over = threading.Event(), threading.Event()
    held: list[Worker] = []

    def hang(worker: Worker, _shard: Shard, number: int) -> None:
        if number == 1:
            held.append(worker)
            worker.dead.set()
            late.set()
            over.wait(30)

    cluster = ThreadCluster(before=judges(hang))
    report = place.sweep(cluster)
    place.check_done()
    head = place.ledger.verify()
    (place.folder / "media/0/new").write_bytes(FINE)  # which only the one that is late finds
    over.set()
    cluster.close()
    answers = [ref for ref in cluster.of if cluster.of[ref] == (held[0], "judge")]
    assert late.is_set() and answers
    assert place.ledger.verify() == head, "nothing was written"
    with pytest.raises(LedgerError, match=f"run {report.run_id}.*is over"):
        held[0].worker._ledger.set_breaker(report.run_id, place.store.url, "a word")


def test_a_later_run_takes_over_from_a_driver_that_died(place: Place) -> None:
    ours = place.ledger.begin_run("scan", place.store.url, {"dry_run": False})
    other = open_ledger(place.folder / "ledger.db", clock=SystemClock())
    other.hold_to(ours)
    other.set_breaker(ours, place.store.url, "while it is under way")
    theirs = place.ledger.begin_run("scan", place.store.url, {"dry_run": False})
    with pytest.raises(LedgerError, match="taken over by a later one"):
        other.set_breaker(ours, place.store.url, None)
    place.ledger.set_breaker(theirs, place.store.url, None)
    other.dispose()


NO_WAIT = replace(SHORT, outside=120.0)


@pytest.mark.parametrize("asked", ["judge", "open"])
def test_a_ledger_that_a_newer_version_upgraded_ends_the_pass_at_once(place: Place, asked: str) -> None:
    """Old workers stop at their next transaction, and nobody waits for a ledger that will not come back."""

    def upgrade(_worker: Worker, method: str, _arguments: tuple[Any, ...]) -> None:
        if method == asked:
            with closing(sqlite3.connect(place.folder / "ledger.db")) as newer, newer:
                newer.execute("UPDATE alembic_version SET version_num = '9999'")

    began = time.monotonic()
    words = "was upgraded by a newer version .* while it was in use" if asked == "judge" else "by a newer version"
    with pytest.raises(FediSafetyError, match=words) as error:
        place.sweep(ThreadCluster(before=upgrade), NO_WAIT)
    assert time.monotonic() - began < 30 and "\n" not in error.value.line()
    assert not place.store.removed


@pytest.mark.parametrize("error", [Cut, LedgerError, LedgerUsageError, GateUnreachable, StoreError])
def test_an_error_of_an_adapter_is_told_as_the_kind_that_it_is_one_of(error: type[FediSafetyError]) -> None:
    told = Failure.of(error("thing", "cause", "remedy"))
    assert isinstance(told.error, LedgerError if issubclass(error, LedgerError) else StoreError)
    assert told.error.exit_code is error.exit_code and told.of_store == issubclass(error, StoreError)
    assert (told.error.thing, told.error.cause, told.error.remedy) == ("thing", "cause", "remedy")


def test_a_ledger_that_is_away_is_waited_for_and_no_worker_is_lost_over_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedi_safety.app.sweep.driver._LONGEST_PAUSE_S", 0.0)
    away = threading.Semaphore(10)  # more often than workers may be lost over one part

    def cut_off(worker: Worker, shard: Shard, _number: int) -> None:
        ledger = worker.worker._ledger

        def lookup(*arguments: Any) -> Any:
            if shard.within.after is None and away.acquire(blocking=False):
                raise Cut("postgresql://there", "the connection was lost", "check that the server runs")
            return type(ledger).lookup(ledger, *arguments)

        monkeypatch.setattr(ledger, "lookup", lookup)

    place.sweep(ThreadCluster(before=judges(cut_off)), replace(SHORT, outside=60.0))
    assert not away.acquire(blocking=False) and any("; waiting for it" in line for line in place.said)
    assert not any("lost a worker" in line for line in place.said), place.said
    place.check_done()


def test_a_pass_that_a_later_one_took_over_ends_at_once(place: Place) -> None:
    def take_over(_worker: Worker, _shard: Shard, number: int) -> None:
        if number == 3:
            later = open_ledger(place.folder / "ledger.db", clock=SystemClock())
            later.begin_run("scan", place.store.url, {"dry_run": False})
            later.dispose()

    began = time.monotonic()
    with pytest.raises(SupersededError, match="was taken over by a later one"):
        place.sweep(ThreadCluster(before=judges(take_over)), NO_WAIT)
    assert time.monotonic() - began < 30 and not place.store.removed


def test_a_second_sweep_of_a_store_is_refused_whatever_its_policy(place: Place) -> None:
    refused: list[str] = []

    def second(_worker: Worker, _shard: Shard, number: int) -> None:
        if number == 1:
            other = open_ledger(place.folder / "ledger.db", clock=SystemClock())
            request = ScanRequest(place.store.url, act=ActKind.DELETE)
            try:
                with pytest.raises(LedgerError, match="another fedi-safety run") as error:
                    scan(place.settings, request, ledger=other, store=place.store, engine=place.engine(), policy=MILD)
                refused.append(error.value.line())
            finally:
                other.dispose()

    place.sweep(ThreadCluster(before=judges(second)))
    assert len(refused) == 1 and "\n" not in refused[0]
    place.check_done()


def test_a_sweep_by_another_policy_decides_by_that_one(place: Place) -> None:
    place.sweep(dry_run=True, policy=MILD)
    assert place.states() == {"judged": OBJECTS} and not place.store.removed
    tally = place.sweep().tally
    # What was settled before all detectors were asked is judged anew.
    assert (tally.already_judged + tally.judged, tally.acted) == (OBJECTS, len(place.condemned))
    place.check_done()


def test_a_worker_with_other_weights_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_weights(*_: object) -> Engine:
        engine = place.engine()
        engine.detectors[0].version = "another"  # type: ignore[misc]
        return engine

    monkeypatch.setattr(workers, "open_engine", other_weights)
    with pytest.raises(
        SweepUsageError, match=r"worker at m.: refused .2 of them.: detector .* is another there"
    ) as error:
        place.sweep()
    assert error.value.exit_code is ExitCode.USAGE
    assert place.states() == {}


def test_one_that_is_refused_leaves_the_work_to_the_others(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = threading.Semaphore(1)

    def another_program(wanted: str, found: str) -> None:
        if first.acquire(blocking=False):
            raise SweepUsageError("fedi-safety", f"is {found} there, and the pass is made by {wanted}+", "")

    monkeypatch.setattr(workers, "check_program", another_program)
    assert place.sweep().device == "cpu x 1"
    assert any("takes no part: fedi-safety: is " in line for line in place.said)
    place.check_done()


def test_a_worker_without_the_store_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.folder / "mnt").mkdir()
    monkeypatch.setattr(workers, "open_store", lambda _url, _settings: LocalStore(str(place.folder / "mnt")))
    with pytest.raises(SweepError, match=r"file://.*/mnt: is not file://.*/media"):
        place.sweep()
    mounted = LocalStore(str(place.folder / "mnt"))
    mounted._root = str(place.folder / "media")  # the same name, and nothing there
    monkeypatch.setattr(workers, "open_store", lambda _url, _settings: mounted)
    with pytest.raises(SweepError, match="it is not the store of this pass: none of 8 of its objects is there"):
        place.sweep()
    assert place.states() == {}


def test_a_store_that_fails_ends_the_pass_and_nothing_is_concluded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.sweep(dry_run=True)
    for number in range(0, OBJECTS, 2):
        (place.folder / f"media/{number % 6}/{number:03}").unlink()

    def fail(_worker: Worker, shard: Shard, _number: int) -> None:
        if shard.within.after is None:
            monkeypatch.setattr(LocalStore, "list_within", down)

    def down(*_: object) -> Iterator[Object]:
        raise StoreError(place.store.url, "it cannot be reached", "wait for it")

    with pytest.raises(StoreError, match="it cannot be reached"):
        place.sweep(ThreadCluster(before=judges(fail)))
    assert any("waiting for it" in line for line in place.said)
    assert place.states() == {"judged": OBJECTS}, "no object is marked gone"
    monkeypatch.undo()


def test_what_is_gone_is_marked_once_all_parts_were_listed(place: Place) -> None:
    place.sweep(dry_run=True)
    for number in range(1, OBJECTS, EVERY):
        (place.folder / f"media/{number % 6}/{number:03}").unlink()
    report = place.sweep(dry_run=True)
    assert report.tally.gone == len(place.condemned)
    assert place.states() == {"judged": OBJECTS - report.tally.gone, "gone": report.tally.gone}


def test_halted_it_keeps_what_was_judged_and_goes_on_from_there(place: Place) -> None:
    passing: list[Passing] = []

    def halt(_worker: Worker, _shard: Shard, number: int) -> None:
        if number == 4:
            passing[0].halt()

    report = place.sweep(ThreadCluster(before=judges(halt)), on_start=lambda each, _progress: passing.append(each))
    assert report.exit_code is ExitCode.INTERRUPTED and not place.store.removed
    judged = report.tally.judged
    assert 0 < judged < OBJECTS and place.states() == {"judged": judged}
    assert place.sweep().tally.already_judged >= judged
    place.check_done()


def test_the_breaker_counts_what_all_workers_condemned(place: Place) -> None:
    place.settings = place.settings.model_copy(update={"breaker": Breaker(max_removed=len(place.condemned) - 1)})
    report = place.sweep()
    assert report.exit_code is ExitCode.BREAKER and not place.store.removed
    assert place.sweep(resume_acts=True).tally.acted == len(place.condemned)
    place.check_done()


def test_what_a_person_dismissed_meanwhile_is_not_removed(place: Place) -> None:
    place.sweep(dry_run=True)
    (row,) = place.ledger.list_objects(Filters(prefix="0/000"))
    assert row.sha256 is not None
    place.ledger.dismiss(row.sha256, "a person looked")
    place.sweep()
    assert place.store.removed == Counter(place.condemned - {"0/000"})


def test_a_silent_worker_is_named_and_then_given_up(place: Place) -> None:
    over = threading.Event()
    silent: set[Worker] = set()
    lock = threading.Lock()

    def before(worker: Worker, method: str, _arguments: tuple[Any, ...]) -> None:
        with lock:
            if method == "judge" and not silent:
                silent.add(worker)
        if worker in silent:
            over.wait(30)

    place.sweep(ThreadCluster(before=before), replace(SHORT, silent=0.3, dead=0.9))
    over.set()
    assert any("has said nothing for 0 s" in line for line in place.said)
    assert any("lost a worker (it said nothing for" in line for line in place.said)
    place.check_done()


def test_a_part_that_ends_every_worker_ends_the_pass(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedi_safety.app.sweep.driver._LONGEST_PAUSE_S", 0.0)

    def die(worker: Worker, shard: Shard, _number: int) -> None:
        if shard.within.after is None:
            worker.dead.set()

    with pytest.raises(
        SweepError, match=r"8 workers were lost over the objects behind the beginning; .*the process died"
    ):
        place.sweep(ThreadCluster(machines=3, before=judges(die)))
    assert not place.store.removed


def test_without_any_worker_it_does_not_wait_for_ever(place: Place) -> None:
    with pytest.raises(SweepError, match="no worker was ready within 1 s"):
        place.sweep(ThreadCluster(machines=0), replace(SHORT, worker=1))


def test_a_part_is_left_after_so_many_objects_and_goes_on_elsewhere(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedi_safety.app.sweep.parts.Shard", lambda within, **more: Shard(within, **more, most=4))
    monkeypatch.setattr("fedi_safety.app.sweep.driver.Shard", lambda within, **more: Shard(within, **more, most=4))
    cluster = ThreadCluster(before=judges(lambda _worker, shard, _number: seen.append(shard)))
    seen: list[Shard] = []
    report = place.sweep(cluster)
    assert len(seen) > OBJECTS / 4 and report.tally.listed == OBJECTS
    place.check_done()
