"""A picture's own colours to sRGB. High dynamic range is clipped by the libraries, not tone-mapped."""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from typing import cast

from PIL import (
    Image,
    ImageChops,
    ImageCms,
)

_SRGB = ImageCms.createProfile("sRGB")

_LAB = ImageCms.createProfile("LAB")

_SAME_COLOUR = 4  # of 255: the rounding of profiles that all mean sRGB

_MAX_PROFILES = 16

# (SHA-256 of the profile, mode) -> transform; None for a profile that is broken or means sRGB.
_transforms: OrderedDict[tuple[bytes, str], ImageCms.ImageCmsTransform | None] = OrderedDict()


def srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Apply the picture's own colour profile and return it as RGB. A broken profile is ignored."""
    if image.mode == "LAB":
        transform = ImageCms.buildTransform(_LAB, _SRGB, "LAB", "RGB")
        return cast("Image.Image", ImageCms.applyTransform(image, transform))
    if profile:
        key = (hashlib.sha256(profile).digest(), image.mode)
        if key not in _transforms:
            _transforms[key] = _transform(profile, image.mode)
            if len(_transforms) > _MAX_PROFILES:
                _transforms.popitem(last=False)
        _transforms.move_to_end(key)
        known = _transforms[key]
        if known is not None:
            return cast("Image.Image", ImageCms.applyTransform(image, known))
    return image if image.mode == "RGB" else image.convert("RGB")


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the way from `profile` to sRGB; None if it cannot be built or changes nothing.

    Whether a profile means sRGB is told by what it does, not by its name: the name is the uploader's to choose.
    """
    try:
        transform = ImageCms.buildTransform(ImageCms.ImageCmsProfile(io.BytesIO(profile)), _SRGB, mode, "RGB")
        if mode == "CMYK":
            return transform
        probe = _PROBES[mode]
        changed = ImageChops.difference(
            cast("Image.Image", ImageCms.applyTransform(probe, transform)), probe.convert("RGB")
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    bands = cast("tuple[tuple[int, int], ...]", changed.getextrema())
    return None if max(highest for _, highest in bands) <= _SAME_COLOUR else transform


_STEPS = (0, 51, 102, 153, 204, 255)

_PROBES = {
    "L": Image.frombytes("L", (256, 1), bytes(range(256))),
    "RGB": Image.frombytes(
        "RGB", (216, 1), bytes(v for r in _STEPS for g in _STEPS for b in _STEPS for v in (r, g, b))
    ),
}
