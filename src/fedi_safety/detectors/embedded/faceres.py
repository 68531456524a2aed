"""FaceRes: a second opinion on the age of a face, by a MobileNet for 224x224 pixels with one class for each year.

The weights come with this package; packaging/faceres.py makes the file. Finds no faces. What they learned from, and
under which licences they are: docs/decisions/0076-a-second-age-model.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedi_safety.core.types import Box, Frame
from fedi_safety.detectors.embedded.dlib_faces import surroundings
from fedi_safety.detectors.sessions.devices import DeviceChoice
from fedi_safety.detectors.sessions.loading import load_when_asked
from fedi_safety.detectors.sessions.network import Floats
from fedi_safety.detectors.sessions.weights import Weights

WEIGHTS = Weights(
    "fedi-safety",
    "fedi_safety",
    "detectors/embedded/faceres.onnx",
    "22b0ce02bca33ff91f177c98250d29c1f32c71232c7856cac40b9ea100065bad",
)

SIDE = 224
# As the model's author feeds it: channels turned round, less the means that Caffe's networks were trained with.
_MEAN_BGR = np.array([103.939, 116.779, 123.68], dtype=np.float32)
# How many times as wide as a face its surroundings are cut out.
_AROUND = 1.3
# Faces darker than this on average (0 to 255) are lit up to `_LIT`. Of 81 faces at 30 % of their brightness the mean of
# both models' P(<20) is .013 off what it was then, instead of .025; at 15 %, .021 instead of .048.
_DARK, _LIT = 60.0, 110.0
_LEAST = 4.0  # what is darker than this has nothing to be lit


class FaceRes:
    """The network, loaded."""

    def __init__(self, device: DeviceChoice, threads: int) -> None:
        """Check the weights, which are loaded when they are first asked; `ModelError` if that fails."""
        self._session = load_when_asked(
            WEIGHTS.path(), WEIGHTS.sha256, device, threads, f"reinstall the package {WEIGHTS.distribution}"
        )

    def probabilities(self, faces: Sequence[NDArray[np.uint8]]) -> Floats:
        """Return 100 probabilities for each face, in order."""
        # One by one: a run takes 20 MB for each face of a batch, and is no quicker for it.
        values = np.empty((1, 3, SIDE, SIDE), np.float32)
        parts: list[Floats] = []
        for face in faces:
            np.subtract(face[:, :, ::-1], _MEAN_BGR, out=values[0].transpose(1, 2, 0))
            parts.append(self._session.run(values))
        return np.concatenate(parts)


def cut(frame: Frame, box: Box) -> NDArray[np.uint8]:
    """Return a face with what is around it as 224x224 RGB pixels, as far as the frame goes; a dark one lit."""
    image = Image.frombuffer("RGB", (frame.width, frame.height), frame.rgb, "raw", "RGB", 0, 1)
    part = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=surroundings(frame, box, _AROUND))
    return lit(np.asarray(part))


def lit(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a dark face as bright as others are, and any other as it is (the same array)."""
    mean = float(face.mean())
    if mean >= _DARK:
        return face
    brighter: NDArray[np.uint8] = np.minimum(face * np.float32(_LIT / max(mean, _LEAST)), 255).astype(np.uint8)
    return brighter
