"""Contents that meet lists, in the ledger: found by what their scores name, decided anew, vouched for by the chain."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from fedi_safety.core.enums import ActKind, MediaType, Verdict
from fedi_safety.core.ledger.matches import ListHits, Rematch
from fedi_safety.core.types import Content, FactorHit, Judged, Judgement, Match, Object, RuleHit, Scores, Signal
from fedi_safety.ledger.ledger import SqlLedger
from support.ledgers import Opener

STORE = "file:///srv/media"
MATCH = Match("theirs", "4711", 6)
HIT = Signal(1.0, 0, "", (MATCH,))
RULE = RuleHit("known image", Verdict.BLOCK, None, (FactorHit("known", 1.0, 1.0, "known.block", 0, "", (MATCH,)),))
BLOCK = Judgement(Verdict.BLOCK, (), (RULE,), "p")
CLEAR = Judgement(Verdict.CLEAR, (), (), "p")
PLAIN = Scores({"a": Signal(0.1), "known.block": Signal(0.0)}, {"d": "1"})
HITTING = Scores({"a": Signal(0.1), "known.block": HIT}, {"d": "1"})


@pytest.fixture
def ledger(opener: Opener) -> SqlLedger:
    return opener()


def sha(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def record(ledger: SqlLedger, key: str, scores: Scores, judgement: Judgement) -> Object:
    obj = Object(key, 9, 1)
    content = Content(sha(key), 9, MediaType.PNG, 640, 480, 1, scores)
    ledger.record(ledger.begin_run("scan", STORE, {}), STORE, [Judged(obj, content, judgement)])
    return obj


def standing(ledger: SqlLedger, key: str) -> tuple[Scores, Judgement, bool]:
    content, judgement, decided = ledger.contents([sha(key)])[sha(key)]
    return content.scores, judgement, decided


def test_what_a_new_entry_meets_is_condemned_and_vouched_for(ledger: SqlLedger) -> None:
    record(ledger, "a", PLAIN, CLEAR)
    record(ledger, "b", PLAIN, CLEAR)
    assert list(ledger.matched()) == []
    ledger.rematch(ledger.begin_run("hashes", "", {}), [Rematch(sha("a"), HITTING, BLOCK)])
    assert list(ledger.numbered(list(ledger.matched())).values()) == [sha("a")]
    scores, judgement, decided = standing(ledger, "a")
    assert (scores.signals["known.block"], judgement, decided) == (HIT, BLOCK, True)
    assert [(url, obj, content) for url, obj, content in ledger.objects_of([sha("a"), sha("c")])] == [
        (STORE, Object("a", 9, 1), sha("a"))
    ]
    assert ledger.verify().problem is None


def test_a_hit_that_went_away_closes_the_plans(ledger: SqlLedger) -> None:
    obj = record(ledger, "a", HITTING, BLOCK)
    run = ledger.begin_run("scan", STORE, {})
    assert ledger.plan(run, STORE, [(obj, sha("a"))], ActKind.DELETE)
    ledger.rematch(run, [Rematch(sha("a"), PLAIN, CLEAR)])
    assert list(ledger.open_plans(STORE)) == []
    assert standing(ledger, "a") == (PLAIN, CLEAR, True)
    assert ledger.verify().problem is None


def test_what_scores_do_not_tell_stands_undecided_and_no_gone_entry_condemns_it_again(ledger: SqlLedger) -> None:
    obj = record(ledger, "a", HITTING, BLOCK)
    run = ledger.begin_run("scan", STORE, {})
    (plan,) = ledger.plan(run, STORE, [(obj, sha("a"))], ActKind.DELETE)
    ledger.rematch(run, [Rematch(sha("a"), PLAIN, None)])
    scores, judgement, decided = standing(ledger, "a")
    assert (scores, judgement.verdict, decided) == (PLAIN, Verdict.BLOCK, False)
    assert ledger.start(run, [plan]) == []
    assert ledger.verify().problem is None


def test_a_dismissed_content_stays_clear(ledger: SqlLedger) -> None:
    record(ledger, "a", PLAIN, CLEAR)
    ledger.dismiss(sha("a"), "a cat")
    ledger.rematch(ledger.begin_run("hashes", "", {}), [Rematch(sha("a"), HITTING, BLOCK)])
    assert standing(ledger, "a")[1].verdict is Verdict.CLEAR
    assert list(ledger.dismissals()) == [sha("a")]
    assert ledger.hits_by_list() == {"theirs": ListHits(1, 0, 1)}
    assert ledger.verify().problem is None
    ledger.restore(sha("a"))
    assert list(ledger.dismissals()) == []


def test_hits_count_once_for_each_list(ledger: SqlLedger) -> None:
    other = replace(HIT, matches=(MATCH, Match("theirs", "4712"), Match("ours", 'a "[[" b')))
    record(ledger, "a", replace(HITTING, signals={"known.block": other, "known.match": other}), BLOCK)
    record(ledger, "b", HITTING, BLOCK)
    ledger.confirm(sha("b"), "me", "seen")
    assert ledger.hits_by_list() == {"theirs": ListHits(2, 1, 0), "ours": ListHits(1, 0, 0)}


@pytest.mark.parametrize("name", ["matched", "hits_by_list", "cleared"])
def test_what_met_a_list_is_found_without_a_look_at_what_did_not(ledger: SqlLedger, name: str) -> None:
    """Reports and metrics ask for it; ten million contents that met nothing must cost them nothing."""
    record(ledger, "a", HITTING, BLOCK)
    record(ledger, "b", PLAIN, CLEAR)
    asked: list[tuple[str, Any]] = []
    engine = ledger.database.engine  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, *told: asked.append(told[:2]))
    found = getattr(ledger, name)()
    dict(found) if name == "hits_by_list" else list(found)
    scans = [told for told in asked if "contents.signals LIKE" in told[0]]
    assert scans
    with ledger.database.read() as connection:
        explain = "EXPLAIN QUERY PLAN"
        if connection.dialect.name == "postgresql":
            explain = "EXPLAIN"
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # a table of two rows is read whole
        for statement, values in scans:
            plan = connection.exec_driver_sql(f"{explain} {statement}", values).all()
            assert any("ix_contents_matched" in row[-1] for row in plan), (statement, plan)
