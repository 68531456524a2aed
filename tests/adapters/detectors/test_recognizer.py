"""The detector `known`: pictures in every turn, each entry once, and nothing of a picture with nothing on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.places import Part, Place
from fedi_safety.core.known.packing import checked, packed
from fedi_safety.core.known.types import TURNS, Effect, Entry, KnownList
from fedi_safety.core.types import Frame
from fedi_safety.detectors.known.recognizer import Known
from support.stand_in_lists import Pixels, StandInLists, drawn, listed, pdq_of, picture_entry


def frame(index: int, pixels: Pixels) -> Frame:
    return Frame(index, pixels.shape[1], pixels.shape[0], np.ascontiguousarray(pixels).tobytes())


def turned(pixels: Pixels, turn: int) -> Pixels:
    """Return a picture as `TURNS` says."""
    mirrored = pixels[:, ::-1] if turn >= 4 else pixels
    return np.ascontiguousarray(np.rot90(mirrored, -(turn % 4)))


@pytest.mark.parametrize("turn", range(len(TURNS)))
@pytest.mark.parametrize("size", [(96, 64), (65, 200), (512, 384)])
def test_a_turned_picture_is_known_with_the_turn_that_leads_to_it(turn: int, size: tuple[int, int]) -> None:
    pixels = drawn(5, *size)
    known = Known(StandInLists(listed("b", Effect.BLOCK, picture_entry(turned(pixels, turn), "it"), distance=0)))
    (found,) = known.pictures([frame(0, pixels)])
    assert [(hit.entry, hit.distance, hit.turn) for hit in found.hits] == [("it", 0, TURNS[turn])]


def test_an_entry_is_named_once_the_nearest_way_and_each_picture_has_its_own() -> None:
    one, other = drawn(1), drawn(2)
    even = one.astype(np.uint16) + one[:, ::-1]
    symmetric = (even // 2).astype(np.uint8)  # its mirror is nearly itself
    lists = StandInLists(listed("b", Effect.BLOCK, picture_entry(symmetric, "s"), picture_entry(other, "o")))
    found = Known(lists).pictures([frame(0, symmetric), frame(7, drawn(3)), frame(9, other)])
    assert [[(hit.entry, hit.distance, hit.turn) for hit in each.hits] for each in found] == [
        [("s", 0, "")],
        [],
        [("o", 0, "")],
    ]
    assert [(each.hash.frame, each.hash.pdq) for each in found] == [
        (0, pdq_of(symmetric)),
        (7, pdq_of(drawn(3))),
        (9, pdq_of(other)),
    ]
    assert lists.asked == [24]


def test_blank_pictures_are_hashed_and_compared_with_nothing() -> None:
    """All flat pictures have one hash: one such entry would condemn every blank image of a store."""
    blank = np.full((64, 96, 3), 90, np.uint8)
    lists = StandInLists(listed("b", Effect.BLOCK, picture_entry(blank, "blank")))
    (found,) = Known(lists).pictures([frame(0, blank)])
    assert found.hash.quality < 50 and not found.hits and not lists.asked


@pytest.mark.parametrize("lists", [[], [listed("b", Effect.BLOCK, picture_entry(drawn(9), "9"))]])
def test_a_picture_that_comes_with_what_moves_is_told_from_its_moments(
    lists: list[tuple[KnownList, list[Entry]]],
) -> None:
    known = Known(StandInLists(*lists))
    cover, moment = replace(frame(8, drawn(1)), place=Place(part=Part.COVER)), frame(2, drawn(2))
    moving = known.pictures([cover, replace(moment, place=Place(time_s=1.0))])
    assert [(each.hash.frame, each.hash.index, each.hash.attached) for each in moving] == [(~8, 8, True), (2, 2, False)]
    assert checked(packed([each.hash for each in moving])) == tuple(each.hash for each in moving)
    assert [each.hash.frame for each in known.pictures([cover, moment])] == [8, 2], "of what does not move all count"


def test_without_lists_pictures_are_hashed_alone() -> None:
    lists = StandInLists()
    (found,) = Known(lists).pictures([frame(0, drawn(4))])
    assert found.hash.quality >= 50 and found.hash.pdq == pdq_of(drawn(4)) and not lists.asked


def test_lists_that_cannot_be_read_are_no_answer() -> None:
    lists = StandInLists(listed("b", Effect.BLOCK))
    lists.broken = True
    with pytest.raises(Unscannable, match="damaged"):
        Known(lists).pictures([frame(0, drawn(4))])
