"""The database of a server, asked by a role that may only read: opening it, its schema, and what the role may do.

A tracer says in a `Schema` what it reads. The GRANTs that `doctor` prints are made of that, and so are its complaints.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from fedi_safety.clients.postgresql import ReadOnlyPostgresql, Session, Trouble
from fedi_safety.core.errors import TraceError, TraceUsageError
from fedi_safety.core.wording.hints import hint

Reads = Mapping[str, tuple[str, ...]]
"""The columns that a tracer reads, by table, and nothing else."""

USUAL_ROLE = "fedi_safety"
PUBLIC = "public"
_NAMED = 3  # of other columns that a role may read
_PERSONAL = re.compile(r"mail|passw|secret|private|token|otp|(?:^|_)ip(?:_|$)|address", re.IGNORECASE)

_REMEDIES = {
    Trouble.SETUP: "write `{setting}` like postgresql://ROLE:PASSWORD@HOST/DATABASE",
    Trouble.CREDENTIALS: "check name and password in `{setting}`",
    Trouble.UNREACHABLE: "check that it runs, and the address in `{setting}`",
    Trouble.TIME: "look whether the server is busy, or raise `trace.limit_s`",
    Trouble.OTHER: "look into its log",
}
_MISCONFIGURED = (Trouble.SETUP, Trouble.CREDENTIALS, Trouble.PRIVILEGE, Trouble.SCHEMA)


class SlowAnswerError(TraceError):
    """The server's database takes longer over a question than it may. The next may be asked."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a tracer reads in some versions of a server. `name` says which, such as `Lemmy 0.19`."""

    name: str
    reads: Reads


class ServerDatabase:
    """A server's database. What it raises is a `TraceError`, and no message has a credential in it."""

    def __init__(self, dsn: str, name: str, *, expected: str = "", setting: str = "trace.database") -> None:
        """Take the connection string and the server's `name`; nothing is opened yet.

        `expected` are the versions whose schema is understood, in words; `setting` is where the string comes from.
        Raises `TraceUsageError` for what is no connection string, or one of another kind of database.
        """
        self._name = name
        self._expected = expected or name
        self._setting = setting
        kind = re.match(r"(\w+)(?:\+\w+)?://", dsn)
        if kind is not None and kind[1] not in ("postgresql", "postgres"):
            # Another kind would be chosen here: a class like `ReadOnlyPostgresql`, with sessions like its.
            raise TraceUsageError(setting, "only PostgreSQL is read", "leave it out: other ways remain")
        self._database = ReadOnlyPostgresql(dsn, f"database of {name}", self._fault)

    @contextmanager
    def session(self, within_s: float) -> Iterator[Session]:
        """Connect, and give what may be asked for `within_s` seconds. Raises `TraceError`, as do its questions."""
        with self._database.session(within_s) as session:
            yield session

    def schema(self, session: Session, schemas: Sequence[Schema]) -> Schema:
        """Return the first of `schemas` whose every table and column is there, whoever may read them.

        Raises `TraceUsageError` where there is none, and names what the nearest lacks.
        """
        there = columns(session, {table for schema in schemas for table in schema.reads})
        lacking = [(missing(schema.reads, there), schema) for schema in schemas]
        for lacks, schema in lacking:
            if not lacks:
                return schema
        names = ", ".join(schema.name for schema in schemas)
        lacks, nearest = min(lacking, key=lambda pair: len(pair[0]))
        cause = f"it has no {' and no '.join(lacks[:2])}" if there else f"it is no database of {nearest.name}'s"
        raise TraceUsageError(f"database of {self._name}", cause, f"the schema of {names} is expected")

    def _fault(self, trouble: Trouble, cause: str) -> TraceError:
        remedy = _REMEDIES.get(trouble, f"the schema of {self._expected} is expected").format(setting=self._setting)
        if trouble is Trouble.PRIVILEGE:
            remedy = f"{hint('doctor --sql')} prints what the role needs"
        kind = SlowAnswerError if trouble is Trouble.TIME else TraceError
        kind = TraceUsageError if trouble in _MISCONFIGURED else kind
        return kind(f"database of {self._name}", cause, remedy)


There = Mapping[str, Collection[str]]
"""The columns that a database has, by table."""


def columns(session: Session, tables: Collection[str], *, schema: str = PUBLIC) -> There:
    """Return the columns of those of `tables` that exist, whether or not the role may read them."""
    found: dict[str, set[str]] = defaultdict(set)
    rows = session.rows(
        "SELECT c.relname, a.attname FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid"
        " WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND a.attnum > 0 AND NOT a.attisdropped",
        {"schema": schema, "tables": sorted(tables)},
    )
    for table, column in rows:
        found[table].add(column)
    return dict(found)


def missing(reads: Reads, there: There) -> list[str]:
    """Return the tables and columns that are read and do not exist, as messages name them."""
    lacks = [f"table {table}" for table in reads if table not in there]
    return lacks + [
        f"column {table}.{column}"
        for table, wanted in reads.items()
        if table in there
        for column in wanted
        if column not in there[table]
    ]


def quoted(name: str) -> str:
    """Return a name as SQL takes it, whatever is in it: `userId` and `user` need quotes."""
    return '"{}"'.format(name.replace('"', '""'))


def grants(
    reads: Reads, *, role: str, database: str | None = None, schema: str = PUBLIC, create: bool = True
) -> list[str]:
    """Return the SQL, a statement each, by which a role can read this and nothing else.

    `create` is left out for a role that is there and lacks something. `database` is by default that which psql is in.
    No password is in it: that is for whoever runs it to set, as by psql's `\\password`.
    """
    name = quoted(role)
    at = ':"DBNAME"' if database is None else quoted(database)
    lines = [f"CREATE ROLE {name} LOGIN;", f"GRANT CONNECT ON DATABASE {at} TO {name};"] if create else []
    lines.append(f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {name};")
    for table, wanted in reads.items():
        listed = ", ".join(map(quoted, wanted))
        lines.append(f"GRANT SELECT ({listed}) ON TABLE {quoted(schema)}.{quoted(table)} TO {name};")
    return lines


@dataclass(frozen=True, slots=True)
class RoleFindings:
    """What a role may and may not do, measured by what it should. `lacks` are columns by table, that exist.

    `more` are complaints, a line each: what it may do beyond that. `shared` is what everybody may in this database.
    """

    role: str
    database: str
    lacks: Reads
    more: tuple[str, ...]
    shared: tuple[str, ...]


def role_findings(session: Session, reads: Reads, *, schema: str = PUBLIC) -> RoleFindings:
    """Return what the role of this session lacks to read `reads`, and what it may do beyond that."""
    ((role, database, usage),) = session.rows(
        "SELECT current_user::text, current_database()::text, has_schema_privilege(%(schema)s, 'USAGE')",
        {"schema": schema},
    )
    readable = _readable(session)
    own = {table: readable.get((schema, table), frozenset()) for table in reads}
    lacks = {
        table: tuple(column for column in wanted if not usage or column not in own[table])
        for table, wanted in reads.items()
    }
    more = _powers(session)
    if not any(complaint.startswith(_SUPERUSER) for complaint in more):
        more += [*_belongings(session), *_other_columns(readable, reads, schema)]
    return RoleFindings(
        role, database, {table: cells for table, cells in lacks.items() if cells}, tuple(more), tuple(_shared(session))
    )


_SUPERUSER = "it is a superuser"


def _powers(session: Session) -> list[str]:
    ((superuser, *others),) = session.rows(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
        " FROM pg_catalog.pg_roles WHERE rolname = current_user"
    )
    if superuser:
        return [f"{_SUPERUSER}: it may do everything"]
    names = ("make roles", "make databases", "replicate", "pass over row security")
    return [f"it may {name}" for name, has in zip(names, others, strict=True) if has]


# What extensions bring along is theirs: everybody may read pg_stat_statements, say.
_RELATIONS = """
SELECT c.oid, c.relkind, c.relowner, n.nspname, c.relname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%%'
AND n.nspname NOT LIKE 'pg\\_temp\\_%%' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
 AND d.objid = c.oid AND d.deptype = 'e')
"""


def _belongings(session: Session) -> list[str]:
    """What it may do to relations and schemas, and by whose name it may act."""
    found: list[str] = []
    questions: tuple[tuple[str, str], ...] = (
        (
            "it may act as",
            "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname <> current_user"
            " AND pg_has_role(current_user, oid, 'MEMBER') ORDER BY 1",
        ),
        (
            "it owns",
            f"SELECT relname FROM ({_RELATIONS}) r"
            " WHERE relowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user) ORDER BY 1",
        ),
        (
            "it may write",
            f"SELECT relname FROM ({_RELATIONS}) r WHERE CASE WHEN relkind = 'S'"
            " THEN has_sequence_privilege(oid, 'USAGE, UPDATE')"
            " ELSE has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
            " OR has_any_column_privilege(oid, 'INSERT, UPDATE, REFERENCES') END ORDER BY 1",
        ),
        (
            "it may make schemas in",
            "SELECT current_database()::text WHERE has_database_privilege(current_database(), 'CREATE')",
        ),
        (
            "it may make tables in schema",
            "SELECT nspname FROM pg_catalog.pg_namespace n WHERE nspname NOT LIKE 'pg\\_%%'"
            f" AND has_schema_privilege(oid, 'CREATE') AND NOT ({_EVERYBODY}) ORDER BY 1",
        ),
    )
    for complaint, query in questions:
        names = [name for (name,) in session.rows(query, {})]
        if names:
            found.append(f"{complaint} {_listed(names)}")
    return found


_EVERYBODY = (
    "EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a"
    " WHERE a.grantee = 0 AND a.privilege_type = 'CREATE')"
)


def _shared(session: Session) -> list[str]:
    """What PostgreSQL before 15 let everybody do. It is no fault of the role, and no revoking for it alone helps."""
    rows = session.rows(
        f"SELECT nspname FROM pg_catalog.pg_namespace n WHERE nspname NOT LIKE 'pg\\_%%' AND {_EVERYBODY}", {}
    )
    return [f"every role may make tables in schema {name}, as PostgreSQL before 15 had it" for (name,) in rows]


def _readable(session: Session) -> dict[tuple[str, str], frozenset[str]]:
    """Return the columns that the role may read, by schema and table. The privileges of schemas are not looked at."""
    rows = session.rows(
        f"SELECT r.nspname, r.relname, array_agg(a.attname::text) FROM ({_RELATIONS}) r"
        " JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid"
        " WHERE r.relkind <> 'S' AND a.attnum > 0 AND NOT a.attisdropped"
        " AND has_column_privilege(r.oid, a.attnum, 'SELECT') GROUP BY 1, 2",
        {},
    )
    return {(schema, table): frozenset(names) for schema, table, names in rows}


def _other_columns(readable: Mapping[tuple[str, str], Collection[str]], reads: Reads, schema: str) -> list[str]:
    other = [
        f"{table}.{column}"
        for (at, table), names in readable.items()
        for column in names
        if at != schema or column not in reads.get(table, ())
    ]
    # What concerns people first.
    other.sort(key=lambda name: (_PERSONAL.search(name) is None, name))
    return [f"it may read {_listed(other)}, of which there is no need"] if other else []


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
