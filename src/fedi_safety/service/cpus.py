"""The processors that this process may use."""

from __future__ import annotations

import os


def cpu_count() -> int:
    """Count the processors this process may use; containers often grant fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
