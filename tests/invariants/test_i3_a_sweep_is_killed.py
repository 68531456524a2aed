"""I3: workers, machines, drivers and PostgreSQL are killed amid sweeps; all is judged, and nothing is done twice.

Removals are counted where they are done. `./dev soak sweep` makes 300 sweeps, a run of the tests two.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fedi_safety.app.ledger import SystemClock
from fedi_safety.core.ledger.records import Filters
from fedi_safety.ledger.ledger import open_ledger
from support import ledgers, stand_in
from support.corpus import shapes
from support.needs import needs
from support.program import ENVIRONMENT, FIRST
from support.ray_nodes import RayNodes, ray_nodes
from support.servers.postgresql import PostgresqlServer
from support.share import Share

pytestmark = [pytest.mark.long, pytest.mark.needs("postgresql")]

PICTURES, EVERY = 36, 4
LONGEST_S = 240.0
CALLED = (0, 3, 130, -9)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    with ray_nodes(2, tmp_path_factory.mktemp("ray")) as found:
        yield found


@pytest.fixture
@needs("postgresql")
def server(ledger_server: PostgresqlServer) -> PostgresqlServer:
    return ledger_server


class Sweeps:
    """Sweeps of folders of drawn pictures, in each of which something is killed once."""

    def __init__(self, nodes: RayNodes, server: PostgresqlServer, draw: random.Random) -> None:
        self.nodes, self.server, self.draw = nodes, server, draw
        self.takes_s = 6.0
        self.kinds: dict[str, Callable[[subprocess.Popen[bytes]], None]] = {
            "a worker": lambda _driver: self.kill_worker(),
            "a machine": lambda _driver: self.kill_machine(),
            "the driver": lambda driver: os.killpg(driver.pid, signal.SIGKILL),
            "PostgreSQL": lambda _driver: self.kill_postgresql(),
        }

    def kill_worker(self) -> None:
        if workers := self.nodes.workers():
            self.nodes.kill_worker(self.draw.choice(workers))

    def kill_machine(self) -> None:
        self.nodes.kill_node(self.draw.choice(self.nodes.nodes))
        self.nodes.add()

    def kill_postgresql(self) -> None:
        """Kill one of its processes that serve somebody: it then ends all of them, and recovers as from a crash."""
        children = Path(f"/proc/{self.server.process.pid}/task/{self.server.process.pid}/children").read_text().split()
        serving = [pid for pid in children if b"127.0.0.1(" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if serving:
            with suppress(ProcessLookupError):
                os.kill(int(self.draw.choice(serving)), signal.SIGKILL)

    def start(self, folder: Path, url: str) -> subprocess.Popen[bytes]:
        config = ("--config", str(folder / "config.toml"), "--ledger", url)
        typed = [
            "scan",
            "--engine",
            "ray",
            "--address",
            self.nodes.address,
            *config,
            *FIRST,
            "--resume-acts",
            "--quiet",
        ]
        tests = str(Path(__file__).parents[1])
        environment = os.environ | ENVIRONMENT | {"RAY_AUTH_MODE": "disabled", "REMOVALS": str(folder / "removals")}
        environment["PYTHONPATH"] = f"{ENVIRONMENT['PYTHONPATH']}:{tests}"
        with (folder / "said").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "support.counted_program", *typed],
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=environment,
                start_new_session=True,
            )

    def one(self, folder: Path, url: str) -> str:
        """Make a sweep in which something is killed, and finish it; return what was killed, and how it ended."""
        kind = self.draw.choice(sorted(self.kinds))
        began = time.monotonic()
        driver = self.start(folder, url)
        while not self.nodes.workers() and driver.poll() is None and time.monotonic() - began < 60:
            time.sleep(0.02)
        time.sleep(self.draw.uniform(0, 1.2) * self.takes_s)
        missed = driver.poll() is not None
        if not missed:
            self.kinds[kind](driver)
        code = driver.wait(LONGEST_S)
        assert code in CALLED, (kind, code, (folder / "said").read_text())
        if missed:
            self.takes_s = max(1.0, 0.8 * self.takes_s)
        times = 1
        while code != 0:
            times += 1
            assert times < 5, (kind, code, (folder / "said").read_text())
            code = self.start(folder, url).wait(LONGEST_S)
        return "nothing, it had ended" if missed else kind

    def check(self, folder: Path, url: str, pictures: set[str], condemned: set[str]) -> None:
        """Every object is judged, each condemned one removed once, and the ledger is whole."""
        removals = Counter(Path(key).name for key in (folder / "removals").read_text().split())
        assert set(removals) <= condemned and max(removals.values()) == 1, removals
        assert {path.name for path in (folder / "media").rglob("*.png")} == pictures - condemned
        ledger = open_ledger(url, clock=SystemClock())
        try:
            assert ledger.verify().problem is None
            states = {row.key.rpartition("/")[2]: row.state for row in ledger.list_objects(Filters())}
            assert states.keys() == pictures
            assert {states[name] for name in condemned} <= {"removed", "gone"}
            assert {states[name] for name in pictures - condemned} == {"judged"}
        finally:
            ledger.dispose()


def test_whatever_is_killed_all_is_judged_and_nothing_is_done_twice(
    nodes: RayNodes, server: PostgresqlServer, tmp_path: Path, share: Share
) -> None:
    red_circle, other = (("red", "circle"),), (("blue", "square"),)
    pictures = {
        f"{n:02}.png": shapes.png_bytes(shapes.scene(n, other if n % EVERY else red_circle)) for n in range(PICTURES)
    }
    condemned = {name for name in pictures if int(name[:2]) % EVERY == 0}
    sweeps = Sweeps(nodes, server, random.Random(share.seed))
    killed: Counter[str] = Counter()
    for number in range(share.of(2, 300)):
        folder = tmp_path / str(number)
        for name, data in pictures.items():
            path = folder / "media" / name[:1] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        stand_in.write_config(folder, folder / "media")
        with ledgers.empty_database(server) as url:
            what = sweeps.one(folder, url)
            sweeps.check(folder, url, set(pictures), condemned)
        killed[what] += 1
        if share.full:
            sys.stdout.write(f"{number + 1}: {what}\n")
            sys.stdout.flush()
        shutil.rmtree(folder)
    share.figure(f"{killed.total()} sweeps, killed: {dict(sorted(killed.items()))}")
