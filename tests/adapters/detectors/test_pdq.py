"""PDQ against the reference: results of the package pdqhash 0.2.8 for photographs that ship with scikit-image."""

from __future__ import annotations

import numpy as np
import pytest

from fedi_safety.detectors.known.pdq import BITS, pdq


@pytest.mark.parametrize(
    ("name", "steps", "expected"),
    [
        ("astronaut", (1, 1), 0x2D6B1AF3A956C529E79CA3D2526FA834D4196C81CEDD04DE0A26B855FC99B724),
        ("coffee", (2, 3), 0x8C629E779E663698F983B8668026727C21A679E61FB6E1F8C79B27E23C0299E0),
        ("chelsea", (3, 2), 0x1FAB5B21F01DA156898E2B7629A5D24B8452CDBD23F499C24645223379B32FFD),
    ],
)
def test_it_is_what_the_reference_says(name: str, steps: tuple[int, int], expected: int) -> None:
    from skimage import data

    bits, quality = pdq(getattr(data, name)()[:: steps[0], :: steps[1]])
    assert int("".join("01"[int(bit)] for bit in bits), 2) == expected
    assert quality == 100


def test_a_picture_with_nothing_on_it_has_no_quality() -> None:
    plain = np.full((40, 50, 3), 128, np.uint8)
    assert pdq(plain)[1] == 0
    plain[:, 25:] = 140
    assert pdq(plain)[1] == 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (3, 5), (64, 64), (768, 2)])
def test_any_size_has_a_hash(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    bits, quality = pdq(random.integers(0, 256, (*shape, 3), dtype=np.uint8))
    assert bits.shape == (BITS,) and 0 <= quality <= 100


def test_a_small_change_moves_few_bits_and_another_picture_half() -> None:
    from skimage import data

    picture = data.astronaut()
    brighter = np.clip(picture.astype(int) + 12, 0, 255).astype(np.uint8)
    assert int((pdq(picture)[0] != pdq(brighter)[0]).sum()) <= 10
    assert int((pdq(picture)[0] != pdq(data.coffee())[0]).sum()) > 80
