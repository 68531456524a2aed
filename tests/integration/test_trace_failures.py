"""What a server's database refuses is a row with its reason, shown by `show`, and traced once it is mended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from pydantic import SecretStr

from fedi_safety import tracing
from fedi_safety.cli import show_cmd, trace_cmd
from fedi_safety.config.schema import Trace
from fedi_safety.core.errors import TraceError
from fedi_safety.core.sightings import TraceState
from fedi_safety.core.tracing import Tracing
from fedi_safety.tracing import KINDS, open_tracer
from fedi_safety.tracing.database import grants, quoted
from support.fakes import FakeStore
from support.needs import needs
from support.passes import RED_CIRCLE, Bench
from support.servers.postgresql import LOCKED, PostgresqlServer, postgresql_server
from support.servers.stand_in_server import OLD, STAND_IN, STAND_INS

SECRET = "s3cret-never-shown"
KEY = "https://far.example/1"  # as the stand-in's post has it
_numbers = count(1)

BROKEN = {
    "a column that it may not read": (
        "REVOKE SELECT (uri) ON post FROM {role}",
        "GRANT SELECT (uri) ON post TO {role}",
        "permission denied for table post (42501); `fedi-safety doctor --sql` prints what the role needs",
    ),
    "a column that is missing": (
        "ALTER TABLE post RENAME uri TO address",
        "ALTER TABLE post RENAME address TO uri",
        "it has no column post.uri; the schema of Stand-in 2, Stand-in 1 is expected",
    ),
    "a version that is not known": (
        'ALTER TABLE "user" RENAME TO people; ALTER TABLE post RENAME TO notes',
        'ALTER TABLE people RENAME TO "user"; ALTER TABLE notes RENAME TO post',
        "it is no database of Stand-in 2's; the schema of Stand-in 2, Stand-in 1 is expected",
    ),
    "a wrong password": (
        "ALTER ROLE {role} PASSWORD 'another'",
        f"ALTER ROLE {{role}} PASSWORD '{SECRET}'",
        "it refuses the name or the password; check name and password in `trace.database`",
    ),
    "a role that may not log in": (
        "ALTER ROLE {role} NOLOGIN",
        "ALTER ROLE {role} LOGIN",
        "it refuses the name or the password; check name and password in `trace.database`",
    ),
    "a role that has all its connections": (
        "ALTER ROLE {role} CONNECTION LIMIT 0",
        "ALTER ROLE {role} CONNECTION LIMIT -1",
        "it takes no more connections; check that it runs, and the address in `trace.database`",
    ),
}


@pytest.fixture(scope="module")
@needs("postgresql")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as running:
        running.execute(f"CREATE ROLE {LOCKED} LOGIN PASSWORD '{SECRET}'")
        yield running


@pytest.fixture
def database(server: PostgresqlServer) -> str:
    name = f"stand-in {next(_numbers)}"
    server.execute(f"CREATE DATABASE {quoted(name)}")
    STAND_INS[0].make(server, name)
    server.execute(*grants(OLD.reads, role=LOCKED, database=name, create=False), database=name)
    return name


@pytest.mark.parametrize("what", BROKEN)
def test_what_fails_is_a_row_that_is_shown_and_made_again(
    server: PostgresqlServer,
    database: str,
    tmp_path: Path,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tracing, "KINDS", (*KINDS, STAND_IN))
    breaking, mending, cause = (text.replace("{role}", LOCKED) for text in BROKEN[what])
    dsn = server.dsn(LOCKED, database, SECRET)
    bench = Bench(tmp_path / "ledger.db", FakeStore({KEY: RED_CIRCLE}))
    sha256 = hashlib.sha256(RED_CIRCLE).digest()
    tracer = open_tracer(Trace(server="stand-in", database=SecretStr(dsn)))
    bench.tracing = Tracing(bench.ledger, bench.clock, bench.store.url, tracer=tracer)
    server.execute(breaking, database=database)
    try:
        tally, _ = bench.scan()
        assert tally.acted == 1, "`delete` goes on"
        (failed,) = bench.ledger.traces_of([sha256])[sha256]
        assert (failed.state, failed.detail) == (
            TraceState.FAILED,
            f"database of stand-in at social.example: {cause}",
        )
        config = tmp_path / "config.toml"
        config.write_text(f"ledger = '{bench.path}'\n[trace]\nserver = 'stand-in'\ndatabase = '{dsn}'\n")
        assert show_cmd.show(KEY, config=str(config)) == 0
        shown = capsys.readouterr().out
        assert f"failed: {failed.detail}; asked again from" in shown
        with pytest.raises(TraceError) as asked:
            trace_cmd.trace(KEY, config=str(config))
        assert asked.value.exit_code in (2, 3)
        line = asked.value.line()
        assert cause in line.replace(f" --config {config}", "") and "\n" not in line
        assert SECRET not in shown + line
    finally:
        server.execute(mending, database=database)
    bench.clock.advance(1e9)  # later than what was asked by hand, in today's time
    bench.scan()
    last = bench.ledger.traces_of([sha256])[sha256][-1]
    assert last.state is TraceState.FOUND
    assert [sighting.person for sighting in last.sightings] == ["someone"]
    bench.close()
