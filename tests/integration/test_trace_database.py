"""A server's database, asked by a role that may only read: a real PostgreSQL with a small stand-in in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from fedi_safety.core.errors import ExitCode, TraceError, TraceUsageError
from fedi_safety.core.tracing import Bounded
from fedi_safety.tracing.database import (
    Reads,
    Schema,
    ServerDatabase,
    SlowAnswerError,
    grants,
    quoted,
    role_findings,
)
from support.needs import needs
from support.servers.postgresql import LOCKED, PostgresqlServer, postgresql_server
from support.servers.wire import wire_before

SECRET = "s3cret-never-shown"
READS: Reads = {"user": ("id", "userId", "host"), "post": ("id", "user_id", "uri")}
TABLES = (
    'CREATE TABLE "user" (id int PRIMARY KEY, "userId" text, host text, email text, private_key text)',
    "CREATE TABLE post (id serial PRIMARY KEY, user_id int, uri text, body text)",
    "INSERT INTO \"user\" VALUES (1, 'someone', 'far.example', 'someone@far.example', 'a key')",
    "INSERT INTO post (user_id, uri) VALUES (1, 'https://far.example/1')",
)
_numbers = count(1)


@pytest.fixture(scope="module")
@needs("postgresql")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as running:
        yield running


@pytest.fixture
def database(server: PostgresqlServer) -> str:
    """A fresh database with the stand-in's tables; roles belong to all databases, so each test has its own."""
    name = f"server {next(_numbers)}"
    server.execute(f'CREATE DATABASE "{name}"')
    server.execute(*TABLES, database=name)
    return name


@pytest.fixture
def role() -> str:
    return f"Reader {next(_numbers)}"


def granted(server: PostgresqlServer, database: str, role: str, *more: str) -> ServerDatabase:
    """The database, as a role sees it that has what is printed, and `more`."""
    server.execute(*grants(READS, role=role, database=database), *more, database=database)
    return opened(server, database, role)


def opened(server: PostgresqlServer, database: str, role: str, port: int | None = None) -> ServerDatabase:
    dsn = f"host=127.0.0.1 port={port or server.port} user='{role}' dbname='{database}' password={SECRET}"
    return ServerDatabase(dsn, "stand-in at social.example")


def refused(database: ServerDatabase, query: str = "SELECT 1", within_s: float = 10) -> TraceError:
    with pytest.raises(TraceError) as caught, database.session(within_s) as session:
        session.rows(query)
    line = caught.value.line()
    assert SECRET not in line and "\n" not in line
    assert line.startswith("database of stand-in at social.example: ") and "; " in line
    return caught.value


def test_the_role_that_is_printed_can_read_what_is_needed_and_nothing_else(
    server: PostgresqlServer, database: str, role: str
) -> None:
    reader = granted(server, database, role)
    with reader.session(10) as session:
        found = role_findings(session, READS)
        assert (found.role, found.database) == (role, database)
        assert (found.lacks, found.more, found.shared) == ({}, (), ())
        for table, columns in READS.items():
            listed = ", ".join(map(quoted, columns))
            assert len(session.rows(f"SELECT {listed} FROM {quoted(table)}")) == 1
    for query in ('SELECT email FROM "user"', 'SELECT * FROM "user"', "SELECT body FROM post"):
        error = refused(reader, query)
        assert "permission denied" in error.line() and "(42501)" in error.line() and "doctor" in error.remedy


@pytest.mark.parametrize("left_out", range(1, len(READS) + 3))
def test_what_is_left_out_of_what_is_printed_is_missed(
    server: PostgresqlServer, database: str, role: str, left_out: int
) -> None:
    statements = grants(READS, role=role, database=database)
    del statements[left_out]
    server.execute(f'REVOKE ALL ON SCHEMA public FROM PUBLIC; REVOKE CONNECT ON DATABASE "{database}" FROM PUBLIC')
    server.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC", *statements, database=database)
    reader = opened(server, database, role)
    if left_out == 1:
        assert "may not connect" in refused(reader).line()
        return
    with reader.session(10) as session:
        lacks = role_findings(session, READS).lacks
    assert lacks == (READS if left_out == 2 else {list(READS)[left_out - 3]: list(READS.values())[left_out - 3]})
    server.execute(*grants(lacks, role=role, database=database, create=False), database=database)
    with reader.session(10) as session:
        assert role_findings(session, READS).lacks == {}


MORE = {
    'GRANT SELECT (email) ON "user" TO {role}': "may read user.email, of which",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}": "read user.email, user.private_key, post.body, of which",
    "GRANT INSERT ON post TO {role}": "may write post",
    "GRANT UPDATE (uri) ON post TO {role}": "may write post",
    "GRANT DELETE ON post TO {role}": "may write post",
    "GRANT TRUNCATE ON post TO {role}": "may write post",
    "GRANT USAGE ON SEQUENCE post_id_seq TO {role}": "may write post_id_seq",
    "GRANT CREATE ON SCHEMA public TO {role}": "make tables in schema public",
    "GRANT CREATE ON DATABASE {database} TO {role}": "make schemas in server",
    "GRANT pg_read_all_data TO {role}": "act as pg_read_all_data",
    "GRANT pg_write_all_data TO {role}": "act as pg_write_all_data",
    "ALTER TABLE post OWNER TO {role}": "owns post",
    "ALTER ROLE {role} SUPERUSER": "a superuser",
    "ALTER ROLE {role} CREATEROLE": "make roles",
    "ALTER ROLE {role} CREATEDB": "make databases",
    "ALTER ROLE {role} REPLICATION": "replicate",
    "ALTER ROLE {role} BYPASSRLS": "row security",
    "CREATE SCHEMA beside; CREATE TABLE beside.post (uri text); GRANT SELECT ON beside.post TO {role}": "read post.uri",
}


@pytest.mark.parametrize("statement", MORE)
def test_a_role_that_may_do_more_is_complained_of(
    server: PostgresqlServer, database: str, role: str, statement: str
) -> None:
    more = statement.format(role=quoted(role), database=quoted(database))
    with granted(server, database, role, more).session(10) as session:
        found = role_findings(session, READS)
    assert found.lacks == {}
    assert any(MORE[statement] in complaint for complaint in found.more), found


def test_what_everybody_may_is_told_apart(server: PostgresqlServer, database: str, role: str) -> None:
    with granted(server, database, role, "GRANT CREATE ON SCHEMA public TO PUBLIC").session(10) as session:
        found = role_findings(session, READS)
    assert found.more == ()
    assert "every role may make tables in schema public" in found.shared[0]


def test_nothing_is_written_by_a_role_that_could(server: PostgresqlServer, database: str) -> None:
    owner = opened(server, database, "owner")
    for query in (
        "DELETE FROM post",
        "UPDATE post SET uri = ''",
        "CREATE TABLE planted ()",
        "SELECT setval('post_id_seq', 99)",
    ):
        assert "(25006)" in refused(owner, query).line()
    with owner.session(10) as session:
        assert session.rows("SELECT count(*) FROM post") == [(1,)]


def test_a_question_takes_no_longer_than_it_may_and_the_next_may_be_asked(
    server: PostgresqlServer, database: str
) -> None:
    reader = opened(server, database, "owner")
    with reader.session(10) as session:
        began = time.monotonic()
        with pytest.raises(SlowAnswerError, match=r"no answer within 0\.2 s"):
            session.rows("SELECT pg_sleep(30)", within_s=0.2)
        assert time.monotonic() - began < 20
        assert session.rows("SELECT 1") == [(1,)]
    with reader.session(0.5) as session:
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(SlowAnswerError):
                session.rows("SELECT pg_sleep(30)")
        assert time.monotonic() - began < 20, "the time of a session is that of all its questions"


def test_a_line_that_went_dead_ends_the_session_in_time(server: PostgresqlServer, database: str) -> None:
    with wire_before(server.port) as wire:
        reader = opened(server, database, "owner", wire.port)
        with reader.session(1.0) as session:
            assert session.rows("SELECT 1") == [(1,)]
            wire.hold(True)
            began = time.monotonic()
            with pytest.raises(SlowAnswerError):
                Bounded().ask(lambda: session.rows("SELECT 1"), 10)
            assert time.monotonic() - began < 10


def test_text_that_it_cannot_hold_equals_nothing(server: PostgresqlServer, database: str) -> None:
    with opened(server, database, "owner").session(10) as session:
        for bad in ("\0", "\udcff", "https://far.example/1\0"):
            query = "SELECT id FROM post WHERE uri = %(uri)s"
            assert session.rows(query, {"uri": bad}) == []
            query = "SELECT id FROM post WHERE uri = ANY(%(uris)s)"
            assert session.rows(query, {"uris": [bad]}) == []
            assert session.rows(query, {"uris": [bad, "https://far.example/1"]}) == [(1,)]
        hostile = "'; DROP TABLE post; -- %s %(uri)s \\"
        assert session.rows("SELECT %(text)s::text", {"text": hostile}) == [(hostile,)]


def test_what_is_wrong_is_said_in_words_with_what_helps(server: PostgresqlServer, database: str) -> None:
    server.execute(f"CREATE ROLE {LOCKED} LOGIN PASSWORD 'another'")
    for wrong, cause, code in (
        (opened(server, database, LOCKED), "refuses the name or the password", ExitCode.USAGE),
        (opened(server, database, "nobody at all"), "refuses the name or the password", ExitCode.USAGE),
        (opened(server, "nowhere", "owner"), "has no such database", ExitCode.USAGE),
        (opened(server, database, "owner", port=9), "cannot be reached", ExitCode.OUTSIDE),
    ):
        error = refused(wrong)
        assert cause in error.line()
        assert error.exit_code == code
        assert "trace.database" in error.remedy
    owner = opened(server, database, "owner")
    for query, name in (
        ("SELECT handle FROM post", 'column "handle"'),
        ("SELECT p.handle FROM post p", "column p.handle"),
        ("SELECT 1 FROM posts", 'relation "posts"'),
    ):
        error = refused(owner, query)
        assert name in error.line() and "is expected" in error.remedy
        assert error.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("dsn", [f"postgresql://{SECRET}@[", f"password={SECRET} nonsense", f"host={SECRET} port='"])
def test_a_connection_string_that_is_none_is_refused_without_repeating_it(dsn: str) -> None:
    with pytest.raises(TraceUsageError, match="not understood") as caught:
        ServerDatabase(dsn, "stand-in")
    assert SECRET not in caught.value.line()
    assert SECRET not in str(caught.value.__cause__)


@pytest.mark.parametrize("kind", ["mysql", "mysql+pymysql", "mariadb", "sqlite"])
def test_another_kind_of_database_is_refused_by_name(kind: str) -> None:
    with pytest.raises(TraceUsageError, match="only PostgreSQL is read") as caught:
        ServerDatabase(f"{kind}://me:{SECRET}@127.0.0.1/pixelfed", "stand-in")
    assert SECRET not in caught.value.line()


def new(reads: Reads) -> Reads:
    return {table: (*columns, "added_in_2") if table == "post" else columns for table, columns in reads.items()}


def test_the_schema_that_is_there_is_chosen_and_what_the_nearest_lacks_is_named(
    server: PostgresqlServer, database: str, role: str
) -> None:
    schemas = [Schema("Stand-in 2", new(READS)), Schema("Stand-in 1", READS)]
    server.execute(f"CREATE ROLE {quoted(role)} LOGIN")  # that may read nothing yet: that is another question
    reader = opened(server, database, role)

    def chosen() -> str:
        with reader.session(10) as session:
            return reader.schema(session, schemas).name

    assert chosen() == "Stand-in 1"
    server.execute("ALTER TABLE post ADD added_in_2 text", database=database)
    assert chosen() == "Stand-in 2"
    check_unknown(chosen, server, database, "ALTER TABLE post RENAME uri TO address", "no column post.uri")
    check_unknown(chosen, server, database, "DROP TABLE post", "no table post")
    check_unknown(chosen, server, database, 'DROP TABLE "user"', "it is no database of Stand-in 2's")


def check_unknown(chosen: Callable[[], str], server: PostgresqlServer, database: str, change: str, cause: str) -> None:
    server.execute(change, database=database)
    with pytest.raises(TraceUsageError) as caught:
        chosen()
    assert cause in caught.value.cause
    assert "Stand-in 2, Stand-in 1 is expected" in caught.value.line()
