"""What hits come to, as a table: exact and perceptual, negative above perceptual, clips by their share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedi_safety.core.known.effects import counted, effects, signals
from fedi_safety.core.known.types import Effect, HashKind, Hit
from fedi_safety.core.types import Match, PictureHash, Signal

BLOCK = Hit("b", Effect.BLOCK, "1", HashKind.PDQ, 4)
REVIEW = Hit("r", Effect.REVIEW, "2", HashKind.PDQ, 9)
HARMLESS = Hit("n", Effect.NEGATIVE, "3", HashKind.PDQ, 2)
BLOCK_BYTES = Hit("b", Effect.BLOCK, "4", HashKind.MD5)
HARMLESS_BYTES = Hit("n", Effect.NEGATIVE, "5", HashKind.SHA256)


@pytest.mark.parametrize(
    ("exact", "pictures", "block", "review"),
    [
        ([], {}, False, False),
        ([BLOCK_BYTES], {}, True, False),
        ([], {0: [BLOCK]}, True, False),
        ([], {0: [BLOCK, REVIEW]}, True, True),
        ([], {0: [BLOCK, HARMLESS]}, False, False),
        ([], {0: [BLOCK], 1: [HARMLESS]}, True, False),
        ([HARMLESS_BYTES], {0: [BLOCK], 1: [REVIEW]}, False, False),
        ([BLOCK_BYTES, HARMLESS_BYTES], {0: [BLOCK]}, True, False),
        ([BLOCK_BYTES], {0: [HARMLESS]}, True, False),
    ],
)
def test_negative_stands_above_what_looks_alike_and_not_above_the_very_bytes(
    exact: list[Hit], pictures: dict[int, list[Hit]], block: bool, review: bool
) -> None:
    found = effects(exact, pictures)
    assert (bool(found[Effect.BLOCK]), bool(found[Effect.REVIEW])) == (block, review)


@pytest.mark.parametrize(
    ("meeting", "pictures", "share", "is_met"),
    [
        (8, 10, 0.8, True),
        (7, 10, 0.8, False),
        (3, 10, 0.3, True),
        (2, 2, 0.8, False),
        (3, 3, 0.8, True),
        (7, 25, 0.28, True),
    ],
)
def test_a_clip_is_met_by_its_share_of_all_pictures_and_by_three(
    meeting: int, pictures: int, share: float, is_met: bool
) -> None:
    frame = Hit("b", Effect.BLOCK, "c@1", HashKind.PDQ, 3, clip="c", share=share)
    other = Hit("b", Effect.BLOCK, "d@1", HashKind.PDQ, 3, clip="d", share=share)
    shown = {i: [frame, frame] if i < meeting else [other] if i == meeting else [] for i in range(pictures)}
    found = effects([], shown)[Effect.BLOCK]
    assert bool(found) is is_met
    assert {met.hit.clip for met in found} <= {"c"}


def test_what_is_attached_to_a_clip_is_no_moment_of_it_and_is_compared_with_pictures_alone() -> None:
    frame = Hit("b", Effect.BLOCK, "c@1", HashKind.PDQ, 3, clip="c", share=0.8)
    cover = PictureHash(~8, 90, bytes([9]) * 32)
    assert (cover.index, cover.attached) == (8, True)
    moments = [PictureHash(i, 90, bytes([i]) * 32) for i in range(4)]
    shown = counted([(cover, [BLOCK, frame]), *((each, [frame]) for each in moments)])
    found = effects([], shown)[Effect.BLOCK]
    assert [(met.hit.entry, met.frame) for met in found if not met.hit.clip] == [("1", 8)]
    assert {met.frame for met in found if met.hit.clip} == {0, 1, 2, 3}, "4 of 4, the cover is none of them"
    assert effects([], {0: [frame], 1: [frame], ~8: [frame]})[Effect.BLOCK] == ()
    alike = PictureHash(~9, 90, moments[0].pdq)
    assert set(counted((each, []) for each in (alike, *moments))) == {~9, 0, 1, 2, 3}


def test_of_pictures_with_one_hash_one_counts_and_of_those_with_too_little_to_see_none() -> None:
    one, other = bytes(32), bytes([1]) * 32
    shown = [PictureHash(i, quality, pdq) for i, (quality, pdq) in enumerate(((50, one), (90, other), (50, one)))]
    assert counted((picture, [BLOCK]) for picture in (*shown, PictureHash(3, 49, bytes([2]) * 32))) == {
        0: [BLOCK],
        1: [BLOCK],
    }


def test_the_very_bytes_come_first_then_the_nearest() -> None:
    far = Hit("b", Effect.BLOCK, "9", HashKind.PDQ, 30)
    found = effects([BLOCK_BYTES], {4: [far], 2: [BLOCK]})[Effect.BLOCK]
    assert [(met.hit.entry, met.frame) for met in found] == [("4", None), ("1", 2), ("9", 4)]


def test_what_scores_say_names_the_entries_of_the_frame_that_met_and_what_holds_them_back() -> None:
    mirrored = Hit("b", Effect.BLOCK, "7", HashKind.PDQ, 6, "mirrored")
    found = signals(effects([], {0: [], 3: [mirrored], 5: [BLOCK, REVIEW]}), {3: "at 0:03.00", 5: "at 0:05.00"})
    assert found == {
        "known.block": Signal(1.0, 5, "at 0:05.00", (Match("b", "1", 4),)),
        "known.review": Signal(1.0, 5, "at 0:05.00", (Match("r", "2", 9),)),
        "known.match": Signal(1.0, 5, "at 0:05.00", (Match("b", "1", 4), Match("r", "2", 9))),
    }
    assert Match("b", "7", 6, "mirrored").text == "entry 7 of b at distance 6, mirrored"
    assert signals(effects([], {0: [BLOCK, HARMLESS]})) == {"known.block": Signal(0.0, 0, "", (Match("n", "3", 2),))}
    assert signals(effects([], {0: []})) == {}


ONE = Hit("one", Effect.BLOCK, "1", HashKind.PDQ, 4, group="one", agreeing=2)
TWO = replace(ONE, list="two", group="two")
FRIEND = replace(ONE, list="friend")
ONE_BYTES = replace(ONE, kind=HashKind.MD5, distance=0)
ONE_WAITS, TWO_WAITS = replace(ONE, waiting=True), replace(TWO, waiting=True)
DOUBT = replace(TWO, list="three", effect=Effect.NEGATIVE, group="three")
ADVICE = replace(TWO, effect=Effect.REVIEW)
ALONE = replace(ONE, agreeing=1)


@pytest.mark.parametrize(
    ("exact", "pictures", "block", "review"),
    [
        ([], {0: [ONE]}, set(), {"one"}),
        ([], {0: [ONE, TWO]}, {"one", "two"}, set()),
        ([], {0: [ONE, FRIEND]}, set(), {"one", "friend"}),
        ([], {0: [ONE], 1: [TWO]}, set(), {"one", "two"}),
        ([ONE_BYTES], {0: [TWO]}, {"one", "two"}, set()),
        ([ONE_BYTES], {0: [], 1: [TWO]}, {"one", "two"}, set()),
        ([ONE_BYTES], {}, set(), {"one"}),
        ([], {0: [ONE, ADVICE]}, set(), {"one", "two"}),
        ([], {0: [ALONE]}, {"one"}, set()),
        ([], {0: [ONE_WAITS]}, set(), set()),
        ([], {0: [replace(ALONE, waiting=True)]}, set(), set()),
        ([], {0: [ONE_WAITS, TWO]}, {"one", "two"}, set()),
        ([], {0: [ONE_WAITS, TWO_WAITS]}, {"one", "two"}, set()),
        ([], {0: [ONE, TWO, DOUBT]}, set(), {"one", "two"}),
        ([], {0: [ONE_WAITS, TWO_WAITS, DOUBT]}, set(), {"one", "two"}),
        ([replace(DOUBT, kind=HashKind.SHA256)], {0: [ONE, TWO]}, set(), {"one", "two"}),
        ([], {0: [BLOCK, DOUBT]}, {"b"}, set()),
        ([], {0: [REVIEW, DOUBT]}, set(), {"r"}),
        ([], {0: [ONE, BLOCK]}, {"b"}, {"one"}),
        ([], {0: [ONE, TWO, HARMLESS]}, set(), set()),
        ([ONE_BYTES], {0: [TWO, HARMLESS]}, set(), {"one"}),
        ([HARMLESS_BYTES], {0: [ONE, TWO]}, set(), set()),
    ],
)
def test_publishers_condemn_where_enough_groups_list_the_same_picture(
    exact: list[Hit], pictures: dict[int, list[Hit]], block: set[str], review: set[str]
) -> None:
    found = effects(exact, pictures)
    assert {met.hit.list for met in found[Effect.BLOCK]} == block
    assert {met.hit.list for met in found[Effect.REVIEW]} == review
    assert ("known.block" in signals(found) and signals(found)["known.block"].value == 1.0) is bool(block)
