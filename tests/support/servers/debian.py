"""Debian packages and roots for the real servers of the tests, and the place where what is built is kept.

Needs root to install; without it, it says what to install.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

# Captured at import: the tests give every test a home directory of its own, and a build must outlive it.
HOME = Path.home()
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or HOME / ".cache") / "fedi-safety-tests"


def need(programs: Sequence[str], package: str) -> None:
    """Install a Debian package unless its programs are there. Raises if that cannot be done."""
    beside = [str(place) for place in sorted(Path("/usr/lib/postgresql").glob("*/bin"))]  # not on Debian's PATH
    path = ":".join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *beside])
    if all(shutil.which(program, path=path) for program in programs):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(f"the tests need {', '.join(programs)}; install it (Debian: apt-get install {package})")
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run(["apt-get", "update", "-qq"], **quiet)  # type: ignore[call-overload]
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], **quiet)  # type: ignore[call-overload]


def mirror() -> str:
    """Return the mirror that this machine takes its own packages from."""
    for path in [*Path("/etc/apt/sources.list.d").glob("*"), Path("/etc/apt/sources.list")]:
        text = path.read_text("utf-8") if path.is_file() else ""
        if found := re.search(r"^(?:URIs:|deb)\s+(?:\[.*?\]\s+)?(https?://\S+/debian)/?(?:\s|$)", text, re.MULTILINE):
            return found[1]
    raise RuntimeError("no Debian mirror is configured on this machine")


def root(suite: str, packages: Sequence[str] = ()) -> Path:
    """Return a minimal Debian root with these packages, made once by debootstrap."""
    place = CACHE / suite
    mark = place / ".complete"
    if not mark.exists():
        if os.geteuid() != 0:
            raise RuntimeError(f"a Debian root ({suite}) for the tests is made as root")
        need(["debootstrap"], "debootstrap")
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        chosen = [f"--include={','.join(packages)}"] if packages else []
        command = ["debootstrap", "--variant=minbase", *chosen, suite, str(place), mirror()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        mark.touch()
    return place
