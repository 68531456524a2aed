"""What can go wrong with the ledger's file, and that each case names the thing, the cause and the remedy."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from fedi_safety.core.enforcement import Acting
from fedi_safety.core.enums import ActKind, Reason
from fedi_safety.core.errors import LedgerError, LedgerUsageError
from fedi_safety.core.runs import Tally
from fedi_safety.core.types import Object, Outcome, Plan, Unscanned
from fedi_safety.ledger import database
from fedi_safety.ledger.database.sqlite import SqliteDatabase
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.ledger.migrate import create_tables, upgrade_tables
from support.fakes import FakeClock, FakeStore
from support.passes import RED_CIRCLE, Bench

STORE = "file:///srv/media"
OWNER_ONLY = 0o600


class _Clock:
    def now(self) -> float:
        return 1_800_000_000.0

    def monotonic(self) -> float:
        return 0.0


CLOCK = _Clock()


def _make(path: Path) -> None:
    ledger = open_ledger(path, clock=CLOCK)
    ledger.begin_run("scan", STORE, {})
    ledger.dispose()


def _failures(count: int) -> list[Unscanned]:
    return [Unscanned(Object(f"{i:06}", 1, 1), Reason.CORRUPT, "x" * 200) for i in range(count)]


@contextlib.contextmanager
def _common_user() -> Iterator[Path]:
    """Be a user whom file rights bind, and give a directory that this user can reach."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
        directory.chmod(0o755)


@contextlib.contextmanager
def _without_root() -> Iterator[None]:
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_new_ledger_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "ledger.db"
    _make(path)
    assert stat.S_IMODE(path.stat().st_mode) == OWNER_ONLY
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_a_path_and_a_url_name_the_same(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a b%20?#.db" if form == "{}" else tmp_path / "ledger.db"
    _make(path)
    ledger = open_ledger(form.format(path), clock=CLOCK, readonly=True)
    assert ledger.verify().length == 1
    ledger.dispose()


@pytest.mark.parametrize(
    "url", ["mysql://user:secret@host/db", "postgresql://user:secret@host:x/db", "sqlite://", "nonsense://"]
)
def test_other_urls_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(LedgerUsageError) as caught:
        open_ledger(url, clock=CLOCK)
    assert "secret" not in str(caught.value)


def test_a_kind_of_database_that_is_not_there_is_named() -> None:
    with pytest.raises(LedgerUsageError) as caught:
        open_ledger("mysql://user:secret@host/db", clock=CLOCK)
    assert caught.value.line() == (
        "mysql://user@host/db: only SQLite and PostgreSQL ledgers are supported; "
        "give a path, sqlite:///path or postgresql://USER@HOST/DATABASE"
    )


class _Other:
    """A database of another kind: it has what the port asks for, and nothing more."""

    def __init__(self, path: Path, readonly: bool) -> None:
        within = SqliteDatabase(path, readonly=readonly)
        self.name, self.readonly, self.opened_by = "other://somewhere", readonly, None
        self.read, self.write, self.run_lock = within.read, within.write, within.run_lock
        self.prepare, self.dispose = within.prepare, within.dispose
        self.guard, self.copy_to, self.whole = within.guard, within.copy_to, within.whole


@pytest.mark.long
def test_a_further_kind_of_database_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(database.KINDS, "other", lambda _url, readonly, _busy_s: _Other(tmp_path / "file", readonly))
    ledger = open_ledger("other://somewhere", clock=CLOCK)
    run = ledger.begin_run("scan", STORE, {})
    ledger.record(run, STORE, _failures(3))
    assert ledger.figures().stores[0].unscanned == {"corrupt": 3} and ledger.verify().problem is None
    ledger.dispose()
    with closing(sqlite3.connect(tmp_path / "file")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerUsageError, match=r"^other://somewhere: was written by a newer version"):
        open_ledger("other://somewhere", clock=CLOCK)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerUsageError, match="is a directory; name the ledger's file"):
        open_ledger(tmp_path, clock=CLOCK)


def test_reading_needs_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerUsageError, match="there is no ledger here yet"):
        open_ledger(tmp_path / "none" / "none.db", clock=CLOCK, readonly=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("content", [b"not a database, by far " * 100, b"GIF89a"])
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger" / "ledger.db"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="move it away and restore a backup"):
        open_ledger(path, clock=CLOCK)
    assert path.read_bytes() == content and [p.name for p in path.parent.iterdir()] == ["ledger.db"]


def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "lemmy_safety.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE images (id INTEGER PRIMARY KEY)")
    before = path.read_bytes()
    with pytest.raises(LedgerUsageError, match="another program's database"):
        open_ledger(path, clock=CLOCK)
    assert path.read_bytes() == before


def test_a_damaged_ledger_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    _make(path)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(LedgerError, match=r"is damaged; move it away and restore a backup") as caught:
        open_ledger(path, clock=CLOCK).begin_run("scan", STORE, {})
    assert not isinstance(caught.value, LedgerUsageError) and path.read_bytes() == bytes(data)


@pytest.mark.parametrize("readonly", [True, False])
def test_a_newer_ledger_is_refused(tmp_path: Path, readonly: bool) -> None:
    path = tmp_path / "ledger.db"
    _make(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerUsageError, match=r"newer version of fedi-safety \(revision 9999\); upgrade"):
        open_ledger(path, clock=CLOCK, readonly=readonly)


def test_a_file_without_write_permission_can_be_read_only() -> None:
    with _common_user() as directory:
        path = directory / "ledger.db"
        _make(path)
        path.chmod(0o444)
        directory.chmod(0o555)
        with _without_root():
            with pytest.raises(LedgerUsageError, match="is read-only for this user; make the file"):
                open_ledger(path, clock=CLOCK)
            ledger = open_ledger(path, clock=CLOCK, readonly=True)
            assert ledger.verify().length == 1
            with pytest.raises(LedgerUsageError, match="is read-only"):
                ledger.begin_run("scan", STORE, {})
            ledger.dispose()


def test_a_directory_without_write_permission_is_refused() -> None:
    with _common_user() as directory:
        directory.chmod(0o555)
        with (
            _without_root(),
            pytest.raises(LedgerUsageError, match="Permission denied; run this as a user who may write"),
        ):
            open_ledger(directory / "ledger.db", clock=CLOCK)


def test_what_cannot_be_looked_at_is_not_missing() -> None:
    with _common_user() as directory:
        (directory / "closed").mkdir(mode=0o700)
        path = directory / "closed/ledger.db"
        _make(path)
        with _without_root():
            (directory / "closed").chmod(0o000) if os.geteuid() == directory.stat().st_uid else None
            for readonly in (True, False):
                with pytest.raises(LedgerUsageError, match="Permission denied; run this as a user who may read it"):
                    open_ledger(path, clock=CLOCK, readonly=readonly)
        (directory / "closed").chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_makes_belongs_to_the_directorys_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    ledger = open_ledger(tmp_path / "ledger.db", clock=CLOCK)
    with ledger.run_lock():
        ledger.begin_run("scan", STORE, {})
        owners = {file.name: file.stat().st_uid for file in tmp_path.iterdir() if file.is_file()}
    ledger.dispose()
    assert owners == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock"), 65534)


def test_a_full_disk_keeps_nothing_of_the_batch_and_all_before_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    _make(path)
    ledger = open_ledger(path, clock=CLOCK)
    ledger.dispose()

    assert isinstance(ledger.database, SqliteDatabase)

    @event.listens_for(ledger.database.engine, "connect")
    def fill_up(connection: sqlite3.Connection, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 20}")

    run = ledger.begin_run("scan", STORE, {})
    ledger.record(run, STORE, _failures(10))
    with pytest.raises(LedgerError, match="the disk is full; free some space") as caught:
        ledger.record(run, STORE, [Unscanned(Object("half", 1, 1), Reason.CORRUPT), *_failures(5000)])
    assert not isinstance(caught.value, LedgerUsageError)
    known = ledger.lookup(STORE, [Object("000009", 1, 1), Object("half", 1, 1), Object("000010", 1, 1)], None)
    assert [k is not None for k in known] == [True, False, False]
    assert ledger.verify().problem is None
    ledger.record(run, STORE, [Unscanned(Object("after", 1, 1), Reason.CORRUPT)])  # it goes on when there is space
    ledger.dispose()


@pytest.mark.long
def test_a_full_disk_at_the_first_start(tmp_path: Path) -> None:
    """A real limit of the kernel's: files of this process may not grow beyond 16 KiB."""
    script = (
        "import resource, signal, sys, time\n"
        "from fedi_safety.core.errors import LedgerError\n"
        "from fedi_safety.ledger.ledger import open_ledger\n"
        "import alembic.command\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))\n"
        "try:\n"
        "    open_ledger(sys.argv[1], clock=time)\n"
        "except LedgerError as error:\n"
        "    sys.exit(str(error))\n"
    )
    path = tmp_path / "ledger.db"
    source = Path(__file__).parents[3] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 1 and str(path) in done.stderr and "disk" in done.stderr
    assert "Traceback" not in done.stderr
    _make(path)  # nothing half-made is in the way


def test_a_locked_ledger_says_so_and_keeps_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    _make(path)
    ledger = open_ledger(path, clock=CLOCK, busy_timeout_s=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="is locked by another program; wait for it or stop it"):
            ledger.begin_run("scan", STORE, {})
        assert ledger.verify().length == 1  # readers do not wait
        other.execute("ROLLBACK")
    assert ledger.begin_run("scan", STORE, {}) == 2
    ledger.dispose()


def test_the_log_is_durable(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db", clock=CLOCK)
    with ledger.database.read() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    ledger.dispose()
    assert found == ["wal", 2]


def test_a_killed_run_lets_its_lock_go(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path, clock=CLOCK)
    script = (
        "import sys, time\n"
        "from fedi_safety.ledger.ledger import open_ledger\n"
        "with open_ledger(sys.argv[1], clock=time).run_lock():\n"
        "    sys.stdout.write('held\\n'); sys.stdout.flush(); time.sleep(60)\n"
    )
    source = Path(__file__).parents[3] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(LedgerError, match=rf"another fedi-safety run \(pid {holder.pid}\)"), ledger.run_lock():
            raise AssertionError("two runs at once")
        holder.kill()
    with ledger.run_lock():
        pass
    ledger.dispose()


def test_bugs_stay_bugs(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db", clock=CLOCK)
    with pytest.raises(Exception, match="no such table") as caught, ledger.database.read() as connection:
        connection.exec_driver_sql("SELECT * FROM missing")
    ledger.dispose()
    assert not isinstance(caught.value, LedgerError)


# --- migrations


def test_migrations_make_exactly_the_schema(tmp_path: Path) -> None:
    from sqlalchemy import create_engine

    made = []
    for make in (create_tables, upgrade_tables):
        engine = create_engine(f"sqlite:///{tmp_path / make.__name__}.db")
        with engine.begin() as connection:
            make(connection)
            made.append(described(connection))
        engine.dispose()
    at_once, step_by_step = made
    assert at_once == step_by_step
    assert {"plans", "events", "alembic_version"} <= at_once.keys()
    assert "CREATE UNIQUE INDEX uq_plans_one_open ON plans (object_id) WHERE open" in at_once["plans"]


def described(connection: Connection) -> dict[str, set[object]]:
    """Return what each table consists of and holds; the order of columns alone may differ."""
    found: dict[str, set[object]] = {}
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name != 'sqlite_sequence'"
    for kind, name, table, sql in connection.exec_driver_sql(query).all():
        about = found.setdefault(table, set())
        if kind != "table":
            about.add(sql or name)
            continue
        for pragma in ("table_info", "foreign_key_list", "index_list"):
            rows = connection.exec_driver_sql(f"PRAGMA {pragma}({name})").all()
            about |= {(pragma, *row[1 if pragma == "table_info" else 2 :]) for row in rows}
        about |= {("row", *row) for row in connection.exec_driver_sql(f"SELECT * FROM {name}").all()}
    return found


def test_the_code_knows_the_newest_revision() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from fedi_safety.ledger.migrate import MIGRATIONS
    from fedi_safety.ledger.schema import REVISION

    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_rows_of_an_older_ledger_are_kept(tmp_path: Path) -> None:
    """What it judged still stands; what it could not decode is tried again, for nobody wrote down what had failed."""
    from alembic import command

    from fedi_safety.core.types import Object
    from fedi_safety.ledger import codec, migrate

    path = tmp_path / "ledger.db"
    database = SqliteDatabase(path, readonly=False)
    database.prepare()
    config = migrate._config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for statement in (
            f"INSERT INTO stores (id, url) VALUES (1, '{STORE}')",
            "INSERT INTO detector_sets (id, body) VALUES (1, '{}')",
            "INSERT INTO contents (id, sha256, size, media_type, width, height, frames, verdict, policy, decided,"
            " scored_at, detectors_id, labels, reasons, signals) VALUES (1, zeroblob(32), 3, 'image/png', 1, 1, 1,"
            " 'clear', 'p', 1, 0.0, 1, '[]', '[]', '{\"a.red\":[0.5,0]}')",
            "INSERT INTO objects (store_id, key, size, mtime_ns, tag, state, content_id, attempts, first_seen)"
            " VALUES (1, CAST('old' AS BLOB), 3, 1, '', 'judged', 1, 0, 0.0)",
            "INSERT INTO objects (store_id, key, size, mtime_ns, tag, state, reason, attempts, first_seen)"
            " VALUES (1, CAST('clip' AS BLOB), 3, 1, '', 'unscanned', 'unsupported', 1, 0.0)",
        ):
            connection.exec_driver_sql(statement)
    database.dispose()
    ledger = open_ledger(path, clock=CLOCK)
    judged, failed = ledger.lookup(STORE, [Object("old", 3, 1), Object("clip", 3, 1)], "p")
    ((content, _, _),) = ledger.contents([bytes(32)]).values()
    ledger.dispose()
    assert judged is not None and judged.settled and judged.decoder is None and not judged.partly
    assert failed is not None and failed.decoder == ""
    assert content.scores.signals == codec.signals_from('{"a.red":[0.5,0]}')
    assert (content.partly, content.total) == (None, 0)


def test_older_runs_keep_what_they_said_of_being_whole(tmp_path: Path) -> None:
    from alembic import command
    from sqlalchemy import select

    from fedi_safety.ledger import migrate
    from fedi_safety.ledger.schema import runs

    path = tmp_path / "ledger.db"
    before = SqliteDatabase(path, readonly=False)
    before.prepare()
    config = migrate._config()
    said = ['{"dry_run":true,"whole":true}', '{"whole":false}', "{}", '{"prefixes":["\\"whole\\":true"]}']
    with before.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        for settings in said * 400:
            connection.exec_driver_sql(
                "INSERT INTO runs (kind, store, dry_run, settings, started_at) VALUES ('scan', 's', 0, ?, 0.0)",
                (settings,),
            )
    before.dispose()
    ledger = open_ledger(path, clock=CLOCK)
    with ledger.database.read() as connection:
        found = list(connection.execute(select(runs.c.whole).order_by(runs.c.id)).scalars())
    ledger.dispose()
    assert found == [True, False, None, None] * 400


@pytest.mark.long
def test_an_up_to_date_ledger_opens_without_alembic(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    _make(path)
    script = (
        "import sys, time\n"
        "import fedi_safety.ledger\n"
        "assert 'sqlalchemy' not in sys.modules\n"
        "from fedi_safety.ledger.ledger import open_ledger\n"
        "open_ledger(sys.argv[1], clock=time).dispose()\n"
        "assert 'alembic' not in sys.modules\n"
    )
    source = Path(__file__).parents[3] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, env=environment, timeout=60)


def deleted(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))
    shutil.copy(path.with_name("elsewhere.db"), path)


def renamed(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("how", [deleted, replaced, renamed])
def test_a_ledger_that_lost_its_place_is_written_no_more(how: Callable[[Path], None], tmp_path: Path) -> None:
    """I3: what is recorded in a file without a name is not recorded; so nothing is begun after it."""
    place = tmp_path / "place"
    place.mkdir()
    ledger = open_ledger(place / "ledger.db", clock=FakeClock())
    store = FakeStore({f"k{i}": RED_CIRCLE + b" n=%d" % i for i in range(8)})
    bench = Bench(place / "ledger.db", store)
    bench.scan(dry_run=True)
    run = ledger.begin_run("apply", store.url, {})

    class Remover:
        kind = ActKind.DELETE

        def perform(self, plan: Plan) -> Outcome:
            if not store.removed:
                how(place / "ledger.db")
            removal = store.remove(plan.object, plan.sha256)
            return Outcome(plan, removal.state, removal.detail)

    acting = Acting(ledger, {ActKind.DELETE: Remover()}, run, Tally())
    with pytest.raises(LedgerError, match="was deleted, renamed or replaced while it was in use"):
        acting.carry_out(ledger.open_plans(store.url))
    assert len(store.removed) == 1
    bench.close()
    ledger.dispose()


def test_two_ways_to_one_file_are_one_lock(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    one = open_ledger(real / "ledger.db", clock=FakeClock())
    (tmp_path / "other.db").symlink_to(real / "ledger.db")
    for way in (tmp_path / "link/ledger.db", tmp_path / "other.db"):
        other = open_ledger(way, clock=FakeClock())
        with one.run_lock(), pytest.raises(LedgerError, match="another fedi-safety run"), other.run_lock():
            pass
        other.dispose()
    one.dispose()
