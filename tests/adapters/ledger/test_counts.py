"""Kept counters: whatever happens to a ledger they add up; what they find is what reading every row finds."""

from __future__ import annotations

import itertools
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Connection

from fedi_safety.core.enums import ActKind, MediaType, PlanState, Reason, Verdict
from fedi_safety.core.errors import LedgerError
from fedi_safety.core.ledger.records import Filters, Row
from fedi_safety.core.sightings import (
    Certainty,
    Sighting,
    SightingKind,
    SightingWay,
    Source,
    SourceKind,
    Subject,
    TraceRecord,
    TraceState,
)
from fedi_safety.core.types import Content, Judged, Judgement, Object, Outcome, RuleHit, Scores, Signal, Unscanned
from fedi_safety.ledger import migrate, schema
from fedi_safety.ledger.compact import conversion
from fedi_safety.ledger.compact.vocabulary import Vocabulary
from fedi_safety.ledger.counts import groups, spans, upkeep
from fedi_safety.ledger.database.sqlite import SqliteDatabase
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.ledger.reading import candidates
from fedi_safety.ledger.reading.reader import open_plain
from fedi_safety.ledger.reading.through import Through
from support.fakes import FakeClock
from support.ledgers import make_older

STORES = ("file:///srv/media", "s3://media/pictures")
BEFORE = "0023"
"""The last revision without counters."""

_VERSIONS = Path(migrate.__file__).parent / "migrations" / "versions"
REVISIONS = sorted(name for file in _VERSIONS.glob("v*.py") if (name := file.name[1:5]) < schema.REVISION)


class Life:
    """What happens to a ledger, drawn by chance and the same every time."""

    def __init__(self, ledger: SqlLedger, clock: FakeClock, seed: int) -> None:
        self.ledger, self.clock, self.chance = ledger, clock, random.Random(seed)
        self.runs = {url: ledger.begin_run("scan", url, {"dry_run": False}) for url in STORES}
        self.contents: dict[str, bytes] = {}
        self.tracing = random.Random(seed)

    def step(self) -> str:
        """Let one thing happen; return which."""
        self.clock.advance(self.chance.choice((1.0, 40_000.0)))
        does = self.chance.choice(
            (self.record, self.record, self.record, self.plan, self.act, self.dismiss, self.redecide, self.gone)
        )
        does(self.chance.choice(STORES))
        if self.tracing.random() < 0.4:
            self.trace(self.tracing.choice(STORES))
        return does.__name__

    def record(self, store: str) -> None:
        results: list[Judged | Unscanned] = []
        for _ in range(self.chance.randrange(1, 9)):
            number = self.chance.randrange(40)
            found = Object(f"{number % 4}/{number:03}.png", 5, self.chance.randrange(3))
            if self.chance.random() < 0.3:
                reason = self.chance.choice((Reason.CORRUPT, Reason.FETCH_FAILED, Reason.NOT_MEDIA))
                known = self.contents.get(found.key)
                results.append(Unscanned(found, reason, "no", self.chance.choice((None, known))))
                continue
            content, judgement = self.judged()
            self.contents[found.key] = content.sha256
            stored = self.ledger.contents([content.sha256]).get(content.sha256)
            if stored is not None and self.chance.random() < 0.3:  # judged before, read from the ledger
                results.append(Judged(found, stored[0], judgement, fresh=False))
            else:
                results.append(Judged(found, content, judgement))
        self.ledger.record(self.runs[store], store, results)

    def judged(self) -> tuple[Content, Judgement]:
        digest = sha256(bytes([self.chance.randrange(25)])).digest()
        verdict = self.chance.choice(list(Verdict))
        labels = self.chance.choice(((), ("nsfw",), ("nsfw", "drawn")))
        reasons = () if verdict is Verdict.CLEAR and not labels else (RuleHit("red", verdict, None, ()),)
        partly = self.chance.choice((None, None, "a part"))
        scores = Scores({"test.red": Signal(self.chance.random())}, {"test": "1"})
        content = Content(digest, 5, MediaType.PNG, 1, 1, 1, scores, partly, 2 if partly else 0)
        return content, Judgement(verdict, labels, reasons, self.chance.choice(("p", "q")))

    def plan(self, store: str) -> None:
        rows = self.ledger.list_objects(Filters(store=store, state="judged", verdict=Verdict.BLOCK))
        wanted = [(self.object(row), row.sha256) for row in rows if row.sha256]
        self.ledger.plan(self.runs[store], store, wanted[:5], self.chance.choice(list(ActKind)))

    def object(self, row: Row) -> Object:
        with closing(sqlite3.connect(self.ledger.name)) as connection:
            query = "SELECT size, mtime_ns FROM objects WHERE key = ? ORDER BY store_id"
            (found, *_) = connection.execute(query, (row.key.encode(),)).fetchall()
        return Object(row.key, *found)

    def act(self, store: str) -> None:
        self.plan(store)
        run = self.runs[store]
        started = self.ledger.start(run, list(self.ledger.open_plans(store))[:4])
        states = (PlanState.DONE, PlanState.GONE, PlanState.CHANGED, PlanState.FAILED)
        ended = [Outcome(plan, self.chance.choice(states)) for plan in started if self.chance.random() < 0.8]
        self.ledger.close(run, ended)
        if self.chance.random() < 0.5:
            self.ledger.take_back(run, store)

    def dismiss(self, _store: str) -> None:
        known = [row.sha256 for row in self.ledger.list_objects() if row.sha256 and row.verdict]
        if known:
            digest = self.chance.choice(known)
            if not self.ledger.dismiss(digest, "a tomato"):
                self.ledger.restore(digest)

    def redecide(self, store: str) -> None:
        verdict = self.chance.choice(list(Verdict))
        said = Judgement(verdict, ("again",), (RuleHit("red", verdict, None, ()),), f"p{self.chance.random()}")
        self.ledger.redecide(self.runs[store], said.policy, lambda digest, _: said if digest[0] % 2 else None)

    def trace(self, store: str) -> None:
        """Find people and instances, also of what nobody judged yet, and of people the id alone at first."""
        chance, digest = self.tracing, sha256(bytes([self.tracing.randrange(25)])).digest()
        subject = Subject(chance.choice((store, store, None)), "a key", digest)
        found = []
        for _ in range(chance.randrange(4)):
            person = chance.randrange(4)
            named = chance.choice((None, f"@{person}", f"@{person} again"))
            person_id = chance.choice((None, f"id {person}"))
            host, local = chance.choice((None, "a.example", "b.example")), chance.choice((None, True, False))
            sure, at = chance.choice(list(Certainty)), self.clock.now()
            cells = (sure, None, named, host, local, at, None, None, person_id)
            found.append(Sighting(SightingKind.POST, SightingWay.DATABASE, *cells))
        state = TraceState.FOUND if found else TraceState.FAILED
        at = self.clock.now() - chance.choice((0.0, 0.0, 90_000.0))  # another machine's clock
        self.ledger.record_traces(self.runs[store], [TraceRecord(subject, "server", at, state, "", tuple(found))])

    def gone(self, store: str) -> None:
        census = self.ledger.census(store)
        there = [Object(f"{n % 4}/{n:03}.png", 5, 0) for n in range(40) if self.chance.random() < 0.8]
        self.ledger.lookup(store, there, None, census)
        self.ledger.mark_gone(self.runs[store], census)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlLedger]:
    """A ledger to which much has happened."""
    clock = FakeClock()
    ledger = open_ledger(tmp_path_factory.mktemp("lived") / "ledger.db", clock=clock)
    life = Life(ledger, clock, 7)
    for _ in range(60):
        life.step()
    yield ledger
    ledger.dispose()


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_counters_add_up_whatever_happens(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "ROWS", 3)  # so that all is counted in several parts
    clock = FakeClock()
    ledger = open_ledger(tmp_path / "ledger.db", clock=clock)
    life = Life(ledger, clock, seed)
    happened, found = Counter[str](), 0
    for _ in range(60):
        what = life.step()
        happened[what] += 1
        checked = ledger.verify()
        assert (what, checked.problem, checked.miscounted) == (what, None, None)
        found += check_sources(ledger)
    assert len(happened) == 6 and found > 50
    ledger.dispose()


SOURCES = """
WITH named AS (SELECT person_id, max(person) AS person FROM sightings WHERE person_id IS NOT NULL GROUP BY 1),
seen AS (
    SELECT CASE WHEN :by = 'person' THEN coalesce(s.person, n.person, s.person_id) ELSE s.instance END AS name,
        s.local, c.id, t.at
    FROM sightings s JOIN traces t ON t.id = s.trace_id JOIN contents c ON c.sha256 = t.sha256
    LEFT JOIN named n ON n.person_id = s.person_id
    WHERE c.verdict = 'block' AND c.dismissed_at IS NULL AND (:sure = 0 OR s.certainty <> 'possible')
    AND (:store IS NULL OR t.store_id = (SELECT id FROM stores WHERE url = :store))
)
SELECT name, max(local), count(DISTINCT id) AS n, (SELECT count(DISTINCT id) FROM seen WHERE name IS NOT NULL), max(at)
FROM seen WHERE name IS NOT NULL GROUP BY name ORDER BY n DESC, name
"""


def check_sources(ledger: SqlLedger) -> int:
    """Hold the sources that are counted against those that a query over all sightings finds; return how many."""
    of_all = 0
    with closing(sqlite3.connect(ledger.name)) as connection:
        for by, store, sure in itertools.product(SourceKind, (None, *STORES), (False, True)):
            rows = connection.execute(SOURCES, {"by": by.value, "store": store, "sure": sure}).fetchall()
            expected = [Source(name, None if local is None else bool(local), *rest) for name, local, *rest in rows]
            assert ledger.sources(by, store, sure=sure) == expected
            of_all += len(expected)
    return of_all


def test_figures_are_what_the_rows_say(lived: SqlLedger) -> None:
    found = lived.figures(histograms=False)
    acts = lived.acts_by_store()
    for store in found.stores:
        rows = list(lived.list_objects(Filters(store=store.store)))
        judged = [row for row in rows if row.state == "judged"]
        assert store.judged == len(judged) and store.verdicts == Counter(str(row.verdict) for row in judged)
        assert store.labels == Counter(label for row in judged for label in row.labels)
        assert store.unscanned == Counter(str(row.unscanned) for row in rows if row.unscanned)
        assert store.skipped == Counter(str(row.skipped) for row in rows if row.skipped)
        assert store.partly == sum(row.partly is not None for row in judged)
        assert (store.removed, store.gone) == tuple(sum(r.state == s for r in rows) for s in ("removed", "gone"))
        counts = lived.store_counts(store.store)
        assert (counts.judged, counts.unscanned) == (store.judged, store.unscanned.total())
        assert counts.open_removals == acts[store.store].open_plans == len(list(lived.open_plans(store.store)))
        alone = lived.figures(store.store, histograms=False)
        assert alone.stores == [store]
    with closing(sqlite3.connect(lived.name)) as connection:
        days = "SELECT date(judged_at, 'unixepoch'), count(*) FROM objects WHERE judged_at IS NOT NULL GROUP BY 1"
        assert found.judged_by_day == dict(connection.execute(days))
        days = "SELECT date(closed_at, 'unixepoch'), count(*) FROM acts WHERE outcome = 'done' GROUP BY 1"
        assert found.removed_by_day == dict(connection.execute(days)) and found.removed_by_day
        assert found.plans == dict(connection.execute("SELECT state, count(*) FROM plans GROUP BY state"))
        ended = "SELECT coalesce(outcome, 'open'), count(*) FROM acts GROUP BY 1"
        assert found.acts == dict(connection.execute(ended))


_ASKED: dict[str, tuple[Filters, Callable[[Row], bool]]] = {
    "all": (Filters(), lambda _: True),
    "block": (Filters(verdict=Verdict.BLOCK), lambda r: r.verdict is Verdict.BLOCK),
    "clear": (Filters(verdict=Verdict.CLEAR), lambda r: r.verdict is Verdict.CLEAR),
    "store": (Filters(store=STORES[1]), lambda r: r.store == STORES[1]),
    "no such store": (Filters(store="file:///nowhere"), lambda _: False),
    "removed": (Filters(state="removed"), lambda r: r.state == "removed"),
    "gone": (Filters(state="gone"), lambda r: r.state == "gone"),
    "judged": (Filters(state="judged"), lambda r: r.state == "judged"),
    "unscanned": (Filters(state="unscanned"), lambda r: r.state == "unscanned"),
    "skipped": (Filters(state="skipped"), lambda r: r.state == "skipped"),
    "reason": (Filters(reason=Reason.CORRUPT), lambda r: r.unscanned is Reason.CORRUPT),
    "label": (Filters(label="nsfw", state="judged"), lambda r: "nsfw" in r.labels and r.state == "judged"),
    "no such label": (Filters(label="none"), lambda _: False),
    "partly": (Filters(partly=True), lambda r: r.partly is not None and r.state == "judged"),
    "prefix": (Filters(prefix="2/"), lambda r: r.key.startswith("2/")),
    "prefix of a store": (
        Filters(prefix="2/0", store=STORES[0]),
        lambda r: r.store == STORES[0] and r.key[:3] == "2/0",
    ),
    "act": (Filters(act=ActKind.PURGE), lambda r: r.act is ActKind.PURGE),
    "planned": (Filters(plan_state=PlanState.PLANNED), lambda r: r.act_state is PlanState.PLANNED),
    "failed, blocked": (
        Filters(plan_state=PlanState.FAILED, verdict=Verdict.BLOCK),
        lambda r: r.act_state is PlanState.FAILED and r.verdict is Verdict.BLOCK,
    ),
}


@pytest.mark.parametrize("asked", _ASKED)
@pytest.mark.parametrize("few", [20_000, 1])
def test_a_list_is_what_reading_every_row_finds(
    lived: SqlLedger, asked: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_FEW", few)
    monkeypatch.setattr("fedi_safety.ledger.reading.listing._FIRST_ROWS", 3)
    monkeypatch.setattr("fedi_safety.ledger.codec.BATCH_ROWS", 4)
    filters, holds = _ASKED[asked]
    expected = [row for row in lived.list_objects() if holds(row)]
    assert list(lived.list_objects(filters)) == expected
    assert list(lived.list_objects(filters, limit=2)) == expected[:2]
    plain = open_plain(lived.name)  # by SQLite's driver alone
    assert plain is not None
    try:
        assert list(plain.list_objects(filters)) == expected
        assert list(plain.list_objects(filters, limit=2)) == expected[:2]
    finally:
        plain.dispose()


def test_unscanned_bytes_and_contents_are_found_by_their_hash(lived: SqlLedger) -> None:
    rows = [row for row in lived.list_objects() if row.sha256]
    for digest in {row.sha256 for row in rows}:
        assert list(lived.list_objects(Filters(sha256=digest))) == [row for row in rows if row.sha256 == digest]


def test_no_list_reads_every_object(tmp_path: Path) -> None:
    """Whatever is asked, SQLite finds the first rows by an index."""
    ledger = open_ledger(tmp_path / "ledger.db", clock=FakeClock())
    with ledger.database.read() as connection:
        for name, (filters, _) in _ASKED.items():
            query, values = candidates.candidates(Through(connection), filters)(0, 50)
            plan = [row["detail"] for row in Through(connection).ask(f"EXPLAIN QUERY PLAN {query}", **values)]
            assert not [step for step in plan if step.startswith("SCAN objects") and "INDEX" not in step], (name, plan)
    ledger.dispose()


@pytest.mark.parametrize(
    ("altered", "said"),
    [
        ("UPDATE object_groups SET objects = objects + 1 WHERE id = 1", "counted "),
        ("UPDATE objects SET group_id = 1 + (group_id = 1) WHERE id = 1", "1 objects are counted elsewhere"),
        ("UPDATE objects SET group_id = NULL WHERE id = 2", "1 objects are counted elsewhere"),
        ("UPDATE tallies SET count = count - 1 WHERE what = 'plans'", "plans "),
        ("DELETE FROM tallies WHERE what = 'judged'", "judged of "),
        ("UPDATE tallies SET day = day + 1 WHERE name = 'done'", "acts done of "),
        (
            "UPDATE source_tallies SET contents = contents + 1 WHERE name = 'a.example'",
            "contents from a.example of all",
        ),
        ("UPDATE source_tallies SET last_at = last_at + 1 WHERE name = ''", "or when last, is not what is kept"),
        ("DELETE FROM source_tallies WHERE store_id <> 0", "and counted 0"),
    ],
)
def test_counters_that_do_not_add_up_are_named_and_made_anew(
    lived: SqlLedger, tmp_path: Path, altered: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from fedi_safety.cli import run

    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(lived.name)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    before = lived.figures(histograms=False)
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(altered).rowcount
    assert run(["ledger", "verify", "--ledger", str(path)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "the chain is whole, but counters do not add up: " in line and said in line
    assert "`fedi-safety ledger recount" in line and line.endswith(" makes them anew")
    assert run(["ledger", "recount", "--ledger", str(path)]) == 0
    assert run(["ledger", "verify", "--ledger", str(path)]) == 0
    ledger = open_ledger(path, clock=FakeClock(), readonly=True)
    assert replace(ledger.figures(histograms=False)) == before
    ledger.dispose()


# --- ledgers of earlier versions


def older(lived: SqlLedger, path: Path, revision: str) -> Path:
    with closing(sqlite3.connect(lived.name)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    make_older(path, revision)
    return path


def revision_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.mark.parametrize(
    "revision", [pytest.param(r, marks=[] if r == BEFORE else pytest.mark.long) for r in REVISIONS]
)
def test_a_ledger_of_any_earlier_version_is_counted(lived: SqlLedger, tmp_path: Path, revision: str) -> None:
    path = older(lived, tmp_path / "ledger.db", revision)
    ledger = open_ledger(path, clock=FakeClock())
    found, before = ledger.figures(histograms=False), lived.figures(histograms=False)
    assert ledger.verify().miscounted is None
    for now, then in zip(found.stores, before.stores, strict=True):
        partly = then.partly if revision >= "0005" else 0
        assert (now.judged, now.verdicts, now.labels, now.unscanned, now.skipped, now.removed, now.gone) == (
            then.judged, then.verdicts, then.labels, then.unscanned, then.skipped, then.removed, then.gone
        )  # fmt: skip
        assert now.partly == partly
    assert found.judged_by_day == before.judged_by_day
    ledger.dispose()


def test_sources_are_counted_with_the_upgrade_or_it_begins_anew(
    lived: SqlLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = older(lived, tmp_path / "ledger.db", "0028")

    def fails(connection: Connection) -> None:
        raise OSError("killed")

    *others, last = migrate.CONVERSIONS
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "CONVERSIONS", (*others, replace(last, finish=fails)))
        with pytest.raises(OSError, match="killed"):
            open_ledger(path, clock=FakeClock())
    assert revision_of(path) == "0028"
    ledger = open_ledger(path, clock=FakeClock())
    assert check_sources(ledger) and ledger.verify().miscounted is None
    ledger.dispose()


def test_an_upgrade_that_is_killed_goes_on_where_it_was(lived: SqlLedger, tmp_path: Path) -> None:
    path = older(lived, tmp_path / "ledger.db", BEFORE)
    script = (
        f"import os, signal, sys\nsys.path[:0] = {sys.path!r}\n"
        "from fedi_safety.ledger.counts import groups, upkeep\n"
        "from fedi_safety.ledger.ledger import open_ledger\n"
        "from support.fakes import FakeClock\n"
        "upkeep.PAGE_ROWS, own, done = 10, groups.put_page, []\n"
        "def put(*words):\n"
        "    if len(done) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    done.append(words)\n"
        "    return own(*words)\n"
        "upkeep.put_page = put\n"
        "open_ledger(sys.argv[1], clock=FakeClock())\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9
    assert revision_of(path) == "0025"
    with closing(sqlite3.connect(path)) as connection:
        done = connection.execute("SELECT count(*) FROM objects WHERE group_id IS NOT NULL").fetchone()[0]
    assert done == 20  # two pages, and nothing of the third
    with pytest.raises(LedgerError, match="was written by an older version and not upgraded yet"):
        open_ledger(path, clock=FakeClock(), readonly=True)
    ledger = open_ledger(path, clock=FakeClock())
    assert ledger.verify().miscounted is None
    assert ledger.figures(histograms=False).stores == lived.figures(histograms=False).stores
    ledger.dispose()


def test_scores_that_are_made_compact_are_gone_on_with_as_well(
    lived: SqlLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that older versions wrote is there afterwards, and the past is as provable as before."""
    path = older(lived, tmp_path / "ledger.db", "0026")
    monkeypatch.setattr(conversion, "PAGE_ROWS", 5)
    own, done = Vocabulary.columns, list[int]()

    def columns(self: Vocabulary, signals: Mapping[str, Signal]) -> dict[str, object]:
        done.append(1)
        if len(done) == 13:
            raise KeyboardInterrupt
        return own(self, signals)

    monkeypatch.setattr(Vocabulary, "columns", columns)
    with pytest.raises(KeyboardInterrupt):
        open_ledger(path, clock=FakeClock())
    assert revision_of(path) == "0027"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM contents WHERE names_id IS NOT NULL").fetchone() == (10,)
    done[:] = range(100)
    ledger = open_ledger(path, clock=FakeClock())
    assert (ledger.verify().problem, ledger.verify().miscounted) == (None, None)
    assert list(ledger.list_objects()) == list(lived.list_objects())
    for digest in {row.sha256 for row in lived.list_objects() if row.sha256}:
        shown, before = ledger.show(digest), lived.show(digest)
        assert shown is not None and before is not None
        assert [replace(j, run=0) for j in shown.judgements] == [replace(j, run=0) for j in before.judgements]
        assert shown.events == before.events
    ledger.dispose()


def test_an_upgrade_begins_only_where_there_is_room(
    lived: SqlLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = older(lived, tmp_path / "ledger.db", BEFORE)
    before = path.read_bytes()
    monkeypatch.setattr(SqliteDatabase, "room", lambda _self: (6_000_000_000, 1_000_000_000))
    with pytest.raises(LedgerError) as caught:
        open_ledger(path, clock=FakeClock())
    assert caught.value.line() == (
        f"{path}: was written by an older version and must be upgraded, for which 1,500 MB must be free beside it, "
        "and 1,000 MB are; nothing was changed; free some space, and run this again"
    )
    assert path.read_bytes() == before and revision_of(path) == BEFORE


def test_an_upgrade_on_a_disk_that_fills_up_goes_on_when_there_is_space(
    lived: SqlLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = older(lived, tmp_path / "ledger.db", BEFORE)
    monkeypatch.setattr(upkeep, "PAGE_ROWS", 10)
    own, done = groups.put_page, list[int | None]()

    def put(connection: Connection, after: int, limit: int) -> int | None:
        if len(done) == 2:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            connection.exec_driver_sql("CREATE TABLE more AS SELECT randomblob(1000000)")
        done.append(own(connection, after, limit))
        return done[-1]

    monkeypatch.setattr(upkeep, "put_page", put)
    with pytest.raises(LedgerError, match="the disk is full; free some space; nothing of this step was kept"):
        open_ledger(path, clock=FakeClock())
    assert len(done) == 2 and revision_of(path) == "0025"
    monkeypatch.setattr(upkeep, "put_page", own)
    ledger = open_ledger(path, clock=FakeClock())
    assert ledger.verify().miscounted is None
    ledger.dispose()


def test_a_long_upgrade_says_how_far_it_is(
    lived: SqlLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = older(lived, tmp_path / "ledger.db", BEFORE)
    monkeypatch.setattr(upkeep, "PAGE_ROWS", 20)
    monkeypatch.setattr(migrate, "_TELLS_EVERY_S", -1.0)
    open_ledger(path, clock=FakeClock()).dispose()
    assert f"{path}: being upgraded; " in caplog.text


def test_the_predecessors_rows_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "lemmy_safety.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE images (id INTEGER, filename TEXT, csam BOOL, nsfw BOOL, created TEXT)")
        rows = [(1, "a.png", 1, 0, "2024-01-02 03:04:05"), (2, "b.png", 0, 1, None), (3, "c.png", 0, 0, None)]
        connection.executemany("INSERT INTO images VALUES (?, ?, ?, ?, ?)", rows)
    ledger = open_ledger(tmp_path / "ledger.db", clock=FakeClock())
    run = ledger.begin_run("import", STORES[0], {})
    ledger.import_predecessor(run, file, STORES[0], trust=True)
    assert ledger.verify().miscounted is None
    assert [r.key for r in ledger.list_objects(Filters(label="nsfw"))] == ["b.png"]
    assert [r.key for r in ledger.list_objects(Filters(verdict=Verdict.BLOCK))] == ["a.png"]
    assert [r.key for r in ledger.list_objects(Filters(label="imported", state="judged"))] == ["b.png", "c.png"]
    assert ledger.figures(histograms=False).judged_by_day == {"2024-01-02": 1}
    ledger.dispose()
