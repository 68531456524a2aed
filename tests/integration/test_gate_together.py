"""A gate with an engine and a worker beside it: whoever is free takes the next upload. Real HTTP, no models."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.core.enums import Verdict
from fedi_safety.core.types import Judgement
from fedi_safety.judging.types import Answer, Upload
from fedi_safety.worker.gates import find_out
from fedi_safety.worker.worker import Link, Worker
from support.serving import RED_CIRCLE, Gate, gate

KEY: dict[str, Any] = {"worker_keys": {"home": "k"}}


class Hands:
    """A worker's judge that clears everything, after a while; `held` keeps it at work."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.judged = 0

    async def judge(self, upload: Upload) -> Answer:
        await asyncio.sleep(self.seconds)
        self.judged += 1
        return Answer("clear", upload.sha256, "engine", judgement=Judgement(Verdict.CLEAR))

    def ready(self) -> str | None:
        return None

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""


@contextmanager
def worker(g: Gate, seconds: float, room: int = 4) -> Iterator[Hands]:
    """Run a worker beside the gate until the block ends."""
    hands, started = Hands(seconds), threading.Event()
    box: list[Any] = []

    def run() -> None:
        async def main() -> None:
            link = Link("gate", partial(find_out, f"http://127.0.0.1:{g.port}", "k", "pc", max_bytes=1 << 20))
            box.extend([Worker([link], hands, room=room), asyncio.get_running_loop()])
            started.set()
            await box[0].run()

        asyncio.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(10)
    g.wait_for(lambda: g.metric("workers") >= 1)
    try:
        yield hands
    finally:
        box[1].call_soon_threadsafe(box[0].stop)
        thread.join(20)
        assert not thread.is_alive()


def burst(g: Gate, count: int) -> Counter[str]:
    data = [b"pic red=0.2 circle=0 n=%d" % i for i in range(count)]
    with ThreadPoolExecutor(count) as threads:
        return Counter(reply.code for reply in threads.map(g.upload, data))


def by_worker(g: Gate) -> float:
    return g.metric("answers_total", by="worker", reason="", said="accepted", verdict="clear")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("count", [30, 80])
def test_under_a_burst_both_judge_and_none_runs_into_the_deadline(tmp_path: Path, count: int) -> None:
    with gate(tmp_path, jobs=1, deadline_s=count / 2, **KEY) as g:  # half of what the engine alone would take
        g.slow.pause_s = 0.9  # for each batch; what comes one by one is a batch each
        with worker(g, 0.25, room=4) as hands:
            codes = burst(g, count)
        assert codes == {"clear": count}, codes
        assert hands.judged >= count // 4
        assert g.metric("answers_total", by="engine", reason="", said="accepted", verdict="clear") >= 4
        assert by_worker(g) == hands.judged


def test_while_the_engine_stands_still_a_free_worker_judges_all_of_it(tmp_path: Path) -> None:
    """Also what the engine has taken: after a lease it is lent to the worker as well, and the first answer counts."""
    with gate(tmp_path, jobs=2, worker_missing_s=2.0, **KEY) as g:
        g.slow.free.clear()
        with worker(g, 0.02):
            assert burst(g, 40) == {"clear": 40}
        assert by_worker(g) == 40


def test_what_a_worker_that_died_held_the_engine_judges(tmp_path: Path) -> None:
    with gate(tmp_path, jobs=1, worker_missing_s=2.0, deadline_s=30.0, **KEY) as g:
        g.slow.free.clear()  # so that the worker gets some
        with ThreadPoolExecutor(20) as threads:
            asked = [threads.submit(g.upload, RED_CIRCLE + b" n=%d" % i) for i in range(20)]

            def held() -> bool:
                """Ask for work; what is lent before anybody asks for it may be the engine's again."""
                asking = b'{"worker": "dead", "room": 4}'
                return len(g.request("POST", "/api/v1/work", asking, {"Authorization": "Bearer k"}).body) > 200

            g.wait_for(held)
            g.slow.free.set()
            replies = [future.result() for future in asked]
        assert {reply.code for reply in replies} == {"block"}


def test_without_a_worker_the_engine_judges_alone_and_says_what_failed(tmp_path: Path) -> None:
    with gate(tmp_path, jobs=1, **KEY) as g:
        assert g.upload(RED_CIRCLE).code == "block"
        assert g.upload(b"pic poison").code == "engine_failed"
        assert g.upload(RED_CIRCLE).code == "block"
        assert g.metric("answers_total", by="memory", reason="", said="refused", verdict="block") == 1
        assert g.get("/readyz").status == 200


def test_a_worker_judges_while_the_models_load(tmp_path: Path) -> None:
    with gate(tmp_path, load_s=8.0, ready=False, **KEY) as g:

        def loaded() -> bool:
            return g.serving._engine is not None and g.serving._engine.engine is not None

        with worker(g, 0.01):
            assert g.get("/readyz").status == 200
            assert g.upload(b"pic red=0.2").code == "clear"
            assert not loaded(), "it waited for them"
        g.wait_for(loaded)
        assert g.upload(RED_CIRCLE).code == "block"


def test_a_stop_answers_what_both_hold(tmp_path: Path) -> None:
    with gate(tmp_path, jobs=1, **KEY) as g:
        g.slow.pause_s = 0.2
        with ThreadPoolExecutor(30) as threads:
            asked = [threads.submit(g.upload, RED_CIRCLE + b" n=%d" % i) for i in range(30)]
            g.wait_for(lambda: g.metric("held_bytes") > 0)
            g.stop()
            codes = Counter(future.result().code for future in asked)
        assert set(codes) <= {"block", "stopping"} and codes["block"] > 0
        assert not g.error
