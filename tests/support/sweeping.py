"""A cluster of threads for sweeps: workers that really judge, and die, hang or come from elsewhere as a test wants.

A thread cannot be killed: a worker that died here works on as one does that was only thought dead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from fedi_safety.app.sweep.driver import Lost
from fedi_safety.app.sweep.messages import Place
from fedi_safety.app.sweep.worker import SweepWorker


@dataclass(eq=False)
class Worker:
    """A worker's threads, and whether it is to be believed dead."""

    place: Place
    worker: SweepWorker = field(default_factory=SweepWorker)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(3))
    dead: threading.Event = field(default_factory=threading.Event)


@dataclass
class ThreadCluster:
    """So many machines. `before` is called with each call that begins, in the worker's thread, and may do anything."""

    machines: int = 2
    before: Callable[[Worker, str, tuple[Any, ...]], None] = lambda _worker, _method, _arguments: None
    started: list[Worker] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    of: dict[int, tuple[Worker, str]] = field(default_factory=dict)

    def places(self) -> list[Place]:
        names = [f"m{number}" for number in range(self.machines)]
        return [Place(name, name, name, 1) for name in names if name not in self.gone]

    def start(self, place: Place) -> Worker:
        self.started.append(Worker(place))
        return self.started[-1]

    def call(self, worker: Worker, method: str, *arguments: Any) -> Future[Any]:
        def work() -> Any:
            self.before(worker, method, arguments)
            return getattr(worker.worker, method)(*arguments)

        future = worker.threads.submit(work)
        self.of[id(future)] = worker, method
        return future

    def answered(self, references: Sequence[Future[Any]], wait_s: float) -> list[Future[Any]]:
        ends = time.monotonic() + wait_s
        while True:
            dead = [each for each in references if self.of[id(each)][0].dead.is_set()]
            done = wait(references, 0.01, FIRST_COMPLETED).done
            if done or dead or time.monotonic() >= ends:
                return [*dead, *done.difference(dead)]

    def answer(self, reference: Future[Any]) -> Any:
        if self.of[id(reference)][0].dead.is_set():
            raise Lost("the process died")
        return reference.result()

    def end(self, worker: Worker) -> None:
        worker.dead.set()

    def close(self) -> None:
        """Let every thread end, and close what they opened."""
        for each in self.started:
            each.worker.halt()
            each.threads.shutdown()
            each.worker.close()
