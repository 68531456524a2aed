"""NudeNet 320n: body parts and faces as boxes, by a YOLOv8 network for 320x320 pixels.

Gives its boxes to detectors that come after it. Does not tell ages, and does not know drawings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedi_safety.core.types import Box, Evidence, Finding, Frame, Scored
from fedi_safety.detectors.examples import Example, checks, drawn_face, flat
from fedi_safety.detectors.sessions.devices import DeviceChoice, largest_batch
from fedi_safety.detectors.sessions.loading import load_when_asked
from fedi_safety.detectors.sessions.network import Floats, pixels
from fedi_safety.detectors.sessions.weights import Weights

WEIGHTS = Weights("nudenet", "nudenet", "320n.onnx", "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f")

# The order of the network's classes (nudenet/nudenet.py).
LABELS = (
    "FEMALE_GENITALIA_COVERED",
    "FACE_FEMALE",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "ANUS_EXPOSED",
    "FEET_EXPOSED",
    "BELLY_COVERED",
    "FEET_COVERED",
    "ARMPITS_COVERED",
    "ARMPITS_EXPOSED",
    "FACE_MALE",
    "BELLY_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "ANUS_COVERED",
    "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)
EXPOSED = frozenset(
    {
        "FEMALE_BREAST_EXPOSED",
        "FEMALE_GENITALIA_EXPOSED",
        "MALE_GENITALIA_EXPOSED",
        "BUTTOCKS_EXPOSED",
        "ANUS_EXPOSED",
    }
)
FACES = frozenset({"FACE_FEMALE", "FACE_MALE"})

_SIDE = 320
# The package's own thresholds: cv2.dnn.NMSBoxes(boxes, scores, 0.25, 0.45), over all classes together.
_SCORE = np.float32(0.25)
_OVERLAP = np.float32(0.45)


class NudeNet:
    """The detector `nudenet`."""

    name = "nudenet"
    signals = ("nudity.exposed", "face.present")
    after: tuple[str, ...] = ()
    cost = 15.0  # milliseconds for a frame of 600x450 on one thread of a server processor

    def __init__(self, device: DeviceChoice, threads: int) -> None:
        """Check the weights, which are loaded when they are first asked; `ModelError` if that fails."""
        self.version = WEIGHTS.version()
        self.max_batch = largest_batch(device)
        self._session = load_when_asked(
            WEIGHTS.path(), WEIGHTS.sha256, device, threads, f"reinstall the package {WEIGHTS.distribution}"
        )

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        """Give `nudity.exposed` and `face.present`, each the highest score among its boxes, and all boxes."""
        if not batch:
            return []
        values = np.empty((len(batch), 3, _SIDE, _SIDE), np.float32)
        for row, evidence in zip(values, batch, strict=True):
            picture = letterbox(evidence.frame)
            for channel in range(3):  # one by one: numpy then has long lines to go along, not threes
                np.multiply(picture[:, :, channel], np.float32(1 / 255), out=row[channel])
        results: list[Scored] = []
        for output, evidence in zip(self._session.run(values), batch, strict=True):
            boxes = find_boxes(output, evidence.frame.width, evidence.frame.height)
            exposed = max((b.score for b in boxes if b.label in EXPOSED), default=0.0)
            face = max((b.score for b in boxes if b.label in FACES), default=0.0)
            findings = tuple(_finding(box, evidence.frame) for box in boxes)
            results.append(Scored({"nudity.exposed": exposed, "face.present": face}, boxes, findings=findings))
        return results

    def examples(self) -> tuple[Example, ...]:
        """Return plain pictures without anybody in them, and one that shows that the network answers at all.

        It knows no drawings: it takes the ellipses of a drawn face for something else, with a score of 0.31.
        """
        nobody = {"nudity.exposed": (0.0, 0.0), "face.present": (0.0, 0.0)}
        return (
            Example("flat grey", flat, nobody),
            Example("checks", checks, nobody),
            Example("drawn face", drawn_face, {"nudity.exposed": (0.25, 0.4), "face.present": (0.0, 0.0)}),
        )


def _finding(box: Box, frame: Frame) -> Finding:
    """Return a box as people are told of it; most classes give no signal, and still say what the picture shows."""
    name = "nudity.exposed" if box.label in EXPOSED else "face.present" if box.label in FACES else None
    size_px = shorter_side(box, frame)
    where = box.x, box.y, box.width, box.height
    if name is None:
        return Finding(box.label, box.score, *where, size_px, counted=False, why="nothing is made of this class")
    return Finding(box.label, box.score, *where, size_px, signals={name: box.score})


def shorter_side(box: Box, frame: Frame) -> int:
    """Return a box's shorter side in whole pixels."""
    return int(min(box.width * frame.width, box.height * frame.height))


def letterbox(frame: Frame) -> NDArray[np.uint8]:
    """Return 320x320 RGB pixels: the frame at the top left, scaled to fit, black to the right and below.

    The order is RGB, which the weights were trained for and which nudenet fed them up to 3.4.1; 3.4.2 swaps twice when
    it reads a file (https://github.com/notAI-tech/NudeNet/issues/203). So this is what `NudeDetector.detect` does with
    an RGB array.

    Plain bilinear sampling without smoothing, as cv2 has it: pixels then differ by a rounding step at most, and class
    scores by 0.005 on average (0.023 at most on photographs of 150 pixels and more). Pillow's `resize` smooths while it
    shrinks, and moves them by up to 0.45.
    """
    width, height = frame.width, frame.height
    if width == height == _SIDE:
        return pixels(frame)
    longest = max(width, height)
    picture = Image.frombuffer("RGB", (width, height), frame.rgb, "raw", "RGB", 0, 1)
    # One black pixel beyond the shorter side, so that the edge fades into the padding; the rest of it costs nothing,
    # as `transform` leaves black what lies outside.
    edged = Image.new("RGB", (min(width + 1, longest), min(height + 1, longest)))
    edged.paste(picture)
    step = longest / _SIDE
    matrix = (step, 0.0, 0.0, 0.0, step, 0.0)
    return np.asarray(
        edged.transform((_SIDE, _SIDE), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR)
    )


def find_boxes(output: Floats, width: int, height: int) -> tuple[Box, ...]:
    """Turn the network's output for one frame, (4 + classes, anchors), into boxes, best first.

    Of boxes that overlap much only the best stays, whatever their classes.
    """
    classes = output[4:]
    best = classes.max(axis=0)
    chosen = np.flatnonzero(best > _SCORE)
    if not chosen.size:
        return ()
    # A stable sort: among equal scores the first anchor wins, as in cv2.
    chosen = chosen[np.argsort(-best[chosen], kind="stable")]
    scores, labels = best[chosen], classes[:, chosen].argmax(axis=0)
    x, y, w, h = output[:4, chosen]
    scale = np.float32(max(width, height) / _SIDE)
    # Order of clipping as in the package: a corner outside the frame moves in, the far side is cut, not shifted.
    left = np.clip((x - w / 2) * scale, 0, width)
    top = np.clip((y - h / 2) * scale, 0, height)
    across = np.minimum(w * scale, width - left)
    down = np.minimum(h * scale, height - top)
    return tuple(
        Box(
            LABELS[labels[i]],
            float(scores[i]),
            float(left[i]) / width,
            float(top[i]) / height,
            float(across[i]) / width,
            float(down[i]) / height,
        )
        for i in _keep_best(left, top, across, down)
    )


def _keep_best(left: Floats, top: Floats, across: Floats, down: Floats) -> list[int]:
    """Return which boxes, given best first, do not overlap a better one by more than `_OVERLAP` (greedy NMS)."""
    x0, y0 = left.astype(np.float64), top.astype(np.float64)
    x1, y1 = x0 + across, y0 + down
    area = (x1 - x0) * (y1 - y0)
    kept: list[int] = []
    rest = np.arange(len(x0))
    while rest.size:
        first, rest = int(rest[0]), rest[1:]
        kept.append(first)
        inner_w = np.minimum(x1[first], x1[rest]) - np.maximum(x0[first], x0[rest])
        inner_h = np.minimum(y1[first], y1[rest]) - np.maximum(y0[first], y0[rest])
        inner = np.maximum(inner_w, 0) * np.maximum(inner_h, 0)
        union = area[first] + area[rest] - inner
        # Two boxes without area count as the same one, as cv2's jaccardDistance has it.
        overlap = np.divide(inner, union, out=np.ones_like(inner), where=union > 0)
        rest = rest[overlap.astype(np.float32) <= _OVERLAP]
    return kept
