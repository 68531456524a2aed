"""The dead man's switch asks one address, follows no redirect, and says nothing of it but its host."""

from __future__ import annotations

import logging
import threading

import pytest

from fedi_safety.notify import heartbeat
from fedi_safety.notify.heartbeat import Heartbeat, beat
from support.receivers import receiver


def test_it_asks_the_address_and_says_whether_all_was_well(caplog: pytest.LogCaptureFixture) -> None:
    with receiver() as other:
        url = f"http://127.0.0.1:{other.port}/ping/s3cr3t"
        assert beat(url)
        for answer in ("fail", "redirect"):
            other.answers = lambda answer=answer: answer  # type: ignore[misc]
            assert not beat(url)
        assert other.asked == ["GET /ping/s3cr3t"] * 3
    with caplog.at_level(logging.DEBUG, "fedi_safety"):
        assert not beat(url)  # nobody is there any more
    assert "heartbeat http://127.0.0.1: " in caplog.text and "s3cr3t" not in caplog.text


def test_one_is_asked_at_a_time_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    go, asked = threading.Event(), list[str]()
    begun = threading.Semaphore(0)

    def slow(url: str) -> bool:
        asked.append(url)
        begun.release()
        return go.wait(60)

    monkeypatch.setattr(heartbeat, "beat", slow)
    heart = Heartbeat("http://127.0.0.1/")
    heart.beat()
    assert begun.acquire(timeout=60)
    heart.beat()
    heart.beat()
    go.set()
    while heart._asking.locked():
        pass
    heart.beat()
    assert begun.acquire(timeout=60)
    assert len(asked) == 2
