"""The predecessor's four scripts as programs of their own: what an installation puts on the PATH beside fedi-safety."""

from __future__ import annotations

import sys
from typing import NoReturn

from fedi_safety.cli.predecessor.commands import LOCAL, OBJECT, PICTRS, REMOTE


def _start(name: str) -> NoReturn:
    from fedi_safety.cli import main as program

    program([name, *sys.argv[1:]])


def main_local() -> NoReturn:
    """Run as fedi_safety_local_storage."""
    _start(LOCAL)


def main_object() -> NoReturn:
    """Run as fedi_safety_object_storage."""
    _start(OBJECT)


def main_remote() -> NoReturn:
    """Run as fedi_safety_remote_storage."""
    _start(REMOTE)


def main_pictrs() -> NoReturn:
    """Run as lemmy_safety_pictrs."""
    _start(PICTRS)
