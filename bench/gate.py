"""The gate under load, on loopback: a steady stream, ten times too much, and beside a gate of the predecessor's shape.

Real models, pictures with the mix of an instance, every one a content of its own. The uploaders run in this process, on
the same processors as the gate.

    ./dev bench gate                    all of it, about 9 minutes
    ./dev bench gate --quick            the same in about a minute: does it run at all
    ./dev bench gate --only steady      one part: steady, overload or beside
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import default_work, instance_corpus
from bench.measure import Memory, environment, fedi_safety, machine, machine_line, watch_memory, write_result
from bench.uploads import Pictures, Reply, arrivals, offer, press

PARTS = ("steady", "overload", "beside")
UPLOADERS = 10  # as many as the predecessor lets wait before it lets everything pass


# --- the gate in a process of its own --------------------------------------------------------------------------------
@contextlib.contextmanager
def running_gate(
    scratch: Path, *arguments: str, watch: bool = True, own_session: bool = False
) -> Iterator[tuple[int, Path, Memory]]:
    """Start `serve`, wait until it is ready; yields its port, its ledger, and its memory as it is watched.

    With `own_session` it leads one, as a service does.

    The watcher is a thread of this process that works for some milliseconds ten times a second. Whoever measures
    single milliseconds here does without it.
    """
    port = _free_port()
    ledger = scratch / f"gate-{port}.db"
    command = fedi_safety("serve", "--port", str(port), "--ledger", str(ledger), "--quiet", *arguments)
    log = (scratch / f"gate-{port}.log").open("wb")
    with subprocess.Popen(
        command, cwd=scratch, env=environment(), stdout=log, stderr=log, start_new_session=own_session
    ) as process:
        ended = threading.Event()
        memory = Memory()
        watcher = threading.Thread(target=watch_memory, args=(process.pid, memory, ended, 10))
        try:
            _until_ready(port, process)
            if watch:
                watcher.start()
            yield port, ledger, memory
        finally:
            ended.set()
            process.terminate()
            process.wait(60)
            if watcher.is_alive():
                watcher.join()
            log.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
            return
        time.sleep(0.1)
    raise SystemExit("the gate did not become ready")


def metric(port: int, name: str) -> float:
    """Return one figure of the gate's metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        for line in page.read().decode().splitlines():
            if line.startswith(f"fedi_safety_gate_{name} "):
                return float(line.split()[1])
    return 0.0


def owed(ledger: Path) -> dict[str, Any]:
    """Return what `report` says of the uploads that wait for the gate, and of those that are settled."""
    command = fedi_safety("report", "--json", "--ledger", str(ledger))
    done = subprocess.run(command, env=environment(), capture_output=True, check=True)
    return dict(json.loads(done.stdout)["gate"] or {})


# --- figures ---------------------------------------------------------------------------------------------------------
def figures(replies: Sequence[Reply], seconds: float) -> dict[str, Any]:
    """Sum up what uploads got."""
    times = sorted(reply.seconds for reply in replies)
    codes = Counter(reply.code for reply in replies)
    judged = [r for r in replies if r.code in ("clear", "review", "block")]
    own = sorted(r.seconds for r in judged)
    return {
        "uploads": len(replies),
        "seconds": round(seconds, 1),
        "errors": sum(r.status not in (200, 406) for r in replies),
        "codes": dict(sorted(codes.items())),
        "judged_a_second": round(len(judged) / seconds, 2),
        "p50_ms": _ms(times, 0.50),
        "p90_ms": _ms(times, 0.90),
        "p99_ms": _ms(times, 0.99),
        "max_ms": round(1000 * times[-1], 1) if times else None,
        "judged_p50_ms": _ms(own, 0.50),
        "judged_p99_ms": _ms(own, 0.99),
    }


def _ms(times: Sequence[float], share: float) -> float | None:
    if len(times) < 2:
        return None
    return round(1000 * statistics.quantiles(times, n=1000, method="inclusive")[round(1000 * share) - 1], 1)


def _tell(name: str, found: dict[str, Any]) -> None:
    print(
        f"{name}: {found['uploads']} uploads in {found['seconds']} s, {found['judged_a_second']} judged/s, "
        f"p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms, {found['errors']} errors, {found['codes']}",
        flush=True,
    )


# --- the parts -------------------------------------------------------------------------------------------------------
def steady(pictures: Pictures, scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Ten uploads a second for five minutes."""
    with running_gate(scratch) as (port, ledger, memory):
        asyncio.run(press(port, pictures, 2, 3.0))
        moments = list(arrivals(options.rate, options.seconds, seed=1))
        replies = asyncio.run(offer(port, pictures, moments))
        found = figures(replies, options.seconds) | {"memory": memory.as_json(), "gate": owed(ledger)}
    _tell(f"steady {options.rate:g}/s", found)
    return found


def overload(pictures: Pictures, scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A hundred a second: what is judged, what is shed and owed, how much memory, and how soon it is well again."""
    with running_gate(scratch) as (port, ledger, memory):
        full = figures(asyncio.run(press(port, pictures, UPLOADERS, options.full_s)), options.full_s)
        _tell(f"as fast as {UPLOADERS} uploaders can", full)
        moments = list(arrivals(options.overload_rate, options.overload_s, seed=2))
        start = time.monotonic()
        replies = asyncio.run(offer(port, pictures, moments))
        found = figures(replies, max(options.overload_s, time.monotonic() - start))
        after = asyncio.run(_recover(port, pictures, options))
        until = time.monotonic() + options.recovery_s
        while metric(port, "queue_spare") and time.monotonic() < until:
            time.sleep(0.2)
        time.sleep(1.5)  # what is judged is written a little later
        gate = owed(ledger)
        found["memory"] = memory.as_json()
    unjudged = sum(r.status == 200 and r.code not in ("clear", "review") for r in replies)
    written = sum(gate["owed"].values()) + sum(gate["settled"].values()) + gate["condemned"]
    found |= {
        "full_rate": full["judged_a_second"],
        "accepted_unjudged": unjudged,
        "in_the_debt": written,
        "judged_from_memory_since": sum(gate["settled"].values()),
        "recovery_s": after,
        "gate": gate,
    }
    _tell(f"over-load {options.overload_rate:g}/s", found)
    print(
        f"  {unjudged} let in without a verdict, {written} of them in the ledger, of which "
        f"{found['judged_from_memory_since']} were judged from memory since; peak {found['memory']['peak_rss_mb']} MB; "
        f"answers as before after {after} s"
    )
    return found


async def _recover(port: int, pictures: Pictures, options: argparse.Namespace) -> float | None:
    """Return how many seconds after the over-load the answers of a whole second are judged, and fast, again."""
    start = time.monotonic()
    while time.monotonic() - start < options.recovery_s:
        began = time.monotonic()
        replies = await offer(port, pictures, [i / options.rate for i in range(int(options.rate))])
        if all(r.code == "clear" for r in replies) and statistics.median(r.seconds for r in replies) < 0.15:
            return round(began - start, 1)
    return None


def beside(pictures: Pictures, scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The same uploaders against a gate of the predecessor's shape, twice, and ours between."""
    ways: dict[str, list[dict[str, Any]]] = {"old shape, plain judging": [], "ours": [], "old shape, our judging": []}
    for number in range(options.rounds):
        ways["old shape, plain judging"].append(_old(pictures, scratch, "plain", options.beside_s))
        with running_gate(scratch) as (port, _, _):
            asyncio.run(press(port, pictures, 2, 2.0))
            replies = asyncio.run(press(port, pictures, UPLOADERS, options.beside_s))
            ways["ours"].append(figures(replies, options.beside_s))
        ways["old shape, our judging"].append(_old(pictures, scratch, "ours", options.beside_s))
        for name, rounds in ways.items():
            _tell(f"round {number + 1}, {name}", rounds[-1])
    rates = {name: statistics.median(r["judged_a_second"] for r in rounds) for name, rounds in ways.items()}
    ratios = {name: round(rates["ours"] / rate, 2) for name, rate in rates.items() if rate and name != "ours"}
    print(f"{UPLOADERS} uploaders, judged uploads a second: {rates}; ours against each: {ratios}")
    return {"rounds": ways, "judged_a_second": rates, "times": ratios}


def _old(pictures: Pictures, scratch: Path, judge: str, seconds: float) -> dict[str, Any]:
    port = _free_port()
    program = [sys.executable, str(Path(__file__).with_name("old_gate.py"))]
    server = subprocess.Popen([*program, "serve", str(port)], env=environment(), stdout=subprocess.PIPE, cwd=scratch)
    worker = subprocess.Popen(
        [*program, "work", str(port), "--judge", judge], env=environment(), stdout=subprocess.PIPE, cwd=scratch
    )
    try:
        for process in (server, worker):
            assert process.stdout is not None and process.stdout.readline(), "it did not start"
        asyncio.run(press(port, pictures, 2, 2.0))
        return figures(asyncio.run(press(port, pictures, UPLOADERS, seconds)), seconds)
    finally:
        for process in (worker, server):
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def main() -> None:
    """Run the parts that were asked for, print and write their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; repeatable (default: all)")
    parser.add_argument("--quick", action="store_true", help="everything, but short")
    parser.add_argument("--files", type=int, default=400, help="pictures of the corpus")
    parser.add_argument("--rate", type=float, default=10.0, help="uploads a second of the steady stream")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long the steady stream lasts")
    parser.add_argument("--overload-rate", type=float, default=100.0)
    parser.add_argument("--overload-s", type=float, default=60.0)
    parser.add_argument("--full-s", type=float, default=20.0, help="how long the full rate is measured")
    parser.add_argument("--recovery-s", type=float, default=60.0, help="how long recovery is waited for")
    parser.add_argument("--beside-s", type=float, default=25.0, help="how long each gate is pressed")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for corpora (default: user's cache)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    if options.quick:
        options.files, options.seconds, options.overload_s = min(options.files, 60), 8.0, 6.0
        options.full_s, options.beside_s, options.rounds = 5.0, 6.0, 1
    about = machine()
    print(machine_line(about))
    pictures = Pictures(instance_corpus(options.work, options.files))
    print(f"{options.files} pictures, {pictures.mean_bytes / 1000:.0f} KB each on the mean")
    result: dict[str, Any] = {"machine": about, "uploaders": UPLOADERS}
    parts = {"steady": steady, "overload": overload, "beside": beside}
    with tempfile.TemporaryDirectory() as name:
        for part in options.only or PARTS:
            result[part] = parts[part](pictures, Path(name), options)
    write_result("gate", result, options.out)


if __name__ == "__main__":
    main()
