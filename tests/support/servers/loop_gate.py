"""A gate's endpoints for workers on loopback, over a queue of their own: what a worker sees of a gate, without more."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from fedi_safety.gate.edge import Server
from fedi_safety.gate.keys import Keyring
from fedi_safety.gate.responses import Refusal
from fedi_safety.gate.worker_api import WorkerApi
from fedi_safety.judging.types import Answer, Upload
from fedi_safety.judging.worker_queue import QueueLimits, WorkerQueue


def worker_app(queue: WorkerQueue, keys: dict[str, str]) -> Starlette:
    """Return the endpoints for workers by themselves."""

    async def refused(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refusal)
        return JSONResponse({"code": error.code, "message": error.message}, error.status)

    return Starlette(routes=WorkerApi(queue, Keyring(keys)).routes(), exception_handlers={Refusal: refused})


class LoopGate:
    """One gate in a thread. `upload` may be called from any thread."""

    def __init__(self, port: int, keys: dict[str, str], limits: QueueLimits) -> None:
        self.queue = WorkerQueue(limits)
        app = worker_app(self.queue, keys)
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        self.server = Server(config)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self.queue.start()
            self._ready.set()
            await self.server.serve([self._socket])

        asyncio.run(serve())

    def upload(self, data: bytes, seconds: float = 20.0) -> Future[Answer]:
        """Hand in an upload."""
        now = time.monotonic()
        item = Upload(uuid4().hex, "test", data, None, hashlib.sha256(data).digest(), now, now + seconds)
        return asyncio.run_coroutine_threadsafe(self.queue.judge(item), self._loop)

    def stop(self) -> None:
        """End at once, as after a crash."""
        self.server.should_exit = True
        self.server.force_exit = True
        self._thread.join(10)
        self._socket.close()


@contextmanager
def loop_gate(
    port: int = 0, keys: dict[str, str] | None = None, limits: QueueLimits | None = None
) -> Iterator[LoopGate]:
    """Run one until the block ends."""
    gate = LoopGate(port, keys or {"home": "our key"}, limits or QueueLimits(max_waiting=0))
    try:
        yield gate
    finally:
        gate.stop()
