"""What of a damaged or cut WebP decodes, by libwebp's decoder for pictures that are still arriving. Child only.

Pillow's reader gives whole pictures only, but brings the library: its functions are found through Pillow's own module.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from PIL import Image, _webp

from fedi_safety.media.decoder.structure.probe import riff_chunks

_RGBA = 1  # `MODE_RGBA` of libwebp's decode.h
_TOLD = {b"ICCP": "icc_profile", b"EXIF": "exif"}


def decode_part(data: bytes) -> Image.Image:
    """Return a still as far as it decodes; the rest of it is transparent. Raises `OSError` where there is no header."""
    library = ctypes.CDLL(_webp.__file__)
    width, height = ctypes.c_int(), ctypes.c_int()
    if not _function(library, "WebPGetInfo", ctypes.c_int)(
        data, ctypes.c_size_t(len(data)), ctypes.byref(width), ctypes.byref(height)
    ):
        raise OSError("not even its header decodes")
    pixels = np.zeros((height.value, width.value, 4), np.uint8)
    begin = _function(library, "WebPINewRGB", ctypes.c_void_p)
    decoder = begin(_RGBA, ctypes.c_void_p(pixels.ctypes.data), ctypes.c_size_t(pixels.nbytes), 4 * width.value)
    if not decoder:
        raise MemoryError
    try:
        _function(library, "WebPIUpdate", ctypes.c_int)(ctypes.c_void_p(decoder), data, ctypes.c_size_t(len(data)))
    finally:
        _function(library, "WebPIDelete", None)(ctypes.c_void_p(decoder))
    image = Image.fromarray(pixels)
    for kind, start, end in riff_chunks(data, 12, len(data)):
        if kind in _TOLD and end <= len(data):
            image.info[_TOLD[kind]] = data[start:end]
    return image


def _function(library: ctypes.CDLL, name: str, result: Any) -> Any:
    function = library[name]
    function.restype = result
    return function
