"""Packages from PyPI in an environment of their own, of which nothing of ours is a part."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Sequence
from pathlib import Path

from support.servers import debian


def check(place: Path) -> bool:
    """Whether they are installed."""
    return (place / ".complete").exists()


def build(place: Path, packages: Sequence[str]) -> None:
    """Install these, with their versions."""
    debian.CACHE.mkdir(parents=True, exist_ok=True)
    with (debian.CACHE / f"{place.name}.lock").open("w") as lock:  # two at once install once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not check(place):
            debian.run([sys.executable, "-m", "venv", "--clear", str(place)], "python -m venv")
            install = [str(place / "bin/python"), "-m", "pip", "install", "-q", *packages]
            debian.run(install, f"pip install {place.name}")
            (place / ".complete").touch()
