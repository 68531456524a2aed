"""Whatever is wrong in a stored column, whoever reads it says so in one line, or has no need of it."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fedi_safety.app.replay import Rejudge, preview
from fedi_safety.core.enums import ActKind, MediaType, Verdict
from fedi_safety.core.errors import ExitCode, LedgerError
from fedi_safety.core.frames.scores import ONE_PICTURE, FrameScore, FrameScores
from fedi_safety.core.ledger.matches import Rematch
from fedi_safety.core.ledger.review import QueueFilter, QueueKind
from fedi_safety.core.policy import Policy
from fedi_safety.core.policy.rules import Rule
from fedi_safety.core.types import Content, FactorHit, Judged, Judgement, Match, Object, RuleHit, Scores, Signal
from fedi_safety.ledger.database import open_database
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.ledger.others.copying import copy_into
from support.fakes import FakeClock
from support.program import check_one_line_error, program

STORE = "file:///srv/media"
SIGNALS = frozenset(("a", "b"))
POLICY = Policy("other", {"one": ("a",), "two": ("b",)}, (Rule("high", {"one": 0.6}, Verdict.BLOCK, None),), {})


def _judged(key: str, verdict: Verdict, scores: Scores, frames: int, policy: str = "p") -> Judged:
    reasons: tuple[RuleHit, ...] = ()
    if verdict is not Verdict.CLEAR:
        hit = FactorHit("one", 0.5, scores.signals["a"].value, "a", scores.signals["a"].frame, "", ())
        reasons = (RuleHit("high", verdict, None, (hit,)),)
    content = Content(hashlib.sha256(key.encode()).digest(), 1, MediaType.PNG, 1, 1, frames, scores)
    return Judged(Object(key, 1, 2, "3"), content, Judgement(verdict, (), reasons, policy))


def _items() -> list[Judged]:
    rows = [FrameScore(i, i, 0, None, "", {"a": value, "b": 0.1}) for i, value in enumerate((0.2, 0.9))]
    several = Scores({"a": Signal(0.9, 1), "b": Signal(0.1)}, {"d": "1"}, frames=FrameScores.of(rows))
    one = {"a": Signal(0.7), "b": Signal(0.4)}
    listed = one | {"b": Signal(0.4, matches=(Match("a list", "entry", 3),))}
    return [
        _judged("moving", Verdict.BLOCK, several, 2),
        _judged("still", Verdict.BLOCK, Scores(one, {"d": "1"}, frames=ONE_PICTURE), 1),
        _judged("listed", Verdict.REVIEW, Scores(listed, {"d": "1"}, frames=ONE_PICTURE), 1),
        _judged("fine", Verdict.CLEAR, Scores({"a": Signal(0.1), "b": Signal(0.2)}, {"d": "1"}, frames=ONE_PICTURE), 1),
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that has a value in each column, the history's own among them."""
    path = tmp_path_factory.mktemp("made") / "ledger.db"
    ledger = open_ledger(path, clock=FakeClock())
    run = ledger.begin_run("scan", STORE, {"dry_run": True})
    items = _items()
    ledger.record(run, STORE, items)
    ledger.plan(run, STORE, [(item.object, item.content.sha256) for item in items[:2]], ActKind.DELETE)
    again = _judged("still", Verdict.REVIEW, items[1].content.scores, 1, "q")
    ledger.record(run, STORE, [again])
    ledger.end_run(run, "done", {"listed": 4})
    ledger.dispose()
    return path


DAMAGES = {
    "names of scores": "UPDATE signal_names SET body = 'x'",
    "other names of scores": """UPDATE signal_names SET body = '["a"]'""",
    "no names of scores": "PRAGMA foreign_keys=OFF; UPDATE contents SET names_id = 99",
    "a word for names": "PRAGMA foreign_keys=OFF; UPDATE contents SET names_id = 'x'",
    "scores cut": "UPDATE contents SET scores = substr(scores, 1, 3)",
    "no scores": "UPDATE contents SET scores = x''",
    "scores of a kind that is none": "UPDATE contents SET scores = CAST(x'FF' || substr(scores, 2) AS BLOB)",
    "bytes that are no text": "UPDATE contents SET scores = CAST(x'FF00' AS TEXT)",
    "a word for scores": "UPDATE contents SET scores = 'x'",
    "what signals say beyond": "UPDATE contents SET signals = '{'",
    "what signals say beyond is a list": "UPDATE contents SET signals = '[1]'",
    "shapes of reasons": "UPDATE reason_shapes SET body = '{' || id",
    "other shapes of reasons": """UPDATE reason_shapes SET body = '[{"rule": ' || id || '}]'""",
    "no shape of reasons": "PRAGMA foreign_keys=OFF; UPDATE contents SET shape_id = 99 WHERE shape_id IS NOT NULL",
    "reasons": "UPDATE contents SET shape_id = NULL, reasons = '[{'",
    "reasons of a past verdict": "UPDATE judgements SET reasons = '[{' WHERE reasons <> ''",
    "signals of a past verdict": "UPDATE judgements SET signals = '[1]' WHERE signals <> ''",
    "labels": "UPDATE contents SET labels = '['",
    "verdict": "UPDATE contents SET verdict = 'perhaps'",
    "past verdict": "UPDATE judgements SET verdict = 'perhaps'",
    "detectors": "UPDATE detector_sets SET body = '{'",
    "detectors are a list": "UPDATE detector_sets SET body = '[1]'",
    "frames cut": "UPDATE contents SET frame_scores = substr(frame_scores, 1, 30) WHERE length(frame_scores) > 30",
    "frames cut in their head": "UPDATE contents SET frame_scores = substr(frame_scores, 1, 5) WHERE frames > 1",
    "more frames than there are": (
        "UPDATE contents SET frame_scores = CAST(substr(frame_scores, 1, 1) || x'FFFFFF7F' || substr(frame_scores, 6)"
        " AS BLOB) WHERE frames > 1"
    ),
    "frames of another version": (
        "UPDATE contents SET frame_scores = CAST(x'77' || substr(frame_scores, 2) AS BLOB) WHERE frames > 1"
    ),
    "other names in frames": (
        "UPDATE contents SET frame_scores = CAST(substr(frame_scores, 1, 11) || x'7A' || substr(frame_scores, 13)"
        " AS BLOB) WHERE frames > 1"
    ),
    "what an event says": "UPDATE events SET payload = '{'",
    "what a run was set to": "UPDATE runs SET settings = '{'",
    "what a run came to": "UPDATE runs SET summary = '[1]'",
}


def _preview(ledger: SqlLedger) -> object:
    return preview(Rejudge(POLICY, SIGNALS), ledger.score_pages(), lambda _: None)


def _one_by_one(ledger: SqlLedger) -> object:
    return [page.scores(i) for page in ledger.score_pages() for i in range(len(page))]


def _redecide(ledger: SqlLedger) -> object:
    run = ledger.begin_run("scan", STORE, {})
    rejudge = Rejudge(POLICY, SIGNALS)
    return ledger.redecide(run, POLICY.id, rejudge, outcomes=rejudge.outcomes)


def _rematch(ledger: SqlLedger) -> None:
    run = ledger.begin_run("hashes", STORE, {})
    items = _items()
    ledger.rematch(run, [Rematch(item.content.sha256, item.content.scores, item.judgement) for item in items])


def _again(ledger: SqlLedger) -> None:
    run = ledger.begin_run("scan", STORE, {})
    ledger.record(run, STORE, [_judged(i.object.key, Verdict.CLEAR, i.content.scores, i.content.frames, "r")
                                      for i in _items()])  # fmt: skip


def _copy(ledger: SqlLedger) -> object:
    other = open_database(str(Path(ledger.name).with_name("target.db")))
    try:
        return copy_into(ledger.database, other, lambda *_: None)
    finally:
        other.dispose()


def _every(do: Callable[[SqlLedger, bytes], object]) -> Callable[[SqlLedger], object]:
    return lambda ledger: [do(ledger, item.content.sha256) for item in _items()]


READERS: dict[str, Callable[[SqlLedger], object]] = {
    "preview": _preview,
    "pages": _one_by_one,
    "list": lambda ledger: list(ledger.list_objects()),
    "show": _every(lambda ledger, sha256: ledger.show(sha256)),
    "report": lambda ledger: ledger.figures(),
    "history": lambda ledger: ledger.history(0.0),
    "condemned": lambda ledger: ledger.condemned(None, limit=9),
    "queue": lambda ledger: [ledger.queue(QueueFilter(kind), limit=9) for kind in QueueKind],
    "rules": lambda ledger: [ledger.queue_rules(kind) for kind in QueueKind],
    "queue by score": lambda ledger: ledger.queue(QueueFilter(QueueKind.REVIEW, by_score=True), limit=9),
    "lookup": lambda ledger: ledger.contents([item.content.sha256 for item in _items()]),
    "custody": _every(lambda ledger, sha256: ledger.custody(sha256)),
    "hits": lambda ledger: ledger.hits_by_list(),
    "verify": lambda ledger: ledger.verify(),
    "copy": _copy,
    "redecide": _redecide,
    "rematch": _rematch,
    "record": _again,
    "dismiss": _every(lambda ledger, sha256: ledger.dismiss(sha256, "no")),
}


@pytest.mark.sampled(6)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_column_is_one_line_from_whoever_reads_it(made: Path, tmp_path: Path, damage: str) -> None:
    told = []
    for name, read in READERS.items():
        path = Path(shutil.copy(made, tmp_path / f"{name}.db"))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(DAMAGES[damage])
            assert connection.execute("SELECT changes()").fetchone()[0]
        ledger = open_ledger(path, clock=FakeClock())
        try:
            read(ledger)
        except LedgerError as error:
            assert error.exit_code is ExitCode.OUTSIDE and error.thing == str(path) and error.cause and error.remedy
            told.append(name)
        finally:
            ledger.dispose()
            (tmp_path / "target.db").unlink(missing_ok=True)
    assert told


def test_a_preview_of_damaged_scores_ends_in_one_line(made: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(made, tmp_path / "ledger.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(DAMAGES["scores cut"])
    check_one_line_error(program("policy", "preview", "--ledger", str(path)), 3, str(path), "damaged", "ledger verify")
