"""What the halves of the gate say to each other: an upload, the answer to it, and who may give one.

Three answers inside (`clear`, `block`, `unjudged`); what an unjudged upload means outside is `gate/responses`' to say.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import Literal, Protocol

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import Verdict
from fedi_safety.core.types import Content, Judgement

Outcome = Literal["clear", "block", "unjudged"]


class Unjudged(StrEnum):
    """Why an upload was answered without a verdict. Each has a policy of its own (`accept` or `refuse`)."""

    NO_WORKER = "no_worker"  # only workers judge, and none has asked for work lately
    QUEUE_FULL = "queue_full"
    DEADLINE = "deadline"  # no verdict within the gate's own time
    STOPPING = "stopping"  # the gate was being stopped
    UNSUPPORTED = "unsupported"  # media of a kind that is not decoded here
    UNOPENED = "unopened"  # only predecessors' workers are there, which open no media of this kind
    NOT_MEDIA = "not_media"
    EMPTY = "empty"
    DECODER_FAILED = "decoder_failed"  # corrupt, truncated, too large or too slow to decode, or the decoder died
    ENGINE_FAILED = "engine_failed"  # a detector or a worker failed

    @property
    def passing(self) -> bool:
        """Whether another judge may still say something: the upload itself was not found wanting."""
        return self in _PASSING


_PASSING = frozenset(
    {Unjudged.NO_WORKER, Unjudged.QUEUE_FULL, Unjudged.STOPPING, Unjudged.ENGINE_FAILED, Unjudged.UNOPENED}
)


@dataclass(frozen=True, slots=True)
class Upload:
    """One medium that somebody waits for, whole in memory. Times are `time.monotonic()`.

    Where a queue is full it waits before it until `patience`; 0: not at all.
    """

    id: str  # the request's id: 32 hex digits, sorted by time; also the job's id in the queue for workers
    sender: str  # who asked, for logs and figures: the name of a token, or a network
    data: bytes = field(repr=False)
    claimed_type: str | None  # what the sender says it is; never trusted, kept for the v1.2.2 file name
    sha256: bytes
    received: float
    deadline: float
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an upload. `judgement` is set unless `unjudged`; `reason` only if `unjudged`.

    `content` carries the scores where the judge measured them, so that the ledger can keep the judgement (I7); a
    predecessor's worker gives a bare word and leaves it None: that is never recorded as a judgement of ours.
    `detail` is a short phrase without media content, for the log.
    """

    outcome: Outcome
    sha256: bytes
    by: str  # "engine", "ledger", or the worker's name
    reason: Unjudged | None = None
    judgement: Judgement | None = None
    content: Content | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        """Refuse an answer that says two things."""
        if (self.outcome == "unjudged") != (self.reason is not None) or (self.outcome == "unjudged") != (
            self.judgement is None
        ):
            raise ValueError(f"answer {self.outcome} with reason {self.reason} and judgement {self.judgement}")


def unjudged(sha256: bytes, by: str, reason: Unjudged, detail: str = "") -> Answer:
    """Return the answer that there is no verdict."""
    return Answer("unjudged", sha256, by, reason, detail=detail)


def judged(judgement: Judgement, content: Content, by: str) -> Answer:
    """Return the answer that a verdict makes: only `block` refuses."""
    outcome: Outcome = "block" if judgement.verdict is Verdict.BLOCK else "clear"
    return Answer(outcome, content.sha256, by, None, judgement, content)


class Judge(Protocol):
    """Something that judges uploads: the engine in this process, or workers elsewhere. Called in the event loop."""

    async def judge(self, upload: Upload) -> Answer:
        """Answer by `upload.deadline` (a little before it: the answer must still be sent).

        Never raises because of the upload. If the caller is cancelled (the uploader went away), the work is dropped
        where it has not begun. A queue that is full answers `unjudged`/`queue_full` when the upload's patience is over.
        """
        ...

    def ready(self) -> str | None:
        """Return None when uploads can be judged, else the code for `/readyz` (`models_loading`, `no_worker`)."""
        ...

    async def start(self) -> None:
        """Begin (load models, start threads or timers). Returns at once; `ready` says when it is done."""
        ...

    async def stop(self) -> None:
        """Take nothing more, finish or hand back what is in hand, and return when that is done."""
        ...
