"""I5: no conclusion from an empty store: what is not there is gone only where the store is the one that is remembered.

An empty directory stands in the place of a mount, a bucket lists nothing, a directory fails: scan, apply, watch and the
gate's waiting uploads conclude nothing, and go on where they were when it is back. Every kind of store is asked the
same in tests/contract/test_every_store.py, with a real server behind it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedi_safety.app.apply import apply
from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SharedRunLock
from fedi_safety.app.stores import Target
from fedi_safety.config.loading import load_settings
from fedi_safety.core.decide import BreakerLimits, tells_of_gone
from fedi_safety.core.enforcement import Acting
from fedi_safety.core.enums import ActKind, Listing, PlanState, Reason, Verdict
from fedi_safety.core.errors import StoreError
from fedi_safety.core.ledger.census import Census
from fedi_safety.core.ledger.uploads import UploadNote, UploadState
from fedi_safety.core.presence import Presence
from fedi_safety.core.runs import Tally
from fedi_safety.core.types import Object, Outcome, Plan, Unscanned
from fedi_safety.gate.backlog.finder import Finder, StoreSubset
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.reports.facts import Report, warnings
from fedi_safety.stores.local import LocalStore
from fedi_safety.watch.cycles import Shared, StoreWatch
from support.fakes import FakeClock, FakeDecoder, FakeStore, detectors, red_circles
from support.passes import RED, RED_CIRCLE, Bench

BAD = 10


class Mount:
    """A directory with files, whose place an empty one can take."""

    def __init__(self, folder: Path) -> None:
        self.root, self._away = folder / "media", folder / "away"
        self.root.mkdir()
        for number in range(BAD):
            (self.root / f"bad{number}").write_bytes(RED_CIRCLE + b" n=%d" % number)

    def leave(self) -> None:
        self.root.rename(self._away)
        self.root.mkdir()

    def come(self) -> None:
        self.root.rmdir()
        self._away.rename(self.root)

    def add(self, name: str, data: bytes) -> None:
        """Another program stores something while the mount is away from here."""
        (self._away / name).write_bytes(data)

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.root.iterdir()}


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    opened = open_ledger(tmp_path / "ledger.db", clock=FakeClock(time.time()))
    yield opened
    opened.dispose()


def scanned(tmp_path: Path, mount: Mount, *, dry_run: bool, accept_gone: bool = False) -> Bench:
    """Make a pass, and return what it was made with."""
    bench = Bench(tmp_path / "ledger.db", LocalStore(str(mount.root)))
    try:
        bench.tally, _ = bench.scan(dry_run=dry_run, accept_gone=accept_gone)  # type: ignore[attr-defined]
    finally:
        bench.store.close()
        bench.close()
    return bench


def states(ledger: SqlLedger) -> dict[str, tuple[str, PlanState | None]]:
    return {row.key: (row.state, row.act_state) for row in ledger.list_objects()}


PLANNED = {f"bad{number}": ("judged", PlanState.PLANNED) for number in range(BAD)}


# --- an empty directory in the place of a mount


@pytest.mark.parametrize("dry_run", [True, False])
def test_scan(tmp_path: Path, mount: Mount, ledger: SqlLedger, dry_run: bool) -> None:
    scanned(tmp_path, mount, dry_run=True)
    mount.leave()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"not the store that is remembered.*mounted.*--accept-gone"):
            scanned(tmp_path, mount, dry_run=dry_run)
        assert states(ledger) == PLANNED
    mount.come()
    done = scanned(tmp_path, mount, dry_run=False)
    assert (done.tally.already_judged, done.tally.acted, done.tally.gone) == (BAD, BAD, 0)  # type: ignore[attr-defined]
    assert mount.names == set()


@pytest.mark.long
def test_a_first_pass_over_an_empty_store_is_no_dry_run_of_it(tmp_path: Path) -> None:
    from support.program import program

    media = tmp_path / "media"
    media.mkdir()
    done = program("scan", str(media), "--dry-run")
    assert done.code == 0
    assert "is it mounted" in done.err
    (run,) = program("report", "--json").json["runs"]
    assert run["status"] == "empty"
    (media / "a.txt").write_text("now it is mounted")
    told = program("scan", str(media), "--act", "delete").err
    assert "no complete dry run" in told, "what is there now had none yet"


def test_apply(tmp_path: Path, mount: Mount, ledger: SqlLedger) -> None:
    scanned(tmp_path, mount, dry_run=True)
    mount.leave()
    for _ in range(2):
        with pytest.raises(StoreError, match="--accept-gone"):
            applied(mount, ledger)
        assert states(ledger) == PLANNED
        assert ledger.verify().problem is None
    mount.come()
    tally = applied(mount, ledger)
    assert (tally.acted, tally.gone, tally.failed) == (BAD, 0, 0)
    assert mount.names == set()


def test_apply_where_the_root_is_the_same_and_nothing_is_in_it(tmp_path: Path, mount: Mount, ledger: SqlLedger) -> None:
    """As where the mount lies further in: the root tells nothing then."""
    scanned(tmp_path, mount, dry_run=True)
    for path in list(mount.root.iterdir()):
        path.rename(tmp_path / path.name)
    with pytest.raises(StoreError, match="--accept-gone"):
        applied(mount, ledger)
    assert states(ledger) == PLANNED


def test_what_a_killed_run_had_begun_to_remove_is_its_doing(tmp_path: Path, mount: Mount, ledger: SqlLedger) -> None:
    """I3 holds: the next run finishes the work, without a person, though the store is empty then."""
    scanned(tmp_path, mount, dry_run=True)
    run = ledger.begin_run("apply", f"file://{mount.root}", {})
    assert len(ledger.start(run, list(ledger.open_plans(None)))) == BAD
    for path in mount.root.iterdir():
        path.unlink()
    tally = applied(mount, ledger)
    assert (tally.acted, tally.gone) == (BAD, 0)
    assert set(states(ledger).values()) == {("removed", PlanState.GONE)}
    assert ledger.verify().problem is None


def applied(mount: Mount, ledger: SqlLedger):  # type: ignore[no-untyped-def]
    store = LocalStore(str(mount.root))
    try:
        settings = load_settings(breaker={"max_removed_share": 1.0})
        return apply(settings, ledger=ledger, store=store).tally
    finally:
        store.close()


def test_watch(tmp_path: Path, mount: Mount, ledger: SqlLedger) -> None:
    settings = load_settings(act="report")
    engine = Engine(FakeDecoder(), list(detectors()), "fake", 2)
    clock = FakeClock(time.time())
    shared = Shared(ledger, engine, red_circles(), SharedRunLock(ledger), clock)
    watch = StoreWatch(Target("media", str(mount.root), settings), shared)
    assert watch.step() == pytest.approx(30, abs=5)
    url = f"file://{mount.root}"
    before = ledger.watermark(url)
    assert before is not None
    mount.leave()
    for _ in range(3):
        clock.advance(3600)
        watch.step()
        assert watch.health.state == "failing"
        assert "--accept-gone" in (watch.health.error or "")
        assert ledger.watermark(url) == before
    mount.add("meanwhile", RED)
    mount.come()
    clock.advance(10)
    watch.step()
    assert watch.health.state == "ok"
    assert states(ledger)["meanwhile"] == ("judged", None)
    after = ledger.watermark(url)
    assert after is not None and after.high_water > before.high_water
    watch.close()


def test_watch_of_what_was_not_mounted_yet(tmp_path: Path, ledger: SqlLedger) -> None:
    """What comes with the mount may be of any age."""
    import os

    media = tmp_path / "media"
    media.mkdir()
    clock = FakeClock(time.time())
    engine = Engine(FakeDecoder(), list(detectors()), "fake", 2)
    shared = Shared(ledger, engine, red_circles(), SharedRunLock(ledger), clock)
    watch = StoreWatch(Target("media", str(media), load_settings(act="report")), shared)
    watch.step()
    clock.advance(3600)
    watch.step()
    (media / "old").write_bytes(RED)
    os.utime(media / "old", (0, 0))
    clock.advance(3600)
    watch.step()
    assert states(ledger) == {"old": ("judged", None)}
    watch.close()


class Placed:
    """Names a store that is open already, as a configuration would."""

    name, url, local_root = "fake", "fake://store", None

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.settings = load_settings(act="report")

    def open(self) -> FakeStore:
        return self._store


class Later(FakeStore):
    """Lists nothing that was there before `since`."""

    def list(self, prefixes: Sequence[str] = (), since: float | None = None) -> Iterator[Object | Unscanned]:
        return (item for item in super().list(prefixes, since) if since is None or since < 0)


@pytest.mark.parametrize("left", [0, 5])
def test_watch_of_a_store_without_a_root(ledger: SqlLedger, left: int) -> None:
    """A small cycle asks for known objects; a sweep does not believe a listing that is much shorter."""
    store = Later({f"k{number:02}": RED + b" n=%d" % number for number in range(30)})
    clock = FakeClock(time.time())
    engine = Engine(FakeDecoder(), list(detectors()), "fake", 2)
    shared = Shared(ledger, engine, red_circles(), SharedRunLock(ledger), clock)
    watch = StoreWatch(cast(Target, Placed(store)), shared)
    watch.step()
    before, all_of_it = ledger.watermark(store.url), dict(store.objects)
    clock.advance(3600 if not left else 2 * 86_400)
    store.objects = dict(list(all_of_it.items())[:left])
    for _ in range(2):
        watch.step()
        assert watch.health.state == "failing"
        assert "--accept-gone" in (watch.health.error or "")
        assert ledger.watermark(store.url) == before
    store.objects = all_of_it
    watch.step()
    assert watch.health.state == "ok"
    assert ledger.watermark(store.url) != before
    assert {state for state, _ in states(ledger).values()} == {"judged"}
    watch.close()


# --- the gate's waiting uploads


def owe(ledger: SqlLedger, data: bytes) -> None:
    note = UploadNote("u1", ledger.clock.now() - 7200, "me", UploadState.OWED, "deadline", "", sha(data), len(data))
    ledger.record_uploads(ledger.begin_run("gate", "", {}), [], [note])


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def outcome(ledger: SqlLedger, store: str) -> dict[str, int]:
    ledger.tend_uploads(store, "d", 60.0)
    return dict(ledger.upload_figures(ledger.clock.now()).settled)


def test_waiting_uploads_and_a_pass_over_everything(tmp_path: Path, mount: Mount, ledger: SqlLedger) -> None:
    scanned_at = f"file://{mount.root}"
    owe(ledger, b"nowhere")
    mount.leave()  # before anything is known of it
    ledger_scan(ledger, mount)
    assert outcome(ledger, scanned_at) == {}, "an empty store proves nothing"
    mount.come()
    closed = mount.root / "closed"
    closed.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        real = LocalStore._open_dir

        def refuse(self: LocalStore, key: bytes) -> int:
            if key == b"closed/":
                raise PermissionError(13, "Permission denied")
            return real(self, key)

        patch.setattr(LocalStore, "_open_dir", refuse)
        assert ledger_scan(ledger, mount) is Listing.PARTIAL
    assert outcome(ledger, scanned_at) == {}, "it may lie in the directory that failed"
    assert ledger_scan(ledger, mount) is Listing.COMPLETE
    assert outcome(ledger, scanned_at) == {"not found": 1}


def ledger_scan(ledger: SqlLedger, mount: Mount) -> Listing | None:
    """Make a whole pass as `scan` does, on a ledger that is open already."""
    from fedi_safety.app.scan import scan
    from fedi_safety.core.runs import ScanRequest

    store = LocalStore(str(mount.root))
    engine = Engine(FakeDecoder(), list(detectors()), "fake", 2)
    request = ScanRequest(store.url, act=None)
    try:
        return scan(
            load_settings(),
            request,
            ledger=ledger,
            store=store,
            engine=engine,
            policy=red_circles(),
            clock=ledger.clock,
        ).listing
    finally:
        store.close()


@pytest.mark.parametrize("known", [True, False])
def test_waiting_uploads_and_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    store = FakeStore({"old": RED} if known else {})
    bench = Bench(tmp_path / "ledger.db", store)
    bench.scan(dry_run=True)
    finder = Finder(Target("fake", "fake://store", load_settings()))
    monkeypatch.setattr(finder, "open", lambda: store)
    store.objects.clear()
    assert not finder.is_itself(bench.ledger)
    store.put("another", RED + b" 2")
    assert finder.is_itself(bench.ledger) is not known, "another store, if some of its objects are known"
    store.put("old", RED)
    assert finder.is_itself(bench.ledger)
    bench.close()


# --- any store: a listing that is empty, or much shorter


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = FakeStore({f"k{number:02}": RED + b" n=%d" % number for number in range(30)})
    made = Bench(tmp_path / "ledger.db", store)
    made.scan(dry_run=True)
    yield made
    made.close()


def test_another_store_in_its_place_is_none_of_ours(bench: Bench) -> None:
    store = cast(FakeStore, bench.store)
    before = store.objects
    store.objects = {f"other{number}": RED for number in range(100)}
    with pytest.raises(StoreError, match="none of the 30 objects"):
        bench.scan(dry_run=True)
    assert [row.state for row in bench.rows(prefix="k")] == ["judged"] * 30
    store.objects = before
    assert bench.scan(dry_run=True)[0].already_judged == 30


def test_a_much_shorter_listing_trips_the_breaker_until_it_is_confirmed(bench: Bench) -> None:
    store = cast(FakeStore, bench.store)
    store.put("bad", RED_CIRCLE)
    bench.scan(dry_run=True)
    lost = {key: store.objects.pop(key) for key in sorted(store.objects) if key.startswith(("k1", "k2"))}
    for _ in range(2):
        tally, done = bench.scan()
        assert done.tripped is not None and tells_of_gone(done.tripped)
        assert (done.listing, tally.gone, tally.acted) == (Listing.DOUBTED, 0, 0)
        assert bench.ledger.breaker(store.url) == done.tripped
    assert {row.state for row in bench.rows()} == {"judged"}
    tally, done = bench.scan(accept_gone=True)
    assert (done.listing, done.tripped, tally.gone, tally.acted) == (Listing.COMPLETE, None, len(lost), 1)
    assert bench.ledger.breaker(store.url) is None
    assert {row.key for row in bench.rows(state="gone")} == set(lost)
    store.objects |= lost
    tally, _ = bench.scan()
    assert (tally.judged, tally.gone) == (len(lost), 0)
    assert bench.rows(state="gone") == [], "what comes back is present again"
    assert len(bench.ledger.show("k10").judgements) == 1  # type: ignore[union-attr]


def test_resuming_acts_confirms_nothing_that_is_gone(bench: Bench) -> None:
    store = cast(FakeStore, bench.store)
    store.objects = {"k00": store.objects["k00"]}
    _, done = bench.scan(resume_acts=True)
    assert done.tripped is not None
    assert {row.state for row in bench.rows()} == {"judged"}


def test_acts_stop_where_too_much_is_gone(tmp_path: Path) -> None:
    store = FakeStore({f"bad{number:02}": RED_CIRCLE + b" n=%d" % number for number in range(60)} | {"good": RED})
    limits = BreakerLimits(max_removed_share=1.0)
    bench = Bench(tmp_path / "ledger.db", store, limits=limits)
    bench.scan(dry_run=True)
    for number in range(10, 60):
        del store.objects[f"bad{number:02}"]
    settings = load_settings(breaker={"max_removed_share": 1.0})
    report = apply(settings, ledger=bench.ledger, store=store)
    assert report.breaker is not None and tells_of_gone(report.breaker)
    assert report.exit_code == 4
    assert not report.interrupted
    assert report.tally.acted == len(store.removed) == 10
    assert report.tally.gone <= report.tally.acted + 1, "no more is believed than the share"
    assert bench.ledger.breaker(store.url) == report.breaker
    assert apply(settings, ledger=bench.ledger, store=store).exit_code == 4
    report = apply(settings, ledger=bench.ledger, store=store, resume_acts=True)
    assert report.breaker is None
    assert bench.ledger.store_counts(store.url).open_removals == 0
    bench.close()


def test_what_goes_with_an_original_that_was_purged_is_no_loss(tmp_path: Path) -> None:
    """Purging a picture takes its thumbnails along, be they all that the store had."""
    store = FakeStore({f"bad{number:02}": RED_CIRCLE + b" n=%d" % number for number in range(60)})

    class Purging:
        kind = ActKind.PURGE

        def perform(self, plan: Plan) -> Outcome:
            gone = store.remove(plan.object, plan.sha256)
            for key in [key for key in store.objects if key[:4] == plan.object.key[:4]]:
                del store.objects[key]
            return Outcome(plan, gone.state, gone.detail)

    bench = Bench(tmp_path / "ledger.db", store)
    bench.scan(dry_run=True, act=ActKind.PURGE)
    run, tally = bench.ledger.begin_run("apply", store.url, {}), Tally()
    presence = Presence(store, bench.ledger)
    acting = Acting(bench.ledger, {ActKind.PURGE: Purging()}, run, tally, presence=presence, limits=BreakerLimits())
    assert acting.carry_out(bench.ledger.open_plans(store.url))
    assert (tally.acted, tally.gone, acting.tripped, store.objects) == (6, 54, None, {})
    bench.close()


def test_what_an_act_that_failed_has_removed_after_all_is_its_doing(tmp_path: Path) -> None:
    store = FakeStore({"bad": RED_CIRCLE})
    bench = Bench(tmp_path / "ledger.db", store)
    store.refusing = {"bad"}
    assert bench.scan()[0].failed == 1
    store.refusing = set()
    store.objects.clear()
    report = apply(load_settings(), ledger=bench.ledger, store=store)
    assert (report.tally.gone, report.exit_code) == (1, 0)
    bench.close()


def test_a_few_that_are_gone_are_counted_apart_from_what_was_removed(tmp_path: Path) -> None:
    store = FakeStore({f"bad{number}": RED_CIRCLE + b" n=%d" % number for number in range(3)} | {"good": RED})
    bench = Bench(tmp_path / "ledger.db", store, limits=BreakerLimits(max_removed_share=1.0))
    bench.scan(dry_run=True)
    del store.objects["bad1"]
    report = apply(load_settings(), ledger=bench.ledger, store=store)
    assert (report.tally.acted, report.tally.gone, report.tally.failed) == (2, 1, 0)
    assert report.as_json()["gone"] == 1
    figures = bench.ledger.figures(store.url).stores[0]
    assert (figures.removed, figures.gone, figures.present) == (2, 1, 1)
    bench.close()


# --- what is not met any more, in a store that is itself


class WithDirectories(FakeStore):
    """Some of its directories cannot be listed."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(objects)
        self.closed: set[str] = set()

    def list(self, prefixes: Sequence[str] = (), since: float | None = None) -> Iterator[Object | Unscanned]:
        told: set[str] = set()
        for item in super().list(prefixes, since):
            assert isinstance(item, Object)
            hidden = next((closed for closed in self.closed if item.key.startswith(closed)), None)
            if hidden is None:
                yield item
            elif hidden not in told:
                told.add(hidden)
                yield Unscanned(Object(hidden, 0, 0), Reason.UNREADABLE, "directory: Permission denied")


def test_a_directory_that_failed_once_is_no_gap_for_ever(tmp_path: Path) -> None:
    store = WithDirectories({f"{folder}/{n}": RED + b" %d" % n for folder in "ab" for n in range(7)})
    bench = Bench(tmp_path / "ledger.db", store)
    bench.scan()
    store.closed = {"b/"}
    del store.objects["b/6"]
    del store.objects["a/6"]
    tally, done = bench.scan()
    assert (done.listing, tally.gone) == (Listing.PARTIAL, 1), "what lies beneath it is neither met nor gone"
    figures = bench.ledger.figures(store.url).stores[0]
    assert (figures.judged, figures.unscanned.total(), figures.gone) == (13, 1, 1)
    store.closed = set()
    tally, done = bench.scan()
    assert (done.listing, tally.gone) == (Listing.COMPLETE, 2)  # the directory's own row, and b/6
    figures = bench.ledger.figures(store.url).stores[0]
    assert (figures.judged, figures.unscanned.total(), figures.coverage) == (12, 0, 1.0)
    bench.close()


def test_what_was_removed_elsewhere_is_not_condemned_and_still_there(tmp_path: Path) -> None:
    store = FakeStore({"good": RED, "bad": RED_CIRCLE, "worse": RED_CIRCLE + b" 2"})
    bench = Bench(tmp_path / "ledger.db", store)
    bench.scan(dry_run=True)
    del store.objects["bad"]
    bench.scan(dry_run=True)
    assert bench.row("bad").act_state is PlanState.GONE
    assert bench.row("bad").verdict is Verdict.BLOCK, "the judgement stays"
    assert bench.ledger.store_counts(store.url).open_removals == 1
    assert bench.ledger.verify().problem is None
    del store.objects["worse"]
    bench.scan(dry_run=True)
    report = Report(bench.ledger.figures(), bench.ledger.acts_by_store(), 0.0, "")
    assert warnings(report) == []
    store.put("bad", RED_CIRCLE)
    tally, _ = bench.scan()
    assert (tally.planned, tally.acted) == (1, 1), "what comes back is removed"
    bench.close()


def test_the_gates_pass_over_a_few_objects_marks_nothing_gone(bench: Bench) -> None:
    from fedi_safety.app.scan import scan
    from fedi_safety.core.runs import ScanRequest

    store = cast(FakeStore, bench.store)
    few = StoreSubset(store, [store.describe("k03")])
    engine = Engine(FakeDecoder(), list(detectors()), "fake", 2)
    report = scan(
        load_settings(),
        ScanRequest(store.url, act=None),
        ledger=bench.ledger,
        store=few,
        engine=engine,
        policy=red_circles(),
        run=bench.ledger.begin_run("gate", "", {}),
    )
    assert (report.tally.listed, report.tally.gone, report.listing) == (1, 0, None)
    assert {row.state for row in bench.rows()} == {"judged"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("part", ["prefix", "limit", "interrupted", "store down"])
def test_a_pass_over_a_part_marks_nothing_gone(bench: Bench, part: str) -> None:
    store = cast(FakeStore, bench.store)
    del store.objects["k29"]
    if part == "prefix":
        bench.scan(dry_run=True, prefixes=("k2",))
    elif part == "limit":
        bench.scan(dry_run=True, limit=25)
    elif part == "interrupted":
        bench.scan(dry_run=True, on_start=lambda pipeline: pipeline.halt())
    else:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(StoreError):
            patch.setattr(store, "list", half_a_listing)
            bench.scan(dry_run=True)
    assert {row.state for row in bench.rows()} == {"judged"}
    assert bench.scan(dry_run=True)[0].gone == 1


def half_a_listing(_prefixes: Sequence[str] = (), _since: float | None = None) -> Iterator[Object | Unscanned]:
    yield Object("k00", 1, 1)
    raise StoreError("fake://store", "went away")


@given(
    st.integers(0, 3000).flatmap(
        lambda last: st.tuples(st.just(last), st.lists(st.integers(1, last + 100), max_size=200))
    )
)
def test_a_census_knows_each_row_once(drawn: tuple[int, list[int]]) -> None:
    last, rows = drawn
    census = Census("s", last, 10, 10)
    for row in rows:
        census.meet([row] if row % 2 == 0 else [], [row] if row % 2 else [])
    met = {row for row in rows if row <= last}
    assert {row for row in range(1, last + 1) if census.has_met(row)} == met
    assert (census.met, census.adopted_met) == (sum(r % 2 == 0 for r in met), sum(r % 2 for r in met))
