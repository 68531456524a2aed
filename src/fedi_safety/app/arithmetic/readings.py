"""What one look at many contents says of each factor and rule of a policy: `core.policy.reading`, by the column.

Where that says what follows from one picture, from pictures that lie close together, or from all of them, this says the
same of each content in a row of an array. It gives no reasons: verdicts alone, and whether something is to be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.frames.scores import NO_TIME
from fedi_safety.core.ledger.stored_scores import Look
from fedi_safety.core.policy import NEAR_SHARE, Policy, Rule

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Places = NDArray[np.intp]

_ANYTHING = 1.0
_LONGEST_MS = 1 << 40  # 34 years; a stranger's table may say anything


@dataclass(slots=True)
class _State:
    """A factor in each picture: its value by what was measured, what it could be at most, and whether more could be.

    `asks` is where a signal of it was not measured that could be.
    """

    value: Floats
    most: Floats
    asks: Bools

    @property
    def open(self) -> Bools:
        return self.most > self.value


@dataclass(slots=True)
class Hits:
    """Where a rule holds, with the rank of the verdict that it gives there, and whether only across pictures."""

    holds: Bools
    rank: NDArray[np.int8]
    across: Bools


class _Groups:
    """Pictures that rules join: `members` by place, groups of one content next to each other."""

    def __init__(self, members: Places | None, starts: Places | None, of_contents: Places | None) -> None:
        """Take where each group begins among the members, and where each content begins among the groups.

        None where each picture is a group by itself, each group has one, or each content has one.
        """
        self._members, self._starts, self._of_contents = members, starts, of_contents

    def top(self, cells: Floats) -> Floats:
        """Return by group the highest value."""
        found: Floats = _reduced(np.maximum, self._of(cells), self._starts)
        return found

    def least(self, cells: Floats) -> Floats:
        """Return by group the lowest value."""
        found: Floats = _reduced(np.minimum, self._of(cells), self._starts)
        return found

    def some(self, cells: Bools) -> Bools:
        """Return by group whether it is so of a picture."""
        found: Bools = _reduced(np.logical_or, self._of(cells), self._starts)
        return found

    def anywhere(self, groups: Bools) -> Bools:
        """Return by content whether it is so of one of its groups."""
        found: Bools = _reduced(np.logical_or, groups, self._of_contents)
        return found

    def _of(self, cells: Any) -> Any:
        return cells if self._members is None else cells[self._members]


def _reduced(how: np.ufunc, cells: Any, starts: Places | None) -> Any:
    return cells if starts is None or not len(starts) else how.reduceat(cells, starts)


class Reading:
    """What one look showed of many contents, under one policy."""

    def __init__(
        self,
        policy: Policy,
        names: Sequence[str],
        look: Look,
        available: frozenset[str] = frozenset(),
        *,
        cascade: bool = True,
        near_as: Reading | None = None,
    ) -> None:
        """Read nothing yet; the arguments are those of `core.policy.reading.Reading`."""
        self._policy, self._names, self._look = policy, names, look
        self._available, self._cascade = available, cascade
        self._share = 1.0 if near_as is None else NEAR_SHARE
        self._agree: Mapping[str, int] = policy.agree if near_as is None else {}
        self._same = near_as
        self._column = {name: i for i, name in enumerate(names)}
        self._states: dict[str, _State] = {}
        self._whole: dict[str, tuple[Floats, Floats]] = {}
        self._groupings: dict[float | None, _Groups] = {} if near_as is None else near_as._groupings
        self._hits: dict[int, Hits] = {}
        self.count = len(look.partial)
        self._some_partial = bool(look.partial.any())

    # --- factors

    def _factor(self, factor: str, values: Floats) -> _State:
        """Return a factor's state by row (`core.policy.reading.Reading._factor`)."""
        rows, agree = len(values), self._agree.get(factor, 1)
        cells, could = list[Floats](), list[Floats]()
        asks = np.zeros(rows, bool)
        for signal in self._policy.factors.get(factor, ()):
            cell = self._of(signal, values)
            cells.append(cell)
            if signal in self._available:
                missing = np.isnan(cell)
                asks |= missing
                cell = np.where(missing, _ANYTHING, cell)
            could.append(cell)
        value = highest(cells, agree, rows)
        most = np.where(asks, _ANYTHING, value) if agree == 1 else highest(could, agree, rows)
        ruled_out = np.zeros(rows, bool)
        for bound in self._policy.cascade.get(factor, ()):
            if not bound.always and not self._cascade:
                continue
            below, perhaps = np.ones(rows, bool), np.ones(rows, bool)
            for signal in bound.by:
                cell = self._of(signal, values)
                under = cell < bound.below  # False for NaN
                below &= under
                perhaps &= (under | np.isnan(cell)) if signal in self._available else under
            if bound.always:
                ruled_out |= below
                value = np.where(perhaps, 0.0, value)  # it may be ruled out yet
            else:
                most = np.where(below, value, most)
        return _State(np.where(ruled_out, 0.0, value), np.where(ruled_out, 0.0, most), asks)

    def _of(self, signal: str, values: Floats) -> Floats:
        at = self._column.get(signal)
        return np.full(len(values), np.nan) if at is None else values[:, at]

    def _each(self, factor: str) -> _State:
        """Return a factor's state in every picture."""
        found = self._states.get(factor)
        if found is None:
            if self._same is not None and factor not in self._policy.agree:
                found = self._same._each(factor)
            else:
                found = self._factor(factor, self._look.values)
            self._states[factor] = found
        return found

    def _anywhere(self, factor: str) -> tuple[Floats, Floats]:
        """Return a factor's value over all that each content shows, and what it could be at most."""
        found = self._whole.get(factor)
        if found is None:
            if self._same is not None and factor not in self._policy.agree:
                return self._same._anywhere(factor)
            each, starts = self._each(factor), self._look.starts
            value, most = (_reduced(np.maximum, cells, starts) for cells in (each.value, each.most))
            if self._some_partial:
                known = self._factor(factor, self._look.known)
                value = np.where(self._look.partial, known.value, value)
                most = np.where(self._look.partial, known.most, most)
            found = value, most
            self._whole[factor] = found
        return found

    def _groups(self, within_s: float | None) -> _Groups:
        """Return which pictures join: each by itself, or all that lie within so many seconds."""
        found = self._groupings.get(within_s)
        if found is None:
            starts = self._look.starts
            if starts is None or within_s is None:
                found = _Groups(None, None, starts)
            else:
                found = _close_together(starts, self._look.streams, self._look.times_ms, round(1000 * within_s))
            self._groupings[within_s] = found
        return found

    def _all(self) -> _Groups:
        return _Groups(None, self._look.starts, None)

    # --- rules

    def hit(self, rule: Rule) -> Hits:
        """Return where a rule holds, as far as was measured."""
        found = self._hits.get(id(rule))
        if found is None:
            found = self._hits[id(rule)] = self._hit(rule)
        return found

    def _hit(self, rule: Rule) -> Hits:
        holds = self._and(rule, lambda factor, least: self._anywhere(factor)[0] >= least)
        rank = np.full(self.count, 0 if rule.verdict is None else rule.verdict.rank, np.int8)
        nowhere = np.zeros(self.count, bool)
        if len(rule.when) == 1 and not rule.may_relent:
            return Hits(holds, rank, nowhere)
        groups = self._groups(rule.within_s)
        reached = self._reached(rule, groups)
        within = groups.anywhere(reached)
        if rule.may_relent:
            firm = groups.anywhere(reached & ~self._milder(rule, groups))
            rank = np.where(firm, rank, np.int8(1))  # a review
        if rule.across_frames is None:
            return Hits(holds & within, rank, nowhere)
        across = holds & ~within
        return Hits(holds, np.where(across, np.int8(rule.across_frames.rank), rank), across)

    def possible(self, rule: Rule) -> Bools:
        """Return where a rule holds, in one picture or across them, or could hold by what was not measured."""
        somewhere = ~self._nowhere(rule)
        if rule.across_frames is not None:
            return somewhere
        groups = self._groups(rule.within_s)
        somewhere &= self._look.partial | groups.anywhere(self._not_ruled_out(rule, groups))
        return somewhere

    def _reached(self, rule: Rule, groups: _Groups) -> Bools:
        return self._and(rule, lambda factor, least: groups.top(self._each(factor).value) >= self._share * least)

    def _not_ruled_out(self, rule: Rule, groups: _Groups) -> Bools:
        return self._and(rule, lambda factor, least: groups.top(self._each(factor).most) >= self._share * least)

    def _milder(self, rule: Rule, groups: _Groups) -> Bools:
        """Return in which groups something of `review_if` is reached in each of their pictures."""
        relent = [groups.least(self._each(factor).value) >= least for factor, least in rule.review_if.items()]
        found: Bools = np.logical_or.reduce(relent)
        return found

    def _nowhere(self, rule: Rule) -> Bools:
        return ~self._and(rule, lambda factor, least: self._anywhere(factor)[1] >= self._share * least)

    def _and(self, rule: Rule, holds: Callable[[str, float], Bools]) -> Bools:
        """Return where it holds of every factor of a rule, which may have none."""
        found: Bools = np.ones(self.count, bool)
        for number, (factor, least) in enumerate(rule.when.items()):
            found = holds(factor, least) if number == 0 else found & holds(factor, least)
        return found

    # --- what is to be measured yet

    def unmeasured(self) -> Bools:
        """Return where a signal was not measured that some rule uses, whether it could change something or not."""
        values = self._look.values
        missing = np.zeros(len(values), bool)
        known = np.zeros(self.count, bool)
        for signal in self._policy.signals & self._available:
            missing |= np.isnan(self._of(signal, values))
            known |= np.isnan(self._of(signal, self._look.known))
        found: Bools = _reduced(np.logical_or, missing, self._look.starts)
        return np.where(self._look.partial, known, found) if self._some_partial else found

    def wants(self, rule: Rule) -> Bools:
        """Return where something is to be measured yet to say whether a rule holds, in one picture or across them."""
        relents, across = self._share == 1.0 and rule.may_relent, rule.across_frames is not None
        together = (len(rule.when) == 1 and not relents) or (self._share < 1.0 and across)
        groups = self._all() if together else self._groups(rule.within_s)
        reached = self._reached(rule, groups)
        done, asked = groups.anywhere(reached), np.zeros(self.count, bool)
        if relents:
            done, asked = self._surely(rule, groups, reached)
        missing = groups.anywhere(self._missing(rule, groups))
        if self._share == 1.0 and across:
            apart = ~self._and(rule, lambda factor, least: self._anywhere(factor)[0] >= least)
            missing |= apart & self._missing(rule, self._all())
        if self._some_partial:
            missing = np.where(self._look.partial, any(self._policy.factors.get(f) for f in rule.when), missing)
        return ~self._nowhere(rule) & ~done & (asked | missing)

    def _surely(self, rule: Rule, groups: _Groups, reached: Bools) -> tuple[Bools, Bools]:
        """Return where a rule holds and nothing can make it milder, and where it is to be known yet whether it does."""
        firm = reached & ~self._milder(rule, groups)
        doubted, asked = np.zeros(len(firm), bool), np.zeros(len(firm), bool)
        for factor, least in rule.review_if.items():
            state = self._each(factor)
            could = groups.least(state.most) >= least
            doubted |= could & groups.some(state.open)
            asked |= could & groups.some(state.open & state.asks)
        return groups.anywhere(firm & ~doubted), groups.anywhere(firm & asked)

    def _missing(self, rule: Rule, groups: _Groups) -> Bools:
        """Return in which groups a factor is not reached, and one of its signals was not measured that could be."""
        found: Bools | None = None
        for factor, least in rule.when.items():
            state = self._each(factor)
            short = (groups.top(state.value) < self._share * least) & groups.some(state.open & state.asks)
            found = short if found is None else found | short
        return np.zeros(self.count, bool) if found is None else found & self._not_ruled_out(rule, groups)


def _close_together(starts: Places, streams: NDArray[np.int64], times_ms: NDArray[np.int64], within: int) -> _Groups:
    """Return the largest runs of pictures of a stream of which the last comes no later than that after the first.

    Those without a time stand alone. See `core.pictures.Seen.groups`.
    """
    count = len(streams)
    owner = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, count)))
    timed = np.flatnonzero(times_ms != NO_TIME)
    alone = np.flatnonzero(times_ms == NO_TIME)
    order = timed[np.lexsort((times_ms[timed], streams[timed], owner[timed]))]
    begins = np.ones(len(order), bool)
    begins[1:] = (np.diff(owner[order]) != 0) | (np.diff(streams[order]) != 0)
    place = np.cumsum(begins) * (2 * _LONGEST_MS) + times_ms[order].clip(0, _LONGEST_MS)
    ends = np.searchsorted(place, place + within, side="right")
    largest = begins.copy()
    largest[1:] |= ends[1:] > ends[:-1]
    first = np.flatnonzero(largest)
    lengths = np.concatenate([ends[first] - first, np.ones(len(alone), np.intp)])
    owners = np.concatenate([owner[order[first]], owner[alone]])
    by_owner = np.argsort(owners, kind="stable")
    listed = np.concatenate([order, alone])
    heads = np.concatenate([first, len(order) + np.arange(len(alone))])[by_owner]
    lengths, owners = lengths[by_owner], owners[by_owner]
    at = np.cumsum(lengths) - lengths
    members = listed[np.repeat(heads - at, lengths) + np.arange(lengths.sum())]
    return _Groups(members, at, np.searchsorted(owners, np.arange(len(starts))))


def highest(cells: Sequence[Floats], agree: int, rows: int) -> Floats:
    """Return by row what so many of the cells reach; NaN reaches nothing, nor do too few cells."""
    if agree == 1:
        best = np.zeros(rows)
        for cell in cells:
            best = np.fmax(best, cell)
        return best
    if len(cells) < agree:
        return np.zeros(rows)
    ordered: Floats = np.sort(np.nan_to_num(np.stack(cells), nan=0.0), axis=0)
    reached: Floats = ordered[-agree]
    return reached
