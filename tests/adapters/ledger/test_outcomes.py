"""A page that is decided by arithmetic comes to what deciding its contents one by one comes to."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from fedi_safety.app.arithmetic.words import PageOutcomes
from fedi_safety.app.replay import UNDECIDED, Change, Rejudge, preview, preview_ledger, preview_pages
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import MediaType, Verdict
from fedi_safety.core.errors import LedgerError
from fedi_safety.core.frames.scores import ONE_PICTURE, FrameScore, FrameScores
from fedi_safety.core.ledger.stored_scores import ScorePage
from fedi_safety.core.policy import Policy, judge
from fedi_safety.core.policy.rules import ClearingBound, Rule
from fedi_safety.core.testcard import TEST_CARD_SHA256
from fedi_safety.core.types import Content, Judged, Object, Scores, Signal
from fedi_safety.ledger import score_pages
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from support.fakes import FakeClock
from support.file_descriptors import open_descriptors

STORE = "file:///srv/media"
SIGNALS = frozenset("abcd")
CONTENTS = 900
STEPS = (0.0, 0.1, 0.25, 0.3, 0.5, 0.6, 0.9)
SEEDS = [pytest.param(seed, marks=[] if seed < 6 else pytest.mark.long) for seed in range(120)]


def drawn_policy(chance: random.Random) -> Policy:
    """Return a policy with all that rules can say."""
    names = ("one", "two", "three")
    factors = {name: tuple(chance.sample(sorted(SIGNALS), chance.randrange(1, 4))) for name in names}
    agree = {name: 2 for name, signals in factors.items() if len(signals) > 1 and chance.random() < 0.3}
    bounds = {
        name: tuple(
            ClearingBound(chance.choice(STEPS[1:5]), tuple(chance.sample(signals, 1)), chance.random() < 0.5)
            for _ in range(chance.randrange(1, 3))
        )
        for name, signals in factors.items()
        if chance.random() < 0.4
    }
    rules = []
    for number in range(chance.randrange(1, 5)):
        verdict = chance.choice((Verdict.BLOCK, Verdict.BLOCK, Verdict.REVIEW, None))
        when = {name: chance.choice(STEPS[2:]) for name in chance.sample(names, chance.randrange(1, 3))}
        relents = {chance.choice(names): chance.choice(STEPS[2:])} if chance.random() < 0.3 else {}
        across = Verdict.REVIEW if verdict and chance.random() < 0.3 else None
        label = None if verdict else "label"
        rules.append(Rule(f"rule {number}", when, verdict, label, None, across, None, relents))
    return Policy("drawn", factors, tuple(rules), bounds, agree=agree)


def drawn_scores(chance: random.Random) -> tuple[int, Scores]:
    """Return scores of a content, some of them not measured, with what is kept of its frames."""
    measured = [name for name in sorted(SIGNALS) if chance.random() < 0.8]
    signals = {name: Signal(chance.choice((chance.choice(STEPS), chance.random()))) for name in measured}
    kind = chance.random()
    if kind < 0.4:
        return 1, Scores(signals, {"d": "1"}, frames=ONE_PICTURE)
    if kind < 0.8:
        return 1, Scores(signals, {"d": "1"}, frames=FrameScores.of((), closed=True))
    if kind < 0.85:
        return 3, Scores(signals, {"d": "1"}, frames=None)
    rows = [
        FrameScore(i, i, 0, None, "", {name: chance.choice((value.value, 0.0)) for name, value in signals.items()})
        for i in range(2)
    ]
    return 2, Scores(signals, {"d": "1"}, frames=FrameScores.of(rows, closed=chance.random() < 0.5))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlLedger]:
    found = open_ledger(tmp_path_factory.mktemp("outcomes") / "ledger.db", clock=FakeClock())
    chance = random.Random(3)
    run = found.begin_run("scan", STORE, {})
    policy = drawn_policy(chance)
    results = []
    for number in range(CONTENTS):
        frames, scores = drawn_scores(chance)
        digest = TEST_CARD_SHA256 if number == 5 else sha256(str(number).encode()).digest()
        content = Content(digest, 1, MediaType.PNG, 1, 1, frames, scores)
        judgement = judge(policy, scores.signals, scores.frames)
        results += [Judged(Object(f"{number}.{copy}", 1, 1), content, judgement) for copy in range(1 + number % 2)]
    found.record(run, STORE, results)
    yield found
    found.dispose()


def one_by_one(ledger: SqlLedger, rejudge: Rejudge) -> tuple[Counter[tuple[str, str]], Counter[str], int, list[Change]]:
    changes, rules, undecided, changed = Counter[tuple[str, str]](), Counter[str](), 0, list[Change]()
    for page in ledger.score_pages():
        cells = zip(page.cells["sha256"], page.cells["verdict"], page.cells["objects"], strict=True)
        for i, (digest, verdict, count) in enumerate(cells):
            decided = rejudge(digest, page.scores(i))
            then = UNDECIDED if decided is None else decided.verdict.value
            if then != verdict:
                changed.append((digest, verdict, then))
            if decided is None:
                undecided += count
                continue
            changes[verdict, then] += count
            rules.update({hit.rule: count for hit in decided.reasons})
    return changes, rules, undecided, changed


@pytest.mark.parametrize("seed", SEEDS)
def test_a_preview_is_what_deciding_one_by_one_comes_to(ledger: SqlLedger, seed: int) -> None:
    chance = random.Random(seed)
    rejudge = Rejudge(drawn_policy(chance), SIGNALS, cascade=chance.random() < 0.7)
    changed: list[Change] = []
    found = preview(rejudge, ledger.score_pages(), changed.extend)
    assert (found.changes, found.rules, found.undecided, changed) == one_by_one(ledger, rejudge)
    assert found.objects == CONTENTS * 3 // 2
    assert preview(rejudge, ledger.score_pages(named=False)) == found, "nobody's name has to do with it"


def test_what_is_not_named_says_which_is_the_test_card(ledger: SqlLedger) -> None:
    (page,) = ledger.score_pages(named=False)
    assert [bytes(digest) for digest in page.cells["sha256"]].count(b"") == CONTENTS - 1
    (whole,) = ledger.score_pages()
    place = whole.cells["sha256"].index(TEST_CARD_SHA256)
    assert page.cells["sha256"].index(TEST_CARD_SHA256) == place and page.cells["sha256"][place] == TEST_CARD_SHA256
    assert whole.cells["sha256"][0] not in page.cells["sha256"]


@pytest.mark.parametrize("named", [True, False])
def test_all_but_the_test_card_is_settled_by_arithmetic(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    rejudge = Rejudge(drawn_policy(random.Random(1)), SIGNALS)
    asked: list[bytes] = []
    own = Rejudge.__call__

    def ask(self: Rejudge, digest: bytes, scores: Scores) -> object:
        asked.append(digest)
        return own(self, digest, scores)

    monkeypatch.setattr(Rejudge, "__call__", ask)
    preview(rejudge, ledger.score_pages(named=named))
    assert asked == [TEST_CARD_SHA256]


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this ledger's pages shared by two processes."""
    monkeypatch.setattr(score_pages, "LOOKED_AT_ROWS", 64)
    monkeypatch.setattr(score_pages, "LEAST_SHARED", 10)
    monkeypatch.setattr(score_pages, "cpu_count", lambda: 2)
    monkeypatch.setattr(threading, "active_count", lambda: 1)  # pytest has some of its own, which hold nothing here


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("fails", [False, True])
def test_a_preview_in_two_processes_is_the_same(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """Also where the other process says nothing: this one does its half then."""
    policy, settings = drawn_policy(random.Random(1)), Settings()
    rejudge, pages = preview_pages(settings, policy, ledger)
    whole = preview(rejudge, pages)
    here: list[int] = []
    own = Rejudge.outcomes

    def outcomes(self: Rejudge, page: ScorePage) -> PageOutcomes:
        here.append(len(page.values))
        return own(self, page)

    monkeypatch.setattr(Rejudge, "outcomes", outcomes)
    if fails:
        monkeypatch.setattr("fedi_safety.service.beside._end_with", lambda _: 1 // 0)  # which the copy alone asks for
    found = preview_ledger(settings, policy, ledger)
    assert found == whole and found.objects == CONTENTS * 3 // 2
    assert sum(here) == CONTENTS if fails else 0 < sum(here) < CONTENTS


@pytest.mark.usefixtures("shared")
def test_each_share_has_other_contents(ledger: SqlLedger) -> None:
    shares = [
        [digest for page in ledger.score_pages(share=(n, 3)) for digest in page.cells["sha256"]] for n in range(3)
    ]
    assert sorted(digest for share in shares for digest in share) == sorted(
        digest for page in ledger.score_pages() for digest in page.cells["sha256"]
    )
    assert all(len(share) > CONTENTS // 4 for share in shares)


@pytest.mark.usefixtures("shared")
def test_no_connection_is_open_when_the_process_is_copied(ledger: SqlLedger) -> None:
    """Of SQLite's locks on a file a copy has none, though it seems to."""
    assert ledger.score_shares() == 2
    file = Path(str(ledger.database.opened_by)).resolve()
    assert str(file) not in {target for _, target in open_descriptors()}


def test_a_verdict_that_nobody_gives_ends_a_preview_in_one_line(ledger: SqlLedger) -> None:
    written = "UPDATE contents SET verdict = {} WHERE id = 7"
    with ledger.database.write() as connection:
        connection.exec_driver_sql(written.format("verdict || '?'"))
    with pytest.raises(LedgerError, match="a content has a verdict that is none"):
        list(ledger.score_pages())
    with ledger.database.write() as connection:  # the other tests read it too
        connection.exec_driver_sql(written.format("rtrim(verdict, '?')"))


def test_scores_come_back_as_they_were_given(tmp_path: Path) -> None:
    """Whether values are exact in four bytes or not, and whatever frames, places and lists say."""
    from fedi_safety.core.types import Match

    given = {
        "a": Signal(0.5, 0),
        "b": Signal(0.1, 7, "at 3.5 s"),
        "c": Signal(1.0, 0, "", (Match("list", "entry", 4, "turned"),)),
    }
    ledger = open_ledger(tmp_path / "ledger.db", clock=FakeClock())
    run = ledger.begin_run("scan", STORE, {})
    for number, names in enumerate(("", "a", "ab", "abc", "ac")):
        signals = {name: given[name] for name in names}
        content = Content(sha256(bytes([number])).digest(), 1, MediaType.PNG, 1, 1, 1, Scores(signals, {"d": "1"}))
        ledger.record(run, STORE, [Judged(Object(names, 1, 1), content, judge(drawn_policy(random.Random(1)), {}))])
        ((stored, _, _),) = ledger.contents([content.sha256]).values()
        assert stored.scores.signals == signals
        (row,) = [row for row in ledger.list_objects() if row.key == names]
        assert row.signals == signals
    with pytest.raises(ValueError, match="no number"):
        bad = Content(sha256(b"bad").digest(), 1, MediaType.PNG, 1, 1, 1, Scores({"a": Signal(float("nan"))}, {}))
        ledger.record(run, STORE, [Judged(Object("bad", 1, 1), bad, judge(drawn_policy(random.Random(1)), {}))])
    ledger.dispose()
