"""Harmless pictures as they are changed on their way, and put together into slideshows and clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageEnhance

SIZE = (480, 360)  # of slideshows and clips
PICTURES = 8  # in each
SECONDS = 2  # that each picture of it is shown
QUALITY = 85
LONGEST_PX = 512  # of what is changed

STAND_IN = """\
# Condemns faces, which stand in here for what policies are about: how surely is a thing found in a changed picture?
[factors]
face = ["face.present"]

[[rules]]
name = "a face"
when = { face = 0.4 }
verdict = "block"
"""


def read(path: Path) -> Image.Image:
    """Return a picture as RGB on white."""
    with Image.open(path) as image:
        return on_white(image)


def on_white(image: Image.Image) -> Image.Image:
    """Return an open picture as RGB on white."""
    if image.mode in ("RGBA", "LA", "P", "PA"):
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _jpeg(image: Image.Image, quality: int = 92) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _scaled(image: Image.Image, longest_px: int) -> Image.Image:
    scale = longest_px / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _turned(image: Image.Image, degrees: int) -> Image.Image:
    return image.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(128, 128, 128))


def _lit(image: Image.Image, share: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(share)


CHANGES: Mapping[str, Callable[[Image.Image], bytes]] = {
    "as it is": _jpeg,
    "JPEG quality 50": lambda image: _jpeg(image, 50),
    "JPEG quality 30": lambda image: _jpeg(image, 30),
    "JPEG quality 10": lambda image: _jpeg(image, 10),
    "160 px": lambda image: _jpeg(_scaled(image, 160)),
    "80 px": lambda image: _jpeg(_scaled(image, 80)),
    "30 % brightness": lambda image: _jpeg(_lit(image, 0.3)),
    "10 % brightness": lambda image: _jpeg(_lit(image, 0.1)),
    "170 % brightness": lambda image: _jpeg(_lit(image, 1.7)),
    "turned by 15°": lambda image: _jpeg(_turned(image, 15)),
    "turned by 90°": lambda image: _jpeg(_turned(image, 90)),
    "turned by 180°": lambda image: _jpeg(_turned(image, 180)),
}
"""By name, what may happen to a picture; each is made from the picture at `LONGEST_PX`."""


def changed(pictures: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, str, bytes]]:
    """Yield the change, a name and the bytes of every picture in every change."""
    for number, (_, path) in enumerate(pictures):
        image = _scaled(read(path), LONGEST_PX)
        for change, make in CHANGES.items():
            yield change, f"{number:04}.jpg", make(image)


def moving(pictures: Sequence[Path], count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield corpus, name and bytes of so many slideshows and as many clips of pictures drawn by chance."""
    random = np.random.default_rng(seed)
    for number in range(count if len(pictures) >= PICTURES else 0):
        chosen = [read(pictures[i]) for i in random.choice(len(pictures), PICTURES, replace=False).tolist()]
        yield "slideshows", f"{number:04}.webp", slideshow(chosen)
        yield "clips", f"{number:04}.mp4", clip(chosen)


def fitted(picture: Image.Image) -> Image.Image:
    """Return a picture as it stands in a slideshow: whole, on grey."""
    canvas = Image.new("RGB", SIZE, (64, 64, 64))
    small = picture.copy()
    small.thumbnail(SIZE)
    canvas.paste(small, ((SIZE[0] - small.width) // 2, (SIZE[1] - small.height) // 2))
    return canvas


def slideshow(pictures: Sequence[Image.Image]) -> bytes:
    """Return an animated WebP that shows one picture after the other."""
    buffer = BytesIO()
    first, *others = map(fitted, pictures)
    first.save(buffer, "WEBP", save_all=True, append_images=others, duration=1000 * SECONDS, quality=QUALITY)
    return buffer.getvalue()


def clip(pictures: Sequence[Image.Image]) -> bytes:
    """Return an MP4 that shows one picture after the other."""
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        track: Any = container.add_stream("mpeg4", rate=5)
        track.width, track.height = SIZE
        track.bit_rate = 2_000_000
        for picture in map(fitted, pictures):
            for _ in range(5 * SECONDS):
                container.mux(track.encode(av.VideoFrame.from_image(picture)))  # type: ignore[no-untyped-call]
        container.mux(track.encode(None))
    return buffer.getvalue()
