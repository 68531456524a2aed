"""Learns a head from how contents stand: what was dismissed against what was condemned and what is clear.

Cross-validated by content, so that what is said of it was said of contents it had not seen. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.errors import UsageError
from fedi_safety.core.ledger.records import Stand, Standing
from fedi_safety.evaluation.logistic import Array, Line, fit, logistic, loss, path
from fedi_safety.evaluation.ranking import Area, area

NEEDED: Mapping[Stand, int] = {Stand.DISMISSED: 20, Stand.CONDEMNED: 20, Stand.CLEAR: 40}
"""How many contents of each kind it takes: with fewer, what a fold says of them is chance."""

MOST = 2000
"""How many of each kind are learned from; a line through some hundred numbers needs no more."""

MOST_FRAMES = 4
"""How many frames of one content are learned from."""

FOLDS = 5
THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)
RIDGES = (1e-2, 1e-3, 1e-4, 1e-5)

# Each side counts as much as the other, whatever there is more of, and so do the two parts of what stands.
_COUNTS = {Stand.DISMISSED: 0.5, Stand.CONDEMNED: 0.25, Stand.CLEAR: 0.25}


@dataclass(frozen=True, slots=True)
class Below:
    """How many contents of each kind stay below a threshold, by what was said of them unseen."""

    threshold: float
    counts: Mapping[Stand, int]


@dataclass(frozen=True, slots=True)
class Learned:
    """A line, and what cross-validation said of such lines."""

    line: Line
    contents: Mapping[Stand, int]
    ridge: float
    condemned: Area  # above dismissed
    clear: Area  # above dismissed
    below: tuple[Below, ...]

    @property
    def tells(self) -> bool:
        """Whether it tells condemned contents from dismissed ones better than chance, by its interval."""
        return self.condemned.low > 0.5

    def as_json(self) -> dict[str, Any]:
        """Return the figures of the cross-validation."""
        return {
            "folds": FOLDS,
            "condemned_above_dismissed": self.condemned.as_json(),
            "clear_above_dismissed": self.clear.as_json(),
            "below": [
                {"threshold": each.threshold, **{s.value: n for s, n in each.counts.items()}} for each in self.below
            ],
        }


def check_enough(standings: Mapping[Stand, Standing]) -> None:
    """Raise `UsageError` where there is too little to learn from, naming what there is and what it takes."""
    if all(standings[stand].kept >= least for stand, least in NEEDED.items()):
        return
    parts = []
    for stand, least in NEEDED.items():
        found = standings[stand]
        without = f" ({found.known:,} in all)" if found.known > found.kept else ""
        parts.append(f"{found.kept:,} {stand.value}{without} of {least}")
    cause = f"too few contents with a kept embedding of this model: {', '.join(parts)}"
    remedy = "scan with keep_embeddings, dismiss what was judged wrongly, and learn before what is condemned is removed"
    raise UsageError("concepts learn", cause, remedy)


def learn(standings: Mapping[Stand, Standing], progress: Callable[[float], None] = lambda _share: None) -> Learned:
    """Learn from what `check_enough` let pass. `progress` is told which share more is done."""
    examples = _Examples.of(standings)
    unseen = np.empty(examples.contents)
    for fold in range(FOLDS):
        apart = examples.folds == fold
        chances = examples.chances(examples.line(~apart))
        unseen[apart] = chances[apart]
        progress(1 / (FOLDS + 1))
    ridge = examples.ridge(np.ones(examples.contents, bool))
    line = examples.line(np.ones(examples.contents, bool), ridge)
    progress(1 / (FOLDS + 1))
    by = {stand: unseen[examples.stands == i] for i, stand in enumerate(_COUNTS)}
    return Learned(
        examples.turned_back(line),
        {stand: len(found) for stand, found in by.items()},
        ridge,
        area(by[Stand.CONDEMNED], by[Stand.DISMISSED]),
        area(by[Stand.CLEAR], by[Stand.DISMISSED]),
        tuple(Below(t, {stand: int((found < t).sum()) for stand, found in by.items()}) for t in THRESHOLDS),
    )


@dataclass(frozen=True, slots=True)
class _Examples:
    """Rows of embeddings, content by content; a content has one row or several."""

    rows: Array
    starts: NDArray[np.intp]  # of each content's rows
    owners: NDArray[np.intp]  # of each row
    stands: NDArray[np.intp]  # of each content, as `_COUNTS` has them
    folds: NDArray[np.intp]  # of each content
    turn: Array | None  # what turned the embeddings into rows that are shorter

    @classmethod
    def of(cls, standings: Mapping[Stand, Standing]) -> _Examples:
        parts: list[Array] = []
        stands: list[int] = []
        folds: list[int] = []
        for i, stand in enumerate(_COUNTS):
            # They come in the order of their hashes, so that every fifth is a sample of its kind.
            for at, (_, vectors) in enumerate(standings[stand].sample):
                parts.append(np.asarray(_some(vectors), np.float64))
                stands.append(i)
                folds.append(at % FOLDS)
        counts = np.array([len(part) for part in parts], np.intp)
        rows = np.concatenate(parts)
        turn = None
        if len(rows) < rows.shape[1]:
            # The line lies in the span of the rows: in as many numbers as there are rows it is the same one, sooner.
            turn = np.linalg.svd(rows, full_matrices=False)[2]
            rows = rows @ turn.T
        owners = np.repeat(np.arange(len(parts)), counts)
        return cls(rows, np.cumsum(counts) - counts, owners, np.array(stands), np.array(folds), turn)

    @property
    def contents(self) -> int:
        return len(self.stands)

    def chances(self, line: Line) -> Array:
        """Return each content's highest chance over its rows, as its signal is."""
        found: Array = np.maximum.reduceat(logistic(line.logits(self.rows)), self.starts)
        return found

    def line(self, contents: NDArray[np.bool_], ridge: float | None = None) -> Line:
        """Return the line that these contents teach, with the ridge that suits them."""
        chosen = self.ridge(contents) if ridge is None else ridge
        return fit(*self._part(contents), chosen)

    def ridge(self, contents: NDArray[np.bool_]) -> float:
        """Return the ridge by which parts of these contents say most of the others."""
        losses = dict.fromkeys(RIDGES, 0.0)
        for train, test in self._splits(contents):
            rows, ones, shares = self._part(test)
            for ridge, line in path(*self._part(train), RIDGES):
                losses[ridge] += loss(line.logits(rows), ones, shares)
        return min(RIDGES, key=lambda ridge: (losses[ridge], -ridge))

    def _splits(self, contents: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        folds = np.unique(self.folds[contents])
        for fold in folds:
            apart = self.folds == fold
            yield contents & ~apart, contents & apart

    def _part(self, contents: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_], Array]:
        """Return the rows of these contents, which of them stood, and how much each counts."""
        chosen = contents[self.owners]
        owners = self.owners[chosen]
        stands = self.stands[owners]
        shares = np.zeros(len(owners))
        for i, count in enumerate(_COUNTS.values()):
            of = int((self.stands[contents] == i).sum())
            shares[stands == i] = count / max(of, 1)
        shares /= np.bincount(owners, minlength=self.contents)[owners]
        return self.rows[chosen], stands != 0, shares / shares.sum()

    def turned_back(self, line: Line) -> Line:
        """Return the line in the embeddings' own numbers."""
        return line if self.turn is None else Line(line.weights @ self.turn, line.bias)


def _some(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return some of a content's rows, from all over it."""
    if len(vectors) <= MOST_FRAMES:
        return vectors
    chosen: NDArray[Any] = vectors[np.linspace(0, len(vectors) - 1, MOST_FRAMES).round().astype(int)]
    return chosen
