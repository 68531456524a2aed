"""What scan and apply have in common: a run in the ledger, the breaker's limits, outcomes that are counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fedi_safety.config.schema import Settings
from fedi_safety.core.decide import BreakerLimits
from fedi_safety.core.enums import Listing, PlanState
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ledger.ports import Ledger
from fedi_safety.core.runs import RunReport
from fedi_safety.core.types import Outcome


def breaker_limits(settings: Settings) -> BreakerLimits:
    """Return the breaker's limits as the core wants them."""
    return BreakerLimits(**dict(settings.breaker))


@contextmanager
def recorded_run(ledger: Ledger, kind: str, report: RunReport, settings: Mapping[str, Any]) -> Iterator[RunReport]:
    """Open a run in the ledger and close it with what became of it, whatever happens."""
    started = time.monotonic()
    report.run_id = ledger.begin_run(kind, report.store, settings)
    try:
        yield report
    except FediSafetyError as error:
        ledger.end_run(report.run_id, "failed", {"error": error.line()})
        raise
    report.seconds = time.monotonic() - started
    summary = report.as_json() | {"breaker": report.breaker, "stages": dict(report.stages)}
    complete = None if report.listing is None else report.listing is Listing.COMPLETE
    ledger.end_run(report.run_id, report.status, summary, complete=complete)


@contextmanager
def part_of_run(run: int, report: RunReport) -> Iterator[RunReport]:
    """Count a pass that belongs to a longer run."""
    started = time.monotonic()
    report.run_id = run
    yield report
    report.seconds = time.monotonic() - started


def noting(report: RunReport) -> Callable[[Outcome], None]:
    """Count objects that were left alone, and keep the first failed acts, so that the shell can name them."""

    def note(outcome: Outcome) -> None:
        if outcome.state is PlanState.CHANGED:
            report.changed += 1
        if outcome.state.open and len(report.failures) < 20:
            report.failures.append(outcome)

    return note
