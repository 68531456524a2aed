"""Animations: drawn as viewers draw them, wherever decoding begins; and what is damaged, by what is left of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.places import Part
from fedi_safety.core.types import Frame
from fedi_safety.media.decoder.formats import apng, canvas, gif, webp
from support.corpus.media_zoo import saved
from support.corpus.moving import Piece, composed, number, numbered, picture, shown
from support.corpus.moving import apng as make_apng
from support.corpus.moving import gif as make_gif
from support.corpus.moving import webp as make_webp
from support.share import examples

SIZE = (24, 16)
RED, GREEN, BLUE, WHITE = (220, 30, 30, 255), (30, 170, 60, 255), (40, 60, 220, 255), (255, 255, 255, 255)

Maker = Callable[[Sequence[Piece], tuple[int, int]], bytes]
MAKERS: dict[MediaType, Maker] = {MediaType.GIF: make_gif, MediaType.PNG: make_apng, MediaType.WEBP: make_webp}


def flat(colour: tuple[int, int, int, int], size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a picture of one colour."""
    return Image.new("RGBA", size, colour)


def on(ground: tuple[int, int, int, int], image: Image.Image) -> Image.Image:
    """Return an RGBA picture on a ground."""
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert("RGB")


def far(one: Image.Image, other: Image.Image) -> int:
    """Return by how much two pictures differ at most."""
    return int(np.abs(np.asarray(one.convert("RGB"), int) - np.asarray(other.convert("RGB"), int)).max())


# --- drawing


@st.composite
def _pieces(draw: st.DrawFn, kind: MediaType) -> list[Piece]:
    """Any patches that the format allows, each a colour of its own so that no two frames are nearly equal."""
    found = []
    for index in range(draw(st.integers(2, 9))):
        whole = draw(st.booleans())
        width, height = SIZE if whole else (draw(st.integers(1, SIZE[0])), draw(st.integers(1, SIZE[1])))
        x, y = draw(st.integers(0, SIZE[0] - width)), draw(st.integers(0, SIZE[1] - height))
        if kind is MediaType.WEBP:
            x, y = x & ~1, y & ~1
        image = Image.new("RGBA", (width, height), ((index * 83 + 40) % 256, (index * 151 + 90) % 256, index * 28, 255))
        if draw(st.booleans()):
            image.paste((0, 0, 0, 0), (0, 0, max(1, width // 2), height))
        blends = True if kind is MediaType.GIF else draw(st.booleans())
        dispose = draw(st.integers(0, 1 if kind is MediaType.WEBP else 2))
        found.append(Piece(image, x, y, blends, dispose))
    return found


@pytest.mark.long
@settings(max_examples=examples(60))
@given(st.sampled_from(list(MAKERS)), st.data(), st.integers(1, 4), st.integers(0, 99))
def test_drawn_as_a_viewer_does(kind: MediaType, data: st.DataObject, budget: int, seed: int) -> None:
    """Position, blending, transparency and disposal; also when only a few frames are decoded."""
    pieces = data.draw(_pieces(kind))
    if kind is MediaType.PNG and pieces[0].dispose == 2:
        pieces[0] = Piece(pieces[0].image, pieces[0].x, pieces[0].y, pieces[0].blends, 1)  # as the specification has it
    if kind is MediaType.PNG:  # the first frame is the default picture: it covers everything
        first = Image.new("RGBA", SIZE)
        first.paste(pieces[0].image, (pieces[0].x, pieces[0].y))
        pieces[0] = Piece(first, 0, 0, pieces[0].blends, pieces[0].dispose)
    expected = list(composed(pieces, SIZE))
    encoded = MAKERS[kind](pieces, SIZE)
    for frames in (100, budget):
        found, went = shown(encoded, kind, frames=frames, seed=seed)
        assert went.problem is None
        assert went.total == len(pieces)
        for frame in found:
            index = frame.index % len(pieces)
            ground = (0, 0, 0, 255) if frame.place.on_black else WHITE
            assert far(picture(frame), on(ground, expected[index])) <= 2, (index, frame.place)
        seen = {frame.index for frame in found}
        assert len({index % len(pieces) for index in seen}) <= frames


@pytest.mark.parametrize("kind", MAKERS)
def test_every_frame_at_its_time(kind: MediaType) -> None:
    """Within the budget nothing is left out."""
    pieces = [Piece(numbered(i).convert("RGBA"), milliseconds=40 * (1 + i)) for i in range(10)]
    found, went = shown(MAKERS[kind](pieces, numbered(0).size), kind)
    assert (went.total, went.more, went.problem) == (10, False, None)
    assert [number(picture(frame)) for frame in found] == list(range(10))
    assert [frame.place.time_s for frame in found] == pytest.approx([0.04 * i * (i + 1) / 2 for i in range(10)])
    assert found[9].place.text == "at 0:01.80"


@pytest.mark.sampled(6)
@pytest.mark.parametrize("kind", [*MAKERS, MediaType.AVIF, MediaType.JXL])
@pytest.mark.parametrize("seed", range(3))
def test_chosen_frames_are_what_they_are_called(kind: MediaType, seed: int) -> None:
    """Also where frames rest on those before."""
    found, went = shown(animation(kind, 30), kind, frames=8, seed=seed)
    assert (went.total, went.more, went.problem) == (30, True, None)
    assert [number(picture(frame)) for frame in found] == [frame.index for frame in found]
    assert len(found) == 8
    assert {0, 29} <= {frame.index for frame in found}


def animation(kind: MediaType, count: int) -> bytes:
    """Return numbered frames in any of the formats, each resting on the one before where the format can do that."""
    images = [numbered(i) for i in range(count)]
    if kind is MediaType.JXL:
        from imagecodecs import jpegxl_encode

        return bytes(jpegxl_encode(np.stack([np.asarray(image) for image in images]), level=90))
    options = {"speed": 9} if kind is MediaType.AVIF else {}
    return saved(images[0], kind.name, save_all=True, append_images=images[1:], duration=40, **options)


@pytest.mark.parametrize("kind", [MediaType.AVIF, MediaType.JXL])
def test_transparent_animations_of_the_newer_formats(kind: MediaType) -> None:
    """White on nothing shows on black."""
    images = []
    for index in range(3):
        image = Image.new("RGBA", (64, 64))
        image.paste(WHITE, (index * 16, 16, index * 16 + 30, 48))
        images.append(image)
    if kind is MediaType.JXL:
        from imagecodecs import jpegxl_encode

        data = bytes(jpegxl_encode(np.stack([np.asarray(image) for image in images]), lossless=True, photometric="rgb"))
    else:
        data = saved(images[0], "AVIF", save_all=True, append_images=images[1:], quality=95, speed=9)
    found, _ = shown(data, kind)
    black = [frame for frame in found if frame.place.on_black]
    assert len(black) == 3
    assert len(found) == 4, "on white all three are the same white"
    for index, frame in enumerate(black):
        assert far(picture(frame), on((0, 0, 0, 255), images[index])) <= 12


@pytest.mark.parametrize(("dtype", "bits", "most"), [(np.uint8, 8, 255), (np.uint16, 10, 1023), (np.uint16, 16, 65535)])
def test_jxl_of_more_bits(dtype: type, bits: int, most: int) -> None:
    """Brightness does not depend on how many bits a sample has."""
    from imagecodecs import jpegxl_encode

    values: np.ndarray[Any, Any] = np.zeros((2, 32, 32, 3), dtype)
    values[0] = most // 2
    values[1] = most
    found, _ = shown(bytes(jpegxl_encode(values, lossless=True, bitspersample=bits)), MediaType.JXL)
    levels = [picture(frame).getpixel((16, 16)) for frame in found]
    assert levels[1] == (255, 255, 255)
    assert isinstance(levels[0], tuple)
    assert 120 <= levels[0][0] <= 135


def test_grey_jxl() -> None:
    """Its table has one dimension less, which must not be taken for that of a still."""
    from imagecodecs import jpegxl_encode

    values = np.stack([np.full((16, 24), 60 * index, np.uint8) for index in range(1, 5)])
    found, went = shown(bytes(jpegxl_encode(values, lossless=True, photometric="gray")), MediaType.JXL)
    assert went.total == len(found) == 4


# --- what is left out


def test_nearly_equal_frames_are_judged_once() -> None:
    """An animation that stands still costs one frame; a change of a thousandth of the picture makes another."""
    base = Image.new("RGBA", (320, 320), GREEN)
    noisy = base.copy()
    noisy.putpixel((5, 5), (31, 171, 61, 255))
    dotted = base.copy()
    dotted.paste(RED, (100, 100, 112, 112))
    found, went = shown(make_apng([Piece(base), Piece(noisy), Piece(dotted), Piece(base)], base.size), MediaType.PNG)
    assert went.total == 4
    assert len(found) == 2
    assert 2 in [frame.index for frame in found]


def test_opaque_frames_are_not_shown_on_black() -> None:
    """Only what is transparent has another side."""
    found, _ = shown(make_gif([Piece(flat(RED)), Piece(flat(BLUE))], SIZE), MediaType.GIF)
    assert [frame.place.on_black for frame in found] == [False, False]


@pytest.mark.parametrize("kind", [MediaType.PNG, MediaType.WEBP, MediaType.GIF])
def test_stills_are_shown_on_black_as_well(kind: MediaType) -> None:
    """What is drawn in white on nothing is seen on black, and the other way round."""
    image = Image.new("RGBA", (64, 64))
    image.paste(WHITE, (16, 16, 48, 48))
    options = {"lossless": True} if kind is MediaType.WEBP else {}
    found, _ = shown(saved(image, kind.name, **options), kind)
    assert [frame.place.text for frame in found] == ["", "on black"]
    assert far(picture(found[0]), Image.new("RGB", (64, 64), "white")) <= 2
    assert far(picture(found[1]), on((0, 0, 0, 255), image)) <= 2


def test_half_transparent_on_both() -> None:
    """Each ground shows through by as much as it should."""
    image = Image.new("RGBA", (40, 40), (200, 100, 50, 128))
    found, _ = shown(saved(image, "PNG"), MediaType.PNG)
    assert far(picture(found[0]), Image.new("RGB", (40, 40), (227, 177, 152))) <= 2
    assert far(picture(found[1]), Image.new("RGB", (40, 40), (100, 50, 25))) <= 2


def test_the_picture_that_stands_in_for_an_animation() -> None:
    """A viewer that does not know animated PNG shows another picture, which must not go unseen."""
    data = make_apng([Piece(flat(RED)), Piece(flat(BLUE))], SIZE, default=flat(GREEN))
    found, went = shown(data, MediaType.PNG)
    assert went.total == 2
    assert [frame.place.part for frame in found] == [Part.PICTURE, Part.PICTURE, Part.COVER]
    assert far(picture(found[2]), flat(GREEN)) <= 1


def test_a_picture_with_a_track_behind_it() -> None:
    """An AVIF that calls itself a still has its animation all the same, and some viewer will play it."""
    data = animation(MediaType.AVIF, 6)
    assert data[8:12] == b"avis"
    brands = data[:8] + b"avif" + data[12:16] + data[16:32].replace(b"avis", b"mif1") + data[32:]
    found, went = shown(brands, MediaType.AVIF)
    assert went.problem is None
    assert {number(picture(frame)) for frame in found} == set(range(6))
    assert len({frame.index for frame in found}) == len(found)


# --- damage and bounds


@pytest.mark.parametrize("kind", MAKERS)
def test_a_cut_animation_is_judged_by_what_is_left(kind: MediaType) -> None:
    """The frames before the cut are whole; of the one in which it is there may be a piece."""
    data = animation(kind, 20)
    found, went = shown(data[: len(data) * 6 // 10], kind)
    assert went.problem is not None
    assert went.problem.reason is Reason.TRUNCATED
    assert [number(picture(frame)) for frame in found[:-1]] == list(range(len(found) - 1))
    assert 5 <= len(found) < 20


@pytest.mark.parametrize("kind", MAKERS)
def test_cut_in_the_first_frame(kind: MediaType) -> None:
    """What is there of it is judged, but of a WebP, which no viewer shows then."""
    noise = Image.effect_noise((200, 200), 90).convert("RGBA")
    data = MAKERS[kind]([Piece(noise), Piece(flat(RED, (200, 200)))], (200, 200))
    if kind is MediaType.WEBP:
        with pytest.raises(Unscannable) as caught:
            shown(data[:3000], kind)
        assert caught.value.reason is Reason.TRUNCATED
        return
    found, went = shown(data[:3000], kind)
    assert went.problem is not None
    assert went.problem.reason is Reason.TRUNCATED
    rows = (0, 0, 200, 4)
    assert far(picture(found[0]).crop(rows), noise.convert("RGB").crop(rows)) <= (16 if kind is MediaType.GIF else 1)


@pytest.mark.parametrize("kind", MAKERS)
def test_one_damaged_frame_hides_no_other(kind: MediaType) -> None:
    """What comes after it is judged all the same."""
    pieces = [Piece(numbered(i).convert("RGBA")) for i in range(6)]
    data = bytearray(MAKERS[kind](pieces, numbered(0).size))
    mark, skip = {MediaType.GIF: (b"\x21\xf9\x04", 800), MediaType.PNG: (b"fdAT", 60), MediaType.WEBP: (b"VP8L", 30)}[
        kind
    ]
    at = 0
    for _ in range(2 if kind is MediaType.PNG else 3):  # the first frame of a PNG is the picture itself
        at = data.index(mark, at + 1)
    data[at + skip : at + skip + 20] = bytes(range(20))
    found, went = shown(bytes(data), kind)
    assert went.problem is not None
    assert went.problem.reason is Reason.CORRUPT or kind is MediaType.GIF
    assert "frame 3" in went.problem.detail
    assert {0, 1, 3, 4, 5} <= {number(picture(frame)) for frame in found}


@pytest.mark.parametrize("kind", MAKERS)
def test_too_many_frames(kind: MediaType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table without end is read up to a bound."""
    for module in (gif, apng, webp):
        monkeypatch.setattr(module, "MAX_PATCHES", 4)
    pieces = [Piece(numbered(i).convert("RGBA")) for i in range(9)]
    found, went = shown(MAKERS[kind](pieces, numbered(0).size), kind)
    assert [frame.index for frame in found] == [0, 1, 2, 3]
    assert went.problem is not None
    assert went.problem.reason is Reason.TOO_LARGE


@pytest.mark.long
def test_a_million_frames_cost_little() -> None:
    """A bomb of frames is read up to a bound, and the frames within it are judged."""
    data = make_gif([Piece(flat(RED, (1, 1)))] * 2, (1, 1))
    head, frame = data[:13], data[13 : 13 + (len(data) - 14) // 2]
    start = time.process_time()
    found, went = shown(head + frame * 200_000 + b";", MediaType.GIF, frames=16)
    assert time.process_time() - start < 2
    assert len(found) == 1
    assert went.problem is not None
    assert went.problem.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("kind", [*MAKERS, MediaType.AVIF, MediaType.JXL])
def test_the_pixel_cap(kind: MediaType) -> None:
    """An animation of too large a picture is refused before it is decoded."""
    with pytest.raises(Unscannable) as caught:
        shown(animation(kind, 3), kind, max_pixels=1000)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("kind", [*MAKERS, MediaType.AVIF, MediaType.JXL])
def test_a_time_that_runs_out(kind: MediaType) -> None:
    """No frame is begun after it."""
    with pytest.raises(Unscannable) as caught:
        shown(animation(kind, 5), kind, seconds=-1)
    assert caught.value.reason is Reason.TOO_SLOW


def test_a_patch_larger_than_it_says() -> None:
    """Patches outside the canvas are cut, and a lie about their size draws nothing where nothing may be."""
    table = gif.patches(make_gif([Piece(flat(RED)), Piece(flat(BLUE, (4, 4)))], SIZE))
    drawn = canvas.Canvas(*SIZE)
    drawn.draw(table.patches[0], flat(RED))
    outside = canvas.Patch(-2, 100, 4, 4, 0, 0, False, canvas.Dispose.LEAVE, True, bytes)
    drawn.draw(outside, flat(BLUE, (4, 4)))
    corner = canvas.Patch(20, 12, 8, 8, 0, 0, False, canvas.Dispose.LEAVE, True, bytes)
    drawn.draw(corner, flat(GREEN, (3, 3)))
    assert drawn.image.size == SIZE
    assert drawn.image.getpixel((19, 11)) == RED


@pytest.mark.long
@settings(max_examples=examples(150))
@given(st.sampled_from([*MAKERS, MediaType.AVIF, MediaType.JXL]), st.data())
def test_flipped_bytes_give_frames_or_a_reason(kind: MediaType, draw: st.DataObject) -> None:
    """Damage anywhere raises nothing but `Unscannable`."""
    data = bytearray(_small(kind))
    for at in draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=8)):
        data[at] = draw.draw(st.integers(0, 255))
    try:
        found, _ = shown(bytes(data), kind, max_pixels=1_000_000, frames=4)
    except Unscannable as refusal:
        assert refusal.reason in (Reason.CORRUPT, Reason.TRUNCATED, Reason.UNSUPPORTED, Reason.TOO_LARGE)
    else:
        assert all(isinstance(frame, Frame) for frame in found)


def _small(kind: MediaType, cache: dict[MediaType, bytes] = {}) -> bytes:  # noqa: B006 - made once
    if kind not in cache:
        cache[kind] = animation(kind, 6)
    return cache[kind]


def test_the_order_of_looking_is_drawn() -> None:
    """The seed decides, so that a look can be repeated."""
    data = animation(MediaType.GIF, 60)
    first = [[frame.index for frame in shown(data, MediaType.GIF, frames=8, seed=seed)[0]] for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]
    assert Random(1).random() != Random(2).random()
