"""The towers of `clip`: folders that do not fit, batches that are too large, devices that go away, idling."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from fedi_safety.core.errors import ConfigError, DeviceError, ExitCode, ModelError, Unscannable
from fedi_safety.core.types import Frame
from fedi_safety.detectors.clip import towers
from fedi_safety.detectors.clip.folder import ONNXRUNTIME, OPENVINO, Plan, plan_model
from fedi_safety.detectors.clip.towers import TextualTower, VisualTower
from fedi_safety.detectors.sessions.devices import CPU_PROVIDER, DeviceChoice
from fedi_safety.detectors.sessions.network import Floats, OutOfMemory, Port
from fedi_safety.detectors.sessions.onnx import Session, open_session
from fedi_safety.detectors.sessions.pinned import ordinary
from fedi_safety.detectors.sessions.resting import Resting
from fedi_safety.models import variants
from fedi_safety.models.folder import open_model_folder
from support.tiny_clip import CONTEXT, make_model_folder

CPU = DeviceChoice("cpu", (CPU_PROVIDER,), "test")
CUDA = DeviceChoice("cuda", ("CUDAExecutionProvider", CPU_PROVIDER), "test")


def frames(count: int) -> list[Frame]:
    random = np.random.default_rng(7)
    return [Frame(i, 20, 17, random.integers(0, 256, 20 * 17 * 3, np.uint8).tobytes()) for i in range(count)]


def plan(path: Path, runtime: str = ONNXRUNTIME) -> Plan:
    return Plan(open_model_folder(path), "fp32", runtime, "CPU" if runtime == OPENVINO else "", "test")


def tower(path: Path, device: DeviceChoice = CPU, runtime: str = ONNXRUNTIME, **options: Any) -> VisualTower:
    return VisualTower(plan(path, runtime), device, 1, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_model_folder(tmp_path / "tiny")


# --- what fits


@pytest.mark.parametrize("runtime", [ONNXRUNTIME, OPENVINO])
def test_vectors_are_of_unit_length_and_do_not_depend_on_the_batch(folder: Path, runtime: str) -> None:
    opened = tower(folder, runtime=runtime)
    pictures = frames(21)
    together = opened.embed(pictures)
    assert together.shape == (21, 8) and together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-6)
    alone = np.concatenate([opened.embed([picture]) for picture in pictures])
    assert np.abs(together - alone).max() < 1e-6
    assert np.linalg.norm(together - together.mean(axis=0), axis=1).min() > 0.1, "the vectors must differ"
    assert opened.embed([]).shape == (0, 8)


def test_both_runtimes_agree(folder: Path) -> None:
    one, other = (tower(folder, runtime=runtime).embed(frames(5)) for runtime in (ONNXRUNTIME, OPENVINO))
    assert np.abs(one - other).max() < 1e-5


@pytest.mark.parametrize("runtime", [ONNXRUNTIME, OPENVINO])
def test_a_graph_for_a_fixed_number_of_pictures_gets_them_in_portions(tmp_path: Path, runtime: str) -> None:
    fixed = tower(make_model_folder(tmp_path / "fixed", image_shape=(2, 3, 16, 16)), runtime=runtime)
    free = tower(make_model_folder(tmp_path / "free"), runtime=runtime)
    assert np.abs(fixed.embed(frames(7)) - free.embed(frames(7))).max() < 1e-6


def test_texts(folder: Path) -> None:
    vectors = TextualTower(open_model_folder(folder), 1).embed(["red", "blue", "a red b"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01


# --- what does not fit


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"image_shape": ("n", 3, 24, 24)}, r"its input \(N, 3, 24, 24\) is not \(N, 3, 16, 16\)"),
        ({"image_shape": ("n", 4, 16, 16)}, r"its input \(N, 4, 16, 16\) is not"),
        ({"out_dim": 5}, r"none, or more than one, is \(N, 8\)"),
        ({"preprocess": {"size": [24, 24]}}, "24 is not the image size of the model's architecture, 16"),
        ({"preprocess": {"resize_mode": "stretch"}}, "resize_mode: 'stretch' is not known, only shortest"),
    ],
)
def test_a_visual_tower_that_does_not_fit_is_refused(tmp_path: Path, faults: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        tower(make_model_folder(tmp_path / "bad", **faults))
    assert "\n" not in caught.value.line()


def test_an_input_of_another_rank_is_refused(folder: Path) -> None:
    (folder / "visual/model.onnx").write_bytes((folder / "textual/model.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"its input \(N, 12\) is not pictures as float32 \(N, 3, 16, 16\)"):
        tower(folder)


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"text_shape": ("n", 40)}, r"its input \(N, 40\) is not \(N, 12\), as config.json has it"),
        ({"out_dim": 5}, r"is \(N, 8\), as config.json has it"),
    ],
)
def test_a_textual_tower_that_does_not_fit_is_refused(tmp_path: Path, faults: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        TextualTower(open_model_folder(make_model_folder(tmp_path / "bad", **faults)), 1).embed(["red"])


def test_a_visual_network_in_the_place_of_the_textual_one_is_refused(folder: Path) -> None:
    (folder / "textual/model.onnx").write_bytes((folder / "visual/model.onnx").read_bytes())
    with pytest.raises(ModelError, match="is not tokens as whole numbers"):
        TextualTower(open_model_folder(folder), 1).embed(["red"])


@pytest.mark.parametrize("runtime", [ONNXRUNTIME, OPENVINO])
def test_a_file_that_is_no_graph_is_refused(folder: Path, runtime: str) -> None:
    (folder / "visual/model.onnx").write_bytes(b"no graph at all")
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        tower(folder, runtime=runtime)
    assert "\n" not in caught.value.line()


def test_a_network_that_fails_on_a_black_picture_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fails on a black picture"):
        tower(make_model_folder(tmp_path / "nan", scale=float("inf")))


def test_a_vector_of_zeros_is_no_answer(tmp_path: Path) -> None:
    opened = tower(make_model_folder(tmp_path / "zero", scale=0.0))
    with pytest.raises(Unscannable, match="vector of zeros"):
        opened.embed(frames(1))


def test_a_text_that_is_too_long_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=f"it makes 25 tokens, and the model reads {CONTEXT}; shorten it"):
        TextualTower(open_model_folder(folder), 1).embed(["red", "red " * 24])


# --- memory


class Scarce:
    """A network on a device with memory for so many pictures at once; it may lose the device, too."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.lost = False
        self.tried: list[int] = []
        self.input = Port("image", (None, 3, 16, 16), np.dtype(np.float32))
        self.outputs = (Port("embedding", (None, 8), np.dtype(np.float32)),)

    def room(self, shape: tuple[int, ...]) -> AbstractContextManager[Floats]:
        return ordinary(shape)

    def run(self, batch: NDArray[Any], output: str | None = None) -> Floats:
        self.tried.append(len(batch))
        if self.lost:
            raise DeviceError("device 'cuda'", "it was lost")
        if len(batch) > self.memory:
            raise OutOfMemory("CUDA failure 2: out of memory")
        shades: Floats = np.ones((len(batch), 8), np.float32)
        shades[:, 0] += batch.mean(axis=(1, 2, 3))
        return shades


def scarce(monkeypatch: pytest.MonkeyPatch, folder: Path, network: Scarce, **options: Any) -> VisualTower:
    monkeypatch.setattr(towers, "open_session", lambda *_arguments, **_options: network)
    return tower(folder, CUDA, **options)


def test_a_batch_that_is_too_large_is_halved_and_the_size_remembered(
    monkeypatch: pytest.MonkeyPatch, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = Scarce(memory=9)
    opened = scarce(monkeypatch, folder, network)
    assert opened.max_batch == 64
    pictures = frames(50)
    vectors = opened.embed(pictures)
    assert network.tried == [1, 50, 25, 12, *[6] * 8, 2]
    assert opened.max_batch == 6
    network.tried.clear()
    assert np.array_equal(vectors, opened.embed(pictures)), "each picture once, in order"
    assert network.tried == [*[6] * 8, 2]
    assert "out of memory with 50 pictures at once; from now on 25" in caplog.text


def test_a_batch_size_that_was_asked_for_is_where_it_begins(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    network = Scarce(memory=9)
    opened = scarce(monkeypatch, folder, network, batch=10)
    opened.embed(frames(10))
    assert network.tried == [1, 10, 5, 5]


def test_no_memory_for_a_single_picture_ends_the_scan(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    network = Scarce(memory=1)
    opened = scarce(monkeypatch, folder, network)
    network.memory = 0
    with pytest.raises(DeviceError, match=r"out of memory with a single picture.*judged by the next run") as caught:
        opened.embed(frames(3))
    assert caught.value.exit_code is ExitCode.OUTSIDE
    with pytest.raises(DeviceError):
        scarce(monkeypatch, folder, Scarce(memory=0))


def test_a_lost_device_comes_through(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    network = Scarce(memory=9)
    opened = scarce(monkeypatch, folder, network)
    network.lost = True
    with pytest.raises(DeviceError, match="lost"):
        opened.embed(frames(3))


def test_a_gpu_gets_one_batch_at_a_time(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    class Slow(Scarce):
        def run(self, batch: NDArray[Any], output: str | None = None) -> Floats:
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()
            return super().run(batch, output)

    opened = scarce(monkeypatch, folder, Slow(memory=99))
    threads = [threading.Thread(target=opened.embed, args=(frames(2),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 5 and max(most) == 1


# --- idling


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_an_idle_network_is_unloaded_and_comes_back(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    loads: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Session:
        loads.append(1)
        return open_session(*arguments, **options)

    monkeypatch.setattr(towers, "open_session", counted)
    opened = tower(folder, unload_after_s=0.2)
    first = opened.embed(frames(2))
    assert len(loads) == 1
    assert eventually(lambda: not opened.loaded)
    assert np.array_equal(opened.embed(frames(2)), first)
    assert len(loads) == 2
    opened.close()
    assert not opened.loaded


def test_what_is_in_use_is_not_let_go() -> None:
    gone: list[int] = []
    resting = Resting(lambda: object(), 0.05, lambda: gone.append(1))
    with resting.use() as thing:
        time.sleep(0.3)
        with resting.use() as same:
            assert same is thing
        assert resting.awake
    assert eventually(lambda: not resting.awake and bool(gone))


def test_what_cannot_be_made_is_tried_again_and_what_never_rests_stays() -> None:
    attempts: list[int] = []

    def make() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise ModelError("tiny", "not now")
        return len(attempts)

    resting = Resting(make, 0, lambda: None)
    with pytest.raises(ModelError), resting.use():
        pass
    with resting.use() as made:
        assert made == 2
    time.sleep(0.1)
    assert resting.awake


# --- fp16


def test_fp16_still_works_where_the_gpu_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """ONNX Runtime then gives it to the processor, and one of its optimisers would crash on it."""
    real = onnxruntime.InferenceSession

    def fall_back(graph: str, options: object, providers: list[str], **extra: Any) -> Any:
        return real(graph, options, providers=[CPU_PROVIDER], **extra)

    monkeypatch.setattr(onnxruntime, "InferenceSession", fall_back)
    path = tmp_path / "tiny-shapes"
    shutil.copytree(Path(__file__).parents[2] / "model/tiny-shapes", path)
    variants.make(open_model_folder(path), "fp16")
    variants.record(path, "fp16", {}, agrees=True)
    auto = DeviceChoice("cuda", CUDA.providers, "auto: found")
    chosen = plan_model(path, auto)
    assert chosen.variant == "fp16"
    half, full = VisualTower(chosen, auto, 1), tower(path)
    one, other = half.embed(frames(6)), full.embed(frames(6))
    assert (one * other).sum(axis=1).min() > 0.999
    assert not np.array_equal(one, other)
    assert "could not be started" in caplog.text
