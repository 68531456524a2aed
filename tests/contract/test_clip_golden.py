"""The detector `clip` beside open_clip: small models of the true architectures, with the answers that open_clip gave.

tests/parity/golden.py wrote tests/golden/ with torch, which is not needed here. At full size: `./dev parity`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedi_safety.core.errors import ConfigError
from fedi_safety.core.types import Frame
from fedi_safety.detectors.clip.folder import ONNXRUNTIME, OPENVINO, Plan
from fedi_safety.detectors.clip.preprocess import read_preprocess
from fedi_safety.detectors.clip.tokens import Tokenizer
from fedi_safety.detectors.clip.towers import TextualTower, VisualTower
from fedi_safety.detectors.sessions.devices import choose_device
from fedi_safety.models.folder import open_model_folder
from support.corpus import photos

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ("small-openai", "small-siglip")

# As tests/parity/golden.py draws them.
PICTURES = (("astronaut", 600), ("chelsea", 300), ("china", 200), ("coffee", 90), ("rocket", 60), ("camera", 500))
ODD = (
    Frame(0, 1, 1, b"\x10\x80\xf0"),
    Frame(0, 65, 64, bytes(65 * 64 * 3)),
    Frame(0, 9, 70, bytes(range(210)) * 9),
    Frame(0, 3, 70, bytes(range(210)) * 3),
)


@dataclass(frozen=True)
class Golden:
    """One model and its answers."""

    name: str

    @cached_property
    def answers(self) -> dict[str, NDArray[np.float32]]:
        with np.load(GOLDEN / self.name / "answers.npz") as file:
            return dict(file)

    @property
    def texts(self) -> list[str]:
        found: list[str] = json.loads((GOLDEN / self.name / "texts.json").read_text())
        return found

    def plan(self, runtime: str = ONNXRUNTIME) -> Plan:
        folder = open_model_folder(GOLDEN / self.name)
        return Plan(folder, "fp32", runtime, "CPU" if runtime == OPENVINO else "", "test")


@pytest.fixture(params=NAMES)
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


@pytest.fixture(scope="module")
def pictures() -> list[Frame]:
    return [*(photos.to_frame(photos.picture(name, longest)) for name, longest in PICTURES), *ODD]


def test_pictures_are_prepared_as_open_clip_does(golden: Golden, pictures: list[Frame]) -> None:
    prepared = read_preprocess(golden.plan().folder.preprocess, golden.name).batch(pictures)
    expected = golden.answers["pixels"]
    assert prepared.shape == expected.shape
    for picture, ours, theirs in zip(pictures, prepared, expected, strict=True):
        # A step of one of the 256 levels is about 0.015. Only slim pictures, scaled in part, may differ by one.
        assert np.abs(ours - theirs).max() <= (0.02 if slim(picture) else 1e-5)


@pytest.mark.parametrize("runtime", [ONNXRUNTIME, OPENVINO])
def test_pictures_have_open_clips_embeddings(golden: Golden, runtime: str, pictures: list[Frame]) -> None:
    tower = VisualTower(golden.plan(runtime), choose_device("cpu"), 1)
    usual = [number for number, picture in enumerate(pictures) if not slim(picture)]
    check(tower.embed([pictures[number] for number in usual]), golden.answers["images"][usual])
    tower.close()


def test_texts_have_open_clips_tokens(golden: Golden) -> None:
    folder = golden.plan().folder
    ours, theirs = Tokenizer(folder)(golden.texts), golden.answers["tokens"]
    assert len(ours) == 400
    if golden.name == "small-openai":  # open_clip fills up with zeros, which the network does not look at
        ends = theirs.argmax(axis=1)
        ours = np.where(np.arange(ours.shape[1])[None, :] > ends[:, None], 0, ours)
    different = [text for text, a, b in zip(golden.texts, ours, theirs, strict=True) if (a != b).any()]
    assert different == []


def test_texts_have_open_clips_embeddings(golden: Golden) -> None:
    check(TextualTower(golden.plan().folder, 1).embed(golden.texts), golden.answers["texts"])


def test_a_text_that_is_too_long_is_not_cut(golden: Golden) -> None:
    with pytest.raises(ConfigError, match="shorten it"):
        Tokenizer(golden.plan().folder)(["a picture of " + "a very long sentence " * 40])


def slim(picture: Frame) -> bool:
    return max(picture.width, picture.height) > 8 * min(picture.width, picture.height)


def check(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    """Compare embeddings, also after what they have in common was taken away: random networks answer alike."""
    assert ours.shape == theirs.shape
    assert (ours * theirs).sum(axis=1).min() > 0.9999
    middle = theirs.mean(axis=0)
    spread = np.linalg.norm(theirs - middle, axis=1).mean()
    assert spread > 0.05  # else the comparison would say nothing
    assert np.linalg.norm(ours - theirs, axis=1).max() < 1e-3 * spread
