"""docs/clip.md says how the presets' verdicts change with the detector `clip`: it is held to the presets themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedi_safety.core.enums import Verdict
from fedi_safety.core.policy import judge
from fedi_safety.core.types import Signal
from fedi_safety.policies import PRESETS, load_policy

PAGE = Path(__file__).parents[2] / "docs/clip.md"
COLUMNS = ("nsfw.open_nsfw", "nudity.exposed", "face.", "clip.minor", "clip.sexual", "clip.drawn")
"""What the columns of numbers stand for; that of the face is every signal that a face gives."""


def rows() -> list[list[str]]:
    part = PAGE.read_text("utf-8").split("## What it changes", 1)[1].split("\n## ", 1)[0]
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if re.match(r"\| [a-z]", line)
    ][1:]


def verdict(preset: str, numbers: list[float], *, clip: bool) -> str:
    policy = load_policy(preset)
    given = {
        signal: value
        for column, value in zip(COLUMNS, numbers, strict=True)
        for signal in policy.signals
        if signal.startswith(column) and (clip or not signal.startswith("clip."))
    }
    return judge(policy, {signal: Signal(value) for signal, value in given.items()}).verdict.value


def test_there_is_a_table_with_every_change() -> None:
    said = {cell for row in rows() for cell in row[-len(PRESETS) :]}
    assert len(rows()) >= 5 and {"clear", "clear → review", "clear → block"} <= said


scores = st.sampled_from([0.0, 0.05, 0.2, 0.3, 0.5, 0.7, 0.9])


@given(st.sampled_from(PRESETS), st.lists(scores, min_size=len(COLUMNS), max_size=len(COLUMNS)))
def test_clip_takes_back_nothing_but_what_is_surely_drawn(preset: str, numbers: list[float]) -> None:
    without, with_it = (Verdict(verdict(preset, numbers, clip=clip)) for clip in (False, True))
    drawn = numbers[COLUMNS.index("clip.drawn")] >= 0.9
    assert with_it.rank >= without.rank or (drawn and with_it is Verdict.REVIEW)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_the_verdicts_are_those_of_the_presets(row: list[str]) -> None:
    name, *cells = row
    numbers, said = [float(cell) for cell in cells[: len(COLUMNS)]], cells[len(COLUMNS) :]
    true = []
    for preset in PRESETS:
        without, with_it = (verdict(preset, numbers, clip=clip) for clip in (False, True))
        true.append(without if without == with_it else f"{without} → {with_it}")
    assert said == true, f"the row of {name!r} should end with: | {' | '.join(true)} |"
