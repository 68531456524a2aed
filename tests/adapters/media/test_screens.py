"""The picture that a screenshot shows is found to the pixel, and a pattern is not looked through without end."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fedi_safety.core.enums import MediaType
from fedi_safety.detectors.known.pdq import upright
from fedi_safety.media import Caps, SandboxDecoder
from fedi_safety.media.decoder.frames.screens import screen_box
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
