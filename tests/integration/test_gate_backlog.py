"""What the gate owes: written down before the answer, kept over kills and locked ledgers, and worked off."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.ledger.records import Filters
from fedi_safety.core.ledger.uploads import BacklogEntry, UploadState
from fedi_safety.core.types import Object
from fedi_safety.gate.backlog import backlog as entries
from fedi_safety.gate.backlog import finder
from support.fakes import FakeStore
from support.serving import RED, RED_CIRCLE, Gate, gate


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the ledger as another program would."""
    with closing(sqlite3.connect(path / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


class Kept(FakeStore):
    """Where accepted uploads end, found by their content as a pict-rs finds them."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(objects)
        self.down = False

    def find(self, entry: BacklogEntry) -> tuple[Object, ...]:
        import hashlib

        from fedi_safety.core.errors import StoreError

        if self.down:
            raise StoreError("fake://store", "is down")
        return tuple(
            self.describe(key)
            for key, data in self.objects.items()
            if hashlib.sha256(data).digest() == entry.note.sha256
        )


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """A store that the gate's waiting uploads are found in; nothing is old enough to wait for."""
    store = Kept({})
    monkeypatch.setattr(entries, "_EVERY_S", 0.1)
    monkeypatch.setattr(entries, "_YOUNG_S", 0.0)
    monkeypatch.setattr(entries, "_RETRY_FIRST_S", 0.05)
    monkeypatch.setattr(finder.Finder, "open", lambda _self: store)
    monkeypatch.setattr(finder.Finder, "find", lambda _self, entry: store.find(entry))
    return store


def with_store(path: Path, **settings: Any) -> Any:
    (path / "unused").mkdir(exist_ok=True)
    return gate(path, whole={"store": str(path / "unused"), "act": "delete"}, **settings)


def owe(g: Gate, *uploads: bytes) -> None:
    """Have uploads accepted without a verdict; the engine stands still from now on."""
    g.slow.free.clear()
    with ThreadPoolExecutor(len(uploads)) as threads:
        assert {reply.code for reply in threads.map(g.upload, uploads)} == {"deadline"}


# --- written before it is told


def test_a_debt_is_durable_before_the_answer(tmp_path: Path) -> None:
    with gate(tmp_path, deadline_s=20.0, body_s=0.5, busy_timeout_s=30.0, queue=1, jobs=1) as g:
        g.slow.free.clear()
        with ThreadPoolExecutor(60) as threads:
            crowd = [threads.submit(g.upload, b"pic red=0.1 n=%d" % i) for i in range(50)]
            g.wait_for(lambda: sum(one.done() for one in crowd) >= 10)  # so all places are taken
            with locked(tmp_path):
                shed = threads.submit(g.upload, b"pic red=0.2")
                time.sleep(1.2)
                assert not shed.done(), "it was told before it was written"
            assert shed.result().code == "queue_full"
            g.slow.free.set()
            for one in crowd:
                one.result()


def test_while_the_ledger_is_locked_it_is_not_ready_and_the_stated_policy_answers(tmp_path: Path) -> None:
    with gate(tmp_path, deadline_s=2.0, busy_timeout_s=0.1) as g:
        assert g.upload(RED).status == 200
        with locked(tmp_path):
            assert g.upload(RED_CIRCLE).status == 406  # a verdict needs no ledger
            reply = g.upload(b"bad unsupported")
            assert (reply.status, reply.code) == (406, "unrecorded")
            assert (g.get("/readyz").status, g.get("/readyz").code) == (503, "ledger_failing")
            assert g.upload(b"pic red=0.3").status == 200
            assert g.metric("ready") == 0 and g.metric("ledger_failures_total") >= 1
        g.wait_for(lambda: g.get("/readyz").status == 200)
        g.flush()
        assert not g.figures().held and not g.figures().owed
        assert g.figures().judged == 3, "the verdicts that were given meanwhile are remembered"


def test_a_ledger_that_can_be_written_again_is_noticed_without_an_upload(tmp_path: Path) -> None:
    with gate(tmp_path, deadline_s=2.0, busy_timeout_s=0.1) as g:
        with locked(tmp_path):
            assert g.upload(b"bad unsupported").code == "unrecorded"
            assert g.get("/readyz").code == "ledger_failing"
            time.sleep(1.0)
            assert g.get("/readyz").code == "ledger_failing"
        g.wait_for(lambda: g.get("/readyz").status == 200)
        assert g.upload(b"bad unsupported").code == "unsupported"


def test_unrecorded_can_be_accepted_and_is_kept_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with gate(tmp_path, deadline_s=2.0, busy_timeout_s=0.1, unjudged={"unrecorded": "accept"}) as g:
        with locked(tmp_path):
            assert g.upload(b"bad unsupported one").status == 200
            assert g.upload(b"bad unsupported two").status == 200
            g.wait_for(lambda: g.metric("debt_unwritten") == 2)
            assert "it is in memory only" in caplog.text
        g.wait_for(lambda: g.figures().held == {"unsupported": 2})
        assert g.metric("debt_unwritten") == 0


def test_what_memory_held_is_written_at_the_stop(tmp_path: Path) -> None:
    with gate(tmp_path, deadline_s=2.0, busy_timeout_s=0.1, unjudged={"unrecorded": "accept"}) as g:
        with locked(tmp_path):
            assert g.upload(b"bad unsupported").status == 200
        g.stop()
        assert g.figures().held == {"unsupported": 1}


def test_debts_outlive_the_process(tmp_path: Path) -> None:
    with gate(tmp_path, judge_s=1.0) as g:
        g.slow.free.clear()
        assert g.upload(RED).code == "deadline"
        before = g.ledger.untried_entries(UploadState.OWED, 500)
        assert [d.note.reason for d in before] == ["deadline"]
    with gate(tmp_path) as g:
        assert g.figures().owed.total() + g.figures().settled.total() == 1


# --- worked off through a store


def test_a_debt_is_judged_in_the_store_and_removed_by_the_ordinary_act(tmp_path: Path, kept: Kept) -> None:
    data = {f"pic red=0.9 circle=0.9 n={i}".encode(): f"bad/{i}.png" for i in range(3)}
    data |= {b"pic red=0.1 circle=0.9": "good.png"}
    with with_store(tmp_path, judge_s=1.0) as g:
        owe(g, *data)
        assert g.figures().owed == {"deadline": 4}
        g.stop()
    kept.objects = {key: one for one, key in data.items()} | {"other.png": RED_CIRCLE}
    with with_store(tmp_path) as g:
        g.wait_for(lambda: not g.figures().owed)
        g.wait_for(lambda: g.figures().settled == {"removed": 3, "clear": 1})
        assert sorted(kept.objects) == ["good.png", "other.png"], "only what was owed is looked at"
        rows = list(g.ledger.list_objects(Filters()))
        assert {(r.key, r.act, r.act_state) for r in rows if r.key.startswith("bad")} == {
            (f"bad/{i}.png", ActKind.DELETE, PlanState.DONE) for i in range(3)
        }
        assert g.ledger.verify().problem is None


def test_where_nobody_chose_an_act_what_is_condemned_waits_for_a_person(
    tmp_path: Path, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "unused").mkdir()
    kept.put("x.png", RED_CIRCLE)
    with gate(tmp_path, whole={"store": str(tmp_path / "unused")}, judge_s=1.0) as g:
        owe(g, RED_CIRCLE)
        g.slow.free.set()
        g.wait_for(lambda: "no action is chosen" in caplog.text)
        g.wait_for(lambda: g.figures().condemned == 1)
        (row,) = [row for row in g.ledger.list_objects(Filters()) if row.key == "x.png"]
        assert (row.act_state, kept.removed) == (PlanState.PLANNED, [])
        # A person chooses one, here or by `apply` or `scan` beside it: from then on it is carried out.
        g.ledger.begin_run("apply", kept.url, {"chosen_act": "delete"})
        g.wait_for(lambda: g.figures().settled == {"removed": 1})
        assert kept.removed == ["x.png"]


def test_what_memory_judged_meanwhile_is_found_and_removed(tmp_path: Path, kept: Kept) -> None:
    with with_store(tmp_path, judge_s=1.0) as g:
        owe(g, RED_CIRCLE)
        g.slow.free.set()
        g.wait_for(lambda: g.figures().condemned == 1)
        kept.put("late.png", RED_CIRCLE)
        g.wait_for(lambda: g.figures().settled == {"removed": 1})
        assert kept.removed == ["late.png"]


@pytest.mark.long
def test_what_is_nowhere_is_given_up_after_a_while(tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    with with_store(tmp_path, judge_s=1.0) as g:
        owe(g, RED_CIRCLE)
        g.stop()
    monkeypatch.setattr(entries, "_GONE_S", 2.0)
    with with_store(tmp_path) as g:
        time.sleep(4)
        assert g.figures().settled == {}, "an empty store proves nothing"
        kept.put("another.png", RED)
        g.wait_for(lambda: g.figures().settled.total() == 1)
        assert set(g.figures().settled) <= {"not found"}


def test_a_store_that_is_down_is_asked_again(tmp_path: Path, kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.down = True
    with with_store(tmp_path, judge_s=1.0) as g:
        owe(g, RED_CIRCLE)
        g.stop()
    kept.put("x.png", RED_CIRCLE)
    with with_store(tmp_path) as g:
        g.wait_for(lambda: "is down" in caplog.text)
        assert g.upload(RED).status == 200
        kept.down = False
        g.wait_for(lambda: kept.removed == ["x.png"])


def test_the_breaker_holds_the_removals_back(tmp_path: Path, kept: Kept) -> None:
    whole = {"store": str(tmp_path / "unused"), "act": "delete", "breaker": {"max_removed": 2}}
    (tmp_path / "unused").mkdir()
    with gate(tmp_path, whole=whole, judge_s=1.0) as g:
        data = [f"pic red=0.9 circle=0.9 n={i}".encode() for i in range(4)]
        owe(g, *data)
        g.stop()
    kept.objects = {f"{i}.png": one for i, one in enumerate(data)}
    with gate(tmp_path, whole=whole) as g:
        g.wait_for(lambda: g.ledger.breaker(kept.url) is not None)
        g.wait_for(lambda: g.figures().condemned == 4)
        assert len(kept.objects) == 4 and not g.figures().settled


def test_another_run_on_the_ledger_settles_what_it_meets(tmp_path: Path, kept: Kept) -> None:
    from support.fakes import FakeClock
    from support.passes import Bench

    with with_store(tmp_path, judge_s=1.0) as g:
        with g.ledger.run_lock():
            kept.objects = {"x.png": RED_CIRCLE, "y.png": b"pic circle=1"}
            owe(g, *kept.objects.values())
            g.slow.free.set()
            g.wait_for(lambda: g.figures().condemned == 1 and g.figures().settled == {"clear": 1})
            time.sleep(0.5)
            assert g.figures().condemned == 1, "the gate makes no pass beside another run"
        g.stop()
    bench = Bench(tmp_path / "ledger.db", kept, clock=FakeClock(time.time()))  # what was settled years ago is forgotten
    bench.scan()
    bench.close()
    assert kept.removed == ["x.png"]
    with gate(tmp_path) as g:
        assert g.figures().settled == {"clear": 1, "removed": 1}


def test_a_complete_scan_settles_what_it_did_not_meet(
    tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedi_safety.ledger.ledger import open_ledger
    from support.fakes import FakeClock

    with with_store(tmp_path, judge_s=1.0) as g:
        owe(g, RED_CIRCLE)
        g.stop()
    clock = FakeClock(time.time() + 300)
    ledger = open_ledger(tmp_path / "ledger.db", clock=clock)
    run = ledger.begin_run("scan", kept.url, {"whole": True, "dry_run": False})
    ledger.end_run(run, "done", {})
    ledger.tend_uploads(kept.url, "x", 60.0)
    assert ledger.upload_figures(clock.now()).settled == {"not found": 1}
    ledger.dispose()


def test_what_this_version_cannot_decode_is_held_until_another_can(tmp_path: Path, kept: Kept) -> None:
    with with_store(tmp_path) as g:
        assert g.upload(b"bad unsupported").status == 200
        assert g.figures().held == {"unsupported": 1} and not g.figures().owed
        assert g.metric("debt_oldest_seconds") == 0, "it is no alert: nothing can be done here"
    with with_store(tmp_path) as g:
        time.sleep(0.5)
        assert g.figures().held == {"unsupported": 1}
        g.ledger.tend_uploads(None, "a newer decoder", 60.0)
        assert g.figures().owed == {"unsupported": 1}


def test_an_old_debt_is_an_alert(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "_EVERY_S", 0.1)
    with gate(tmp_path, judge_s=1.0, alert_s=0.5) as g:
        g.slow.free.clear()
        assert g.upload(RED).code == "deadline"
        time.sleep(0.6)
        g.wait_for(lambda: g.get("/readyz").json["alerts"] == ["debt"])
        assert g.get("/readyz").status == 200 and g.metric("debt_alert") == 1
        g.wait_for(lambda: "1 uploads let in without a verdict are not judged" in caplog.text)
        g.slow.free.set()
        g.wait_for(lambda: g.get("/readyz").json["alerts"] == [])
