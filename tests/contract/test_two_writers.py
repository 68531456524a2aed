"""Two writers, one act: processes without a lock plan, start and close on one ledger, and nothing happens twice.

What keeps them apart is the database alone; the run lock is left out on purpose. Interleavings are seeded.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import Counter
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from fedi_safety.app.ledger import SystemClock
from fedi_safety.core.enums import ActKind, MediaType, PlanState, Verdict
from fedi_safety.core.types import Content, Judged, Judgement, Object, Outcome, RuleHit, Scores
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from support.share import Share

STORE = "fake://store"
COUNT = 40


def judged(number: int) -> Judged:
    sha256 = number.to_bytes(32, "big")
    content = Content(sha256, 1, MediaType.PNG, 1, 1, 1, Scores({}, {}))
    judgement = Judgement(Verdict.BLOCK, (), (RuleHit("red", Verdict.BLOCK, None, ()),), "p@0")
    return Judged(Object(f"k{number:03}", 1, 1), content, judgement)


def opened(path: str | Path) -> SqlLedger:
    return open_ledger(path, clock=SystemClock(), busy_timeout_s=30)


def work(ledger_place: str | Path, barrier: Barrier, seed: int, log: Any) -> None:
    """Plan everything, start what it can get, and act on it; now and then a batch is given back, or dismissed."""
    chance = random.Random(seed)
    ledger = opened(ledger_place)
    run = ledger.begin_run("scan", STORE, {"dry_run": False})
    barrier.wait()
    acted: list[int] = []
    results = [judged(n) for n in range(COUNT)]
    for at in range(0, COUNT, 8):
        part = results[at : at + 8]
        ledger.record(run, STORE, part)
        time.sleep(chance.random() * 0.01)
        plans = ledger.plan(run, STORE, [(r.object, r.content.sha256) for r in part], ActKind.DELETE)
        chance.shuffle(plans)
        while plans:
            size = chance.randint(1, 5)
            group, plans = plans[:size], plans[size:]
            mine = ledger.start(run, group)
            if chance.random() < 0.2:
                ledger.give_back(run, mine)
                continue
            time.sleep(chance.random() * 0.01)
            acted += [int.from_bytes(plan.sha256, "big") for plan in mine]
            ledger.close(run, [Outcome(plan, PlanState.DONE) for plan in mine])
        if chance.random() < 0.3:
            ledger.dismiss(part[0].content.sha256, "no")
    ledger.end_run(run, "done", {})
    ledger.dispose()
    log.put(acted)


@pytest.mark.parametrize("writers", [2, *(pytest.param(many, marks=pytest.mark.long) for many in (3, 5, 8))])
def test_two_writers_one_act(writers: int, ledger_place: str | Path, share: Share) -> None:
    first = opened(ledger_place)
    first.record(first.begin_run("scan", STORE, {}), STORE, [judged(n) for n in range(COUNT)])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fedi_safety.app.ledger", "fedi_safety.ledger.ledger", "pytest", "support.share"])
    barrier, log = context.Barrier(writers), context.Queue()
    seeds = range(share.seed * 1000, share.seed * 1000 + writers)
    processes = [context.Process(target=work, args=(ledger_place, barrier, seed, log)) for seed in seeds]
    for process in processes:
        process.start()
    acted = Counter(number for _ in processes for number in log.get(timeout=120))
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    with first.database.read() as connection:
        open_plans = connection.execute(text("SELECT count(*), count(DISTINCT object_id) FROM plans WHERE open")).one()
        open_acts = connection.execute(text("SELECT count(*) FROM acts WHERE closed_at IS NULL")).scalar_one()
        closed = connection.execute(text("SELECT count(*) FROM acts WHERE outcome = 'done'")).scalar_one()
    assert open_plans[0] == open_plans[1] and open_acts == 0
    assert closed == sum(acted.values()), "every act that was done is in the ledger once, and no other"
    assert first.verify().problem is None
    first.dispose()


def test_two_that_start_the_same_plans_share_them(ledger_place: str | Path) -> None:
    one, other = opened(ledger_place), opened(ledger_place)
    first, second = (ledger.begin_run("scan", STORE, {}) for ledger in (one, other))
    results = [judged(n) for n in range(200)]
    one.record(first, STORE, results)
    wanted = [(r.object, r.content.sha256) for r in results]
    plans = one.plan(first, STORE, wanted, ActKind.DELETE)
    assert [p.id for p in other.plan(second, STORE, wanted, ActKind.DELETE)] == [p.id for p in plans]
    mine = one.start(first, plans)
    assert len(mine) == 200 and other.start(second, plans) == []
    with pytest.raises(ValueError, match=f"not started by run {second}"):
        other.close(second, [Outcome(mine[0], PlanState.DONE)])
    other.give_back(second, mine)
    one.close(first, [Outcome(plan, PlanState.DONE) for plan in mine])
    assert one.verify().problem is None
    one.dispose()
    other.dispose()
