"""What mutation begins with: small files of every kind that the tests can write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from fuzz.mutate import Seed
from support.corpus import media_zoo, moving, shown_anyway
from support.corpus.zoo.recall import zoo

X264 = {"preset": "ultrafast", "g": "4", "bf": "1", "threads": "1"}
AV1 = {"preset": "12", "svtav1-params": "keyint=4"}
_SMALL = (64, 48)

CLIPS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("mp4", "libx264", {"options": X264}),
    ("mp4", "libx264", {"options": X264, "container_options": {"movflags": "frag_keyframe"}}),
    ("mp4", "libx265", {"options": {"preset": "ultrafast", "x265-params": "keyint=4:log-level=none"}}),
    ("mp4", "libsvtav1", {"options": AV1}),
    ("mp4", "mpeg4", {}),
    ("mov", "libx264", {"options": X264}),
    ("mov", "prores_ks", {"pixels": "yuv422p10le"}),
    ("mov", "mjpeg", {"pixels": "yuvj420p"}),
    ("mov", "png", {"pixels": "rgb24"}),
    ("mov", "dvvideo", {"pixels": "yuv420p"}),
    ("matroska", "libx264", {"options": X264}),
    ("matroska", "ffv1", {}),
    ("webm", "libvpx", {"options": {"deadline": "realtime", "g": "4"}}),
    ("webm", "libvpx-vp9", {"options": {"deadline": "realtime", "g": "4"}}),
    ("webm", "libsvtav1", {"options": AV1}),
    ("ogg", "libvpx", {"options": {"deadline": "realtime", "g": "4"}}),
    ("avi", "mpeg4", {}),
    ("avi", "msmpeg4v2", {}),
    ("avi", "msmpeg4", {}),
    ("avi", "mpeg1video", {}),
    ("avi", "mpeg2video", {}),
    ("avi", "wmv1", {}),
    ("avi", "wmv2", {}),
    ("avi", "flv", {}),
    ("avi", "huffyuv", {"pixels": "rgb24"}),
    ("avi", "ffv1", {}),
)
"""Container, encoder, and what it needs."""


def _stills() -> Iterator[Seed]:
    for sample in (*media_zoo.good(), *media_zoo.bad(), *media_zoo.cut()):
        yield Seed(sample.media_type.value, sample.name, sample.data)


def _animations() -> Iterator[Seed]:
    patches = [Image.new("RGBA", (16, 12), colour) for colour in ("red", "green", "blue", "white")]
    pieces = [moving.Piece(patch, 4 * at, 2 * at, dispose=at % 2, milliseconds=40) for at, patch in enumerate(patches)]
    for kind, write in (("gif", moving.gif), ("apng", moving.apng), ("webp", moving.webp)):
        yield Seed(f"animated {kind}", kind, write(pieces, (32, 24)))
    yield Seed(
        "animated apng", "apng with a default", moving.apng(pieces, (32, 24), default=patches[0].resize((32, 24)))
    )
    images = [moving.numbered(number, _SMALL) for number in range(5)]
    avif = media_zoo.saved(images[0], "AVIF", speed=10, save_all=True, append_images=images[1:], duration=40)
    yield Seed("animated avif", "avif", avif)
    yield Seed("animated jxl", "jxl", jxl(images))


def jxl(images: list[Image.Image]) -> bytes:
    """Write an animated JXL."""
    import imagecodecs

    stack = np.stack([np.asarray(image) for image in images])
    return bytes(imagecodecs.jpegxl_encode(stack, lossless=True, photometric="rgb"))


def _clips() -> Iterator[Seed]:
    for form, codec, options in CLIPS:
        size = (720, 576) if codec == "dvvideo" else _SMALL
        images = [moving.numbered(number, size) for number in range(2 if codec == "dvvideo" else 6)]
        yield Seed(f"{form} {codec}", f"{form} {codec}", moving.clip(form, codec, images, **options))
    images = [moving.numbered(number, _SMALL) for number in range(4)]
    cover = media_zoo.saved(images[0], "JPEG")
    for form in ("mp4", "matroska"):
        data = moving.clip(form, "libx264", images, options=X264, cover=cover, second=images)
        yield Seed(f"{form} cover", f"{form} with a cover and two tracks", data)


def _zoo() -> Iterator[Seed]:
    for item in zoo():
        if len(item.data) < 64 * 1024:
            yield Seed(f"zoo {item.form}", item.name, item.data)


def _shown_anyway() -> Iterator[Seed]:
    for odd in shown_anyway.all_of_them():
        if len(odd.data) < 64 * 1024:
            yield Seed("shown anyway", odd.name, odd.data)


def _foreign() -> Iterator[Seed]:
    for name, data in media_zoo.not_media().items():
        yield Seed("not media", name, data)


MAKERS: tuple[Callable[[], Iterator[Seed]], ...] = (_stills, _animations, _clips, _zoo, _shown_anyway, _foreign)


def corpus() -> list[Seed]:
    """Make all seeds; takes a few seconds."""
    return [seed for maker in MAKERS for seed in maker()]
