"""Has workers judge what a store shows: for a gate without an engine, whose backlog nobody here could work off.

The verdicts are recorded like those of uploads; what they condemn is then removed by an ordinary pass, for which
`bystander` stands in the engine's place. It decides no verdict.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from fedi_safety import __version__
from fedi_safety.app.engine import Engine
from fedi_safety.core.enums import Detail, MediaType, Reason, Verdict
from fedi_safety.core.errors import Unscannable, out_of_memory
from fedi_safety.core.ledger.uploads import BacklogEntry, Move, UploadState
from fedi_safety.core.ports import Store
from fedi_safety.core.types import Decoded, Object
from fedi_safety.gate.backlog.writer import LedgerWriter
from fedi_safety.judging.types import Answer, Judge, Unjudged, Upload
from fedi_safety.media.sniff import sniff

log = logging.getLogger(__name__)

ELSEWHERE = f"fedi-safety {__version__}, workers"
"""What decides which media can be judged where only workers judge; as far as this gate can know."""

_AT_ONCE = 4
_JUDGE_S = 60.0
_SENDER = "waiting uploads"


class Relay:
    """Fetches objects from a store, and has a judge elsewhere judge them."""

    def __init__(self, judge: Judge, writer: LedgerWriter, max_bytes: int) -> None:
        """Ask `judge`, and write to `writer` what it says. Larger objects than `max_bytes` are not fetched."""
        self._judge = judge
        self._writer = writer
        self._max_bytes = max_bytes

    async def judge(self, store: Store, objects: Mapping[Object, BacklogEntry]) -> None:
        """Judge the content of each object, once for each of them, and note how far that led. Raises `StoreError`."""
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(obj: Object, entry: BacklogEntry) -> None:
            async with slots:
                try:
                    data = await asyncio.to_thread(self._read, store, obj)
                except Unscannable as error:
                    state = None if error.reason.transient else UploadState.HELD
                    self._writer.enqueue_moves(
                        [Move(entry.note.upload, state, detail=error.reason.value, decoder=ELSEWHERE)]
                    )
                    return
                sha256 = entry.note.sha256
                assert sha256 is not None  # it was found by its hash
                now = time.monotonic()
                upload = Upload(entry.note.upload, _SENDER, data, None, sha256, now, now + _JUDGE_S)
                self._note(entry, await self._judge.judge(upload))

        once = {entry.note.upload: (obj, entry) for obj, entry in objects.items()}
        results = await asyncio.gather(*(one(obj, entry) for obj, entry in once.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _read(self, store: Store, obj: Object) -> bytes:
        if obj.size > self._max_bytes:
            raise Unscannable(Reason.TOO_LARGE, f"{obj.size} bytes, more than {self._max_bytes}")
        try:
            return store.fetch(obj, lambda _head: None)
        except MemoryError:
            raise out_of_memory("read") from None

    def _note(self, entry: BacklogEntry, answer: Answer) -> None:
        upload = entry.note.upload
        if answer.reason is not None:
            again = answer.reason.passing or answer.reason is Unjudged.DEADLINE
            state = None if again else UploadState.HELD
            self._writer.enqueue_moves([Move(upload, state, detail=answer.reason.value, decoder=ELSEWHERE)])
        elif answer.content is not None and answer.judgement is not None:
            self._writer.enqueue_verdict(
                answer.content, answer.judgement, answer.by != "ledger"
            )  # which settles the backlog
        elif answer.outcome == "clear":  # a predecessor's bare word: enough to let pass, not to remove anything by it
            self._writer.enqueue_moves([Move(upload, UploadState.SETTLED, Verdict.CLEAR.value)])
        else:
            log.error("%s is condemned by the bare word of %s; it stays until it is judged", upload, answer.by)
            self._writer.enqueue_moves([Move(upload, detail=f"condemned by the bare word of {answer.by}")])


class _Bystander:
    """A decoder that decodes nothing: where it stands, only contents with a verdict pass by."""

    version = "none"

    def sniff(self, head: bytes) -> MediaType:
        """Tell the type, as all decoders do."""
        return sniff(head)

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:  # noqa: ARG002
        """Decode nothing."""
        raise Unscannable(Reason.DETECTOR_FAILED, "only workers judge here")

    def close(self) -> None:
        """Nothing was opened."""


def bystander() -> Engine:
    """Return the engine of a pass that judges nothing anew."""
    return Engine(_Bystander(), [], "workers", 1)
