"""A clean Debian 13 beside that of the container's recipe: another Python, and the `docker compose` of today."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support import needs
from support.servers import debian
from support.servers.pictrs import PACKAGES, SUITE

PYTHON = "3.13"
_WANTED = {f"usr/bin/python{PYTHON}": "python3", "usr/bin/docker-compose": "docker-compose"}


def check() -> bool:
    """Whether it is there; raises Unready if it cannot be."""
    return debian.check_root(SUITE) and all(list((debian.CACHE / SUITE).glob(name)) for name in _WANTED)


def make(say: Callable[[str], None]) -> None:
    """Make the root, and install what is missing in it."""
    debian.also(debian.root(SUITE, PACKAGES, say), _WANTED)


def root() -> Path:
    """Return the root."""
    needs.started("trixie")
    return debian.CACHE / SUITE


def compose() -> Path:
    """Return Docker Compose, which needs no root and no dockerd to read files."""
    return root() / "usr/bin/docker-compose"
