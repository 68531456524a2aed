"""What the ledger can prove about a content, and which reports about it were sent; a part of its ports."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from fedi_safety.core.classes import dataclass


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """One event as the chain hashes it: `hash` is the SHA-256 of `prev_hash` followed by `body` in ASCII.

    `intact` says whether that holds here. That no entry beside it was altered only the whole chain shows.
    """

    seq: int
    at: float
    kind: str
    body: str
    prev_hash: bytes
    hash: bytes
    intact: bool


@dataclass(frozen=True, slots=True)
class Custody:
    """The events of one content, oldest first, and how long the chain was then, with its last hash."""

    length: int
    head: bytes
    entries: tuple[ChainEntry, ...]


class SubmissionState(StrEnum):
    """How far the report got that was sent last."""

    BEGUN = "begun"  # about to be sent; whether it arrived nobody knows
    OPENED = "opened"  # the authority gave it a number; it counts only when it is finished
    DONE = "done"
    FAILED = "failed"  # refused or never arrived: there is no such report


@dataclass(frozen=True, slots=True)
class Submission:
    """One step of a report to an authority. `document` is the SHA-256 of what was sent, in hex; `reference` its number
    there; `code` and `detail` what the authority answered.
    """

    authority: str
    environment: str
    state: SubmissionState
    document: str
    reference: str = ""
    code: int | None = None
    detail: str = ""
    at: float = 0.0  # given by the ledger


class EvidenceReader(Protocol):
    """What evidence is made from; reads only. See `LedgerReader`."""

    def custody(self, sha256: bytes) -> Custody:
        """Return the events of a content, those of its plans and objects among them."""
        ...

    def contents_of_run(self, run: int) -> list[bytes] | None:
        """Return the contents that a run condemned, or planned or began to remove; None where there is no such run."""
        ...

    def submissions(self, sha256: bytes) -> Sequence[Submission]:
        """Return the steps of all reports about a content, oldest first."""
        ...


class EvidenceKeeper(Protocol):
    """What only a person has done: a report is sent. Each step is one event in the chain."""

    def note_submission(self, sha256: bytes, step: Submission, known: int) -> None:
        """Record a step, durably when this returns; the first one before anything is sent.

        Raises `LedgerUsageError` where there are not just `known` steps: somebody else is reporting it meanwhile.
        """
        ...
