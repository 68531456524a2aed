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

from fedi_safety.app.ledger import SystemClock
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.ledger.schema import REVISION
from support.review_filled import LISTED, fill
from support.reviewing import reviewing

PEOPLE, INSTANCES, STORES = 4_000, 700, 4
OF_REVIEW, OF_BLOCK = 2, 9  # of a hundred
_ROW = "n.i + 1000000"  # rows of the drawn ledger have lower numbers
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
            ledger = open_ledger(folder / "ledger.db", clock=SystemClock())
            ledger.recount()  # the rows came by SQL, past the counters
            ledger.dispose()
            (folder / "ledger.db").replace(place)
    return place


_Copies = tuple[str, str, str, dict[str, str]]
"""A table, which of its rows are copied, for which numbers, and what else stands in the copies."""


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
    (last,) = connection.execute("SELECT max(id) FROM stores").fetchone()
    at, stores = f"1.75e9 + n.i * 3e6 / {contents}", f"{last - STORES + 1} + n.i % {STORES}"
    for copies in (*_judged(at, stores, str(run)), *_condemned(at, stores, str(run), contents)):
        _copy(connection, *copies)
    connection.execute(
        f"UPDATE contents SET reasons = replace(reasons, '{LISTED}', 'rule ' || id % 7) WHERE id % 3 = 0"
    )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _judged(at: str, stores: str, run: str) -> list[_Copies]:
    of_each = "t.id IN (SELECT max(id) FROM {} WHERE reasons NOT LIKE '%person%' GROUP BY verdict)"
    same, sha256 = f"t.verdict = {_VERDICT}", "digest(n.i)"
    first_object = "t.id = (SELECT min(id) FROM objects WHERE state = 'judged')"
    an_explanation = "t.content_id = (SELECT max(content_id) FROM explanations)"
    content = {"id": _ROW, "scored_at": at, "dismissed_at": "NULL", "verdict": _VERDICT, "sha256": sha256}
    judgement = {"id": _ROW, "at": at, "event_seq": "NULL", "content_id": _ROW, "run_id": run, "verdict": _VERDICT}
    an_object = {"id": _ROW, "key": _KEY, "content_id": _ROW, "store_id": stores, "judged_at": at}
    return [
        ("contents", of_each.format("contents"), same, content),
        ("objects", first_object, "1", an_object),
        ("judgements", of_each.format("judgements"), same, judgement),
        ("explanations", an_explanation, f"{_VERDICT} != 'clear'", {"content_id": _ROW}),
    ]


def _condemned(at: str, stores: str, run: str, contents: int) -> list[_Copies]:
    of_kind = "t.seq = (SELECT min(seq) FROM events WHERE kind = '{}')"
    sha256, host = "digest(n.i)", f"'i' || (n.i * n.i % {INSTANCES}) || '.example'"
    event = {"seq": _ROW, "sha256": sha256, "plan_id": "NULL", "at": at, "hash": sha256}
    plan = {"id": _ROW, "object_id": _ROW, "content_id": _ROW, "run_id": run, "created_at": at}
    trace = {"id": _ROW, "plan_id": "NULL", "sha256": sha256, "store_id": stores, "key": _KEY, "at": at}
    person = f"'https://' || {host} || '/users/p' || (n.i * n.i % {PEOPLE})"
    sighting = {"id": _ROW, "trace_id": _ROW, "instance": host, "person": person}
    seal = {"id": _ROW, "plan_id": _ROW, "sha256": sha256, "name": f"hex({sha256}) || '.age'", "key": _KEY}
    return [
        (
            "plans",
            "t.id = (SELECT min(id) FROM plans)",
            _CONDEMNED,
            plan | {"state": _STATES, "open": f"{_STATES} != 'done'"},
        ),
        ("events", of_kind.format("judged"), f"{_VERDICT} != 'clear'", event),
        ("events", of_kind.format("planned"), _CONDEMNED, event | {"seq": f"{_ROW} + {contents}", "plan_id": _ROW}),
        ("traces", "t.id = (SELECT min(id) FROM traces)", _CONDEMNED, trace),
        ("sightings", "t.id = (SELECT min(id) FROM sightings)", _CONDEMNED, sighting),
        ("seals", "t.id = (SELECT max(id) FROM seals)", f"{_CONDEMNED} AND n.i % 1000 < 40", seal),
    ]


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
