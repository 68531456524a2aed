"""What happens to a picture on its way from one instance to the next, row by row of the table in docs/known.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

Change = Callable[[Image.Image, np.random.Generator], bytes]

LONGEST_PX = 1024  # of a picture before it is changed, and of its entry
_QUALITY = 90
_MARGINS = ((255, 255, 255), (0, 0, 0), (24, 26, 34), (236, 238, 242))
_WORDS = "WHEN THE LIST HAS IT BUT THE PICTURE WAS CUT"


@dataclass(frozen=True, slots=True)
class Row:
    """Changes that are told together, and which share of pictures must be found again; None: it is told as it is."""

    name: str
    must: float | None
    changes: dict[str, Change] = field(default_factory=dict)


def jpeg(image: Image.Image, quality: int = _QUALITY) -> bytes:
    """Return a picture as a JPEG file."""
    return _file(image, "JPEG", quality=quality)


def scaled(image: Image.Image, longest_px: int) -> Image.Image:
    """Return a picture whose longest side has at most so many pixels."""
    factor = longest_px / max(image.size)
    if factor >= 1:
        return image
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def rows() -> Iterator[Row]:
    """Yield every row."""
    encoded = {f"JPEG {quality}": _plain(partial(jpeg, quality=quality)) for quality in (90, 70, 50, 30, 10)}
    encoded |= {f"WebP {quality}": _plain(partial(_file, kind="WEBP", quality=quality)) for quality in (80, 30)}
    encoded["GIF"] = _plain(lambda image: _file(image.quantize(256, Image.Quantize.FASTOCTREE), "GIF"))
    encoded["grey"] = _seen(lambda image: image.convert("L"))
    encoded |= {f"gamma {power}": _seen(partial(_gamma, power=power)) for power in (0.6, 1.6)}
    encoded |= {f"contrast {share}": _seen(partial(_contrast, share=share)) for share in (0.6, 1.5)}
    encoded["blur"] = _seen(lambda image: image.filter(ImageFilter.GaussianBlur(2)))
    encoded["noise"] = lambda image, random: jpeg(_noisy(image, random))
    yield Row("JPEG 90 to 10, WebP, GIF, grey, gamma, contrast, blur, noise", 1.0, encoded)
    sizes: dict[str, Change] = {f"{share} %": _seen(partial(_resized, share=share)) for share in (50, 25)}
    sizes |= {f"thumbnail {side}": _plain(partial(_thumbnail, side=side)) for side in (512, 256, 96)}
    yield Row("half and quarter size, thumbnails of 512, 256, 96 pixels", 0.95, sizes)
    turns: dict[str, Change] = {
        name: _seen(partial(Image.Image.transpose, method=method))
        for name, method in (
            ("turned by 90°", Image.Transpose.ROTATE_270),
            ("turned by 180°", Image.Transpose.ROTATE_180),
            ("turned by 270°", Image.Transpose.ROTATE_90),
            ("mirrored", Image.Transpose.FLIP_LEFT_RIGHT),
            ("upside down", Image.Transpose.FLIP_TOP_BOTTOM),
            ("transposed", Image.Transpose.TRANSPOSE),
        )
    }
    yield Row("turned, mirrored", 0.95, turns)
    yield Row("watermark", 0.95, {"watermark": _seen(_watermark)})
    for share, must in ((2, 0.85), (5, 0.98), (15, 0.98)):
        yield Row(f"border of {share} %", must, {f"border {share} %": _by_chance(partial(_bordered, share=share))})
    for share in (2, 5, 10, 25):
        yield Row(f"{share} % cut off", None, {f"crop {share} %": _seen(partial(_cropped, share=share))})
    for share in (8, 15):
        yield Row(f"caption of {share} %", None, {f"caption {share} %": _seen(partial(_captioned, share=share))})
    for degrees in (2, 5):
        yield Row(f"rotated by {degrees}°", None, {f"rotated {degrees}°": _seen(partial(_rotated, degrees=degrees))})
    screens: dict[str, Change] = {"on a telephone": _seen(_screenshot), "in a dark window": _seen(_dark_screenshot)}
    yield Row("screenshot of a post", None, {f"screenshot {name}": change for name, change in screens.items()})


def _plain(make: Callable[[Image.Image], bytes]) -> Change:
    return lambda image, _: make(image)


def _seen(change: Callable[[Image.Image], Image.Image]) -> Change:
    return lambda image, _: jpeg(change(image))


def _by_chance(change: Callable[[Image.Image, np.random.Generator], Image.Image]) -> Change:
    return lambda image, random: jpeg(change(image, random))


def _file(image: Image.Image, kind: str, **how: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def _gamma(image: Image.Image, power: float) -> Image.Image:
    return image.point([round(255 * (value / 255) ** power) for value in range(256)] * 3)


def _contrast(image: Image.Image, share: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(share)


def _noisy(image: Image.Image, random: np.random.Generator) -> Image.Image:
    values = np.asarray(image, np.float32) + 15 * random.standard_normal((image.height, image.width, 3), np.float32)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _resized(image: Image.Image, share: int) -> Image.Image:
    size = max(1, image.width * share // 100), max(1, image.height * share // 100)
    return image.resize(size, Image.Resampling.LANCZOS)


def _thumbnail(image: Image.Image, side: int) -> bytes:
    return _file(scaled(image, side), "WEBP", quality=80)


def _watermark(image: Image.Image) -> Image.Image:
    over = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw, size = ImageDraw.Draw(over), max(10, image.width // 14)
    for at in (0.1, 0.45, 0.8):
        draw.text((0.05 * image.width, at * image.height), "example.social", (255, 255, 255, 110), font_size=size)
        draw.text((0.55 * image.width, at * image.height), "example.social", (255, 255, 255, 110), font_size=size)
    return Image.alpha_composite(image.convert("RGBA"), over).convert("RGB")


def _bordered(image: Image.Image, random: np.random.Generator, share: int) -> Image.Image:
    across, down = (max(1, round(side * share / 100)) for side in image.size)
    colour = _MARGINS[int(random.integers(len(_MARGINS)))]
    canvas = Image.new("RGB", (image.width + 2 * across, image.height + 2 * down), colour)
    canvas.paste(image, (across, down))
    return canvas


def _cropped(image: Image.Image, share: int) -> Image.Image:
    """Take so much of the sides away, half of it at either end."""
    across, down = (side * share / 200 for side in image.size)
    return image.crop((round(across), round(down), round(image.width - across), round(image.height - down)))


def _captioned(image: Image.Image, share: int) -> Image.Image:
    bar = max(1, round(image.height * share / 100))
    canvas = Image.new("RGB", (image.width, image.height + bar), "white")
    canvas.paste(image, (0, bar))
    size = max(6, min(bar * 6 // 10, image.width // len(_WORDS) * 3 // 2))
    ImageDraw.Draw(canvas).text((image.width // 40, bar // 6), _WORDS, "black", font_size=size)
    return canvas


def _rotated(image: Image.Image, degrees: int) -> Image.Image:
    return image.rotate(-degrees, Image.Resampling.BICUBIC)


def _screenshot(image: Image.Image) -> Image.Image:
    """Show a picture as a post on a telephone's screen."""
    screen = Image.new("RGB", (720, 1280), (250, 250, 252))
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 720, 96), fill=(88, 92, 214))
    draw.text((32, 32), "Home", "white", font_size=32)
    draw.ellipse((24, 128, 88, 192), fill=(208, 160, 96))
    draw.text((108, 132), "somebody@example.social", (32, 36, 44), font_size=26)
    draw.text((24, 212), "look at what I found today", (32, 36, 44), font_size=26)
    shown = image.copy()
    shown.thumbnail((672, 840))
    screen.paste(shown, (24, 264))
    below = 264 + shown.height + 24
    draw.text((24, below), "12 replies   34 boosts   56 favourites", (96, 100, 110), font_size=24)
    for line in range(below + 60, 1240, 44):
        draw.text((24, line), "another post that says something else", (32, 36, 44), font_size=24)
    return screen


def _dark_screenshot(image: Image.Image) -> Image.Image:
    """Show a picture as a card on a wide page, between columns, with the colours of the night."""
    screen = Image.new("RGB", (1440, 900), (21, 22, 30))
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 1440, 52), fill=(40, 43, 58))
    draw.text((24, 12), "example.social", (220, 222, 232), font_size=24)
    for line in range(96, 480, 48):
        draw.text((40, line), "Somewhere else", (150, 154, 170), font_size=22)
        draw.text((1150, line), "# something", (150, 154, 170), font_size=22)
    draw.rounded_rectangle((380, 84, 1080, 880), 12, fill=(32, 34, 46), outline=(58, 61, 78))
    draw.ellipse((404, 104, 452, 152), fill=(112, 160, 208))
    draw.text((466, 112), "somebody", (232, 234, 242), font_size=24)
    draw.text((404, 168), "look at what I found today", (210, 212, 222), font_size=22)
    shown = image.copy()
    shown.thumbnail((652, 560))
    screen.paste(shown, (404, 212))
    draw.text((404, 212 + shown.height + 22), "12 replies   34 boosts", (150, 154, 170), font_size=22)
    return screen
