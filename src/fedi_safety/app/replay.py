"""Decides stored scores anew: one content with the core's own functions, or a page at once where nothing holds.

Opens no store and loads no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedi_safety.app.engine import measurable
from fedi_safety.concepts.rescoring import ConceptRescorer
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger.ports import LedgerReader
from fedi_safety.core.ledger.stored_scores import PictureScores, ScorePage, SecondPass
from fedi_safety.core.policy import NEAR_SHARE, Policy, Rule, decide, marks
from fedi_safety.core.testcard import TEST_CARD_SHA256
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
        found.objects += int(sum(page.cells["objects"]))
        changed = _count_page(found, rejudge, page)
        if changed:
            on_changes(changed)
    found.changes = Counter({change: count for change, count in found.changes.items() if count})
    found.rules = Counter({rule: count for rule, count in found.rules.items() if count})
    return found


def _count_page(found: Preview, rejudge: Rejudge, page: ScorePage) -> list[Change]:
    """Count what becomes of a page's contents; return the changes, in the order of the page."""
    import numpy as np

    sha256s, verdicts = page.cells["sha256"], page.cells["verdict"]
    counts = np.array(page.cells["objects"], np.int64)
    outcome = rejudge.outcomes(page)
    code = {verdict.value: verdict.rank for verdict in Verdict}
    now = np.fromiter(map(code.__getitem__, verdicts), np.int8, len(verdicts))
    words = {verdict.rank: verdict.value for verdict in Verdict} | {_UNSETTLED: UNDECIDED}
    told = outcome.words != _ONE_BY_ONE
    pairs, places = np.unique(np.stack([now[told], outcome.words[told]]), axis=1, return_inverse=True)
    totals = np.bincount(places.ravel(), counts[told], pairs.shape[1])
    for before, then, count in zip(*pairs.tolist(), totals.tolist(), strict=True):
        if then == _UNSETTLED:
            found.undecided += int(count)
        else:
            found.changes[words[before], words[then]] += int(count)
    for rule, holds in outcome.rules.items():
        found.rules[rule] += int(counts[holds].sum())
    changed: dict[int, Change] = {}
    for i in np.flatnonzero(told & (counts > 0) & (now != outcome.words)).tolist():
        changed[i] = sha256s[i], verdicts[i], words[int(outcome.words[i])]
    for i in np.flatnonzero(~told & (counts > 0)).tolist():
        decided, count = rejudge(sha256s[i], page.scores(i)), int(counts[i])
        then_word = UNDECIDED if decided is None else decided.verdict.value
        if then_word != verdicts[i]:
            changed[i] = sha256s[i], verdicts[i], then_word
        if decided is None:
            found.undecided += count
        else:
            found.changes[verdicts[i], then_word] += count
            found.rules.update({hit.rule: count for hit in decided.reasons})
    return [changed[i] for i in sorted(changed)]


_UNSETTLED = -1
_ONE_BY_ONE = -2


@dataclass(slots=True)
class Outcomes:
    """What becomes of a page's contents: for each a verdict's rank, or that it is undecided, or is to be looked at.

    `rules` are those that hold, with the contents of which that is told here.
    """

    words: NDArray[np.int8]
    rules: dict[str, NDArray[np.bool_]]


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

    def outcomes(self, page: ScorePage) -> Outcomes:
        """Decide a page by arithmetic; left to `__call__` is what several pictures, or two looks, make doubtful.

        Where it says something `__call__` would say the same.
        """
        import numpy as np

        sha256s = page.cells["sha256"]
        second_passes = page.second_passes
        clear = self.no_rule_holds(sha256s, page.names, page.values, page.pictures, second_passes)
        words = np.where(clear, np.int8(Verdict.CLEAR.rank), np.int8(_ONE_BY_ONE))
        left = np.flatnonzero(page.one_picture & ~clear & (second_passes != SecondPass.MADE))
        states = _States(self.policy, page.names, page.values[left], self.available, cascade=self.cascade)
        settled = states.nothing_missing & np.array([not marks(sha256s[i]) for i in left.tolist()], bool)
        held: dict[str, NDArray[np.bool_]] = {}
        rank = np.full(len(left), Verdict.CLEAR.rank, np.int8)
        for rule in self.policy.rules:
            holds = states.holds(rule)
            settled &= holds | states.ruled_out(rule)
            held[rule.name] = held.get(rule.name, np.zeros(len(left), bool)) | holds
            if rule.verdict is None:
                continue
            own = np.full(len(left), rule.verdict.rank, np.int8)
            if rule.may_relent:
                milder, never = states.relents(rule)
                settled &= ~holds | milder | never
                own[milder] = Verdict.REVIEW.rank
            rank = np.where(holds, np.maximum(rank, own), rank)
        looked = second_passes[left] == SecondPass.OVER
        doubtful = np.zeros(len(left), bool)  # a severer rule is so near that a second look would be made
        for rule in self.policy.rules:
            if rule.verdict is not None:
                doubtful |= (rule.verdict.rank > rank) & ~states.ruled_out(rule, near=True)
        rank = np.where(doubtful & ~looked, np.int8(_UNSETTLED), rank)
        words[left[settled]] = rank[settled]
        rules = {}
        for name, holds in held.items():
            rules[name] = np.zeros(len(words), bool)
            rules[name][left[settled & holds & (rank != _UNSETTLED)]] = True
        return Outcomes(words, rules)

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

        answer = np.ones(len(sha256s), bool)
        if TEST_CARD_SHA256 in sha256s:
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
        self._available = available
        self._column = {name: values[:, i] for i, name in enumerate(names)}
        self._nowhere = np.full(len(values), np.nan)
        self._unmeasured = {s: np.isnan(self._of(s)) for s in policy.signals & available}
        self.nothing_missing = np.ones(len(values), bool)
        if not cascade:
            for missing in self._unmeasured.values():
                self.nothing_missing &= ~missing
        used = sorted({f for rule in policy.rules for f in (*rule.when, *rule.review_if)})
        both = {f: self._of_factor(f, policy.agree.get(f, 1)) for f in used}
        self._least = {f: least for f, (least, _) in both.items()}
        self._most = {f: most for f, (_, most) in both.items()}
        self._most_near = {
            f: self._of_factor(f, 1)[1] if policy.agree.get(f, 1) > 1 else most for f, most in self._most.items()
        }

    def _of(self, signal: str) -> NDArray[np.float64]:
        return self._column.get(signal, self._nowhere)

    def _of_factor(self, factor: str, agree: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what a factor comes to by what was measured, and what it could be at most (`Reading._factor`)."""
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
        value = known
        ruled_out = np.zeros(len(known), bool)
        for bound in self._policy.cascade.get(factor, ()):
            if not bound.always and not self._cascade:
                continue
            below, perhaps = np.ones(len(known), bool), np.ones(len(known), bool)
            for signal in bound.by:
                under = self._of(signal) < bound.below  # False for NaN
                below &= under
                perhaps &= under | (np.isnan(self._of(signal)) & (signal in self._available))
            if bound.always:
                ruled_out |= below
                value = np.where(perhaps, 0.0, value)  # it may be ruled out yet
            else:
                most = np.where(below, value, most)
        return np.where(ruled_out, 0.0, value), np.where(ruled_out, 0.0, most)

    def take_most(self, rows: NDArray[np.intp], each: _States, starts: NDArray[np.intp]) -> None:
        """Let these rows have what any of their pictures in `each` could have at most, which begin at `starts`."""
        import numpy as np

        self.nothing_missing[rows] = np.logical_and.reduceat(each.nothing_missing, starts)
        for own, theirs in ((self._most, each._most), (self._most_near, each._most_near)):
            for factor, most in own.items():
                most[rows] = np.maximum.reduceat(theirs[factor], starts)

    def holds(self, rule: Rule) -> NDArray[np.bool_]:
        """Return in which rows a rule holds, whatever was not measured."""
        import numpy as np

        found = np.ones(len(self._nowhere), bool)
        for factor, threshold in rule.when.items():
            found &= self._least[factor] >= threshold
        return found

    def relents(self, rule: Rule) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return in which rows something makes a rule milder, and in which nothing can."""
        import numpy as np

        milder, never = np.zeros(len(self._nowhere), bool), np.ones(len(self._nowhere), bool)
        for factor, threshold in rule.review_if.items():
            milder |= self._least[factor] >= threshold
            never &= self._most[factor] < threshold
        return milder, never

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
