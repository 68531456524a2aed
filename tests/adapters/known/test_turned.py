"""Turned copies of what comes onto a list later: found by the bits of the one hash that is stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedi_safety.core.enums import Verdict
from fedi_safety.core.known.types import DISTANCE, TURNS, Entry, HashKind, KnownList
from fedi_safety.detectors.known.pdq import turns, upright
from fedi_safety.known.index.turned import BACK, turned
from support.judged_before import World, pdq, sha
from support.known import Hashes, altered, distance, pdqs


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.catalog.close()
    made.ledger.dispose()


def photograph(name: str) -> Image.Image:
    from skimage import data

    image = Image.fromarray(getattr(data, name)()).convert("RGB")
    image.thumbnail((512, 512))
    return image


def in_turn(image: Image.Image, turn: int) -> Hashes:
    """Return the hash of a picture that was turned as `TURNS` says."""
    pixels = np.asarray(image)
    pixels = pixels[:, ::-1] if turn >= 4 else pixels
    pixels = np.ascontiguousarray(np.rot90(pixels, -(turn % 4)))
    return upright(pixels.tobytes(), pixels.shape[1], pixels.shape[0])[0]


def test_turning_keeps_distances_and_can_be_undone() -> None:
    one, other = pdqs(1)[0], altered(pdqs(1)[0], 20)
    ways = turned(np.stack([one, other]))
    assert [distance(*way) for way in ways] == [20] * len(TURNS)
    assert [turned(ways[turn])[back, 0].tobytes() for turn, back in enumerate(BACK)] == [one.tobytes()] * len(TURNS)
    assert len({way[0].tobytes() for way in ways}) == len(TURNS)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket", "coins"])
def test_it_is_near_to_the_hash_of_the_turned_picture_and_of_no_other_turn(name: str) -> None:
    image = photograph(name)
    hashes, _ = turns(image.tobytes(), *image.size)
    told = turned(hashes[:1])[:, 0]
    for turn, mine in enumerate(told):
        off = [distance(mine, each) for each in hashes]
        assert off[turn] <= DISTANCE and int(np.argmin(off)) == turn


@pytest.mark.sampled(3)
@pytest.mark.parametrize("turn", range(len(TURNS)))
def test_a_turned_copy_is_found_backwards_without_a_read(world: World, turn: int) -> None:
    image = photograph("coffee")
    world.judged("turned", [in_turn(image, turn).tobytes()])
    world.judged("another", [pdq()])
    known = KnownList("theirs")
    entry = Entry(HashKind.PDQ, in_turn(image, 0).tobytes(), "1")
    world.take(known, entry)
    assert (world.verdict("turned"), world.planned()) == ((Verdict.BLOCK, True), ["turned"])
    (content, _, _) = world.ledger.contents([sha("turned")])[sha("turned")]
    (match,) = content.scores.signals["known.block"].matches
    assert (match.entry, match.turn) == ("1", TURNS[BACK[turn]]) and match.distance <= DISTANCE
    world.take(known, entry)
    assert world.verdict("turned") == (Verdict.BLOCK, True)
    world.take(known, Entry(HashKind.PDQ, pdq(), "2"))
    assert (world.verdict("turned"), world.planned()) == ((Verdict.CLEAR, True), [])
    world.whole()
