"""The kinds of servers that can be asked who put a content there, as a table, and opening one. No kind knows another.

A tracer reads and changes nothing; what is found is the ledger's to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from fedi_safety.config.schema import Trace
from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import TraceUsageError
from fedi_safety.core.ports import Tracer
from fedi_safety.core.sightings import SightingWay
from fedi_safety.core.wording.nearest import did_you_mean

if TYPE_CHECKING:
    from fedi_safety.tracing.database import Schema


def _no_schemas() -> Sequence[Schema]:
    return ()


@dataclass(frozen=True, slots=True)
class TracerKind:
    """One kind of server. `servers` are the words for `trace.server`; `ways` are those that it can be asked by.

    `schemas` are what it reads of its database in the versions that are understood, newest first: see
    `ServerDatabase.schema`.
    """

    name: str
    servers: tuple[str, ...]
    ways: frozenset[SightingWay]
    open: Callable[[Trace], Tracer]
    schemas: Callable[[], Sequence[Schema]] = _no_schemas


def open_tracer(access: Trace) -> Tracer | None:
    """Return the configured tracer, None where none is; nothing is reached for yet.

    Raises `TraceUsageError` for a server that is not known, or a way that there is not.
    """
    if access.server is None:
        ways = (("url", access.url), ("database", access.database), ("token", access.token))
        for name, value in ways:
            if value is not None:
                raise TraceUsageError(f"trace.{name}", "no server is named", f"set `trace.server`: {_known()}")
        return None
    kind = kind_of(access.server)
    for name, value, way in (
        ("database", access.database, SightingWay.DATABASE),
        ("token", access.token, SightingWay.API),
    ):
        if value is not None and way not in kind.ways and not (name == "token" and access.actions):
            raise TraceUsageError(f"trace.{name}", f"{kind.name} is not asked by its {way}", "leave it out")
    if access.token is not None and access.url is None:
        raise TraceUsageError("trace.token", "the server's address is not known", "set `trace.url`")
    if access.token is not None:
        _check_token(access.token.get_secret_value())
    return kind.open(access)


def _check_token(token: str) -> None:
    from fedi_safety.clients.json_api import fits_header

    if not fits_header(token):
        raise TraceUsageError(
            "trace.token", "it has characters that no header can carry", "copy it anew, without line ends"
        )


def kind_of(server: str) -> TracerKind:
    """Return the kind of a server by its word. Raises `TraceUsageError` for one that is not known."""
    kind = next((kind for kind in KINDS if server in kind.servers), None)
    if kind is None:
        raise TraceUsageError(
            f"trace.server: {server}",
            "no such server is known",
            f"use one of: {_known()}{did_you_mean(server, _servers())}",
        )
    return kind


def _servers() -> list[str]:
    return [server for kind in KINDS for server in kind.servers]


def _known() -> str:
    return ", ".join(_servers())


def _open_mastodon(access: Trace) -> Tracer:
    from fedi_safety.tracing.mastodon import open_mastodon

    return open_mastodon(access)


def _open_lemmy(access: Trace) -> Tracer:
    from fedi_safety.tracing.lemmy import open_lemmy

    return open_lemmy(access)


def _open_misskey(access: Trace) -> Tracer:
    from fedi_safety.tracing.misskey import open_misskey

    return open_misskey(access)


def _open_pixelfed(access: Trace) -> Tracer:
    from fedi_safety.tracing.pixelfed import open_pixelfed

    return open_pixelfed(access)


def _open_pleroma(access: Trace) -> Tracer:
    from fedi_safety.tracing.pleroma import open_pleroma

    return open_pleroma(access)


def _open_piefed(access: Trace) -> Tracer:
    from fedi_safety.tracing.piefed import open_piefed

    return open_piefed(access)


def _open_mbin(access: Trace) -> Tracer:
    from fedi_safety.tracing.mbin import open_mbin

    return open_mbin(access)


def _schema_of(module: str) -> Callable[[], Sequence[Schema]]:
    """Return what gives the one schema that a module of this package understands."""

    def schemas() -> Sequence[Schema]:
        return (import_module(f"{__name__}.{module}").SCHEMA,)

    return schemas


def _lemmy_schemas() -> Sequence[Schema]:
    from fedi_safety.tracing.lemmy_schema import VERSIONS

    return [tables.schema for tables in VERSIONS]


_ALL = frozenset({SightingWay.DATABASE, SightingWay.API, SightingWay.PATH})
_NO_API = _ALL - {SightingWay.API}

KINDS: tuple[TracerKind, ...] = (
    TracerKind("mastodon", ("mastodon", "glitch-soc"), _ALL, _open_mastodon, _schema_of("mastodon")),
    TracerKind("lemmy", ("lemmy",), _ALL, _open_lemmy, _lemmy_schemas),
    TracerKind("misskey", ("misskey", "sharkey"), _ALL, _open_misskey, _schema_of("misskey")),
    TracerKind("pixelfed", ("pixelfed",), _NO_API, _open_pixelfed, _schema_of("pixelfed")),
    TracerKind("pleroma", ("pleroma", "akkoma"), _NO_API, _open_pleroma, _schema_of("pleroma")),
    TracerKind("piefed", ("piefed",), _NO_API, _open_piefed, _schema_of("piefed")),
    TracerKind("mbin", ("mbin",), _NO_API, _open_mbin, _schema_of("mbin")),
)
"""Every kind of server. A row here and a harness in tests/contract/test_tracer.py are what a new one needs besides its
own file."""
