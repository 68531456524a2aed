"""Which cases of a contract ran, and over what: a test that stands last counts them, for a skip would pass as well.

They are noted in a file, for a run of `./dev test` is of several parts: over what is ready the cases run before the
rest is built, and what failed beside others is run once more by itself.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path


class Ran:
    """The cases of one contract that ran. A case that is run again is one case."""

    def __init__(self, file: Path) -> None:
        """Note them in `file`, or go on with what former parts noted there."""
        self._file = file

    def note(self, over: str, case: str) -> None:
        """Say that a case runs over this kind of thing. Neither may hold a tab or a new line."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(f"{over}\t{case}\n")

    def counts(self) -> dict[str, int]:
        """Return how many cases ran, by what they ran over."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for line in self._file.read_text("utf-8").splitlines() if self._file.exists() else ():
            over, _, case = line.partition("\t")
            found[over].add(case)
        return {over: len(cases) for over, cases in found.items()}
