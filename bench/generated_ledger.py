"""Millions of contents in a ledger on PostgreSQL, true to its tables: what was recorded, as often as is wanted, by SQL.

Some were recorded through the ledger's own port, condemned ones with plans and actions. Clear ones among them are the
patterns of all others, which differ in hash, key, size and time; counters are raised by as many. What is not clear has
a place in the chain of events and is never generated. Nothing in it was ever a picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text

from fedi_safety.core.enums import ActKind
from fedi_safety.core.types import Object
from fedi_safety.ledger.ledger import SqlLedger

PATTERNS = 50
STORE = "file:///srv/media"
_FIRST = 10_000_000_000  # rows that were recorded have lower numbers
_KEY = "convert_to('made/' || lpad((g.i / 1000)::text, 7, '0') || '/' || lpad(g.i::text, 10, '0') || '.jpg', 'UTF8')"
_OTHER = {
    "contents": {"id": f"{_FIRST} + g.i", "sha256": "sha256(int8send(g.i))", "size": "20000 + g.i % 70000"},
    "objects": {
        "id": f"{_FIRST} + g.i",
        "content_id": f"{_FIRST} + g.i",
        "key": _KEY,
        "size": "20000 + g.i % 70000",
        "mtime_ns": "1700000000000000000 + g.i * 1000003",
        "tag": "''",
    },
}
_WHICH = (
    "SELECT row_number() OVER (ORDER BY o.id) - 1 AS n, o.id AS object_id, c.id AS content_id, o.group_id, o.store_id,"
    " CAST(o.judged_at AS bigint) / 86400 AS day, c.run_id FROM objects o JOIN contents c ON c.id = o.content_id"
    " JOIN stores s ON s.id = o.store_id"
    " WHERE o.state = 'judged' AND c.verdict = 'clear' AND c.frames = 1 AND c.run_id IS NOT NULL AND s.url = :url"
    " ORDER BY o.id LIMIT :patterns"
)
_COUNTED = (
    "UPDATE object_groups g SET objects = g.objects + p.k FROM"
    " (SELECT group_id, count(*) * :each AS k FROM patterns GROUP BY group_id) p WHERE g.id = p.group_id",
    "UPDATE tallies t SET count = t.count + p.k FROM (SELECT store_id, day, count(*) * :each AS k FROM patterns"
    " GROUP BY store_id, day) p WHERE t.what = 'judged' AND t.store_id = p.store_id AND t.day = p.day",
    "UPDATE run_tallies t SET count = t.count + p.k FROM (SELECT run_id, count(*) * :each AS k FROM patterns"
    " GROUP BY run_id) p WHERE t.run_id = p.run_id AND t.verdict = 'clear'",
)


def multiply(records: SqlLedger, contents: int, step: int = 1_000_000) -> int:
    """Add about so many clear contents with an object each to a ledger on PostgreSQL; return how many."""
    each = contents // PATTERNS
    count = each * PATTERNS
    with records.database.write() as connection:
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        connection.execute(
            text(f"CREATE TEMP TABLE patterns ON COMMIT DROP AS {_WHICH}"), {"url": STORE, "patterns": PATTERNS}
        )
        found = connection.execute(text("SELECT count(*) FROM patterns")).scalar_one()
        if found != PATTERNS:
            raise SystemExit(f"{found} patterns in the ledger, {PATTERNS} are needed: record more by hand first")
        for table, row in (("contents", "content_id"), ("objects", "object_id")):
            for start in range(0, count, step):
                connection.execute(
                    text(_copies(connection, table, row)), {"a": start, "b": min(count, start + step) - 1}
                )
        for statement in _COUNTED:
            connection.execute(text(statement), {"each": each})
    return count


def _copies(connection: Any, table: str, row: str) -> str:
    columns = [
        name
        for (name,) in connection.execute(
            text(
                "SELECT column_name FROM information_schema.columns WHERE table_name = :t"
                " AND table_schema = current_schema() ORDER BY ordinal_position"
            ),
            {"t": table},
        )
    ]
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(_OTHER[table].get(name, f't."{name}"') for name in columns)
    return (
        f"INSERT INTO {table} ({names}) SELECT {values}"
        " FROM generate_series(CAST(:a AS bigint), CAST(:b AS bigint)) g(i)"
        f" JOIN patterns p ON p.n = g.i % {PATTERNS} JOIN {table} t ON t.id = p.{row}"
    )


def sizes(records: SqlLedger, contents: int) -> dict[str, float]:
    """Return the bytes an object that the largest tables and indexes have, and all of it."""
    query = (
        "SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relkind IN ('r', 'i') AND"
        " relnamespace = current_schema()::regnamespace ORDER BY 2 DESC LIMIT 9"
    )
    with records.database.read() as connection:
        whole = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        found = {name: round(size / contents, 1) for name, size in connection.execute(text(query))}
    return {"database": round(whole / contents, 1), **found}


class GeneratedStore:
    """A store that lists what `multiply` has made, as it was recorded. It holds nothing, and nothing is read of it."""

    url = STORE
    concurrency = 2
    default_act = ActKind.DELETE
    local_root: Path | None = None
    identity: str | None = None
    owner: str | None = None

    def __init__(self, objects: int) -> None:
        """List so many of them."""
        self._objects = objects

    def list(self, _prefixes: Sequence[str] = (), _since: float | None = None) -> Iterator[Object]:
        """Yield them in the order of their keys."""
        for i in range(self._objects):
            key = f"made/{i // 1000:07d}/{i:010d}.jpg"
            yield Object(key, 20_000 + i % 70_000, 1_700_000_000_000_000_000 + i * 1_000_003, "")

    def close(self) -> None:
        """Do nothing."""
