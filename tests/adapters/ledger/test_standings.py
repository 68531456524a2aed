"""How contents stand in the ledger, with the embeddings of one network; and what a learned head makes of kept ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fedi_safety.app.replay import Rejudge, preview
from fedi_safety.concepts import Concept, ConceptSet
from fedi_safety.concepts.learned import Head
from fedi_safety.concepts.rescoring import ConceptRescorer
from fedi_safety.core.enums import MediaType, Verdict
from fedi_safety.core.frames.scores import FrameScores
from fedi_safety.core.ledger.records import Stand
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.testcard import TEST_CARD_SHA256
from fedi_safety.core.types import Content, Embedding, Judged, Judgement, Object, Scores, Signal
from fedi_safety.ledger.embeddings import Keep
from fedi_safety.ledger.ledger import SqlLedger
from support.ledgers import Opener

STORE = "file:///srv/media"
MODEL, OTHER = "net fp32 sha256:aa", "net int8 sha256:bb"
Row = NDArray[np.float32]


def sha(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def unit(*values: float) -> Row:
    row = np.array(values, np.float32)
    row /= np.linalg.norm(row)
    return row


RED, BLUE = unit(1, 0), unit(0, 1)
RULES = (Rule("red", {"red": 0.5}, Verdict.BLOCK),)
POLICY = Policy("p", {"red": ("clip.red",)}, RULES)
SEEN = FrameScores.of([], closed=True)  # no further pass would show more
CONCEPTS = ConceptSet("c", (Concept("red", ("red",), ("blue",), temperature=1.0),))


class Source:
    """The detector `clip` as far as rescoring knows it."""

    def __init__(self, concepts: ConceptSet) -> None:
        self.concepts = concepts
        self.embedding_model = MODEL
        self.version = f"1.0 {MODEL} {concepts.id}"

    def text_embeddings(self) -> Row:
        return np.stack([RED, BLUE])


def judged(key: str, verdict: Verdict, *frames: Row, model: str | None = MODEL, sha256: bytes | None = None) -> Judged:
    """An object that was given this verdict; without a model no embedding of it is kept."""
    made = [] if model is None else [Embedding(i, model, f.astype("<f2").tobytes()) for i, f in enumerate(frames)]
    scores = Scores(
        {"clip.red": Signal(float(verdict is Verdict.BLOCK))}, {"clip": Source(CONCEPTS).version}, tuple(made), SEEN
    )
    content = Content(sha256 or sha(key), 9, MediaType.PNG, 8, 8, len(frames), scores)
    return Judged(Object(key, 9, 1), content, Judgement(verdict, (), (), POLICY.among(frozenset({"clip.red"})).id))


def record(ledger: SqlLedger, items: Sequence[Judged]) -> int:
    run = ledger.begin_run("scan", STORE, {})
    ledger.record(run, STORE, items)
    return run


def names(ledger: SqlLedger, stand: Stand, model: str = MODEL, most: int = 100) -> set[bytes]:
    return {sha256 for sha256, _ in ledger.standings(model, most)[stand].sample}


@pytest.fixture
def ledger(opener: Opener) -> SqlLedger:
    found = opener(keep=Keep.FLOAT16)
    record(
        found,
        [
            judged("false alarm", Verdict.BLOCK, RED),
            judged("doubtful", Verdict.REVIEW, BLUE),
            judged("condemned", Verdict.BLOCK, RED, BLUE),
            judged("clear", Verdict.CLEAR, BLUE),
            judged("clear, by another network", Verdict.CLEAR, BLUE, model=OTHER),
            judged("condemned, and nothing kept", Verdict.BLOCK, RED, model=None),
            judged("card", Verdict.BLOCK, RED, sha256=TEST_CARD_SHA256),
        ],
    )
    found.dismiss(sha("false alarm"), "a bloodhound")
    return found


def test_contents_stand_as_people_and_the_policy_say(ledger: SqlLedger) -> None:
    found = ledger.standings(MODEL, 100)
    assert {s: (f.known, f.kept, [k for k, _ in f.sample]) for s, f in found.items()} == {
        Stand.DISMISSED: (1, 1, [sha("false alarm")]),
        Stand.CONDEMNED: (2, 1, [sha("condemned")]),  # neither what was sent to review nor the test card
        Stand.CLEAR: (2, 1, [sha("clear")]),
    }
    ((_, vectors),) = found[Stand.CONDEMNED].sample
    assert vectors == pytest.approx(np.stack([RED, BLUE]))
    ledger.restore(sha("false alarm"))  # undecided now: it teaches nothing until it was judged again
    assert not names(ledger, Stand.DISMISSED) and sha("false alarm") not in names(ledger, Stand.CONDEMNED)


def test_rows_of_another_network_are_never_mixed_in(ledger: SqlLedger) -> None:
    assert names(ledger, Stand.CLEAR, OTHER) == {sha("clear, by another network")}
    assert not names(ledger, Stand.DISMISSED, OTHER) and not names(ledger, Stand.CONDEMNED, OTHER)
    nothing = ledger.standings("a third one", 100)
    assert [(f.kept, len(f.sample)) for f in nothing.values()] == [(0, 0)] * 3
    assert nothing[Stand.CONDEMNED].known == 2


def test_of_many_a_sample_is_taken_that_is_the_same_every_time(opener: Opener) -> None:
    ledger = opener(keep=Keep.FLOAT16)
    keys = [f"k{i}" for i in range(1200)]  # more than one query's worth
    record(ledger, [judged(key, Verdict.CLEAR, RED) for key in keys])
    found = ledger.standings(MODEL, 700)[Stand.CLEAR]
    assert (found.known, found.kept) == (1200, 1200)
    assert [k for k, _ in found.sample] == sorted(map(sha, keys))[:700]
    assert names(ledger, Stand.CLEAR, most=10) == set(sorted(map(sha, keys))[:10])


def test_a_heads_signal_is_decided_from_what_was_kept(ledger: SqlLedger) -> None:
    """Without opening anything: what looks like the dismissed one is no longer condemned, and goes to review."""
    record(ledger, [judged("like it", Verdict.BLOCK, unit(1, 0.05)), judged("unlike it", Verdict.BLOCK, unit(0.5, 1))])
    head = Head("mine", MODEL, (-20.0, 20.0), 0.0)
    learned = replace(CONCEPTS, heads=(head,))
    factors = {"red": ("clip.red",), "unlike": ("learned.mine",)}
    rules = (Rule("red", {"red": 0.3, "unlike": 0.5}, Verdict.BLOCK), Rule("seen", {"red": 0.3}, Verdict.REVIEW))
    available = frozenset(learned.signals)
    policy = Policy("p", factors, rules).among(available, learned.definitions)
    found = preview(Rejudge(policy, available), ledger.score_pages(rescorer=ConceptRescorer(Source(learned))))
    assert (found.computed, found.undecided) == (6, 1)  # of a condemned one nothing is kept
    assert dict(found.changes) == {
        ("block", "block"): 3,  # unlike it, in one frame at least; and the test card, whose hash condemns it
        ("block", "review"): 1,
        ("clear", "clear"): 2,
        ("review", "clear"): 1,
    }


def test_what_another_head_said_counts_as_not_measured(opener: Opener) -> None:
    """Nothing was kept of it, so that only a scan can say what the new head says of it."""
    ledger = opener(keep=Keep.FLOAT16)
    before, after = (replace(CONCEPTS, heads=(Head("mine", MODEL, (1.0, bias), bias),)) for bias in (0.0, 1.0))
    known = {"clip.red": Signal(0.9), "learned.mine": Signal(1.0)}
    content = Content(sha("x"), 9, MediaType.PNG, 8, 8, 1, Scores(known, {"clip": Source(before).version}, (), SEEN))
    record(ledger, [Judged(Object("x", 9, 1), content, Judgement(Verdict.BLOCK, (), (), "p@1"))])
    factors = {"red": ("clip.red",), "unlike": ("learned.mine",)}
    rules = (Rule("red", {"red": 0.3, "unlike": 0.5}, Verdict.BLOCK), Rule("seen", {"red": 0.3}, Verdict.REVIEW))
    found = []
    for concepts in (before, after):
        available = frozenset(concepts.signals)
        policy = Policy("p", factors, rules).among(available, concepts.definitions)
        said = preview(Rejudge(policy, available), ledger.score_pages(rescorer=ConceptRescorer(Source(concepts))))
        found.append((said.changes["block", "block"], said.undecided))
    assert found == [(1, 0), (0, 1)]
