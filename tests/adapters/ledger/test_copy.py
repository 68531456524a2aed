"""`ledger copy`: every row, as it was, into an empty database; or nothing at all."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Boolean, Double, Integer, LargeBinary, Table, Text, select

from fedi_safety.cli import run
from fedi_safety.core.errors import LedgerError
from fedi_safety.ledger.database import open_database
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.ledger.migrate import bring_up_to_date
from fedi_safety.ledger.others import copying
from fedi_safety.ledger.schema import metadata
from fedi_safety.ledger.verify import verify_in as verification
from support import ledgers
from support.fakes import FakeClock
from support.interleaving import Hand, Outside
from support.ledgers import make_older, rows_of


def opened(place: str | Path, *, readonly: bool = False) -> SqlLedger:
    return open_ledger(place, clock=FakeClock(), readonly=readonly)


def played(place: str | Path, rounds: int = 6) -> None:
    """Fill a ledger with what scans, gates, acts and people leave there."""
    ledger = opened(place)
    outside = Outside(multiprocessing.get_context())
    for turn in range(rounds):
        ledger.begin_run("scan", "fake://one", {"dry_run": bool(turn % 2)})
        outside.renew()
        Hand(ledger, turn + 1, outside, turn, turn, 0, 1).play()
    ledger.dispose()


def rows_at(place: str | Path) -> dict[str, list[tuple[Any, ...]]]:
    database = open_database(place, readonly=True)
    try:
        return rows_of(database)
    finally:
        database.dispose()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger in which something happened, to be copied as a file."""
    path = tmp_path_factory.mktemp("filled") / "ledger.db"
    played(path)
    return path


@pytest.fixture
def ledger(tmp_path: Path, filled: Path) -> Path:
    """A ledger of the test's own in which something happened."""
    path = tmp_path / "in-use/ledger.db"
    path.parent.mkdir()
    shutil.copy(filled, path)
    (tmp_path / "out").mkdir()
    return path


def copy(source: str | Path, target: str | Path, *options: str) -> int:
    return run(["ledger", "copy", str(source), str(target), *options])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


KINDS = [
    ("sqlite", "sqlite"),
    pytest.param("sqlite", "postgresql", marks=pytest.mark.needs("postgresql")),
    pytest.param("postgresql", "sqlite", marks=pytest.mark.needs("postgresql")),
    pytest.param("postgresql", "postgresql", marks=pytest.mark.needs("postgresql")),
]
Places = Callable[[str, str], str | Path]


@pytest.fixture
def places(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Places]:
    """Where ledgers lie that are not made yet, each of a kind and in a folder of a name."""
    with ExitStack() as stack:

        def place(kind: str, name: str) -> str | Path:
            (tmp_path / name).mkdir()
            return stack.enter_context(ledgers.place_of(kind, tmp_path / name, request))

        yield place


@pytest.mark.parametrize(("kind", "other"), KINDS)
def test_every_row_arrives_and_the_copy_goes_on_where_the_ledger_was(
    kind: str, other: str, places: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, target = places(kind, "in-use"), places(other, "out")
    played(ledger)
    here = rows_at(ledger)
    assert copy(ledger, target) == 0
    if other == "sqlite":
        assert stat.S_IMODE(Path(target).stat().st_mode) == 0o600 and names(tmp_path / "out") == ["ledger.db"]
    assert rows_at(target) == here == rows_at(ledger) and sum(map(len, here.values())) > 200
    assert {name for name, rows in here.items() if rows} > {"objects", "contents", "acts", "uploads", "dismissals"}
    said = capsys.readouterr().out
    assert said.startswith(f"{sum(map(len, here.values())):,} rows copied and read back; the chain of ")
    played(target, 2)  # what is written now is numbered behind what was copied
    records = opened(target, readonly=True)
    found = records.verify()
    records.dispose()
    assert (found.problem, found.miscounted) == (None, None) and len(rows_at(target)["runs"]) == len(here["runs"]) + 2
    assert copy(ledger, target) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


@pytest.mark.parametrize("other", ledgers.PARAMETERS)
def test_a_copy_that_is_broken_off_leaves_nothing_and_begins_anew(
    other: str, ledger: Path, places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = places(other, "there")

    def interrupt(_connection: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(copying, "verify_in", interrupt)
        assert copy(ledger, target) == 130
    assert capsys.readouterr().err == "fedi-safety: interrupted; nothing was changed\n"
    if other == "sqlite":
        assert names(Path(target).parent) == []
    assert copy(ledger, target) == 0
    assert rows_at(target) == rows_at(ledger)


KILLED = """
import os, signal
from fedi_safety.cli import run
from fedi_safety.ledger.others import copying
copying.verify_in = lambda _: os.kill(os.getpid(), signal.SIGKILL)
run(["ledger", "copy", os.environ["SOURCE"], os.environ["TARGET"]])
"""


@pytest.mark.parametrize("other", ledgers.PARAMETERS)
def test_a_copy_that_is_killed_is_no_ledger(other: str, ledger: Path, places: Places) -> None:
    target = places(other, "there")
    environment = {**os.environ, "SOURCE": str(ledger), "TARGET": str(target)}
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    if other == "sqlite":
        assert all(name.startswith(".fedi-safety-") and ".tmp" in name for name in names(Path(target).parent))
    assert copy(ledger, target) == 0
    assert rows_at(target) == rows_at(ledger)


BAD: list[tuple[str, str, int, str]] = [
    ("none.db", "out/copy.db", 2, "none.db: there is no ledger here yet"),
    ("in-use/ledger.db", "in-use/ledger.db", 2, "is the ledger itself"),
    ("in-use/ledger.db", "out/other.db", 2, "is there already; name another file; nothing is overwritten"),
    ("in-use/ledger.db", "no/such/copy.db", 2, "there is no such directory"),
    ("in-use/ledger.db", "mysql://host/ledger", 2, "ledgers are supported"),
    ("mysql://host/ledger", "out/copy.db", 2, "ledgers are supported"),
    ("out/other.db", "out/copy.db", 2, "is another program's database"),
]


@pytest.mark.parametrize(("source", "target", "code", "said"), BAD, ids=[f"{one} {other}" for one, other, *_ in BAD])
def test_what_cannot_be_copied_is_said_in_one_line(
    source: str, target: str, code: int, said: str, ledger: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with closing(sqlite3.connect(tmp_path / "out/other.db")) as other:
        other.execute("CREATE TABLE wares (id INTEGER)")
    monkeypatch.chdir(tmp_path)
    assert copy(source, target) == code
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1 and said in err[0], err
    assert names(tmp_path / "out") == ["other.db"]


def test_an_older_ledger_is_upgraded_first(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_older(ledger, "0026")
    assert copy(ledger, tmp_path / "out/copy.db") == 2
    assert "its tables are of another version of fedi-safety; have this version upgrade it" in capsys.readouterr().err
    assert names(tmp_path / "out") == []


def test_not_while_a_run_is_on(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = opened(ledger)
    with records.run_lock():
        assert copy(ledger, tmp_path / "out/copy.db") == 3
    records.dispose()
    assert "another fedi-safety run" in capsys.readouterr().err and names(tmp_path / "out") == []


def test_a_chain_that_is_broken_is_not_carried_over(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(ledger)) as file, file:
        file.execute("UPDATE events SET payload = '{}' WHERE seq = 3")
    assert copy(ledger, tmp_path / "out/copy.db") == 3
    assert "does not hold together: event 3" in capsys.readouterr().err and names(tmp_path / "out") == []


@pytest.mark.parametrize("spoil", ["a row", "a value"])
def test_what_does_not_arrive_as_it_left_is_found(
    spoil: str, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fedi_safety.ledger.database.sqlite import SqliteDatabase

    real = SqliteDatabase.fill

    def fill(self: SqliteDatabase, connection: Any, table: Table, rows: Any) -> None:
        if table.name == "uploads":
            rows = rows[1:] if spoil == "a row" else [(*rows[0][:-1], "another"), *rows[1:]]
        real(self, connection, table, rows)

    monkeypatch.setattr(SqliteDatabase, "fill", fill)
    assert copy(ledger, tmp_path / "out/copy.db") == 3
    assert "uploads: " in capsys.readouterr().err and names(tmp_path / "out") == []


def test_what_was_written_meanwhile_is_told(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    def verify_in(connection: Any) -> Any:
        records = opened(ledger)
        records.begin_run("gate", "", {})
        records.dispose()
        return verification(connection)

    monkeypatch.setattr(copying, "verify_in", verify_in)
    assert copy(ledger, tmp_path / "out/copy.db") == 0
    assert "was given 1 further events meanwhile, which the copy lacks" in capsys.readouterr().err


# --- values at the edges


TEXTS = ["", "x", "ä€😀", "a\nb\tc\\N\\.", "'\"", "\\N", "{}", "é", " " * 9, "\x7f\x01", "\u2028", "😀" * 500]
BLOBS = [b"", b"\0", bytes(range(256)), b"\\x00", b"\xff" * 3000]
FLOATS = [0.0, 0.1 + 0.2, 1e-308, 5e-324, 1.7976931348623157e308, -1.5, 1_800_000_000.123456, 2**53 + 0.0, float("inf")]
LARGE = [0, 1, -1, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63)]


def edge(kind: Any, number: int) -> Any:
    """Return a value of a column's type at the edge of what it holds."""
    if isinstance(kind, Boolean):
        return bool(number % 2)
    if isinstance(kind, Double):
        return FLOATS[number % len(FLOATS)]
    if isinstance(kind, LargeBinary):
        return BLOBS[number % len(BLOBS)] + number.to_bytes(4, "big")
    if isinstance(kind, Text):
        return TEXTS[number % len(TEXTS)] + f"{number}"
    return LARGE[number % (5 if type(kind) is Integer else len(LARGE))]


def edges(table: Table, count: int) -> list[tuple[Any, ...]]:
    """Return rows for a table whose keys lead to the rows of others that `edges` gives."""
    rows = []
    for number in range(1, count + 1):
        row: list[Any] = []
        for place, column in enumerate(table.columns):
            if column.foreign_keys or (column.primary_key and isinstance(column.type, Integer)):
                row.append(number)
            elif column.nullable and (number + place) % 3 == 0:
                row.append(None)
            else:
                row.append(edge(column.type, number + place))
        rows.append(tuple(row))
    return rows


@pytest.fixture
def databases(places: Places) -> Iterator[Callable[[str, str], Database]]:
    made = []

    def database(kind: str, name: str) -> Database:
        made.append(open_database(places(kind, name)))
        bring_up_to_date(made[-1])
        return made[-1]

    yield database
    for one in made:
        one.dispose()


@pytest.mark.parametrize(("kind", "other"), KINDS)
def test_values_at_the_edges_stay_what_they_are(
    kind: str, other: str, databases: Callable[[str, str], Database]
) -> None:
    source, target = databases(kind, "one"), databases(other, "other")
    with source.write() as connection:
        for table in metadata.sorted_tables:
            connection.execute(table.delete())
            source.fill(connection, table, edges(table, 12))
    with source.read() as reading, target.write() as writing:
        for table in metadata.sorted_tables:
            writing.execute(table.delete())
            assert copying._copy_table(reading, writing, target, table, lambda *_: None) == 12
            there = sorted(map(tuple, writing.execute(select(table))), key=repr)
            assert there == sorted(edges(table, 12), key=repr), table.name
        target.after_filling(writing, metadata.sorted_tables)
        run = {"kind": "scan", "store": "", "dry_run": False, "settings": "{}", "started_at": 0.0}
        runs = metadata.tables["runs"]
        assert writing.execute(runs.insert().returning(runs.c.id), run).scalar_one() == 13


def test_a_digest_tells_values_and_their_types_apart() -> None:
    def of(*rows: tuple[Any, ...]) -> copying.Digest:
        made = copying.Digest()
        made.add(rows)
        return made

    assert of((1, "a"), (2, "b")) == of((2, "b"), (1, "a"))
    different = [((1,),), ((1.0,),), ((True,),), (("1",),), ((b"1",),), ((None,),), ((1,), (1,)), ((1, 1),), ()]
    assert len({repr(of(*rows)) for rows in different}) == len(different)


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    ("table", "row", "said"),
    [
        ("stores", (7, "file:///a\0b", None, None, None), "cannot hold U+0000, which url of stores (id 7) has"),
        ("chain", (2**40, 7, bytes(32)), "chain: NumericValueOutOfRange (22003)"),
    ],
    ids=["U+0000", "a number"],
)
def test_what_the_other_database_cannot_hold_is_named(
    table: str, row: tuple[Any, ...], said: str, databases: Callable[[str, str], Database]
) -> None:
    source, target = databases("sqlite", "one"), databases("postgresql", "other")
    with source.write() as connection:
        source.fill(connection, metadata.tables[table], [row])
    with source.read() as reading, pytest.raises(LedgerError) as told, target.write() as writing:
        writing.execute(metadata.tables[table].delete())
        copying._copy_table(reading, writing, target, metadata.tables[table], lambda *_: None)
    assert said in told.value.line() and "\n" not in told.value.line()
    with target.read() as reading:
        assert reading.execute(select(metadata.tables["chain"].c.id)).scalars().all() == [1], "nothing was kept"
