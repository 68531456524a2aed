"""What verdicts rest on, in the ledger: kept of what was explained, vouched for, and never another verdict's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from sqlalchemy import text

from fedi_safety.core.enums import MediaType, Verdict
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.types import (
    Content,
    Explanation,
    Finding,
    Found,
    Judged,
    Judgement,
    LeftOut,
    Look,
    Object,
    RuleHit,
    Scores,
    Signal,
)
from fedi_safety.ledger.ledger import SqlLedger
from support.ledgers import Opener

STORE = "file:///srv/media"
FACE = Finding("FACE_MALE", 0.8, 0.1, 0.1, 0.5, 0.5, 212, {"dlib under 18": 0.31}, signals={"face.minor": 0.31})
FOUND = Explanation((Look(0, 0, "", 640, 480),), (Found(("nudenet", "age"), 0, FACE),), (LeftOut("clip", "why"),))
OTHER = replace(FOUND, left_out=())


@pytest.fixture
def ledger(opener: Opener) -> SqlLedger:
    return opener()


def judged(
    verdict: Verdict, found: Explanation | None, *, key: str = "a", value: float = 0.31, policy: str = "p"
) -> Judged:
    scores = Scores({"face.minor": Signal(value)}, {"age": "1"}, explanation=found)
    reasons = () if verdict is Verdict.CLEAR else (RuleHit("r", verdict, None, ()),)
    content = Content(sha(key), 9, MediaType.PNG, 640, 480, 1, scores)
    return Judged(Object(key, 9, 1), content, Judgement(verdict, (), reasons, policy))


def sha(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def record(ledger: WholeLedger, *items: Judged) -> None:
    ledger.record(ledger.begin_run("scan", STORE, {}), STORE, items)


def kept(ledger: WholeLedger, key: str = "a") -> Explanation | None:
    shown = ledger.show(key)
    assert shown is not None and ledger.verify().problem is None
    return shown.explanation


def test_what_was_explained_comes_back_and_what_was_not_takes_no_room(ledger: SqlLedger) -> None:
    record(ledger, judged(Verdict.BLOCK, FOUND), judged(Verdict.CLEAR, None, key="b"))
    record(ledger, judged(Verdict.CLEAR, OTHER, key="near"))
    assert (kept(ledger), kept(ledger, "b"), kept(ledger, "near")) == (FOUND, None, OTHER)
    with ledger.database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM explanations")).scalar_one() == 2


@pytest.mark.parametrize("verdict", [Verdict.BLOCK, Verdict.REVIEW])
def test_a_later_look_that_explains_otherwise_is_a_judgement_of_its_own(ledger: SqlLedger, verdict: Verdict) -> None:
    """Also of what an older version judged, which kept nothing: `scan --recheck all` puts it on record."""
    for found in (None, FOUND, FOUND, OTHER):
        record(ledger, judged(verdict, found))
        assert kept(ledger) == found
    shown = ledger.show("a")
    assert shown is not None and len(shown.judgements) == 3


def test_who_tells_nothing_takes_nothing_back_unless_the_scores_are_others(ledger: SqlLedger) -> None:
    """An older worker's word on the same content; but what explains old scores does not explain new ones."""
    record(ledger, judged(Verdict.BLOCK, FOUND))
    record(ledger, judged(Verdict.BLOCK, None))
    assert kept(ledger) == FOUND
    record(ledger, judged(Verdict.BLOCK, None, value=0.9))
    assert kept(ledger) is None
    record(ledger, judged(Verdict.BLOCK, FOUND))
    record(ledger, judged(Verdict.CLEAR, None, value=0.1))
    assert kept(ledger) is None


def test_a_verdict_from_stored_scores_rests_on_what_was_kept_of_them(ledger: SqlLedger) -> None:
    """What came near to a rule, and a stricter policy condemns; the chain vouches for it from then on."""
    record(ledger, judged(Verdict.CLEAR, FOUND), judged(Verdict.CLEAR, None, key="b"))
    stricter = Judgement(Verdict.BLOCK, (), (RuleHit("r", Verdict.BLOCK, None, ()),), "q")
    ledger.redecide(ledger.begin_run("scan", STORE, {}), "q", lambda *_: stricter)
    assert (kept(ledger), kept(ledger, "b")) == (FOUND, None)
    with ledger.database.write() as connection:
        connection.execute(text("DELETE FROM explanations"))
    assert "explained otherwise" in (ledger.verify().problem or "")


def test_dismissed_and_taken_back_it_is_explained_as_before(ledger: SqlLedger) -> None:
    record(ledger, judged(Verdict.BLOCK, FOUND))
    ledger.dismiss(sha("a"), "a tomato")
    assert kept(ledger) == FOUND
    record(ledger, judged(Verdict.BLOCK, OTHER))
    ledger.restore(sha("a"))
    assert kept(ledger) == OTHER


def test_what_this_version_cannot_read_is_told_as_nothing(ledger: SqlLedger) -> None:
    record(ledger, judged(Verdict.CLEAR, FOUND))
    with ledger.database.write() as connection:
        body = connection.execute(text("SELECT body FROM explanations")).scalar_one()
        newer = json.dumps(json.loads(body) | {"v": 2})
        connection.execute(text("UPDATE explanations SET body = :newer"), {"newer": newer})
    assert kept(ledger) is None
