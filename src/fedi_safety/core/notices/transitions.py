"""Changes that the operator is told of, each once; and the conditions that begin and end with one. Pure data."""

from __future__ import annotations

from enum import StrEnum


class Transition(StrEnum):
    """A change that is told; the words of `notify.on` and, with `on_` before them, of `[hooks]`."""

    CONDEMNED = "condemned"
    REMOVED = "removed"
    SEALED = "sealed"
    BREAKER_TRIPPED = "breaker_tripped"
    BREAKER_RESET = "breaker_reset"
    FAILING = "failing"
    WELL_AGAIN = "well_again"
    GATE_STALE = "gate_stale"
    COVERAGE_LOW = "coverage_low"
    CREDENTIALS_REFUSED = "credentials_refused"
    CHAIN_BROKEN = "chain_broken"
    HOLD_ENDING = "hold_ending"
    ACTION_FAILED = "action_failed"
    LIST_TURNED = "list_turned"

    @property
    def counted(self) -> bool:
        """Whether many of them are told together, as a digest."""
        return self in _COUNTED


_COUNTED = (
    Transition.CONDEMNED,
    Transition.REMOVED,
    Transition.SEALED,
    Transition.HOLD_ENDING,
    Transition.ACTION_FAILED,
)

TEST = "test"
"""What `notify test` sends; no change, and never asked for by name."""


class Condition(StrEnum):
    """What is so until it is well again. Remembered in the ledger, so that a restart tells nothing twice.

    Each value is the transition that tells of its beginning; its end is `well_again`.
    """

    FAILING = Transition.FAILING.value
    GATE_STALE = Transition.GATE_STALE.value
    COVERAGE_LOW = Transition.COVERAGE_LOW.value
    CREDENTIALS_REFUSED = Transition.CREDENTIALS_REFUSED.value
    CHAIN_BROKEN = Transition.CHAIN_BROKEN.value
