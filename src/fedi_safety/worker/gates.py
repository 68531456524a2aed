"""Gates that a worker judges for, as the worker sees them: our own, and pictrs-safety v1.2.2.

They fetch jobs and bring answers back; what is judged when is `worker`'s. Media stays in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from fedi_safety.clients.pictrs_safety import (
    MAX_WORD_BYTES,
    GateUnreachable,
    NotAGate,
    PictrsSafetyClient,
    checked_key,
    gate_url,
    open_http,
    read_body,
    refusal,
    unreachable,
)
from fedi_safety.judging.messages import (
    JobsHead,
    RenewAnswer,
    RenewRequest,
    Result,
    ResultsAnswer,
    ResultsRequest,
    TakeRequest,
    result_of,
)
from fedi_safety.judging.types import Answer, Unjudged

M = TypeVar("M", bound=BaseModel)

_TAKE, _RENEW, _RESULTS = "/api/v1/work", "/api/v1/work/renew", "/api/v1/work/results"
_WAIT_S = 20.0
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_LONG_TIMEOUT = httpx.Timeout(_WAIT_S + 10.0, connect=5.0)
_TAKEN_BYTES = 64 << 20  # of several jobs together; twice what a gate sends
_OLD_LEFT_S = 25.0  # pict-rs gives up after 30 s, wherever pictrs-safety is by then
_OLD_IDLE_S = 0.2
_OLD_ASK_S = 2.0  # after five seconds it takes its worker for gone, and everything passes
_STOPPING_S = 1.0
_RESULTS_BYTES = 2 << 20  # half of what a gate reads at once


@dataclass(frozen=True, slots=True)
class Job:
    """One medium that a gate wants judged by `deadline` (`time.monotonic()`). `data` is None if it was too large."""

    id: str
    data: bytes | None = field(repr=False)
    sha256: bytes
    claimed_type: str | None
    deadline: float


class RemoteGate(Protocol):
    """A gate elsewhere. Every method raises `GateUnreachable`, `KeyRefused` or `NotAGate`."""

    url: str
    kind: str
    idle_s: float  # how long to wait after it had nothing
    renew_s: float  # how often to say that jobs are in hand still
    ask_s: float  # how often to ask for more at the least, even without room: else it lets uploads pass unseen
    takes_back: bool  # whether what is handed back is judged by another; else it passes unseen

    @property
    def outgrown(self) -> bool:
        """Whether it speaks better by now than it is spoken to: find out anew."""
        ...

    async def take(self, room: int) -> list[Job]:
        """Return up to `room` jobs; a gate that can waits for the first one for a while."""
        ...

    async def renew(self, jobs: Sequence[str]) -> list[str]:
        """Say that these are in hand still. Returns those that nobody waits for any more."""
        ...

    async def tell(self, answers: Sequence[tuple[str, Answer | None]]) -> int:
        """Bring answers; None hands a job back. Returns how many came too late."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class OurGate:
    """A gate of ours: several jobs at a time, asked for by one long request, held by leases."""

    kind = "fedi-safety"
    outgrown = False
    ask_s = math.inf
    takes_back = True

    def __init__(
        self, url: str, key: str, name: str, *, max_bytes: int, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Speak as the worker `name`. Nothing is sent yet. Raises `UsageError`."""
        self.url = gate_url(url)
        self.idle_s = 0.0
        self._name = name
        self._max_bytes = max_bytes
        self.renew_s = 1.0
        headers = {"Authorization": f"Bearer {checked_key(self.url, key)}", "Content-Type": "application/json"}
        self._http = open_http(self.url, headers, transport)

    async def take(self, room: int) -> list[Job]:
        """Return up to `room` jobs, waiting for the first."""
        wanted = TakeRequest(worker=self._name, room=room, wait_s=_WAIT_S).model_dump_json()
        try:
            async with self._http.stream("POST", _TAKE, content=wanted, timeout=_LONG_TIMEOUT) as response:
                if response.status_code != 200:
                    raise refusal(self.url, response.status_code)
                return await self._jobs(_Reader(response))
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    async def _jobs(self, reader: _Reader) -> list[Job]:
        try:
            head = JobsHead.model_validate_json(await reader.line(MAX_WORD_BYTES))
            self.renew_s = head.lease_s / 3
            self.idle_s = _STOPPING_S if head.stopping else 0.0
            received = time.monotonic()
            jobs = []
            left = max(self._max_bytes, _TAKEN_BYTES)
            for word in head.jobs:
                data = await reader.exactly(word.size, keep=word.size <= self._max_bytes)
                left -= 0 if data is None else len(data)
                if left < 0:
                    raise NotAGate(self.url, "it sends more at once than a gate does", "check host and port")
                sha256 = bytes.fromhex(word.sha256)
                if data is not None and hashlib.sha256(data).digest() != sha256:
                    raise GateUnreachable(self.url, "a medium came damaged", "check the connection")
                jobs.append(Job(word.id, data, sha256, word.type or None, received + word.left_s))
        except ValidationError as error:
            raise NotAGate(self.url, "its jobs are not understood", "bring gate and worker to one version") from error
        except EOFError as error:
            raise GateUnreachable(self.url, "the connection was lost amid a job") from error
        return jobs

    async def renew(self, jobs: Sequence[str]) -> list[str]:
        """Renew the leases."""
        said = await self._ask(_RENEW, RenewRequest(worker=self._name, holding=list(jobs)), RenewAnswer)
        return said.over

    async def tell(self, answers: Sequence[tuple[str, Answer | None]]) -> int:
        """Bring answers, in one request unless they are too much for one."""
        results = [
            Result(id=job, outcome="returned") if answer is None else result_of(job, answer) for job, answer in answers
        ]
        late = 0
        for part in _parts(results):
            said = await self._ask(_RESULTS, ResultsRequest(worker=self._name, results=part), ResultsAnswer)
            late += len(said.late)
        return late

    async def _ask(self, path: str, wanted: BaseModel, answer: type[M]) -> M:
        try:
            async with self._http.stream("POST", path, content=wanted.model_dump_json(), timeout=_TIMEOUT) as response:
                body = await read_body(response, MAX_WORD_BYTES)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error
        if response.status_code != 200:
            raise refusal(self.url, response.status_code)
        try:
            return answer.model_validate_json(body or b"")
        except ValidationError as error:
            raise NotAGate(self.url, "its answer is not understood", "bring gate and worker to one version") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class PredecessorGate:
    """A pictrs-safety: one picture at a time, asked for again and again; what is not answered is lost to it."""

    kind = "pictrs-safety"
    ask_s = _OLD_ASK_S
    takes_back = False

    def __init__(
        self, url: str, key: str, *, max_bytes: int, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Nothing is sent yet. Raises `UsageError`."""
        self._client = PictrsSafetyClient(url, key, max_bytes=max_bytes, transport=transport)
        self.url = self._client.url
        self.idle_s = _OLD_IDLE_S
        self.renew_s = math.inf

    @property
    def outgrown(self) -> bool:
        """Whether one of ours has taken its place."""
        return self._client.offers_better

    async def take(self, room: int) -> list[Job]:
        """Return the next picture, if there is one."""
        popped = await self._client.pop() if room else None
        if popped is None:
            return []
        data = popped.data or None
        sha256 = hashlib.sha256(popped.data).digest()
        return [Job(popped.name, data, sha256, None, time.monotonic() + _OLD_LEFT_S)]

    async def renew(self, jobs: Sequence[str]) -> list[str]:  # noqa: ARG002
        """Do nothing: it knows no leases."""
        return []

    async def tell(self, answers: Sequence[tuple[str, Answer | None]]) -> int:
        """Bring the verdicts. Where there is none it says `null`, of which pictrs-safety makes `Image OK`."""
        late = 0
        for name, answer in answers:
            csam = None if answer is None or answer.judgement is None else answer.outcome == "block"
            nsfw = answer is not None and answer.judgement is not None and "nsfw" in answer.judgement.labels
            late += not await self._client.say(name, is_csam=csam, is_nsfw=nsfw or csam is True)
        return late

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


async def find_out(
    url: str, key: str, name: str, *, max_bytes: int, transport: httpx.AsyncBaseTransport | None = None
) -> tuple[RemoteGate, list[Job]]:
    """Ask what kind of gate is at `url`; return it, and the jobs that asking brought.

    Raises `GateUnreachable`, `KeyRefused`, or `NotAGate` where it is neither.
    """
    ours = OurGate(url, key, name, max_bytes=max_bytes, transport=transport)
    try:
        await ours.tell([])
    except NotAGate:
        await ours.close()
    except BaseException:
        await ours.close()
        raise
    else:
        return ours, []
    gate = PredecessorGate(url, key, max_bytes=max_bytes, transport=transport)
    try:
        return gate, await gate.take(1)
    except BaseException:
        await gate.close()
        raise


def _parts(results: Sequence[Result]) -> list[list[Result]]:
    """Cut answers into requests that a gate reads: clips with many frames have much to say."""
    parts: list[list[Result]] = [[]]
    size = 0
    for result in results:
        more = len(result.model_dump_json())
        if parts[-1] and size + more > _RESULTS_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(result)
        size += more
    return parts


def too_large(job: Job) -> Answer:
    """Return the answer to a job whose medium was not read."""
    return Answer("unjudged", job.sha256, "worker", Unjudged.DECODER_FAILED, detail="too large for this worker")


class _Reader:
    """Reads a streamed answer piece by piece."""

    def __init__(self, response: httpx.Response) -> None:
        self._parts: AsyncIterator[bytes] = response.aiter_bytes()
        self._held = bytearray()

    async def _more(self) -> None:
        with contextlib.suppress(StopAsyncIteration):
            self._held += await anext(self._parts)
            return
        raise EOFError

    async def line(self, most: int) -> bytes:
        """Return the bytes before the next line end. Raises `EOFError`, also for a line that is too long."""
        while (at := self._held.find(b"\n")) < 0:
            if len(self._held) > most:
                raise EOFError
            await self._more()
        line = bytes(self._held[:at])
        del self._held[: at + 1]
        return line

    async def exactly(self, size: int, *, keep: bool) -> bytes | None:
        """Return the next `size` bytes, or None without keeping them. Raises `EOFError`."""
        if keep:
            while len(self._held) < size:
                await self._more()
            data = bytes(memoryview(self._held)[:size])
            del self._held[:size]
            return data
        while size:
            while not self._held:
                await self._more()
            passed = min(size, len(self._held))
            del self._held[:passed]
            size -= passed
        return None
