"""The daemon tells when a store cannot be looked at, once, and when it can again; a pass that is complete beats."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedi_safety.core.errors import ApiError, StoreError, StoreUsageError
from fedi_safety.core.ledger.notices import Channel, NoticeState
from fedi_safety.core.notices.access import ACCESS
from fedi_safety.core.notices.transitions import Transition
from support.passes import RED
from support.watches import Rig

CHANNEL = Channel("json://a.example", frozenset(Transition))


def told(rig: Rig) -> list[str]:
    return [f"{n.transition.value} {n.about}" for n in rig.ledger.notices(tuple(NoticeState), 99)]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path / "ledger.db", channels=[CHANNEL])
    made.store.put("a.png", RED)
    return made


def break_off(rig: Rig, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def raising(*_: object) -> object:
        raise error

    monkeypatch.setattr(rig.store, "list", raising)


def test_a_failure_is_told_when_it_stays_and_its_end_across_restarts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.step()
    with monkeypatch.context() as broken:
        break_off(rig, broken, StoreError("fake://store", "the network is down"))
        rig.step()
        assert told(rig) == []  # one may pass by itself
        for _ in range(3):
            rig.step()
            rig.restart()
            rig.step()
        assert told(rig) == ["failing fake"]
    rig.step()
    rig.restart()
    rig.step()
    assert told(rig) == ["failing fake", "well_again fake"]


def test_refused_credentials_are_told_at_once_and_as_that(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        break_off(rig, broken, StoreUsageError("fake://store", "the secret key is wrong").as_refused())
        for _ in range(3):
            rig.step()
    assert told(rig) == ["credentials_refused fake"]
    rig.step()
    assert told(rig) == ["credentials_refused fake", "well_again fake"]


def test_what_is_refused_deep_inside_a_cycle_is_told_after_it(rig: Rig) -> None:
    about = "API of Mastodon at m.example"
    for _ in range(2):
        ACCESS.refused(about, "it does not accept the token", ApiError("API", "no"))
        rig.step()
    assert told(rig) == [f"credentials_refused {about}"]
    ACCESS.accepted(about)
    rig.step()
    assert told(rig) == [f"credentials_refused {about}", f"well_again {about}"]


def test_only_a_completed_pass_beats(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[str] = []
    rig.shared.completed = lambda: beats.append("beat")
    rig.step()
    rig.step()
    assert len(beats) == 2
    with monkeypatch.context() as broken:
        break_off(rig, broken, StoreError("fake://store", "the network is down"))
        rig.step()
    assert len(beats) == 2
    rig.ledger.set_breaker(1, rig.store.url, "too much")
    rig.step()
    assert len(beats) == 2, "its removals stand still"
