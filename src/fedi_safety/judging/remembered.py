"""What was judged before needs no judge: verdicts of a moment ago, and those of the ledger.

Whoever asks the ledger while it is being asked is answered with all others by the next question.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Generic, TypeVar

from fedi_safety.app.replay import Rejudge
from fedi_safety.core.errors import FediSafetyError, LedgerError
from fedi_safety.core.examine import Examiner
from fedi_safety.core.ledger.ports import Verdicts
from fedi_safety.core.policy import Policy, by_a_person, dismissal
from fedi_safety.core.types import Content, Judgement
from fedi_safety.judging.engine_queue import Recent
from fedi_safety.judging.types import Answer, Judge, Upload, judged

log = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")

_BLIND_S = 5.0  # how long nothing is looked up in a ledger that could not be read
_MOST = 256  # contents of one question
_MOMENT_S = 0.05


class Grouped(Generic[K, V]):
    """Asks for single things, in groups: what comes up while a question is being answered goes into the next one.

    The first is asked at once, by itself. It belongs to one event loop; `ask` is called in a thread.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[K]], Mapping[K, V]],
        threads: Executor | None = None,
        patient: Callable[[], bool] = lambda: False,
    ) -> None:
        """Ask by `ask`, which leaves out what it knows nothing of.

        `patient` tells that nobody is in a hurry now: then a question waits for a moment, until more are there.
        """
        self._ask = ask
        self._threads = threads
        self._patient = patient
        self._waiting: list[tuple[K, asyncio.Future[V | None]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """Return what is known of a thing. Raises whatever `ask` raises."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[V | None] = loop.create_future()
        self._waiting.append((key, found))
        if self._asking is None:
            self._asking = loop.create_task(self._answer())
        return await found

    async def _answer(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if self._patient():
                    await asyncio.sleep(_MOMENT_S)
                group, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                keys = list(dict.fromkeys(key for key, found in group if not found.done()))
                known: Mapping[K, V | Exception]
                try:
                    known = await loop.run_in_executor(self._threads, self._ask, keys)
                except Exception as error:  # noqa: BLE001 - it is theirs who asked
                    if len(keys) > 1 and not isinstance(error, FediSafetyError):  # a bug concerns one of them alone
                        known = await loop.run_in_executor(self._threads, self._one_by_one, keys)
                    else:
                        known = dict.fromkeys(keys, error)
                for key, found in group:
                    _settle(found, known.get(key))
        finally:
            self._asking = None

    def _one_by_one(self, keys: Sequence[K]) -> dict[K, V | Exception]:
        known: dict[K, V | Exception] = {}
        for key in keys:
            try:
                known.update(self._ask([key]))
            except Exception as error:  # noqa: BLE001 - as above
                known[key] = error
        return known


def _settle(found: asyncio.Future[V | None], what: V | Exception | None) -> None:
    if found.done():
        return
    if isinstance(what, Exception):
        found.set_exception(what)
    else:
        found.set_result(what)


class Known:
    """Verdicts under the policy that an engine has in force, decided anew from stored scores where it is another now.

    It belongs to one event loop.
    """

    def __init__(
        self,
        ledger: Verdicts,
        record: Callable[[Content, Judgement, bool], None],
        examiner: Callable[[], Examiner | None],
        patient: Callable[[], bool] = lambda: False,
    ) -> None:
        """Ask `ledger`; `record` remembers what was decided anew. See `Grouped` for `patient`."""
        self._ledger = ledger
        self._record = record
        self._examiner = examiner
        self._recent = Recent()
        self._readers = ThreadPoolExecutor(1, "gate-look-up")
        self._asked: Grouped[bytes, Answer] = Grouped(self._look_up, self._readers, patient)
        self._blind_until = 0.0

    async def get(self, sha256: bytes) -> Answer | None:
        """Return the verdict on a content; None where there is none, or the ledger cannot be read."""
        if (recent := self._recent.get(sha256)) is not None:
            return recent
        if self._examiner() is None:
            return None
        try:
            found = await self._asked.get(sha256)
        except LedgerError as error:
            log.warning("what was judged before is not known now: %s", error.line())
            self._blind_until = time.monotonic() + _BLIND_S
            return None
        if found is None:
            return self._recent.get(sha256)  # judged while the ledger was asked, and not written there yet
        self.put(found)
        return found

    def put(self, answer: Answer) -> None:
        """Remember a verdict for a moment, where it is one under the policy in force."""
        examiner = self._examiner()
        if answer.content is None or answer.judgement is None or examiner is None:
            return
        if answer.judgement.policy == examiner.policy.id:
            self._recent.put(answer)

    def clear(self) -> None:
        """Forget the verdicts of a moment ago: another policy decides now."""
        self._recent.clear()

    def close(self) -> None:
        """Look nothing up any more."""
        self._readers.shutdown(wait=False)

    def _look_up(self, sha256s: Sequence[bytes]) -> dict[bytes, Answer]:
        examiner = self._examiner()
        if examiner is None or time.monotonic() < self._blind_until:
            return {}
        policy = examiner.policy
        found: dict[bytes, Answer] = {}
        for sha256, (content, judgement, decided) in self._ledger.contents(sha256s).items():
            if not by_a_person(judgement) and not (decided and judgement.policy == policy.id):
                if self._ledger.dismissed([sha256]):
                    judgement = dismissal(policy.id)
                else:
                    anew = Rejudge(policy, examiner.cascade.available)(sha256, content.scores)
                    if anew is None:
                        continue
                    judgement = anew
                    self._record(content, judgement, False)
            found[sha256] = judged(judgement, content, "ledger")
        return found


class LedgerFirst:
    """For a gate without an engine: asks the ledger, and then another judge; a person's word stands above a worker's.

    A ledger that cannot be read is left out.
    """

    def __init__(self, judge: Judge, ledger: Verdicts, policy: Callable[[], Policy]) -> None:
        """Ask `judge` for what was not decided under `policy`, which may be another one each time."""
        self._judge = judge
        self._ledger = ledger
        self._policy = policy
        self._asked: Grouped[bytes, Answer] = Grouped(self._look_up)

    async def judge(self, upload: Upload) -> Answer:
        """Answer as remembered, else as the judge does."""
        known = await self._asked.get(upload.sha256)
        return known or await self._judge.judge(upload)

    def _look_up(self, sha256s: Sequence[bytes]) -> dict[bytes, Answer]:
        policy = self._policy()
        found: dict[bytes, Answer] = {}
        try:
            remembered = self._ledger.contents(sha256s)
            dismissed = self._ledger.dismissed(list(remembered)) if remembered else set()
        except LedgerError as error:
            log.debug("not looked up: %s", error.line())
            return {}
        for sha256, (content, judgement, decided) in remembered.items():
            if sha256 in dismissed:
                found[sha256] = judged(dismissal(policy.id), content, "ledger")
            elif by_a_person(judgement) or (decided and judgement.policy == policy.id):
                found[sha256] = judged(judgement, content, "ledger")
        return found

    def ready(self) -> str | None:
        """Return what the judge says."""
        return self._judge.ready()

    async def start(self) -> None:
        """Start the judge."""
        await self._judge.start()

    async def stop(self) -> None:
        """Stop the judge."""
        await self._judge.stop()
