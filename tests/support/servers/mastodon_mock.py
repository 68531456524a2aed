"""mastodon-mock, a stateful double of Mastodon's REST API from PyPI, in an environment of its own.

`./dev test --servers mastodon-mock` installs it. Nothing of ours depends on it, and it is no Mastodon: it serves what
the documentation says.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from support import needs
from support.servers import debian, venvs
from support.servers.sshd import free_port

VERSION = "0.6.1"
DOMAIN = "social.example"
_PLACE = debian.CACHE / f"mastodon-mock-{VERSION}"
_COMMAND = "./dev test --servers mastodon-mock"
_READY_S = 60


def check() -> bool:
    """Whether it is installed."""
    return venvs.check(_PLACE)


def build(_say: Callable[[str], None]) -> None:
    """Install it."""
    venvs.build(_PLACE, [f"mastodon_mock=={VERSION}"])


@dataclass(frozen=True)
class Person:
    """An account that it begins with: one of its own without a `domain`. Who has a `token` may ask by it."""

    username: str
    domain: str | None = None
    token: str | None = None
    role: str = "user"


@dataclass(frozen=True)
class MastodonMock:
    """A running one."""

    url: str
    http: httpx.Client
    media: Path
    """Where it keeps what is uploaded."""

    def ask(self, token: str, method: str, path: str, **more: Any) -> Any:
        """Ask it directly, beside the client under test, and return what it answers."""
        answer = self.http.request(method, f"{self.url}{path}", headers={"Authorization": f"Bearer {token}"}, **more)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def mastodon_mock(people: Sequence[Person]) -> Iterator[MastodonMock]:
    """Start one in memory, with these people, and end it."""
    needs.started("mastodon-mock")
    if not check():
        raise RuntimeError(f"mastodon-mock is not installed: run `{_COMMAND}` once")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="mastodon-mock-") as folder:
        config = Path(folder) / "mastodon_mock.toml"
        config.write_text(_config(people, Path(folder) / "media"))
        command = [str(_PLACE / "bin/mastodon_mock"), "serve", "--config", str(config), "--in-memory"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--domain", DOMAIN, "--log-level", "error"]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            with httpx.Client(timeout=60, trust_env=False) as http:
                server = MastodonMock(f"http://127.0.0.1:{port}", http, Path(folder) / "media")
                _wait(server, process, Path(folder) / "log")
                sys.stderr.write(f"mastodon-mock: {VERSION} on port {port}\n")
                yield server
        finally:
            process.terminate()
            process.wait(30)


def _config(people: Sequence[Person], media: Path) -> str:
    lines = [f"domain = {json.dumps(DOMAIN)}", f"media_storage_path = {json.dumps(str(media))}"]
    for person in people:
        lines += ["[[seed.accounts]]", f"username = {json.dumps(person.username)}", f"role = {json.dumps(person.role)}"]
        for name, value in (("domain", person.domain), ("access_token", person.token)):
            if value is not None:
                lines.append(f"{name} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def _wait(server: MastodonMock, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            if server.http.get(f"{server.url}/api/v2/instance").status_code == 200:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"mastodon-mock does not answer: {log.read_text()[-3000:]}")
        time.sleep(0.05)
