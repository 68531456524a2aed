"""The engine in this process and workers elsewhere at one queue: whoever is free takes the next upload.

The engine takes no more than it gets through in a moment. What it is at for as long as a lease lasts is lent to a
worker as well, and the first answer counts. It decides nothing.
"""

from __future__ import annotations

import asyncio
import logging

from fedi_safety.judging.engine import EngineJudge
from fedi_safety.judging.logs import named
from fedi_safety.judging.types import Answer, Unjudged, Upload, unjudged
from fedi_safety.judging.worker_queue import Lease, WorkerQueue

log = logging.getLogger(__name__)

OWN = "engine"
"""What the engine is called among the workers of the queue."""

_ASK_S = 60.0


class Together:
    """A judge made of an engine and a queue, whose worker `OWN` the engine is."""

    def __init__(self, engine: EngineJudge, queue: WorkerQueue) -> None:
        """Prepare."""
        self._engine = engine
        self._queue = queue
        self._in_hand: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()
        self._taking: asyncio.Task[None] | None = None

    async def judge(self, upload: Upload) -> Answer:
        """Answer what is known already, else have whoever is free judge it; see `Judge.judge`."""
        known = await self._engine.known(upload.sha256)
        return known or await self._queue.judge(upload)

    def ready(self) -> str | None:
        """Return None if the engine is ready or a worker is there, else why the engine is not."""
        return None if self._queue.figures().workers else self._engine.ready()

    async def start(self) -> None:
        """Start both."""
        await self._engine.start()
        await self._queue.start()
        self._taking = asyncio.create_task(self._take())

    async def stop(self) -> None:
        """Stop both: the engine goes on with what is held, as long as the queue waits for it."""
        await self._queue.stop()
        tasks = [*self._in_hand, *([] if self._taking is None else [self._taking])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._engine.stop()

    async def _take(self) -> None:
        """Take what the engine has room for, again and again, from when its models are there."""
        if self._engine.loaded is not None:
            await asyncio.wait([self._engine.loaded])
        while self._engine.engine is not None and not self._queue.over:
            room = self._engine.room() - len(self._in_hand)
            if room <= 0:
                self._freed.clear()
                await self._freed.wait()
                continue
            for lease in await self._queue.take(OWN, room, _ASK_S):
                task = asyncio.create_task(self._judge(lease))
                self._in_hand.add(task)
                task.add_done_callback(self._done)
                lease.when_over(task.cancel)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_hand.discard(task)
        self._freed.set()

    async def _judge(self, lease: Lease) -> None:
        try:
            answer = await self._engine.judge(lease.upload)
        except Exception as error:  # noqa: BLE001 - a bug is no verdict, and the upload is lent to another
            log.error("judging failed: %s", named(error))
            answer = unjudged(lease.upload.sha256, OWN, Unjudged.ENGINE_FAILED, type(error).__name__)
        self._queue.answer(lease.id, OWN, answer)
