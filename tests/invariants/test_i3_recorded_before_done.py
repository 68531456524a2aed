"""I3: every act is planned, committed, done, verified, closed; `kill -9` at any instant loses nothing.

A real run over a real directory is killed at every single step; afterwards disk and ledger must agree, and the next
run must finish the work without a person's help.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fedi_safety.acts.delete import Remove
from fedi_safety.core.enforcement import Acting
from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.runs import Tally
from fedi_safety.stores.local import LocalStore
from support.killing import killed_at
from support.passes import CIRCLE, RED, RED_CIRCLE, Bench
from support.share import Share

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

BAD = 2
HARMLESS = {"red": RED, "circle": CIRCLE, "notes.csv": b"a,b", "sub/corrupt": b"bad corrupt"}


def condemned(bad: int) -> dict[str, bytes]:
    return {f"bad{i}": RED_CIRCLE + b" n=%d" % i for i in range(bad)} | {"sub/bad": RED_CIRCLE}


def fill(media: Path, bad: int = BAD) -> None:
    for name, data in {**condemned(bad), **HARMLESS}.items():
        path = media / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def files(media: Path) -> set[str]:
    return {str(p.relative_to(media)) for p in media.rglob("*") if p.is_file()}


def real_run(folder: Path) -> Tally:
    bench = Bench(folder / "ledger.db", LocalStore(str(folder / "media")))
    tally, _ = bench.scan()
    bench.store.close()
    bench.close()
    return tally


def dry_run(folder: Path) -> None:
    bench = Bench(folder / "ledger.db", LocalStore(str(folder / "media")))
    bench.scan(dry_run=True)
    bench.store.close()
    bench.close()


def apply_run(folder: Path) -> None:
    store = LocalStore(str(folder / "media"))
    bench = Bench(folder / "ledger.db", store)
    run = bench.ledger.begin_run("apply", store.url, {})
    bench.ledger.take_back(run, store.url)
    Acting(bench.ledger, {ActKind.DELETE: Remove(store)}, run, Tally()).carry_out(bench.ledger.open_plans(store.url))
    store.close()
    bench.close()


def check_agreement(folder: Path, bad: int = BAD) -> None:
    """Whatever is gone from the disk has a record that was begun before it went; the chain is whole."""
    if not (folder / "ledger.db").exists():
        assert files(folder / "media") == set(condemned(bad)) | set(HARMLESS)
        return
    bench = Bench(folder / "ledger.db", LocalStore(str(folder / "media")))
    there = files(folder / "media")
    assert set(HARMLESS) <= there
    states = {row.key: row.act_state for row in bench.rows()}
    for key in condemned(bad):
        if key not in there:
            # `gone`: a run before had begun to remove it, was killed, and the next one found it gone.
            assert states[key] in (PlanState.STARTED, PlanState.DONE, PlanState.GONE), (key, states)
        else:
            assert states.get(key) in (None, PlanState.PLANNED, PlanState.STARTED), (key, states)
    assert bench.ledger.verify().problem is None
    bench.store.close()
    bench.close()


def check_finished(folder: Path, bad: int = BAD) -> None:
    bench = Bench(folder / "ledger.db", LocalStore(str(folder / "media")))
    assert files(folder / "media") == set(HARMLESS)
    for row in bench.rows():
        if row.key in condemned(bad):
            assert row.act_state in (PlanState.DONE, PlanState.GONE)
            assert row.state == "removed"
        else:
            assert row.act_state is None
    assert list(bench.ledger.open_plans(None)) == []
    assert bench.ledger.verify().problem is None
    bench.store.close()
    bench.close()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("killed_again", [False, True])
def test_what_killed_runs_removed_is_no_loss_at_which_the_breaker_trips(tmp_path: Path, killed_again: bool) -> None:
    """Not even where it is most of the store, and the run after the first was killed as well."""
    fill(tmp_path / "media", bad := 60)
    dry_run(tmp_path)
    bench = Bench(tmp_path / "ledger.db", store := LocalStore(str(tmp_path / "media")))
    run = bench.ledger.begin_run("scan", store.url, {})
    for plan in bench.ledger.start(run, list(bench.ledger.open_plans(store.url))[:40]):
        (tmp_path / "media" / plan.object.key).unlink()
    if killed_again:
        bench.ledger.take_back(bench.ledger.begin_run("scan", store.url, {}), store.url)
    tally, enforcement = bench.scan()
    assert enforcement.tripped is None
    assert (tally.acted, tally.gone) == (bad + 1, 0)
    store.close()
    bench.close()
    check_finished(tmp_path, bad)


@pytest.mark.long
@pytest.mark.parametrize("how", ["scan", "apply"])
def test_killed_at_every_step_nothing_is_lost_and_the_next_run_finishes(tmp_path: Path, how: str, share: Share) -> None:
    fatal, bad = 0, share.of(BAD, 60)
    while True:
        fatal += 1
        folder = tmp_path / str(fatal)
        (folder / "media").mkdir(parents=True)
        fill(folder / "media", bad)
        if how == "apply":
            dry_run(folder)
        work: Callable[[Path], object] = real_run if how == "scan" else apply_run
        killed = killed_at(fatal, partial(work, folder))
        check_agreement(folder, bad)
        if not killed:
            check_finished(folder, bad)
            break
        work(folder)
        check_finished(folder, bad)
        shutil.rmtree(folder)
    # At least, for each of them: an unlink, an fsync, and the commits of record, plan, start and close, on both sides.
    share.figure(f"{how}: killed at each of {fatal - 1} steps over {bad + 1} condemned files")
    assert fatal - 1 >= 5 * (bad + 1)


@pytest.mark.long
def test_killed_over_and_over_the_work_still_ends(tmp_path: Path) -> None:
    """Each try gets a little further than the one before; every one is killed until nothing is left to do."""
    (tmp_path / "media").mkdir()
    fill(tmp_path / "media")
    tries = 0
    while killed_at(14 + tries, lambda: real_run(tmp_path)):
        tries += 1
        check_agreement(tmp_path)
        assert tries < 100
    check_finished(tmp_path)
    assert tries > 2
