"""What docs/gate.md and docs/api.md show is what happens: every curl example, the nginx configuration, the codes."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from support.corpus.photos import jpeg_bytes
from support.program import FACES, program
from support.servers.fronts import TEMPORARY, front_server, place_for
from support.servers.gate import GateServer, gate_server, worker_process

ROOT = Path(__file__).parents[2]
PAGES = ("gate.md", "api.md")
RUN = re.compile(r"^<!-- run -->\n```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
AT = "http://127.0.0.1:14051"


def examples() -> list[tuple[str, str, str]]:
    """Return page, command and output of every command in the marked blocks."""
    found = []
    for page in PAGES:
        for block in RUN.findall((ROOT / "docs" / page).read_text("utf-8")):
            for part in block.split("$ ")[1:]:
                command, _, output = part.partition("\n")
                found.append((page, command, output))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make what the pages speak of: a photograph and the test card."""
    place = tmp_path_factory.mktemp("docs")
    (place / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    return place


@pytest.fixture
def gate(folder: Path) -> Iterator[GateServer]:
    if not (folder / "card.png").exists():
        assert program("self-test", "--card", str(folder / "card.png")).code == 0
    with gate_server(folder / "gate") as running:
        yield running


def comparable(text: str) -> str:
    """Return the output without what is another each time."""
    text = re.sub(r'"id":"[0-9a-f]{32}"', '"id":"ID"', text.strip())
    return re.sub(r"[0-9a-f]{64}", "SHA", text)


@pytest.mark.needs("curl")
def test_every_curl_example_does_as_shown(folder: Path, gate: GateServer) -> None:
    assert len(examples()) >= 8
    assert sum((ROOT / "docs" / page).read_text("utf-8").count("```console") for page in PAGES) == sum(
        len(RUN.findall((ROOT / "docs" / page).read_text("utf-8"))) for page in PAGES
    )
    for page, command, output in examples():
        assert command.startswith("curl ") and AT in command, command
        done = subprocess.run(
            ["sh", "-c", command.replace(AT, gate.url)], cwd=folder, capture_output=True, text=True, timeout=60
        )
        assert comparable(done.stdout) == comparable(output), f"{page}: {command}"


# --- nginx


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return place_for(tmp_path / "nginx")


def send(front: str, path: str, data: bytes, *, source: str = "127.0.0.1", **headers: str) -> httpx.Response:
    def pieces() -> Iterator[bytes]:
        yield data[: len(data) // 2]
        time.sleep(0.5)
        yield data[len(data) // 2 :]

    with httpx.Client(transport=httpx.HTTPTransport(local_address=source), timeout=30) as http:
        return http.post(f"{front}{path}", content=pieces(), headers=headers)


@pytest.mark.needs("nginx")
def test_the_nginx_configuration_writes_nothing_and_names_the_caller(tmp_path: Path, place: Path) -> None:
    (snippet,) = re.findall(
        r"<!-- nginx -->\n```nginx\n(.*?)```", (ROOT / "docs/gate.md").read_text("utf-8"), re.DOTALL
    )
    policy = tmp_path / "faces.toml"
    policy.write_text(FACES)
    settings: dict[str, Any] = {
        "engine": False,
        "worker_keys": {"home": "k"},
        "tokens": {"lemmy": "s3cret"},
        "trusted_proxies": ["127.0.0.1/32"],
        "networks": ["192.0.2.0/24"],
        "policy": str(policy),
    }
    large = jpeg_bytes("coffee") + bytes(8 << 20)
    with gate_server(tmp_path / "gate", wait="no_worker", **settings) as gate:
        documented = snippet.replace(AT, gate.url)
        with (
            front_server("nginx", place, "", documented) as before,
            _Watcher(place) as watcher,
            worker_process(tmp_path / "worker", before, worker__key="k", policy=str(policy)) as worker,
        ):
            worker.said("judging for")
            gate.ready()
            for data, status in ((jpeg_bytes("astronaut"), 406), (jpeg_bytes("coffee"), 200), (large, 200)):
                answer = send(before, "/api/v1/scan/s3cret", data)
                assert answer.status_code == status, answer.text
                assert answer.json()["verdict"] is not None
            # Whom the caller claims to be does not count, only whom nginx saw.
            forged = {"X-Forwarded-For": "192.0.2.1"}
            coffee = jpeg_bytes("coffee")
            assert send(before, "/validate", coffee, source="127.0.0.2", **forged).status_code == 401
            assert send(before, "/validate", coffee, **forged).status_code == 200  # nginx' own machine
            time.sleep(2)
            assert "reached again" not in worker.log  # a worker that waits is not cut off
            assert watcher.found == set()
        # The same without the two words about buffers, to see that this would be seen.
        careless = re.sub(r"proxy_(request_)?buffering off;|proxy_max_temp_file_size 0;", "", documented)
        with front_server("nginx", place, "", careless) as before, _Watcher(place) as watcher:
            send(before, "/api/v1/scan/s3cret", large)
            assert watcher.found != set()


class _Watcher:
    """Looks all the time for files that nginx puts down."""

    def __init__(self, place: Path) -> None:
        self.found: set[str] = set()
        self._place = place
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def _look(self) -> None:
        folders = [self._place / name for name in TEMPORARY]
        while not self._ended.wait(0.001):
            # nginx unlinks at once what it has opened: what it holds open counts as well.
            with suppress(OSError, ValueError, psutil.Error):
                master = psutil.Process(int((self._place / "pid").read_text()))
                for process in (master, *master.children()):
                    for number in Path(f"/proc/{process.pid}/fd").iterdir():
                        target = str(number.readlink()).removesuffix(" (deleted)")
                        if any(target.startswith(str(folder)) for folder in folders):
                            self.found.add(target)
