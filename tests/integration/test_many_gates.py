"""Several gates at one ledger: what one learns the other knows, within two seconds. Real HTTP, no models."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedi_safety.core.ledger.uploads import UploadState
from fedi_safety.review.serving import PLACE
from support.reviewing import reviewing
from support.serving import RED, RED_CIRCLE, Gate, gate

SOON_S = 2.0


def within(condition: Callable[[], bool], seconds: float = SOON_S) -> float:
    """Wait until it is so, and return how long that took, which is no longer than this."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it was not so in time"
        time.sleep(0.05)
    return time.monotonic() - began


def known(g: Gate, data: bytes) -> bool:
    sha256 = hashlib.sha256(data).digest()
    return sha256 in g.ledger.contents([sha256])


def test_what_one_gate_judged_needs_no_network_at_the_other(tmp_path: Path) -> None:
    with gate(tmp_path) as one, gate(tmp_path) as other:
        for data, code in ((RED, "clear"), (RED_CIRCLE, "block")):
            assert one.upload(data).code == code
            within(lambda data=data: known(other, data))  # type: ignore[misc]
            assert other.upload(data).code == code
        assert [each.seen for each in other.detectors] == [[], [], []]
        assert other.metric("answers_total", by="ledger", reason="", said="refused", verdict="block") == 1


def test_a_persons_word_is_heard_at_every_gate(tmp_path: Path) -> None:
    """Also where the verdict was given, or looked up, a moment before."""
    sha256 = hashlib.sha256(RED_CIRCLE).digest()
    with gate(tmp_path) as one, gate(tmp_path) as other, reviewing(tmp_path) as pages:
        assert one.upload(RED_CIRCLE).code == "block"
        within(lambda: known(other, RED_CIRCLE))
        assert other.upload(RED_CIRCLE).code == "block"
        for say, code in ((pages.ledger.dismiss, "clear"), (pages.ledger.restore, "block")):
            assert one.upload(RED_CIRCLE).code == other.upload(RED_CIRCLE).code != code
            say(sha256, "a person said so")
            for g in (one, other):
                within(lambda g=g, code=code: g.upload(RED_CIRCLE).code == code)  # type: ignore[misc]


def test_what_waits_at_one_gate_is_on_the_pages_of_the_other_and_a_verdict_there_ends_it(tmp_path: Path) -> None:
    with gate(tmp_path, deadline_s=1.0) as one, gate(tmp_path) as other, reviewing(tmp_path) as pages:
        one.slow.free.clear()
        waiting = one.upload(RED)
        assert (waiting.status, waiting.json["verdict"]) == (200, None), waiting.body
        browser = pages.signed_in("reviewer")
        within(lambda: waiting.json["id"] in browser.get(f"{PLACE}/uploads").text)
        assert [e.note.upload for e in other.ledger.untried_entries(UploadState.OWED, 9)] == [waiting.json["id"]]
        assert other.upload(RED).code == "clear"
        within(lambda: not one.figures().owed and waiting.json["id"] not in browser.get(f"{PLACE}/uploads").text)
        one.slow.free.set()


@pytest.mark.long
def test_a_verdict_is_written_before_it_is_forgotten(tmp_path: Path) -> None:
    """What comes again and again is judged once, although the verdict of a moment ago is soon forgotten."""
    with gate(tmp_path) as one:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            assert one.upload(RED).code == "clear"
            time.sleep(0.02)
        assert len(one.slow.seen) == 1
