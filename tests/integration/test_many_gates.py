"""Several gates at one ledger: what one learns the other knows, within two seconds. Real HTTP, no models."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import pytest

from fedi_safety.app.ledger import SystemClock
from fedi_safety.core.ledger.uploads import UploadState
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.review.serving import PLACE
from support import ledgers
from support.corpus.photos import jpeg_bytes
from support.program import FACES
from support.reviewing import Reviewing, reviewing
from support.servers.gate import gate_server
from support.servers.postgresql import PostgresqlServer
from support.serving import RED, RED_CIRCLE, Gate, gate
from support.share import Share

SOON_S = 2.0
MOST_S = 20.0  # on a busy machine; what nobody tells the others they never know


def within(condition: Callable[[], bool], since: float | None = None) -> float:
    """Wait until it is so, and return how long that took, since then or since now, which is before long."""
    began = time.monotonic() if since is None else since
    while not condition():
        assert time.monotonic() - began < MOST_S, "it was not so in time"
        time.sleep(0.05)
    return time.monotonic() - began


def known(g: Gate, data: bytes) -> bool:
    sha256 = hashlib.sha256(data).digest()
    return sha256 in g.ledger.contents([sha256])


NewGate = Callable[..., AbstractContextManager[Gate]]


@pytest.fixture
def new_gate(tmp_path: Path, ledger_place: str | Path) -> NewGate:
    """One more gate at the ledger of the test, on each kind of database."""
    return partial(gate, tmp_path, place=ledger_place)


@pytest.fixture
def pages(tmp_path: Path, ledger_place: str | Path) -> Iterator[Reviewing]:
    """The review pages of another process, at the same ledger."""
    with reviewing(tmp_path, place=ledger_place) as found:
        yield found


def test_what_one_gate_judged_needs_no_network_at_the_other(new_gate: NewGate) -> None:
    with new_gate() as one, new_gate() as other:
        for data, code in ((RED, "clear"), (RED_CIRCLE, "block")):
            assert one.upload(data).code == code
            within(lambda data=data: known(other, data))  # type: ignore[misc]
            assert other.upload(data).code == code
        assert [each.seen for each in other.detectors] == [[], [], []]
        assert other.metric("answers_total", by="ledger", reason="", said="refused", verdict="block") == 1


def test_a_persons_word_is_heard_at_every_gate(new_gate: NewGate, pages: Reviewing) -> None:
    """Also where the verdict was given, or looked up, a moment before."""
    sha256 = hashlib.sha256(RED_CIRCLE).digest()
    with new_gate() as one, new_gate() as other:
        assert one.upload(RED_CIRCLE).code == "block"
        within(lambda: known(other, RED_CIRCLE))
        assert other.upload(RED_CIRCLE).code == "block"
        for say, code in ((pages.ledger.dismiss, "clear"), (pages.ledger.restore, "block")):
            assert one.upload(RED_CIRCLE).code == other.upload(RED_CIRCLE).code != code
            say(sha256, "a person said so")
            said = time.monotonic()
            for g in (one, other):
                within(lambda g=g, code=code: g.upload(RED_CIRCLE).code == code, said)  # type: ignore[misc]


def test_what_waits_at_one_gate_is_on_the_pages_of_the_other_and_a_verdict_there_ends_it(
    new_gate: NewGate, pages: Reviewing
) -> None:
    with new_gate(judge_s=1.0) as one, new_gate() as other:
        one.slow.free.clear()
        waiting = one.upload(RED)
        assert (waiting.status, waiting.json["verdict"]) == (200, None), waiting.body
        browser = pages.signed_in("reviewer")
        within(lambda: waiting.json["id"] in browser.get(f"{PLACE}/uploads").text)
        assert [e.note.upload for e in other.ledger.untried_entries(UploadState.OWED, 9)] == [waiting.json["id"]]
        within(lambda: other.metric("debt", state="owed") == 1)
        assert other.upload(RED).code == "clear"
        within(lambda: other.metric("debt", state="owed") == 0)
        within(lambda: not one.figures().owed and waiting.json["id"] not in browser.get(f"{PLACE}/uploads").text)
        one.slow.free.set()


@pytest.mark.needs("postgresql")
@pytest.mark.long
def test_two_processes_on_one_postgresql(tmp_path: Path, ledger_server: PostgresqlServer, share: Share) -> None:
    """The installed gate, twice, with the real models: what is said at one counts at the other within two seconds."""
    policy = tmp_path / "faces.toml"
    policy.write_text(FACES)
    face = jpeg_bytes("astronaut")
    with ledgers.empty_database(ledger_server) as url, ExitStack() as stack:
        gates = [
            stack.enter_context(gate_server(tmp_path / name, policy=str(policy), ledger=url, deadline_s=50))
            for name in ("one", "other")
        ]
        first = gates[0].send(face)
        assert (first.status_code, first.json()["rules"]) == (406, ["a face"])
        time.sleep(SOON_S)
        assert gates[1].send(face).status_code == 406
        hand = open_ledger(url, clock=SystemClock())
        took = []
        try:
            for say, code in ((hand.dismiss, 200), (hand.restore, 406)):
                say(bytes.fromhex(first.json()["sha256"]), "a person said so")
                said = time.monotonic()
                took += [within(lambda g=g, code=code: g.send(face).status_code == code, said) for g in gates]  # type: ignore[misc]
        finally:
            hand.dispose()
        share.figure(f"seconds until a person's word was heard: {', '.join(f'{each:.2f}' for each in took)}")
        for each in gates:
            assert each.stop() == 0
    assert "Traceback" not in gates[0].log + gates[1].log


@pytest.mark.long
def test_a_verdict_is_written_before_it_is_forgotten(new_gate: NewGate) -> None:
    """What comes again and again is judged once, although the verdict of a moment ago is soon forgotten."""
    with new_gate() as one:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            assert one.upload(RED).code == "clear"
            time.sleep(0.02)
        assert len(one.slow.seen) == 1
