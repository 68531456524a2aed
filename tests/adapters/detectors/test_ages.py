"""Which faces get an age by two models: those that are faces, by a second word, and no more than the bounds say."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from fedi_safety.core.errors import ModelError
from fedi_safety.core.types import Box, Evidence, Frame, Scored
from fedi_safety.detectors.embedded import age as age_module
from fedi_safety.detectors.embedded import faceres
from fedi_safety.detectors.embedded.age import Age
from fedi_safety.detectors.embedded.dlib_faces import FINDER, LABEL, DlibFaces
from fedi_safety.detectors.examples import drawn_face
from fedi_safety.detectors.sessions.devices import choose_device
from fedi_safety.detectors.sessions.weights import Weights
from support.corpus.photos import photos, picture, to_frame
from support.detectors import opened

NEW = ("face.confirmed", "face.under_18", "face.under_20")
ROOT = Path(__file__).parents[3]
GOLDEN = json.loads((ROOT / "tests/golden/faceres.json").read_text())
FACE = Box("FACE_FEMALE", 0.8, 0.34, 0.16, 0.2, 0.19)  # of the portrait
CUT_OFF = Box("FACE_FEMALE", 0.8, 0.34, 0.0, 0.2, 0.2)


@pytest.fixture(scope="module")
def age() -> Age:
    return Age(choose_device("cpu"), 1)


def _score(age: Age, frame: Frame, *boxes: Box) -> Scored:
    return age.score([Evidence(frame, boxes)])[0]


def _portrait(scale: float = 1.0) -> Frame:
    """The portrait, shrunk within its own size: only the face is smaller."""
    image = picture("astronaut")
    small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", image.size, (120, 120, 120))
    canvas.paste(small)
    return to_frame(canvas)


def test_the_second_model_says_what_tensorflow_js_says_of_its_packages_own_files() -> None:
    """Golden numbers: packaging/faceres.cjs. Not held to what we converted, but to what we converted from."""
    drawn, portrait = drawn_face(), photos()["astronaut"]
    faces = {
        "drawn face": faceres.cut(drawn.frame, drawn.boxes[0]),
        "astronaut": faceres.cut(portrait, FACE),
        "cut off": faceres.cut(portrait, CUT_OFF),
    }
    if {name: hashlib.sha256(face.tobytes()).hexdigest() for name, face in faces.items()} != GOLDEN["pixels"]:
        pytest.fail("other pixels than those of the golden numbers: make them anew (packaging/faceres.cjs)")
    found = faceres.FaceRes(choose_device("cpu"), 1).probabilities(list(faces.values()))
    expected = np.array([GOLDEN["chances"][name] for name in faces])
    assert np.abs(found - expected).max() < 1e-5
    assert np.abs(expected[0] - expected[1]).max() > 0.01, "the faces must differ for this to show anything"


def test_the_new_signals_are_the_mean_of_both_models_and_the_old_ones_dlibs_own(age: Age) -> None:
    scored = _score(age, photos()["astronaut"], FACE)
    (face,) = scored.findings
    assert face.counted and not face.why
    for years in (18, 20):
        both = (face.ages[f"dlib under {years}"], face.ages[f"FaceRes under {years}"])
        assert both[0] != pytest.approx(both[1], abs=0.01)
        assert scored.signals[f"face.under_{years}"] == pytest.approx(sum(both) / 2)
    assert scored.signals["face.minor"] == face.ages["dlib under 18"]
    assert scored.signals["face.young"] == face.ages["dlib under 25"]
    assert scored.signals["face.confirmed"] == FACE.score


@pytest.mark.parametrize("name", ["chelsea", "coffee", "motorcycle", "hubble"])
def test_what_is_no_human_face_gets_no_age_by_two_models(age: Age, name: str) -> None:
    """A cat, a cup, a motorcycle, stars: whatever NudeNet may call them, and by whatever score."""
    box = Box("FACE_FEMALE", 0.95, 0.25, 0.15, 0.5, 0.6)
    scored = _score(age, photos()[name], box)
    assert scored.signals["face.young"] > 0.0, "dlib tells an age of anything: that signal keeps its meaning"
    assert [scored.signals[signal] for signal in NEW] == [0.0, 0.0, 0.0]
    (face,) = scored.findings
    assert not face.counted and "human face" in face.why
    assert "FaceRes under 18" not in face.ages, "the second model is asked only of what is a face"


def test_a_face_that_nudenet_lost_is_found_again(age: Age) -> None:
    """Where NudeNet names none, and where it names something else."""
    buffer = io.BytesIO()
    picture("astronaut").save(buffer, "JPEG", quality=15)
    with Image.open(buffer) as image:
        frame = to_frame(image)
    wrong = Box("FACE_MALE", 0.7, 0.0, 0.7, 0.2, 0.2)
    for boxes in ((), (wrong,)):
        scored = _score(age, frame, *boxes)
        assert scored.signals["face.under_20"] > 0.0
        found = scored.findings[-1]
        assert (found.label, found.counted) == (LABEL, True)
        x, y = found.x + found.width / 2, found.y + found.height / 2
        assert FACE.x < x < FACE.x + FACE.width and FACE.y < y < FACE.y + FACE.height
        assert {*found.signals} == {*NEW}
    assert _score(age, frame).signals["face.young"] == 0.0, "no face of NudeNet's: the old signals keep their meaning"


def test_a_face_of_which_nudenet_is_unsure_counts_by_dlibs_word(age: Age) -> None:
    unsure = Box("FACE_FEMALE", 0.3, FACE.x, FACE.y, FACE.width, FACE.height)
    scored = _score(age, photos()["astronaut"], unsure)
    assert (scored.signals["face.minor"], scored.signals["face.confirmed"]) == (0.0, 0.3)
    sure = _score(age, photos()["astronaut"], FACE)
    assert scored.signals["face.under_20"] == pytest.approx(sure.signals["face.under_20"])


def test_a_face_of_twelve_pixels_gets_no_second_opinion(age: Age) -> None:
    scale = 12 / (FACE.height * 600)
    small = Box("FACE_FEMALE", 0.8, *(value * scale for value in (FACE.x, FACE.y, FACE.width, FACE.height)))
    scored = _score(age, _portrait(scale), small)
    assert scored.signals["face.young"] > 0.0
    assert [scored.signals[signal] for signal in NEW] == [0.0, 0.0, 0.0]
    assert "too small" in scored.findings[0].why


def test_a_dark_face_is_told_the_age_that_it_has_in_the_light(age: Age) -> None:
    light = _score(age, photos()["astronaut"], FACE).signals["face.under_20"]
    dark = to_frame(ImageEnhance.Brightness(picture("astronaut")).enhance(0.12))
    scored = _score(age, dark, FACE)
    assert scored.signals["face.under_20"] == pytest.approx(light, abs=0.03)
    assert {"dlib under 18", "dlib under 18, lit"} <= scored.findings[0].ages.keys()


@pytest.mark.long
def test_of_a_thousand_faces_few_are_looked_at_twice_those_that_look_youngest(
    age: Age, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a crowd costs is bounded, and the youngest of it is among what is looked at."""
    frame = photos()["astronaut"]
    random = np.random.default_rng(1)
    places = random.uniform(0.0, 0.8, (1000, 2))
    crowd = [Box("FACE_MALE", 0.9, float(x), float(y), 0.15, 0.15) for x, y in places]
    asked: list[Box] = []
    told: list[int] = []
    told_by = age._second.probabilities

    def sees(_self: DlibFaces, _frame: Frame, box: Box, *, certain: bool) -> bool:
        asked.append(box)
        return certain

    def tell(faces: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        told.append(len(faces))
        return told_by(faces)

    monkeypatch.setattr(age_module, "_MOST", 40)
    monkeypatch.setattr(DlibFaces, "sees", sees)
    monkeypatch.setattr(age._second, "probabilities", tell)
    scored = _score(age, frame, *crowd)
    most = age_module._MOST_CONFIRMED
    assert len(asked) == most and told == [most]
    first = [face.ages["dlib under 20"] for face in scored.findings if face.ages]
    assert len(first) == 40 and sum("crowd" in face.why for face in scored.findings) == 960
    counted = [face.ages["dlib under 20"] for face in scored.findings if face.counted]
    assert min(counted) == sorted(first)[-most] > sorted(first)[0]


def test_a_crowd_that_is_none_costs_no_more(age: Age, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    find = DlibFaces.find

    def looks(self: DlibFaces, frame: Frame) -> list[Box]:
        found.append(1)
        return find(self, frame)

    monkeypatch.setattr(DlibFaces, "find", looks)
    monkeypatch.setattr(age_module, "_MOST", 20)
    crowd = [Box("FACE_MALE", 0.9, i / 1000, i / 1000, 0.2, 0.2) for i in range(800)]
    scored = _score(age, photos()["coffee"], *crowd)
    assert scored.signals["face.under_20"] == 0.0 and found == [1]


def test_every_face_of_a_frame_that_was_turned_is_passed_over(age: Age) -> None:
    from fedi_safety.core.frames.places import Place

    frame = photos()["astronaut"]
    turned = Frame(0, frame.width, frame.height, frame.rgb, Place(turned=90))
    scored = _score(age, turned, FACE)
    assert set(scored.signals.values()) == {0.0}
    assert "turned" in scored.findings[0].why


@pytest.mark.sampled(2)
@pytest.mark.parametrize("weights", [faceres.WEIGHTS, FINDER], ids=lambda weights: weights.file)
@pytest.mark.parametrize("broken", [b"", b"other bytes"])
def test_a_file_of_ours_that_is_missing_or_another_is_one_line_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bytes, weights: Weights
) -> None:
    file = tmp_path / Path(weights.file).name
    if broken:
        file.write_bytes(broken)
    monkeypatch.setattr(Weights, "path", lambda self: file if self is weights else path(self))
    with pytest.raises(ModelError) as caught:
        opened("embedded")
    message = str(caught.value)
    assert "\n" not in message and file.name in message
    assert ("altered" if broken else "missing") in message
    assert "reinstall the package fedi-safety" in message


@pytest.mark.long
def test_the_finder_of_faces_is_the_librarys_own() -> None:
    """`frontal_faces.svm` is what the pinned dlib saves: made anew where that changes."""
    subprocess.run([sys.executable, str(ROOT / "packaging/frontal_faces.py"), "--check"], check=True, timeout=60)


path = Weights.path
