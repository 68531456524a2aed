"""Stored scores by the page, and what decides contents anew from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, Protocol

from fedi_safety.core.types import Judgement, Scores

Array = Any
"""An array of numpy's, which passes by here; the core does not import numpy."""

RedecideFn = Callable[[bytes, Scores], Judgement | None]
"""Gets a content's SHA-256 and its scores; answers None where these do not suffice."""


class PictureScores(Protocol):
    """The pictures of those contents of a page that show several, content by content."""

    @property
    def owners(self) -> Array:
        """By picture, the place of its content on the page, in ascending order."""
        ...

    @property
    def values(self) -> Array:
        """The highest values over a picture's frames, (pictures, names); NaN where some frame was not measured."""
        ...


class SecondPass(IntEnum):
    """Whether a second pass could show more of a content, or did."""

    POSSIBLE = 0  # a second pass could show more of it
    OVER = 1  # no further pass would
    MADE = 2  # some frames count otherwise, or may do so, as a second pass alone showed them: decided one by one


NoRuleHoldsFn = Callable[[Sequence[bytes], Sequence[str], Array, PictureScores | None, Array | None], Array]
"""Gets hashes, names of signals and their values by the page; says for which the scores suffice and no rule holds.

The values are float64, (contents, names), the highest over all frames, with NaN for what was not measured; then the
pictures of contents that show several, and a `SecondPass` for each content. The answer is a bool for each content.
"""


class Rescorer(Protocol):
    """Computes the signals of one detector from embeddings, as they are defined now."""

    @property
    def detector(self) -> str:
        """The detector's name."""
        ...

    @property
    def version(self) -> str:
        """The detector's version, as it would be recorded now."""
        ...

    @property
    def embedding_model(self) -> str:
        """Whose embeddings it takes."""
        ...

    @property
    def signals(self) -> tuple[str, ...]:
        """What it gives."""
        ...

    def standing(self, version: str) -> frozenset[str]:
        """Return which of its signals mean in this recorded version what they mean now."""
        ...

    def owns(self, signal: str) -> bool:
        """Whether only this detector can have given the signal, now or under earlier definitions."""
        ...

    def shares(self, vectors: Array) -> Array:
        """Return its signals for embeddings of unit length: float32, (frames, signals)."""
        ...


class ScorePage(Protocol):
    """Some contents and their scores."""

    @property
    def cells(self) -> Mapping[str, Sequence[Any]]:
        """By name (`sha256`, `verdict`, `objects`, ...) a value for each content."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """The signals that `values` has."""
        ...

    @property
    def values(self) -> Array:
        """The scores, as `NoRuleHoldsFn` takes them."""
        ...

    @property
    def pictures(self) -> PictureScores | None:
        """The pictures of contents that show several; None where there are none on the page."""
        ...

    @property
    def second_passes(self) -> Array:
        """A `SecondPass` for each content."""
        ...

    @property
    def one_picture(self) -> Array:
        """Of each content whether it is known to show one picture, of which `values` tell everything."""
        ...

    @property
    def computed(self) -> int:
        """Of how many contents signals were computed from embeddings."""
        ...

    def scores(self, at: int) -> Scores:
        """Return one content's scores."""
        ...

    def judgement(self, at: int) -> Judgement:
        """Return one content's judgement in force."""
        ...
