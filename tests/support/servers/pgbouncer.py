"""A real PgBouncer for tests, in front of a PostgreSQL: each transaction may get another connection of the server's."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import needs
from support.servers import debian
from support.servers.postgresql import PostgresqlServer
from support.servers.sshd import free_port

_READY_S = 30


@contextmanager
def pgbouncer(server: PostgresqlServer, *, connections: int = 6) -> Iterator[PostgresqlServer]:
    """Start one that gives transactions at most so many connections, and give it as if it were the server."""
    needs.started("pgbouncer")
    program = debian.path_of("pgbouncer")
    if program is None:
        raise RuntimeError("PgBouncer is missing: install the package pgbouncer")
    with tempfile.TemporaryDirectory(prefix="pgbouncer-", dir="/tmp") as folder:
        port = free_port()
        config = Path(folder) / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nauth_type = any\nunix_socket_dir =\npool_mode = transaction\n"
            f"default_pool_size = {connections}\n"
        )
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        user = "nobody" if os.geteuid() == 0 else None
        # A database that any user may have must say which: `auth_type = any` takes no name from the client.
        config.write_text(config.read_text().replace(f"port={server.port}", f"port={server.port} user=owner"))
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen([program, str(config)], stdout=log, stderr=log, user=user)
        front = PostgresqlServer(port, process)
        try:
            _wait(front)
            yield front
        finally:
            process.terminate()
            process.wait(30)


def _wait(front: PostgresqlServer) -> None:
    import psycopg

    deadline = time.monotonic() + _READY_S
    while True:
        try:
            psycopg.connect(front.dsn()).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline or front.process.poll() is not None:
                raise
            time.sleep(0.05)
