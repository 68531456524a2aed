"""What tracers find in the databases of six kinds of servers, *re-expressed*: their schemas in our own words.

The role has exactly the GRANTs that `doctor` prints. tests/contract/test_trace_roles.py holds each column to be needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import count

import psycopg
import pytest
from pydantic import SecretStr

from fedi_safety.config.schema import Trace
from fedi_safety.core.ports import Tracer
from fedi_safety.core.sightings import Sighting, SightingWay, Subject
from fedi_safety.tracing import kind_of, open_tracer
from fedi_safety.tracing.database import grants, quoted
from fedi_safety.tracing.pleroma import ADVISED
from fedi_safety.tracing.questions import Query
from support.needs import needs
from support.servers.postgresql import PostgresqlServer, postgresql_server
from support.servers.reexpressed import MISSKEY, PLEROMA, REEXPRESSED, SHA256, Reexpressed

_numbers = count(1)
SLOW = tuple(one for one in REEXPRESSED if one.slow)


@pytest.fixture(scope="module")
@needs("postgresql")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as running:
        yield running


@dataclass(frozen=True)
class Place:
    """A server's database, and a tracer that reads it by a role of its own."""

    known: Reexpressed
    server: PostgresqlServer
    database: str
    role: str
    tracer: Tracer

    def run(self, *statements: str) -> None:
        self.server.execute(*statements, database=self.database)


@pytest.fixture
def place(request: pytest.FixtureRequest, server: PostgresqlServer) -> Iterator[Place]:
    known: Reexpressed = request.param
    database, role = f"re-expressed {next(_numbers)}", f"reader {next(_numbers)}"
    server.execute(f"CREATE DATABASE {quoted(database)}")
    known.make(server, database)
    (schema,) = kind_of(known.server).schemas()
    server.execute(*grants(schema.reads, role=role, database=database), database=database)
    dsn = SecretStr(server.dsn(role, database))
    tracer = open_tracer(Trace(server=known.server, url="https://social.example", database=dsn))
    assert tracer is not None
    yield Place(known, server, database, role, tracer)
    tracer.close()


def each(*those: Reexpressed) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("place", those, indirect=True, ids=lambda one: one.server)


def in_order(sightings: tuple[Sighting, ...] | list[Sighting]) -> list[str]:
    return sorted(map(str, sightings))


@each(*REEXPRESSED)
def test_every_use_is_found_in_the_re_expressed_database(place: Place) -> None:
    for subject, expected in place.known.found.items():
        found = place.tracer.trace(subject, within_s=60)
        assert in_order(found.sightings) == in_order(expected), subject
        assert (found.closed, found.unknown) == ((), ""), subject


@each(*REEXPRESSED)
def test_no_text_of_posts_and_nothing_private_is_read_of_the_re_expressed_schema(place: Place) -> None:
    (schema,) = kind_of(place.known.server).schemas()
    private = re.compile(
        r"mail|pass|secret|private|token|(^|_)ip($|_)|text|body|content|caption|title|bio|about|note_|cw$", re.I
    )
    read = [f"{table}.{column}" for table, columns in schema.reads.items() for column in columns]
    assert [name for name in read if private.search(name.partition(".")[2])] == []
    found = [place.tracer.trace(subject, within_s=60) for subject in place.known.found]
    assert "said" not in str(found)  # which is what every post there says


@each(*REEXPRESSED)
def test_a_question_uses_an_index_of_the_re_expressed_schema_or_says_that_it_may_not(place: Place) -> None:
    queries: dict[str, Query] = import_module(f"fedi_safety.tracing.{place.known.server}").QUERIES
    for name, query in queries.items():
        if not query.scans and name != "attached":  # which is asked where its index is
            assert looked_through(place, query) == [], f"{name}: {query.sql}"


def looked_through(place: Place, query: Query) -> list[str]:
    """Return the tables that a question looks through row by row, where an index may be used for whatever it serves."""
    with psycopg.connect(place.server.dsn(database=place.database)) as connection:
        connection.execute("SET enable_seqscan = off")  # whoever still uses one has no choice
        explain = f"EXPLAIN (FORMAT JSON) {query.sql}"
        ((plans,),) = connection.execute(explain.encode(), place.known.params).fetchall()
    found: list[str] = []
    nodes = [plan["Plan"] for plan in plans]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", ())
        # A whole index that is read for the sake of its order, or because it is there, is no better.
        if "Relation Name" in node and node["Node Type"] != "Bitmap Heap Scan" and "Index Cond" not in node:
            found.append(node["Relation Name"])
    return found


@each(PLEROMA)
def test_the_advised_index_serves_posts_of_the_re_expressed_pleroma(place: Place) -> None:
    attached: Query = import_module("fedi_safety.tracing.pleroma").QUERIES["attached"]
    (plain,) = (subject for subject in place.known.found if subject.key and subject.key.startswith("uploads/"))
    before = place.tracer.trace(plain, within_s=60)
    assert looked_through(place, attached) == ["objects"]
    place.run(
        ADVISED,
        "INSERT INTO objects (id, data, inserted_at) SELECT n, jsonb_build_object('type', 'Note', 'id', n::text,"
        " 'attachment', jsonb_build_array(jsonb_build_object('url', n))), now() FROM generate_series(1000, 6000) n",
        "ANALYZE objects",
    )
    assert looked_through(place, attached) == []
    after = place.tracer.trace(plain, within_s=60)
    # The index leads to the post with this very address, and nothing else is looked through.
    assert [s.record for s in after.sightings] == ["objects/2"]
    assert set(after.sightings) < set(before.sightings)
    # Where it leads to nothing, everything is looked through as before.
    other = place.tracer.trace(Subject(key=f"e3/03/97/{SHA256.hex()}.png"), within_s=60)
    assert in_order(other.sightings) == in_order(before.sightings)


@each(*SLOW)
def test_what_takes_too_long_is_skipped_with_a_word_and_the_rest_of_the_re_expressed_is_found(place: Place) -> None:
    table = place.known.slow
    place.run(
        f"ALTER TABLE {quoted(table)} RENAME TO quick",
        f"CREATE VIEW {quoted(table)} AS SELECT * FROM quick OFFSET (SELECT 0 FROM pg_sleep(5))",
        f"GRANT SELECT ON {quoted(table)} TO {quoted(place.role)}",
    )
    found = place.tracer.trace(place.known.asked, within_s=2)
    assert re.search(rf"{place.known.word}: skipped after 0\.\d+ s, as no index leads there", found.unknown), found
    assert found.closed == (), "asking again would tell no more"
    if place.known.elsewhere:  # the questions after it had their time
        assert in_order(found.sightings) == in_order(place.known.found[place.known.asked])
    else:
        assert len(found.sightings) == 1, "the record itself, or what the path says"


@each(*REEXPRESSED)
def test_what_is_not_in_the_re_expressed_database_leaves_what_the_path_says(place: Place) -> None:
    place.run(*(f"TRUNCATE {quoted(table)} CASCADE" for table in tables(place)))
    for subject in place.known.found:
        found = place.tracer.trace(subject, within_s=60)
        assert {s.way for s in found.sightings} <= {SightingWay.PATH}
        assert found.unknown == ("the database knows of no such record" if found.sightings else "")
        assert found.closed == ()


def tables(place: Place) -> list[str]:
    (schema,) = kind_of(place.known.server).schemas()
    return list(schema.reads)


@each(*REEXPRESSED)
def test_hostile_names_change_nothing_in_the_re_expressed_database(place: Place) -> None:
    key = next(subject.key for subject in place.known.found if subject.key)
    for bad in ("\x00", "'; DROP TABLE statuses; --", "%", "_", '"', "\\", "\udcff", "é" * 3000):
        for asked in (f"{bad}/{key}", f"{key}{bad}", key.replace("/", f"{bad}/")):
            found = place.tracer.trace(Subject(key=asked, sha256=bytes(32)), within_s=60)
            assert found.closed == (), (asked, found)
    for subject, expected in place.known.found.items():
        assert in_order(place.tracer.trace(subject, within_s=60).sightings) == in_order(expected)


@each(MISSKEY)
def test_a_fork_with_the_same_tables_is_read_alike_re_expressed(place: Place) -> None:
    dsn = SecretStr(place.server.dsn(database=place.database))
    sharkey = open_tracer(Trace(server="sharkey", url="https://social.example", database=dsn))
    assert sharkey is not None
    for subject in place.known.found:
        assert sharkey.trace(subject, within_s=60) == place.tracer.trace(subject, within_s=60)
    sharkey.close()
