"""A loaded network, whatever runs it: what it takes and gives, and its failures told apart.

Knows nothing about what a network means.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import DeviceError, Unscannable
from fedi_safety.core.types import Frame

Floats = NDArray[np.float32]

# What CUDA, ROCm, DirectML, OpenCL and the C++ library say, inside longer messages.
_NO_MEMORY = re.compile(
    r"out[ _]of[ _](?:\w+[ _])?memory|outofmemory|failed to allocate|bad[ _]alloc|alloc_failed|8007000e"
    r"|smaller than requested bytes|(?:not enough|insufficient) memory|allocation_failure",
    re.IGNORECASE,
)

_DEVICE_LOST = re.compile(
    r"device[ _](?:was[ _]|is[ _]|has[ _]been[ _])?(?:removed|lost|hung|reset|suspended|unavailable|not[ _]available)"
    r"|devicesunavailable|no cuda-capable device|no (?:hip|rocm)-capable device|887a000[567]"
    r"|cuda (?:failure|error) (?:4|46|100|101|214|700|702|709|719|999)\b|illegal memory access|launch failure"
    r"|uncorrectable ecc|fallen off the bus|driver shutting down|(?:hip|cuda)error(?:nodevice|devicelost)",
    re.IGNORECASE,
)


class OutOfMemory(Unscannable):
    """A batch needed more memory than there is; a smaller one may fit. By itself it is no verdict of anything."""

    def __init__(self, detail: str) -> None:
        """Keep what the runtime said."""
        super().__init__(Reason.DETECTOR_FAILED, detail)


def failure(error: Exception, device: str) -> Unscannable | DeviceError:
    """Tell what a runtime's error during a run means: too large a batch, a lost device, or just this batch."""
    line = first_line(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(line):
        return OutOfMemory(line)
    if _DEVICE_LOST.search(line):
        return DeviceError(
            f"device {device!r}", f"it was lost ({line})", "see that it works, then run this again: nothing was lost"
        )
    return Unscannable(Reason.DETECTOR_FAILED, line)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph. A dimension that is left open is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any] | None


class Network(Protocol):
    """A loaded graph with one input that is fed. `run` may be called from several threads at once."""

    @property
    def input(self) -> Port:
        """What is fed."""
        ...

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What it gives, the usual one first."""
        ...

    def room(self, shape: tuple[int, ...]) -> AbstractContextManager[Floats]:
        """Lend an array for a batch, in the memory from which the device takes it soonest."""
        ...

    def run(self, batch: NDArray[Any], output: str | None = None) -> Floats:
        """Return an output (the first one, if none is named) for a batch, one row for each of its rows.

        A failure or a result that is not a finite number is `Unscannable` with `detector_failed`: it concerns this
        batch, and it must never be read as a low score. `OutOfMemory` is one of these. `DeviceError` when the device
        is gone.
        """
        ...


def checked(result: Floats, rows: int) -> Floats:
    """Return a network's output as float32 if it has a finite row for each row of the batch."""
    if len(result) != rows or not np.isfinite(result).all():
        raise Unscannable(Reason.DETECTOR_FAILED, "the network's output is not a finite number for every frame")
    return cast("Floats", result.astype(np.float32, copy=False))


def first_line(error: Exception) -> str:
    """Return an exception's first line, as the runtimes append stack traces."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def pixels(frame: Frame) -> NDArray[np.uint8]:
    """Return the frame as a (height, width, 3) array over its own bytes, read-only."""
    return np.frombuffer(frame.rgb, np.uint8).reshape(frame.height, frame.width, 3)
