"""Debian packages and roots for the real servers of the tests, and the place where what is built is kept.

Needs root to install; without it, it says what to install. A package manager that another program holds is waited for.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# Captured at import: the tests give every test a home directory of its own, and a build must outlive it.
HOME = Path.home()
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or HOME / ".cache") / "fedi-safety-tests"
LOCKS = tuple(
    Path("/var", name)
    for name in ("lib/dpkg/lock-frontend", "lib/dpkg/lock", "lib/apt/lists/lock", "cache/apt/archives/lock")
)
LOCKED_S = 600.0
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class Unready(Exception):
    """What cannot be prepared, why, and what helps: one line, without the name of the thing."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}; {remedy}")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def path_of(program: str) -> str | None:
    """Return where a program is, also where it is not on an ordinary user's PATH."""
    beside = [str(place) for place in sorted(Path("/usr/lib/postgresql").glob("*/bin"))]  # not on Debian's PATH
    return shutil.which(program, path=":".join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *beside]))


def check(programs: Sequence[str], package: str) -> bool:
    """Whether these programs are there; raises Unready if they are not and cannot be installed."""
    missing = [program for program in programs if path_of(program) is None]
    if not missing:
        return True
    are = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    if shutil.which("apt-get") is None:
        raise Unready(f"{are} and this machine has no apt-get", f"install what Debian calls {package}")
    if os.geteuid() != 0:
        raise Unready(f"{are} and only root can install", f"as root: apt-get install {package}")
    return False


def need(programs: Sequence[str], package: str, say: Callable[[str], None] = _say) -> None:
    """Install a Debian package unless its programs are there. Raises Unready if that cannot be done."""
    if check(programs, package):
        return
    _apt(["update", "-qq"], say)
    _apt(["install", "-y", "-qq", "--no-install-recommends", package], say)


def _apt(arguments: Sequence[str], say: Callable[[str], None]) -> None:
    """Run apt-get when nobody else holds it."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    deadline = time.monotonic() + LOCKED_S
    while True:
        wait_unlocked(LOCKS, say, deadline - time.monotonic())
        done = subprocess.run(
            ["apt-get", *arguments], env=quiet, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return
        if "Could not get lock" in done.stderr or "Unable to lock" in done.stderr:  # somebody was quicker
            time.sleep(1)
            continue
        said = [line for line in done.stderr.splitlines() if line.startswith("E: ")] or ["it does not say why"]
        raise Unready(
            f"apt-get {arguments[0]} failed: {said[-1].removeprefix('E: ')}", f"try apt-get {' '.join(arguments)}"
        )


def wait_unlocked(
    locks: Sequence[Path], say: Callable[[str], None], seconds: float = LOCKED_S, every_s: float = 1.0
) -> None:
    """Wait until nobody holds any of these locks, and say once for whom. Raises Unready when that takes too long."""
    deadline = time.monotonic() + seconds
    said: set[str] = set()
    while (found := next(filter(None, map(_holder, locks)), None)) is not None:
        line = f"the package manager is held by {found}"
        if time.monotonic() >= deadline:
            raise Unready(f"{line}, and was not free in {seconds:.0f} s", "wait for that program or end it")
        if line not in said:
            said.add(line)
            say(f"{line}: waiting up to {seconds:.0f} s")
        time.sleep(every_s)


def _holder(lock: Path) -> str | None:
    """Return who holds a lock as apt and dpkg take it, or None."""
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        with lock.open("r+b") as file:
            kind, _, _, _, pid = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except FileNotFoundError:
        return None
    if kind == fcntl.F_UNLCK:
        return None
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # in another container, or it ended just now
        name = "another program"
    return f"{name} (process {pid}), which locks {lock}"


def mirror() -> str:
    """Return the mirror that this machine takes its own packages from."""
    for path in [*Path("/etc/apt/sources.list.d").glob("*"), Path("/etc/apt/sources.list")]:
        text = path.read_text("utf-8") if path.is_file() else ""
        if found := re.search(r"^(?:URIs:|deb)\s+(?:\[.*?\]\s+)?(https?://\S+/debian)/?(?:\s|$)", text, re.MULTILINE):
            return found[1]
    raise Unready("no Debian mirror is configured on this machine", "name one in /etc/apt/sources.list")


def check_root(suite: str) -> bool:
    """Whether a root is made and can be entered; raises Unready if it cannot be."""
    if os.geteuid() != 0:
        raise Unready(f"a Debian root ({suite}) is made and entered by root", "run this as root")
    if (CACHE / suite / ".complete").exists():
        return True
    check(["debootstrap"], "debootstrap")
    mirror()
    return False


def root(suite: str, packages: Sequence[str] = (), say: Callable[[str], None] = _say) -> Path:
    """Return a minimal Debian root with these packages, made once by debootstrap."""
    place = CACHE / suite
    if not check_root(suite):
        need(["debootstrap"], "debootstrap", say)
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        chosen = [f"--include={','.join(packages)}"] if packages else []
        command = ["debootstrap", "--variant=minbase", *chosen, suite, str(place), mirror()]
        run(command, f"debootstrap {suite}")
        (place / ".complete").touch()
    return place


def also(place: Path, wanted: Mapping[str, str]) -> None:
    """Install further packages in a root unless what they bring, by its path, is there. Nothing is started by it."""
    missing = [package for name, package in wanted.items() if not list(place.glob(name))]
    if not missing:
        return
    policy = place / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    quiet = {
        "PATH": os.defpath + ":/usr/sbin:/sbin",
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C",
        "HOME": "/root",
    }
    inside: list[str | Path] = ["chroot", place, "apt-get", "-qq"]
    what = "-".join(missing)
    run([*inside, "update"], f"{what} update", quiet)
    run([*inside, "install", "-y", "--no-install-recommends", *missing], f"{what} in {place.name}", quiet)


# Private mounts that vanish with the command.
_IN_ROOT = """
mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" || exit 99
exec chroot "$1" /bin/bash -c "$2"
"""


def inside(
    place: Path, command: str, env: Mapping[str, str], where: str = "/", seconds: float = 900
) -> subprocess.CompletedProcess[str]:
    """Run a shell command in a root, with these variables alone."""
    settings = " ".join(f"export {name}={shlex.quote(value)};" for name, value in env.items())
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", _IN_ROOT, "sh", place, f"{settings} cd {where} && {command}"],
        env={"PATH": os.defpath + ":/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=seconds,
        check=False,
    )


def network(place: Path) -> dict[str, str]:
    """Give a root this machine's resolver and certificates, and return the variables by which it reaches the world."""
    for name in ("/etc/resolv.conf", "/etc/hosts"):
        if Path(name).exists():
            shutil.copy(name, str(place) + name)
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    env |= {k: v for k, v in os.environ.items() if k.lower() in ("http_proxy", "https_proxy", "no_proxy")}
    return env | certificates(place)


def certificates(place: Path) -> dict[str, str]:
    """Give a root this machine's certificates where it has some: behind a proxy there are further ones."""
    bundle = place / _BUNDLE.lstrip("/")
    if not bundle.exists():
        return {}
    shutil.copy(_BUNDLE, bundle)
    return {"PIP_CERT": _BUNDLE}


def run(command: Sequence[str | Path], what: str, env: dict[str, str] | None = None, seconds: float = 3600) -> None:
    """Run a long command; what it says is kept in the cache directory. Raises Unready if it fails."""
    log = CACHE / f"{what.replace(' ', '-')}.log"
    try:
        with log.open("wb") as out:
            done = subprocess.run(
                command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=seconds, check=False
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unready(f"{what} failed: {error}", f"see {log}") from None
    if done.returncode != 0:
        said = log.read_text("utf-8", "replace").strip().splitlines() or ["it does not say why"]
        raise Unready(f"{what} failed: {said[-1].strip()}", f"see {log}")
