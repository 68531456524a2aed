"""Decides stored scores anew: one content with the core's own functions, or a page at once by arithmetic.

Opens no store and loads no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from fedi_safety.app.engine import measurable
from fedi_safety.concepts.rescoring import ConceptRescorer
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger import stored_scores
from fedi_safety.core.ledger.ports import LedgerReader
from fedi_safety.core.ledger.stored_scores import WHOLE, ScorePage
from fedi_safety.core.policy import Policy, decide, marks
from fedi_safety.core.types import Judgement, Scores
from fedi_safety.service.beside import beside

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedi_safety.app.arithmetic.words import PageOutcomes


@dataclass(slots=True)
class Preview:
    """What a policy would change, in objects; `computed` counts contents whose signals came from embeddings."""

    policy: str
    objects: int = 0
    undecided: int = 0
    computed: int = 0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)  # verdict now, verdict then
    rules: Counter[str] = field(default_factory=Counter)

    def add(self, other: Preview) -> None:
        """Count what another part of the same ledger came to as well."""
        self.objects += other.objects
        self.undecided += other.undecided
        self.computed += other.computed
        self.changes += other.changes
        self.rules += other.rules


Change = tuple[bytes, str, str]
"""A content by its SHA-256, its verdict now, and its verdict then; `undecided` where stored scores do not tell."""

UNDECIDED = "undecided"


def preview(
    rejudge: Rejudge, pages: Iterable[ScorePage], on_changes: Callable[[list[Change]], None] | None = None
) -> Preview:
    """Decide pages of stored scores and count. Objects that were removed do not count.

    `on_changes` is given page by page the contents whose verdict would be another.
    """
    import numpy as np

    found = Preview(rejudge.policy.id)
    for page in pages:
        found.computed += page.computed
        found.objects += int(np.sum(page.cells["objects"]))
        changed = _count_page(found, rejudge, page, named=on_changes is not None)
        if changed and on_changes is not None:
            on_changes(changed)
    found.changes = Counter({change: count for change, count in found.changes.items() if count})
    found.rules = Counter({rule: count for rule, count in found.rules.items() if count})
    return found


def _count_page(found: Preview, rejudge: Rejudge, page: ScorePage, *, named: bool) -> list[Change]:
    """Count what becomes of a page's contents; return the changes, in the order of the page, where they are `named`."""
    import numpy as np

    sha256s, verdicts, now = page.cells["sha256"], page.cells["verdict"], page.ranks
    counts = np.asarray(page.cells["objects"], np.int64)
    outcome = rejudge.outcomes(page)
    words = {verdict.rank: verdict.value for verdict in Verdict} | {stored_scores.UNDECIDED: UNDECIDED}
    told = outcome.words != stored_scores.ONE_BY_ONE
    pairs = now[told] * _WORDS + outcome.words[told] - stored_scores.UNDECIDED
    for pair, count in enumerate(np.bincount(pairs, counts[told]).tolist()):
        before, then = pair // _WORDS, pair % _WORDS + stored_scores.UNDECIDED
        if then == stored_scores.UNDECIDED:
            found.undecided += int(count)
        else:
            found.changes[words[before], words[then]] += int(count)
    for rule, holds in outcome.rules.items():
        found.rules[rule] += int(counts[holds].sum())
    changed: dict[int, Change] = {}
    for i in np.flatnonzero(told & (counts > 0) & (now != outcome.words)).tolist() if named else ():
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


_WORDS = len(Verdict) + 1
"""So many words there are for a content, with `UNDECIDED`, the least of them."""


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

    def outcomes(self, page: ScorePage) -> PageOutcomes:
        """Decide a page at once, to what `__call__` says of its contents, and give the rules that hold."""
        from fedi_safety.app.arithmetic.words import outcomes

        return outcomes(self.policy, page, self.available, cascade=self.cascade)


def preview_ledger(
    settings: Settings,
    policy: Policy,
    ledger: LedgerReader,
    on_changes: Callable[[list[Change]], None] | None = None,
) -> Preview:
    """Decide the whole ledger anew under a policy, with the detectors that are configured. Changes nothing.

    Where changes are not named, a copy of this process does half of it, if that is worth it.
    """
    rejudge, rescorer = _asked(settings, policy)

    def part(*share: int) -> Preview:
        named = on_changes is not None
        pages = ledger.score_pages(rescorer=rescorer, share=(share[0], share[1]), named=named)
        return preview(rejudge, pages, on_changes)

    if on_changes is not None or ledger.score_shares() == 1:
        return part(*WHOLE)
    with beside(partial(part, 1, 2)) as other:
        found = part(0, 2)
        found.add(other() or part(1, 2))
    return found


def preview_pages(settings: Settings, policy: Policy, ledger: LedgerReader) -> tuple[Rejudge, Iterator[ScorePage]]:
    """Return the policy as it is in force with the configured detectors, and the pages of scores that it is for."""
    rejudge, rescorer = _asked(settings, policy)
    return rejudge, ledger.score_pages(rescorer=rescorer)


def _asked(settings: Settings, policy: Policy) -> tuple[Rejudge, ConceptRescorer | None]:
    """Return the policy as it is in force with the configured detectors, and what computes their signals anew."""
    from fedi_safety.detectors import concept_source

    known = measurable(settings)
    source = concept_source(settings)
    return Rejudge(known.in_force(policy), known.signals), None if source is None else ConceptRescorer(source)


def factor_values(
    policy: Policy, factor: str, names: Sequence[str], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what each content reaches of a factor: its highest signal, or what so many of them agree on.

    NaN where none of its signals was measured, or too few for them to agree. `values` are (contents, names).
    """
    import numpy as np

    from fedi_safety.app.arithmetic.readings import highest

    signals = policy.factors.get(factor, ())
    columns = [values[:, i] for i, name in enumerate(names) if name in signals]
    agree = policy.agree.get(factor, 1)
    measured = sum((~np.isnan(column)).astype(int) for column in columns) if columns else np.zeros(len(values), int)
    reached = highest(columns, agree, len(values)) if len(columns) >= agree else np.zeros(len(values))
    return np.where(measured >= agree, reached, np.nan)
