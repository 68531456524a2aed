"""The stand-in subject is found in every kind of file that can be written here, through the real sandbox."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from PIL import Image

from fedi_safety.core.types import Decoded, Frame
from fedi_safety.media import Caps, SandboxDecoder
from support.corpus.zoo.moving_things import BUDGET, animations
from support.corpus.zoo.recall import MAKERS, Recall, measure, zoo
from support.corpus.zoo.subject import SIZE, Item, disc, ground, seen, subject

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def recall() -> Iterator[Recall]:
    """Measure once."""
    with SandboxDecoder(Caps(frames=BUDGET), jobs=1) as decoder:
        yield measure(decoder, zoo())


def test_every_subject_within_the_budget_is_found(recall: Recall) -> None:
    """And no damaged file passes for one in which there is nothing."""
    sys.stdout.write(recall.text())
    assert recall.wrong == []
    assert all(found == there for row in recall.rows.values() for found, there in [row.within])


def test_the_zoo_is_whole(recall: Recall) -> None:
    """A generator that yields nothing would find everything."""
    assert len(MAKERS) >= 5
    assert len(recall.rows) >= 20
    assert all(row.within[1] >= 5 for row in recall.rows.values())
    assert sum(row.within[1] for row in recall.rows.values()) > 500
    assert sum(row.beyond[1] for row in recall.rows.values()) > 40
    assert sum(sum(row.damaged.values()) for row in recall.rows.values()) > 80


def test_a_smaller_budget_finds_less() -> None:
    """With one frame of sixteen most are missed: it is not the file that shows the subject everywhere."""
    with SandboxDecoder(Caps(frames=1, more_frames=1), jobs=1) as decoder:
        recall = measure(decoder, [item for item in animations() if "of 16" in item.name])
    found, there = (sum(row.within[at] for row in recall.rows.values()) for at in (0, 1))
    assert there == 15
    assert found < there


def test_the_detector_can_miss() -> None:
    """It tells a picture without the subject, one that is turned, one that is small, and the wrong frame."""

    def frame(image: Image.Image, index: int = 0) -> Frame:
        return Frame(index, *SIZE, image.convert("RGB").tobytes())

    item = Item("PNG", "one", b"", next(zoo()).kind)
    turned = subject().transpose(Image.Transpose.ROTATE_90)
    small = ground()
    small.paste(subject().resize((48, 32)), (10, 10))
    for image in (ground(), turned, small, disc()):
        assert not seen(item, Decoded(item.kind, *SIZE, (frame(image),)))
    both = Decoded(item.kind, *SIZE, (frame(ground(), 0), frame(subject(), 5)))
    assert not seen(item, both)
    assert seen(replace(item, frames=frozenset({5})), both)
    assert seen(item, Decoded(item.kind, *SIZE, (frame(subject()),)))
    assert seen(replace(item, bare=True), Decoded(item.kind, *SIZE, (frame(disc()),)))
