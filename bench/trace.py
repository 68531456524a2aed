"""Tracing one picture on a large Lemmy: the whole trace, each search by itself, and which of them go by an index.

The tables are Lemmy's own, filled with generated people, posts and comments; `./dev test --servers lemmy` loads them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bench.measure import Spread, machine, machine_line, write_result
from pydantic import SecretStr

from fedi_safety.config.schema import Trace
from fedi_safety.core.sightings import Subject
from fedi_safety.tracing import open_tracer
from fedi_safety.tracing.database import ServerDatabase, grants
from fedi_safety.tracing.lemmy_database import searched_by
from fedi_safety.tracing.lemmy_names import Names, Question, questions
from fedi_safety.tracing.lemmy_schema import V0_19, V1_0, Search, Tables
from fedi_safety.tracing.questions import MOST
from support.lemmy_cases import ROLE, explained, new_alias
from support.lemmy_records import FAR, ROOT, LemmyRecords
from support.servers import lemmy
from support.servers.postgresql import PostgresqlServer

_TARGET_S = 0.5
_SMALL = 10_000  # rows


def timed(work: Callable[[], object], rounds: int) -> Spread:
    """Return how many seconds it takes, after one time that does not count."""
    values: list[float] = []
    for _ in range(rounds + 1):
        began = time.monotonic()
        work()
        values.append(time.monotonic() - began)
    return Spread(tuple(values[1:]))


def search(server: PostgresqlServer, asked: Search, question: Question, rounds: int) -> dict[str, Any]:
    """Measure one search, and see whether it reads the whole table: a small one may be, index or not."""
    plans = [
        node
        for params in searched_by(question, asked.by)
        for node in explained(server, asked.query, {**params, "most": MOST}, seqscan=True)
    ]
    whole = [node for node in plans if node["Node Type"] in ("Seq Scan", "Parallel Seq Scan")]
    wrong = asked.indexed and any(size(server, str(node["Relation Name"])) > _SMALL for node in whole)

    with ServerDatabase(server.dsn(ROLE, lemmy.DATABASE), "lemmy").session(600) as session:

        def once() -> None:
            for params in searched_by(question, asked.by):
                session.rows(asked.query, {**params, "most": MOST})

        took = timed(once, rounds)
    words = "reads the whole table" if whole else "by an index"
    print(f"  {asked.what:34} {took.median * 1000:8.2f} ms  {words}{'  WRONG' if wrong else ''}", flush=True)
    return {"what": asked.what, "ms": took.median * 1000, "whole": bool(whole), "indexed": asked.indexed}


def size(server: PostgresqlServer, table: str) -> int:
    """Return about how many rows a table has."""
    with ServerDatabase(server.dsn(database=lemmy.DATABASE), "lemmy").session(60) as session:
        ((rows,),) = session.rows("SELECT reltuples::bigint FROM pg_class WHERE relname = %(name)s", {"name": table})
    return int(rows)


def measured(release: lemmy.Release, tables: Tables, options: argparse.Namespace) -> dict[str, Any]:
    """Fill one version's tables, and measure."""
    with lemmy.lemmy_postgresql(release) as server:
        reads = grants(tables.schema.reads, role=ROLE, database=lemmy.DATABASE)
        server.execute(*reads, database=lemmy.DATABASE)
        alias = new_alias()
        with LemmyRecords(server, release) as made:
            made.site()
            community = made.community("ours")
            me = made.person("uploader")
            made.upload(alias, me)
            post = made.post(me, community, url=f"{ROOT}/pictrs/image/{alias}", body="a text")
            made.comment(me, post, f"![]({ROOT}/pictrs/image/{alias})")
            made.many(people=options.people, posts=options.posts, comments=options.comments)
        tracer = open_tracer(Trace(server="lemmy", database=SecretStr(server.dsn(ROLE, lemmy.DATABASE))))
        assert tracer is not None
        found = tracer.trace(Subject(aliases=(alias,)), within_s=60)
        assert (len(found.sightings), found.unknown, found.closed) == (3, "", ()), found
        took = timed(lambda: tracer.trace(Subject(aliases=(alias,)), within_s=60), options.rounds)
        tracer.close()
        kept = "kept" if took.median < _TARGET_S else "MISSED"
        print(f"{tables.schema.name}: one alias in {took.text(3)} s   target {_TARGET_S} s: {kept}", flush=True)
        by_alias, by_origin = questions(Names((alias,), (f"https://{FAR}/pictrs/image/{alias}",)), [ROOT])
        of = {s: by_alias if list(searched_by(by_alias, s.by)) else by_origin for s in tables.searches}
        each = [search(server, asked, question, options.rounds) for asked, question in of.items()]
    return {"version": release.version, "trace_s": took.as_json(), "searches": each}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=200_000)
    parser.add_argument("--comments", type=int, default=300_000)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    about = machine()
    print(machine_line(about))
    print(f"{options.posts:,} posts, {options.comments:,} comments, {options.people:,} people", flush=True)
    versions = [measured(release, tables, options) for release, tables in ((lemmy.V0_19, V0_19), (lemmy.V1_0, V1_0))]
    counts = {name: getattr(options, name) for name in ("posts", "comments", "people")}
    write_result("trace", {"machine": about, **counts, "versions": versions}, options.out)


if __name__ == "__main__":
    main()
