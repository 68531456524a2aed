"""What a gate and our own workers say to each other, as JSON that is checked before anything of it is believed.

Answers carry the judgement with its reasons and scores, so that the gate's ledger can keep it (I7). Jobs come as one
line of JSON, followed by the bytes of the media one after another.
"""

from __future__ import annotations

import binascii
import math
from contextlib import suppress
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedi_safety.core.enums import MediaType, Verdict
from fedi_safety.core.explained.text import MAX_TEXT, explanation_from, text_of
from fedi_safety.core.frames.scores import ONE_PICTURE, FrameScores
from fedi_safety.core.frames.signals import BARE_POLICY
from fedi_safety.core.known.packing import (
    DESCRIPTOR,
    MAX_PICTURES,
    ROW,
    checked,
    packed,
    packed_descriptors,
    unpacked_descriptors,
)
from fedi_safety.core.pictures import same_moment
from fedi_safety.core.types import Content, Explanation, Hashes, Judgement, Match, RuleHit, Scores, Signal
from fedi_safety.judging.types import Answer, Unjudged

WORK_TYPE = "application/vnd.fedi-safety.work"
"""The media type of jobs with their bytes."""

MAX_ROOM = 64
MAX_WAIT_S = 30.0
MAX_LEASES = 256
_MAX_WORDS = 1000
_MAX_MATCHES = 20
_MAX_EXPLANATION = 4 * MAX_TEXT  # characters: a newer worker may have more to tell
_MAX_PICTURES = 4 * ROW.size * MAX_PICTURES // 3 + 4  # characters
_MAX_DESCRIPTORS = 4 * DESCRIPTOR.size * MAX_PICTURES // 3 + 4
_MAX_TABLE = 400_000  # characters: twice what 256 frames, on white and on black, with as many tiles have to say

Word = Annotated[str, Field(max_length=200)]
LeaseId = Annotated[str, Field(min_length=1, max_length=64)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1 << 40)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # a newer half may say more


class TakeRequest(_Message):
    """A worker asks for up to `room` jobs and waits up to `wait_s` for the first."""

    worker: Word = ""
    room: int = Field(1, ge=0, le=MAX_ROOM)
    wait_s: float = Field(0.0, ge=0, le=MAX_WAIT_S, allow_inf_nan=False)


class JobHead(_Message):
    """One job of a `JobsHead`; its bytes follow. `left_s` is how long somebody waits for it still."""

    id: LeaseId
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    type: Word = ""
    left_s: float = Field(allow_inf_nan=False)


class JobsHead(_Message):
    """The line before the bytes. Leases must be renewed or answered within `lease_s`."""

    jobs: list[JobHead] = Field(max_length=MAX_ROOM)
    lease_s: float = Field(gt=0, allow_inf_nan=False)
    stopping: bool = False  # the gate is about to end: ask again after a while


class RenewRequest(_Message):
    """A worker still has these jobs in hand."""

    worker: Word = ""
    holding: list[LeaseId] = Field(max_length=MAX_LEASES)


class RenewAnswer(_Message):
    """Jobs that nobody waits for any more."""

    over: list[LeaseId]


class MatchWord(_Message):
    """An entry of a list of known images that a signal comes from."""

    list: Word
    entry: Word
    distance: int = Field(0, ge=0, le=256)
    turn: Word = ""


class ContentWord(_Message):
    """What a worker measured of one content; its hash and size the gate knows itself."""

    media_type: MediaType
    width: Count
    height: Count
    frames: Count
    signals: dict[Word, tuple[Share, Count]] = Field(max_length=500)
    detectors: dict[Word, Word] = Field(max_length=100)
    where: dict[Word, str] = Field(default_factory=dict, max_length=500)  # by signal, which frame that is in words
    matches: dict[Word, list[MatchWord]] = Field(default_factory=dict, max_length=500)  # by signal
    partly: str | None = Field(None, max_length=1000)
    total: Count = 0
    decoder: str = Field("", max_length=100)
    # What each frame was given (core/frame_scores), in base64; empty: all is one picture; absent: an older worker.
    frame_scores: str | None = Field(None, max_length=_MAX_TABLE)
    # The same with which frames a second look showed, and whether there is more to see; absent: an older worker.
    frame_table: str | None = Field(None, max_length=_MAX_TABLE)
    # What it rests on (core/explained/text); absent: plainly clear, or an older worker.
    explanation: str | None = Field(None, max_length=_MAX_EXPLANATION)
    # What it is found again by (core/known/packing), in base64; absent: an older worker.
    sha1: str | None = Field(None, pattern="^[0-9a-f]{40}$")
    md5: str | None = Field(None, pattern="^[0-9a-f]{32}$")
    pictures: str = Field("", max_length=_MAX_PICTURES)
    descriptor_model: Word = ""
    descriptors: str = Field("", max_length=_MAX_DESCRIPTORS)

    @model_validator(mode="after")
    def _agrees(self) -> ContentWord:
        highest: dict[str, float] = {}
        self.hashes()
        table = self.table()
        for row in [] if table is None else table.rows():
            for name, value in row.signals.items():
                highest[name] = max(value, highest.get(name, 0.0))
        if any(name not in self.signals or self.signals[name][0] != value for name, value in highest.items()):
            raise ValueError("the frames say otherwise than the signals")
        return self

    def hashes(self) -> Hashes | None:
        """Return what it is found again by; None where that is not told. Raises `ValueError`."""
        if self.sha1 is None or self.md5 is None:
            return None
        pictures = checked(binascii.a2b_base64(self.pictures, strict_mode=True))
        descriptors = None
        if self.descriptor_model:
            rows = binascii.a2b_base64(self.descriptors, strict_mode=True)
            descriptors = unpacked_descriptors(self.descriptor_model, rows)
        return Hashes(bytes.fromhex(self.sha1), bytes.fromhex(self.md5), pictures, descriptors)

    def table(self) -> FrameScores | None:
        """Return what each frame was given; None where that is not told. Raises `ValueError`."""
        if self.frame_table is not None:
            return FrameScores.checked(binascii.a2b_base64(self.frame_table, strict_mode=True))
        if self.frame_scores is None:
            return ONE_PICTURE if self.frames < 2 else None
        return FrameScores.checked(binascii.a2b_base64(self.frame_scores, strict_mode=True))

    def explained(self) -> Explanation | None:
        """Return what it rests on; None where that is not told, or not as this version tells it.

        No verdict hangs on that.
        """
        with suppress(ValueError):
            return None if self.explanation is None else explanation_from(self.explanation)
        return None

    def signal(self, name: str, value: float, frame: int) -> Signal:
        """Return one of its signals as the core knows it."""
        matches = tuple(Match(m.list, m.entry, m.distance, m.turn) for m in self.matches.get(name, ())[:_MAX_MATCHES])
        return Signal(value, frame, self.where.get(name, "")[:100], matches)


class Result(_Message):
    """What became of one job: a judgement, or why there is none; `returned` hands it back unbegun."""

    id: LeaseId
    outcome: Literal["judged", "unjudged", "returned"]
    judgement: Judgement | None = None
    content: ContentWord | None = None
    reason: Unjudged | None = None
    detail: str = Field("", max_length=1000)

    @model_validator(mode="after")
    def _one_thing(self) -> Result:
        if (self.outcome == "judged") != (self.judgement is not None):
            raise ValueError("a judgement, exactly if the outcome is `judged`")
        if (self.outcome == "unjudged") != (self.reason is not None):
            raise ValueError("a reason, exactly if the outcome is `unjudged`")
        if self.judgement is not None:
            _check(self.judgement)
        return self

    def answer(self, sha256: bytes, size: int, by: str) -> Answer:
        """Return it as the answer to the upload with this hash and size."""
        if self.reason is not None:
            return Answer("unjudged", sha256, by, self.reason, detail=self.detail[:200])
        assert self.judgement is not None
        content = None
        if _joins_frames(self.judgement, self.content):
            return Answer("unjudged", sha256, by, Unjudged.ENGINE_FAILED, detail=_OLDER)
        if (word := self.content) is not None:
            signals = {name: word.signal(name, value, frame) for name, (value, frame) in word.signals.items()}
            scores = Scores(signals, dict(word.detectors), frames=word.table(), explanation=word.explained())
            shape = (size, word.media_type, word.width, word.height, word.frames)
            content = Content(sha256, *shape, scores, word.partly, word.total, word.decoder, word.hashes())
        outcome: Literal["block", "clear"] = "block" if self.judgement.verdict is Verdict.BLOCK else "clear"
        return Answer(outcome, sha256, by, judgement=self.judgement, content=content, detail=self.detail[:200])


class ResultsRequest(_Message):
    """What became of some jobs."""

    worker: Word = ""
    results: list[Result] = Field(max_length=MAX_LEASES)


class ResultsAnswer(_Message):
    """Which answers counted, and which came too late."""

    accepted: list[LeaseId]
    late: list[LeaseId]


_OLDER = "the worker joins what different frames show; bring gate and worker to one version"


def _joins_frames(judgement: Judgement, content: ContentWord | None) -> bool:
    """Whether an older worker condemned what several frames show together, of which none need show all.

    Those do not tell what each frame was given. Where a rule's factors come from views of one moment, it holds there.
    """
    if content is None or content.table() is not None or judgement.verdict is Verdict.CLEAR:
        return False
    severest = [hit for hit in judgement.reasons if hit.verdict is judgement.verdict]
    return bool(severest) and not any(same_moment(factor.frame for factor in hit.factors) for hit in severest)


def _check(judgement: Judgement) -> None:
    """Refuse what the ledger could not keep, or should not."""
    words = [judgement.policy, *judgement.labels]
    for reason in judgement.reasons:
        words += [reason.rule, reason.label or ""]
        for hit in reason.factors:
            words += [hit.factor, hit.signal, *(word for m in hit.matches for word in (m.list, m.entry))]
            if not (math.isfinite(hit.threshold) and math.isfinite(hit.value)):
                raise ValueError("a number is not finite")
    if len(words) > _MAX_WORDS or any(len(word) > 200 for word in words):
        raise ValueError("the judgement is too long")


def result_of(lease_id: str, answer: Answer) -> Result:
    """Return what a worker tells the gate of its judge's answer."""
    detail = answer.detail[:1000]
    if answer.reason is not None:
        return Result(id=lease_id, outcome="unjudged", reason=answer.reason, detail=detail)
    word = None
    if (content := answer.content) is not None:
        hashes = content.hashes
        signals = {name: (signal.value, signal.frame) for name, signal in content.scores.signals.items()}
        word = ContentWord(
            media_type=content.media_type,
            width=content.width,
            height=content.height,
            frames=content.frames,
            signals=signals,
            detectors=dict(content.scores.detectors),
            where={name: signal.where for name, signal in content.scores.signals.items() if signal.where},
            matches={
                name: [
                    MatchWord(list=m.list, entry=m.entry, distance=m.distance, turn=m.turn)
                    for m in signal.matches[:_MAX_MATCHES]
                ]
                for name, signal in content.scores.signals.items()
                if signal.matches
            },
            partly=None if content.partly is None else content.partly[:1000],
            total=content.total,
            decoder=content.decoder,
            frame_scores=_table_text(content.scores.frames and content.scores.frames.as_older()),
            frame_table=_table_text(content.scores.frames) if content.scores.frames != ONE_PICTURE else None,
            explanation=None if content.scores.explanation is None else text_of(content.scores.explanation),
            sha1=None if hashes is None else hashes.sha1.hex(),
            md5=None if hashes is None else hashes.md5.hex(),
            pictures="" if hashes is None else _base64(packed(hashes.pictures)),
            descriptor_model="" if hashes is None or hashes.descriptors is None else hashes.descriptors.model,
            descriptors=""
            if hashes is None or hashes.descriptors is None
            else _base64(packed_descriptors(hashes.descriptors)),
        )
    return Result(id=lease_id, outcome="judged", judgement=answer.judgement, content=word, detail=detail)


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _table_text(table: FrameScores | None) -> str | None:
    text = "" if table is None else binascii.b2a_base64(table.data, newline=False).decode()
    return None if table is None or len(text) > _MAX_TABLE else text


def bare_judgement(*, block: bool, nsfw: bool) -> Judgement:
    """Return the judgement that stands for the bare word of a pictrs-safety worker."""
    reasons = (RuleHit(BARE_RULE, Verdict.BLOCK, None, ()),) if block else ()
    return Judgement(Verdict.BLOCK if block else Verdict.CLEAR, ("nsfw",) if nsfw else (), reasons, BARE_POLICY)


BARE_RULE = "the worker's word"
