"""I3: workers, machines, drivers and PostgreSQL are killed amid sweeps; all is judged, and nothing is done twice.

Removals are counted where they are done. `./dev soak sweep` makes 300 sweeps, a run of the tests two.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from fedi_safety.app.ledger import SystemClock
from fedi_safety.core.ledger.records import Filters
from fedi_safety.ledger.ledger import open_ledger
from support import ledgers, stand_in
from support.corpus import shapes
from support.counted_program import Programs, Running, programs
from support.needs import needs
from support.program import ENVIRONMENT, FIRST
from support.ray_nodes import RayNodes, ray_nodes
from support.servers.postgresql import PostgresqlServer, postgresql_server
from support.share import Share

pytestmark = [pytest.mark.long, pytest.mark.needs("postgresql")]

PICTURES, EVERY = 36, 4
PARTS = 6  # top directories
LONGEST_S = 240.0
CALLED = (0, 3, 130, -9)
EMPTY_EVERY = 8  # sweeps, of which one begins with a database in which there is no ledger yet
LANES = 2  # of a soak: sweeps that are made at once, each lane with a cluster and a PostgreSQL of its own
MOMENTS = ("joining", "opening", "judging", "acting")


@dataclass(frozen=True)
class Lane:
    """A cluster and a PostgreSQL, in which one sweep after the other is made."""

    nodes: RayNodes
    server: PostgresqlServer
    programs: Programs
    made: str  # a database with a new ledger


@contextmanager
def opened_lane(nodes: RayNodes, server: PostgresqlServer, programs: Programs) -> Iterator[Lane]:
    with ledgers.empty_database(server) as url:
        open_ledger(url, clock=SystemClock()).dispose()
        yield Lane(nodes, server, programs, url.rpartition("/")[2])


@pytest.fixture(scope="module")
def starting() -> Iterator[Programs]:
    environment = os.environ | ENVIRONMENT | {"RAY_AUTH_MODE": "disabled"}
    environment["PYTHONPATH"] = f"{ENVIRONMENT['PYTHONPATH']}:{Path(__file__).parents[1]}"
    with programs(environment) as found:
        yield found


@pytest.fixture
@needs("postgresql")
def lanes(ledger_server: PostgresqlServer, starting: Programs, share: Share, tmp_path: Path) -> Iterator[list[Lane]]:
    with ExitStack() as closing:
        for number in range(LANES):
            (tmp_path / f"ray{number}").mkdir()
        servers = [ledger_server]
        servers += [closing.enter_context(postgresql_server()) for _ in range(share.of(1, LANES) - 1)]
        yield [
            closing.enter_context(
                opened_lane(closing.enter_context(ray_nodes(2, tmp_path / f"ray{number}")), server, starting)
            )
            for number, server in enumerate(servers)
        ]


class Sweep:
    """A sweep of a folder of drawn pictures, in which something is killed once."""

    def __init__(self, lane: Lane, folder: Path, url: str, draw: random.Random) -> None:
        self.lane, self.folder, self.url, self.draw = lane, folder, url, draw
        self.kinds: dict[str, Callable[[Running], bool]] = {
            "a worker": lambda _driver: self.kill_worker(),
            "a machine": lambda _driver: self.kill_machine(),
            "the driver": self.kill_driver,
            "PostgreSQL": lambda _driver: self.kill_postgresql(),
        }
        self.kind, self.moment = draw.choice(sorted(self.kinds)), draw.choice(MOMENTS)

    # --- what is killed; each tells whether there was one

    def kill_worker(self) -> bool:
        workers = self.lane.nodes.workers()
        if workers:
            self.lane.nodes.kill_worker(self.draw.choice(workers))
        return bool(workers)

    def kill_machine(self) -> bool:
        self.lane.nodes.kill_node(self.draw.choice(self.lane.nodes.nodes))
        self.lane.nodes.add()
        return True

    def kill_driver(self, driver: Running) -> bool:
        with suppress(ProcessLookupError):
            driver.kill()
            return True
        return False

    def kill_postgresql(self) -> bool:
        """Kill one of its processes that serve somebody: it then ends all of them, and recovers as from a crash."""
        process = self.lane.server.process.pid
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        serving = []
        for pid in children:
            with suppress(OSError):
                if b"127.0.0.1(" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    serving.append(int(pid))
        if not serving:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.draw.choice(serving), signal.SIGKILL)
            return True
        return False

    # --- when

    def removals(self) -> list[str]:
        with suppress(FileNotFoundError):
            return (self.folder / "removals").read_text().split()
        return []

    def judged(self) -> int:
        """Return how many objects are on record."""
        try:
            with psycopg.connect(self.url) as connection:
                row = connection.execute("SELECT count(*) FROM objects").fetchone()
                return 0 if row is None else int(row[0])
        except psycopg.Error:
            return 0  # there is no ledger yet

    def wait_for_moment(self, driver: Running) -> None:
        """Wait until it is there, or the driver has ended: amid joining, opening, judging or acting."""
        some, few = self.draw.randrange(1, PICTURES), self.draw.randrange(1, PICTURES // EVERY)
        there: dict[str, Callable[[], bool]] = {
            "joining": lambda: True,
            "opening": lambda: bool(self.lane.nodes.workers()),
            "judging": lambda: self.judged() >= some,
            "acting": lambda: len(self.removals()) >= few,
        }
        while driver.poll() is None and not there[self.moment]():
            time.sleep(0.02 if self.moment != "acting" else 0.002)
        longest = {"joining": 1.5, "opening": 1.5, "judging": 0.3, "acting": 0.02}[self.moment]
        time.sleep(self.draw.uniform(0, longest))

    # --- the sweep

    def start(self) -> Running:
        config = ("--config", str(self.folder / "config.toml"), "--ledger", self.url)
        typed = ["scan", "--engine", "ray", "--address", self.lane.nodes.address]
        typed += [*config, *FIRST, "--resume-acts", "--quiet"]
        environment = os.environ | ENVIRONMENT
        environment |= {"RAY_AUTH_MODE": "disabled", "REMOVALS": str(self.folder / "removals")}
        return self.lane.programs.start(typed, environment, self.folder)

    def said(self) -> str:
        return f"{self.kind}, {self.moment}: {(self.folder / 'said').read_text()}"

    def make(self) -> str:
        """Make it, kill, and finish it; return what was killed, and amid what."""
        driver = self.start()
        try:
            self.wait_for_moment(driver)
            killed = False
            while driver.poll() is None and not (killed := self.kinds[self.kind](driver)):
                time.sleep(0.02)
            code = driver.wait(LONGEST_S)
            assert code in CALLED, (code, self.said())
            times = 1
            while code != 0:
                times += 1
                assert times < 5, (code, self.said())
                driver = self.start()
                code = driver.wait(LONGEST_S)
        finally:
            if driver.poll() is None:
                driver.kill()
        return f"{self.kind}, {self.moment}" if killed else "nothing, it had ended"

    def check(self, pictures: set[str], condemned: set[str]) -> None:
        """Every object is judged, each condemned one removed once, and the ledger is whole."""
        removals = Counter(Path(key).name for key in self.removals())
        assert set(removals) <= condemned and max(removals.values()) == 1, (removals, self.said())
        assert {path.name for path in (self.folder / "media").rglob("*.png")} == pictures - condemned, self.said()
        assert "Traceback" not in self.said(), self.said()
        ledger = open_ledger(self.url, clock=SystemClock())
        try:
            assert ledger.verify().problem is None, self.said()
            states = {row.key.rpartition("/")[2]: row.state for row in ledger.list_objects(Filters())}
            assert states.keys() == pictures, self.said()
            assert {states[name] for name in condemned} <= {"removed", "gone"}, (states, self.said())
            assert {states[name] for name in pictures - condemned} == {"judged"}, (states, self.said())
        finally:
            ledger.dispose()


@dataclass
class Sweeps:
    """All that are to be made, one after the other in each lane."""

    place: Path
    share: Share
    killed: Counter[str]
    pictures: dict[str, bytes]

    def condemned(self) -> set[str]:
        return {name for name in self.pictures if int(name[:2]) % EVERY == 0}

    def one(self, lane: Lane, number: int) -> None:
        folder = self.place / str(number)
        for name, data in self.pictures.items():
            path = folder / "media" / str(int(name[:2]) % PARTS) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        stand_in.write_config(folder, folder / "media")
        like = "template1" if number % EMPTY_EVERY == 0 else lane.made
        began = time.monotonic()
        with ledgers.empty_database(lane.server, like) as url:
            sweep = Sweep(lane, folder, url, random.Random(f"{self.share.seed} {number}"))
            what = sweep.make()
            sweep.check(set(self.pictures), self.condemned())
        self.killed[what] += 1
        shutil.rmtree(folder)
        if self.share.full:
            done = self.killed.total()
            sys.stdout.write(f"{done}: number {number}, {what}, {time.monotonic() - began:.1f} s\n")
            sys.stdout.flush()


def test_whatever_is_killed_all_is_judged_and_nothing_is_done_twice(
    lanes: list[Lane], tmp_path: Path, share: Share
) -> None:
    red_circle, other = (("red", "circle"),), (("blue", "square"),)
    pictures = {
        f"{n:02}.png": shapes.png_bytes(shapes.scene(n, other if n % EVERY else red_circle)) for n in range(PICTURES)
    }
    sweeps = Sweeps(tmp_path, share, Counter(), pictures)
    numbers, lock = share.numbers(2, 300), threading.Lock()

    over = threading.Event()

    def work(lane: Lane) -> None:
        while True:
            with lock:
                number = None if over.is_set() else next(numbers, None)
            if number is None:
                return
            try:
                sweeps.one(lane, number)
            except BaseException:
                over.set()
                raise

    try:
        with ThreadPoolExecutor(len(lanes)) as threads:
            try:
                for done in [threads.submit(work, lane) for lane in lanes]:
                    done.result()
            finally:
                over.set()
    finally:
        share.figure(f"{sweeps.killed.total()} sweeps, killed: {dict(sorted(sweeps.killed.items()))}")
