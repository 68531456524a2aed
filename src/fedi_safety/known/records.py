"""What the catalog answers with: how an import went, what a list holds. Nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from fedi_safety.core.classes import dataclass
from fedi_safety.core.known.effects import LEAST_QUALITY
from fedi_safety.core.known.types import HashKind, KnownList

FEWEST_BITS = 100
"""Photographs have 128 of 256 bits set. What has fewer than this is a picture with nearly nothing in it."""

WHOLE_BITS = 128
"""A PDQ with fewer bits set is of a drawing, near to many others: it is met by itself alone."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A publisher's word that an entry is to go.

    It is named by its `id`, whatever kinds of hashes it has unless `kind` says one; or by kind and hash where it has no
    id. `at_s` is when that was said, in seconds since 1970 in UTC: what is younger stays, wherever it stands. Without
    it what comes after stays. `again`: what follows takes its place, and nothing is withdrawn but what of it is left.
    """

    id: str = ""
    at_s: float | None = None
    kind: HashKind | None = None
    hash: bytes = b""
    clip: str = ""
    again: bool = False


class Refusal(StrEnum):
    """Why an entry is not taken onto a list."""

    LENGTH = "not as long as a hash of its kind"
    BLANK = f"fewer than {FEWEST_BITS} of 256 bits set, as in the hash that all blank pictures share"
    QUALITY = f"quality below {LEAST_QUALITY}"
    VALUES = "a text or a number in it that cannot be"


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the entries that were given.

    `accepted` are on the list now, each once; of these `added` were not there before, and `replaced` took the place of
    an entry of the same name, of the list as it was or earlier among those given. `removed` are on it no more.
    `withdrawn` were taken back by what was given itself.
    """

    accepted: int = 0
    added: int = 0
    replaced: int = 0
    removed: int = 0
    withdrawn: int = 0
    refused: Mapping[Refusal, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListStatistics:
    """A list and how much is on it. `exact_only` of its PDQs are met by themselves alone; `expired` meet nothing.

    `changed_s` is when it was last put, changed or described, in seconds since 1970 in UTC.
    """

    list: KnownList
    changed_s: float
    entries: Mapping[HashKind, int]
    exact_only: int = 0
    expired: int = 0
