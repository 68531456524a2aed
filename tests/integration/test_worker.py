"""The worker among gates: ours and pictrs-safety's, several at once, some down, some swapped; and its predecessor."""

from __future__ import annotations

import asyncio
import hashlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_all
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from fedi_safety.clients.pictrs_safety import GateUnreachable, KeyRefused, NotAGate, PictrsSafetyClient, gate_url
from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import UsageError
from fedi_safety.core.types import Judgement
from fedi_safety.judging.types import Answer, Unjudged, Upload
from fedi_safety.judging.worker_queue import QueueLimits
from fedi_safety.worker import gates
from fedi_safety.worker.gates import OurGate, find_out
from fedi_safety.worker.worker import Link, Worker
from support.corpus.photos import jpeg_bytes
from support.servers.loop_gate import loop_gate
from support.servers.pictrs import free_port
from support.servers.safety import PictrsSafety, PredecessorWorker, pictrs_safety

CLEAR, BLOCK = jpeg_bytes("coffee", 64), jpeg_bytes("astronaut", 64)


def is_red(data: bytes) -> bool:
    """The stand-in: what is mostly red is condemned."""
    with Image.open(BytesIO(data)) as image:
        red, green, blue = image.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    return bool(red > 150 and green < 100 and blue < 100)


def picture(red: bool, seed: int = 0) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (32, 32), (200 + seed % 50, 10, seed % 90) if red else (10, 200, seed % 90)).save(buffer, "PNG")
    return buffer.getvalue()


class RedJudge:
    """Judges by colour, after a while."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.seen: list[tuple[str, bytes]] = []
        self.at_once = 0
        self.most_at_once = 0

    async def judge(self, upload: Upload) -> Answer:
        self.seen.append((upload.sender, upload.sha256))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        if upload.data.startswith(b"bug"):
            raise RuntimeError("a bug")
        red = is_red(upload.data)
        judgement = Judgement(Verdict.BLOCK if red else Verdict.CLEAR)
        return Answer("block" if red else "clear", upload.sha256, "engine", judgement=judgement)

    def ready(self) -> str | None:
        return None

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""


def link_to(url: str, key: str, name: str = "", *, worker: str = "pc", max_bytes: int = 1 << 20) -> Link:
    return Link(name or url, partial(find_out, url, key, worker, max_bytes=max_bytes))


def work_on(
    links: list[Link],
    judge: RedJudge,
    meanwhile: Callable[[Worker], Awaitable[None]],
    *,
    room: int = 8,
    held_bytes: int = 1 << 28,
) -> Worker:
    """Run a worker while something else happens in the same loop; then stop it."""
    found: list[Worker] = []

    async def run() -> None:
        worker = Worker(links, judge, room=room, held_bytes=held_bytes)
        found.append(worker)
        running = asyncio.create_task(worker.run())
        meant = asyncio.ensure_future(meanwhile(worker))
        await asyncio.wait({running, meant}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
        assert not running.done(), running.exception()
        worker.stop()
        await asyncio.wait_for(running, 20)
        assert meant.done(), "it took too long"
        meant.result()

    asyncio.run(run())
    return found[0]


async def all_of(futures: list[Future[Any]], seconds: float = 30) -> list[Any]:
    done = await asyncio.to_thread(wait_all, futures, seconds)
    assert not done.not_done, f"{len(done.not_done)} of {len(futures)} are not answered"
    return [future.result() for future in futures]


def scan(gate: PictrsSafety, data: bytes, kind: str = "image/png") -> tuple[int, str]:
    answer = httpx.post(
        f"{gate.url}/api/v1/scan/__WELCOME_IN__",
        content=iter([data]),  # chunked, as pict-rs sends it
        headers={"Content-Type": kind},
        timeout=30,
        trust_env=False,
    )
    return answer.status_code, answer.json()["message"]


# --- one gate


def test_it_judges_for_our_gate_several_at_a_time() -> None:
    judge = RedJudge(0.05)
    with loop_gate() as gate:

        async def meanwhile(_worker: Worker) -> None:
            sent = [(picture(red := bool(i % 2), i), red) for i in range(40)]
            begun = time.monotonic()
            answers = await all_of([gate.upload(data) for data, _ in sent])
            assert time.monotonic() - begun < 10
            for answer, (data, red) in zip(answers, sent, strict=True):
                assert answer.outcome == ("block" if red else "clear")
                assert answer.sha256 == hashlib.sha256(data).digest()
                assert answer.by == "home:pc"

        worker = work_on([link_to(gate.url, "our key")], judge, meanwhile)
    assert judge.most_at_once > 4
    (figures,) = [link.figures for link in worker.links]
    assert (figures.judged, figures.blocked, figures.late, figures.lost) == (40, 20, 0, 0)


@pytest.mark.long
def test_it_serves_an_unmodified_pictrs_safety() -> None:
    with pictrs_safety() as gate:

        async def meanwhile(_worker: Worker) -> None:
            for red, said in ((True, (406, "Potential CSAM Image detected")), (False, (200, "Image OK"))):
                assert await asyncio.to_thread(scan, gate, picture(red)) == said
            many = [asyncio.to_thread(scan, gate, picture(bool(i % 2), i)) for i in range(10)]
            assert [code for code, _ in await asyncio.gather(*many)] == [200, 406] * 5
            await asyncio.sleep(1.2)
            assert gate.pops > 5  # it must not count as stale
            assert {row.is_nsfw for row in gate.rows.values()} == {True, False}

        work_on([link_to(gate.url, gate.key)], RedJudge(), meanwhile)


def test_for_a_pictrs_safety_no_verdict_is_null() -> None:
    with pictrs_safety() as gate:
        judge = RedJudge()

        async def fail(upload: Upload) -> Answer:
            return Answer("unjudged", upload.sha256, "engine", Unjudged.DECODER_FAILED)

        judge.judge = fail  # type: ignore[method-assign]

        async def meanwhile(_worker: Worker) -> None:
            assert await asyncio.to_thread(scan, gate, picture(True)) == (200, "Image OK")
            (row,) = gate.rows.values()
            assert (row.is_csam, row.is_nsfw) == (None, False)

        work_on([link_to(gate.url, gate.key)], judge, meanwhile)


@pytest.mark.long
def test_an_unmodified_predecessor_s_worker_serves_our_gate() -> None:
    def is_csam(image: Image.Image) -> bool:
        buffer = BytesIO()
        image.save(buffer, "PNG")
        return is_red(buffer.getvalue())

    with loop_gate() as gate, PredecessorWorker(gate.url, "our key", is_csam) as worker:
        time.sleep(0.3)
        sent = [bool(i % 3) for i in range(30)]
        futures = [gate.upload(picture(red, i)) for i, red in enumerate(sent)]
        assert not wait_all(futures, 30).not_done
        assert [future.result().outcome == "block" for future in futures] == sent
        deadline = time.monotonic() + 10
        while len(worker.said) < 30 and time.monotonic() < deadline:
            time.sleep(0.01)  # it notes the answer after we have it
        assert {status for _, _, status in worker.said} == {201}
        assert len(worker.said) == 30 and worker.failures == []
        # What it cannot open it never answers; the gate does not wait for that.
        assert gate.upload(b"\xff\x0a" + bytes(30)).result(5).reason is Unjudged.UNOPENED
        # What only looks like a picture makes it fail silently. The gate's own deadline ends that.
        broken = gate.upload(b"\x89PNG\r\n\x1a\n" + bytes(50), seconds=1.5).result(5)
        assert broken.reason is Unjudged.DEADLINE
        assert worker.failures


# --- several gates


@pytest.mark.long
def test_every_gate_has_its_turn() -> None:
    """One gate has a mountain of work; the other's uploads are judged next, not behind it."""
    judge = RedJudge(0.02)
    with loop_gate() as busy, loop_gate() as quiet, pictrs_safety(look_s=0.005, patience=2000) as old:

        async def meanwhile(_worker: Worker) -> None:
            mountain = [busy.upload(picture(False, i), 60) for i in range(400)]
            await asyncio.sleep(0.3)
            waited = []
            for i in range(10):
                begun = time.monotonic()
                (answer,) = await all_of([quiet.upload(picture(True, i))])
                assert answer.outcome == "block"
                assert (await asyncio.to_thread(scan, old, picture(True, i)))[0] == 406
                waited.append(time.monotonic() - begun)
            assert not all(future.done() for future in mountain)
            assert sorted(waited)[5] < 1.0, waited
            await all_of(mountain, 60)

        links = [
            link_to(busy.url, "our key", "busy"),
            link_to(quiet.url, "our key", "quiet"),
            link_to(old.url, old.key, "old"),
        ]
        work_on(links, judge, meanwhile, room=4)
    assert judge.most_at_once <= 4
    assert [sum(sender == name for sender, _ in judge.seen) for name in ("busy", "quiet", "old")] == [400, 10, 10]


@pytest.mark.long
def test_two_busy_gates_share_alike() -> None:
    judge = RedJudge(0.01)
    with loop_gate() as one, loop_gate() as other:

        async def meanwhile(_worker: Worker) -> None:
            first = [one.upload(picture(False, i), 60) for i in range(200)]
            await asyncio.sleep(0.1)
            second = [other.upload(picture(False, i), 60) for i in range(60)]
            await all_of([*first, *second], 60)

        work_on([link_to(one.url, "our key", "one"), link_to(other.url, "our key", "other")], judge, meanwhile, room=4)
    senders = [sender for sender, _ in judge.seen]
    both = senders[senders.index("other") : len(senders) - senders[::-1].index("other")]
    assert 0.4 < both.count("other") / len(both) < 0.6


@pytest.mark.long
def test_a_gate_that_is_down_disturbs_no_other_and_is_reached_when_it_comes() -> None:
    port = free_port()
    with ExitStack() as stack, loop_gate() as up:

        async def meanwhile(worker: Worker) -> None:
            took: list[float] = []
            for i in range(5):
                begun = time.monotonic()
                (answer,) = await all_of([up.upload(picture(True, i))])
                took.append(time.monotonic() - begun)
                assert answer.outcome == "block"
            assert statistics.median(took) < 1, took  # one may meet a machine that has no time
            assert worker.links[0].trouble is not None
            late = stack.enter_context(loop_gate(port))
            (answer,) = await all_of([late.upload(picture(True))])
            assert answer.outcome == "block"
            assert worker.links[0].trouble is None

        work_on([link_to(f"http://127.0.0.1:{port}", "our key"), link_to(up.url, "our key")], RedJudge(), meanwhile)


@pytest.mark.long
def test_a_gate_may_be_swapped_for_the_other_kind_and_back() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    async def meanwhile(worker: Worker) -> None:
        async def speaks(kind: str) -> None:
            async with asyncio.timeout(10):
                while (gate := worker.links[0].gate) is None or gate.kind != kind:
                    await asyncio.sleep(0.01)

        for _ in range(2):
            with pictrs_safety(port, key="our key") as old:
                assert (await asyncio.to_thread(scan, old, picture(True)))[0] == 406
                await speaks("pictrs-safety")
            with loop_gate(port) as ours:
                assert (await all_of([ours.upload(picture(True))]))[0].outcome == "block"
                await speaks("fedi-safety")

    work_on([link_to(url, "our key")], RedJudge(), meanwhile)


@pytest.mark.long
def test_a_gate_that_restarts_amid_uploads_loses_what_it_held_and_nothing_after() -> None:
    port = free_port()
    judge = RedJudge(0.3)

    async def meanwhile(worker: Worker) -> None:
        with loop_gate(port) as gate:
            held = [gate.upload(picture(True, i)) for i in range(6)]
            while judge.at_once < 4:
                await asyncio.sleep(0.01)
        assert not any(future.done() and not future.cancelled() for future in held)
        with loop_gate(port) as gate:
            answers = await all_of([gate.upload(picture(bool(i % 2), i)) for i in range(6)])
            assert [answer.outcome == "block" for answer in answers] == [bool(i % 2) for i in range(6)]
        assert worker.links[0].figures.blocked >= 3

    work_on([link_to(f"http://127.0.0.1:{port}", "our key")], judge, meanwhile)


@pytest.mark.long
def test_a_key_that_is_changed_is_tried_again() -> None:
    port = free_port()

    async def meanwhile(worker: Worker) -> None:
        with loop_gate(port, {"home": "another key"}):
            while worker.links[0].trouble is None:
                await asyncio.sleep(0.02)
            assert isinstance(worker.links[0].trouble, KeyRefused)
        with loop_gate(port, {"old": "another key", "new": "our key"}) as gate:
            (answer,) = await all_of([gate.upload(picture(True))])
            assert answer.by == "new:pc"

    work_on([link_to(f"http://127.0.0.1:{port}", "our key")], RedJudge(), meanwhile)


# --- workers that go


@pytest.mark.long
def test_a_worker_that_is_stopped_hands_back_and_another_goes_on() -> None:
    judge, other = RedJudge(0.2), RedJudge()
    with loop_gate(limits=QueueLimits(max_waiting=0, lease_s=30)) as gate:
        futures = [gate.upload(picture(bool(i % 2), i)) for i in range(20)]

        async def begin(_worker: Worker) -> None:
            while len(judge.seen) < 2:
                await asyncio.sleep(0.01)

        work_on([link_to(gate.url, "our key", worker="first")], judge, begin, room=2)
        # The gate tells the worker that its answer counts before those who wait for it, in another thread, have it.
        until = time.monotonic() + 10
        while sum(future.done() for future in futures) < len(judge.seen) and time.monotonic() < until:
            time.sleep(0.01)
        assert sum(future.done() for future in futures) == len(judge.seen)

        async def finish(_worker: Worker) -> None:
            # Within far less than a lease: what was not begun was handed back.
            answers = await all_of(futures, 10)
            assert [answer.outcome == "block" for answer in answers] == [bool(i % 2) for i in range(20)]
            assert {answer.by for answer in answers} == {"home:first", "home:second"}

        work_on([link_to(gate.url, "our key", worker="second")], other, finish)
    assert len(judge.seen) + len(other.seen) == 20  # nothing was judged twice


def test_what_a_lost_worker_held_is_judged_by_another() -> None:
    with loop_gate(limits=QueueLimits(max_waiting=0, lease_s=1)) as gate:
        futures = [gate.upload(picture(True, i)) for i in range(3)]
        taken = httpx.post(
            f"{gate.url}/api/v1/work",
            json={"worker": "lost", "room": 3},
            headers={"Authorization": "Bearer our key"},
            trust_env=False,
        )
        assert len(taken.content.partition(b"\n")[2]) == sum(len(picture(True, i)) for i in range(3))

        async def meanwhile(_worker: Worker) -> None:
            answers = await all_of(futures, 10)
            assert {answer.by for answer in answers} == {"home:pc"}

        work_on([link_to(gate.url, "our key")], RedJudge(), meanwhile)


@pytest.mark.long
def test_leases_are_renewed_while_the_engine_is_slow() -> None:
    judge = RedJudge(2.5)
    with loop_gate(limits=QueueLimits(max_waiting=0, lease_s=1)) as gate:

        async def meanwhile(_worker: Worker) -> None:
            answers = await all_of([gate.upload(picture(True, i)) for i in range(3)])
            assert {answer.outcome for answer in answers} == {"block"}

        work_on([link_to(gate.url, "our key")], judge, meanwhile)
    assert len(judge.seen) == 3


# --- a pictrs-safety, which lets everything pass that nobody judges in time


@pytest.mark.long
def test_a_gate_that_was_away_for_long_is_served_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long: the pauses do not grow beyond two seconds, in which everything would pass."""
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds > 0.2:
            slept.append(seconds)
        await real(min(seconds, 0.002))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    link = link_to(f"http://127.0.0.1:{free_port()}", "our key")

    async def run() -> None:
        worker = Worker([link], RedJudge(), room=8)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(30):
            while len(slept) < 12:
                await real(0.01)
        worker.stop()
        await running

    asyncio.run(run())
    assert 1.0 <= max(slept) <= 2.0


def test_what_is_being_closed_as_it_stops_is_closed_to_its_end() -> None:
    class Lost:
        """A gate that is gone; its connections take a moment to be closed."""

        outgrown, takes_back, idle_s, renew_s, ask_s = False, True, 0.0, 9.0, 9.0
        began = ended = False

        async def take(self, _room: int) -> list[Any]:
            raise GateUnreachable("gate", "is gone", "wait")

        async def close(self) -> None:
            self.began = True
            await asyncio.sleep(0.05)
            self.ended = True

    gate: Any = Lost()

    async def opened() -> Any:
        return gate, []

    async def run() -> None:
        worker = Worker([Link("gate", opened)], RedJudge(), room=8)
        running = asyncio.create_task(worker.run())
        while not gate.began:
            await asyncio.sleep(0)
        worker.stop()
        await running

    asyncio.run(run())
    assert gate.ended


def test_every_upload_without_a_verdict_is_a_warning_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    answers = {
        CLEAR: Answer("unjudged", bytes(32), "engine", Unjudged.DECODER_FAILED, detail="too slow"),
        BLOCK: Answer("unjudged", bytes(32), "engine", Unjudged.DEADLINE),
    }
    with pictrs_safety() as gate:
        judge = RedJudge()
        judged = iter(answers.values())

        async def fail(upload: Upload) -> Answer:
            return next(judged)

        judge.judge = fail  # type: ignore[method-assign]

        async def meanwhile(_worker: Worker) -> None:
            for data in answers:
                assert await asyncio.to_thread(scan, gate, data, "image/jpeg") == (200, "Image OK")

        work_on([link_to(gate.url, gate.key, "old")], judge, meanwhile)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == ["old: no verdict: decoder_failed: too slow", "old: no verdict: deadline"]


@pytest.mark.quiet
@pytest.mark.long
def test_a_worker_without_room_does_not_pass_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates.PredecessorGate, "ask_s", 0.3)
    judge = RedJudge(2.5)
    with pictrs_safety(missing_s=1.0, patience=1000) as gate:

        async def meanwhile(_worker: Worker) -> None:
            asking = [asyncio.to_thread(scan, gate, picture(True, i)) for i in range(3)]
            later = asyncio.create_task(_later(gate))
            assert [code for code, _ in await asyncio.gather(*asking)] == [406] * 3
            assert (await later)[0] == 406

        async def _later(gate: PictrsSafety) -> tuple[int, str]:
            await asyncio.sleep(1.8)
            return await asyncio.to_thread(scan, gate, picture(True, 50))

        work_on([link_to(gate.url, gate.key)], judge, meanwhile, room=3)


@pytest.mark.long
def test_a_worker_that_is_stopped_says_no_null_of_what_a_pictrs_safety_gave_it() -> None:
    """It would let it pass; what was fetched, or is on its way, is judged first."""
    judge = RedJudge(0.4)
    with pictrs_safety(patience=1000) as gate:

        async def run() -> list[tuple[int, str]]:
            worker = Worker([link_to(gate.url, gate.key)], judge, room=4)
            worker._slots = asyncio.Semaphore(2)
            running = asyncio.create_task(worker.run())
            asking = [asyncio.create_task(asyncio.to_thread(scan, gate, picture(True, i))) for i in range(4)]
            while sum(row.state == "processing" for row in gate.rows.values()) < 4:
                await asyncio.sleep(0.01)
            worker.stop()
            await running
            return list(await asyncio.gather(*asking))

        assert [code for code, _ in asyncio.run(run())] == [406] * 4


# --- hostile and strange


def test_a_bug_or_a_giant_costs_one_job_and_no_more() -> None:
    bug = b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(40)

    class Buggy(RedJudge):
        async def judge(self, upload: Upload) -> Answer:
            if upload.data == bug:
                raise RuntimeError("a bug")
            return await super().judge(upload)

    with loop_gate(limits=QueueLimits(max_waiting=0, tries=2)) as gate:

        async def meanwhile(_worker: Worker) -> None:
            giant = gate.upload(CLEAR + bytes(2 << 20))
            answers = await all_of([giant, gate.upload(bug), gate.upload(picture(True))])
            assert [answer.reason for answer in answers] == [Unjudged.DECODER_FAILED, Unjudged.ENGINE_FAILED, None]

        work_on([link_to(gate.url, "our key")], Buggy(), meanwhile)


def test_what_is_held_is_bounded() -> None:
    size = len(picture(False)) + 64_000
    judge = RedJudge(0.02)
    most = 0
    with loop_gate() as gate:

        async def meanwhile(worker: Worker) -> None:
            nonlocal most
            futures = [gate.upload(picture(bool(i % 2), i) + bytes(64_000)) for i in range(40)]
            while not all(future.done() for future in futures):
                held = sum(len(job.data or b"") for link in worker.links for job in link.in_hand.values())
                most = max(most, held)
                await asyncio.sleep(0.001)
            await all_of(futures)

        work_on([link_to(gate.url, "our key")], judge, meanwhile, room=8, held_bytes=2 * size)
    assert 0 < most <= (2 + 8) * size


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(403, json={"message": "Access Denied"}), KeyRefused),
        (httpx.Response(404, text="<html>"), NotAGate),
        (httpx.Response(502, text="<html>"), GateUnreachable),
        (httpx.Response(302, headers={"Location": "https://elsewhere.example/"}), NotAGate),
        (httpx.Response(200, content=b"x", headers={"Content-Type": "image/png"}), NotAGate),
    ],
)
def test_the_client_of_pictrs_safety_tells_what_is_wrong(answer: httpx.Response, error: type[Exception]) -> None:
    async def run() -> None:
        client = PictrsSafetyClient(
            "http://gate:14051/", "k", max_bytes=100, transport=httpx.MockTransport(lambda _: answer)
        )
        with pytest.raises(error):
            await client.pop()
        await client.close()

    asyncio.run(run())


def test_the_client_of_pictrs_safety_speaks_as_recorded() -> None:
    asked: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.method == "POST":
            gone = "No image found waiting for this result. You have requested this URI [/api/v1/pop] but did you mean"
            known = b'"a.png"' in request.content
            return httpx.Response(201, json={"message": "OK"}) if known else httpx.Response(404, json={"message": gone})
        if len(asked) == 1:
            return httpx.Response(204)
        headers = {"Content-Type": "image/png", "Content-Disposition": "attachment; filename=a.png"}
        return httpx.Response(200, content=b"x" * (200 if len(asked) == 3 else 5), headers=headers)

    async def run() -> None:
        client = PictrsSafetyClient("http://gate:14051", "k", max_bytes=100, transport=httpx.MockTransport(server))
        assert await client.pop() is None
        popped = await client.pop()
        assert popped is not None and (popped.name, popped.data) == ("a.png", b"xxxxx")
        large = await client.pop()
        assert large is not None and large.data == b""
        assert await client.say("a.png", is_csam=None, is_nsfw=False)
        assert not await client.say("b.png", is_csam=True, is_nsfw=True)
        await client.close()

    asyncio.run(run())
    assert {request.headers["apikey"] for request in asked} == {"k"}
    assert {str(request.url) for request in asked} == {"http://gate:14051/api/v1/pop"}
    assert asked[3].content == b'{"image":"a.png","is_csam":null,"is_nsfw":false}'


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("http://Gate:14051", "http://gate:14051"),
        ("https://gate.example/", "https://gate.example"),
        ("http://gate:14051/api/v1/", "http://gate:14051"),
        ("https://example.org/gate", "https://example.org/gate"),
        (" http://[::1]:14051 ", "http://[::1]:14051"),
    ],
)
def test_gates_are_named_by_urls(url: str, meant: str) -> None:
    assert gate_url(url) == meant


@pytest.mark.parametrize(
    "url", ["", "gate:14051", "ftp://gate", "http://", "http://k@gate", "http://gate?x=1", "http://[::1", "\0"]
)
def test_what_is_no_gate_s_url_is_said(url: str) -> None:
    with pytest.raises(UsageError):
        gate_url(url)


def test_a_damaged_medium_is_not_judged() -> None:
    """A half that lies about a hash, or cuts the line, gives no job to judge."""
    data = picture(True)
    head = {"jobs": [{"id": "1", "size": len(data), "sha256": "0" * 64, "left_s": 9}], "lease_s": 5}
    bodies = [
        httpx.Response(200, json={"accepted": [], "late": []}),
        httpx.Response(200, content=_line(head) + data),
        httpx.Response(200, content=_line(head) + data[:10]),
        httpx.Response(200, content=_line(head)[:10]),
        httpx.Response(200, content=b"{}\n"),
        httpx.Response(200, content=_line(head | {"jobs": [head["jobs"][0] | {"size": -1}]})),  # type: ignore[index]
    ]
    transport = httpx.MockTransport(lambda _: bodies.pop(0))

    async def run() -> None:
        gate, jobs = await find_out("http://gate", "k", "pc", max_bytes=1 << 20, transport=transport)
        assert jobs == [] and gate.kind == "fedi-safety"
        for error in (GateUnreachable, GateUnreachable, GateUnreachable, NotAGate, NotAGate):
            with pytest.raises(error):
                await gate.take(8)
        await gate.close()

    asyncio.run(run())
    assert bodies == []


def test_a_gate_that_sends_without_end_is_left() -> None:
    data = bytes(1 << 20)
    word = {"id": "1", "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "left_s": 9}
    head = {"jobs": [word | {"id": str(i)} for i in range(64)], "lease_s": 5}
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        yield _line(head)
        for _ in range(64):
            sent += 1
            yield data

    def server(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("results"):
            return httpx.Response(200, content=b'{"accepted": [], "late": []}' + bytes(2 << 20))
        return httpx.Response(200, content=body())

    async def run() -> None:
        gate = OurGate("http://gate", "k", "pc", max_bytes=1 << 20, transport=httpx.MockTransport(server))
        with pytest.raises(NotAGate):
            await gate.tell([])
        limit, gates._TAKEN_BYTES = gates._TAKEN_BYTES, 8 << 20
        try:
            with pytest.raises(NotAGate, match="more at once"):
                await gate.take(64)
        finally:
            gates._TAKEN_BYTES = limit
        await gate.close()

    asyncio.run(run())
    assert sent <= 12


def _line(head: object) -> bytes:
    return json.dumps(head).encode() + b"\n"
