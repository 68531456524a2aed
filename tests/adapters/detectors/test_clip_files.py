"""What `clip` makes of a model's own files: how it runs, how pictures and texts are prepared, what it remembers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedi_safety.core.errors import ConfigError, ModelError, UsageError
from fedi_safety.core.types import Frame
from fedi_safety.detectors.clip import folder as planning
from fedi_safety.detectors.clip.folder import ONNXRUNTIME, OPENVINO, plan_model
from fedi_safety.detectors.clip.preprocess import Preprocess, read_preprocess
from fedi_safety.detectors.clip.text_cache import TextCache
from fedi_safety.detectors.clip.tokens import Tokenizer
from fedi_safety.detectors.sessions.devices import CPU_PROVIDER, DeviceChoice
from fedi_safety.detectors.sessions.network import Floats
from fedi_safety.models.folder import file_sha256, open_model_folder
from support.corpus import photos
from support.tiny_clip import CONTEXT, make_model_folder

CPU = DeviceChoice("cpu", (CPU_PROVIDER,), "test")
CUDA = DeviceChoice("cuda", ("CUDAExecutionProvider", CPU_PROVIDER), "test")
INTEL_GPU = DeviceChoice("openvino", (CPU_PROVIDER,), "test", "GPU")
INTEL_CPU = DeviceChoice("openvino", (CPU_PROVIDER,), "test", "CPU")


# --- how it runs


def variants(path: Path, **agrees: bool) -> None:
    """Record variants, with files, as `models optimize` does."""
    document: dict[str, Any] = {}
    for name, agreed in agrees.items():
        document[name] = {"agreement": {}, "agrees": agreed}
        if name != "bf16":
            file = path / f"visual/model.{name}.onnx"
            file.write_bytes((path / "visual/model.onnx").read_bytes())
            document[name] |= {"file": f"visual/model.{name}.onnx", "sha256": file_sha256(file)}
    (path / "variants.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("device", "openvino", "bf16", "made", "variant", "runtime"),
    [
        (CPU, True, True, {}, "bf16", OPENVINO),
        (CPU, True, False, {}, "fp32", OPENVINO),
        (CPU, False, False, {}, "fp32", ONNXRUNTIME),
        (CPU, True, True, {"int8w": True}, "int8w", OPENVINO),
        (CPU, True, True, {"int8w": False}, "bf16", OPENVINO),
        (CPU, False, False, {"int8w": True}, "fp32", ONNXRUNTIME),
        (CPU, False, False, {"int8": True}, "int8", ONNXRUNTIME),
        (CPU, True, True, {"int8": True, "int8w": True}, "int8w", OPENVINO),
        (CPU, True, True, {"int8": True, "int8w": False}, "int8", ONNXRUNTIME),
        (CPU, True, True, {"fp16": True}, "bf16", OPENVINO),
        (INTEL_CPU, True, True, {}, "bf16", OPENVINO),
        (INTEL_GPU, True, True, {"int8w": True}, "fp32", OPENVINO),
        (CUDA, True, True, {}, "fp32", ONNXRUNTIME),
        (CUDA, True, True, {"fp16": True}, "fp16", ONNXRUNTIME),
        (CUDA, True, True, {"fp16": False, "int8": True}, "fp32", ONNXRUNTIME),
    ],
)
def test_the_number_format_that_is_taken_by_itself(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: DeviceChoice,
    openvino: bool,
    bf16: bool,
    made: dict[str, bool],
    variant: str,
    runtime: str,
) -> None:
    """Another than fp32 or native bf16 only where the operator's own pictures have shown that it agrees."""
    installed(monkeypatch, openvino, bf16)
    path = make_model_folder(tmp_path / "tiny")
    variants(path, **made)
    plan = plan_model(path, device)
    assert (plan.variant, plan.runtime) == (variant, runtime)
    assert plan.unit == (device.unit or ("CPU" if runtime == OPENVINO else ""))
    assert plan.name == f"tiny {variant} sha256:{plan.digest[:16]}"
    assert plan.reason


def installed(monkeypatch: pytest.MonkeyPatch, openvino: bool, bf16: bool) -> None:
    monkeypatch.setattr(planning, "openvino_units", lambda: ("CPU",) if openvino else ())
    monkeypatch.setattr(planning, "_native_bf16", lambda: bf16)


@pytest.mark.parametrize(
    ("device", "precision", "openvino", "made", "expected"),
    [
        (CPU, "fp32", True, {}, "fp32"),
        (CPU, "fp32", False, {}, "fp32"),
        (CPU, "bf16", True, {}, "bf16"),
        (CPU, "int8", True, {"int8": False, "int8w": False}, "int8w"),
        (CPU, "int8", False, {"int8": False, "int8w": False}, "int8"),
        (CPU, "int8", True, {"int8": False}, "int8"),
        (CUDA, "fp16", False, {"fp16": False}, "fp16"),
        (INTEL_GPU, "fp16", True, {}, "fp16"),
        (CPU, "bf16", False, {}, "cannot be loaded|finds no processor"),
        (CPU, "int8", False, {"int8w": False}, "cannot be loaded|finds no processor"),
        (CPU, "int8", True, {}, "there is no int8 variant of it; make one with `fedi-safety models optimize tiny`"),
        (CUDA, "fp16", True, {}, "there is no fp16 variant"),
        (CPU, "fp16", True, {"fp16": True}, "it is for GPUs"),
        (CUDA, "bf16", True, {}, "it is for processors, not for cuda"),
        (CUDA, "int8", True, {"int8": True}, "it is for processors, not for cuda"),
        (CPU, "fp64", True, {}, "unknown; use one of auto, fp32"),
    ],
)
def test_a_number_format_that_is_asked_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: DeviceChoice,
    precision: str,
    openvino: bool,
    made: dict[str, bool],
    expected: str,
) -> None:
    installed(monkeypatch, openvino, openvino)
    path = make_model_folder(tmp_path / "tiny")
    variants(path, **made)
    if " " not in expected:
        assert plan_model(path, device, precision).variant == expected
        return
    with pytest.raises((ModelError, UsageError), match=expected):
        plan_model(path, device, precision)


def test_a_changed_variant_is_refused(tmp_path: Path) -> None:
    path = make_model_folder(tmp_path / "tiny")
    variants(path, int8=True)
    with (path / "visual/model.int8.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match="altered"):
        plan_model(path, CPU, "int8")


def test_another_number_format_or_weight_is_another_name(tmp_path: Path) -> None:
    path = make_model_folder(tmp_path / "tiny")
    other = make_model_folder(tmp_path / "other" / "tiny", seed=1)
    names = {plan_model(p, CPU, precision).name for p in (path, other) for precision in ("fp32", "bf16")}
    assert len(names) == 4


# --- pictures

GOOD = {"size": [16, 16], "mode": "RGB", "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "L"}, "mode: 'L' is not known"),
        ({"interpolation": "lanczos"}, "interpolation: 'lanczos' is not known, only bicubic, bilinear"),
        ({"interpolation": "random"}, "interpolation"),
        ({"interpolation": ["bicubic"]}, "interpolation"),
        ({"resize_mode": "naflex"}, "resize_mode: 'naflex' is not known, only shortest, longest, squash"),
        ({"size": [16, 24]}, "size"),
        ({"size": 0}, "size"),
        ({"size": True}, "size"),
        ({"size": "16"}, "size"),
        ({"size": [[16], [16]]}, "size"),
        ({"mean": [0.5, 0.5]}, "mean"),
        ({"mean": [0.5, 0.5, "x"]}, "mean"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean"),
        ({"std": [0.5, 0, 0.5]}, "std"),
        ({"fill_color": 300}, "fill_color"),
        ({"fill_color": [1, 2]}, "fill_color"),
    ],
)
def test_preprocessing_that_is_not_known_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        read_preprocess({**GOOD, **changes}, "preprocess_cfg.json")
    assert caught.value.thing == "preprocess_cfg.json"


def test_what_is_left_out_is_as_open_clip_has_it() -> None:
    found = read_preprocess({}, "preprocess_cfg.json", 224)
    assert (found.side, found.resize_mode, found.background) == (224, "shortest", (0, 0, 0))
    assert found.mean[0] == 0.48145466 and found.std[2] == 0.27577711


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(1, 1), (1, 768), (768, 1), (16, 16), (17, 16), (768, 95), (767, 768)])
def test_every_shape_of_picture_becomes_a_square(resize_mode: str, size: tuple[int, int]) -> None:
    width, height = size
    preprocess = read_preprocess({**GOOD, "resize_mode": resize_mode}, "file")
    batch = preprocess.batch([Frame(0, width, height, bytes([200, 100, 0]) * (width * height))])
    assert batch.shape == (1, 3, 16, 16) and batch.dtype == np.float32
    middle = batch[0, :, 7, 7]
    assert middle == pytest.approx([(v / 255 - 0.5) / 0.25 for v in (200, 100, 0)], abs=1e-6)


def test_longest_fills_up_with_the_colour() -> None:
    preprocess = read_preprocess({**GOOD, "resize_mode": "longest", "fill_color": [10, 20, 30]}, "file")
    found = preprocess.pixels(Frame(0, 64, 32, bytes([200] * 64 * 32 * 3)))
    assert found[0, 0].tolist() == [10, 20, 30] and found[8, 8].tolist() == [200, 200, 200]


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_a_pictures_middle_counts_for_shortest_and_all_of_it_otherwise(resize_mode: str) -> None:
    """Red to the left, green in the middle square, blue to the right."""
    columns = [(255, 0, 0)] * 32 + [(0, 255, 0)] * 32 + [(0, 0, 255)] * 32
    frame = Frame(0, 96, 32, bytes(v for _ in range(32) for column in columns for v in column))
    found = read_preprocess({**GOOD, "resize_mode": resize_mode}, "file").pixels(frame)
    left = found[8, 0].tolist()
    assert left[1] > 200 if resize_mode == "shortest" else left[0] > 200


def test_a_slim_picture_is_what_the_long_way_makes_of_it() -> None:
    """Only the part that is cut out is scaled; a pixel may differ by one step."""
    frame = photos.to_frame(photos.picture("china", 600).resize((700, 60)))
    preprocess = read_preprocess({**GOOD, "size": 64}, "file")
    long_way = preprocess._centred(preprocess._resized(_image(frame), *preprocess._scaled(700, 60)))
    assert np.abs(preprocess.pixels(frame).astype(int) - np.asarray(long_way).astype(int)).max() <= 1


def _image(frame: Frame) -> Any:
    from PIL import Image

    return Image.frombytes("RGB", (frame.width, frame.height), frame.rgb)


def test_bytes_become_the_numbers_of_torchvision() -> None:
    """To 0..1, minus the mean, by the deviation, each in single precision."""
    preprocess: Preprocess = read_preprocess({}, "file", 224)
    for channel in range(3):
        values = np.arange(256).astype(np.float32) / np.float32(255)
        values = (values - np.float32(preprocess.mean[channel])) / np.float32(preprocess.std[channel])
        assert np.array_equal(preprocess.table[channel], values)


# --- texts


def tokenizer(path: Path, **parts: Any) -> Tokenizer:
    return Tokenizer(open_model_folder(make_model_folder(path / "tiny", **parts)))


def text_cfg(**changes: Any) -> dict[str, Any]:
    return {"text_cfg": {"context_length": CONTEXT, "vocab_size": 40, **changes}}


def test_texts_are_cleaned_and_padded(tmp_path: Path) -> None:
    tokens = tokenizer(tmp_path)([" Red \n BLUE "])
    assert tokens.tolist() == [[30, 31, 1, *[0] * 9]]


def test_padding_may_go_before_the_text(tmp_path: Path) -> None:
    found = tokenizer(tmp_path, tokenizer_config={"pad_token": {"content": "[pad]"}, "padding_side": "left"})(["red"])
    assert found.tolist() == [[*[0] * 10, 30, 1]]


@pytest.mark.parametrize(
    ("clean", "text", "same_as"),
    [
        ("canonicalize", "A_red; (blue)!", "a red blue"),
        ("lower", "  RED  ", "red"),
        ("whitespace", "re&#100;", "red"),
        ("lower", "ﬁg", "fig"),
    ],
)
def test_texts_are_cleaned_as_the_model_says(tmp_path: Path, clean: str, text: str, same_as: str) -> None:
    made = tokenizer(tmp_path, config=text_cfg(tokenizer_kwargs={"clean": clean}))
    assert np.array_equal(made([text]), made([same_as]))
    assert not np.array_equal(made([same_as]), made(["x"]))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"config": text_cfg(vocab_size=20)}, "gives the token 30, and the network knows 20"),
        ({"config": text_cfg(context_length=1)}, "a single letter makes more tokens than the network takes, 1"),
        ({"config": text_cfg(tokenizer_kwargs={"clean": "shuffle"})}, "clean: 'shuffle' is not known"),
        ({"config": text_cfg(tokenizer_kwargs={"strip_sep_token": True})}, "strip_sep_token: True is not known"),
        ({"tokenizer_config": {"pad_token": "[nothing]"}}, r"has no pad token '\[nothing\]'"),
        ({"tokenizer_config": {"padding_side": "middle"}}, "padding_side 'middle'"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        tokenizer(tmp_path, **parts)(["red"])
    assert "fetch or import the model anew" in caught.value.line()


@pytest.mark.parametrize("text", ["", "  \n "])
def test_a_text_of_nothing_is_its_end_alone(tmp_path: Path, text: str) -> None:
    assert tokenizer(tmp_path)([text]).tolist() == [[1, *[0] * 11]]


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    path = make_model_folder(tmp_path / "tiny")
    (path / "textual/tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ModelError, match="not a tokenizer") as caught:
        Tokenizer(open_model_folder(path))
    assert "\n" not in caught.value.line()


def test_a_text_longer_than_the_context_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"prompt 'red red .*it makes 13 tokens, and the model reads 12; shorten it"):
        tokenizer(tmp_path)(["red " * 12])


# --- what is remembered


class Embedder:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Floats:
        self.asked.append(list(texts))
        return np.array([[len(text), ord(text[0]), 1.0] for text in texts], np.float32)


def test_only_texts_that_are_new_are_embedded(tmp_path: Path) -> None:
    embed = Embedder()
    for texts in (["a", "bb"], ["bb", "a"], ["c", "a", "dd", "bb"]):
        found = TextCache(tmp_path / "cache", "0" * 64, 3).embeddings(texts, embed)
        assert found.tolist() == [[len(t), ord(t[0]), 1] for t in texts]
    assert embed.asked == [["a", "bb"], ["c", "dd"]]


def test_another_model_has_a_cache_of_its_own(tmp_path: Path) -> None:
    embed = Embedder()
    for digest in ("0" * 64, "1" * 64):
        TextCache(tmp_path / "cache", digest, 3).embeddings(["a"], embed)
    TextCache(None, "2" * 64, 3).embeddings(["a"], embed)
    TextCache(None, "2" * 64, 3).embeddings(["a"], embed)
    assert len(embed.asked) == 4


def test_no_text_is_written_down(tmp_path: Path) -> None:
    TextCache(tmp_path / "cache", "0" * 64, 3).embeddings(["a secret concept"], Embedder())
    (file,) = (tmp_path / "cache").iterdir()
    assert b"secret" not in file.read_bytes()


@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    embed = Embedder()
    cache = TextCache(tmp_path / "cache", "0" * 64, 3)
    cache.embeddings(["a", "bb"], embed)
    (file,) = (tmp_path / "cache").iterdir()
    data = file.read_bytes()
    if damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        rows = np.array([[1, 97, 1], [2, 98, 1]], np.float32).tobytes()
        assert rows in data
        file.write_bytes(data.replace(rows, rows[:-1] + b"\x41"))
    else:
        file.write_bytes(b"something else")
    assert cache.embeddings(["bb"], embed).tolist() == [[2, 98, 1]]
    assert "embedded anew" in caplog.text
    assert len(embed.asked) == 2


def test_a_disk_that_takes_nothing_costs_only_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = TextCache(tmp_path / "file" / "cache", "0" * 64, 3)
    assert cache.embeddings(["a"], Embedder()).tolist() == [[1, 97, 1]]
    assert "cannot be kept" in caplog.text
