"""What is hidden inside or behind another medium is judged like it; ordinary files cost nothing more."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from PIL import Image, ImageDraw, ImageFilter

import compound
import media_zoo
import photos
from compound import Compound, has_subject, ordinary, saved, subject
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import MediaType, Part, Reason
from fedi_safety.media.embedded import find
from fedi_safety.media.sandbox import SandboxDecoder
from fedi_safety.media.sniff import sniff
from moving import picture

SAMPLES = tuple(compound.hiding())


@pytest.fixture(scope="module")
def decoder() -> Iterator[SandboxDecoder]:
    """One child for all."""
    with SandboxDecoder(jobs=1) as one:
        yield one


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_what_is_hidden_is_shown(decoder: SandboxDecoder, sample: Compound) -> None:
    """The first frame is what the file seems to be; a further one has the red circle and says where it is."""
    assert sniff(sample.data[:4096]) is sample.media_type
    decoded = decoder.decode(sample.data, sample.media_type)
    assert decoded.partly is None
    assert decoded.frames[0].place.part is Part.PICTURE
    assert not has_subject(picture(decoded.frames[0]))
    found = [frame for frame in decoded.frames if has_subject(picture(frame))]
    assert [frame.place.part for frame in found] == [sample.part]
    assert found[0].place.text
    assert len(decoded.frames) == len({frame.index for frame in decoded.frames}) == 2
    again = decoder.decode(sample.data, sample.media_type)
    assert again.frames[-1].place.part is sample.part
    if not sample.part is Part.FURTHER_CLIP:  # which of equal frames of a clip comes first is drawn by lot
        assert again.frames[-1].index == found[0].index
