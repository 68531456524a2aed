"""Decides stored scores anew: one content with the core's own functions, or a page at once where nothing holds.

Opens no store and loads no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING

from fedi_safety.app.engine import measurable
from fedi_safety.concepts.rescoring import ConceptRescorer
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger.ports import LedgerReader
from fedi_safety.core.ledger.stored_scores import PictureScores, ScorePage, SecondPass
from fedi_safety.core.policy import NEAR_SHARE, Policy, Rule, decide, marks
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
        no_rule_holds = rejudge.no_rule_holds(sha256s, page.names, page.values, page.pictures, page.second_passes)
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
        second_passes: NDArray[np.int8] | None = None,
    ) -> NDArray[np.bool_]:
        """Return for which contents the scores suffice and no rule holds, so that they are clear without a reason.

        `values` are (contents, names), NaN where not measured; `pictures` of contents that show several;
        `second_passes` a `SecondPass` each: without them one counts as possible. Where it says yes `__call__` would say
        the same, several times as fast; it leaves some rare ones of several pictures, and those that were looked at
        twice, to that.
        """
        import numpy as np

        answer = np.array([not marks(sha256) for sha256 in sha256s], bool)
        whole = _States(self.policy, names, values, self.available, cascade=self.cascade)
        if pictures is not None:
            owners, starts = np.unique(pictures.owners, return_index=True)
            each = _States(self.policy, names, pictures.values, self.available, cascade=self.cascade)
            whole.take_most(owners, each, starts)
        for rule in self.policy.rules:
            # What the highest values of all frames rule out holds in no picture, as long as every frame was measured.
            nowhere = whole.ruled_out(rule)
            if pictures is not None and rule.across_frames is None and rule.within_s is None:
                nowhere[owners] |= np.logical_and.reduceat(each.ruled_out(rule), starts)
            answer &= nowhere
        if second_passes is None:
            second_passes = np.full(len(sha256s), SecondPass.POSSIBLE, np.int8)
        near = np.zeros(len(sha256s), bool)
        for rule in self.policy.rules:
            if rule.verdict is not None and rule.verdict is not Verdict.CLEAR:
                near |= ~whole.ruled_out(rule, near=True)
        answer &= (second_passes == SecondPass.OVER) | ((second_passes == SecondPass.POSSIBLE) & ~near)
        return answer & whole.nothing_missing


class _States:
    """Every factor of a policy over rows of scores: what it could be at most, by what was measured and what was not."""

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

        self._policy = policy
        self._cascade = cascade
        self._column = {name: values[:, i] for i, name in enumerate(names)}
        self._nowhere = np.full(len(values), np.nan)
        self._unmeasured = {s: np.isnan(self._of(s)) for s in policy.signals & available}
        self.nothing_missing = np.ones(len(values), bool)
        if not cascade:
            for missing in self._unmeasured.values():
                self.nothing_missing &= ~missing
        used = sorted({f for rule in policy.rules for f in rule.when})
        self._most = {f: self._of_factor(f, policy.agree.get(f, 1)) for f in used}
        self._most_near = {f: self._of_factor(f, 1) if policy.agree.get(f, 1) > 1 else self._most[f] for f in used}

    def _of(self, signal: str) -> NDArray[np.float64]:
        return self._column.get(signal, self._nowhere)

    def _of_factor(self, factor: str, agree: int) -> NDArray[np.float64]:
        import numpy as np

        signals = self._policy.factors.get(factor, ())
        known = _highest([self._of(signal) for signal in signals], agree, len(self._nowhere))
        most = known
        if self._cascade:  # without the cascade `nothing_missing` tells
            cells = [
                np.where(self._unmeasured[s], 1.0, self._of(s)) if s in self._unmeasured else self._of(s)
                for s in signals
            ]
            most = _highest(cells, agree, len(self._nowhere))
        for bound in self._policy.cascade.get(factor, ()):
            if not bound.always and not self._cascade:
                continue
            below = np.ones(len(self._nowhere), bool)
            for signal in bound.by:
                below &= self._of(signal) < bound.below  # False for NaN
            most = np.where(below, 0.0 if bound.always else np.minimum(most, known), most)
        return most

    def take_most(self, rows: NDArray[np.intp], each: _States, starts: NDArray[np.intp]) -> None:
        """Let these rows have what any of their pictures in `each` could have at most, which begin at `starts`."""
        import numpy as np

        self.nothing_missing[rows] = np.logical_and.reduceat(each.nothing_missing, starts)
        for own, theirs in ((self._most, each._most), (self._most_near, each._most_near)):
            for factor, most in own.items():
                most[rows] = np.maximum.reduceat(theirs[factor], starts)

    def ruled_out(self, rule: Rule, *, near: bool = False) -> NDArray[np.bool_]:
        """Return in which rows a rule cannot hold, or with `near` not even come near to that."""
        import numpy as np

        found = np.zeros(len(self._nowhere), bool)
        for factor, threshold in rule.when.items():
            found |= self._most_near[factor] < NEAR_SHARE * threshold if near else self._most[factor] < threshold
        return found


def _highest(cells: Sequence[NDArray[np.float64]], agree: int, rows: int) -> NDArray[np.float64]:
    """Return by row what so many of the cells reach; NaN reaches nothing."""
    import numpy as np

    if agree == 1:
        best = np.zeros(rows)
        for cell in cells:
            best = np.fmax(best, cell)
        return best
    ordered: NDArray[np.float64] = np.sort(np.nan_to_num(np.stack(cells), nan=0.0), axis=0)
    reached: NDArray[np.float64] = ordered[-agree]
    return reached


def preview_ledger(
    settings: Settings,
    policy: Policy,
    ledger: LedgerReader,
    on_changes: Callable[[list[Change]], None] = lambda _changes: None,
) -> Preview:
    """Decide the whole ledger anew under a policy, with the detectors that are configured. Changes nothing."""
    rejudge, pages = preview_pages(settings, policy, ledger)
    return preview(rejudge, pages, on_changes)


def preview_pages(settings: Settings, policy: Policy, ledger: LedgerReader) -> tuple[Rejudge, Iterator[ScorePage]]:
    """Return the policy as it is in force with the configured detectors, and the pages of scores that it is for."""
    from fedi_safety.detectors import concept_source

    known = measurable(settings)
    source = concept_source(settings)
    rescorer = None if source is None else ConceptRescorer(source)
    return Rejudge(known.in_force(policy), known.signals), ledger.score_pages(rescorer=rescorer)


def factor_values(
    policy: Policy, factor: str, names: Sequence[str], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what each content reaches of a factor: its highest signal, or what so many of them agree on.

    NaN where none of its signals was measured, or too few for them to agree. `values` are (contents, names).
    """
    import numpy as np

    signals = policy.factors.get(factor, ())
    columns = [values[:, i] for i, name in enumerate(names) if name in signals]
    agree = policy.agree.get(factor, 1)
    measured = sum((~np.isnan(column)).astype(int) for column in columns) if columns else np.zeros(len(values), int)
    reached = _highest(columns, agree, len(values)) if len(columns) >= agree else np.zeros(len(values))
    return np.where(measured >= agree, reached, np.nan)
