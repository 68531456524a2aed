"""A stand-in for a server of two versions: a kind for `fedi_safety.tracing.KINDS`, its tables, and a tracer of them."""

from __future__ import annotations

from collections.abc import Callable

from fedi_safety.config.schema import Trace
from fedi_safety.core.ports import Tracer
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing import TracerKind
from fedi_safety.tracing.database import Schema, ServerDatabase
from fedi_safety.tracing.ways import Way, WaysTracer
from support.servers.postgresql import PostgresqlServer
from support.servers.server_tables import ServerTables

OLD = Schema("Stand-in 1", {"user": ("id", "userId"), "post": ("id", "user_id", "uri")})
NEW = Schema("Stand-in 2", {"user": ("id", "userId"), "post": ("id", "user_id", "uri", "madeAt")})


def open_stand_in(access: Trace) -> Tracer:
    name = "stand-in at social.example"
    if access.database is None:
        return WaysTracer(name, [], lambda _subject: Traced(unknown="it is asked by its database alone"))
    database = ServerDatabase(access.database.get_secret_value(), name)

    def ask(subject: Subject, within_s: float) -> Traced:
        with database.session(within_s) as session:
            schema = database.schema(session, (NEW, OLD))
            at = 'extract(epoch FROM p."madeAt")::float8' if schema is NEW else "NULL"
            rows = session.rows(
                f'SELECT p.id::text, u."userId", {at} FROM post p JOIN "user" u ON u.id = p.user_id'
                " WHERE p.uri = %(url)s LIMIT 10",
                {"url": subject.url or subject.key},
            )
        kind, way, sure = SightingKind.POST, SightingWay.DATABASE, Certainty.CERTAIN
        return Traced(tuple(Sighting(kind, way, sure, post_id=post, person=who, at=at) for post, who, at in rows))

    return WaysTracer(name, [Way(SightingWay.DATABASE, ask)], lambda _subject: Traced())


def stand_in_tables(added: str = "") -> Callable[[PostgresqlServer, str], None]:
    def make(server: PostgresqlServer, database: str) -> None:
        server.execute(
            'CREATE TABLE "user" (id int PRIMARY KEY, "userId" text, email text, private_key text)',
            f"CREATE TABLE post (id int PRIMARY KEY, user_id int, uri text UNIQUE, body text{added})",
            "INSERT INTO \"user\" VALUES (1, 'someone', 'someone@far.example', 'a key')",
            "INSERT INTO post VALUES (1, 1, 'https://far.example/1', 'a text')",
            database=database,
        )

    return make


STAND_IN = TracerKind("stand-in", ("stand-in",), frozenset({SightingWay.DATABASE}), open_stand_in, lambda: (NEW, OLD))
_SUBJECTS = (Subject(url="https://far.example/1"),)
STAND_INS = (
    ServerTables("stand-in", OLD.name, stand_in_tables(), _SUBJECTS),
    ServerTables("stand-in", NEW.name, stand_in_tables(", \"madeAt\" timestamptz DEFAULT 'epoch'"), _SUBJECTS),
)
