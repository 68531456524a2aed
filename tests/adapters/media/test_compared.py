"""What of a medium is handed over to be compared alone: the same wherever it is decoded, whatever chance draws."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from fedi_safety.core.enums import Detail, MediaType
from fedi_safety.core.types import Decoded
from fedi_safety.detectors.known.pdq import upright
from fedi_safety.media import Caps, SandboxDecoder
from fedi_safety.media.caps import MAX_COMPARED
from fedi_safety.media.decoder.frames.sampling import Moment, seconds
from support.stand_in_lists import drawn, pdq_of


@pytest.fixture(scope="module")
def decoder() -> Iterator[SandboxDecoder]:
    with SandboxDecoder(Caps(), 1) as made:
        yield made


def decoded(decoder: SandboxDecoder, image: Image.Image, detail: Detail = Detail.COARSE) -> Decoded:
    data = io.BytesIO()
    image.save(data, "PNG")
    return decoder.decode(data.getvalue(), MediaType.PNG, detail)


def test_a_plain_picture_has_nothing_further(decoder: SandboxDecoder) -> None:
    assert decoded(decoder, Image.fromarray(drawn(1, 400, 300))).compared == ()


def test_what_is_within_an_even_border_is_handed_over_however_narrow_that_is(decoder: SandboxDecoder) -> None:
    inside = drawn(2, 400, 300)
    image = Image.new("RGB", (416, 316), (20, 30, 40))
    image.paste(Image.fromarray(inside), (8, 8))
    (bare,) = decoded(decoder, image).compared
    assert bare.place.bare and abs(bare.width - 400) <= 8 and abs(bare.height - 300) <= 8


@pytest.mark.parametrize("ground", [(236, 238, 242), (250, 250, 255), (60, 60, 66)])
@pytest.mark.parametrize("border", [(255, 255, 255), (0, 0, 0)])
def test_a_border_hides_no_picture_that_has_an_even_ground_itself(
    decoder: SandboxDecoder, ground: tuple[int, int, int], border: tuple[int, int, int]
) -> None:
    """A list has the whole picture with its ground; with what is within that alone it would not be met."""
    picture = Image.new("RGB", (400, 300), ground)
    picture.paste(Image.fromarray(drawn(4, 200, 180)), (60, 50))
    bordered = Image.new("RGB", (440, 330), border)
    bordered.paste(picture, (20, 15))
    listed = np.frombuffer(pdq_of(np.asarray(picture)), np.uint8)
    found = decoded(decoder, bordered).compared
    hashes = [upright(frame.rgb, frame.width, frame.height)[0] for frame in found if frame.place.bare]
    assert min(int(np.bitwise_count(each ^ listed).sum()) for each in hashes) <= 31
    assert len({frame.index for frame in found}) == len(found) == 2


def test_a_transparent_picture_has_its_colours_too(decoder: SandboxDecoder) -> None:
    image = Image.fromarray(drawn(3, 200, 160)).convert("RGBA")
    clear = Image.new("L", image.size, 255)
    clear.paste(0, (0, 0, 90, 160))
    image.putalpha(clear)
    found = decoded(decoder, image)
    colours = next(frame for frame in found.compared if frame.place.opaque)
    assert colours.rgb == drawn(3, 200, 160).tobytes() and colours.place.text == "without its transparency"
    assert [frame.place.on_black for frame in found.frames if not frame.place.bare] == [False, True]
    assert len({frame.index for frame in (*found.frames, colours)}) == len(found.frames) + 1


@pytest.mark.long
def test_of_what_moves_the_same_moments_whatever_is_drawn(decoder: SandboxDecoder) -> None:
    pictures = [Image.fromarray(drawn(i, 60, 40)) for i in range(60)]
    data = io.BytesIO()
    pictures[0].save(data, "GIF", save_all=True, append_images=pictures[1:], duration=200)
    readings = [decoder.decode(data.getvalue(), MediaType.GIF) for _ in range(3)]
    first = readings[0].compared
    assert [frame.place.time_s for frame in first] == list(range(12))
    assert all(reading.compared == first for reading in readings)
    assert len({tuple(frame.index for frame in reading.frames) for reading in readings}) > 1  # what is judged is drawn
    assert decoder.decode(data.getvalue(), MediaType.GIF, Detail.FINE).compared == ()


@pytest.mark.parametrize(("rate", "length_s"), [(25, 7), (30, 31), (10, 40), (24, 600), (1, 5000)])
def test_moments_at_whole_seconds_are_few_and_those_of_longer_clips_among_them(rate: int, length_s: int) -> None:
    moments = [Moment(i / rate, 0, i == 0) for i in range(rate * length_s)]
    found = seconds(moments, MAX_COMPARED)
    assert len(found) <= MAX_COMPARED and found[0] == 0
    assert all(moments[at].time_s == pytest.approx(round(moments[at].time_s), abs=1 / rate) for at in found)
    longer = seconds([Moment(i / rate, 0, i == 0) for i in range(2 * rate * length_s)], MAX_COMPARED)
    shared = {at for at in longer if at <= found[-1]}
    assert shared <= set(found)


def test_moments_of_short_and_of_timeless_ones() -> None:
    assert seconds([Moment(0.1 * i, 0, True) for i in range(10)], MAX_COMPARED) == list(range(10))
    timeless = seconds([Moment(0.0, 0, True)] * 1000, MAX_COMPARED)
    assert timeless == list(range(0, 1000, 32)) and len(timeless) <= MAX_COMPARED
