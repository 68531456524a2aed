"""The documentation as a site, built by `./dev docs`; what that needs is installed beside the clone at first use."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from support import needs
from support.servers import debian

ROOT = Path(__file__).parents[3]
_LOCK = "requirements-docs.lock"


def check() -> bool:
    """Whether what builds it is installed as the lock has it."""
    stamp = ROOT / ".venv-docs" / f".installed-{_LOCK}"
    return stamp.exists() and stamp.read_bytes() == (ROOT / _LOCK).read_bytes()


def install(_say: Callable[[str], None]) -> None:
    """Install it, by a first build. Raises `Unready` where that fails."""
    with tempfile.TemporaryDirectory() as folder:
        _run(Path(folder))


def build(folder: Path) -> None:
    """Build the site into a folder. Raises `Unready`, with what it printed, where a page or a link is wrong."""
    needs.started("site")
    _run(folder)


def _run(folder: Path) -> None:
    debian.run([str(ROOT / "dev"), "docs", "--site-dir", str(folder)], "./dev docs")
