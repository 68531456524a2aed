"""Decides stored scores anew: one content with the core's own functions, or a page at once where nothing holds.

Opens no store and loads no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING

from fedi_safety.app.engine import measurable
from fedi_safety.concepts.rescoring import ConceptRescorer
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger.ports import LedgerReader, PictureScores, ScorePage
from fedi_safety.core.policy import Policy, Rule, decide, marks
from fedi_safety.core.types import Judgement, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(slots=True)
class Preview:
    """What a policy would change, in objects; `computed` counts contents whose signals came from embeddings."""

    policy: str
    objects: int = 0
    undecided: int = 0
    computed: int = 0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)  # verdict now, verdict then
    rules: Counter[str] = field(default_factory=Counter)


Change = tuple[bytes, str, str]
"""A content by its SHA-256, its verdict now, and its verdict then; `undecided` where stored scores do not tell."""

UNDECIDED = "undecided"


def preview(
    rejudge: Rejudge, pages: Iterable[ScorePage], on_changes: Callable[[list[Change]], None] = lambda _changes: None
) -> Preview:
    """Decide pages of stored scores and count. Objects that were removed do not count.

    `on_changes` is given page by page the contents whose verdict would be another.
    """
    found = Preview(rejudge.policy.id)
    for page in pages:
        found.computed += page.computed
        sha256s, verdicts, counts = page.cells["sha256"], page.cells["verdict"], page.cells["objects"]
        no_rule_holds = rejudge.no_rule_holds(sha256s, page.names, page.values, page.pictures)
        found.objects += sum(counts)
        changed: list[Change] = []
        cleared = (compress(column, no_rule_holds) for column in (sha256s, verdicts, counts))
        for sha256, verdict, count in zip(*cleared, strict=True):
            found.changes[verdict, Verdict.CLEAR.value] += count
            if count and verdict != Verdict.CLEAR.value:
                changed.append((sha256, verdict, Verdict.CLEAR.value))
        for i in (~no_rule_holds).nonzero()[0].tolist():
            if not counts[i]:
                continue
            decided = rejudge(sha256s[i], page.scores(i))
            then = UNDECIDED if decided is None else decided.verdict.value
            if then != verdicts[i]:
                changed.append((sha256s[i], verdicts[i], then))
            if decided is None:
                found.undecided += counts[i]
            else:
                found.changes[verdicts[i], then] += counts[i]
                found.rules.update({hit.rule: counts[i] for hit in decided.reasons})
        if changed:
            on_changes(changed)
    found.changes = Counter({change: count for change, count in found.changes.items() if count})
    return found


class Rejudge:
    """A policy over stored scores. `available` are the signals of the active detectors: others are not waited for."""

    def __init__(self, policy: Policy, available: frozenset[str], *, cascade: bool = True) -> None:
        """Take a policy as it is in force (see `Policy.among`)."""
        self.policy = policy
        self.available = available
        self.cascade = cascade

    def __call__(self, sha256: bytes, scores: Scores) -> Judgement | None:
        """Decide one content; None where its scores do not suffice."""
        known = dict(scores.signals) | marks(sha256)
        return decide(self.policy, known, self.available, scores.frames, cascade=self.cascade)

    def no_rule_holds(
        self,
        sha256s: Sequence[bytes],
        names: Sequence[str],
        values: NDArray[np.float64],
        pictures: PictureScores | None = None,
    ) -> NDArray[np.bool_]:
        """Return for which contents the scores suffice and no rule holds, so that they are clear without a reason.

        `values` are (contents, names), NaN where not measured; `pictures` of contents that show several. Where it says
        yes `__call__` would say the same, several times as fast; it leaves some rare ones of several pictures to that.
        """
        import numpy as np

        answer = np.array([not marks(sha256) for sha256 in sha256s], bool)
        whole = _States(self.policy, names, values, self.available, cascade=self.cascade)
        if pictures is None:
            for rule in self.policy.rules:
                answer &= whole.ruled_out(rule)
            return answer & whole.nothing_missing
        owners, starts = np.unique(pictures.owners, return_index=True)
        each = _States(self.policy, names, pictures.values, self.available, cascade=self.cascade)
        whole.take_missing(owners, each, starts)
        for rule in self.policy.rules:
            # What the highest values of all frames rule out holds in no picture, as long as every frame was measured.
            nowhere = whole.ruled_out(rule)
            if rule.across_frames is None and rule.within_s is None:
                nowhere[owners] |= np.logical_and.reduceat(each.ruled_out(rule), starts)
            answer &= nowhere
        return answer & whole.nothing_missing


class _States:
    """Every factor of a policy over rows of scores: its value, and where unmeasured signals could still raise it."""

    def __init__(
        self,
        policy: Policy,
        names: Sequence[str],
        values: NDArray[np.float64],
        available: frozenset[str],
        *,
        cascade: bool,
    ) -> None:
        import numpy as np

        column = {name: values[:, i] for i, name in enumerate(names)}
        nowhere = np.full(len(values), np.nan)
        unmeasured = {s: np.isnan(column.get(s, nowhere)) for s in policy.signals & available}
        self.nothing_missing = np.ones(len(values), bool)
        if not cascade:
            for missing in unmeasured.values():
                self.nothing_missing &= ~missing
        self._factors: dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]] = {}
        for factor in {f for rule in policy.rules for f in rule.when}:
            best, missing = np.zeros(len(values)), np.zeros(len(values), bool)
            for signal in policy.factors.get(factor, ()):
                best = np.fmax(best, column.get(signal, nowhere))
                if cascade and signal in unmeasured:  # without the cascade `nothing_missing` tells
                    missing |= unmeasured[signal]
            if cascade:
                for bound in policy.cascade.get(factor, ()):
                    below = np.ones(len(values), bool)
                    for signal in bound.by:
                        below &= column.get(signal, nowhere) < bound.below  # False for NaN
                    missing &= ~below
            self._factors[factor] = best, missing

    def take_missing(self, rows: NDArray[np.intp], each: _States, starts: NDArray[np.intp]) -> None:
        """Let these rows lack what any of their pictures in `each` lacks, which begin at `starts`."""
        import numpy as np

        self.nothing_missing[rows] = np.logical_and.reduceat(each.nothing_missing, starts)
        for factor, (_, missing) in self._factors.items():
            missing[rows] = np.logical_or.reduceat(each._factors[factor][1], starts)

    def ruled_out(self, rule: Rule) -> NDArray[np.bool_]:
        """Return in which rows a rule cannot hold."""
        import numpy as np

        found = np.zeros(len(self.nothing_missing), bool)
        for factor, threshold in rule.when.items():
            best, missing = self._factors[factor]
            found |= (best < threshold) & ~missing
        return found


def preview_ledger(
    settings: Settings,
    policy: Policy,
    ledger: LedgerReader,
    on_changes: Callable[[list[Change]], None] = lambda _changes: None,
) -> Preview:
    """Decide the whole ledger anew under a policy, with the detectors that are configured. Changes nothing."""
    from fedi_safety.detectors import concept_source

    known = measurable(settings)
    source = concept_source(settings)
    rescorer = None if source is None else ConceptRescorer(source)
    return preview(Rejudge(known.in_force(policy), known.signals), ledger.score_pages(rescorer=rescorer), on_changes)
