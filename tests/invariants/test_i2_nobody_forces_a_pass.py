"""I2 at the gate: no caller can have the gate accept what nobody looked at, as long as there is time to look.

Neither by size, nor by number, nor by slowness, nor by what is no media; nor can it take others' places and turns.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

import pytest

from fedi_safety.cli.serve_cmd import warnings
from fedi_safety.config.loading import load_settings
from fedi_safety.judging.types import Unjudged
from support.servers.safety import PredecessorWorker
from support.serving import RED, RED_CIRCLE, Gate, Reply, gate

SMALL: dict[str, Any] = {"held_bytes": 1 << 20, "max_bytes": 400 << 10}
"""Room for two uploads of the greatest size, as 256 MiB have it for two of 128."""


def padded(number: int, size: int = 300 << 10) -> bytes:
    return b"%s pad=%d" % (RED_CIRCLE, number) + b"x" * size


def pieces(data: bytes, size: int = 30_000) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def sent(g: Gate, data: bytes, chunked: bool, path: str = "/validate") -> Reply:
    if chunked:
        return g.upload(pieces(data), path, headers={"Transfer-Encoding": "chunked"})
    return g.upload(data, path)


def timed(g: Gate, data: bytes, path: str) -> float:
    """Upload what is to be blocked; return how many seconds that took."""
    begun = time.monotonic()
    assert sent(g, data, True, path).code == "block"
    return time.monotonic() - begun


def all_at_once(g: Gate, uploads: Iterator[bytes], chunked: bool = False) -> list[Reply]:
    data = list(uploads)
    with ThreadPoolExecutor(len(data)) as threads:
        return list(threads.map(lambda one: sent(g, one, chunked), data))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("chunked", [True, False])
def test_size_forces_nothing(tmp_path: Path, chunked: bool) -> None:
    """Eighteen condemned pictures, padded so that three fill the memory: each waits for its turn, and is refused."""
    with gate(tmp_path, **SMALL) as g:
        g.slow.pause_s = 0.02
        replies = all_at_once(g, (padded(i) for i in range(18)), chunked)
        assert Counter(reply.code for reply in replies) == {"block": 18}
        assert g.metric("held_bytes") == 0


def test_what_there_was_no_memory_for_in_time_is_refused_whatever_the_policy_says(tmp_path: Path) -> None:
    with gate(tmp_path, body_s=1.0, unjudged={"queue_full": "accept"}, **SMALL) as g:
        g.slow.free.clear()
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(g.upload, padded(i)) for i in range(8)]
            g.wait_for(lambda: sum(a.done() for a in asked) >= 6)
            early = [a.result() for a in asked if a.done()]
            assert {(r.status, r.code) for r in early} == {(503, "busy")}
            g.flush()
            assert not g.figures().owed
            g.slow.free.set()
            assert {a.result().code for a in asked} == {"busy", "block"}
        assert g.upload(padded(99)).code == "block"  # and all of it was given back


def test_number_forces_nothing_while_there_is_time(tmp_path: Path) -> None:
    """Thirty times more than the queue holds wait for a place in it."""
    with gate(tmp_path, queue=2, jobs=1) as g:
        g.slow.free.clear()
        with ThreadPoolExecutor(61) as threads:
            replies = threads.submit(all_at_once, g, (b"%s n=%d" % (RED_CIRCLE, i) for i in range(60)))
            time.sleep(1.0)
            g.slow.free.set()
            assert Counter(reply.code for reply in replies.result()) == {"block": 60}


def test_slowness_forces_nothing(tmp_path: Path) -> None:
    """After twenty uploads that took long, those that come now do not count as too late."""
    with gate(tmp_path, jobs=1, deadline_s=5.0) as g:
        g.slow.pause_s = 0.2
        for i in range(18):
            assert g.upload(b"%s slow=%d" % (RED_CIRCLE, i)).code == "block"
        g.slow.pause_s = 0.0
        replies = all_at_once(g, (b"%s n=%d" % (RED_CIRCLE, i) for i in range(40)))
        assert Counter(reply.code for reply in replies) == {"block": 40}


@pytest.mark.parametrize(
    ("trouble", "settings"),
    [
        ("deadline", {"load_s": 6.0, "ready": False, "judge_s": 1.0}),
        ("no_worker", {"ready": False, "engine": False, "worker_keys": {"home": "k"}, "worker_missing_s": 0.1}),
    ],
)
def test_trouble_here_lets_in_nothing_that_is_no_media(tmp_path: Path, trouble: str, settings: dict[str, Any]) -> None:
    with gate(tmp_path, **settings) as g:
        time.sleep(0.3)
        assert g.upload(RED).code == trouble
        reply = g.upload(b"<html>" + b"x" * 10_000)
        assert (reply.status, reply.code) == (406, "not_media")


@pytest.mark.long
def test_a_caller_that_floods_keeps_others_neither_from_memory_nor_from_their_turn(tmp_path: Path) -> None:
    with gate(tmp_path, queue=8, jobs=1, tokens={"flood": "f", "quiet": "q"}, **SMALL) as g:
        g.slow.pause_s = 0.1
        over = Event()

        def flood(caller: int) -> list[float]:
            """Upload one after the other until it is over; return how long each waited."""
            waited = []
            for number in count():
                waited.append(timed(g, padded(caller * 1000 + number, 60 << 10), "/validate/f"))
                if over.is_set():
                    return waited
            raise AssertionError

        with ThreadPoolExecutor(40) as threads:
            floods = [threads.submit(flood, caller) for caller in range(1, 41)]
            time.sleep(1)  # all of them are there
            try:
                waited = [timed(g, padded(i, 60 << 10), "/validate/q") for i in range(5)]
            finally:
                over.set()
            usual = median(each for one in floods for each in one.result())
        assert max(waited) < 0.6 * usual, (waited, usual)


@pytest.mark.long
def test_what_only_predecessors_workers_are_there_for_is_not_let_in_unseen(tmp_path: Path) -> None:
    """As pictrs-safety refused it: no clip passes because nobody here can open it."""
    mp4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100)
    webm = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\xf7\x81\1\x42\xf2\x81\4\x42\xf3\x81\x08\x42\x82\x84webm" + bytes(99)
    avif = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(100)
    lone: dict[str, Any] = {"engine": False, "worker_keys": {"home": "k"}, "ready": False}
    for chosen, status in ((None, 406), ("accept", 200)):
        unjudged: dict[str, Any] = {} if chosen is None else {"unjudged": {"unopened": chosen}}
        with gate(tmp_path, **lone, **unjudged) as g, PredecessorWorker(f"http://127.0.0.1:{g.port}", "k", bool):
            g.wait_for(lambda: g.get("/readyz").status == 200)
            for clip in (mp4, webm, avif):
                reply = g.upload(clip)
                assert (reply.status, reply.code) == (status, "unopened")
            g.flush()
            assert g.figures().owed.total() == (0 if chosen is None else 3)  # a worker of ours may judge it later


def test_uploads_of_a_worker_that_died_end_as_no_worker_after_the_configured_seconds(tmp_path: Path) -> None:
    """Whether it had them in hand or they waited for it."""
    with gate(tmp_path, engine=False, worker_keys={"home": "k"}, worker_missing_s=2.0, ready=False) as g:
        ask = ("POST", "/api/v1/work", b'{"worker": "pc", "room": 1}', {"Authorization": "Bearer k"})
        g.request(*ask)
        with ThreadPoolExecutor(2) as threads:
            begun = time.monotonic()
            asked = [threads.submit(g.upload, b"%s n=%d" % (RED, i)) for i in range(2)]
            g.wait_for(lambda: g.metric("worker_queue") == 2)
            assert len(g.request(*ask).body) > 100
            assert [future.result().code for future in asked] == ["no_worker"] * 2
            assert 1.5 < time.monotonic() - begun < 15  # of a deadline of 20


@pytest.mark.parametrize(
    ("settings", "findable", "words"),
    [
        ({}, True, []),
        ({}, False, ["never found again; set `gate.store`"]),
        ({"unjudged": {name.value: "refuse" for name in Unjudged} | {"unrecorded": "refuse"}}, False, []),
        ({"engine": False}, True, ["the gate refuses what they do not open"]),
        ({"engine": False, "unjudged": {"unopened": "accept"}}, True, ["the gate lets in unseen"]),
    ],
)
def test_the_start_says_what_nobody_will_have_looked_at(
    settings: dict[str, Any], findable: bool, words: list[str]
) -> None:
    lines = list(warnings(load_settings(None, gate=settings).gate, findable=findable))
    assert len(lines) == len(words)
    for line, word in zip(lines, words, strict=True):
        assert line.startswith("WARNING: ") and word in line
