"""open_nsfw in eight bits first: who is asked, what stands, and what happens to a file that is not the pinned one."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx.numpy_helper import to_array

from fedi_safety.core.errors import ModelError, UsageError
from fedi_safety.core.types import Evidence, Frame
from fedi_safety.detectors.embedded import open_nsfw
from fedi_safety.detectors.embedded.open_nsfw import CLEARED, EIGHT_BITS, OpenNsfw
from fedi_safety.detectors.examples import check_examples
from fedi_safety.detectors.sessions import precision
from fedi_safety.detectors.sessions.devices import CPU_PROVIDER, DeviceChoice, choose_device
from fedi_safety.detectors.sessions.loading import Deferred
from fedi_safety.detectors.sessions.network import Floats
from fedi_safety.detectors.sessions.weights import Weights
from fedi_safety.policies import PRESETS, load_policy
from support.corpus.photos import photos

CPU = choose_device("cpu")
GPU = DeviceChoice("cuda", ("CUDAExecutionProvider", CPU_PROVIDER), "asked for")
BY_OPENVINO = DeviceChoice("openvino", (CPU_PROVIDER,), "asked for", "CPU")


class _Counting:
    """A network that is asked in another one's place, and counts for how many pictures."""

    def __init__(self, network: object) -> None:
        self._network = network
        self.asked = 0

    def run(self, batch: Floats) -> Floats:
        self.asked += len(batch)
        return self._network.run(batch)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("flags", "device", "wanted", "expected"),
    [
        ("sse4_2 avx2 avx512_vnni", CPU, "auto", True),
        ("sse4_2 avx2", CPU, "auto", True),
        ("sse4_2 avx", CPU, "auto", False),
        ("", CPU, "auto", False),
        ("", CPU, "int8", True),
        ("avx2", CPU, "fp32", False),
        ("avx2", GPU, "auto", False),
        ("avx2", BY_OPENVINO, "auto", False),
    ],
)
def test_eight_bits_are_taken_where_the_processor_gains_by_them(
    flags: str, device: DeviceChoice, wanted: precision.Precision, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "processor_flags", lambda: frozenset(flags.split()))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert precision.in_eight_bits(wanted, device) is expected


@pytest.mark.parametrize("device", [GPU, BY_OPENVINO], ids=lambda device: device.name)
def test_eight_bits_on_another_device_are_refused(device: DeviceChoice) -> None:
    with pytest.raises(UsageError, match=r"precision int8: the device .* --device cpu"):
        precision.in_eight_bits("int8", device)


def test_what_the_system_does_not_say_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "none")
    assert precision.processor_flags.__wrapped__() == frozenset()


def test_only_what_is_plainly_safe_stands_in_eight_bits() -> None:
    frames = [Evidence(frame) for frame in photos().values()]
    full = [scored.signals["nsfw.open_nsfw"] for scored in OpenNsfw(CPU, 1, "fp32").score(frames)]
    both = OpenNsfw(CPU, 1, "int8")
    assert both._first is not None
    behind = both._session
    assert isinstance(behind, Deferred)
    plain = [frame for frame, score in zip(frames, full, strict=True) if score < CLEARED / 3]
    both.score(plain)
    early = behind.loaded
    assert plain and not early, "fp32 is loaded for what stands in eight bits"
    first, second = _Counting(both._first), _Counting(both._session)
    both._first, both._session = first, second  # type: ignore[assignment]
    given = [scored.signals["nsfw.open_nsfw"] for scored in both.score(frames)]
    assert first.asked == len(frames)
    assert second.asked == sum(score >= CLEARED for score in given) < len(frames)
    for score, exact in zip(given, full, strict=True):
        assert score == pytest.approx(exact, abs=1e-5) if score >= CLEARED else exact < 3 * CLEARED
    assert behind.loaded
    assert given != full, "all of them were measured in fp32"


def test_a_loud_picture_is_measured_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_nsfw, "CLEARED", 0.0)
    frame = Evidence(photos()["astronaut"])
    exact = OpenNsfw(CPU, 1, "fp32").score([frame])[0].signals
    assert OpenNsfw(CPU, 1, "int8").score([frame])[0].signals == pytest.approx(exact, abs=1e-6)


def test_eight_bits_are_shown_nearly_the_same_picture_and_a_small_one_exactly() -> None:
    for name, frame in photos().items():
        whole, rough = (open_nsfw.crop(frame, roughly=roughly).astype(int) for roughly in (False, True))
        assert 0 < np.abs(rough - whole).mean() < 5, name  # of 255: less than a picture that is moved by one pixel
    colours = np.random.default_rng(0).integers(0, 256, (447, 300, 3), np.uint8)
    small = Frame(0, 300, 447, colours.tobytes())
    assert np.array_equal(open_nsfw.crop(small), open_nsfw.crop(small, roughly=True))


def test_eight_bits_are_fed_each_pixel_as_it_is() -> None:
    """In windows of eight, every second pixel one, with the mean colour around them: what fp32 is fed as nothing."""
    frames = [photos()["astronaut"], photos()["coffee"]]
    fed = open_nsfw.windows(frames)
    assert fed.shape == (2, 230, 112, 24)
    for windows, frame in zip(fed, frames, strict=True):
        bordered = np.full((230, 230, 3), open_nsfw.MEAN_BGR[::-1])
        bordered[3:-3, 3:-3] = open_nsfw.crop(frame, roughly=True)
        for step in range(112):
            assert np.array_equal(windows[:, step], bordered[:, 2 * step : 2 * step + 8].reshape(230, 24)), step


def test_the_first_convolution_in_eight_bits_is_the_one_in_fp32() -> None:
    """Over pixels in windows with the mean in its bias, as over fp32 without it: apart by its weights' rounding."""
    graph = onnx.load_from_string(EIGHT_BITS.read()).graph
    kept = {each.name: to_array(each).astype(np.float64) for each in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    convolution = next(node for node in graph.node if node.op_type == "Conv")

    def scaled(name: str) -> NDArray[np.float64]:
        values, scale, _ = (kept[each] for each in made[name].input)
        found: NDArray[np.float64] = values * scale.reshape(-1, *[1] * (values.ndim - 1))
        return found

    weights, bias = scaled(convolution.input[1]), scaled(convolution.input[2])
    frame = photos()["astronaut"]
    small = Frame(0, 224, 224, open_nsfw.crop(frame).tobytes())
    fed = open_nsfw.windows([small])[0].astype(np.float64)
    full = onnx.load_from_string(open_nsfw.WEIGHTS.read())
    first = next(node for node in full.graph.node if node.op_type == "Conv")
    full.graph.output.append(onnx.helper.make_empty_tensor_value_info(first.output[0]))
    session = onnxruntime.InferenceSession(full.SerializeToString(), providers=[CPU_PROVIDER])
    expected = session.run([first.output[0]], {session.get_inputs()[0].name: open_nsfw.prepared([small])})[0][0]
    for line, step in ((0, 0), (0, 111), (50, 60), (111, 0), (111, 111)):
        seen = fed[2 * line : 2 * line + 7, step]
        given = np.einsum("rc,ocr->o", seen, weights[..., 0]) + bias
        assert given == pytest.approx(expected[:, line, step], abs=0.03), (line, step)


def test_examples_hold_and_the_version_names_both_files() -> None:
    both, full = OpenNsfw(CPU, 1, "int8"), OpenNsfw(CPU, 1, "fp32")
    assert check_examples(both) == []
    assert both.version.startswith(full.version)
    assert f"int8 sha256:{EIGHT_BITS.sha256[:12]}" in both.version


def test_what_a_convolution_gives_is_rounded_once() -> None:
    """Rounded before its rectifier too, each picture goes through fp32 and back at every step: a tenth of the time."""
    graph = onnx.load_from_string(EIGHT_BITS.read()).graph
    by_output = {output: node.op_type for node in graph.node for output in node.output}
    before = Counter(by_output[node.input[0]] for node in graph.node if node.op_type == "Relu")
    assert before == {"Conv": 33, "Add": 16}
    used = {name for node in graph.node for name in node.input}
    assert {each.name for each in graph.initializer} <= used


def test_presets_ask_for_far_more_than_what_stands_in_eight_bits() -> None:
    """A rule that could be met or missed by eight bits alone would depend on the processor."""
    for preset in PRESETS:
        policy = load_policy(preset)
        for rule in policy.rules:
            for factor, bound in rule.when.items():
                if "nsfw.open_nsfw" in policy.factors[factor]:
                    assert bound >= 5 * CLEARED, (preset, rule.name, factor)


@pytest.mark.parametrize("broken", [b"not these weights", None], ids=["altered", "missing"])
def test_a_bad_file_means_fp32_or_an_error_never_a_score(
    broken: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "open_nsfw_int8.onnx"
    if broken is not None:
        file.write_bytes(broken)
    path = Weights.path
    monkeypatch.setattr(Weights, "path", lambda self: file if self is EIGHT_BITS else path(self))
    monkeypatch.setattr(precision, "processor_flags", lambda: frozenset({"avx2"}))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with caplog.at_level(logging.WARNING):
        opened = OpenNsfw(CPU, 1, "auto")
    (said,) = caplog.messages
    assert str(file) in said
    assert "reinstall the package fedi-safety" in said
    assert said.endswith("open_nsfw computes in fp32")
    assert "int8" not in opened.version
    with pytest.raises(ModelError, match="reinstall the package fedi-safety"):
        OpenNsfw(CPU, 1, "int8")
