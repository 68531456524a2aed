"""Harmless photographs that ship in scikit-image and scikit-learn, as frames and as files, for every test.

Nothing is downloaded: these are the files inside the installed packages.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from fedi_safety.core.types import Frame

PHOTOS = {
    "astronaut": "skimage/data/astronaut.png",  # a portrait: the one with a face
    "camera": "skimage/data/camera.png",
    "chelsea": "skimage/data/chelsea.png",  # a cat
    "china": "sklearn/datasets/images/china.jpg",
    "coffee": "skimage/data/coffee.png",
    "coins": "skimage/data/coins.png",
    "flower": "sklearn/datasets/images/flower.jpg",
    "hubble": "skimage/data/hubble_deep_field.jpg",
    "motorcycle": "skimage/data/motorcycle_left.png",
    "retina": "skimage/data/retina.jpg",
    "rocket": "skimage/data/rocket.jpg",
}
"""Name and place of each photograph."""


def picture(name: str, longest: int = 600) -> Image.Image:
    """Return a photograph as an RGB image whose longer side has `longest` pixels."""
    with Image.open(_file(PHOTOS[name])) as image:
        rgb = image.convert("RGB")
    scale = longest / max(rgb.size)
    size = (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale)))
    return rgb if size == rgb.size else rgb.resize(size, Image.Resampling.LANCZOS)


def to_frame(image: Image.Image, index: int = 0) -> Frame:
    """Return an image as a frame."""
    rgb = image.convert("RGB")
    return Frame(index, rgb.width, rgb.height, rgb.tobytes())


def photos(longest: int = 600) -> dict[str, Frame]:
    """Return every photograph as a frame, by name."""
    return dict(_frames(longest))


def jpeg_bytes(name: str, size: int = 600, quality: int = 85) -> bytes:
    """Return a photograph as a JPEG file whose longer side has `size` pixels."""
    buffer = BytesIO()
    picture(name, size).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def grey_faces(count: int = 20, size: int = 100) -> list[Frame]:
    """Return faces of adults in public life (Labeled Faces in the Wild, 25x25 grey), enlarged."""
    faces = np.load(_file("skimage/data/lfw_subset.npy"))[:count]
    pictures = (Image.fromarray((face * 255).astype(np.uint8)) for face in faces)
    return [to_frame(p.resize((size, size), Image.Resampling.BICUBIC)) for p in pictures]


@cache
def _frames(longest: int) -> tuple[tuple[str, Frame], ...]:
    return tuple((name, to_frame(picture(name, longest))) for name in PHOTOS)


def _file(place: str) -> Path:
    package, _, rest = place.partition("/")
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / rest
