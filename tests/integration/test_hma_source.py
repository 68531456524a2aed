"""A Hasher-Matcher-Actioner's banks, read from a real PostgreSQL with its tables, by a role that may only read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fedi_safety.app.known.sources import bring
from fedi_safety.clients.hma_database import READS
from fedi_safety.core.errors import KnownError, KnownUsageError
from fedi_safety.known.sources import ListSource
from support.judged_before import World, flipped, md5, pdq
from support.needs import needs
from support.servers.postgresql import PostgresqlServer, postgresql_server

TABLES = (  # the columns that matter, as the models of version 1.1 make them
    "CREATE TABLE bank (id serial PRIMARY KEY, name varchar(255) NOT NULL UNIQUE, enabled_ratio float NOT NULL)",
    "CREATE TABLE bank_content (id serial PRIMARY KEY, bank_id integer NOT NULL REFERENCES bank(id),"
    " disable_until_ts integer NOT NULL, original_content_uri varchar)",
    "CREATE TABLE content_signal (content_id integer NOT NULL REFERENCES bank_content(id),"
    " signal_type varchar NOT NULL, signal_val text NOT NULL, create_time timestamptz NOT NULL DEFAULT now(),"
    " PRIMARY KEY (content_id, signal_type))",
    "INSERT INTO bank VALUES (1, 'OURS', 1.0), (2, 'THEIRS', 0.5), (3, 'OFF', 0.0)",
    "CREATE ROLE reader LOGIN",
    *(f"GRANT SELECT ON {table} TO reader" for table in READS),
)


@pytest.fixture(scope="module")
@needs("postgresql")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as running:
        running.execute(*TABLES)
        yield running


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.catalog.close()
    made.ledger.dispose()


def put(server: PostgresqlServer, number: int, bank: int, enabled: int, **signals: bytes) -> None:
    server.execute(
        f"INSERT INTO bank_content VALUES ({number}, {bank}, {enabled})",
        *(
            f"INSERT INTO content_signal VALUES ({number}, '{kind}', '{value.hex()}')"
            for kind, value in signals.items()
        ),
    )


def test_what_its_banks_match_with_is_the_list(world: World, server: PostgresqlServer) -> None:
    one, two, off, disabled = pdq(), pdq(), pdq(), pdq()
    world.judged("near", [flipped(one, 9)])
    put(server, 1, 1, 1, pdq=one, video_md5=md5("a"))
    put(server, 2, 2, 1_600_000_000, pdq=two)  # disabled until then
    put(server, 3, 3, 1, pdq=off)
    put(server, 4, 1, 0, pdq=disabled)
    put(server, 5, 1, 2_000_000_000, pdq=pdq())
    url = f"postgresql://127.0.0.1:{server.port}/postgres"
    source = ListSource("hma", "hma", url, credentials=lambda: "reader")
    came = bring(world.settings, world.ledger, world.catalog, source)
    assert {entry.hash for entry in world.catalog.entries("hma")} == {one, two, md5("a")}
    assert {entry.category for entry in world.catalog.entries("hma")} == {"OURS", "THEIRS"}
    assert (came.fetched.complete, world.planned()) == (True, ["near"])
    server.execute("DELETE FROM content_signal WHERE content_id = 1 AND signal_type = 'pdq'")
    ours = replace(source, categories=("OURS",))
    bring(world.settings, world.ledger, world.catalog, ours)
    assert {entry.hash for entry in world.catalog.entries("hma")} == {md5("a")}
    for where, said in ((url, "nobody:secret"), ("postgresql://127.0.0.1:1/postgres", "reader:secret")):
        wrong = replace(source, url=where, credentials=partial(str, said))
        with pytest.raises(KnownError, match="source hma: ") as raised:
            bring(world.settings, world.ledger, world.catalog, wrong)
        assert "secret" not in raised.value.line()
    with pytest.raises(KnownUsageError, match="credentials_file"):
        bring(
            world.settings, world.ledger, world.catalog, replace(source, url="postgresql://reader:x@127.0.0.1/postgres")
        )
    assert {entry.hash for entry in world.catalog.entries("hma")} == {md5("a")}
