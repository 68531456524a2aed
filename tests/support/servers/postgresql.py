"""A real PostgreSQL for tests, on a free loopback port, gone with all that is in it at the end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from support import needs
from support.servers import debian
from support.servers.sshd import free_port

LOCKED = "locked"
"""A role of this name needs its password; every other one is let in without."""
_READY_S = 60
_PATH = f"{os.defpath}:/usr/sbin"  # where chroot is


@dataclass(frozen=True)
class PostgresqlServer:
    """A running PostgreSQL, whose superuser is `owner`."""

    port: int
    process: subprocess.Popen[bytes]

    def dsn(self, role: str = "owner", database: str = "postgres", password: str = "") -> str:
        """Return the connection string of a role."""
        login = f"{quote(role)}:{quote(password)}" if password else quote(role)
        return f"postgresql://{login}@127.0.0.1:{self.port}/{quote(database)}"

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as its superuser, each by itself."""
        import psycopg

        with psycopg.connect(self.dsn(database=database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@dataclass(frozen=True)
class Installed:
    """Where a PostgreSQL's programs are: in `bin` of this machine, or of a Debian `root`."""

    bin: Path
    root: Path | None = None

    @property
    def major(self) -> int:
        """Its version, without what comes after the point."""
        command, options = self.run("postgres", "--version")
        environment = {"PATH": _PATH}
        told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, **options).stdout
        return int(re.findall(r"\d+", told)[0])

    def run(self, program: str, *arguments: str) -> tuple[list[str], dict[str, Any]]:
        """Return command and options that run a program, never as root: PostgreSQL refuses that."""
        command = [str(self.bin / program), *arguments]
        if self.root is not None:
            return ["chroot", "--userspec=nobody:nogroup", str(self.root), *command], {}
        return command, {"user": "nobody" if os.geteuid() == 0 else None}


def installed() -> Installed:
    """Return what this machine has."""
    found = debian.path_of("initdb")
    if found is None:
        raise RuntimeError("PostgreSQL is missing: install the package postgresql")
    return Installed(Path(found).resolve().parent)


def newer() -> Installed:
    """Return the newest of a prepared Debian 13 root, which is PostgreSQL 17."""
    root = debian.CACHE / "trixie"
    inside = sorted(root.glob("usr/lib/postgresql/*/bin"))
    if not inside:
        raise RuntimeError("no newer PostgreSQL is prepared: run ./dev test --servers lemmy once")
    return Installed(Path("/") / inside[-1].relative_to(root), root)


@contextmanager
def postgresql_server(
    programs: Installed | None = None,
    *,
    template: Path | None = None,
    keep: Path | None = None,
    durable: bool = False,
) -> Iterator[PostgresqlServer]:
    """Start a PostgreSQL and remove it at the end.

    It begins with what is in `template`, a stopped one's data; at the end its own are put to `keep`. Only a `durable`
    one waits for its disk.
    """
    needs.started("postgresql")
    programs = programs or installed()
    with tempfile.TemporaryDirectory(
        prefix="postgresql-", dir="/tmp" if programs.root is None else programs.root / "srv"
    ) as folder:
        data, port = Path(folder) / "data", free_port()
        seen = folder if programs.root is None else f"/srv/{Path(folder).name}"
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        environment = {"PATH": _PATH, "HOME": seen, "LC_ALL": "C"}
        if template is None:
            initialise, options = programs.run(
                "initdb", "-D", f"{seen}/data", "-U", "owner", "-A", "trust", "-N", "--locale=C.UTF-8"
            )
            subprocess.run(initialise, check=True, capture_output=True, env=environment, **options)
            rules = data / "pg_hba.conf"
            rules.write_text(f"host all {LOCKED} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        else:
            subprocess.run(["cp", "-a", str(template), str(data)], check=True)
        command, options = programs.run(
            "postgres",
            "-D",
            f"{seen}/data",
            "-p",
            str(port),
            "-k",
            seen,
            "-h",
            "127.0.0.1",
            *([] if durable else ["-F"]),
        )
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, **options)
        server = PostgresqlServer(port, process)
        try:
            _wait(server)
            yield server
        finally:
            process.send_signal(signal.SIGCONT)  # where a test has stopped it
            process.send_signal(signal.SIGINT)  # fast shutdown: does not wait for clients
            process.wait(30)
        if keep is not None:
            subprocess.run(["cp", "-a", str(data), str(keep)], check=True)


def _wait(server: PostgresqlServer) -> None:
    import psycopg

    deadline = time.monotonic() + _READY_S
    while True:
        try:
            with psycopg.connect(server.dsn()) as connection:
                version = connection.info.server_version
            sys.stderr.write(f"PostgreSQL: {version // 10000}.{version % 10000} on port {server.port}\n")
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline or server.process.poll() is not None:
                raise
            time.sleep(0.05)
