"""A policy's word on the contents of a page that were looked at once or twice: `core.policy.word`, by the column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedi_safety.app.arithmetic.readings import Bools, Hits, Reading
from fedi_safety.core.enums import KNOWN_PREFIX, Verdict
from fedi_safety.core.ledger.stored_scores import ONE_BY_ONE, UNDECIDED, Look, ScorePage
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.testcard import TEST_CARD_SHA256

Ranks = NDArray[np.int8]


@dataclass(slots=True)
class PageOutcomes:
    """See `core.ledger.stored_scores.Outcomes`; `rules` are those that hold somewhere, by name, with where they do."""

    words: Ranks
    reasoned: Bools
    rules: dict[str, Bools]


@dataclass(slots=True)
class _Said:
    """Of some contents the rank of their verdict, where it is not known, and by rule of the policy where it holds."""

    rank: Ranks
    undecided: Bools
    holds: list[Bools]


def outcomes(policy: Policy, page: ScorePage, available: frozenset[str], *, cascade: bool) -> PageOutcomes:
    """Decide a page; all but the test card, whose signal no ledger keeps."""
    words = np.full(len(page.values), ONE_BY_ONE, np.int8)
    rules = {rule.name: np.zeros(len(words), bool) for rule in policy.rules}
    looks = page.looks
    for places, *seen in (looks.plain, looks.once, looks.twice):
        if not len(places):
            continue
        closed = looks.closed[places]
        said = _said(policy, page.names, seen, closed, available, cascade=cascade)
        condemned = _condemned_by_lists(policy, page, places)
        if condemned.any():  # what lists condemn is shown to no detector
            alone = _said(policy, page.names, seen, closed, frozenset(), cascade=True)
            said.rank = np.where(condemned, alone.rank, said.rank)
            said.undecided &= ~condemned
            said.holds = [np.where(condemned, one, other) for one, other in zip(alone.holds, said.holds, strict=True)]
        words[places] = np.where(said.undecided, np.int8(UNDECIDED), said.rank)
        for rule, holds in zip(policy.rules, said.holds, strict=True):
            rules[rule.name][places] |= holds & ~said.undecided
    sha256s = page.cells["sha256"]
    if TEST_CARD_SHA256 in sha256s:
        card = sha256s.index(TEST_CARD_SHA256)
        words[card] = ONE_BY_ONE
        for holds in rules.values():
            holds[card] = False
    reasoned = np.logical_or.reduce(list(rules.values())) if rules else np.zeros(len(words), bool)
    return PageOutcomes(words, reasoned, {name: holds for name, holds in rules.items() if holds.any()})


def _condemned_by_lists(policy: Policy, page: ScorePage, places: NDArray[np.intp]) -> Bools:
    """Return which of these contents what lists of known images say condemns alone."""
    at = [i for i, name in enumerate(page.names) if name.startswith(KNOWN_PREFIX)]
    values: NDArray[np.float64] = page.values[places][:, at]
    named: Bools = np.logical_or.reduce(~np.isnan(values), axis=1)
    if not named.any():
        return named
    reading = Reading(policy, [page.names[i] for i in at], _Alone(values))
    named &= _most_severe([reading.hit(rule) for rule in policy.rules], len(places)) == Verdict.BLOCK.rank
    return named


class _Alone:
    """A look at contents of one picture."""

    starts = None

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.values = self.known = values
        self.streams = np.zeros(len(values), np.int64)
        self.times_ms = self.streams - 1
        self.partial = np.zeros(len(values), bool)


def _said(
    policy: Policy, names: Sequence[str], looks: Sequence[Look], closed: Bools, available: frozenset[str], *,
    cascade: bool,
) -> _Said:  # fmt: skip
    """Return what a scan would say (`Word.final`)."""
    first, *later = (Reading(policy, names, look, available, cascade=cascade) for look in looks)
    near = Reading(policy, names, looks[0], available, cascade=cascade, near_as=first)
    hits = [first.hit(rule) for rule in policy.rules]
    rank = _most_severe(hits, len(closed))
    whole, every = later or (first, first)
    undecided = np.zeros(len(closed), bool) if cascade else every.unmeasured()
    for rule in policy.rules:
        undecided |= first.wants(rule)
    severer = [(rule, higher) for rule in policy.rules if (higher := _severer(rule, rank)).any()]
    nearly = np.zeros(len(closed), bool)
    if later or not closed.all():
        for rule, higher in severer:
            nearly |= higher & near.possible(rule)
    if not later:
        return _Said(rank, undecided | (nearly & ~closed), [hit.holds for hit in hits])
    for rule, higher in severer:
        undecided |= higher & near.wants(rule)
    for rule in policy.rules:
        undecided |= nearly & _wanted_at_last(rule, whole, every)
    last = [_last_hit(rule, whole, every) for rule in policy.rules]
    holds = [np.where(nearly, late.holds, hit.holds) for late, hit in zip(last, hits, strict=True)]
    return _Said(np.where(nearly, _most_severe(last, len(closed)), rank), undecided, holds)


def _severer(rule: Rule, rank: Ranks) -> Bools:
    """Return where a rule's verdict is severer than that of the first look."""
    return np.zeros(len(rank), bool) if rule.verdict is None else rank < rule.verdict.rank


def _most_severe(hits: Sequence[Hits], count: int) -> Ranks:
    rank = np.full(count, Verdict.CLEAR.rank, np.int8)
    for hit in hits:
        rank = np.where(hit.holds, np.maximum(rank, hit.rank), rank)
    return rank


def _wanted_at_last(rule: Rule, whole: Reading, every: Reading) -> Bools:
    """Return where something is to be measured yet to say what a second look showed of a rule."""
    wanted = every.wants(rule)
    if rule.second_look is None:
        return wanted
    hit = whole.hit(rule)
    return whole.wants(rule) | (wanted & ~(hit.holds & ~hit.across))


def _last_hit(rule: Rule, whole: Reading, every: Reading) -> Hits:
    """Return where a rule holds by all that was seen; by further views alone with the verdict that it has for that."""
    seen = every.hit(rule)
    if rule.second_look is None or rule.verdict is None:
        return seen
    hit = whole.hit(rule)
    own = hit.holds & ~hit.across
    if rule.second_look is Verdict.CLEAR:
        late = Hits(hit.holds, hit.rank, hit.across)
    else:
        milder = np.minimum(seen.rank, np.int8(rule.second_look.rank))
        stands = hit.holds & (hit.rank >= milder)
        late = Hits(np.ones(len(own), bool), np.where(stands, hit.rank, milder), stands & hit.across)
    return Hits(
        seen.holds & (own | late.holds), np.where(own, hit.rank, late.rank), ~own & late.across
    )  # fmt: skip
