"""Packages from npm in a folder of their own, of which nothing is run at the installing."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from support.servers import debian


def place(name: str, packages: Mapping[str, str]) -> Path:
    """Return the folder in which these packages, by version, lie or will."""
    versions = hashlib.sha256(repr(sorted(packages.items())).encode()).hexdigest()[:12]
    return debian.CACHE / f"npm-{name}-{versions}"


def check(name: str, packages: Mapping[str, str]) -> bool:
    """Whether they are installed; raises Unready if they cannot be."""
    there = debian.check(("node", "npm"), "npm")
    return there and (place(name, packages) / ".complete").exists()


def build(name: str, packages: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Install them."""
    debian.need(("node", "npm"), "npm", say)
    debian.CACHE.mkdir(parents=True, exist_ok=True)
    folder = place(name, packages)
    with (debian.CACHE / f"npm-{name}.lock").open("w") as lock:  # two at once install once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            install = ["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
            debian.run([*install, *(f"{each}@{version}" for each, version in packages.items())], f"npm install {name}")
            (folder / ".complete").touch()
