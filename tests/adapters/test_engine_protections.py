"""What is said at a start about the decoder's processes."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

import fedi_safety
from fedi_safety.app.engine import open_decoder
from fedi_safety.config.schema import Settings
from fedi_safety.media import SandboxDecoder
from fedi_safety.media.protocol import PROTECTIONS

SRC = Path(fedi_safety.__file__).parent


@pytest.mark.parametrize("lacking", PROTECTIONS)
def test_every_start_says_once_which_protection_is_lacking(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lacking: str
) -> None:
    """Seccomp and Landlock among them; no start is refused for it."""
    monkeypatch.setattr(SandboxDecoder, "protections", lambda _: {name: name != lacking for name in PROTECTIONS})
    with caplog.at_level(logging.WARNING), open_decoder(Settings(), 1):
        (line,) = caplog.messages
    assert lacking in line
    assert not any(name in line for name in PROTECTIONS if name != lacking)


def test_a_start_with_all_protections_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning that is always there is none."""
    monkeypatch.setattr(SandboxDecoder, "protections", lambda _: dict.fromkeys(PROTECTIONS, True))
    with caplog.at_level(logging.WARNING), open_decoder(Settings(), 1):
        assert not caplog.messages


def test_every_command_that_judges_starts_its_decoder_so() -> None:
    """Whoever makes a decoder otherwise has another way of saying it."""
    makers = [path for path in SRC.rglob("*.py") if re.search(r"\bSandboxDecoder\(", path.read_text("utf-8"))]
    known = {
        "app/engine.py",
        "cli/doctor_cmd.py",
        "cli/concepts/commands.py",
        "cli/models/optimize.py",
        "media/pool.py",
    }
    assert {path.relative_to(SRC).as_posix() for path in makers} <= known
