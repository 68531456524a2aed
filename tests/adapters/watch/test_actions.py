"""A watch traces and acts through the app as a scan does: in its small cycles, once, and after a person's word."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.config.loading import load_settings
from fedi_safety.core.errors import ModerationDown
from fedi_safety.core.moderation import AppAction
from fedi_safety.core.sightings import Subject, Traced
from support.moderators import FakeModerator
from support.passes import RED_CIRCLE
from support.tracers import SEEN, FakeTracer
from support.watches import Rig

HOUR = 3600.0
SHA256 = hashlib.sha256(RED_CIRCLE).digest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeModerator:
    """A Lemmy that does what it is told, and a tracer that finds a post and a person of it behind everything."""

    def seen(subject: Subject) -> Traced:
        return Traced((replace(SEEN, post_id=f"post-{subject.key}", person_id=f"person-{subject.key}", local=True),))

    made = FakeModerator()

    def opened(_access: Any, _root: str, host: str) -> FakeModerator:
        made.name = f"lemmy at {host}"
        return made

    monkeypatch.setattr("fedi_safety.app.tracing.open_tracer", lambda _access: FakeTracer(seen))
    monkeypatch.setattr("fedi_safety.app.actions.open_moderator", opened)
    return made


@pytest.fixture
def rig(tmp_path: Path, server: FakeModerator) -> Iterator[Rig]:
    trace = {
        "server": "lemmy",
        "url": "https://social.example",
        "token": "a-token",
        "actions": ["report", "remove_post", "ban"],
    }
    made = Rig(tmp_path / "ledger.db", settings=load_settings(trace=trace))
    made.step()  # nothing is there yet
    yield made
    made.watch.close()
    assert made.ledger.verify().problem is None
    made.ledger.dispose()


def test_a_new_object_is_traced_removed_and_acted_on_once(rig: Rig, server: FakeModerator) -> None:
    rig.store.put("bad", RED_CIRCLE)
    for _ in range(3):
        rig.step()
    assert rig.store.removed == ["bad"]
    assert server.done == [("report", "post-bad"), ("remove_post", "post-bad")]
    rig.ledger.confirm(SHA256, "two of us looked", "admin")
    for _ in range(2):
        rig.step()
    assert server.done[2:] == [("ban", "person-bad")]
    assert rig.watch.health.state == "ok"


@pytest.mark.long
def test_a_server_that_is_down_is_said_and_asked_again_when_it_is_due(
    rig: Rig, server: FakeModerator, caplog: pytest.LogCaptureFixture
) -> None:
    def down(_action: AppAction) -> None:
        raise ModerationDown("social.example", "it does not answer", "see its log")

    server.before = down
    rig.store.put("bad", RED_CIRCLE)
    rig.step()
    assert rig.store.removed == ["bad"], "its bytes wait for nobody"
    assert server.done == []
    assert "not done: report" in caplog.text and "it does not answer" in caplog.text
    rig.restart()
    server.before = lambda _action: None
    until = rig.clock.now() + HOUR
    while rig.clock.now() < until:
        rig.step()
    assert server.done == [("report", "post-bad"), ("remove_post", "post-bad")]
