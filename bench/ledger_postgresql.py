"""The ledger on PostgreSQL beside the one in a file: recording, look-ups, and ten million contents asked.

A real server on loopback that waits for its disk (fsync), made for the benchmark and gone with it. Children get its URL
by their environment. Both kinds record by turns, because a machine is never quiet.

    ./dev bench ledger_postgresql                            all of it: some 10 GB on the disk, half an hour
    ./dev bench ledger_postgresql --only record lookups      a few minutes
    ./dev bench ledger_postgresql --only large --contents 1000000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bench.generated_ledger import GeneratedStore, multiply, sizes
from bench.ledger import BATCH, SIGNALS, drawn_batches, fill
from bench.measure import Spread, environment, machine, machine_line, write_result

from fedi_safety.app.ledger import SystemClock
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from support.ledgers import empty_database
from support.servers.postgresql import PostgresqlServer, postgresql_server

PARTS = ("record", "lookups", "verify", "large")
RATIO, LOOKUPS, WRITERS = 0.8, 20_000.0, 1.0  # of SQLite's rate a writer; a second and worker; two to one
SAMPLE = 100_000  # generated contents that are verified
_URL = "FEDI_SAFETY_BENCH_LEDGER"


# --- the server


def server_s(server: PostgresqlServer) -> float:
    """Return the processor time that the server and its processes have taken, those that ended included."""
    whole = psutil.Process(server.process.pid)
    times = whole.cpu_times()
    used = times.user + times.system + times.children_user + times.children_system
    for child in whole.children(recursive=True):
        try:
            own = child.cpu_times()
        except psutil.Error:
            continue
        used += own.user + own.system
    return float(used)


# --- children


def begin(place: str, *words: str) -> subprocess.Popen[str]:
    """Start a child at a ledger: its file or URL is told by the environment."""
    command = [sys.executable, __file__, "--child", *words]
    return subprocess.Popen(command, env=environment() | {_URL: place}, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what a child told. Raises `SystemExit` where it failed."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a child ended with {process.returncode}")
    return dict(json.loads(out.splitlines()[-1]))


def child(words: Sequence[str]) -> None:
    """Do what the parent asked for."""
    what, contents, *more = words
    place = os.environ[_URL]
    if what == "fill":
        found: dict[str, Any] = fill(place if "://" in place else Path(place), int(contents), int(more[0]))
    else:
        found = looked_up(place, int(contents), int(more[0]))
    print(json.dumps(found))


def looked_up(place: str, contents: int, seed: int) -> dict[str, float]:
    """Look up what `fill` recorded, 512 at once as a sweep does; return how many a second, by the clock and by CPU."""
    records = open_ledger(place if "://" in place else Path(place), clock=SystemClock())
    objects = [found.object for batch in drawn_batches(contents, seed) for found in batch]
    lots = [objects[at : at + 512] for at in range(0, len(objects), 512)]
    records.lookup("file:///srv/media", lots[0], "x", None)
    began, before = time.monotonic(), time.process_time()
    known = sum(k is not None for lot in lots for k in records.lookup("file:///srv/media", lot, "x", None))
    wall, cpu = time.monotonic() - began, time.process_time() - before
    records.dispose()
    return {"a_second": contents / wall, "cpu_us": 1e6 * cpu / contents, "known": known / contents}


# --- recording and looking up


def recorded(server: PostgresqlServer, scratch: Path, pairs: int, contents: int) -> dict[str, Any]:
    """Let a file, one writer and two writers record by turns; return the ratios."""
    found: dict[str, list[float]] = {"to_sqlite": [], "to_sqlite_cpu": [], "two_to_one": [], "server_us": []}
    rates: dict[str, list[float]] = {"sqlite": [], "one": [], "two": []}
    for number in range(pairs):
        file = ended(begin(str(scratch / f"pair-{number}.db"), "fill", str(contents), "19"))
        with empty_database(server) as url:
            before = server_s(server)
            one = ended(begin(url, "fill", str(contents), "19"))
            found["server_us"].append(1e6 * (server_s(server) - before) / contents)
        with empty_database(server) as url:
            open_ledger(url, clock=SystemClock()).dispose()  # its tables are there
            both = [begin(url, "fill", str(contents // 2), str(seed)) for seed in (20, 21)]
            two = sum(contents // 2 / ended(process)["record_wall_s"] for process in both)
        for name, rate in (
            ("sqlite", contents / file["record_wall_s"]),
            ("one", contents / one["record_wall_s"]),
            ("two", two),
        ):
            rates[name].append(rate)
        found["to_sqlite"].append(file["record_wall_s"] / one["record_wall_s"])
        found["to_sqlite_cpu"].append(file["record_s"] / one["record_s"])
        found["two_to_one"].append(two / rates["one"][-1])
        print(
            f"record, turn {number + 1}: " + ", ".join(f"{n} {v[-1]:,.2f}" for n, v in (rates | found).items()),
            flush=True,
        )
    told = {name: Spread(tuple(values)) for name, values in (found | rates).items()}
    print(
        f"PostgreSQL records at {told['to_sqlite'].text()} of SQLite's rate a writer (target {RATIO}), by this side's "
        f"processor time {told['to_sqlite_cpu'].text()}; two writers at {told['two_to_one'].text()} of one's "
        f"(target {WRITERS}); the server takes {told['server_us'].text(0)} us an object"
    )
    return {name: spread.as_json() for name, spread in told.items()}


def looking(server: PostgresqlServer, scratch: Path, pairs: int, contents: int) -> dict[str, Any]:
    """Let one and two workers look up what is recorded, beside a file."""
    rates: dict[str, list[float]] = {"sqlite": [], "one": [], "each of two": [], "server_us": []}
    rates |= {"sqlite_cpu_us": [], "one_cpu_us": []}
    file = str(scratch / "lookups.db")
    ended(begin(file, "fill", str(contents), "19"))
    with empty_database(server) as url:
        ended(begin(url, "fill", str(contents), "19"))
        for _ in range(pairs):
            words = ("lookup", str(contents), "19")
            for name, place in (("sqlite", file), ("one", url)):
                before = server_s(server)
                told_by = ended(begin(place, *words))
                rates[name].append(told_by["a_second"])
                rates[f"{name}_cpu_us"].append(told_by["cpu_us"])
            rates["server_us"].append(1e6 * (server_s(server) - before) / contents)
            both = [begin(url, *words) for _ in range(2)]
            rates["each of two"].append(sum(ended(process)["a_second"] for process in both) / 2)
    told = {name: Spread(tuple(values)) for name, values in rates.items()}
    print(
        f"look-ups a second (target {LOOKUPS:,.0f} a worker): " + ", ".join(f"{n} {s.text(0)}" for n, s in told.items())
    )
    return {name: spread.as_json() for name, spread in told.items()}


# --- very many


def generated(server: PostgresqlServer, url: str, contents: int) -> tuple[SqlLedger, int]:
    """Make a ledger of so many contents; return it, and how many there are."""
    drawn = 20 * BATCH
    ended(begin(url, "fill", str(drawn), "19"))
    records = open_ledger(url, clock=SystemClock())
    began = time.monotonic()
    made = multiply(records, contents)
    server.execute("VACUUM (ANALYZE)", database=url.rpartition("/")[2])
    print(f"{made:,} contents generated in {time.monotonic() - began:.0f} s", flush=True)
    return records, drawn + made


def verified(server: PostgresqlServer) -> dict[str, Any]:
    """Generate a sample and have the ledger verify all of it; then spoil a counter, which must be found."""
    with empty_database(server) as url:
        records, objects = generated(server, url, SAMPLE)
        began = time.monotonic()
        report = records.verify()
        took = time.monotonic() - began
        if report.problem is not None or report.miscounted is not None:
            raise SystemExit(f"what was generated is not true to the ledger: {report.problem or report.miscounted}")
        server.execute("UPDATE object_groups SET objects = objects + 1", database=url.rpartition("/")[2])
        spoiled = records.verify().miscounted
        records.dispose()
    if spoiled is None:
        raise SystemExit("a spoiled counter was not found, so that a clean ledger proves nothing")
    print(f"{objects:,} contents verified in {took:.1f} s: clean; with a counter spoiled: {spoiled}")
    return {"objects": objects, "seconds": round(took, 1), "spoiled": str(spoiled)}


def large(server: PostgresqlServer, contents: int, listed: int) -> dict[str, Any]:
    """Ask a ledger of very many contents, and sweep where nothing is new."""
    from fedi_safety.core.enums import Verdict
    from fedi_safety.core.ledger.records import Filters

    server.execute("ALTER SYSTEM SET max_wal_size = '4GB'", "SELECT pg_reload_conf()")
    with empty_database(server) as url:
        records, objects = generated(server, url, contents)
        by_name = sizes(records, objects)
        print(f"bytes an object: {by_name}", flush=True)
        asked = {
            "report": _timed(lambda: (records.figures(histograms=False), records.acts_by_store())),
            "show": _timed(lambda: records.show("made/0000007/0000007007.jpg")),
            "list, first row": _timed(lambda: next(records.list_objects(Filters()), None)),
            "list block, first row": _timed(lambda: next(records.list_objects(Filters(verdict=Verdict.BLOCK)), None)),
            "list block, all": _timed(lambda: sum(1 for _ in records.list_objects(Filters(verdict=Verdict.BLOCK))), 1),
            "list prefix, first row": _timed(lambda: next(records.list_objects(Filters(prefix="made/0000099/")), None)),
            "list unscanned, all": _timed(lambda: sum(1 for _ in records.list_objects(Filters(state="unscanned"))), 1),
        }
        print(f"asked, seconds: {asked}", flush=True)
        again = nothing_new(records, min(listed, contents))
        print(f"nothing-new pass over {again['objects']:,} of them: {again['a_second']:,.0f} objects/s", flush=True)
        rows = _rows(url)
        print(f"rows: {rows}", flush=True)
        records.dispose()
    return {"objects": objects, "bytes": by_name, "asked_s": asked, "nothing_new": again, "rows": rows}


def _rows(url: str) -> dict[str, int]:
    """Count the rows of what has one for each object, and of what must not."""
    import psycopg

    found = {}
    with psycopg.connect(url) as connection:
        for table in ("contents", "objects", "judgements", "explanations", "events", "plans"):
            row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            found[table] = int(row[0]) if row else 0
        row = connection.execute(b"SELECT count(*) FROM contents WHERE verdict <> 'clear'").fetchone()
        found["contents not clear"] = int(row[0]) if row else 0
    if found["judgements"] != found["contents not clear"]:
        raise SystemExit(f"a first clear verdict has a row of its own: {found}")
    return found


def _timed(ask: Callable[[], object], rounds: int = 3) -> float:
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        ask()
        best = min(best, time.perf_counter() - start)
    return round(best, 4)


def nothing_new(records: SqlLedger, objects: int) -> dict[str, float]:
    """Sweep a store that lists what is known, with the stand-in detector; return how quickly."""
    from bench.stand_in_scan import Redness

    from fedi_safety.app.engine import Engine, caps
    from fedi_safety.app.scan import scan
    from fedi_safety.config.loading import load_settings
    from fedi_safety.core.runs import ScanRequest
    from fedi_safety.media import SandboxDecoder
    from fedi_safety.policies import load_policy

    settings = load_settings(jobs=1)
    store: Any = GeneratedStore(objects)
    engine = Engine(SandboxDecoder(caps(settings), 1), [Redness()], "none", 1)
    before = time.process_time()
    try:
        request = ScanRequest(store.url, dry_run=True, limit=objects, redecide=False)
        policy = load_policy("balanced").among(SIGNALS)
        report = scan(settings, request, ledger=records, store=store, engine=engine, policy=policy)
    finally:
        engine.close()
    if report.tally.already_judged != objects:
        raise SystemExit(f"{report.tally.already_judged:,} of {objects:,} objects were known")
    cpu = (time.process_time() - before) / objects
    return {"objects": objects, "a_second": objects / report.seconds, "cpu_us": round(1e6 * cpu, 1)}


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--pairs", type=int, default=3, help="how often both record by turns")
    parser.add_argument("--pair-contents", type=int, default=20_000)
    parser.add_argument("--contents", type=int, default=10_000_000, help="of the large ledger: a kilobyte of disk each")
    parser.add_argument("--listed", type=int, default=500_000, help="how many of these a sweep meets")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    about = machine()
    print(machine_line(about))
    result: dict[str, Any] = {
        "benchmark": "ledger_postgresql",
        "machine": about,
        "pair_contents": options.pair_contents,
    }
    with postgresql_server(durable=True) as server, TemporaryDirectory() as folder:
        scratch = Path(folder)
        if "record" in options.only:
            result["record"] = recorded(server, scratch, options.pairs, options.pair_contents)
        if "lookups" in options.only:
            result["lookups"] = looking(server, scratch, options.pairs, options.pair_contents)
        if "verify" in options.only:
            result["verify"] = verified(server)
        if "large" in options.only:
            result["large"] = large(server, options.contents, options.listed)
    write_result("ledger_postgresql", result, options.out)


if __name__ == "__main__":
    main()
