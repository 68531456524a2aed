"""`show` tells what an action learnt of a picture that is gone, such as the aliases that pict-rs has forgotten."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fedi_safety.core.enums import ActKind, MediaType, PlanState, Verdict
from fedi_safety.core.types import Content, Judged, Judgement, Object, Outcome, Receipt, RuleHit, Scores
from fedi_safety.ledger.ledger import open_ledger
from support.fakes import FakeClock
from support.program import program

STORE = "pictrs+http://127.0.0.1:9"
SHA256 = hashlib.sha256(b"a").digest()


def purged(path: Path) -> None:
    """A ledger in which one picture was purged, at the second try."""
    ledger = open_ledger(path, clock=FakeClock())
    run = ledger.begin_run("scan", STORE, {"dry_run": False})
    content = Content(SHA256, 1, MediaType.PNG, 1, 1, 1, Scores({}, {}))
    judgement = Judgement(Verdict.BLOCK, (), (RuleHit("red", Verdict.BLOCK, None, ()),), "p")
    obj = Object("the-key", 1, 2)
    ledger.record(run, STORE, [Judged(obj, content, judgement)])
    plans = ledger.plan(run, STORE, [(obj, SHA256)], ActKind.PURGE)
    ledger.close(run, [Outcome(ledger.start(run, plans)[0], PlanState.FAILED, "down")])
    learnt: Receipt = {"picture": "12", "aliases": ("a.png", "b\n.png"), "origins": ("https://elsewhere.test/x.png",)}
    ledger.close(run, [Outcome(ledger.start(run, plans)[0], PlanState.DONE, "purged", learnt)])
    ledger.dispose()


def test_show_prints_receipts_and_json_has_them_as_data(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    purged(path)
    shown = program("show", "the-key", "--ledger", str(path))
    assert shown.code == 0
    assert shown.out.splitlines()[-4:] == [
        "action 2 of plan 1, done:",
        "    aliases a.png b\\n.png",
        "    origins https://elsewhere.test/x.png",
        "    picture 12",
    ]
    acts = program("show", "the-key", "--ledger", str(path), "--json").json["acts"]
    assert [act["receipt"] for act in acts] == [
        {},
        {"picture": "12", "aliases": ["a.png", "b\n.png"], "origins": ["https://elsewhere.test/x.png"]},
    ]
