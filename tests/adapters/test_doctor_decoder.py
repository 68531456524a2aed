"""What `doctor` says of the decoder's processes."""

from __future__ import annotations

import pytest

from fedi_safety.cli.doctor_cmd import _decoder
from fedi_safety.config.schema import Settings
from fedi_safety.media import SandboxDecoder
from fedi_safety.media.protocol import LANDLOCK_PROTECTION, PROTECTIONS


def finding(monkeypatch: pytest.MonkeyPatch, *lacking: str) -> tuple[bool, str]:
    """Return whether it is content with children that lack some protections, and its words."""
    held = {name: name not in lacking for name in PROTECTIONS}
    monkeypatch.setattr(SandboxDecoder, "protections", lambda _: held)
    (found,) = [each for each in _decoder(Settings()) if each.thing == "decoder processes"]
    return found.ok is True, found.detail


def test_all_protections_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one."""
    ok, text = finding(monkeypatch)
    assert ok
    assert all(name in text for name in PROTECTIONS)
    assert "NOT" not in text


def test_a_kernel_without_landlock_is_told_but_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many are."""
    ok, text = finding(monkeypatch, LANDLOCK_PROTECTION)
    assert ok
    assert f"NOT: {LANDLOCK_PROTECTION}" in text


def test_any_other_gap_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """And names what is missing."""
    ok, text = finding(monkeypatch, PROTECTIONS[0], LANDLOCK_PROTECTION)
    assert not ok
    assert f"NOT active: {PROTECTIONS[0]}" in text
