"""Where a PostgreSQL is, as libpq understands it: a URL, with what the environment and a service file add to it.

No password leaves this file but to libpq: people are told `name`.
"""

from __future__ import annotations

import os
import socket
from urllib.parse import quote

from fedi_safety.core.errors import LedgerUsageError

_NAMED = ("service", "user", "host", "port", "dbname")
_VARIABLES = {"service": "PGSERVICE", "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
_FORMS = "give postgresql://USER@HOST/DATABASE, or postgresql:// with PGSERVICE or the other variables of libpq"
_CONNECT_S = 10

_QUIET = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3", "tcp_user_timeout": "30000"}
"""So that a line that is dead is noticed within a minute."""


class Address:
    """One database of one server. Nothing is asked of it here."""

    def __init__(self, url: str) -> None:
        """Understand a URL. Raises `LedgerUsageError`, which never repeats what may hold a password."""
        try:
            from psycopg import Error
            from psycopg.conninfo import conninfo_to_dict, make_conninfo
        except ImportError:  # libpq is not there, say
            raise LedgerUsageError("postgresql://", "psycopg cannot be loaded", "install fedi-safety anew") from None
        scheme, _, rest = url.partition("://")
        try:
            said = conninfo_to_dict(f"{scheme.partition('+')[0]}://{rest}")
            known = {name: str(value) for name, value in said.items() if value not in (None, "")}
            usual = {"connect_timeout": str(_CONNECT_S), "client_encoding": "utf8", **_QUIET}
            self.conninfo = make_conninfo(**usual | known | {"application_name": _own_name()})
        except (Error, ValueError):
            raise LedgerUsageError("the ledger's postgresql:// URL", "is not understood", _FORMS) from None
        self.name = _spoken(known)


def _own_name() -> str:
    """Return what the server's administrator, and who waits for a lock, sees of this process."""
    return f"fedi-safety {os.getpid()} {socket.gethostname()}"[:63]


def _spoken(known: dict[str, str]) -> str:
    """Return a URL without anything secret, from what a URL or else the environment says."""
    told = {name: known.get(name) or os.environ.get(_VARIABLES[name], "") for name in _NAMED}
    user = f"{quote(told['user'], safe='')}@" if told["user"] else ""
    directory = told["host"].startswith("/")  # of a Unix socket
    host = "" if directory else told["host"]
    port = f":{told['port']}" if told["port"] and not directory else ""
    further = [
        f"{name}={quote(told[name], safe='/')}" for name in ("service", *(["host"] if directory else [])) if told[name]
    ]
    end = f"/{quote(told['dbname'], safe='')}" if told["dbname"] or further else ""
    return f"postgresql://{user}{host}{port}{end}{'?' if further else ''}{'&'.join(further)}"
