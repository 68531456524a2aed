"""A copy descriptor: 512 bits of a picture that stay nearly the same where it was cropped, framed or written on.

The network is the operator's own, imported as a model. It finds what PDQ cannot, from farther off and less surely.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedi_safety.core.errors import ModelError
from fedi_safety.core.types import Frame
from fedi_safety.detectors.sessions.devices import DeviceChoice
from fedi_safety.detectors.sessions.loading import load_session
from fedi_safety.models.descriptor import DescriptorFolder

BITS = 512
_AT_ONCE = 8


class CopyDescriptor:
    """A loaded network. `describe` may be called from several threads at once."""

    def __init__(self, folder: DescriptorFolder, distance: int, device: DeviceChoice, threads: int) -> None:
        """Load it, and run it once. Raises `ModelError`, also where it does not give 512 numbers, or `DeviceError`."""
        self.model = folder.name
        self.distance = distance
        self._folder = folder
        self._session = load_session(folder.graph, None, device, threads, "import it anew")
        flat = Frame(0, 32, 32, bytes(3 * 32 * 32))
        if (given := self._run([flat])).shape != (1, BITS):
            cause = f"it gives {given.shape[1:]} numbers for a picture, not {BITS}"
            raise ModelError(str(folder.graph), cause, "import a copy descriptor such as SSCD")

    def describe(self, frames: Sequence[Frame]) -> NDArray[np.uint8]:
        """Return the descriptors of pictures, rows of 64 bytes. Raises `Unscannable`."""
        made = [self._run(frames[first : first + _AT_ONCE]) for first in range(0, len(frames), _AT_ONCE)]
        return np.packbits(np.concatenate(made) > 0, axis=1)

    def _run(self, frames: Sequence[Frame]) -> NDArray[np.float32]:
        side = self._folder.size
        batch: NDArray[Any] = np.stack([_squeezed(frame, side) for frame in frames])
        if self._folder.floats:
            mean, std = (np.array(three, np.float32) for three in (self._folder.mean, self._folder.std))
            batch = (batch.astype(np.float32) / 255 - mean) / std
        if self._folder.colours_first:
            batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
        return self._session.run(batch)


def _squeezed(frame: Frame, side: int) -> NDArray[np.uint8]:
    image = Image.frombuffer("RGB", (frame.width, frame.height), frame.rgb, "raw", "RGB", 0, 1)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0))
