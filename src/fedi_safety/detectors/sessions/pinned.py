"""Memory that a GPU copies from without a detour: locked by CUDA's own library, where that can be had.

From ordinary memory the driver copies every batch twice. Where the library is missing or refuses, ordinary memory is
lent instead, and nothing but time is lost.
"""

from __future__ import annotations

import ctypes
import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

# ONNX Runtime has loaded the one that it was built for; asking for it by name finds that one.
_LIBRARIES = ("libcudart.so.12", "libcudart.so.13", "cudart64_12.dll", "cudart64_13.dll")


@contextmanager
def ordinary(shape: tuple[int, ...]) -> Iterator[Floats]:
    """Lend an array in ordinary memory."""
    yield np.empty(shape, np.float32)


class Pinned:
    """Arrays in locked memory, lent and used again. Thread-safe."""

    def __init__(self) -> None:
        """Lock nothing yet."""
        self._lock = threading.Lock()
        self._free: list[Floats] = []
        self._addresses: list[int] = []

    @contextmanager
    def lend(self, shape: tuple[int, ...]) -> Iterator[Floats]:
        """Lend an array; what it holds is whatever was left in it."""
        count = math.prod(shape)
        whole = self._take(count)
        if whole is None:
            with ordinary(shape) as array:
                yield array
            return
        try:
            yield whole[:count].reshape(shape)
        finally:
            with self._lock:
                self._free.append(whole)

    def close(self) -> None:
        """Unlock everything. Nothing may be lent any more."""
        with self._lock:
            library = _library()
            for address in self._addresses:
                if library is not None:
                    library.cudaFreeHost(ctypes.c_void_p(address))
            self._addresses.clear()
            self._free.clear()

    def _take(self, count: int) -> Floats | None:
        with self._lock:
            for i, whole in enumerate(self._free):
                if whole.size >= count:
                    return self._free.pop(i)
            return self._allocate(count)

    def _allocate(self, count: int) -> Floats | None:
        library = _library()
        if library is None:
            return None
        address = ctypes.c_void_p()
        code = library.cudaHostAlloc(ctypes.byref(address), ctypes.c_size_t(4 * count), ctypes.c_uint(0))
        if code or not address.value:
            log.debug("CUDA locks no memory (error %s); batches are copied from ordinary memory", code)
            return None
        self._addresses.append(address.value)
        array = np.ctypeslib.as_array((ctypes.c_float * count).from_address(address.value))
        return array.view(np.float32)


@cache
def _library() -> Any:
    """Return CUDA's library, or None where there is none."""
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None
