"""Presets of law: what is done with what is condemned, and how long a sealed copy of it is kept. No legal advice.

docs/law.md has where each comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from fedi_safety.core.classes import dataclass

DAY_S = 86_400.0


class Preset(StrEnum):
    """The presets, the one that is proposed first at the head."""

    SEAL_AND_HOLD = "seal-and-hold"
    REPORT_AND_PRESERVE = "report-and-preserve"
    DESTROY_UNSEEN = "destroy-unseen"


@dataclass(frozen=True, slots=True)
class Law:
    """What a preset sets. `keep_days` is None where nothing ends by itself; `filed_days` count from a report on."""

    seals: bool
    keep_days: float | None
    filed_days: float | None
    meaning: str


PRESETS: Mapping[Preset, Law] = {
    Preset.SEAL_AND_HOLD: Law(
        True, 30.0, None, "remove it, and keep a sealed copy for 30 days, so that a wrong removal can be undone"
    ),
    Preset.REPORT_AND_PRESERVE: Law(
        True, None, 365.0, "remove it, and keep a sealed copy until a year after it was reported to an authority"
    ),
    Preset.DESTROY_UNSEEN: Law(False, None, None, "remove it for good, and keep no copy"),
}


def keep_s(preset: str | None, days: float | None) -> float | None:
    """Return for how many seconds a sealed copy is kept from its making; None where it does not end by itself.

    `days` is the operator's own word and wins.
    """
    if days is None and preset is not None:
        days = PRESETS[Preset(preset)].keep_days
    return None if days is None else days * DAY_S


def keep_filed_s(preset: str | None, days: float | None) -> float | None:
    """Return for how many seconds it is kept from the day of a report on; None where a report changes nothing."""
    if days is None and preset is not None:
        days = PRESETS[Preset(preset)].filed_days
    return None if days is None else days * DAY_S
