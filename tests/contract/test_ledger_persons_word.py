"""What was sent to review is condemned by a person's word: it stands above every policy, and is taken back by a person.

A dismissal, which is a person's no, wins over it; `test_ledger` has what becomes of that.
"""

from __future__ import annotations

import hashlib

import pytest

from fedi_safety.core.enums import ActKind, MediaType, PlanState, Verdict
from fedi_safety.core.errors import LedgerError
from fedi_safety.core.ledger.matches import Rematch
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.ledger.removals import Removal
from fedi_safety.core.policy import CONDEMNED_RULE, by_a_person
from fedi_safety.core.types import Content, FactorHit, Judged, Judgement, Object, Outcome, RuleHit, Scores, Signal
from support.fakes import FakeClock
from support.ledgers import Opener

STORE = "file:///srv/media"
OLD, NEW = "test@1", "test@2"
A = hashlib.sha256(b"a").digest()
OBJECT = Object("a", 9, 1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_800_000_000.0)


@pytest.fixture
def ledger(opener: Opener, clock: FakeClock) -> WholeLedger:
    return opener(clock=clock)


@pytest.fixture
def run(ledger: WholeLedger) -> int:
    return ledger.begin_run("scan", STORE, {"dry_run": False})


def judged(verdict: Verdict, policy: str = OLD, *, value: float = 0.5, key: str = "a", fresh: bool = True) -> Judged:
    hit = RuleHit("maybe a circle", verdict, "red", (FactorHit("round", 0.5, value, "test.red", 0),))
    judgement = Judgement(verdict, ("red",), () if verdict is Verdict.CLEAR else (hit,), policy)
    content = Content(A, 9, MediaType.PNG, 8, 8, 1, Scores({"test.red": Signal(value)}, {"test": "1"}))
    return Judged(Object(key, 9, 1), content, judgement, fresh)


def standing(ledger: WholeLedger) -> Judgement:
    return ledger.contents([A])[A][1]


def test_what_was_sent_to_review_is_condemned_and_explained(ledger: WholeLedger, run: int) -> None:
    ledger.record(run, STORE, [judged(Verdict.REVIEW)])
    assert (
        ledger.plan(run, STORE, [(OBJECT, A)], ActKind.DELETE)
        and ledger.start(run, list(ledger.open_plans(STORE))) == []
    )
    ledger.confirm(A, "I know it", "ada")
    stands = standing(ledger)
    assert stands.verdict is Verdict.BLOCK and by_a_person(stands)
    assert [(hit.rule, hit.verdict) for hit in stands.reasons] == [
        (CONDEMNED_RULE, Verdict.BLOCK),
        ("maybe a circle", Verdict.REVIEW),
    ]
    plans = ledger.plan(run, STORE, [(OBJECT, A)], ActKind.DELETE)
    assert ledger.start(run, plans) != []
    shown = ledger.show(A)
    assert shown is not None and shown.confirmation is not None and shown.confirmation.by == "ada"
    assert [event.kind for event in shown.events if event.kind in ("confirmed", "judged")][-2:] == [
        "confirmed",
        "judged",
    ]
    assert ledger.verify().problem is None


def test_no_policy_no_scan_and_no_list_takes_it_back(ledger: WholeLedger, run: int) -> None:
    ledger.record(run, STORE, [judged(Verdict.REVIEW)])
    ledger.confirm(A, "", "ada")
    (plan,) = ledger.plan(run, STORE, [(OBJECT, A)], ActKind.DELETE)
    assert ledger.redecide(run, NEW, lambda *_: judged(Verdict.CLEAR, NEW).judgement) == 0
    assert list(ledger.score_pages(NEW)) == []
    for again in (
        judged(Verdict.CLEAR, NEW, value=0.01),
        judged(Verdict.REVIEW, NEW),
        judged(Verdict.CLEAR, NEW, fresh=False),
    ):
        ledger.record(run, STORE, [again])
        assert standing(ledger).verdict is Verdict.BLOCK
    scores = Scores({"test.red": Signal(0.02)}, {"test": "1"})
    ledger.rematch(run, [Rematch(A, scores, judged(Verdict.CLEAR, NEW).judgement)])
    assert by_a_person(standing(ledger)) and ledger.contents([A])[A][0].scores.signals == scores.signals
    ledger.rematch(run, [Rematch(A, scores, None)])
    known = ledger.lookup(STORE, [OBJECT], NEW)[0]
    assert known is not None and (known.verdict, known.settled) == (Verdict.BLOCK, True)
    assert [one.id for one in ledger.open_plans(STORE)] == [plan.id]
    assert ledger.verify().problem is None


def test_it_is_taken_back_and_the_plan_with_it(ledger: WholeLedger, run: int) -> None:
    ledger.record(run, STORE, [judged(Verdict.REVIEW)])
    ledger.confirm(A, "", "ada")
    (plan,) = ledger.plan(run, STORE, [(OBJECT, A)], ActKind.DELETE)
    assert ledger.unconfirm(A, "no, it is a tomato", "bob")
    assert ledger.start(run, [plan]) == [] and list(ledger.open_plans(STORE)) == []
    assert standing(ledger) == judged(Verdict.REVIEW).judgement
    known = ledger.lookup(STORE, [OBJECT], OLD)[0]
    assert known is not None and not known.settled, "the next scan decides it anew"
    shown = ledger.show(A)
    assert shown is not None and shown.confirmation is None
    assert not ledger.unconfirm(A, "", "bob"), "there is nothing left to take back"
    assert ledger.verify().problem is None
    ledger.confirm(A, "it is", "ada")
    assert by_a_person(standing(ledger)) and ledger.verify().problem is None


def test_a_persons_no_wins_over_it(ledger: WholeLedger, run: int) -> None:
    ledger.record(run, STORE, [judged(Verdict.REVIEW)])
    ledger.confirm(A, "", "ada")
    (plan,) = ledger.plan(run, STORE, [(OBJECT, A)], ActKind.DELETE)
    assert ledger.dismiss(A, "a tomato") == 1
    assert ledger.start(run, [plan]) == [] and standing(ledger).verdict is Verdict.CLEAR
    assert standing(ledger).policy == OLD, "a dismissal is no person's condemnation"
    ledger.restore(A)
    assert standing(ledger) == judged(Verdict.REVIEW).judgement, "the word that was dismissed does not come back"
    assert ledger.verify().problem is None
    ledger.dismiss(A, "still one")
    assert ledger.verify().problem is None, "what took a word back once is not changed by another"


def test_it_counts_as_confirmed_where_removals_are_shared(ledger: WholeLedger, run: int, clock: FakeClock) -> None:
    ledger.record(run, STORE, [judged(Verdict.REVIEW)])
    ledger.confirm(A, "", "ada")
    plans = ledger.start(run, ledger.plan(run, STORE, [(OBJECT, A)], ActKind.DELETE))
    ledger.close(run, [Outcome(plan, PlanState.DONE) for plan in plans])
    assert list(ledger.removals()) == [Removal(A, clock.now(), clock.now())]


def test_a_second_word_says_nothing_new_and_what_is_clear_is_not_confirmed(ledger: WholeLedger, run: int) -> None:
    ledger.record(run, STORE, [judged(Verdict.REVIEW)])
    ledger.confirm(A, "", "ada")
    ledger.confirm(A, "", "bob")
    shown = ledger.show(A)
    assert shown is not None and len(shown.judgements) == 2 and len(shown.judgements[-1].judgement.reasons) == 2
    assert ledger.verify().problem is None
    ledger.unconfirm(A, "", "bob")
    ledger.record(run, STORE, [judged(Verdict.CLEAR)])
    with pytest.raises(LedgerError, match="is not condemned, nor sent to review"):
        ledger.confirm(A, "", "ada")
