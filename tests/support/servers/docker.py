"""A real dockerd for tests, on a socket of its own, without a network of its own, with all its data in a directory.

Its images build on a clean Debian, under the names that the recipes build on: nothing is pulled from anywhere.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support import needs
from support.servers import debian
from support.servers.debian import Unready

_PROGRAMS = ("dockerd", "containerd", "runc", "docker", "docker-compose")
_PACKAGES = ("docker.io", "docker-compose")
_SUITE = "bookworm"
_BASE = debian.CACHE / f"{_SUITE}-base.tar"
_START_S = 60.0
_OWN_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_ALONE = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")


@dataclass(frozen=True, slots=True)
class Docker:
    """A running dockerd."""

    socket: str

    def run(self, *command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None,
            seconds: float = 1200) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run `docker` or `docker-compose` against it."""
        environment = {**os.environ, **(env or {}), "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0"}
        return subprocess.run(
            [_program(str(command[0])), *command[1:]], env=environment, cwd=cwd, capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL, timeout=seconds,
        )  # fmt: skip

    def import_base(self, name: str) -> None:
        """Have a clean Debian under this name."""
        done = self.run("docker", "import", _BASE, name)
        if done.returncode != 0:
            raise RuntimeError(f"docker import: {done.stderr[-1000:]}")


def check() -> bool:
    """Whether all is there; raises Unready if it cannot be, also where a dockerd does not start."""
    if os.geteuid() != 0:
        raise Unready("dockerd is started by root", "run this as root")
    if not debian.check(_PROGRAMS, " and ".join(_PACKAGES)) or not _BASE.exists():
        debian.check(["debootstrap"], "debootstrap")
        debian.mirror()
        return False
    with dockerd():
        return True


def make(say: Callable[[str], None]) -> None:
    """Install it, make the clean Debian, and see that it starts."""
    for package in _PACKAGES:
        debian.need([p for p in _PROGRAMS if (p == "docker-compose") == (package == "docker-compose")], package, say)
    debian.need(["debootstrap"], "debootstrap", say)
    debian.CACHE.mkdir(parents=True, exist_ok=True)
    with _BASE.with_suffix(".lock").open("w") as lock:  # two test runs at once make one
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _BASE.exists():
            _make_base()
    with dockerd():
        pass


def _make_base() -> None:
    with tempfile.TemporaryDirectory(dir=debian.CACHE) as folder:
        root, tar = Path(folder) / "root", Path(folder) / "base.tar"
        debian.run(["debootstrap", "--variant=minbase", _SUITE, root, debian.mirror()], "debootstrap docker base")
        if _OWN_CERTIFICATES.is_dir():  # a machine behind a proxy has certificates of its own
            shutil.copytree(_OWN_CERTIFICATES, root / str(_OWN_CERTIFICATES).lstrip("/"), dirs_exist_ok=True)
        debian.run(["tar", "-C", root, "-cf", tar, "."], "tar docker base")
        tar.rename(_BASE)


@contextmanager
def dockerd() -> Iterator[Docker]:
    """Run one, and leave nothing of it. Raises Unready with its own words where it does not start."""
    with tempfile.TemporaryDirectory(prefix="dockerd-", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        socket = str(base / "docker.sock")
        command = [
            _program("dockerd"), *_ALONE, "-H", f"unix://{socket}", "--data-root", str(base / "data"),
            "--exec-root", str(base / "exec"), "--pidfile", str(base / "pid"),
        ]  # fmt: skip
        with (base / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        docker = Docker(socket)
        try:
            _await(docker, process, base / "log")
            yield docker
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def docker_server() -> Iterator[Docker]:
    """Run one for tests."""
    needs.started("docker")
    with dockerd() as running:
        yield running


def _await(docker: Docker, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while docker.run("docker", "info", seconds=_START_S).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise Unready(f"dockerd does not start here: {_last_words(log)}", "run this where containers may run")
        time.sleep(0.2)


def _last_words(log: Path) -> str:
    """Return the last thing that it says went wrong."""
    lines: Sequence[str] = log.read_text("utf-8", "replace").strip().splitlines() or ["it does not say why"]
    wrong = [line for line in lines if "level=" not in line or re.search(r"level=(error|fatal)", line)]
    return re.sub(r"^time=\S+ level=\w+ msg=", "", (wrong or lines)[-1]).strip('"')[:300]


def _program(name: str) -> str:
    return shutil.which(name, path=f"/usr/sbin:/usr/bin:{os.environ.get('PATH', '')}") or name
