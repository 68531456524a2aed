"""A small file system that a test may fill to the last byte."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import needs
from support.servers.debian import Unready


class Disk:
    """A mounted file system of a few megabytes."""

    def __init__(self, place: Path) -> None:
        """Know where it is mounted."""
        self.place = place
        self._ballast = place / ".ballast"

    def fill(self) -> None:
        """Leave no room for another byte."""
        with self._ballast.open("ab", buffering=0) as out:
            for size in (65536, 4096, 1):
                try:
                    while out.write(b"\0" * size):
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC

    def free(self) -> None:
        """Make room again."""
        self._ballast.unlink()


def check() -> bool:
    """Whether one can be mounted; raises Unready if not."""
    if os.geteuid() != 0:
        raise Unready("mounting one takes root", "run this as root")
    with tempfile.TemporaryDirectory() as place:
        command = ["unshare", "-m", "mount", "-t", "tmpfs", "none", place]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unready(f"this root may not mount: {done.stderr.strip()}", "run this where root has all its rights")
    return True


@contextmanager
def small_disk(place: Path, megabytes: int = 4) -> Iterator[Disk]:
    """Mount one at a directory, and take it away at the end."""
    needs.started("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "none", str(place)], check=True)
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
