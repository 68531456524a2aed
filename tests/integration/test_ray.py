"""A sweep by Ray, for real: raylets on this machine, the ledger in PostgreSQL, the program from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fedi_safety.app.ledger import SystemClock
from fedi_safety.core.ledger.records import Filters
from fedi_safety.ledger.ledger import open_ledger
from support import ledgers, stand_in
from support.corpus import shapes
from support.needs import needs
from support.program import FIRST, check_one_line_error, command, program
from support.ray_nodes import RayNodes, ray_nodes
from support.servers.postgresql import PostgresqlServer

pytestmark = [pytest.mark.long, pytest.mark.needs("postgresql")]

AT_REST = {"RAY_AUTH_MODE": "disabled"}
IN_FILE, IN_PIXELS = (Random(name).randbytes(96) for name in ("in the file", "in the pixels"))
RED_CIRCLE, OTHER = (("red", "circle"),), (("blue", "square"),)


@pytest.fixture(autouse=True)
def start_each_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray has threads, and does not outlive a fork."""
    monkeypatch.setenv("START_EACH_COMMAND", "1")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    with ray_nodes(2, tmp_path_factory.mktemp("ray")) as found:
        yield found


@pytest.fixture
@needs("postgresql")
def url(ledger_server: PostgresqlServer) -> Iterator[str]:
    with ledgers.empty_database(ledger_server) as found:
        yield found


def picture(number: int) -> bytes:
    """Return a harmless drawing with both marks: one in a chunk of text, one as its first row of pixels."""
    scene = shapes.draw(shapes.scene(number, RED_CIRCLE if number % 10 == 0 else OTHER))
    scene.frombytes(IN_PIXELS + scene.tobytes()[len(IN_PIXELS) :])
    from io import BytesIO

    buffer = BytesIO()
    scene.save(buffer, "PNG")
    data = buffer.getvalue()
    text = b"tEXtmark\0" + IN_FILE + str(number).encode()
    return data[:33] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + data[33:]


@pytest.fixture
def media(tmp_path: Path) -> Path:
    for number in range(60):
        path = tmp_path / f"media/{number % 5}/{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    stand_in.write_config(tmp_path, tmp_path / "media")
    return tmp_path / "media"


def arguments(media: Path, nodes: RayNodes | None, ledger: str, *more: str) -> list[str]:
    address = [] if nodes is None else ["--address", nodes.address]
    config = str(media.parent / "config.toml")
    return ["scan", "--engine", "ray", *address, "--config", config, "--ledger", ledger, *more]


def left(media: Path) -> set[str]:
    return {path.relative_to(media).as_posix() for path in media.rglob("*.png")}


def found_in_files(folders: list[Path], marks: tuple[bytes, ...]) -> list[str]:
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                try:
                    data = path.read_bytes()
                except OSError:
                    continue
                found += [str(path)] * any(mark in data for mark in marks)
    return found


def found_in_memory(pid: int, marks: tuple[bytes, ...]) -> list[str]:
    """Return the parts of a process's memory that hold a mark, its files and shared memory among them."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(text, 16) for text in line.split()[0].split("-"))
            if "r" not in line.split()[1] or end - start > 1 << 30 or line.endswith(("[vvar]", "[vsyscall]")):
                continue
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except OSError:
                continue
            found += [line] * any(mark in data for mark in marks)
    return found


def traces(nodes: RayNodes) -> list[str]:
    """Return where Ray has a picture: in its session's files, shared memory, or the memory of what moves objects."""
    marks = (IN_FILE, IN_PIXELS)
    movers = nodes.processes("raylet/raylet|gcs_server|log_monitor|monitor.py|Agent")
    assert len(movers) >= 3
    files = found_in_files([nodes.session, Path("/dev/shm")], marks)
    return files + [where for pid in movers for where in found_in_memory(pid, marks)]


def test_media_never_enter_ray_and_a_sweep_does_what_a_scan_does(nodes: RayNodes, url: str, media: Path) -> None:
    first = program(*arguments(media, nodes, url, "--dry-run", "--json"), env=AT_REST)
    assert first.code == 0, first.err
    said = first.json
    assert (said["judged"], said["block"], said["acted"], said["device"]) == (60, 6, 0, "cpu x 2")
    assert traces(nodes) == []
    again = program(*arguments(media, nodes, url, "--act", "delete", "--json"), env=AT_REST)
    assert (again.code, again.json["already_judged"], again.json["acted"]) == (0, 60, 6), again.err
    assert left(media) == {f"{number % 5}/{number:03}.png" for number in range(60) if number % 10}
    assert traces(nodes) == []
    assert "password" not in first.err + again.err and not found_in_files([nodes.session], (b"postgresql://",))
    ledger = open_ledger(url, clock=SystemClock())
    assert ledger.verify().problem is None
    ledger.dispose()
    # The search finds what it looks for, where somebody does put a picture there.
    script = (
        "import sys, time, ray; ray.init(address=sys.argv[1], log_to_driver=False);"
        "kept = ray.put(open(sys.argv[2], 'rb').read() * 40); print('there', flush=True); sys.stdin.readline()"
    )
    kept = media / "0/005.png"
    with subprocess.Popen(
        [sys.executable, "-c", script, nodes.address, str(kept)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **AT_REST},
    ) as putting:
        assert putting.stdout is not None
        assert putting.stdout.readline().strip() == b"there"
        assert traces(nodes), "a picture in Ray's object store is not found"
        putting.communicate(b"\n", timeout=60)


def sweeping(nodes: RayNodes, url: str, media: Path) -> subprocess.Popen[str]:
    """Start a first sweep that acts, and leave it running."""
    return subprocess.Popen(
        command(*arguments(media, nodes, url, *FIRST, "--json")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **AT_REST},
    )


def test_workers_and_a_machine_are_killed_amid_a_sweep(nodes: RayNodes, url: str, media: Path) -> None:
    running = sweeping(nodes, url, media)
    ends = time.monotonic() + 60
    while not (workers := nodes.workers()) and time.monotonic() < ends:
        time.sleep(0.1)
    nodes.kill_worker(workers[0])
    time.sleep(1)
    nodes.kill_node(nodes.nodes[-1])
    out, err = running.communicate(timeout=180)
    assert running.returncode == 0, err
    said = json.loads(out.splitlines()[-1])
    assert (said["listed"], said["block"], said["acted"]) == (60, 6, 6), err
    assert "lost a worker" in err
    ledger = open_ledger(url, clock=SystemClock())
    assert ledger.verify().problem is None
    assert {row.state for row in ledger.list_objects(Filters())} == {"judged", "removed"}
    ledger.dispose()
    nodes.add()


def test_interrupted_it_ends_calmly_and_goes_on_from_there(nodes: RayNodes, url: str, media: Path) -> None:
    running = sweeping(nodes, url, media)
    ends = time.monotonic() + 60
    while not nodes.workers() and time.monotonic() < ends:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    assert "Traceback" not in err and len(left(media)) == 60
    done = program(*arguments(media, nodes, url, *FIRST, "--json"), env=AT_REST)
    assert (done.code, done.json["acted"]) == (0, 6), done.err
    assert out == "" or json.loads(out.splitlines()[-1])["listed"] == done.json["already_judged"]


def test_what_cannot_be_is_one_line(nodes: RayNodes, url: str, media: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "ledger.db")
    one = program(*arguments(media, nodes, file, "--dry-run"), env=AT_REST)
    check_one_line_error(one, 2, "is a file of this machine, and the cluster's workers record into one ledger")
    for address, code, cause in (
        ("127.0.0.1:1", 3, "Ray at 127.0.0.1:1: nothing answers there"),
        ("nowhere", 2, "is neither `auto` nor HOST:PORT"),
        ("ray://127.0.0.1:10001", 2, "not through Ray Client"),
    ):
        config = str(media.parent / "config.toml")
        typed = ("scan", "--engine", "ray", "--address", address, "--config", config, "--ledger", url, "--dry-run")
        check_one_line_error(program(*typed, env=AT_REST | {"TMPDIR": str(tmp_path)}), code, cause)


_STARTED = """
import json, os, subprocess, sys
from fedi_safety.app.sweep.cluster import opened_cluster
from fedi_safety.config.schema import Settings
with opened_cluster(Settings(jobs=1), None) as cluster:
    import ray
    from ray._common.usage import usage_lib
    info = ray._private.worker._global_node.address_info
    print(json.dumps({
        "usage": usage_lib.usage_stats_enabled(), "webui": info["webui_url"], "address": info["gcs_address"],
        "store": ray.nodes()[0]["Resources"]["object_store_memory"], "places": [p.cpus for p in cluster.places()],
        "session": info["session_dir"]}), flush=True)
    sys.stdin.readline()
"""


def listening(pids: set[int]) -> set[str]:
    """Return the addresses at which these processes listen, as the kernel writes them."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets.update(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == "0A" and parts[9] in sockets:
                found.add(parts[1].rpartition(":")[0])
    return found


def test_ray_as_it_is_started_here_tells_nobody_anything(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STARTED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env=dict(os.environ) | {"RAY_ADDRESS": "10.255.255.1:6379"},
    ) as running:
        assert running.stdout is not None
        told = json.loads(running.stdout.readline())
        assert (told["usage"], told["webui"], told["places"]) == (False, "", [1])
        assert told["address"].startswith("127.0.0.1:") and told["store"] == 80 << 20
        pids = {int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _in_session(p, told["session"])}
        assert len(pids) >= 3
        for pid in pids:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert b"RAY_USAGE_STATS_ENABLED=0" in environment
        where = listening(pids | {running.pid})
        assert where <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}, where
        running.communicate("\n", timeout=60)
    assert running.returncode == 0


def _in_session(process: Path, session: str) -> bool:
    try:
        return session.encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False
