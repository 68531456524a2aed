"""What this process has open: of what a test leaves, and not of what others before it leave or let go meanwhile."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def open_descriptors() -> frozenset[tuple[str, str]]:
    """Return all descriptors with what they lead to; a test looks at what is new among them since it began.

    To count them will not do: what an earlier test left to the search for garbage is closed in the middle of this one.
    """
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the listing itself
            found.add((descriptor.name, str(descriptor.readlink())))
    return frozenset(found)
