"""I3: what `apply` names before it asks is what it removes: nothing that a person, or a newer judgement, took out."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fedi_safety.app.apply import apply, removables
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import Verdict
from fedi_safety.core.types import Judgement, Scores
from support.fakes import FakeStore
from support.passes import RED_CIRCLE, Bench


def test_dismissed_cleared_and_undecided_are_neither_named_nor_removed(tmp_path: Path) -> None:
    names = ("bad", "begun", "dismissed", "cleared", "undecided", "worse")
    objects = {name: RED_CIRCLE + f" {name}".encode() for name in names}
    digests = {hashlib.sha256(data).digest(): name for name, data in objects.items()}
    store = FakeStore(dict(objects))
    bench = Bench(tmp_path / "ledger.db", store)
    bench.scan(dry_run=True)
    assert {each.plan.object.key for each in removables(bench.ledger, store.url)} == set(objects)
    # A run began to remove it and was killed: its plan is closed by nobody else.
    killed = bench.ledger.begin_run("scan", store.url, {})
    bench.ledger.start(killed, [plan for plan in bench.ledger.open_plans(store.url) if plan.object.key == "begun"])
    bench.ledger.dismiss(hashlib.sha256(objects["dismissed"]).digest(), "a tomato")

    def again(sha256: bytes, _scores: Scores) -> Judgement | None:
        """A newer policy: two are clear by it, one has to be read again, the others are condemned as before."""
        name = digests[sha256]
        if name == "undecided":
            return None
        verdict = Verdict.CLEAR if name in ("begun", "cleared") else Verdict.BLOCK
        return Judgement(verdict, (), bench.ledger.contents([sha256])[sha256][1].reasons, "newer@1")

    bench.ledger.redecide(bench.ledger.begin_run("scan", store.url, {}), "newer@1", again)
    named = list(removables(bench.ledger, store.url))
    assert {each.plan.object.key for each in named} == {"bad", "worse"}
    assert {each.rules for each in named} == {("red circle",)}
    report = apply(Settings(act="delete"), ledger=bench.ledger, store=store)
    assert (sorted(store.removed), report.tally.acted) == (["bad", "worse"], 2)
    assert list(removables(bench.ledger, store.url)) == []
    bench.close()
