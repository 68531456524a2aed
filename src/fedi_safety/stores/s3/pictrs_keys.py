"""The shapes of pict-rs' object keys, as far as they tell when an object was stored. Pure; knows no service.

pict-rs >= 0.5.7 names objects by UUIDv7, split into directories of two hex digits: such keys sort by time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HEALTH_CHECK = "health-check"  # an empty object that pict-rs writes into its bucket's root; it is no media
FIRST_TIMED_KEY = "01/8d/"  # UUIDv7 keys came with 0.5.7, early in 2024
TIMED_ROOT = "01/"  # until 2039
# A key's time is taken before the upload is stored, and the service's clock is another: look back this much further.
SLACK_S = 3600.0
_TIMED = re.compile(r"(?:[0-9a-f]{2}/){10}[0-9a-f]{12}(?:\.[a-z0-9]+)?")
_COUNTED = re.compile(r"(?:\d+/)+[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COUNTED_ROOT = re.compile(r"\d+/")


def key_before(time_s: float) -> str:
    """Return a key after which every key lies that was made at `time_s` (epoch seconds) or later, less `SLACK_S`."""
    digits = f"{max(0, int((time_s - SLACK_S) * 1000)):012x}"
    return "/".join(digits[i : i + 2] for i in range(0, 12, 2))


def time_of(key: str) -> float | None:
    """Return when a key was made that sorts by time (epoch seconds); None for every other key."""
    return int(key.replace("/", "")[:12], 16) / 1000 if _TIMED.fullmatch(key) else None


def written_by_time(keys: Iterable[str]) -> bool:
    """Whether these keys show a pict-rs >= 0.5.7 at work: some sort by time, and all others are its older shape."""
    timed = False
    for key in keys:
        if _TIMED.fullmatch(key):
            timed = True
        elif not _COUNTED.fullmatch(key):
            return False
    return timed


def is_older_root(directory: str) -> bool:
    """Whether a top directory is of the shape that pict-rs <= 0.5.6 counted up, where nothing new comes any more."""
    return _COUNTED_ROOT.fullmatch(directory) is not None
