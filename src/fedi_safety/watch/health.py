"""The health file: how the daemon and each store are, as one JSON object, replaced whole. Holds no keys of objects."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedi_safety.watch.cycles import StoreWatch

if TYPE_CHECKING:
    from fedi_safety.known.progress import SourceState


def overall(watches: Sequence[StoreWatch]) -> str:
    """Return the worst state of the stores."""
    states = {watch.health.state for watch in watches}
    return next((state for state in ("failing", "breaker", "starting") if state in states), "ok")


def snapshot(
    watches: Sequence[StoreWatch], now: float, policy: str, error: str | None, sources: Sequence[SourceState] = ()
) -> dict[str, Any]:
    """Return what the file says. `error` is the daemon's own, such as a policy that could not be reloaded."""
    stores = [{"store": watch.target.name} | asdict(watch.health) for watch in watches]
    said = {"state": overall(watches), "written": now, "pid": os.getpid(), "policy": policy}
    lists = [
        {
            "source": each.name,
            "fetched": each.fetched_s,
            "tried": each.tried_s,
            "failures": each.failures,
            "error": each.failure or None,
        }
        for each in sources
    ]
    return said | {"error": error, "stores": stores, "sources": lists}


def write(path: Path, value: Mapping[str, Any]) -> None:
    """Replace the file in one step: a reader sees the old or the new one. Raises `OSError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
