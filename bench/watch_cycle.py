"""What a cycle of the daemon with nothing new costs on a large pict-rs bucket: requests, counted by a proxy, and time.

The keys are UUIDv7 in directories, as pict-rs >= 0.5.7 makes them, over two years; the ledger says that all of them
were looked at. They are laid under the S3 server as in bench/listing.py, 500 for one moment, because a chain of ten
directories for each would fill the disk; the keys that are listed are the same. A sweep, once a day, lists them all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bench.listing import filled, kept_keys
from bench.measure import machine, machine_line, write_result

from fedi_safety.app.acts import act_for
from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SharedRunLock, SystemClock
from fedi_safety.app.stores import Target
from fedi_safety.config.loading import load_settings
from fedi_safety.config.schema import S3
from fedi_safety.core.ledger.records import Watermark
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.watch.cycles import Shared, StoreWatch
from support.fakes import FakeDecoder, detectors, red_circles
from support.servers.faults import Faults, faults_before
from support.servers.s3 import S3Server, s3_server, timed_key

HANDFUL = 5
_YEARS_S = 2 * 365 * 86_400.0
_AGO_S = 2 * 3600.0  # the newest key
_OF_A_MOMENT = 500


def newer_keys(count: int) -> Iterator[str]:
    """Yield keys as pict-rs >= 0.5.7 makes them, oldest first."""
    newest_s, moments = time.time() - _AGO_S, -(-count // _OF_A_MOMENT)
    for at in range(count):
        yield timed_key(newest_s - _YEARS_S * (1 - (at // _OF_A_MOMENT + 1) / moments), at)


@contextmanager
def watched(server: S3Server, proxy: Faults, bucket: str, ledger_file: Path) -> Iterator[StoreWatch]:
    """Yield a watch whose last cycle ended just now."""
    access = {"access_key_id": server.access_key, "secret_access_key": server.secret_key, "endpoint": proxy.endpoint}
    settings = load_settings().model_copy(update={"s3": S3.model_validate(access)})
    clock = SystemClock()
    ledger = open_ledger(ledger_file, clock=clock)
    engine = Engine(FakeDecoder(), list(detectors()), "fake", 2)
    shared = Shared(ledger, engine, red_circles(), SharedRunLock(ledger), clock)
    target = Target("media", f"s3://{bucket}", settings)
    store = target.open()
    watch = StoreWatch(target, shared, store)
    now = clock.now()
    ledger.set_watermark(store.url, Watermark(now, now, watch._basis(act_for(settings, store))))
    try:
        yield watch
    finally:
        watch.close()
        ledger.dispose()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--cycles", type=int, default=5)
    parser.add_argument("--kept", type=Path, help="folder in which the keys stay (default: a temporary one)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    about = machine()
    print(machine_line(about))
    cycles: list[dict[str, float]] = []
    with (
        s3_server(kept_keys(options)) as server,
        faults_before(server.port) as proxy,
        tempfile.TemporaryDirectory() as folder,
    ):
        bucket = filled(server, "timed", options.keys, newer_keys)
        with watched(server, proxy, bucket, Path(folder) / "ledger.db") as watch:
            for number in range(options.cycles):
                proxy.heal()
                started = time.monotonic()
                (report,) = watch.cycle()
                took = time.monotonic() - started
                cycles.append({"requests": len(proxy.requests), "seconds": took, "listed": report.tally.listed})
                print(f"cycle {number + 1}: {len(proxy.requests)} requests, {took * 1000:.0f} ms, "
                      f"{report.tally.listed} objects listed")  # fmt: skip
                for line in proxy.requests if number in (0, options.cycles - 1) else ():
                    print(f"    {line[:150]}")
    most = max(cycle["requests"] for cycle in cycles)
    kept = most <= HANDFUL and not any(cycle["listed"] for cycle in cycles)
    whole = -(-options.keys // 1000)
    verdict = "kept" if kept else "MISSED"
    print(f"{options.keys:,} keys, {whole:,} requests for a sweep; {most:.0f} a cycle   target {HANDFUL}: {verdict}")
    write_result("watch_cycle", {"machine": about, "keys": options.keys, "cycles": cycles}, options.out)


if __name__ == "__main__":
    main()
