"""A ledger on a real PostgreSQL: a server that goes and comes back, lines that break, PgBouncer, what is refused."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from fedi_safety.app.ledger import SystemClock
from fedi_safety.core.enums import ActKind, MediaType, PlanState, Verdict
from fedi_safety.core.errors import ExitCode, LedgerError, LedgerUsageError
from fedi_safety.core.ledger.progress import Progress
from fedi_safety.core.testcard import draw_test_card
from fedi_safety.core.types import Content, Judged, Judgement, Object, Outcome, Plan, RuleHit, Scores, Signal
from fedi_safety.ledger.database import open_database
from fedi_safety.ledger.database.bulk import AHEAD, numbers, put
from fedi_safety.ledger.database.postgresql import connections, faults
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.ledger.schema import stores
from support.ledgers import empty_database
from support.program import Done, program
from support.servers.cut_line import CutLine, cut_line
from support.servers.disk import small_disk
from support.servers.pgbouncer import pgbouncer
from support.servers.postgresql import LOCKED, PostgresqlServer, postgresql_server

STORE = "file:///srv/media"

pytestmark = pytest.mark.needs("postgresql")

Opened = Callable[..., SqlLedger]


def sha(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def judged(key: str, verdict: Verdict = Verdict.CLEAR) -> Judged:
    reasons = () if verdict is Verdict.CLEAR else (RuleHit("red", verdict, None, ()),)
    content = Content(sha(key), 1, MediaType.PNG, 1, 1, 1, Scores({"test.red": Signal(0.5)}, {"test": "1"}))
    return Judged(Object(key, 1, 1), content, Judgement(verdict, (), reasons, "test@1"))


def block(ledger: SqlLedger, run: int, *keys: str) -> list[Plan]:
    """Record objects that are condemned; return their plans."""
    items = [judged(key, Verdict.BLOCK) for key in keys]
    ledger.record(run, STORE, items)
    return ledger.plan(run, STORE, [(item.object, item.content.sha256) for item in items], ActKind.DELETE)


@pytest.fixture
def database(ledger_server: PostgresqlServer) -> Iterator[str]:
    """The URL of an empty database."""
    with empty_database(ledger_server) as url:
        yield url


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens ledgers, and closes them at the end."""
    made: list[SqlLedger] = []

    def one(url: str, *, wait_s: float = 30.0, readonly: bool = False) -> SqlLedger:
        made.append(open_ledger(url, clock=SystemClock(), busy_timeout_s=wait_s, readonly=readonly))
        return made[-1]

    yield one
    for each in made:
        each.dispose()


@pytest.fixture
def line(ledger_server: PostgresqlServer) -> Iterator[CutLine]:
    """A line to the server that a test breaks."""
    with cut_line(ledger_server.port) as line:
        yield line


def through(url: str, port: int) -> str:
    """Return a URL with another port."""
    server, _, name = url.rpartition("/")
    return f"{server.rpartition(':')[0]}:{port}/{name}"


def ask(url: str, query: str) -> int:
    """Return the one number that a query finds."""
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])


# --- a server that goes, and lines that break


def begun_and_closed(database: str, line: CutLine, ledger: SqlLedger, lose: str) -> None:
    """Begin and close two plans, and lose the line after COMMIT each time, in this way; each is done once."""
    run = ledger.begin_run("scan", STORE, {})
    plans = block(ledger, run, "a", "b")
    setattr(line, lose, b"COMMIT")
    begun = ledger.start(run, plans)
    assert line.cuts == 1 and [plan.id for plan in begun] == [plan.id for plan in plans]
    setattr(line, lose, b"COMMIT")
    ledger.close(run, [Outcome(plan, PlanState.DONE) for plan in begun])
    assert line.cuts == 2
    assert ask(database, "SELECT count(*) FROM acts WHERE outcome = 'done'") == 2
    assert ask(database, "SELECT count(*) FROM acts") == 2
    assert ledger.verify().problem is None


def test_the_words_of_a_commit_whose_answer_was_lost_are_not_written_twice(
    database: str, line: CutLine, opened: Opened
) -> None:
    begun_and_closed(database, line, opened(through(database, line.port)), "after")


def test_what_was_cut_off_before_its_end_is_done_again(database: str, line: CutLine, opened: Opened) -> None:
    ledger = opened(through(database, line.port))
    run = ledger.begin_run("scan", STORE, {})
    line.after = b"INSERT INTO contents"
    ledger.record(run, STORE, [judged("a")])
    assert line.cuts == 1 and ask(database, "SELECT count(*) FROM contents") == 1
    assert ledger.verify().problem is None


def test_what_is_sent_ahead_and_refused_keeps_nothing_of_its_transaction(database: str, opened: Opened) -> None:
    """Nobody waits for it but the end of the transaction, which then is none; or whoever asks for anything before."""
    ledger = opened(database)
    twice = [{"url": "file:///a"}, {"url": "file:///a"}]
    with pytest.raises(IntegrityError), ledger.database.write() as connection:
        put(connection, stores, [{"url": "file:///b"}])
        put(connection, stores, twice)
    with pytest.raises(IntegrityError), ledger.database.write() as connection:
        put(connection, stores, twice)
        connection.execute(select(stores.c.id))
        pytest.fail("whoever asks waits first")
    with pytest.raises(ZeroDivisionError), ledger.database.write() as connection:
        put(connection, stores, [{"url": "file:///b"}])
        raise ZeroDivisionError
    assert ask(database, "SELECT count(*) FROM stores") == 0
    ledger.record(ledger.begin_run("scan", STORE, {}), STORE, [judged("a")])  # on the same connection
    assert ledger.verify().problem is None


def test_nobody_waits_for_what_is_sent_ahead(database: str, opened: Opened) -> None:
    ledger = opened(database)
    with ledger.database.write() as connection:
        slowly = text("UPDATE chain SET length = length + (SELECT 0 FROM pg_sleep(1.5))")
        began = time.monotonic()
        connection.execute(slowly, execution_options=AHEAD)
        put(connection, stores, [{"url": "file:///a"}])
        assert time.monotonic() - began < 1
        assert connection.execute(select(func.count()).select_from(stores)).scalar_one() == 1
        assert time.monotonic() - began > 1.4


def test_numbers_are_given_once_also_where_nothing_came_of_them(database: str, opened: Opened) -> None:
    ledger = opened(database)
    with suppress(ZeroDivisionError), ledger.database.write() as connection:
        first = numbers(connection, stores, 3)
        raise ZeroDivisionError
    with ledger.database.write() as connection:
        then = numbers(connection, stores, 2)
        assert not numbers(connection, stores, 0)
        put(connection, stores, [{"id": number, "url": f"file:///{number}"} for number in then])
        put(connection, stores, [{"url": "file:///last"}])
        last = connection.execute(select(func.max(stores.c.id))).scalar_one()
    assert [*first, *then, last] == list(range(first[0], first[0] + 6))


def test_a_line_that_is_held_and_through_which_nothing_comes_any_more(
    database: str, line: CutLine, opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As behind a proxy that lost the server: no end of the line is told so. What was not answered is done once."""
    monkeypatch.setattr(connections, "_LATE_S", 0.5)
    begun_and_closed(database, line, opened(through(database, line.port)), "silent_after")
    assert "the line is cut" in caplog.text


def test_a_server_behind_lines_that_are_all_held_comes_back(
    database: str, line: CutLine, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LATE_S", 0.3)
    monkeypatch.setattr(connections, "_ASK_S", 0.3)
    place = through(database, line.port)
    ledger = opened(f"{place}{'&' if '?' in place else '?'}connect_timeout=2")
    run = ledger.begin_run("scan", STORE, {})
    line.silent = True
    back = threading.Timer(4.0, lambda: setattr(line, "silent", False))
    back.start()
    ledger.record(run, STORE, [judged("a")])
    assert not line.silent
    back.join()
    assert ask(database, "SELECT count(*) FROM contents") == 1
    assert ledger.verify().problem is None


@pytest.mark.parametrize(
    "pooled", [False, pytest.param(True, marks=pytest.mark.needs("pgbouncer"))], ids=["directly", "behind a pooler"]
)
def test_a_server_that_is_long_at_work_is_waited_for(
    ledger_server: PostgresqlServer,
    database: str,
    pooled: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(connections, "_LATE_S", 0.2)
    with pgbouncer(ledger_server) if pooled else nullcontext(ledger_server) as front:
        server = open_database(through(database, front.port))
        with server.read() as connection:
            assert connection.execute(text("SELECT 7 FROM pg_sleep(2)")).scalar_one() == 7
        server.dispose()
    assert "the line is cut" not in caplog.text


def test_a_server_that_stays_away_is_told_in_one_line_and_nothing_is_kept(
    database: str, line: CutLine, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = opened(through(database, line.port), wait_s=0.3)
    run = ledger.begin_run("scan", STORE, {})
    line.refuse = True
    line.cut()
    with caplog.at_level(logging.WARNING), pytest.raises(LedgerError) as caught:
        ledger.record(run, STORE, [judged("a")])
    assert caught.value.exit_code is ExitCode.OUTSIDE and "\n" not in caught.value.line()
    assert "waiting for it" in caplog.text
    assert ask(database, "SELECT count(*) FROM contents") == 0


def test_a_pass_outlives_a_crash_of_its_server(
    ledger_server: PostgresqlServer, database: str, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = opened(database)
    run = ledger.begin_run("scan", STORE, {})
    over = threading.Event()

    def record() -> int:
        number = 0
        while not over.is_set() or number < 20:
            ledger.record(run, STORE, [judged(f"{number}-{part}") for part in range(5)])
            number += 1
        return number

    with caplog.at_level(logging.WARNING), ledger.run_lock(STORE), ThreadPoolExecutor(1) as writer:
        writing = writer.submit(record)
        time.sleep(0.2)
        backend = ask(database, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type ="
                      " 'client backend' LIMIT 1")  # fmt: skip
        os.kill(backend, signal.SIGKILL)  # whereupon the server ends all others, and recovers
        time.sleep(0.3)
        over.set()
        batches = writing.result(120)
        assert "is there again" in caplog.text
        with pytest.raises(LedgerError, match="another fedi-safety run"), opened(database).run_lock(STORE):
            pass  # the right to run was taken anew
    assert ask(database, "SELECT count(*) FROM objects") == batches * 5
    assert ledger.verify().problem is None


def test_who_lost_the_right_to_run_while_the_line_was_cut_writes_nothing_more(
    database: str, line: CutLine, opened: Opened
) -> None:
    first, second = opened(through(database, line.port)), opened(database)
    run = first.begin_run("scan", STORE, {})
    with first.run_lock(STORE):
        line.refuse = True
        line.cut()
        deadline = time.monotonic() + 20
        while True:
            try:
                held = second.run_lock(STORE)
                held.__enter__()
                break
            except LedgerError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        line.refuse = False
        with pytest.raises(LedgerError, match="the connection was lost, and meanwhile another fedi-safety run"):
            first.record(run, STORE, [judged("a")])
        held.__exit__(None, None, None)
    assert ask(database, "SELECT count(*) FROM objects") == 0


# --- PgBouncer


@pytest.mark.needs("pgbouncer")
def test_a_pooler_that_gives_each_transaction_another_connection(
    ledger_server: PostgresqlServer, database: str, opened: Opened
) -> None:
    with pgbouncer(ledger_server) as front:
        ledgers = [opened(through(database, front.port)) for _ in range(3)]
        runs = [ledger.begin_run("scan", STORE, {}) for ledger in ledgers]
        with ledgers[0].run_lock(STORE):
            with pytest.raises(LedgerError, match="another fedi-safety run"), ledgers[1].run_lock(STORE):
                pass
            with ledgers[1].run_lock("file:///another"):
                pass

            def work(number: int) -> int:
                ledger, run = ledgers[number], runs[number]
                for batch in range(10):
                    ledger.record(run, STORE, [judged(f"{batch}-{n}") for n in range(20)])
                return len(ledger.start(run, block(ledger, run, *(f"x{n}" for n in range(30)))))

            with ThreadPoolExecutor(3) as workers:
                assert sum(workers.map(work, range(3))) == 30
        with ledgers[1].run_lock(STORE):
            pass
        assert ledgers[0].verify().problem is None


# --- rights to run, and passes under way


def test_each_store_has_its_run_and_what_concerns_all_waits_for_all(database: str, opened: Opened) -> None:
    one, other = opened(database), opened(database)
    refused = pytest.raises(LedgerError, match=r"pid \d+ on \S+\) is using this ledger")
    with one.run_lock("file:///a"), other.run_lock("file:///b"), refused, other.run_lock():
        pass
    with one.run_lock(), pytest.raises(LedgerError, match="another fedi-safety run"), other.run_lock("file:///a"):
        pass


def test_a_pass_is_seen_from_elsewhere_while_it_runs(database: str, opened: Opened) -> None:
    one, other = opened(database), opened(database, readonly=True)
    run = one.begin_run("scan", STORE, {})
    with one.pass_under_way() as tell:
        tell(Progress(run, STORE, False, 1.0, 2.0, 30, 100))
        deadline = time.monotonic() + 20
        while not other.under_way():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert [(each.run, each.done, each.total) for each in other.under_way()] == [(run, 30, 100)]
        assert other.figures().runs[0]["summary"] is None
    assert other.under_way() == []


# --- what is refused


@pytest.mark.parametrize(
    ("role", "name", "told", "code"),
    [
        (f"{LOCKED}:wrong", None, "refuses the name or the password", ExitCode.USAGE),
        ("owner", "nowhere", "has no such database", ExitCode.USAGE),
    ],
)
def test_who_is_not_let_in_reads_why(
    ledger_server: PostgresqlServer, database: str, role: str, name: str | None, told: str, code: ExitCode
) -> None:
    if role.startswith(LOCKED):
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"DROP ROLE IF EXISTS {LOCKED}".encode())
            connection.execute(f"CREATE ROLE {LOCKED} LOGIN PASSWORD 'right'".encode())
    url = f"postgresql://{role}@127.0.0.1:{ledger_server.port}/{name or database.rpartition('/')[2]}"
    with pytest.raises(LedgerError) as caught:
        open_ledger(url, clock=SystemClock())
    line = caught.value.line()
    assert told in line and caught.value.exit_code is code
    assert "wrong" not in line and "\n" not in line


def test_nobody_there_is_said_at_once(line: CutLine) -> None:
    line.refuse = True
    began = time.monotonic()
    with pytest.raises(LedgerError, match="cannot be reached") as caught:
        open_ledger(f"postgresql://owner:secret@127.0.0.1:{line.port}/x", clock=SystemClock())
    assert caught.value.exit_code is ExitCode.OUTSIDE and "secret" not in caught.value.line()
    assert time.monotonic() - began < 15


def test_a_role_that_may_make_no_tables(ledger_server: PostgresqlServer, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(b"DROP ROLE IF EXISTS guest")
        connection.execute(b"CREATE ROLE guest LOGIN")
    with pytest.raises(LedgerUsageError, match="may not do that there; let the role make tables"):
        open_ledger(ledger_server.dsn("guest", database.rpartition("/")[2]), clock=SystemClock())
    ledger_server.execute("DROP ROLE guest")


def test_a_server_that_is_too_old(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "OLDEST", 990_000)
    with pytest.raises(LedgerUsageError, match=r"its server is PostgreSQL \d\d, and 99 is the oldest that will do"):
        open_ledger(database, clock=SystemClock())


@pytest.mark.parametrize(
    ("state", "told", "code"),
    [
        ("53100", "the disk of its server is full", ExitCode.OUTSIDE),
        ("25006", "is a read-only replica", ExitCode.USAGE),
        ("55P03", "is locked by another program", ExitCode.OUTSIDE),
        ("57014", "a statement took longer than it may", ExitCode.OUTSIDE),
        ("40001", "other programs kept it too busy", ExitCode.OUTSIDE),
    ],
)
def test_what_a_server_says_of_itself_is_told_in_our_words(
    database: str, opened: Opened, state: str, told: str, code: ExitCode
) -> None:
    ledger = opened(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION 'secret' USING ERRCODE = '{state}'; END $$".encode()
        )
        connection.execute(b"CREATE TRIGGER refuse BEFORE INSERT ON contents EXECUTE FUNCTION refuse()")
    run = ledger.begin_run("scan", STORE, {})
    with pytest.raises(LedgerError, match=told) as caught:
        ledger.record(run, STORE, [judged("a")])
    assert caught.value.exit_code is code and "secret" not in caught.value.line()
    assert ledger.verify().problem is None


@pytest.mark.needs("disk")
def test_a_servers_disk_that_is_really_full(ledger_server: PostgresqlServer, opened: Opened) -> None:
    """The database lies in a tablespace of its own, on a file system of 32 MB."""
    place = Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp"))
    with small_disk(place, 32) as disk:
        shutil.chown(place, "nobody")
        ledger_server.execute(f"CREATE TABLESPACE small LOCATION '{place}'", "CREATE DATABASE small TABLESPACE small")
        try:
            ledger = opened(ledger_server.dsn(database="small"))
            run = ledger.begin_run("scan", STORE, {})
            batches = [[judged(f"{number}-{part}") for part in range(200)] for number in range(100)]
            ledger.record(run, STORE, batches[0])
            disk.fill()
            kept = 1
            with pytest.raises(LedgerError, match="the disk of its server is full") as caught:
                for batch in batches[1:]:
                    ledger.record(run, STORE, batch)
                    kept += 1
            assert caught.value.exit_code is ExitCode.OUTSIDE
            assert ask(ledger_server.dsn(database="small"), "SELECT count(*) FROM objects") == 200 * kept
            disk.free()
            ledger.record(run, STORE, batches[kept])  # what failed goes on where it was
            found = ledger.verify()
            assert (found.problem, found.miscounted) == (None, None)
            ledger.dispose()
        finally:
            ledger_server.execute("DROP DATABASE IF EXISTS small WITH (FORCE)", "DROP TABLESPACE small")
    place.rmdir()


def test_a_replica_can_be_read_and_not_written() -> None:
    kept = Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp")) / "data"
    try:
        with postgresql_server(keep=kept) as primary:
            ledger = open_ledger(primary.dsn(), clock=SystemClock())
            ledger.record(ledger.begin_run("scan", STORE, {}), STORE, [judged("a")])
            ledger.dispose()
        (kept / "standby.signal").touch()  # it waits for more of the primary's log from now on
        with postgresql_server(template=kept) as replica:
            reader = open_ledger(replica.dsn(), clock=SystemClock(), readonly=True)
            assert reader.show(sha("a")) is not None and reader.verify().problem is None
            reader.dispose()
            with pytest.raises(LedgerUsageError, match="read-only replica"):
                open_ledger(replica.dsn(), clock=SystemClock())
    finally:
        shutil.rmtree(kept.parent)


def test_an_older_worker_stops_at_its_next_write_when_the_ledger_was_upgraded(database: str, opened: Opened) -> None:
    ledger = opened(database)
    run = ledger.begin_run("scan", STORE, {})
    with psycopg.connect(database) as connection:
        connection.execute(b"UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match="was upgraded by a newer version"):
        ledger.record(run, STORE, [judged("a")])
    with pytest.raises(LedgerUsageError, match="newer version of fedi-safety"):
        open_ledger(database, clock=SystemClock())


def test_two_that_open_an_empty_database_at_once(database: str, opened: Opened) -> None:
    with ThreadPoolExecutor(4) as many:
        ledgers = list(many.map(lambda _: opened(database), range(4)))
    assert all(ledger.verify().problem is None for ledger in ledgers)


def test_two_statements_of_one_row_are_both_carried_out(database: str, opened: Opened) -> None:
    from sqlalchemy import bindparam, update

    from fedi_safety.ledger.schema import stores

    ledger = opened(database)
    ledger.record(ledger.begin_run("scan", STORE, {}), STORE, [judged("a")])
    add = update(stores).where(stores.c.id == bindparam("row")).values(identity=stores.c.identity + bindparam("more"))
    with ledger.database.write() as connection:
        connection.execute(update(stores).values(identity=""))
        connection.execute(add, [{"row": 1, "more": "x%"}, {"row": 1, "more": "y"}])
    with ledger.database.read() as connection:
        assert connection.execute(stores.select()).one().identity == "x%y"


# --- the program


def test_the_program_on_a_ledger_that_the_environment_names(
    ledger_server: PostgresqlServer, database: str, tmp_path: Path
) -> None:
    """As an administrator has it: a role with a password, two stores, all that is asked of a ledger afterwards."""
    name = database.rpartition("/")[2]
    ledger_server.execute(
        f"DROP ROLE IF EXISTS {LOCKED}",
        f"CREATE ROLE {LOCKED} LOGIN PASSWORD 'hush-hush'",
        f"ALTER DATABASE {name} OWNER TO {LOCKED}",
    )
    env = {"FEDI_SAFETY_LEDGER": f"postgresql://{LOCKED}:hush-hush@127.0.0.1:{ledger_server.port}/{name}"}
    said: list[Done] = []

    def asked(*words: str, code: int = 0) -> Done:
        done = program(*words, env=env)
        assert done.code == code, done
        said.append(done)
        return done

    stores = [tmp_path / each for each in ("one", "other")]
    for store in stores:
        store.mkdir()
        (store / "card.png").write_bytes(draw_test_card())
    try:
        with ThreadPoolExecutor(2) as both:
            dry = list(
                both.map(lambda store: asked("scan", str(store), "--dry-run", "--act", "delete", "--json"), stores)
            )
        assert [done.json["planned"] for done in dry] == [1, 1]
        assert "card.png" in asked("list", "--verdict", "block").out
        assert "test card" in asked("show", "card.png").out
        assert f"ledger: postgresql://{LOCKED}@127.0.0.1:{ledger_server.port}/{name}" in asked("report").out
        asked("apply", str(stores[0]), "--yes")
        assert not (stores[0] / "card.png").exists() and (stores[1] / "card.png").exists()
        asked("ledger", "verify")
        asked("ledger", "recount")
        asked("history")
        refused = asked("ledger", "backup", str(tmp_path / "copy.db"), code=2)
        assert "pg_dump" in refused.err
        assert "hush-hush" not in "".join(done.out + done.err for done in said)
        told = program("report", "--ledger", env["FEDI_SAFETY_LEDGER"])
        assert told.code == 0 and "everybody on this machine can read the password" in told.err
        assert "hush-hush" not in told.out + told.err
    finally:
        ledger_server.execute(f"REASSIGN OWNED BY {LOCKED} TO owner", f"DROP ROLE {LOCKED}", database=name)


def test_a_service_of_libpq_names_the_ledger(
    ledger_server: PostgresqlServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    services = tmp_path / "services.conf"
    name = database.rpartition("/")[2]
    services.write_text(f"[safety]\nhost=127.0.0.1\nport={ledger_server.port}\nuser=owner\ndbname={name}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    assert opened("postgresql:///?service=safety").name == "postgresql:///?service=safety"
    monkeypatch.setenv("PGSERVICE", "safety")
    assert opened("postgresql://").verify().problem is None
    assert ask(database, "SELECT count(*) FROM alembic_version") == 1
