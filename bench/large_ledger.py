"""A ledger of very many synthetic contents, made of a drawn one: each row of that, as often as is wanted, by SQL.

Nothing in it was ever a picture. 89 of 100 contents are clear, 9 condemned and 2 sent to review; the condemned ones are
planned in a dry run, failed, or removed long ago, with traces, sightings, sealed copies and events. What the drawn
ledger has once (uploads, breakers, decisions) is there once. Its chain of events is long and not whole.
"""

from __future__ import annotations

import hashlib
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fedi_safety.ledger.schema import REVISION
from support.review_filled import LISTED, fill
from support.reviewing import reviewing

PEOPLE, INSTANCES, STORES = 4_000, 700, 4
OF_REVIEW, OF_BLOCK = 2, 9  # of a hundred
_FIRST = 1_000_000  # rows of the drawn ledger have lower numbers
_STATES = "CASE WHEN n.i % 10 < 2 THEN 'planned' WHEN n.i % 1000 = 7 THEN 'failed' ELSE 'done' END"
_VERDICT = (
    f"CASE WHEN n.i % 100 < {OF_REVIEW} THEN 'review' WHEN n.i % 100 < {OF_REVIEW + OF_BLOCK} THEN 'block' "
    "ELSE 'clear' END"
)
_CONDEMNED = f"n.i % 100 >= {OF_REVIEW} AND n.i % 100 < {OF_REVIEW + OF_BLOCK}"
_KEY = "CAST('media_attachments/files/' || (n.i / 1000) || '/' || n.i || '/original/' || hex(digest(n.i)) AS BLOB)"


def large_ledger(work: Path, contents: int) -> Path:
    """Return a ledger of so many contents in `work`, made where it is not there yet: a minute a million."""
    place = work / f"review-{contents}-{REVISION}.db"
    if not place.exists():
        with TemporaryDirectory(dir=work) as scratch:
            folder = Path(scratch)
            with reviewing(folder, undo_s=600) as drawn:
                fill(drawn)
            with closing(sqlite3.connect(folder / "ledger.db", isolation_level=None)) as connection:
                _multiply(connection, contents)
            (folder / "ledger.db").replace(place)
    return place


def _multiply(connection: sqlite3.Connection, contents: int) -> None:
    connection.create_function("digest", 1, lambda n: hashlib.sha256(str(n).encode()).digest(), deterministic=True)
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA cache_size=-400000; BEGIN")
    connection.execute("CREATE TEMP TABLE n (i INTEGER PRIMARY KEY)")
    connection.execute(
        "INSERT INTO n WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?) SELECT i FROM c",
        (contents,),
    )
    for store in range(1, STORES):
        connection.execute("INSERT INTO stores (url) VALUES (?)", (f"s3://media-{store}.example/files",))
    (run,) = connection.execute("SELECT id FROM runs WHERE dry_run LIMIT 1").fetchone()
    row, own = f"n.i + {_FIRST}", {"content_id": f"n.i + {_FIRST}", "run_id": str(run)}
    at = f"1.75e9 + n.i * 3e6 / {contents}"
    kind = {"verdict": _VERDICT, "sha256": "digest(n.i)"}
    of_each = "t.id IN (SELECT max(id) FROM {} WHERE reasons NOT LIKE '%person%' GROUP BY verdict)"
    same = f"t.verdict = {_VERDICT}"
    _copy(
        connection,
        "contents",
        of_each.format("contents"),
        same,
        {"id": row, "scored_at": at, "dismissed_at": "NULL"} | kind,
    )
    (last,) = connection.execute("SELECT max(id) FROM stores").fetchone()
    stores = f"{last - STORES + 1} + n.i % {STORES}"
    _copy(
        connection,
        "objects",
        "t.id = (SELECT min(id) FROM objects WHERE state = 'judged')",
        "1",
        {"id": row, "key": _KEY, "content_id": own["content_id"], "store_id": stores, "judged_at": at},
    )
    events = {"seq": row, "sha256": "digest(n.i)", "plan_id": "NULL", "at": at, "hash": "digest(n.i)"}
    _copy(
        connection,
        "judgements",
        of_each.format("judgements"),
        same,
        {"id": row, "at": at, "event_seq": "NULL"} | own | {"verdict": _VERDICT},
    )
    _copy(
        connection,
        "explanations",
        "t.content_id = (SELECT max(content_id) FROM explanations)",
        f"{_VERDICT} != 'clear'",
        own,
    )
    _copy(
        connection,
        "plans",
        "t.id = (SELECT min(id) FROM plans)",
        _CONDEMNED,
        {"id": row, "object_id": row, "state": _STATES, "open": f"{_STATES} != 'done'", "created_at": at} | own,
    )
    _copy(
        connection,
        "events",
        "t.seq = (SELECT min(seq) FROM events WHERE kind = 'judged')",
        f"{_VERDICT} != 'clear'",
        events,
    )
    _copy(
        connection,
        "events",
        "t.seq = (SELECT min(seq) FROM events WHERE kind = 'planned')",
        _CONDEMNED,
        events | {"seq": f"n.i + {_FIRST} + {contents}", "plan_id": row},
    )
    _copy(
        connection,
        "traces",
        "t.id = (SELECT min(id) FROM traces)",
        _CONDEMNED,
        {"id": row, "plan_id": "NULL", "sha256": "digest(n.i)", "store_id": stores, "key": _KEY, "at": at},
    )
    _copy(
        connection,
        "sightings",
        "t.id = (SELECT min(id) FROM sightings)",
        _CONDEMNED,
        {
            "id": row,
            "trace_id": row,
            "instance": f"'i' || (n.i * n.i % {INSTANCES}) || '.example'",
            "person": f"'https://i' || (n.i * n.i % {INSTANCES}) || '.example/users/p' || (n.i * n.i % {PEOPLE})",
        },
    )
    _copy(
        connection,
        "seals",
        "t.id = (SELECT max(id) FROM seals)",
        f"{_CONDEMNED} AND n.i % 1000 < 40",
        {"id": row, "plan_id": row, "sha256": "digest(n.i)", "name": "hex(digest(n.i)) || '.age'", "key": _KEY},
    )
    connection.execute(
        f"UPDATE contents SET reasons = replace(reasons, '{LISTED}', 'rule ' || id % 7) WHERE id % 3 = 0"
    )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _copy(connection: sqlite3.Connection, table: str, template: str, which: str, other: Mapping[str, str]) -> None:
    """Copy what `template` finds in a table for each number for which `which` holds, with `other` in its columns."""
    columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    values = [other.get(name, f't."{name}"') for name in columns]
    names = ", ".join(f'"{name}"' for name in columns)
    connection.execute(f"CREATE TEMP TABLE template AS SELECT * FROM {table} AS t WHERE {template}")
    connection.execute(
        f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM n CROSS JOIN template AS t WHERE {which}"
    )
    connection.execute("DROP TABLE template")
