"""Has uploads judged within their deadline, and writes down what must be known before the answer is told.

Every way in asks here. Who may ask and how an upload comes in is `app`'s and the proxy's to say, what an answer means
outside `responses`'.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.ledger.uploads import (
    NOT_DECODED,
    NOT_HASHED,
    Likeness,
    Move,
    Told,
    UploadNote,
    UploadState,
)
from fedi_safety.core.sightings import Sighting
from fedi_safety.gate import responses
from fedi_safety.gate.admission import Caller
from fedi_safety.gate.body import Body
from fedi_safety.gate.parts import Parts
from fedi_safety.gate.responses import UploadResponse
from fedi_safety.gate.stream import left
from fedi_safety.judging import logs
from fedi_safety.judging.types import Answer, Unjudged, Upload, unjudged

log = logging.getLogger(__name__)

BODY_SHARE = 0.6
"""Of a deadline, at most, for what comes before the judging: the body to arrive, a place in the queue to be free."""

_ANSWER_S = 0.1  # of a deadline, for the answer itself
_SNIFFED_BYTES = 4096
_BY = "gate"
_OWN = frozenset({_BY, "engine", "ledger", "memory"})  # all others are workers
_OF_OVERLOAD, _PATIENT_S = frozenset({Unjudged.QUEUE_FULL, Unjudged.DEADLINE}), 2.0
# What was found wanting in the upload itself: another try by this version would end the same.
_LASTING = frozenset({Unjudged.UNSUPPORTED, Unjudged.NOT_MEDIA, Unjudged.EMPTY, Unjudged.DECODER_FAILED})


@dataclass(frozen=True, slots=True)
class Taken:
    """An upload that is whole in memory. `at` is epoch seconds, the other times are `time.monotonic()`.

    `turn` is whose turn it takes where many wait: of a web server's callers each has one of its own. `anew`: the server
    that it goes to may write it anew.
    """

    id: str
    at: float
    caller: Caller
    turn: str
    body: Body
    started: float
    deadline: float
    patience: float
    anew: bool = False


class Answering:
    """Answers uploads. It belongs to one event loop."""

    def __init__(self, parts: Parts) -> None:
        """Ask the judge of these parts, and write with their writer."""
        self._parts = parts

    async def answers(self, request: Request, taken: Sequence[Taken]) -> list[Answer] | None:
        """Have these judged side by side; None if the uploader went away meanwhile."""
        with self._parts.in_hand:
            return await self._answered(request, taken)

    async def _answered(self, request: Request, taken: Sequence[Taken]) -> list[Answer] | None:
        judging = asyncio.gather(*(self._answer(upload) for upload in taken))
        leaving = asyncio.ensure_future(left(request))
        try:
            either: list[asyncio.Future[Any]] = [judging, leaving]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return judging.result() if judging.done() else None
        finally:
            for task in (judging, leaving):
                task.cancel()
            await asyncio.gather(judging, leaving, return_exceptions=True)

    async def _answer(self, taken: Taken) -> Answer:
        """Have it judged.

        Trouble here is no reason to let in what is no medium: that is told of every upload, whatever the trouble is.
        """
        parts, body = self._parts, taken.body
        if not body.size:
            return unjudged(body.sha256, _BY, Unjudged.EMPTY)
        until = taken.deadline - parts.record_s
        upload = Upload(
            taken.id, taken.turn, body.data, body.claimed_type, body.sha256, taken.started, until, taken.patience
        )
        answer = await self._judged(upload)
        if answer.reason is None or not may_be_judged(answer):
            return answer
        try:
            parts.sniff(body.data[:_SNIFFED_BYTES])
        except Unscannable as error:
            reason = Unjudged.UNSUPPORTED if error.reason is Reason.UNSUPPORTED else Unjudged.NOT_MEDIA
            return unjudged(body.sha256, _BY, reason, error.detail)
        if responses.accepts(parts.gate.unjudged, answer.reason):
            self._later(upload)
        return answer

    async def _judged(self, upload: Upload) -> Answer:
        """Ask the judge."""
        if self._parts.stopping:
            return unjudged(upload.sha256, _BY, Unjudged.STOPPING)
        try:
            return await self._parts.judge.judge(upload)
        except Exception as error:  # noqa: BLE001 - a bug in judging is no verdict, and the uploader gets an answer
            log.error("judging failed: %s", logs.named(error))
            return unjudged(upload.sha256, _BY, Unjudged.ENGINE_FAILED, type(error).__name__)

    def _later(self, upload: Upload) -> None:
        """Keep in memory what will be let in without a verdict, if there is room, to be judged when there is time."""
        if self._parts.engine is not None and not self._parts.stopping:
            self._parts.engine.later(upload)

    async def record(
        self, taken: Taken, answer: Answer, response: UploadResponse, sighting: Sighting | None = None
    ) -> UploadResponse:
        """Write a refusal, or a waiting upload, down before it is told. What passes with a verdict needs no note.

        `sighting` tells whose it is, where that was learnt. Returns what is to be told, which is a refusal where a
        waiting upload could not be written down.
        """
        self.remember(answer)
        if response.accepted and not response.owed:
            return response
        state = UploadState.REFUSED
        if response.owed:
            state = UploadState.HELD if answer.reason in _LASTING else UploadState.OWED
        note = _note(taken, answer, response, state, self._parts.backlog.decoder, sighting)
        patient = answer.reason in _OF_OVERLOAD and taken.deadline - time.monotonic() > _PATIENT_S
        writing = self._parts.writer.enqueue_note(note, patient=patient)
        if await _written(writing, taken.deadline):
            return response
        if not response.owed:
            return response
        other = responses.unrecorded(response, self._parts.gate.unjudged)
        if other.accepted:
            _when_failed(writing, lambda: self._parts.writer.enqueue_kept_note(note))
        else:
            # The writing may still succeed behind our back; then it is no waiting upload.
            _when_done(writing, lambda: self._parts.writer.enqueue_moves([Move(taken.id, UploadState.REFUSED)]))
        return other

    def remember(self, answer: Answer) -> None:
        """Keep a worker's verdict; the engine records its own."""
        if answer.judgement is not None and answer.content is not None and answer.by not in _OWN:
            self._parts.writer.enqueue_verdict(answer.content, answer.judgement, True)

    def tell(self, taken: Taken, answer: Answer, response: UploadResponse) -> None:
        """Count an answer and write its line into the log."""
        verdict = "none" if answer.judgement is None else answer.judgement.verdict.value
        by = answer.by if answer.by in _OWN else "worker"
        counted = "accepted" if response.accepted else "refused"
        self._parts.metrics.answers.labels(verdict, answer.reason or "", by, counted).inc()
        self._parts.metrics.seconds.labels(verdict).observe(time.monotonic() - taken.started)
        rules = None if answer.judgement is None else ", ".join(hit.rule for hit in answer.judgement.reasons) or None
        logs.note(
            counted,
            level=logging.INFO if response.accepted and not response.owed else logging.WARNING,
            id=taken.id,
            sender=taken.caller.name,
            code=response.code,
            rules=rules,
            by=answer.by,
            bytes=taken.body.size,
            sha256=answer.sha256.hex(),
            seconds=logs.since(taken.started),
            detail=answer.detail or None,
        )


def may_be_judged(answer: Answer) -> bool:
    """Whether an upload without a verdict was not found wanting itself: it lacked a judge, or time."""
    return answer.reason is not None and (answer.reason.passing or answer.reason is Unjudged.DEADLINE)


def _note(
    taken: Taken,
    answer: Answer,
    response: UploadResponse,
    state: UploadState,
    decoder: str | None,
    sighting: Sighting | None,
) -> UploadNote:
    body = taken.body
    likeness = None
    if taken.anew and state.open:
        likeness = Likeness(why=NOT_HASHED if state is UploadState.OWED else NOT_DECODED)
    rules = "" if answer.judgement is None else ", ".join(hit.rule for hit in answer.judgement.reasons)
    return UploadNote(
        taken.id,
        taken.at,
        taken.caller.name,
        state,
        response.code,
        answer.by,
        answer.sha256,
        body.size,
        body.claimed_type,
        detail=rules or answer.detail,
        decoder=decoder if state is UploadState.HELD else None,
        told=Told(taken.caller.address, body.file_name, sighting, likeness),
    )


async def _written(writing: Future[None], deadline: float) -> bool:
    """Wait until it is durable; return false where it is not by the deadline."""
    waiting = asyncio.wrap_future(writing)
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # the writer has said why
    await asyncio.wait({waiting}, timeout=max(0.0, deadline - _ANSWER_S - time.monotonic()))
    return waiting.done() and not waiting.cancelled() and waiting.exception() is None


def _when_failed(writing: Future[None], then: Callable[[], object]) -> None:
    writing.add_done_callback(lambda done: then() if done.cancelled() or done.exception() is not None else None)


def _when_done(writing: Future[None], then: Callable[[], object]) -> None:
    if not writing.cancel():
        writing.add_done_callback(lambda done: then() if not done.cancelled() and done.exception() is None else None)
