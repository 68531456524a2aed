"""Real detectors for tests, by name: opened as the program opens them, without a configuration around them."""

from __future__ import annotations

from fedi_safety.config.schema import Clip, Settings
from fedi_safety.core.ports import Detector
from fedi_safety.detectors import open_detectors


def settings_for(*names: str, device: str = "cpu", clip: Clip | None = None) -> Settings:
    """Return settings with these detectors, whatever they are called: names and device are not checked here."""
    chosen = {"detectors": list(names), "device": device} | ({} if clip is None else {"clip": clip})
    return Settings().model_copy(update=chosen)


def opened(*names: str, device: str = "cpu", threads: int = 1, clip: Clip | None = None) -> list[Detector]:
    """Open them and return those that look at frames."""
    return open_detectors(settings_for(*names, device=device, clip=clip), threads).frames
