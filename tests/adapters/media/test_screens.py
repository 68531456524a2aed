"""The picture that a screenshot shows is found to the pixel, and a pattern is not looked through without end."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fedi_safety.core.enums import MediaType
from fedi_safety.detectors.known.pdq import upright
from fedi_safety.media import Caps, SandboxDecoder
from fedi_safety.media.decoder.frames import screens
from fedi_safety.media.decoder.frames.screens import screen_box
from fedi_safety.media.decoder.frames.tiles import Box
from fedi_safety.media.decoder.frames.views import frame_box
from support.stand_in_lists import drawn, pdq_of

DAY, NIGHT, CARD = (250, 250, 252), (21, 22, 30), (32, 34, 46)
SHOWN = Image.fromarray(drawn(5, 400, 300))


def telephone(shown: Image.Image) -> Image.Image:
    """Show it below a bar and a line of text, and above lines of others."""
    screen = Image.new("RGB", (460, 820), DAY)
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 460, 60), fill=(88, 92, 214))
    for line in (90, *range(470, 800, 30)):
        draw.text((30, line), "something that somebody wrote here", (32, 36, 44), font_size=18)
    screen.paste(shown, (30, 140))
    return screen


def window(shown: Image.Image) -> Image.Image:
    """Show it on a card with a line around, between columns of text."""
    screen = Image.new("RGB", (1200, 640), NIGHT)
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 1200, 40), fill=(40, 43, 58))
    for line in range(80, 400, 40):
        draw.text((40, line), "elsewhere", (150, 154, 170), font_size=20)
        draw.text((960, line), "# something", (150, 154, 170), font_size=20)
    draw.rectangle((340, 70, 860, 620), fill=CARD, outline=(58, 61, 78), width=4)
    draw.text((370, 90), "something that somebody wrote here", (210, 212, 222), font_size=20)
    screen.paste(shown, (370, 140))
    return screen


def captioned(shown: Image.Image) -> Image.Image:
    """Put words on a white bar above it."""
    screen = Image.new("RGB", (400, 350), "white")
    ImageDraw.Draw(screen).text((12, 8), "WORDS ABOVE A PICTURE", "black", font_size=24)
    screen.paste(shown, (0, 50))
    return screen


@pytest.mark.parametrize(
    ("shown_by", "edges"),
    [(telephone, (30, 140, 430, 440)), (window, (370, 140, 770, 440)), (captioned, (0, 50, 400, 350))],
)
def test_what_a_screen_shows_is_found_to_the_pixel(shown_by: object, edges: tuple[int, int, int, int]) -> None:
    assert callable(shown_by)
    screen = shown_by(SHOWN)
    box = screen_box(screen, *screen.size)
    assert box is not None
    found = box.left * screen.width, box.top * screen.height, box.right * screen.width, box.bottom * screen.height
    assert found == pytest.approx(edges, abs=1)


def test_a_decoded_screenshot_has_the_hash_of_what_it_shows() -> None:
    from io import BytesIO

    data = BytesIO()
    telephone(SHOWN).save(data, "JPEG", quality=90)
    with SandboxDecoder(Caps(), 1) as decoder:
        found = decoder.decode(data.getvalue(), MediaType.JPEG)
    (shown,) = [frame for frame in found.compared if frame.place.tile is not None]
    assert "x" in shown.place.text and len({frame.index for frame in (*found.frames, *found.compared)}) == len(
        (*found.frames, *found.compared)
    )
    listed = np.frombuffer(pdq_of(drawn(5, 400, 300)), np.uint8)
    assert int(np.bitwise_count(upright(shown.rgb, shown.width, shown.height)[0] ^ listed).sum()) <= 31


@pytest.mark.parametrize("image", [SHOWN, Image.new("RGB", (400, 300), "white"), Image.new("RGB", (1, 3000), "white")])
def test_a_plain_picture_and_a_blank_one_are_no_screens(image: Image.Image) -> None:
    assert screen_box(image, *image.size) is None


def test_a_pattern_on_a_ground_is_no_screen() -> None:
    pattern = np.full((512, 512), 255, np.uint8)
    pattern[4:-4:6, 4:-4:6] = 0  # thousands of points, each of which would be a part
    image = Image.fromarray(pattern).convert("RGB")
    assert screen_box(image, *image.size) is None


def test_a_ground_is_found_among_colours_that_could_be_none() -> None:
    """Counting each channel by itself passes colours over; never one that has its share of the edges."""
    random = np.random.default_rng(7)
    for _ in range(40):
        edge = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        ground = random.integers(0, 256, 3)
        even = random.random((64, 64)) < random.choice([0.1, 0.19, 0.22, 0.4, 0.8])
        edge[even] = np.clip(ground + random.integers(-3, 4, (64, 64, 3)), 0, 255)[even]
        image = Image.fromarray(edge)
        along = np.concatenate([edge[0], edge[-1], edge[::-1, 0], edge[::-1, -1]])
        for colour in screens._grounds(image):
            apart = np.abs(along.astype(int) - np.array(colour)).max(axis=1)
            assert (apart <= 4).mean() >= 0.2
        shares = [(np.abs(along.astype(int) - colour.astype(int)).max(axis=1) <= 4).mean() for colour in along]
        sampled = Image.fromarray(along[None]).resize((24, 1), Image.Resampling.NEAREST)
        there = {sampled.getpixel((at, 0)) for at in range(24)}
        common = any(
            share >= 0.2 and tuple(map(int, colour)) in there for share, colour in zip(shares, along, strict=True)
        )
        assert bool(screens._grounds(image)) == common


@pytest.mark.parametrize(("apart", "found"), [(4, False), (5, True)])
def test_a_plain_border_is_what_differs_by_no_more_than_a_saved_jpeg_leaves(apart: int, found: bool) -> None:
    picture = Image.new("RGB", (180, 120), (100, 100, 100))
    picture.paste((100, 100 + apart, 100), (40, 30, 140, 90))
    box = frame_box(picture, 1800, 1200)
    assert (box == Box(40 / 180, 30 / 120, 140 / 180, 90 / 120)) is found
    assert found or box is None
