"""What one pass is asked for and how it went: the closing figures, the exit code, the `--json` object. Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, fields, replace
from typing import Any

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import ActKind, Listing, Reason, Recheck
from fedi_safety.core.errors import ExitCode
from fedi_safety.core.types import Outcome

ACTED_LOGGER = "fedi_safety.acted"
"""The logger that names each removal, at the level of warnings: there is no way back from one. --quiet silences it."""


@dataclass(slots=True)
class Tally:
    """The counts of one run; they become the closing line and the `--json` object. Mutable, one writer."""

    listed: int = 0
    judged: int = 0
    already_judged: int = 0
    skipped: dict[str, int] = field(default_factory=dict)  # no media, by reason
    unscanned: dict[str, int] = field(default_factory=dict)  # media without a verdict, by reason
    clear: int = 0
    review: int = 0
    block: int = 0
    partly: int = 0  # among those with a verdict: only a part could be judged
    planned: int = 0
    acted: int = 0
    gone: int = 0  # known and not there any more, by other hands than ours
    failed: int = 0
    frames: int = 0
    bytes: int = 0

    @property
    def unscanned_total(self) -> int:
        """Return how many objects should have been judged and were not, whatever the reason."""
        return sum(self.unscanned.values())

    @property
    def skipped_total(self) -> int:
        """Return how many objects are no media."""
        return sum(self.skipped.values())

    @property
    def media(self) -> int:
        """Return how many of the listed objects are media, judged or not."""
        return self.listed - self.skipped_total

    @property
    def accounted(self) -> bool:
        """Whether every listed object is judged, was judged, or is skipped or unscanned with a reason (I5)."""
        return self.media == self.judged + self.already_judged + self.unscanned_total

    def count_without_verdict(self, reason: Reason) -> None:
        """Count an object without a verdict where its reason belongs."""
        counts = self.skipped if reason.skipped else self.unscanned
        counts[reason.value] = counts.get(reason.value, 0) + 1

    def take_skipped_as_unscanned(self) -> None:
        """Count what is no media among the gaps, as the first versions did; for who relies on their exit code."""
        _add(self.unscanned, self.skipped)
        self.skipped.clear()


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """What one scan is asked for, beyond the settings."""

    store: str
    dry_run: bool = False
    act: ActKind | None = ActKind.DELETE
    prefixes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()  # these objects alone, where there are any
    since: float | None = None
    limit: int | None = None
    recheck: Recheck = Recheck.POLICY
    cascade: bool = True
    resume_acts: bool = False
    retry_acts: bool = True  # whether acts that failed before are tried again; the daemon does that by its own rhythm
    redecide: bool = True  # False where it is known that nothing was judged under another policy
    removed_before: int = 0  # removals that count against the breaker's number together with this run's
    beside: int = 1  # how many scans share this machine's memory
    hashes_only: bool = False  # what was judged before is hashed, where it was not; no detector is asked
    accept_gone: bool = False  # a person's word that what a whole listing does not name any more is really gone

    @property
    def whole(self) -> bool:
        """Whether all of the store is asked for."""
        return (
            not self.hashes_only and not self.prefixes and not self.keys and self.since is None and self.limit is None
        )


@dataclass(slots=True)
class RunReport:
    """How a run went: what the closing table and `--json` show."""

    run_id: int
    store: str
    dry_run: bool = False
    act: ActKind | None = ActKind.DELETE
    ledger: str = ""  # what a person knows the ledger by that has it all
    named: str = ""  # the store as a person would name it on the command line, where somebody reads this
    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0
    device: str = ""
    detectors: Mapping[str, str] = field(default_factory=dict)
    policy: str = ""
    interrupted: bool = False
    breaker: str | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    failures: list[Outcome] = field(default_factory=list)
    listing: Listing | None = None  # of a pass over all of the store that was not interrupted
    held: int = 0  # plans whose act waits for a server that cannot be asked who put the object there
    actions: dict[str, int] | None = None  # how many through the app ended how; None where none is switched on
    action_breaker: str | None = None
    action_failures: list[str] = field(default_factory=list)
    would_do: tuple[str, ...] = ()  # what a dry run has left out of actions through the app
    by_hand: list[str] = field(default_factory=list)  # what a person is to press, where a server has no call for it
    changed: int = 0  # planned objects that are not what was judged any more, and were left alone

    @property
    def exit_code(self) -> ExitCode:
        """Return the most severe of what happened (docs/exit-codes.md)."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if (self.breaker is not None and not self.dry_run) or self.action_breaker is not None:
            return ExitCode.BREAKER
        if self.tally.failed or self.held or (self.actions or {}).get("failed"):
            return ExitCode.OUTSIDE
        return ExitCode.UNSCANNED if self.tally.unscanned_total else ExitCode.DONE

    @property
    def status(self) -> str:
        """Return the run's status for the ledger. Only one that is `done` has shown what its store holds."""
        if self.interrupted:
            return "interrupted"
        if self.listing is Listing.NOTHING:
            return "empty"
        stopped = self.breaker is not None and (not self.dry_run or self.listing is Listing.DOUBTED)
        return "breaker" if stopped else "done"

    def as_json(self) -> dict[str, Any]:
        """Return the closing JSON object, with the fields of docs/design.md section 7."""
        tally = self.tally
        return {
            "listed": tally.listed,
            "judged": tally.judged,
            "already_judged": tally.already_judged,
            "skipped": dict(sorted(tally.skipped.items())),
            "unscanned": dict(sorted(tally.unscanned.items())),
            "clear": tally.clear,
            "review": tally.review,
            "block": tally.block,
            "partly": tally.partly,
            "planned": tally.planned,
            "acted": tally.acted,
            "gone": tally.gone,
            "failed": tally.failed,
            "frames": tally.frames,
            "bytes": tally.bytes,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(tally.judged / self.seconds, 2) if self.seconds else 0.0,
            "device": self.device,
            "detectors": dict(self.detectors),
            "policy": self.policy,
            "ledger": self.ledger,
            "run_id": self.run_id,
        } | ({} if self.actions is None else {"actions": self.actions})


def add_tally(total: Tally, part: Tally) -> None:
    """Add the counts of one pass to a sum."""
    for name in (each.name for each in fields(Tally)):
        count = getattr(part, name)
        if isinstance(count, dict):
            _add(getattr(total, name), count)
        else:
            setattr(total, name, getattr(total, name) + count)


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in list(more.items()):  # which another thread may add to
        counts[name] = counts.get(name, 0) + count


def summed(reports: Sequence[RunReport]) -> RunReport:
    """Return the sum over several stores' reports; the time is the longest, for they were side by side."""
    total = replace(reports[-1], store="", named="", tally=Tally(), failures=[], stages={})
    for report in reports:
        add_tally(total.tally, report.tally)
        total.failures += report.failures
    counted = [report.actions for report in reports if report.actions is not None]
    total.actions = {name: sum(one[name] for one in counted) for name in counted[0]} if counted else None
    total.action_breaker = next((report.action_breaker for report in reports if report.action_breaker), None)
    total.held = sum(report.held for report in reports)
    total.changed = sum(report.changed for report in reports)
    total.seconds = max(report.seconds for report in reports)
    total.run_id = max(report.run_id for report in reports)
    total.interrupted = any(report.interrupted for report in reports)
    total.breaker = next((report.breaker for report in reports if report.breaker is not None), None)
    return total
