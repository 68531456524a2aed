"""What a run was and how it ended, in words: on the page and on a terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def run_kind(run: Mapping[str, Any]) -> str:
    """Return what kind of run it was, and whether it was a dry one."""
    return f"{run['kind']}, dry run" if run["dry_run"] else str(run["kind"])


def run_status(run: Mapping[str, Any], under_way: Collection[int] = ()) -> str:
    """Return how a run ended, with the error or the breaker's reason where there is one; some are `under_way`."""
    summary: Mapping[str, Any] = run["summary"] or {}
    status = run["status"] or ("under way" if run["id"] in under_way else "not ended (running, or killed)")
    why = summary.get("error") or (summary.get("breaker") if status == "breaker" else None)
    return f"{status}: {why}" if why else str(status)


def run_rate(summary: Mapping[str, Any]) -> str:
    """Return how many pictures a run judged a second; empty where it judged none."""
    rate = summary.get("images_per_second")
    return f"{rate:,.1f}" if isinstance(rate, int | float) and rate > 0 else ""
