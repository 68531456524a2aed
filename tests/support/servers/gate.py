"""The installed gate and worker as processes on loopback: started, stopped, killed, and asked over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from support.program import command
from support.servers.pictrs import free_port

_READY_S = 120.0


@dataclass
class Process:
    """One process of the program; what it says goes into `log`."""

    arguments: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it said, all its lives together."""
        path = self.folder / f"{self.arguments[0]}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self.process is not None
        return self.process

    def start(self) -> None:
        """Start it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{self.arguments[0]}.log").open("ab") as log:
            self.process = subprocess.Popen(
                command(*self.arguments),
                env={**os.environ, **self.environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def said(self, text: str, seconds: float = _READY_S) -> None:
        """Wait until it has said this."""
        deadline = time.monotonic() + seconds
        while text not in self.log:
            assert time.monotonic() < deadline and self.running.poll() is None, self.log
            time.sleep(0.05)

    def stop(self) -> int:
        """Stop it in order; return its exit code."""
        self.running.send_signal(signal.SIGTERM)
        code = self.running.wait(40)
        self.process = None
        return code

    def kill(self) -> None:
        """Kill it."""
        self.running.kill()
        self.running.wait(10)
        self.process = None

    def end(self) -> None:
        """Make sure that it is gone, also if it is held."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()


@dataclass
class GateServer(Process):
    """The gate."""

    port: int = 0
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, trust_env=False))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ledger(self) -> str:
        """Its ledger's path."""
        return str(self.folder / "gate.db")

    def ready(self, code: str = "ready", seconds: float = _READY_S) -> None:
        """Wait until it says that it is ready, or why not."""
        deadline = time.monotonic() + seconds
        said = ""
        while said != code:
            assert time.monotonic() < deadline and self.running.poll() is None, (said, self.log)
            try:
                said = str(self.http.get(f"{self.url}/readyz").json()["code"])
            except httpx.TransportError:
                said = "down"
            time.sleep(0.05)

    def send(self, data: bytes, kind: str = "image/jpeg", token: str = "IPADDR") -> httpx.Response:
        """Hand in an upload as pict-rs does: chunked, with its media type."""
        url = f"{self.url}/api/v1/scan/{token}"
        return self.http.post(url, content=iter([data]), headers={"Content-Type": kind})

    def figure(self, name: str) -> float:
        """Return one of its figures."""
        for line in self.http.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(f"fedi_safety_gate_{name} "):
                return float(line.split()[1])
        raise AssertionError(f"there is no figure {name}")

    def uploads(self, state: str | None = None) -> list[dict[str, Any]]:
        """Return the uploads that its ledger has a note of, read beside it."""
        import sqlite3

        with sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=10) as connection:
            connection.row_factory = sqlite3.Row
            rows = [dict(row) for row in connection.execute("SELECT * FROM uploads ORDER BY id")]
        connection.close()
        return [row for row in rows if state is None or row["state"] == state]


@contextmanager
def gate_server(
    folder: Path, *options: str, port: int | None = None, wait: str | None = "ready", **settings: Any
) -> Iterator[GateServer]:
    """Start a gate with settings such as `deadline_s=2`; those of other sections are named `pictrs__url=...`.

    It is waited for until `/readyz` gives the code `wait`.
    """
    port = port or free_port()
    environment = environ(settings)
    gate = GateServer(("serve", "-p", str(port), *options), folder, environment, port=port)
    gate.environment = {"FEDI_SAFETY_LEDGER": gate.ledger, **environment}
    try:
        gate.start()
        if wait is not None:
            gate.ready(wait)
        yield gate
    finally:
        gate.end()
        gate.http.close()


@contextmanager
def worker_process(folder: Path, *arguments: str, **settings: Any) -> Iterator[Process]:
    """Start a worker."""
    worker = Process(("worker", *arguments), folder, environ(settings))
    try:
        worker.start()
        yield worker
    finally:
        worker.end()


_SECTIONS = ("pictrs", "s3", "ssh", "limits", "breaker", "worker")
_PLAIN = ("policy", "store", "log_level", "jobs", "ledger", "act")


def environ(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as variables; those without a section of their own are the gate's."""
    found = {}
    for name, value in settings.items():
        section = "" if name.partition("__")[0] in _SECTIONS or name in _PLAIN else "GATE__"
        text = value if isinstance(value, str) else json.dumps(value)
        found[f"FEDI_SAFETY_{section}{name.upper()}"] = text
    return found
