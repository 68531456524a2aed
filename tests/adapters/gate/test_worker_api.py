"""The endpoints for workers: recorded exchanges of pictrs-safety v1.2.2 in the server's role, and our own protocol."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any
from uuid import uuid4

import httpx
import pytest

from fedi_safety.core.enums import MediaType, Verdict
from fedi_safety.core.types import Content, FactorHit, Judgement, RuleHit, Scores, Signal
from fedi_safety.gate.keys import Keyring
from fedi_safety.judging.messages import JobsHead, result_of
from fedi_safety.judging.types import Answer, Unjudged, Upload
from fedi_safety.judging.worker_queue import QueueLimits, WorkerQueue
from support.corpus.photos import jpeg_bytes, picture
from support.servers.loop_gate import worker_app


def png_bytes(name: str) -> bytes:
    buffer = BytesIO()
    picture(name, 100).save(buffer, "PNG")
    return buffer.getvalue()


KEY = {"apikey": "right"}
BEARER = {"Authorization": "Bearer right"}
INVALID = "Input payload validation failed"


class Gate:
    """The endpoints over a queue, spoken to without a network."""

    def __init__(self, **limits: Any) -> None:
        self.queue = WorkerQueue(QueueLimits(**limits))
        app = worker_app(self.queue, {"home": "right", "new": "the new key"})
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gate")

    def upload(self, data: bytes | None = None, seconds: float = 5.0) -> asyncio.Task[Answer]:
        data = jpeg_bytes("coffee") if data is None else data
        now = time.monotonic()
        item = Upload(uuid4().hex, "test", data, None, hashlib.sha256(data).digest(), now, now + seconds)
        return asyncio.create_task(self.queue.judge(item))

    async def take(self, **wanted: Any) -> tuple[JobsHead, bytes]:
        answer = await self.http.post("/api/v1/work", json=wanted, headers=BEARER)
        assert answer.status_code == 200, answer.text
        head, _, rest = answer.content.partition(b"\n")
        return JobsHead.model_validate_json(head), rest

    async def tell(self, **said: Any) -> Any:
        return (await self.http.post("/api/v1/work/results", json=said, headers=BEARER)).json()


def with_gate(test: Callable[[Gate], Awaitable[None]], **limits: Any) -> None:
    @asynccontextmanager
    async def gate() -> AsyncIterator[Gate]:
        one = Gate(**limits)
        await one.queue.start()
        async with one.http:
            yield one

    async def run() -> None:
        async with gate() as one:
            await test(one)

    asyncio.run(asyncio.wait_for(run(), 30))


# --- pictrs-safety v1.2.2: what was recorded of it


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_v1_a_missing_key_is_400_and_a_wrong_one_403(method: str) -> None:
    async def test(gate: Gate) -> None:
        said = {"image": "x.jpeg", "is_csam": True, "is_nsfw": True}
        body: Any = {"json": said} if method == "POST" else {}
        answer = await gate.http.request(method, "/api/v1/pop", **body)
        assert answer.status_code == 400
        assert answer.json() == {
            "errors": {"apikey": "The auth api key Missing required parameter in the HTTP headers"},
            "message": INVALID,
        }
        for wrong in ("", "wrong", "right ", "RIGHT"):
            answer = await gate.http.request(method, "/api/v1/pop", headers={"apikey": wrong}, **body)
            if wrong == "right ":
                continue  # HTTP does not tell it from the right one
            assert (answer.status_code, answer.json()) == (403, {"message": "Access Denied"})
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "etag" in answer.headers and "fedi-safety-api-node" in answer.headers

    with_gate(test)


def test_v1_nothing_to_do_is_204_at_once() -> None:
    async def test(gate: Gate) -> None:
        begun = time.monotonic()
        answer = await gate.http.get("/api/v1/pop", headers=KEY)
        assert (answer.status_code, answer.content) == (204, b"")
        assert time.monotonic() - begun < 1.9  # its worker waits two seconds at most
        assert gate.queue.ready() is None  # it counts as a worker that is there

    with_gate(test)


def test_v1_a_picture_is_given_with_its_name_and_its_verdict_is_taken() -> None:
    async def test(gate: Gate) -> None:
        for csam, outcome in ((False, "clear"), (True, "block")):
            judging = gate.upload()
            await asyncio.sleep(0)
            answer = await gate.http.get("/api/v1/pop", headers=KEY)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
            assert answer.content == jpeg_bytes("coffee")
            disposition = answer.headers["content-disposition"]
            assert re.fullmatch(r"attachment; filename=[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.jpeg", disposition)
            # As the predecessor's worker reads it.
            name = disposition.split("=", 1)[1]
            assert (await gate.http.get("/api/v1/pop", headers=KEY)).status_code == 204
            said = {"image": name, "is_csam": csam, "is_nsfw": csam}
            answer = await gate.http.post("/api/v1/pop", headers=KEY, json=said)
            assert (answer.status_code, answer.json()) == (201, {"message": "OK"})
            got = await judging
            assert (got.outcome, got.by) == (outcome, "home")
            assert got.content is None  # a bare word is no measurement
            assert got.judgement is not None and got.judgement.policy == "pictrs-safety"
            answer = await gate.http.post("/api/v1/pop", headers=KEY, json=said)
            assert answer.status_code == 404

    with_gate(test)


def test_v1_null_is_no_verdict() -> None:
    async def test(gate: Gate) -> None:
        judging = gate.upload()
        await asyncio.sleep(0)
        for _ in range(2):
            answer = await gate.http.get("/api/v1/pop", headers=KEY)
            name = answer.headers["content-disposition"].split("=", 1)[1]
            said = {"image": name, "is_csam": None, "is_nsfw": None}
            answer = await gate.http.post("/api/v1/pop", headers=KEY, json=said)
            assert (answer.status_code, answer.json()) == (201, {"message": "OK"})
        got = await judging
        assert (got.outcome, got.reason) == ("unjudged", Unjudged.ENGINE_FAILED)

    with_gate(test, tries=2)


def test_v1_an_image_that_nobody_waits_for_is_404() -> None:
    async def test(gate: Gate) -> None:
        for name in ("nothing.png", str(uuid4()), "", 7, None, ["x"]):
            said = {"image": name, "is_csam": True, "is_nsfw": True}
            answer = await gate.http.post("/api/v1/pop", headers=KEY, json=said)
            assert answer.status_code == 404
            assert answer.json()["message"].startswith(
                "No image found waiting for this result. You have requested this URI"
            )

    with_gate(test)


@pytest.mark.parametrize("missing", ["image", "is_csam", "is_nsfw"])
def test_v1_a_missing_field_is_400(missing: str) -> None:
    async def test(gate: Gate) -> None:
        said = {"image": "x.png", "is_csam": True, "is_nsfw": True}
        del said[missing]
        answer = await gate.http.post("/api/v1/pop", headers=KEY, json=said)
        assert answer.status_code == 400
        assert answer.json()["message"] == INVALID
        assert set(answer.json()["errors"]) == {missing}

    with_gate(test)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'"x"', b"[" * 100_000, b"9" * 10_000])
def test_v1_a_body_that_is_no_object_is_400(body: bytes) -> None:
    async def test(gate: Gate) -> None:
        answer = await gate.http.post("/api/v1/pop", headers=KEY, content=body)
        assert answer.status_code == 400
        assert "message" in answer.json()

    with_gate(test)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("word", ["false", "true", "", 2, [], {}])
def test_v1_what_is_no_boolean_condemns_nothing(word: object) -> None:
    """pictrs-safety takes the text "false" for true; that slip is not copied."""

    async def test(gate: Gate) -> None:
        judging = gate.upload(seconds=1)
        await asyncio.sleep(0)
        answer = await gate.http.get("/api/v1/pop", headers=KEY)
        name = answer.headers["content-disposition"].split("=", 1)[1]
        said = {"image": name, "is_csam": word, "is_nsfw": False}
        answer = await gate.http.post("/api/v1/pop", headers=KEY, json=said)
        assert answer.status_code == 400
        assert answer.json()["errors"] == {"is_csam": "Not a boolean"}
        assert (await judging).reason is Unjudged.DEADLINE

    with_gate(test)


def test_v1_only_what_its_worker_can_open_is_given() -> None:
    webp, bmp = b"RIFF\x1a\0\0\0WEBPVP8 " + bytes(18), b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(40)
    jxl = b"\xff\x0a" + bytes(30)

    async def test(gate: Gate) -> None:
        await gate.http.get("/api/v1/pop", headers=KEY)
        assert (await gate.upload(jxl)).reason is Unjudged.UNOPENED
        for data, subtype in ((png_bytes("coffee"), "png"), (webp, "webp"), (bmp, "bmp")):
            judging = gate.upload(data)
            await asyncio.sleep(0)
            answer = await gate.http.get("/api/v1/pop", headers=KEY)
            assert answer.headers["content-type"] == f"image/{subtype}"
            assert answer.headers["content-disposition"].endswith(f".{subtype}")
            judging.cancel()

    with_gate(test)


def test_v1_looking_without_taking_takes_nothing() -> None:
    async def test(gate: Gate) -> None:
        judging = gate.upload(seconds=2)
        await asyncio.sleep(0)
        assert (await gate.http.head("/api/v1/pop", headers=KEY)).status_code == 204
        assert gate.queue.figures().waiting == 1
        judging.cancel()
        assert (await gate.http.put("/api/v1/pop", headers=KEY)).status_code == 405

    with_gate(test)


# --- keys


def test_several_keys_are_good_at_once_and_name_their_holder() -> None:
    async def test(gate: Gate) -> None:
        for key, holder in (("right", "home"), ("the new key", "new")):
            judging = gate.upload()
            await asyncio.sleep(0)
            answer = await gate.http.get("/api/v1/pop", headers={"apikey": key})
            name = answer.headers["content-disposition"].split("=", 1)[1]
            said = {"image": name, "is_csam": False, "is_nsfw": False}
            # What was lent to one is no business of another's.
            other = {"apikey": "right" if holder == "new" else "the new key"}
            assert (await gate.http.post("/api/v1/pop", headers=other, json=said)).status_code == 404
            assert (await gate.http.post("/api/v1/pop", headers={"apikey": key}, json=said)).status_code == 201
            assert (await judging).by == holder

    with_gate(test)


def test_keys_are_told_apart_whole() -> None:
    keys = Keyring({"a": "secret", "b": "other"})
    assert keys.holder("secret") == "a" and keys.holder("other") == "b" and len(keys) == 2
    for wrong in (None, "", "secre", "secret1", "Secret", "a", "sécret", "\udcff"):
        assert keys.holder(wrong) is None
    with pytest.raises(ValueError, match="empty"):
        Keyring({"a": ""})
    assert Keyring({}).holder("") is None


@pytest.mark.parametrize("path", ["/api/v1/work", "/api/v1/work/renew", "/api/v1/work/results"])
def test_our_endpoints_want_a_key(path: str) -> None:
    async def test(gate: Gate) -> None:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic right"}, {"apikey": ""}):
            answer = await gate.http.post(path, json={}, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "wrong_key")
        answer = await gate.http.post(path, json={}, headers=KEY)
        assert answer.status_code != 403

    with_gate(test)


# --- our own workers


def content_of(sha256: bytes) -> Content:
    scores = Scores({"face.present": Signal(0.75, 2)}, {"nudenet": "3.4.2"})
    return Content(sha256, 5, MediaType.JPEG, 640, 480, 3, scores)


def test_several_jobs_come_in_one_answer_and_their_results_go_back_whole() -> None:
    async def test(gate: Gate) -> None:
        media = [jpeg_bytes("coffee"), png_bytes("coffee"), jpeg_bytes("astronaut")]
        judging = [gate.upload(data) for data in media]
        await asyncio.sleep(0)
        head, rest = await gate.take(worker="pc", room=8)
        assert [job.size for job in head.jobs] == [len(data) for data in media]
        assert rest == b"".join(media)
        assert all(4 < job.left_s <= 5 for job in head.jobs)
        assert [job.sha256 for job in head.jobs] == [hashlib.sha256(data).hexdigest() for data in media]
        hits = (FactorHit("face", 0.5, 0.75, "face.present", 2),)
        block = Judgement(Verdict.BLOCK, ("nsfw",), (RuleHit("a face", Verdict.BLOCK, None, hits),), "p@1")
        answers = [
            Answer("block", b"", "engine", judgement=block, content=content_of(b"")),
            Answer("clear", b"", "engine", judgement=Judgement(Verdict.REVIEW, policy="p@1"), content=content_of(b"")),
            Answer("unjudged", b"", "engine", Unjudged.DECODER_FAILED, detail="truncated"),
        ]
        results = [
            json.loads(result_of(job.id, answer).model_dump_json())
            for job, answer in zip(head.jobs, answers, strict=True)
        ]
        said = await gate.tell(worker="pc", results=results)
        assert said == {"accepted": [job.id for job in head.jobs], "late": []}
        got = await asyncio.gather(*judging)
        assert [a.outcome for a in got] == ["block", "clear", "unjudged"]
        assert {a.by for a in got} == {"home:pc"}
        assert got[0].judgement == block
        assert got[0].content is not None and got[0].content.scores == content_of(b"").scores
        assert (got[0].content.sha256, got[0].content.size) == (hashlib.sha256(media[0]).digest(), len(media[0]))
        assert got[2].reason is Unjudged.DECODER_FAILED
        assert (await gate.tell(worker="pc", results=results))["late"] == [job.id for job in head.jobs]

    with_gate(test)


def test_a_worker_that_waits_gets_the_next_upload_at_once() -> None:
    async def test(gate: Gate) -> None:
        taking = asyncio.create_task(gate.take(room=4, wait_s=30))
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        judging = gate.upload()
        head, _ = await taking
        assert len(head.jobs) == 1 and time.monotonic() - begun < 20
        assert gate.queue.ready() is None
        judging.cancel()
        begun = time.monotonic()
        head, rest = await gate.take(room=4, wait_s=0.2)
        assert (head.jobs, rest) == ([], b"") and time.monotonic() - begun < 20

    with_gate(test)


def test_leases_are_renewed_handed_back_and_over_when_nobody_waits() -> None:
    async def test(gate: Gate) -> None:
        judging = gate.upload()
        await asyncio.sleep(0)
        head, _ = await gate.take(worker="pc", room=1)
        (job,) = head.jobs
        for _ in range(4):
            await asyncio.sleep(0.15)
            answer = await gate.http.post(
                "/api/v1/work/renew", json={"worker": "pc", "holding": [job.id]}, headers=BEARER
            )
            assert answer.json() == {"over": []}
        said = await gate.tell(worker="pc", results=[{"id": job.id, "outcome": "returned"}])
        assert said["accepted"] == [job.id]
        head, _ = await gate.take(worker="other", room=1)
        assert head.jobs[0].sha256 == job.sha256 and head.jobs[0].id != job.id
        judging.cancel()
        await asyncio.sleep(0)
        holding = {"worker": "other", "holding": [head.jobs[0].id]}
        answer = await gate.http.post("/api/v1/work/renew", json=holding, headers=BEARER)
        assert answer.json() == {"over": [head.jobs[0].id]}

    with_gate(test, lease_s=0.3)


def test_one_answer_is_not_boundless() -> None:
    big = jpeg_bytes("coffee") + bytes(20 << 20)

    async def test(gate: Gate) -> None:
        judging = [gate.upload(big) for _ in range(3)]
        await asyncio.sleep(0)
        head, rest = await gate.take(room=8)
        assert (len(head.jobs), len(rest)) == (1, len(big))
        for task in judging:
            task.cancel()

    with_gate(test)


BAD = [
    ("work", b"{"),
    ("work", b'{"room": 65}'),
    ("work", b'{"room": -1}'),
    ("work", b'{"wait_s": 1e9}'),
    ("work", b'{"wait_s": NaN}'),
    ("work/renew", b"{}"),
    ("work/renew", b'{"holding": [""]}'),
    ("work/renew", b'{"holding": [7]}'),
    ("work/results", b"{}"),
    ("work/results", b'{"results": [{"id": "x"}]}'),
    ("work/results", b'{"results": [{"id": "x", "outcome": "judged"}]}'),
    ("work/results", b'{"results": [{"id": "x", "outcome": "unjudged"}]}'),
    ("work/results", b'{"results": [{"id": "x", "outcome": "unjudged", "reason": "bored"}]}'),
    ("work/results", b'{"results": [{"id": "x", "outcome": "judged", "judgement": {"verdict": "delete"}}]}'),
    (
        "work/results",
        b'{"results": [{"id": "x", "outcome": "judged", "judgement": {"verdict": "clear", "reasons": [{"rule": "r",'
        b' "verdict": null, "label": null, "factors": [{"factor": "f", "threshold": NaN, "value": 1, "signal": "s",'
        b' "frame": 0}]}]}}]}',
    ),
    (
        "work/results",
        b'{"results": [{"id": "x", "outcome": "judged", "judgement": {"verdict": "clear"}, "content": {"media_type":'
        b' "image/png", "width": 1, "height": 1, "frames": 1, "signals": {"s": [1.5, 0]}, "detectors": {}}}]}',
    ),
    ("work/results", json.dumps({"results": [], "worker": "x" * 300}).encode()),
]


@pytest.mark.parametrize(("path", "body"), BAD)
def test_bad_words_are_400_with_a_code(path: str, body: bytes) -> None:
    async def test(gate: Gate) -> None:
        answer = await gate.http.post(f"/api/v1/{path}", content=body, headers=BEARER)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text
        assert "\n" not in answer.json()["message"]

    with_gate(test)


def test_a_body_beyond_all_measure_is_413() -> None:
    async def test(gate: Gate) -> None:
        for path in ("pop", "work", "work/results"):
            answer = await gate.http.post(f"/api/v1/{path}", content=bytes(5 << 20), headers=BEARER | KEY)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")

    with_gate(test)


def test_a_name_cannot_forge_a_line_of_the_log() -> None:
    async def test(gate: Gate) -> None:
        judging = gate.upload()
        await asyncio.sleep(0)
        name = "pc\n2026 ERROR all is lost"
        head, _ = await gate.take(worker=name, room=1)
        result = {"id": head.jobs[0].id, "outcome": "judged", "judgement": {"verdict": "clear"}}
        await gate.tell(worker=name, results=[result])
        assert "\n" not in (await judging).by

    with_gate(test)
