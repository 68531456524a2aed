"""Listing, showing and counting what the ledger knows, and taking over the predecessor's database."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fedi_safety.core.enums import ActKind, MediaType, PlanState, Reason, Verdict
from fedi_safety.core.errors import LedgerUsageError
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.ledger.records import Filters, Imported
from fedi_safety.core.types import Content, Judged, Judgement, Object, Outcome, RuleHit, Scores, Signal, Unscanned
from support.ledgers import Opener

STORE = "file:///srv/media"
DAY_START = 1_800_000_000.0 // 86400 * 86400  # 2027-01-15


class _Clock:
    time = DAY_START + 100

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def ledger(opener: Opener) -> WholeLedger:
    return opener(clock=_Clock())


def _judged(key: str, verdict: Verdict, value: float, *labels: str) -> Judged:
    digest = hashlib.sha256(key.encode()).digest()
    reasons = () if verdict is Verdict.CLEAR else (RuleHit("red", verdict, None, ()),)
    content = Content(digest, 7, MediaType.PNG, 3, 2, 1, Scores({"red": Signal(value, 4)}, {"test": "1"}))
    return Judged(Object(key, 7, 8), content, Judgement(verdict, labels, reasons, "p"))


@pytest.fixture
def run(ledger: WholeLedger) -> int:
    """Two acts are done or failed, one plan waits, and every kind of object is there."""
    run = ledger.begin_run("scan", STORE, {"dry_run": False})
    blocked = [_judged(key, Verdict.BLOCK, 0.99) for key in ("x/gone", "x/stuck", "y/waiting")]
    other = [_judged("y/fine", Verdict.CLEAR, 0.0), _judged("y/adult", Verdict.CLEAR, 1.0, "nsfw")]
    bad = Unscanned(Object("z/bad", 1, 1), Reason.CORRUPT, "no end")
    ledger.record(run, STORE, [*blocked, *other, _judged("y/maybe", Verdict.REVIEW, 0.5), bad])
    plans = ledger.plan(run, STORE, [(i.object, i.content.sha256) for i in blocked], ActKind.DELETE)
    started = ledger.start(run, plans[:2])
    ledger.close(run, [Outcome(started[0], PlanState.DONE), Outcome(started[1], PlanState.FAILED, "read-only")])
    ledger.end_run(run, "done", {"listed": 7})
    return run


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("filters", "keys"),
    [
        (Filters(), ["x/gone", "x/stuck", "y/waiting", "y/fine", "y/adult", "y/maybe", "z/bad"]),
        (Filters(store="file:///other"), []),
        (Filters(verdict=Verdict.BLOCK), ["x/gone", "x/stuck", "y/waiting"]),
        (Filters(verdict=Verdict.REVIEW), ["y/maybe"]),
        (Filters(state="removed"), ["x/gone"]),
        (Filters(state="judged", verdict=Verdict.BLOCK), ["x/stuck", "y/waiting"]),
        (Filters(label="nsfw"), ["y/adult"]),
        (Filters(label="nsf_"), []),
        (Filters(reason=Reason.CORRUPT), ["z/bad"]),
        (Filters(act=ActKind.DELETE, plan_state=PlanState.FAILED), ["x/stuck"]),
        (Filters(prefix="y/"), ["y/waiting", "y/fine", "y/adult", "y/maybe"]),
        (Filters(sha256=hashlib.sha256(b"y/fine").digest()), ["y/fine"]),
    ],
    ids=str,
)
def test_listing_filters(ledger: WholeLedger, run: int, filters: Filters, keys: list[str]) -> None:
    assert [row.key for row in ledger.list_objects(filters)] == keys


def test_listing_stops_at_the_limit_and_pages_beyond_one_page(ledger: WholeLedger, run: int) -> None:
    many = [Unscanned(Object(f"m/{i:05}", 1, 1), Reason.NOT_MEDIA) for i in range(1300)]
    ledger.record(run, STORE, many)
    wanted = [item.object.key for item in many]
    assert [row.key for row in ledger.list_objects(Filters(prefix="m/"))] == wanted
    assert [row.key for row in ledger.list_objects(Filters(prefix="m/"), 777)] == wanted[:777]


def test_a_row_tells_what_is_known(ledger: WholeLedger, run: int) -> None:
    stuck, bad = (next(ledger.list_objects(Filters(prefix=key))) for key in ("x/stuck", "z/"))
    assert (stuck.verdict, stuck.act, stuck.act_state, stuck.error) == (
        Verdict.BLOCK,
        ActKind.DELETE,
        PlanState.FAILED,
        "read-only",
    )
    assert stuck.signals == {"red": Signal(0.99, 4)} and stuck.reasons[0].rule == "red" and stuck.size == 7
    assert (bad.unscanned, bad.detail, bad.verdict, bad.act) == (Reason.CORRUPT, "no end", None, None)


def test_showing_tells_the_whole_story(ledger: WholeLedger, run: int) -> None:
    ledger.dismiss(hashlib.sha256(b"y/waiting").digest(), "a tomato")
    shown = ledger.show("y/waiting")
    assert shown and shown.dismissal == "a tomato" and shown.detectors == {"test": "1"} and shown.width == 3
    assert [past.judgement.verdict for past in shown.judgements] == [Verdict.BLOCK, Verdict.CLEAR]
    assert shown.judgements[0].signals == {"red": Signal(0.99, 4)}
    assert [plan["state"] for plan in shown.plans] == ["dismissed"]
    assert [event.kind for event in shown.events] == ["judged", "planned", "dismissed", "judged", "plan.closed"]
    gone = ledger.show(hashlib.sha256(b"x/gone").digest())
    assert gone and [act["outcome"] for act in gone.acts] == ["done"] and gone.rows[0].state == "removed"
    unscanned = ledger.show("z/bad", STORE)
    assert unscanned and unscanned.sha256 is None and unscanned.rows[0].unscanned is Reason.CORRUPT
    assert ledger.show("unknown") is None and ledger.show("z/bad", "file:///other") is None


def test_figures_add_up(ledger: WholeLedger, run: int) -> None:
    found = ledger.figures()
    (store,) = found.stores
    assert (store.judged, dict(store.unscanned), store.removed, store.present) == (5, {"corrupt": 1}, 1, 6)
    assert store.coverage == pytest.approx(5 / 6)
    assert dict(store.verdicts) == {"clear": 2, "review": 1, "block": 2} and dict(store.labels) == {"nsfw": 1}
    assert dict(found.plans) == {"done": 1, "failed": 1, "planned": 1} and dict(found.acts) == {"done": 1, "failed": 1}
    assert [entry["summary"] for entry in found.runs] == [{"listed": 7}]
    bins = found.histograms["red"]
    assert (bins[0], bins[10], bins[19], sum(bins)) == (1, 1, 4, 6)
    assert found.judged_by_day == {"2027-01-15": 6} and found.removed_by_day == {"2027-01-15": 1}
    assert ledger.figures(STORE) == found
    assert ledger.figures("file:///other").histograms == {}


# --- the predecessor


@pytest.fixture
def their_database(tmp_path: Path) -> Path:
    path = tmp_path / "lemmy_safety.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TABLE images (id INTEGER PRIMARY KEY, filename TEXT UNIQUE, nsfw BOOLEAN, csam BOOLEAN,"
            " created DATETIME)"
        )
        connection.executemany(
            "INSERT INTO images (filename, nsfw, csam, created) VALUES (?, ?, ?, ?)",
            [
                ("/srv/media/a/bad.webp", 1, 1, "2027-01-15 12:00:00.5"),
                ("b/bad.webp", 0, 1, None),
                ("c/fine.webp", 0, 0, "2027-01-15 12:00:00"),
                ("/srv/media/c/adult.webp", 1, 0, "never"),
                ("failed.webp", None, None, None),
                ("/etc/elsewhere", 0, 1, None),
                ("../climbs", 0, 1, None),
            ],
        )
    return path


def test_condemned_rows_become_history_without_plans(ledger: WholeLedger, their_database: Path) -> None:
    run = ledger.begin_run("import", STORE, {})
    before = their_database.read_bytes()
    found = ledger.import_predecessor(run, their_database, STORE, trust=False)
    assert found == Imported(rows=7, condemned=2, to_judge=2, failures=1, outside=2)
    rows = list(ledger.list_objects(Filters(verdict=Verdict.BLOCK)))
    assert [(row.key, row.state, row.labels) for row in rows] == [
        ("a/bad.webp", "history", ("imported", "nsfw")),
        ("b/bad.webp", "history", ("imported",)),
    ]
    assert rows[0].judged_at == DAY_START + 12 * 3600 + 0.5 and rows[0].size is None
    assert list(ledger.open_plans(None)) == []
    assert ledger.lookup(STORE, [Object("a/bad.webp", 1, 1), Object("c/fine.webp", 1, 1)], "p") == [None, None]
    assert their_database.read_bytes() == before and ledger.verify().problem is None


def test_trusted_rows_count_as_clear_until_they_change(ledger: WholeLedger, their_database: Path) -> None:
    found = ledger.import_predecessor(ledger.begin_run("import", STORE, {}), their_database, STORE, trust=True)
    assert (found.trusted, found.condemned, found.to_judge) == (2, 2, 0)
    for _ in range(2):
        known = ledger.lookup(STORE, [Object("c/fine.webp", 5, 6, "t")], "p")[0]
        assert known and known.verdict is Verdict.CLEAR and known.settled
    assert ledger.lookup(STORE, [Object("c/fine.webp", 5, 7, "t")], "p") == [None]
    row = next(ledger.list_objects(Filters(label="imported", state="judged")))
    assert (row.key, row.verdict, row.size) == ("c/fine.webp", Verdict.CLEAR, 5)


@pytest.mark.parametrize("trust", [True, False])
def test_importing_twice_changes_nothing(ledger: WholeLedger, their_database: Path, trust: bool) -> None:
    run = ledger.begin_run("import", STORE, {})
    ledger.import_predecessor(run, their_database, STORE, trust=trust)
    ledger.record(run, STORE, [_judged("b/bad.webp", Verdict.CLEAR, 0.0)])
    rows, length = list(ledger.list_objects()), ledger.verify().length
    again = ledger.import_predecessor(run, their_database, STORE, trust=trust)
    assert (again.condemned, again.trusted) == (0, 0) and again.already_known == (4 if trust else 2)
    assert list(ledger.list_objects()) == rows and ledger.verify().length == length


@pytest.mark.parametrize("content", [b"", b"not a database " * 100, None])
def test_another_file_is_not_imported(ledger: WholeLedger, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.db"
    if content is None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE images (id INTEGER PRIMARY KEY, filename TEXT)")
    else:
        path.write_bytes(content)
    with pytest.raises(LedgerUsageError, match="is not a predecessor's database; name its"):
        ledger.import_predecessor(ledger.begin_run("import", STORE, {}), path, STORE, trust=False)
    with pytest.raises(LedgerUsageError, match="does not exist"):
        ledger.import_predecessor(1, tmp_path / "none.db", STORE, trust=False)
