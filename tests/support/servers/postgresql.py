"""A real PostgreSQL for tests, on a free loopback port, gone with all that is in it at the end."""

from __future__ import annotations

import os
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


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """Start a PostgreSQL and remove it at the end."""
    needs.started("postgresql")
    found = debian.path_of("initdb")
    if found is None:
        raise RuntimeError("PostgreSQL is missing: install the package postgresql")
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="postgresql-", dir="/tmp") as folder:
        data, port = Path(folder) / "data", free_port()
        if user is not None:
            shutil.chown(folder, user)
        run: dict[str, Any] = {"user": user, "cwd": folder, "env": {"PATH": os.defpath, "HOME": folder, "LC_ALL": "C"}}
        initialise = [found, "-D", str(data), "-U", "owner", "-A", "trust", "-N", "--locale=C.UTF-8"]
        subprocess.run(initialise, check=True, capture_output=True, **run)
        rules = data / "pg_hba.conf"
        rules.write_text(f"host all {LOCKED} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        command = [str(Path(found).parent / "postgres"), "-D", str(data), "-p", str(port), "-k", folder]
        command += ["-h", "127.0.0.1", "-F"]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **run)
        server = PostgresqlServer(port, process)
        try:
            _wait(server)
            yield server
        finally:
            process.send_signal(signal.SIGCONT)  # where a test has stopped it
            process.send_signal(signal.SIGINT)  # fast shutdown: does not wait for clients
            process.wait(30)


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
