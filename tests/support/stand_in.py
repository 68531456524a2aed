"""The stand-in policy for the detector `clip`: condemns drawn pictures in which `red` and `circle` hold together.

The model is the committed one of tests/model/, the pictures are those of tests/shapes.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedi_safety.core.types import Evidence, Scored
from support.corpus import shapes

MODEL = Path(__file__).parents[1] / "model/tiny-shapes"
MODEL_NAME = MODEL.name

POLICY = """\
[factors]
red = ["clip.red"]
circle = ["clip.circle"]

[[rules]]
name = "red circle"
when = { red = 0.5, circle = 0.5 }
verdict = "block"
"""

CASCADE = (
    POLICY.replace('["clip.red"]', '["pixels.red", "clip.red"]')
    + """
[cascade]
red = { below = 0.002, by = ["pixels.red"] }
"""
)
"""The same with a cheap detector before. Its signal alone condemns nothing: no shape fills half of a picture."""


def concepts() -> str:
    """Return the file of the concepts `red` and `circle`."""
    lines = []
    for name, prompts in shapes.stand_in_concepts().items():
        lines.append(f"[concepts.{name}]")
        for kind in ("positive", "negative"):
            lines.append(f"{kind} = {json.dumps(prompts[kind])}")
    return "\n".join(lines) + "\n"


def write_config(folder: Path, store: Path | None = None, more: str = "") -> Path:
    """Write configuration, concepts and policy into a folder, and return the configuration's path."""
    (folder / "concepts.toml").write_text(concepts())
    (folder / "policy.toml").write_text(POLICY)
    lines = [
        f'policy = "{folder / "policy.toml"}"',
        'detectors = ["clip"]',
        'device = "cpu"',
        *([f'store = "{store}"'] if store else []),
        "[clip]",
        f'model = "{MODEL_NAME}"',
        f'model_dir = "{MODEL.parent}"',
        f'concepts = "{folder / "concepts.toml"}"',
        more,
    ]
    config = folder / "config.toml"
    config.write_text("\n".join(lines) + "\n")
    return config


class RedPixels:
    """A detector that takes a tenth of a millisecond: the share of pixels that are plainly red."""

    name = "red_pixels"
    version = "1"
    signals = ("pixels.red",)
    after: tuple[str, ...] = ()
    cost = 0.1
    max_batch = 64

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        """Count."""
        return [Scored({"pixels.red": float(self._share(evidence))}) for evidence in batch]

    @staticmethod
    def _share(evidence: Evidence) -> float:
        frame = evidence.frame
        red, green, blue = np.frombuffer(frame.rgb, np.uint8).reshape(-1, 3).astype(np.int16).T
        return float((red - np.maximum(green, blue) > 60).mean())
