"""The benchmark of how surely pictures are found again: its changes, and what it counts."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench.known_changes import jpeg, rows
from bench.known_robust import FAR, MISSED, OTHERS, OURS, Found, _note, _subject, missed

from fedi_safety.core.known.ports import Compared
from fedi_safety.core.known.types import Effect, HashKind, Hit
from fedi_safety.core.types import PictureHash
from support.stand_in_lists import drawn


def test_every_change_gives_a_picture_that_is_another_file() -> None:
    image = Image.fromarray(drawn(1, 240, 160))
    before = jpeg(image)
    names = []
    for row in rows():
        for name, change in row.changes.items():
            data = change(image, np.random.default_rng(1))
            with Image.open(io.BytesIO(data)) as changed:
                changed.load()
            names.append(name)
            assert name == "JPEG 90" or data != before, name
    assert len(set(names)) == len(names) > 30


def met(*hits: tuple[str, str, int], quality: int = 100) -> Compared:
    found = [Hit(name, Effect.BLOCK, entry, HashKind.PDQ, distance) for name, entry, distance in hits]
    return Compared(PictureHash(0, quality, bytes(32)), found)


def test_the_own_entry_is_found_and_another_is_a_mistake() -> None:
    found = Found()
    _note(found, "a", [met((OURS, "a@0", 31), (MISSED, "a@0", 31)), met((OURS, "b@0", 20), (MISSED, "c@0", 32))])
    _note(found, "a", [met((OURS, "a@0", 16), (MISSED, "a@0", 40), (OTHERS, "a", 16))])
    _note(found, "a", [met((MISSED, "a@0", 40))])
    _note(found, "a", [met()])
    _note(found, "a", [met(quality=49)])
    assert (found.ours, found.others, found.faint) == ([31, 16, 40, FAR + 1], [32, 16, 40, FAR + 1], 1)
    assert found.by_surest == 1, "which all bits would not have met"
    assert found.mistaken == ["a for b"] and found.missed == {"a": FAR + 1}
    assert found.share(found.ours) == 0.5


def test_a_row_that_finds_too_few_is_told() -> None:
    table = [row for row in rows() if row.name in ("watermark", "border of 2 %")]
    enough, few = Found(ours=[0] * 9 + [40]), Found(ours=[0] * 8 + [40, 40])
    assert missed(table, {"watermark": enough, "border 2 %": enough}) == ["watermark: 90.0 %"]
    assert missed(table, {"watermark": enough, "border 2 %": few}) == ["watermark: 90.0 %", "border of 2 %: 80.0 %"]


def test_one_picture_in_two_sizes_is_one_picture() -> None:
    assert _subject("tabler-ui/photos/road-776-1500.jpg") == _subject("tabler-ui/photos/road-776-500.jpg") == "road-776"
