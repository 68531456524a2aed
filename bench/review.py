"""The review pages on a ledger of a million contents: how long each takes, how large it is, and what the gate pays.

Which pages there are comes from the table of routes, and the addresses from going through the links. The gate's part is
in pairs: the same uploads with five people who click and without, in turns.

    ./dev bench review                    all of it, about 10 minutes
    ./dev bench review --quick            the same in two minutes, on 20,000 contents: does it run at all
    ./dev bench review --only pages       one part: pages or gate
    ./dev bench review --only gate --people 0    nobody clicks in either half: by how much the bench itself moves
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import httpx
import psutil
from argon2 import PasswordHasher
from bench.corpus import default_work, instance_corpus
from bench.gate import figures, running_gate
from bench.large_ledger import large_ledger
from bench.measure import machine, machine_line, write_result
from bench.uploads import Pictures, arrivals, offer, press

from fedi_safety.review.rules import ROLES
from fedi_safety.service.priority import stand_aside
from support.review_routes import crawl

PARTS = ("pages", "gate")
MOST_MS, MOST_BYTES, MOST_MORE = 100.0, 60_000, 0.05
PEOPLE, THINK_S = 5, 2.0
_OF_A_ROUTE = 12  # addresses that are asked for
_PASSWORD = "a harmless pass phrase"


# --- people -----------------------------------------------------------------------------------------------------------
def configured(scratch: Path) -> Path:
    """Write a configuration with pages and people who may do everything; return where it is."""
    hash_ = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(_PASSWORD)
    roles = ", ".join(f'"{role}"' for role in ROLES)
    people = "".join(f'[review.people.p{n}]\npassword = "{hash_}"\nroles = [{roles}]\n' for n in range(PEOPLE))
    place = scratch / "review.toml"
    place.write_text(f"[review]\nenabled = true\nundo_s = 600\n{people}")
    return place


def signed_in(port: int, number: int) -> httpx.Client:
    """Return a browser of one of them."""
    root = f"http://127.0.0.1:{port}"
    browser = httpx.Client(base_url=root, trust_env=False, headers={"Origin": root}, timeout=60)
    said = browser.post("/review/login", data={"name": f"p{number}", "password": _PASSWORD})
    if said.status_code != 303:
        raise SystemExit(f"nobody could sign in: {said.status_code}")
    return browser


def addresses(browser: httpx.Client) -> dict[str, list[str]]:
    """Return what pages there are, by route; files are none."""
    return {
        rule.path: places[:: -(-len(places) // _OF_A_ROUTE)]
        for rule, places in crawl(browser).places.items()
        if browser.get(places[0]).headers.get("content-type", "").startswith("text/html") and "export" not in rule.path
    }


# --- the parts --------------------------------------------------------------------------------------------------------
def pages(ledger: Path, scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Ask for every page in turns; return milliseconds, those of a processor on the mean, and bytes by route."""
    config = configured(scratch)
    taken: dict[str, list[float]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    slowest: dict[str, tuple[float, str]] = {}
    worked: dict[str, float] = defaultdict(float)
    with (
        running_gate(scratch, "--config", str(config), "--ledger", str(ledger)) as (port, _, _memory),
        closing(signed_in(port, 0)) as browser,
    ):
        found = addresses(browser)
        server = next(one for one in psutil.Process().children() if "serve" in one.cmdline())
        for number in range(options.rounds + 1):  # the first is not counted
            for path, places in found.items():
                before = sum(server.cpu_times()[:2])
                for place in places:
                    start = time.perf_counter()
                    answer = browser.get(place)
                    took = 1000 * (time.perf_counter() - start)
                    if answer.status_code != 200:
                        raise SystemExit(f"{place}: {answer.status_code}")
                    sizes[path] = max(sizes[path], len(answer.content))
                    if number:
                        taken[path].append(took)
                        slowest[path] = max(slowest.get(path, (0.0, "")), (took, place))
                worked[path] += 1000 * (sum(server.cpu_times()[:2]) - before) if number else 0.0
    return _told(taken, worked, sizes, slowest)


def _told(
    taken: dict[str, list[float]],
    worked: dict[str, float],
    sizes: dict[str, int],
    slowest: dict[str, tuple[float, str]],
) -> dict[str, Any]:
    result = {}
    print(f"{'page':24}{'asked':>7}{'p50 ms':>9}{'p95 ms':>9}{'cpu ms':>9}{'bytes':>9}")
    for path, times in sorted(taken.items()):
        p50, p95 = (statistics.quantiles(times, n=100, method="inclusive")[at - 1] for at in (50, 95))
        cpu, kept = worked[path] / len(times), p95 < MOST_MS and sizes[path] < MOST_BYTES
        figures_ = {"asked": len(times), "p50_ms": p50, "p95_ms": p95, "cpu_ms": cpu, "bytes": sizes[path]}
        result[path] = {name: round(value, 1) for name, value in figures_.items()} | {"kept": kept}
        late = "" if kept else f"  MISSED: {slowest[path][1][:90]}"
        print(f"{path:24}{len(times):7}{p50:9.1f}{p95:9.1f}{cpu:9.1f}{sizes[path]:9}{late}", flush=True)
    return result


@contextmanager
def clicking(port: int, people: int, found: Sequence[str]) -> Iterator[list[float]]:
    """Have so many people open pages, each about every two seconds, while the block runs.

    Yields a list that is filled with how long each took when the block ends. They are a process of their own, which has
    a processor where nobody else wants it: people's browsers are on other machines, and cost this one nothing.
    """
    took: list[float] = []
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_click, args=(port, people, found, theirs))
    process.start()
    try:
        ours.recv()  # all are signed in
        yield took
    finally:
        ours.send("end")
        took += ours.recv()
        process.join()


def _click(port: int, people: int, found: Sequence[str], told: Connection) -> None:
    stand_aside()
    ended = threading.Event()
    took: list[float] = []
    browsers = [signed_in(port, number) for number in range(people)]

    def click(browser: httpx.Client, number: int) -> None:
        chance = random.Random(number)
        while not ended.wait(chance.uniform(0.5, 1.5) * THINK_S):
            start = time.perf_counter()
            browser.get(chance.choice(found))
            took.append(time.perf_counter() - start)

    threads = [threading.Thread(target=click, args=(one, number)) for number, one in enumerate(browsers)]
    for thread in threads:
        thread.start()
    told.send("begun")
    told.recv()
    ended.set()
    for thread in threads:
        thread.join()
    for browser in browsers:
        browser.close()
    told.send(took)


def gate(ledger: Path, scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Offer the same uploads in pairs, alone and with people who click; return both p99s and by how much it moves."""
    pictures = Pictures(instance_corpus(options.work, 200))
    config = configured(scratch)
    own = scratch / "gate.db"
    shutil.copy(ledger, own)
    pairs: list[dict[str, Any]] = []
    page_s: list[float] = []
    with running_gate(scratch, "--config", str(config), "--ledger", str(own)) as (port, _, _memory):
        with closing(signed_in(port, 0)) as browser:
            found = [place for places in addresses(browser).values() for place in places]
        asyncio.run(press(port, pictures, 2, 3.0))
        for number in range(options.pairs):
            pair: dict[str, Any] = {}
            moments = list(arrivals(options.rate, options.seconds, seed=number))
            for name in ("alone", "clicking") if number % 2 else ("clicking", "alone"):
                pictures.begin_at(number * len(moments))  # both halves: the largest of them are what a p99 is made of
                with clicking(port, options.people if name == "clicking" else 0, found) as took:
                    replies = asyncio.run(offer(port, pictures, moments))
                pair[name] = figures(replies, options.seconds) | {"pages": len(took)}
                page_s += took
                pair[f"{name}_s"] = [reply.seconds for reply in replies]
            pairs.append(pair)
            print(f"pair {number + 1}: p99 {pair['alone']['p99_ms']} ms alone, {pair['clicking']['p99_ms']} ms with "
                  f"{options.people} people who opened {pair['clicking']['pages']} pages", flush=True)  # fmt: skip
    all_ = {name: sorted(s for pair in pairs for s in pair.pop(f"{name}_s")) for name in ("alone", "clicking")}
    ms = {name: 1000 * statistics.quantiles(times, n=100, method="inclusive")[98] for name, times in all_.items()}
    p50 = {name: 1000 * statistics.median(times) for name, times in all_.items()}
    more = ms["clicking"] / ms["alone"] - 1
    print(f"{len(all_['alone'])} uploads each, {options.rate:g} a second: p50 {p50['alone']:.1f} and "
          f"{p50['clicking']:.1f} ms, p99 {ms['alone']:.1f} and {ms['clicking']:.1f} ms: {100 * more:+.1f} %, "
          f"at most {100 * MOST_MORE:.0f} %: {'kept' if more <= MOST_MORE else 'MISSED'}")  # fmt: skip
    ratios = sorted(pair["clicking"]["p99_ms"] / pair["alone"]["p99_ms"] - 1 for pair in pairs)
    print(f"p99 of a pair: {100 * statistics.median(ratios):+.1f} % in the middle, {100 * ratios[0]:+.1f} to "
          f"{100 * ratios[-1]:+.1f} %; a page took {1000 * statistics.median(page_s or [0]):.0f} ms")  # fmt: skip
    return {"pairs": pairs, "p50_ms": p50, "p99_ms": ms, "more": round(more, 4), "kept": more <= MOST_MORE}


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contents", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20, help="how often each page is asked for")
    parser.add_argument("--rate", type=float, default=4.0, help="uploads a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each half of a pair")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument(
        "--people",
        type=int,
        choices=range(PEOPLE + 1),
        default=PEOPLE,
        help="who click; 0: what the bench itself moves by",
    )
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for the ledger, which stays there")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    if options.quick:
        options.contents, options.rounds, options.seconds, options.pairs = 20_000, 3, 5.0, 2
    options.work.mkdir(parents=True, exist_ok=True)
    about = machine()
    print(machine_line(about))
    ledger = large_ledger(options.work, options.contents)
    result: dict[str, Any] = {"benchmark": "review", "machine": about, "contents": options.contents}
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        for part in PARTS if options.only is None else (options.only,):
            result[part] = {"pages": pages, "gate": gate}[part](ledger, Path(scratch), options)
    write_result("review", result, options.out)


if __name__ == "__main__":
    main()
