"""Which contents meet lists of known images, and deciding them anew where lists change; part of the ledger's ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from fedi_safety.core.classes import dataclass
from fedi_safety.core.types import Judgement, Object, Scores

TURNED = "turned"
"""In the settings of a run: the list that they name turned to review by itself."""


@dataclass(frozen=True, slots=True)
class Rematch:
    """A content as the lists of now make it: its scores, and the policy's word on them; None where they do not tell."""

    sha256: bytes
    scores: Scores
    judgement: Judgement | None


@dataclass(frozen=True, slots=True)
class Turned:
    """When a list that blocked turned to review by itself (epoch seconds), and how many of its hits were dismissed."""

    at: float
    contents: int
    dismissed: int


@dataclass(frozen=True, slots=True)
class ListHits:
    """How many contents meet a list's entries, and how many of them a person confirmed, or dismissed.

    `turned`: the last time that it turned to review by itself. People may have set it back since.
    """

    contents: int = 0
    confirmed: int = 0
    dismissed: int = 0
    turned: Turned | None = None


class MatchReader(Protocol):
    """Asks which contents meet lists; reads only. See `LedgerReader`."""

    def matched(self) -> Iterator[int]:
        """Yield the contents, by their numbers here, whose scores name an entry of a list, dismissed ones as well."""
        ...

    def had_lists(self) -> bool:
        """Whether what was judged was ever compared with a list, or met one."""
        ...

    def hits_by_list(self) -> Mapping[str, ListHits]:
        """Count the contents that meet entries, by list. Contents count that are removed already."""
        ...

    def dismissals(self) -> Iterator[bytes]:
        """Yield every content, by its SHA-256, that stands dismissed by a person."""
        ...

    def objects_of(self, sha256s: Sequence[bytes]) -> Iterator[tuple[str, Object, bytes]]:
        """Yield the judged objects that have these contents: their store's URL, themselves, their content."""
        ...


class MatchLedger(MatchReader, Protocol):
    """What is written where the lists change. See `Ledger`."""

    def turn_list(self, run: int, name: str, hits: ListHits) -> None:
        """Record that a list turns to review by itself, because so many of its hits were dismissed.

        The settings of this run name the list, and have `TURNED`.
        """
        ...

    def rematch(self, run: int, found: Sequence[Rematch]) -> None:
        """Put these scores and judgements in force, in one transaction, and close the plans of what is not condemned.

        Where there is no judgement the content counts as undecided and is read again by the next scan; its old verdict
        stands until then. What a person dismissed stays as it is, but for its scores.
        """
        ...
