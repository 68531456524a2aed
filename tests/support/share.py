"""A large count that ordinary runs do a share of, and `./dev soak` in full."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import hypothesis

SEED = 2026
USUAL_EXAMPLES = 100  # of a property, as hypothesis has it
QUICK_SHARE = 4  # one in so many of them, of every property, where nothing long is asked for
SOAK_TIMES = 100  # as many examples of every property


def examples(some: int) -> int:
    """Return how many examples of a property are tried, for one that tries another number than all others."""
    profile = hypothesis.settings.default
    assert profile is not None
    return max(1, some * profile.max_examples // USUAL_EXAMPLES)


@dataclass(slots=True)
class Share:
    """How much is done this time."""

    full: bool
    seed: int
    first: int = 0
    within_s: float | None = None
    figures: list[str] = field(default_factory=list)

    def of(self, some: int, all_: int) -> int:
        """Return how many: some of them, or all."""
        return all_ if self.full else some

    def numbers(self, some: int, all_: int) -> Iterator[int]:
        """Yield the numbers of those that are done: of all of them from the first one on, until the time is over."""
        ends = math.inf if self.within_s is None else time.monotonic() + self.within_s
        for number in range(self.first, self.of(some, all_)):
            if time.monotonic() >= ends:
                return
            yield number

    def figure(self, line: str) -> None:
        """Note a line that a soak ends with."""
        self.figures.append(f"seed {self.seed}: {line}")
