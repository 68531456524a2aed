"""Copies whose hash is off by what hangs on details alone: met by the surest bits, and by nothing else."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fedi_safety.app.known.lists import DISMISSED_DISTANCE
from fedi_safety.core.known.effects import effects
from fedi_safety.core.known.types import (
    BY_SUREST,
    DISTANCE,
    SURE_BITS,
    Effect,
    Entry,
    HashKind,
    Hit,
    KnownList,
)
from fedi_safety.core.types import Frame
from fedi_safety.detectors.known.pdq import turns_and_surest, upright
from fedi_safety.detectors.known.recognizer import Known
from fedi_safety.known.catalog import Catalog
from support.known import Hashes, altered, distance, flipped, pdqs

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "grass", "coins")
LISTED = pdqs(1)[0]
UNSURE = list(range(0, 256, 4))  # places of bits


def photograph(name: str) -> Image.Image:
    from skimage import data

    image = Image.fromarray(getattr(data, name)()).convert("RGB")
    image.thumbnail((512, 512))
    return image


def frame(image: Image.Image) -> Frame:
    return Frame(0, *image.size, image.convert("RGB").tobytes())


def copied(image: Image.Image, kind: str = "JPEG", quality: int = 90, percent: int = 100) -> Image.Image:
    """Return a picture encoded anew, and scaled before that."""
    size = image.width * percent // 100, image.height * percent // 100
    file = BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, kind, quality=quality)
    return Image.open(file)


def hashed(image: Image.Image) -> Hashes:
    return upright(image.convert("RGB").tobytes(), *image.size)[0]


def surest() -> Hashes:
    bits = np.ones(256, np.uint8)
    bits[UNSURE] = 0
    return np.packbits(bits)


@pytest.mark.parametrize(
    ("sure", "unsure", "within", "met"),
    [
        (0, 46, DISTANCE, 0),
        (15, 20, DISTANCE, 20),
        (23, 12, DISTANCE, 31),
        (24, 12, DISTANCE, None),  # as much in the surest bits as 32 of all would be
        (5, 42, DISTANCE, None),  # half as much again, and no more
        (5, 17, 15, 7),
        (12, 10, 15, None),
        (5, 18, 15, None),
        (0, 1, 0, None),
    ],
)
def test_how_far_off_all_bits_and_the_surest_may_be(
    tmp_path: Path, sure: int, unsure: int, within: int, met: int | None
) -> None:
    others = [place for place in range(256) if place not in UNSURE]
    asked = flipped(LISTED, [*others[:sure], *UNSURE[:unsure]])[None]
    with Catalog(tmp_path) as catalog:
        catalog.put(KnownList("theirs", distance=within), [Entry(HashKind.PDQ, LISTED.tobytes(), "1")])
        images = catalog.images()
        (plain,), (hits,) = images.near(asked), images.near(asked, surest()[None])
        images.close()
    assert not plain
    assert [(hit.entry, hit.distance, hit.turn) for hit in hits] == ([] if met is None else [("1", met, BY_SUREST)])


def test_an_entry_that_is_met_by_itself_alone_is_not_met_by_the_surest_bits(tmp_path: Path) -> None:
    few = np.frombuffer((int.from_bytes(LISTED.tobytes(), "big") & ~(0xFF << 120)).to_bytes(32, "big"), np.uint8)
    assert 100 <= int(np.bitwise_count(few).sum()) < 128
    with Catalog(tmp_path) as catalog:
        catalog.put(KnownList("theirs"), [Entry(HashKind.PDQ, few.tobytes(), "1")])
        images = catalog.images()
        assert images.near(flipped(few, UNSURE[:1])[None], surest()[None]) == [[]]
        images.close()


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_surest_bits_are_those_that_a_change_leaves(name: str) -> None:
    """Most of what a scaled copy has otherwise is not among them, and they are the same of a picture in each turn."""
    image = photograph(name)
    hashes, sure, quality = turns_and_surest(image.tobytes(), *image.size)
    assert quality >= 50 and (np.bitwise_count(sure).sum(axis=1) == SURE_BITS).all()
    copy = copied(image, percent=60)
    others, _, _ = turns_and_surest(copy.convert("RGB").tobytes(), *copy.size)
    differing = hashes ^ others
    assert differing.any()
    assert np.bitwise_count(differing & sure).sum() <= np.bitwise_count(differing).sum() / 3


def test_a_copy_that_no_distance_finds_is_met_and_says_how(tmp_path: Path) -> None:
    image = photograph("brick")
    copy = image.filter(ImageFilter.GaussianBlur(2))
    assert distance(hashed(image), hashed(copy)) > DISTANCE
    with Catalog(tmp_path) as catalog:
        catalog.put(KnownList("theirs"), [Entry(HashKind.PDQ, hashed(image).tobytes(), "wall")])
        known = Known(catalog.images())
        mirrored = copy.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        hits = [each.hits for each in known.pictures([frame(copy), frame(mirrored)])]
        known.close()
    assert [[(hit.entry, hit.turn) for hit in each] for each in hits] == [
        [("wall", BY_SUREST)],
        [("wall", f"mirrored, {BY_SUREST}")],
    ]
    assert all(0 < hit.distance <= DISTANCE for each in hits for hit in each)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_no_copy_of_what_was_dismissed_is_condemned_for_the_list_that_it_was_on(tmp_path: Path, name: str) -> None:
    """JPEG, WebP, scaled to 75, 50 and 25 %: though some are 16 to 30 bits off. What is listed stays condemned."""
    image = photograph(name)
    harmless = hashed(image)
    listed = altered(harmless, 26)  # another picture, so like this one that a person had to look
    entries = {
        KnownList("dismissed", Effect.NEGATIVE, DISMISSED_DISTANCE): [harmless],
        KnownList("theirs"): [hashed(copied(image, quality=70)), listed],
    }
    with Catalog(tmp_path) as catalog:
        for known_list, hashes in entries.items():
            catalog.put(known_list, [Entry(HashKind.PDQ, h.tobytes(), str(n)) for n, h in enumerate(hashes)])
        known = Known(catalog.images())
        for how in ({"quality": 50}, {"kind": "WEBP", "quality": 80}, *({"percent": p} for p in (75, 50, 25))):
            (found,) = known.pictures([frame(copied(image, **how))])  # type: ignore[arg-type]
            told = effects([], {0: found.hits})
            assert told[Effect.NEGATIVE] and not told[Effect.BLOCK], how
        images = catalog.images()
        (hits,) = images.near(listed[None])
        images.close()
        known.close()
    assert {hit.list for hit in hits} == {"dismissed", "theirs"}
    assert [met.hit.entry for met in effects([], {0: hits})[Effect.BLOCK]] == ["1"]


@pytest.mark.parametrize(("listed", "harmless", "held"), [(0, 15, True), (0, 16, False), (9, 24, True), (9, 25, False)])
def test_a_no_holds_back_what_is_not_much_nearer_to_what_is_listed(listed: int, harmless: int, held: bool) -> None:
    hits = [
        Hit("theirs", Effect.BLOCK, "1", HashKind.PDQ, listed),
        Hit("dismissed", Effect.NEGATIVE, "2", HashKind.PDQ, harmless),
    ]
    assert bool(effects([], {0: hits})[Effect.BLOCK]) is not held
