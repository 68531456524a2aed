"""`doctor` and the role by which a server's database is read: what it prints, as a person gets it, tried with psql."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fedi_safety import tracing
from fedi_safety.cli import doctor_cmd
from fedi_safety.core.errors import ExitCode
from fedi_safety.tracing import KINDS
from fedi_safety.tracing.database import quoted
from support.needs import needs
from support.servers import debian
from support.servers.postgresql import PostgresqlServer, postgresql_server
from support.servers.stand_in_server import STAND_IN, STAND_INS

SECRET = "s3cret-never-shown"
ROLE = "fedi_safety"
_numbers = count(1)


@pytest.fixture(scope="module")
@needs("postgresql")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as running:
        yield running


@pytest.fixture
def database(server: PostgresqlServer) -> Iterator[str]:
    """A database with the stand-in's older tables, and no role; one that the test makes is gone after it."""
    name = f"stand-in {next(_numbers)}"
    server.execute(f"CREATE DATABASE {quoted(name)}")
    STAND_INS[0].make(server, name)
    yield name
    server.execute(f"DROP DATABASE {quoted(name)}", f"DROP ROLE IF EXISTS {ROLE}")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know the stand-in, and leave out what takes long and is tested elsewhere."""
    monkeypatch.setattr(tracing, "KINDS", (*KINDS, STAND_IN))
    for slow in ("_detectors", "_decoder"):
        monkeypatch.setattr(doctor_cmd, slow, lambda *_: iter(()))


class Doctor:
    """Runs `doctor` on configurations, and keeps what it said."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder, self._capsys = folder, capsys

    def __call__(self, *sections: str) -> tuple[int, list[dict[str, Any]]]:
        code, said = self._run(sections, as_json=True)
        return code, [f for f in json.loads(said)["findings"] if f["thing"].startswith("trace")]

    def text(self, *sections: str) -> tuple[int, str]:
        return self._run(sections, as_json=False)

    def _run(self, sections: tuple[str, ...], as_json: bool) -> tuple[int, str]:
        file = self._folder / "config.toml"
        file.write_text("\n".join((f"ledger = '{self._folder}/ledger.db'", *sections)))
        self._capsys.readouterr()
        code = doctor_cmd.doctor(json_output=as_json, config=str(file))
        said = self._capsys.readouterr()
        assert SECRET not in said.out + said.err
        return code, said.out


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(tmp_path, capsys)


def trace(dsn: str | None = None, server: str = "stand-in") -> str:
    lines = ["[trace]", f"server = '{server}'", *([f"database = '{dsn}'"] if dsn is not None else [])]
    return "\n".join(lines)


def psql(server: PostgresqlServer, database: str, sql: list[str]) -> None:
    """Run what is printed as a person does who owns the database."""
    program = debian.path_of("psql")
    assert program is not None
    command = [program, "-X", "-v", "ON_ERROR_STOP=1", server.dsn(database=database)]
    subprocess.run(command, input="\n".join(sql), text=True, check=True, capture_output=True)


def test_what_it_prints_for_a_server_without_a_role_makes_one_that_it_is_content_with(
    server: PostgresqlServer, database: str, doctor: Doctor
) -> None:
    code, (found,) = doctor(trace())
    assert (code, found["ok"]) == (0, None)
    assert "`trace.database` would tell more" in found["detail"]
    versions = [line for line in found["sql"] if line in ("-- Stand-in 2", "-- Stand-in 1")]
    assert len(versions) == 2, "which of them it is nobody knows before it is asked"
    psql(server, database, found["sql"][found["sql"].index("-- Stand-in 1") :])
    code, (found,) = doctor(trace(server.dsn(ROLE, database)))
    assert (code, found["ok"], found["sql"]) == (0, True, [])
    assert "may read what is needed of Stand-in 1, and nothing else" in found["detail"]


def test_the_sql_stands_below_what_is_wrong(server: PostgresqlServer, database: str, doctor: Doctor) -> None:
    server.execute(f"CREATE ROLE {ROLE} LOGIN")
    code, said = doctor.text(trace(server.dsn(ROLE, database)))
    assert code == ExitCode.USAGE
    lines = said.splitlines()
    (at,) = (n for n, line in enumerate(lines) if line.startswith("WRONG trace: "))
    assert "may not read user.id, user.userId, post.id, post.user_id, post.uri; run this SQL" in lines[at]
    sql = [line.strip() for line in lines[at + 1 : at + 4]]
    assert all(line.startswith("GRANT ") and line.endswith(";") for line in sql), sql
    psql(server, database, sql)
    code, said = doctor.text(trace(server.dsn(ROLE, database)))
    assert code == 0, said


def test_a_role_that_may_write_is_wrong_and_another_is_offered(
    server: PostgresqlServer, database: str, doctor: Doctor
) -> None:
    code, (found,) = doctor(trace(server.dsn(database=database)))
    assert (code, found["ok"]) == (ExitCode.USAGE, False)
    assert "role owner" in found["detail"] and "a superuser" in found["detail"]
    psql(server, database, found["sql"])
    assert doctor(trace(server.dsn(ROLE, database)))[0] == 0
    server.execute(f'GRANT INSERT, SELECT (email, private_key) ON "user" TO {ROLE}', database=database)
    code, (found,) = doctor(trace(server.dsn(ROLE, database)))
    assert code == ExitCode.USAGE
    assert "it may write user; it may read user.email, user.private_key, of which" in found["detail"]
    assert found["sql"][0] == f'CREATE ROLE "{ROLE}_reader" LOGIN;', "another than that one"


@pytest.mark.parametrize(
    "dsn,code,cause",
    [
        (f"postgresql://me:{SECRET}@127.0.0.1:9/x", ExitCode.OUTSIDE, "cannot be reached"),
        (f"postgresql://nobody:{SECRET}@HERE", ExitCode.USAGE, "refuses the name or the password"),
        (f"postgresql://owner:{SECRET}@127.0.0.1:PORT/postgres", ExitCode.USAGE, "no database of Stand-in 2's"),
        (f"postgresql://owner:{SECRET}@127.0.0.1:PORT/nowhere", ExitCode.USAGE, "no such database"),
        (f"{SECRET}", ExitCode.USAGE, "not understood"),
        (f"mysql://me:{SECRET}@127.0.0.1/x", ExitCode.USAGE, "only PostgreSQL is read"),
    ],
)
def test_what_is_wrong_with_a_database_is_one_line(
    server: PostgresqlServer, database: str, doctor: Doctor, dsn: str, code: ExitCode, cause: str
) -> None:
    here = f"127.0.0.1:{server.port}/{database.replace(' ', '%20')}"
    ended, (found,) = doctor(trace(dsn.replace("HERE", here).replace("PORT", str(server.port))))
    assert (ended, found["ok"]) == (code, False)
    assert cause in found["detail"] and "; " in found["detail"]


def test_what_is_set_up_wrongly_is_named(doctor: Doctor) -> None:
    for section, cause in (
        (trace(server="mastodont"), "no such server is known"),
        ("[trace]\nurl = 'https://social.example'", "no server is named"),
        (trace() + "\ntoken = 'x'", "is not asked by its api"),
    ):
        code, (found,) = doctor(section)
        assert (code, found["ok"]) == (ExitCode.USAGE, False)
        assert cause in found["detail"]
    assert doctor("") == (0, []), "nothing to say where nothing is traced"


@pytest.mark.long
def test_each_store_has_its_own_and_what_they_share_is_looked_at_once(doctor: Doctor, tmp_path: Path) -> None:
    stores = []
    for name in ("media", "cache", "other"):
        (tmp_path / name).mkdir()
        own = f"\n[stores.trace]\nserver = 'mastodon'\nurl = 'https://{name}.example'" if name == "other" else ""
        stores.append(f"[[stores]]\nname = '{name}'\nurl = '{tmp_path}/{name}'{own}")
    code, found = doctor(trace(), *stores)
    assert code == 0
    assert [f["thing"] for f in found] == ["trace", "trace of store other"]
    assert "mastodon at other.example: asked by" in found[1]["detail"]
