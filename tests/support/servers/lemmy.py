"""Lemmy's real tables and its real types of the HTTP API, from its crates; no Lemmy server of these versions is in a
registry.

`./dev test --servers lemmy` makes them ready (some minutes; cargo, and root with debootstrap unless the machine has
PostgreSQL 16 or newer). Tests build nothing: without a build they fail and name this command.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import needs
from support.servers import debian
from support.servers.pictrs import PACKAGES, SUITE
from support.servers.postgresql import Installed, PostgresqlServer, installed, newer, postgresql_server

_PROJECT = Path(__file__).with_name("lemmy_wire")
_CACHE = debian.CACHE / "lemmy"
_PLACE = _CACHE / "wire"  # where it is built, with a Cargo.lock of its own
_TARGET = _CACHE / "target"
_WIRE = _TARGET / "debug/lemmy-wire"
_BUILT_OF = _CACHE / "wire-sources"
_COMMAND = "./dev test --servers lemmy"
DATABASE = "lemmy"


@dataclass(frozen=True)
class Release:
    """A version of Lemmy, the crates that have its SQL, and the least PostgreSQL that takes it."""

    version: str
    migrations: str
    replaceable: str
    postgresql: int

    @property
    def template(self) -> Path:
        """Where the data of a PostgreSQL with its tables are kept."""
        how = hashlib.sha256(inspect.getsource(_load).encode()).hexdigest()[:12]
        return _CACHE / f"{self.version}-{how}-postgresql{_programs(self).major}"


V0_19 = Release("0.19.21", "lemmy_db_schema", "lemmy_db_schema", 15)
V1_0 = Release("1.0.0-beta.1", "lemmy_db_schema", "lemmy_diesel_utils", 16)
RELEASES = (V0_19, V1_0)


def check() -> bool:
    """Whether all is there; raises Unready if it cannot be."""
    there = debian.check(["initdb"], "postgresql")
    if shutil.which("cargo") is None:
        raise debian.Unready("cargo is missing", "install Rust (https://rustup.rs)")
    if not there:
        return False
    rooted = installed().major < V1_0.postgresql
    if rooted and not (debian.check_root(SUITE) and list((debian.CACHE / SUITE).glob("usr/lib/postgresql/*/bin"))):
        return False
    return _wire_is_new() and all(release.template.exists() for release in RELEASES)


def build(say: Callable[[str], None]) -> None:
    """Build the program of the types, and load the tables."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:  # two at once build once
        fcntl.flock(lock, fcntl.LOCK_EX)
        debian.need(["initdb"], "postgresql", say)
        if installed().major < V1_0.postgresql:
            debian.also(debian.root(SUITE, PACKAGES, say), {"usr/lib/postgresql/*/bin/postgres": "postgresql"})
        if not _wire_is_new():
            shutil.copytree(_PROJECT, _PLACE, dirs_exist_ok=True)
            environment = {**os.environ, "HOME": str(debian.HOME), "CARGO_TARGET_DIR": str(_TARGET)}
            command = ["nice", "-n", "19", "cargo", "build", "--manifest-path", str(_PLACE / "Cargo.toml")]
            debian.run(command, "cargo build lemmy-wire", environment)
            _BUILT_OF.write_text(_sources())
        for release in RELEASES:
            if not release.template.exists():
                _load(release)


def _sources() -> str:
    files = [_PROJECT / "Cargo.toml", *sorted(_PROJECT.glob("src/*"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _wire_is_new() -> bool:
    return _BUILT_OF.exists() and _BUILT_OF.read_text() == _sources()


def _programs(release: Release) -> Installed:
    own = installed()
    if own.major >= release.postgresql:
        return own
    return newer()


def _crate(name: str, version: str) -> Path:
    """Return where cargo has the source of a crate that the program of the types is built of."""
    told = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--manifest-path", _PLACE / "Cargo.toml"],
        env={**os.environ, "HOME": str(debian.HOME)},
        check=True,
        capture_output=True,
    )
    packages = json.loads(told.stdout)["packages"]
    return next(Path(p["manifest_path"]).parent for p in packages if (p["name"], p["version"]) == (name, version))


def _load(release: Release) -> None:
    """Do what Lemmy does at its first start: all migrations in order, then the schema that it replaces each time."""
    import psycopg

    migrations = _crate(release.migrations, release.version) / "migrations"
    replaceable = _crate(release.replaceable, release.version) / "replaceable_schema"
    fresh = release.template.with_name("part")
    shutil.rmtree(fresh, ignore_errors=True)
    with postgresql_server(_programs(release), keep=fresh) as server:
        server.execute(f"CREATE DATABASE {DATABASE}")
        with psycopg.connect(server.dsn(database=DATABASE), autocommit=True) as connection:
            connection.execute("CREATE TABLE __diesel_schema_migrations (version varchar(50) PRIMARY KEY)")
            for folder in sorted(path for path in migrations.iterdir() if path.is_dir()):
                try:
                    connection.execute((folder / "up.sql").read_bytes())
                except psycopg.Error as error:
                    raise debian.Unready(f"Lemmy {release.version}, {folder.name}: {error}", "see its crate") from None
            connection.execute("DROP SCHEMA IF EXISTS r CASCADE; CREATE SCHEMA r")
            for name in ("utils.sql", "triggers.sql"):
                connection.execute((replaceable / name).read_bytes())
    fresh.rename(release.template)


@contextmanager
def lemmy_postgresql(release: Release) -> Iterator[PostgresqlServer]:
    """Start a PostgreSQL that has the tables of a Lemmy, empty, in the database `DATABASE`."""
    needs.started("lemmy")
    if not check():
        raise RuntimeError(f"Lemmy's tables are not loaded: run `{_COMMAND}` once")
    with postgresql_server(_programs(release), template=release.template) as server:
        yield server


class RefusedError(AssertionError):
    """A type of Lemmy's does not take this."""


class LemmyTypes:
    """Lemmy's own types: what they refuse, no Lemmy sends or takes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([_WIRE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self, name: str, text: str, form: str = "json") -> Any:
        """Return what the type makes of a text, as it would write it. Raises `RefusedError`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"type": name, "form": form, "text": text}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "refused" in answer:
            raise RefusedError(f"{name}: {answer['refused']}")
        return answer["read"]

    def close(self) -> None:
        """End the program."""
        self._process.communicate()


@contextmanager
def lemmy_types() -> Iterator[LemmyTypes]:
    """Start the program of the types."""
    needs.started("lemmy")
    if not _wire_is_new():
        raise RuntimeError(f"Lemmy's types are not built: run `{_COMMAND}` once")
    types = LemmyTypes()
    try:
        yield types
    finally:
        types.close()
