"""The roles by which other programs' databases are read, held to what is needed: no less, and nothing beyond it.

It asks and changes nothing. The SQL that it returns is for a person to read and run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedi_safety.clients.pictrs_database import READS
from fedi_safety.config.schema import Pictrs, Trace
from fedi_safety.core.errors import ExitCode, TraceError
from fedi_safety.core.sightings import SightingWay
from fedi_safety.tracing import TracerKind, kind_of, open_tracer
from fedi_safety.tracing.database import USUAL_ROLE, RoleFindings, Schema, ServerDatabase, grants, role_findings

_PICTRS_S = 10.0


@dataclass(frozen=True, slots=True)
class RoleFinding:
    """One thing that was seen, and the SQL that mends it. `ok` is None for what is only worth knowing."""

    ok: bool | None
    detail: str
    sql: tuple[str, ...] = ()
    code: ExitCode = ExitCode.DONE


def check_trace(access: Trace) -> Iterator[RoleFinding]:
    """Look at how a server is asked. Raises `TraceError` where it is set up wrongly or cannot be asked."""
    tracer = open_tracer(access)
    if tracer is None or access.server is None:
        return
    try:
        name = tracer.name
    finally:
        tracer.close()
    kind = kind_of(access.server)
    if access.database is not None:
        database = ServerDatabase(access.database.get_secret_value(), name)
        yield from _check_role(database, kind.schemas(), name, access.limit_s)
        return
    if SightingWay.DATABASE not in kind.ways:
        yield RoleFinding(True, f"{name}: asked by {_by(kind, access)}")
        return
    detail = f"{name}: asked by {_by(kind, access)}; `trace.database` would tell more, by a role that this SQL makes"
    yield RoleFinding(None, detail, _for_all(kind.schemas()))


def check_pictrs(access: Pictrs) -> Iterator[RoleFinding]:
    """Look at the role by which pict-rs' repository is read, where it is. Raises `TraceError` for a wrong setting."""
    if access.database is not None:
        name = "pict-rs"
        database = ServerDatabase(access.database.get_secret_value(), name, setting="pictrs.database")
        yield from _check_role(database, [Schema("pict-rs 0.5", READS)], name, _PICTRS_S)


def _by(kind: TracerKind, access: Trace) -> str:
    return "its API and by the path" if SightingWay.API in kind.ways and access.token is not None else "the path alone"


def _check_role(
    database: ServerDatabase, schemas: Sequence[Schema], name: str, within_s: float
) -> Iterator[RoleFinding]:
    try:
        with database.session(within_s) as session:
            schema = database.schema(session, schemas)
            found = role_findings(session, schema.reads)
    except TraceError as error:
        yield RoleFinding(False, error.line(), _for_all(schemas), error.exit_code)
        return
    yield from _judged(found, schema, name)


def _judged(found: RoleFindings, schema: Schema, name: str) -> Iterator[RoleFinding]:
    about = f"{name}: role {found.role} of database {found.database}"
    if found.lacks:
        columns = [f"{table}.{column}" for table, names in found.lacks.items() for column in names]
        detail = f"{about} may not read {', '.join(columns)}; run this SQL"
        yield RoleFinding(False, detail, tuple(grants(found.lacks, role=found.role, create=False)), code=ExitCode.USAGE)
    if found.more:
        role = USUAL_ROLE if found.role != USUAL_ROLE else f"{USUAL_ROLE}_reader"
        sql = _with_password(grants(schema.reads, role=role, database=found.database), role)
        detail = f"{about} can do more than it should: {'; '.join(found.more)}; use a role that this SQL makes"
        yield RoleFinding(False, detail, sql, code=ExitCode.USAGE)
    if not found.lacks and not found.more:
        yield RoleFinding(True, f"{about} may read what is needed of {schema.name}, and nothing else")
    for shared in found.shared:
        yield RoleFinding(None, f"{about}: {shared}")


def _for_all(schemas: Sequence[Schema]) -> tuple[str, ...]:
    """Return what makes a role, for each version of a server: which one it is nobody knows without its database."""
    lines: list[str] = []
    for schema in schemas:
        lines += [f"-- {schema.name}", *_with_password(grants(schema.reads, role=USUAL_ROLE), USUAL_ROLE)]
    return tuple(lines)


def _with_password(statements: Sequence[str], role: str) -> tuple[str, ...]:
    return (statements[0], f"-- set its password, in psql by: \\password {role}", *statements[1:])
