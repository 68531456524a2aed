"""The real pict-rs for tests, built once from its crate and run on a free loopback port beside ImageMagick 7.

`./dev test --servers pictrs` builds it (half an hour on two cores; cargo, and root with debootstrap unless the machine
has ImageMagick 7, ffmpeg and exiftool itself). Tests build nothing: without a build they fail and name this command.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from support import needs
from support.servers import debian
from support.servers.postgresql import postgresql_server

VERSION = "0.5.25"
SUITE = "trixie"  # the first Debian with ImageMagick 7
PACKAGES = ("imagemagick", "ffmpeg", "libimage-exiftool-perl", "ca-certificates")
_READY_S = 60
_CACHE = debian.CACHE
_ROOT = _CACHE / SUITE
_BINARY = _CACHE / "pictrs/bin/pict-rs"
_COMMAND = "./dev test --servers pictrs"


def check() -> bool:
    """Whether it is built and can be run; raises Unready if it cannot be."""
    chrooted = not _has_tools()
    there = debian.check_root(SUITE) if chrooted else True
    if _BINARY.exists():
        return there
    if shutil.which("cargo") is None:
        raise debian.Unready("cargo is missing", "install Rust (https://rustup.rs)")
    if shutil.which("cc") is None:
        raise debian.Unready("a C compiler is missing", "install what Debian calls gcc")
    return False


def build(say: Callable[[str], None]) -> None:
    """Build what is missing: the program, and where this machine lacks its tools a Debian that has them."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "pictrs.lock").open("w") as lock:  # two at once build once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _has_tools():
            debian.root(SUITE, PACKAGES, say)
        if not _BINARY.exists():
            command = ["nice", "-n", "19", "cargo", "install", "pict-rs", "--version", VERSION, "--locked"]
            debian.run([*command, "--root", str(_CACHE / "pictrs")], "cargo install pict-rs", seconds=2 * 3600)


def _has_tools() -> bool:
    return all(shutil.which(tool) for tool in ("magick", "ffmpeg", "ffprobe", "exiftool"))


@dataclass
class PictrsServer:
    """A running pict-rs. `post` and `get` speak to it directly, beside the client under test."""

    port: int
    api_key: str
    base: Path  # as this machine sees it
    command: list[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    # No connection is kept: the server may close it, or be restarted, just when it is used again.
    http: httpx.Client = field(
        default_factory=lambda: httpx.Client(
            timeout=60, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
    )

    @property
    def url(self) -> str:
        """The server's own URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def store_url(self) -> str:
        """The URL by which fedi-safety calls it."""
        return f"pictrs+{self.url}"

    @property
    def files(self) -> Path:
        """The file store's directory."""
        return self.base / "files"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.base / "log"

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=dict(self.environment), stdout=log, stderr=log)
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"pict-rs ended at once: {self.log.read_text()[-3000:]}")
            try:
                if self.http.get(f"{self.url}/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"pict-rs does not answer: {self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """Stop at once; starting it again is possible."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(3)  # it would wait for idle connections
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
            self.process = None

    def upload(self, data: bytes, name: str = "picture") -> str:
        """Upload a picture as an instance does and return its alias."""
        answer = self.http.post(f"{self.url}/image", files={"images[]": (name, data)})
        assert answer.status_code == 201, answer.text
        alias: str = answer.json()["files"][0]["file"]
        return alias

    def status(self, alias: str) -> int:
        """Return what a visitor gets for an alias."""
        return self.http.get(f"{self.url}/image/original/{alias}").status_code

    def thumbnail(self, alias: str, size: int = 96) -> bytes:
        """Have a variant made, as a visitor does, and return it."""
        answer = self.http.get(f"{self.url}/image/process.webp", params={"src": alias, "thumbnail": size})
        assert answer.status_code == 200, answer.text
        return answer.content

    def internal(self, method: str, path: str, **params: Any) -> Any:
        """Ask an internal endpoint."""
        answer = self.http.request(
            method, f"{self.url}/internal/{path}", params=params, headers={"X-Api-Token": self.api_key}
        )
        return json.loads(answer.text) if answer.text else None

    def clear(self) -> None:
        """Purge every picture and wait until all files are gone."""
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            # While a removal is under way the listing may fail: see the client.
            page = self.internal("GET", "hashes", limit=1000).get("page")
            if page is not None and not page["hashes"] and not self.stored():
                return
            for picture in page["hashes"] if page is not None else []:
                for alias in picture["aliases"][:1]:
                    self.internal("POST", "purge", alias=alias)
            time.sleep(0.05)
        raise RuntimeError(f"pict-rs keeps {self.stored()}: {self.log.read_text()[-3000:]}")

    def stored(self) -> list[str]:
        """Return every file in the file store, as paths relative to it."""
        # os.walk takes it calmly that pict-rs removes directories meanwhile.
        folders = os.walk(self.files)
        return sorted(str((Path(at) / name).relative_to(self.files)) for at, _, names in folders for name in names)


def free_port() -> int:
    """Return a loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def pictrs_server(**variables: str) -> Iterator[PictrsServer]:
    """Start a pict-rs with an API key, a sled repository and a file store, and remove all of it at the end.

    `variables` add to its configuration, e.g. `STORE__TYPE="object_storage"`.
    """
    needs.started("pictrs")
    if not check():
        raise RuntimeError(f"pict-rs is not built: run `{_COMMAND}` once")
    chrooted = not _has_tools()
    inside = "/srv" if chrooted else None
    program = str(_BINARY)
    if chrooted:
        placed = _ROOT / "usr/local/bin/pict-rs"
        if not placed.exists() or placed.stat().st_mtime < _BINARY.stat().st_mtime:
            shutil.copy2(_BINARY, placed)
        program = "/usr/local/bin/pict-rs"
    with tempfile.TemporaryDirectory(prefix="pictrs-", dir=str(_ROOT / "srv") if chrooted else None) as folder:
        base = Path(folder)
        seen = f"{inside}/{base.name}" if chrooted else folder
        for name in ("files", "repo", "tmp"):
            (base / name).mkdir()
        port, key = free_port(), secrets.token_hex(16)
        settings = {
            "SERVER__ADDRESS": f"127.0.0.1:{port}",
            "SERVER__API_KEY": key,
            "SERVER__TEMPORARY_DIRECTORY": f"{seen}/tmp",
            "TRACING__LOGGING__NO_ANSI": "true",
            "REPO__TYPE": "sled",
            "REPO__PATH": f"{seen}/repo",
            "REPO__EXPORT_PATH": f"{seen}/exports",
            "STORE__TYPE": "filesystem",
            "STORE__PATH": f"{seen}/files",
            **variables,
        }
        environment = {f"PICTRS__{name}": value for name, value in settings.items()}
        environment |= {"PATH": os.defpath + ":/usr/sbin:/sbin:/usr/local/bin", "TMPDIR": f"{seen}/tmp", "HOME": seen}
        command = [*(["chroot", str(_ROOT)] if chrooted else []), program, "run"]
        server = PictrsServer(port, key, base, command, environment)
        try:
            server.start()
            sys.stderr.write(f"pict-rs: {VERSION} on port {port}\n")
            yield server
        finally:
            server.stop()
            server.http.close()


@dataclass(frozen=True)
class Database:
    """An empty PostgreSQL database: `owner` may do everything, `reader` may read."""

    owner: str
    reader: str


@contextmanager
def pictrs_database() -> Iterator[Database]:
    """Start a PostgreSQL on loopback with a database for a pict-rs, and remove all of it at the end."""
    with postgresql_server() as server:
        server.execute("CREATE ROLE reader LOGIN IN ROLE pg_read_all_data", "CREATE DATABASE pictrs")
        yield Database(server.dsn(database="pictrs"), server.dsn("reader", "pictrs"))
