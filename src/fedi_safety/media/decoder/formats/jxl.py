"""Frames of animated JXL through imagecodecs: the Pillow plugin gives the last one only. Runs in the child only."""

from __future__ import annotations

import re

import numpy as np
from imagecodecs import jpegxl_decode
from PIL import Image

from fedi_safety.media.decoder.structure.probe import JxlHeader

_SHAPE = re.compile(r"shape=\(([\d, ]+)\)$")


def count_frames(data: bytes, header: JxlHeader) -> int:
    """Return how many frames are shown, without decoding any.

    The library tells it only to who brings an array that does not fit.
    """
    for kind in (np.uint8, np.uint16, np.float32, np.float16):
        try:
            jpegxl_decode(data, out=np.empty(0, kind), numthreads=1)
        except ValueError as told:
            if shape := _SHAPE.search(str(told)):
                return _frames([int(size) for size in shape[1].split(",") if size.strip()], header)
    raise ValueError("it does not say how many frames it has")


def _frames(shape: list[int], header: JxlHeader) -> int:
    """Tell frames of grey pixels from one of several channels."""
    sides = {header.width, header.height}
    grey = len(shape) == 3 and set(shape[1:]) == sides and not (set(shape[:2]) == sides and shape[2] <= 4)
    return shape[0] if len(shape) == 4 or grey else 1


def decode_frame(data: bytes, header: JxlHeader, index: int) -> Image.Image:
    """Return one frame as it is shown, in 8 bits."""
    values = np.asarray(jpegxl_decode(data, index=index, numthreads=1))
    most = (1 << header.bits) - 1 if values.dtype in (np.uint8, np.uint16) else 1
    if most != 255:
        values = (np.clip(np.nan_to_num(values.astype(np.float32)) / most, 0, 1) * 255).round().astype(np.uint8)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    return Image.fromarray(values, {2: "L"}.get(values.ndim) or {2: "LA", 3: "RGB", 4: "RGBA"}[values.shape[2]])
