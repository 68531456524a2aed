"""What the gate keeps of an upload that it refused beside its hash, and how it is traced once a record appears."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.app import tracing as traced_by
from fedi_safety.cli import show_cmd
from fedi_safety.clients.mastodon import announced
from fedi_safety.core.enums import MediaType, Verdict
from fedi_safety.core.errors import TraceError
from fedi_safety.core.ledger.uploads import Told, UploadNote, UploadState
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced, TraceState
from fedi_safety.core.tracing import Tracing
from fedi_safety.core.types import Content, Judged, Judgement, Object, Scores
from fedi_safety.gate.backlog import backlog as entries
from fedi_safety.ledger.uploads import RETAIN_S
from support.fakes import FakeStore
from support.passes import RED, RED_CIRCLE, Bench
from support.servers.web import web
from support.serving import gate
from support.tracers import SEEN, FakeTracer

SECRET = "the webhook's secret"
TEXT = "what the post says"
RECORD = "media_attachments/109876543210987654"
URL = f"https://files.example/{RECORD.replace('/', '/files/')}.png"
STATUS = {
    "id": "109",
    "url": "https://social.example/@them/109",
    "created_at": "2026-11-28T20:00:00.000Z",
    "visibility": "public",
    "content": TEXT,
    "spoiler_text": TEXT,
    "account": {"id": "7", "acct": "them", "url": "https://social.example/@them", "note": TEXT, "display_name": TEXT},
    "media_attachments": [{"id": "109876543210987654", "url": URL, "description": TEXT}],
}
TOLD = Sighting(
    SightingKind.POST,
    SightingWay.HOOK,
    Certainty.CERTAIN,
    url="https://social.example/@them/109",
    person="@them@social.example",
    instance="social.example",
    local=True,
    at=1_795_896_000.0,
    record=RECORD,
    post_id="109",
    person_id="7",
)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def message(status: dict[str, Any]) -> bytes:
    return json.dumps({"event": "status.created", "object": status}).encode()


# --- what is kept


def test_a_refusal_keeps_who_asked_from_where_and_what_they_call_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="0123-alias.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + RED_CIRCLE + b"\r\n--x--\r\n"
    )
    with gate(tmp_path, tokens={"lemmy": "t0ken"}) as g:
        reply = g.request("POST", "/api/v1/scan/t0ken", form, {"Content-Type": "multipart/form-data; boundary=x"})
        assert reply.status == 406
        g.flush()
        (note,) = (e.note for e in g.ledger.untried_entries(UploadState.REFUSED, 9))
        assert (note.sender, note.told) == ("lemmy", Told("127.0.0.1", "0123-alias.png"))
        shown = g.ledger.show(sha(RED_CIRCLE))
        assert shown is not None and [u["upload"] for u in shown.uploads] == [reply.json["id"]]
    ledger = str(tmp_path / "ledger.db")
    assert show_cmd.show(sha(RED_CIRCLE).hex(), ledger=ledger) == 0
    said = capsys.readouterr().out
    assert f"upload {reply.json['id']} from lemmy at 127.0.0.1: refused, block, red circle" in said
    assert "called 0123-alias.png" in said
    assert show_cmd.show(sha(RED_CIRCLE).hex(), json_output=True, ledger=ledger) == 0
    (upload,) = json.loads(capsys.readouterr().out)["uploads"]
    assert upload["told"] == {"address": "127.0.0.1", "file_name": "0123-alias.png", "sighting": None}
    assert (upload["sender"], upload["state"], upload["reason"]) == ("lemmy", "refused", "block")


def test_a_refusal_without_a_verdict_is_shown_by_its_hash(tmp_path: Path) -> None:
    with gate(tmp_path) as g:
        assert g.upload(b"no medium at all").code == "not_media"
        g.flush()
        shown = g.ledger.show(sha(b"no medium at all"))
        assert shown is not None and [u["reason"] for u in shown.uploads] == ["not_media"]
        assert g.upload(RED).status == 200
        g.flush()
        passed = g.ledger.show(sha(RED))
        assert passed is None or passed.uploads == [], "of what passes with a verdict nothing is kept"


def test_a_webhook_tells_whose_it_is_and_no_text_of_it(tmp_path: Path) -> None:
    media = announced(message(STATUS))
    assert media is not None
    assert [(medium.url, medium.sighting) for medium in media] == [(URL, TOLD)]
    with gate(tmp_path, mastodon_secret=SECRET, mastodon_hosts=["files.example"]) as g:
        body = message(STATUS)
        signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert g.request("POST", "/webhooks/mastodon", body, {"X-Hub-Signature": signature}).status == 202
        (note,) = (e.note for e in g.ledger.untried_entries(UploadState.OWED, 9))
        assert note.told == Told("127.0.0.1", sighting=TOLD)
        assert g.ledger.told_of(None, [RECORD]) == [TOLD]
    assert TEXT.encode() not in (tmp_path / "ledger.db").read_bytes()


@pytest.mark.parametrize(
    "change,expected",
    [
        ({"account": None}, {"person": None, "instance": None, "local": None, "person_id": None}),
        ({"account": {"id": 7, "acct": ["x"], "url": "http://["}}, {"person": None, "person_id": None}),
        ({"account": {"acct": "them@far.example"}}, {"person": "@them@far.example", "local": False}),
        ({"url": None, "uri": "https://social.example/s/1"}, {"url": "https://social.example/s/1"}),
        ({"url": "x" * 5000}, {"url": None}),
        ({"id": "a\nb", "created_at": "yesterday"}, {"post_id": None, "at": None}),
        ({"created_at": "0001-01-01T00:00:00"}, {}),
        ({"visibility": "direct"}, {"kind": SightingKind.MESSAGE}),
        ({"media_attachments": [{"id": "../x", "url": URL}]}, {"record": None}),
        ({"media_attachments": [{"id": "²", "url": URL}]}, {"record": None}),
    ],
)
def test_what_a_message_leaves_out_or_makes_up_is_not_known(change: dict[str, Any], expected: dict[str, Any]) -> None:
    media = announced(message(STATUS | change))
    assert media is not None
    (medium,) = media
    assert {name: getattr(medium.sighting, name) for name in expected} == expected


# --- traced later


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "ledger.db", FakeStore({"fine": RED}))
    yield bench
    assert bench.ledger.verify().problem is None
    bench.close()


def refuse(bench: Bench, data: bytes, told: Told | None = None, url: str | None = None, number: int = 1) -> None:
    """Have a gate with this ledger refuse an upload."""
    told = told or Told()
    content = Content(sha(data), len(data), MediaType.PNG, 1, 1, 1, Scores({}, {"a": "1"}))
    judged = Judged(Object("", len(data), 1), content, Judgement(Verdict.BLOCK, policy=bench.policy.id))
    at = bench.clock.now()
    note = UploadNote(f"u{number}", at, "lemmy", UploadState.REFUSED, "block", "gate", sha(data), url=url, told=told)
    bench.ledger.record_uploads(bench.ledger.begin_run("gate", "", {}), [judged], [note])


def trace_by(bench: Bench, answer: Callable[[Subject], Traced], *, uploads: bool = True) -> FakeTracer:
    tracer = FakeTracer(answer)
    bench.tracing = Tracing(bench.ledger, bench.clock, bench.store.url, tracer=tracer, uploads=uploads)
    return tracer


def states(bench: Bench, data: bytes = RED_CIRCLE) -> list[TraceState]:
    return [record.state for record in bench.ledger.traces_of([sha(data)]).get(sha(data), [])]


def test_what_was_refused_is_traced_by_the_next_pass_and_again_until_a_record_appears(bench: Bench) -> None:
    refuse(bench, RED_CIRCLE, url="https://files.example/x.png")
    refuse(bench, RED_CIRCLE, number=2)  # again: it is one content
    tracer = trace_by(bench, lambda _subject: Traced())
    bench.scan(dry_run=True)
    assert tracer.asked == [], "a dry run asks nobody"
    bench.scan()
    (subject,) = tracer.asked
    assert (subject.store, subject.key, subject.sha256) == (bench.store.url, None, sha(RED_CIRCLE))
    assert subject.url == "https://files.example/x.png"
    bench.scan()
    assert len(tracer.asked) == 1, "not before its time"
    bench.clock.advance(61)
    tracer.answer = lambda _subject: Traced((SEEN,))
    bench.scan()
    assert states(bench) == [TraceState.NOTHING, TraceState.FOUND]
    shown = bench.ledger.show(sha(RED_CIRCLE))
    assert shown is not None and shown.traces[-1].sightings == (SEEN,)
    bench.clock.advance(86_400)
    bench.scan()
    assert len(tracer.asked) == 2, "what is found is found"


@pytest.mark.long
def test_a_record_that_never_comes_is_not_waited_for_for_ever(bench: Bench) -> None:
    refuse(bench, RED_CIRCLE)
    tracer = trace_by(bench, lambda _subject: Traced())
    for _ in range(40):
        bench.scan()
        bench.clock.advance(3601)
    assert 5 < len(tracer.asked) < 30
    assert set(states(bench)) == {TraceState.NOTHING}


def test_a_server_that_can_never_tell_is_asked_once(bench: Bench) -> None:
    refuse(bench, RED_CIRCLE)
    tracer = trace_by(bench, lambda _subject: Traced(unknown="it knows no hashes"))
    for _ in range(3):
        bench.scan()
        bench.clock.advance(3601)
    assert len(tracer.asked) == 1
    assert states(bench) == [TraceState.UNKNOWN]


def test_a_server_that_is_down_is_asked_for_one_and_all_are_traced_when_it_is_back(bench: Bench) -> None:
    for number in range(3):
        refuse(bench, RED_CIRCLE + b" %d" % number, number=number)

    def down(_subject: Subject) -> Traced:
        raise TraceError("fake", "it cannot be reached", "start it")

    tracer = trace_by(bench, down)
    bench.scan()
    assert len(tracer.asked) == 1
    tracer.answer = lambda _subject: Traced((SEEN,))
    bench.clock.advance(61)
    bench.scan()
    assert states(bench, RED_CIRCLE + b" 0") == [TraceState.FAILED, TraceState.FOUND]
    assert all(states(bench, RED_CIRCLE + b" %d" % number) == [TraceState.FOUND] for number in (1, 2))


def test_what_a_person_dismissed_is_not_traced_nor_another_stores_servers_asked(bench: Bench) -> None:
    refuse(bench, RED_CIRCLE)
    tracer = trace_by(bench, lambda _subject: Traced((SEEN,)), uploads=False)
    bench.scan()
    assert tracer.asked == [], "uploads end elsewhere"
    bench.ledger.dismiss(sha(RED_CIRCLE), "a tomato")
    tracer = trace_by(bench, lambda _subject: Traced((SEEN,)))
    bench.scan()
    assert tracer.asked == []


PATH_ALONE = Sighting(SightingKind.UPLOAD, SightingWay.PATH, Certainty.POSSIBLE, record=RECORD)


def test_what_a_hook_told_stands_beside_what_the_server_tells(bench: Bench) -> None:
    """By the content, and before it is known by the record of which the hook spoke."""
    store = bench.store
    assert isinstance(store, FakeStore)
    note = UploadNote("u1", 1.0, "mastodon", UploadState.OWED, "announced", "gate", url=URL, told=Told(sighting=TOLD))
    bench.ledger.record_uploads(bench.ledger.begin_run("gate", "", {}), [], [note])
    store.put("a", RED_CIRCLE)
    trace_by(bench, lambda _subject: Traced((PATH_ALONE,)))
    bench.scan()
    (record,) = bench.ledger.traces_of([sha(RED_CIRCLE)])[sha(RED_CIRCLE)]
    assert record.sightings == (PATH_ALONE, TOLD)
    own = Sighting(SightingKind.POST, SightingWay.DATABASE, Certainty.CERTAIN, record=RECORD, post_id="109")
    store.put("b", RED_CIRCLE + b" b")
    trace_by(bench, lambda _subject: Traced((own,)))
    bench.scan()
    (record,) = bench.ledger.traces_of([sha(RED_CIRCLE + b" b")])[sha(RED_CIRCLE + b" b")]
    assert record.sightings == (own,), "the server's own word for the same post comes first"


def test_what_a_hook_told_is_known_while_the_server_is_down(bench: Bench) -> None:
    def down(_subject: Subject) -> Traced:
        raise TraceError("fake", "it cannot be reached", "start it")

    refuse(bench, RED_CIRCLE, Told(sighting=TOLD))
    trace_by(bench, down)
    bench.scan()
    (record,) = bench.ledger.traces_of([sha(RED_CIRCLE)])[sha(RED_CIRCLE)]
    assert (record.state, record.sightings) == (TraceState.POORLY, (TOLD,))
    assert "cannot be reached" in record.detail and record.retry_at is not None


def test_who_asked_and_what_hooks_told_goes_after_ninety_days(bench: Bench) -> None:
    refuse(bench, RED_CIRCLE, Told("203.0.113.7", "alias.png", TOLD))
    bench.clock.advance(RETAIN_S - 60)
    bench.ledger.tend_uploads(None, "decoder", 60)
    shown = bench.ledger.show(sha(RED_CIRCLE))
    assert shown is not None and shown.uploads[0]["told"]["address"] == "203.0.113.7"
    bench.clock.advance(120)
    bench.ledger.tend_uploads(None, "decoder", 60)
    shown = bench.ledger.show(sha(RED_CIRCLE))
    assert shown is not None and shown.uploads == []
    assert bench.ledger.told_of(sha(RED_CIRCLE), [RECORD]) == []


# --- by the gate itself


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "_EVERY_S", 0.1)
    monkeypatch.setattr(entries, "_TEND_S", 0.1)


def with_server(path: Path, monkeypatch: pytest.MonkeyPatch, tracer: FakeTracer, **settings: Any) -> Any:
    (path / "media").mkdir(exist_ok=True)
    monkeypatch.setattr(traced_by, "open_tracer", lambda _access: tracer)
    whole = {"store": str(path / "media"), "trace": {"server": "mastodon"}}
    return gate(path, whole=whole, **settings)


@pytest.mark.usefixtures("_quick")
def test_a_gate_alone_traces_what_it_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracer = FakeTracer()
    with with_server(tmp_path, monkeypatch, tracer) as g:
        assert g.upload(RED_CIRCLE).status == 406
        g.wait_for(lambda: bool(g.ledger.traces_of([sha(RED_CIRCLE)])))
        (record,) = g.ledger.traces_of([sha(RED_CIRCLE)])[sha(RED_CIRCLE)]
        assert (record.state, record.sightings) == (TraceState.FOUND, (SEEN,))


@pytest.mark.usefixtures("_quick")
def test_what_a_webhook_announced_and_is_condemned_is_traced_by_what_it_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracer = FakeTracer(lambda _subject: Traced(unknown="it is asked by the path alone"))
    with web({"/late.png": RED_CIRCLE}) as (port, _):
        here = f"http://127.0.0.1:{port}/late.png"
        status = STATUS | {"media_attachments": [{"id": "109876543210987654", "url": here}]}
        hosts = {"mastodon_secret": SECRET, "mastodon_hosts": [f"127.0.0.1:{port}"]}
        with with_server(tmp_path, monkeypatch, tracer, **hosts) as g:
            body = message(status)
            signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
            assert g.request("POST", "/webhooks/mastodon", body, {"X-Hub-Signature": signature}).status == 202
            g.wait_for(lambda: bool(g.ledger.traces_of([sha(RED_CIRCLE)])))
            (record,) = g.ledger.traces_of([sha(RED_CIRCLE)])[sha(RED_CIRCLE)]
            assert record.sightings == (TOLD,)
            assert record.subject.url == here


@pytest.mark.usefixtures("_quick")
def test_a_server_that_is_down_or_hangs_keeps_no_upload_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    def hang(_subject: Subject) -> Traced:
        let_go.wait(30)
        raise TraceError("fake", "it cannot be reached", "start it")

    tracer = FakeTracer(hang)
    with with_server(tmp_path, monkeypatch, tracer) as g:
        assert g.upload(RED_CIRCLE).status == 406
        g.wait_for(lambda: bool(tracer.asked))
        began = time.monotonic()
        assert g.upload(RED).status == 200
        assert g.upload(RED_CIRCLE + b" 2").status == 406
        assert g.get("/readyz").status == 200
        assert time.monotonic() - began < 20  # of the 30 that it hangs
        let_go.set()
        g.wait_for(lambda: bool(g.ledger.traces_of([sha(RED_CIRCLE)])))
