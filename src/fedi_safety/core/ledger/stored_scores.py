"""Stored scores by the page, and what decides contents anew from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from fedi_safety.core.types import Judgement, Scores

Array = Any
"""An array of numpy's, which passes by here; the core does not import numpy."""

RedecideFn = Callable[[bytes, Scores], Judgement | None]
"""Gets a content's SHA-256 and its scores; answers None where these do not suffice."""

Share = tuple[int, int]
"""Of stored contents those of one process: its number, from 0, and how many processes there are."""

WHOLE: Share = (0, 1)


class Look(Protocol):
    """What one look showed of some contents, picture by picture, content by content."""

    @property
    def starts(self) -> Array | None:
        """Where each content's pictures begin, of which it has at least one; None where each has one."""
        ...

    @property
    def values(self) -> Array:
        """The highest values over a picture's frames, (pictures, names); NaN where some frame was not measured."""
        ...

    @property
    def streams(self) -> Array:
        """By picture, the stream that it is of."""
        ...

    @property
    def times_ms(self) -> Array:
        """By picture, milliseconds from the beginning, -1 where it has no time."""
        ...

    @property
    def partial(self) -> Array:
        """By content, whether `known` alone tells of it, and its pictures only what is known to hold together."""
        ...

    @property
    def known(self) -> Array:
        """By content, the highest values of all its frames, (contents, names); read where it is `partial`."""
        ...


class Looks(Protocol):
    """How the contents of a page were looked at: each is in one of the three."""

    @property
    def plain(self) -> tuple[Array, Look]:
        """Contents of one picture, by place on the page, with that."""
        ...

    @property
    def once(self) -> tuple[Array, Look]:
        """Contents of several pictures, or of which only a part is known, by place on the page, with what was seen."""
        ...

    @property
    def twice(self) -> tuple[Array, Look, Look, Look]:
        """Contents that a second look was made at, with the `first`, `whole` and `every` of `core.pictures.Passes`."""
        ...

    @property
    def closed(self) -> Array:
        """By content of the page, whether no further look would show more."""
        ...


UNDECIDED = -1
"""In the place of a verdict's rank: the scores do not tell."""

ONE_BY_ONE = -2
"""In the place of a verdict's rank: the page does not tell, and the content is to be asked about by itself."""


class Outcomes(Protocol):
    """What becomes of the contents of a page."""

    @property
    def words(self) -> Array:
        """By content the rank of its verdict, or `UNDECIDED`, or `ONE_BY_ONE`: int8."""
        ...

    @property
    def reasoned(self) -> Array:
        """By content whether some rule holds."""
        ...


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
    def cells(self) -> Mapping[str, Any]:
        """By name (`sha256`, `verdict`, `objects`, ...) a value for each content."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """The signals that `values` has."""
        ...

    @property
    def values(self) -> Array:
        """The highest of all frames: float64, (contents, names), with NaN for what was not measured."""
        ...

    @property
    def ranks(self) -> Array:
        """By content the rank of the verdict in force: int8."""
        ...

    @property
    def looks(self) -> Looks:
        """What each look showed of the contents."""
        ...

    @property
    def computed(self) -> int:
        """Of how many contents signals were computed from embeddings."""
        ...

    def scores(self, at: int) -> Scores:
        """Return one content's scores."""
        ...


OutcomesFn = Callable[[ScorePage], Outcomes]
"""Decides a page at once, to what deciding its contents one by one comes to."""
