"""What a policy would change of a whole ledger, counted in a process of its own: `python -m` this module.

The gate may live in the process of the pages, and nobody's upload shall wait for a count. What it is to count comes
over standard input from the process that started it; it answers in lines of JSON: how far it is, then what it found,
or why it found nothing. It writes nothing to the ledger, and ends with who started it.
"""

from __future__ import annotations

import gc
import json
import pickle
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fedi_safety.app.ledger import open_settings_ledger
from fedi_safety.app.replay import Preview, factor_values, preview, preview_pages
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ledger.records import BINS
from fedi_safety.core.policy import Policy
from fedi_safety.policies import parse_policy
from fedi_safety.service.priority import stand_aside, step_back

if TYPE_CHECKING:
    from fedi_safety.core.ledger.stored_scores import ScorePage

_TOLD_S = 0.2


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be counted: a policy's text over the ledger of these settings."""

    settings: Settings
    text: str
    name: str


@dataclass(slots=True)
class Histograms:
    """How high the factors of a policy are: `BINS` equal bins from 0 to 1 each, contents that have a value."""

    policy: Policy
    factors: tuple[str, ...]
    bins: dict[str, list[int]] = field(default_factory=dict)

    def add(self, page: ScorePage) -> None:
        """Count a page."""
        import numpy as np

        for factor in self.factors:
            values = factor_values(self.policy, factor, page.names, page.values)
            counts = np.histogram(values[~np.isnan(values)].clip(0.0, 1.0), BINS, (0.0, 1.0))[0].tolist()
            before = self.bins.get(factor, [0] * BINS)
            self.bins[factor] = [a + b for a, b in zip(before, counts, strict=True)]


def count(wanted: Wanted) -> dict[str, Any]:
    """Count, and say how far it is meanwhile, with the processor that nobody else wants. Raises `FediSafetyError`."""
    policy = parse_policy(wanted.text, source=wanted.name, name=wanted.name)
    ledger = open_settings_ledger(wanted.settings, readonly=True)
    try:
        of = ledger.hash_counts().contents
        rejudge, pages = preview_pages(wanted.settings, policy, ledger)
        used = tuple(dict.fromkeys(f for rule in policy.rules for f in (*rule.when, *rule.review_if)))
        histograms = Histograms(policy, used)
        stand_aside()  # not before: what starting takes is short, and a first answer is there also on a busy machine
        found = preview(rejudge, _told(pages, of, histograms))
    finally:
        ledger.dispose()
    return as_json(found, histograms.bins)


def as_json(found: Preview, histograms: dict[str, list[int]]) -> dict[str, Any]:
    """Return what was found as plain data."""
    return {
        "policy": found.policy,
        "objects": found.objects,
        "undecided": found.undecided,
        "computed": found.computed,
        "changes": [[before, then, number] for (before, then), number in sorted(found.changes.items())],
        "rules": dict(found.rules),
        "histograms": histograms,
    }


def _told(pages: Iterable[ScorePage], of: int, histograms: Histograms) -> Iterator[ScorePage]:
    done, due = 0, 0.0
    for page in pages:
        histograms.add(page)
        yield page
        done += len(page.cells["sha256"])
        if time.monotonic() >= due:
            _say({"done": done, "of": of})
            due = time.monotonic() + _TOLD_S


def _say(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Count what standard input says."""
    step_back()
    gc.freeze()  # what is loaded stays to the end, and need not be looked through for each page
    wanted: Wanted = pickle.load(sys.stdin.buffer)  # from the process that started this one, and from nobody else
    try:
        _say({"found": count(wanted)})
    except FediSafetyError as error:
        _say({"error": error.line()})
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
