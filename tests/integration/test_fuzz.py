"""Spoiled files through the whole media layer for a while; `./dev soak fuzz` makes it long (docs/media.md)."""

from __future__ import annotations

import os
import sys

import pytest

from fedi_safety.core.enums import MediaType
from fedi_safety.core.types import Decoded, Frame
from fuzz.corpus import corpus
from fuzz.mutate import Mutator, Seed
from fuzz.pieces import mended, pieces
from fuzz.run import Crashed, Fuzzing, check
from support.share import Share

SECONDS = 40.0
INPUTS = 200_000  # of a soak


@pytest.fixture(scope="module")
def seeds() -> list[Seed]:
    """Make the corpus once."""
    return corpus()


@pytest.mark.fuzz
@pytest.mark.quiet
def test_nothing_that_is_fed_does_harm(seeds: list[Seed], share: Share) -> None:
    """Frames or a typed reason in time, whatever comes; the parent neither fails nor grows, and no child stays."""
    inputs, seconds, jobs = (INPUTS, None, len(os.sched_getaffinity(0))) if share.full else (None, SECONDS, 2)
    figures = Fuzzing(share.seed, jobs, inputs=inputs, seconds=seconds, mutator=Mutator(seeds)).run()
    sys.stdout.write(figures.text())
    share.figure(f"{figures.inputs} spoiled files in {figures.seconds:.0f} s, {len(figures.failures)} failures")
    assert figures.failures == []
    assert figures.inputs > 300
    assert figures.outcomes["frames"] > 0
    assert {"corrupt", "truncated", "unsupported", "too_large"} <= figures.outcomes.keys()
    assert len(figures.kinds) >= 14, "every format is reached"


@pytest.mark.fuzz
def test_an_input_can_be_made_again(seeds: list[Seed]) -> None:
    """By its run's seed and its number; and inputs differ."""
    one, other = Mutator(seeds), Mutator(seeds)
    inputs = [one.input(1, number) for number in range(200)]
    assert inputs == [other.input(1, number) for number in range(200)]
    assert len({spoiled.data for spoiled in inputs}) > 180
    assert one.input(2, 0) != inputs[0]


@pytest.mark.fuzz
def test_parts_are_known(seeds: list[Seed]) -> None:
    """Of every format with parts some are found, and mending checksums leaves whole files as they are."""
    parts = {seed.group: len(pieces(seed.data)) for seed in seeds if seed.group.startswith("zoo")}
    assert len(parts) >= 15
    assert {group for group, count in parts.items() if not count} <= {
        "zoo BMP",
        "zoo JXL",
        "zoo animated JXL",
        "zoo pages of TIFF, HEIC, PDF; SVG",
    }
    whole = [seed for seed in seeds if seed.group in ("zoo PNG", "zoo ogg") and "garbled" not in seed.name]
    assert all(mended(seed.data) == seed.data for seed in whole)


def test_broken_promises_are_noticed() -> None:
    """What the run demands can be failed."""
    frame = Frame(0, 2, 1, bytes(6))
    good = Decoded(MediaType.PNG, 2, 1, (frame,))
    assert check(good, MediaType.PNG) == "frames"
    assert check(Decoded(MediaType.PNG, 2, 1, (frame,), "corrupt: x"), MediaType.PNG) == "partly, corrupt"
    for bad in (
        Decoded(MediaType.PNG, 2, 1, ()),
        Decoded(MediaType.PNG, 2, 1, (frame, frame)),
        Decoded(MediaType.PNG, 60_000, 60_000, (frame,)),
        Decoded(MediaType.GIF, 2, 1, (frame,)),
    ):
        with pytest.raises(AssertionError):
            check(bad, MediaType.PNG)
    with pytest.raises(ValueError, match="nonsense"):
        check(Decoded(MediaType.PNG, 2, 1, (frame,), "nonsense"), MediaType.PNG)
    with pytest.raises(Crashed):
        check(Decoded(MediaType.PNG, 2, 1, (frame,), "decoder_crashed: killed"), MediaType.PNG)
