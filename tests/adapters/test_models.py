"""The models' small parts: folders, the lock, names, agreement, the tokenizer's contents, variants of a graph."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from fedi_safety.core.errors import ModelError
from fedi_safety.evaluation.agreement import Agreement, Decision, compare
from fedi_safety.evaluation.variants import decider
from fedi_safety.models import folder, variants
from fedi_safety.models.bpe import byte_symbols, clip_tokenizer
from fedi_safety.models.folder import (
    data_files,
    file_sha256,
    is_of_model,
    model_files,
    open_model_folder,
    weights_digest,
)
from fedi_safety.models.lock import Locked, read_lock, refuse_altered, write_entry
from fedi_safety.models.names import KNOWN, folder_name, repository_of
from fedi_safety.policies import parse_policy
from support import stand_in


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the test model."""
    return Path(shutil.copytree(stand_in.MODEL, tmp_path / "models/tiny"))


# --- folders


def test_a_model_folder_says_what_it_is(copy: Path) -> None:
    folder = open_model_folder(copy)
    assert (folder.name, folder.dim, folder.context_length, folder.variants) == ("tiny", 64, 77, {})
    assert folder.preprocess["size"] == [64, 64]
    assert folder.visual_file("fp32") == folder.visual_file("bf16") == copy / "visual/model.onnx"


def test_open_clips_nested_configuration_is_understood(copy: Path) -> None:
    inner = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({"model_cfg": inner, "preprocess_cfg": {}}))
    assert open_model_folder(copy).dim == 64


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("config.json", "", "not JSON"),
        ("config.json", "[]", "not a JSON object"),
        ("config.json", "{}", "embed_dim is missing or not a whole number"),
        ("config.json", '{"embed_dim": "8"}', "embed_dim is missing or not a whole number"),
        ("config.json", '{"embed_dim": 8, "vision_cfg": 1}', "vision_cfg is missing or not a table"),
        ("config.json", '{"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"context_length": "x"}}', "context_length"),
        ("config.json", '{"model_cfg": 3}', "embed_dim is missing"),
        ("visual/preprocess_cfg.json", "\x00", "not JSON"),
        ("visual/preprocess_cfg.json", "[" * 100_000, "not JSON"),
        ("textual/tokenizer_config.json", "null", "not a JSON object"),
        ("variants.json", '{"int8": 3}', "does not name visual/model.int8.onnx"),
        ("variants.json", '{"int8": {"file": "../../../etc/passwd"}}', "does not name visual/model.int8.onnx"),
        ("variants.json", '{"int8": {"file": "visual/model.int8.onnx"}}', "is missing"),
    ],
)
def test_ill_formed_files_are_named(file: str, text: str, said: str, copy: Path) -> None:
    (copy / file).write_text(text)
    with pytest.raises(ModelError, match=said) as caught:
        open_model_folder(copy)
    assert file in caught.value.line() and caught.value.remedy


def test_a_file_that_is_far_too_large_is_not_read(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_LARGEST_JSON", 10)
    with pytest.raises(ModelError, match="larger than any such file should be"):
        open_model_folder(copy)


def test_which_files_belong_to_a_model(copy: Path) -> None:
    wanted = ["config.json", "visual/model.onnx", "visual/model.onnx.data", "visual/Constant_12", "textual/vocab.json"]
    others = ["README.md", "a/b/c", "visual/fp16/model.armnn", "visual/model.armnn", "textual/x.rknn", ".gitattributes"]
    assert [f for f in (*wanted, *others) if is_of_model(f)] == wanted
    for name in ("model.onnx.data", "model.onnx_data", "Constant_12", "model.int8.onnx", "model.int8.onnx.data"):
        (copy / "visual" / name).write_bytes(b"x")
    assert [p.name for p in data_files(copy / "visual/model.onnx")] == [
        "Constant_12",
        "model.onnx.data",
        "model.onnx_data",
    ]
    assert [p.name for p in data_files(copy / "visual/model.int8.onnx")] == ["model.int8.onnx.data"]
    assert "visual/model.int8.onnx" not in model_files(copy) and "visual/Constant_12" in model_files(copy)


@pytest.mark.parametrize(
    "file", ["visual/model.onnx", "textual/model.onnx", "textual/tokenizer.json", "visual/preprocess_cfg.json"]
)
def test_the_digest_follows_every_file_that_decides(file: str, copy: Path) -> None:
    before = weights_digest(open_model_folder(copy))
    assert before == weights_digest(open_model_folder(copy)) and len(before) == 64
    (copy / file).write_bytes((copy / file).read_bytes() + b"\n")
    assert weights_digest(open_model_folder(copy)) != before


def test_the_digest_of_a_variant_is_another(copy: Path) -> None:
    variants.make(open_model_folder(copy), "int8")
    variants.make(open_model_folder(copy), "bf16")
    folder = open_model_folder(copy)
    assert weights_digest(folder, "int8") != weights_digest(folder)
    assert weights_digest(folder, "bf16") == weights_digest(folder)  # the same files; the detector names the precision


# --- the lock


@pytest.mark.long
def test_a_variant_is_held_to_its_own_digest_and_the_rest_to_the_record(copy: Path) -> None:
    digests = {file: file_sha256(copy / file) for file in model_files(copy)}
    write_entry(copy.parent, "tiny", Locked("test", "", digests))
    variants.make(open_model_folder(copy), "int8")
    folder = open_model_folder(copy)
    refuse_altered(folder, "int8")
    (copy / "visual/model.onnx").write_bytes(b"other")
    refuse_altered(folder, "int8")  # the original is not needed for it
    with pytest.raises(ModelError, match="altered"):
        refuse_altered(folder)
    (copy / "textual/tokenizer.json").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"tokenizer\.json: altered"):
        refuse_altered(folder, "int8")
    write_entry(copy.parent, "tiny", None)
    assert read_lock(copy.parent) == {}


# --- names


def test_names_and_repositories() -> None:
    assert repository_of("ViT-L-14__openai") == "immich-app/ViT-L-14__openai"
    assert repository_of("someone/Their.Model_1") == "someone/Their.Model_1"
    assert folder_name("someone/Their.Model_1") == "Their.Model_1"
    for known in KNOWN:
        assert repository_of(known.name) == f"immich-app/{known.name}" and folder_name(known.name) == known.name
    for bad in ("", "..", "a/..", "../a", "a/b/c", "/a", "a/", "a b", ".hidden", "x" * 200, "a\nb"):
        with pytest.raises(ModelError):
            repository_of(bad)


# --- agreement

Floats = NDArray[np.float32]


def vectors(*rows: tuple[float, float]) -> Floats:
    array = np.array(rows, np.float32)
    unit: Floats = array / np.linalg.norm(array, axis=1, keepdims=True)
    return unit


def first(values: Floats) -> Floats:
    return values[:, :1]


def above_half(values: Sequence[float]) -> Decision:
    return Decision("block" if values[0] >= 0.5 else "clear", frozenset({"half"} if values[0] >= 0.5 else ()))


def test_agreement_counts_what_moved() -> None:
    original = vectors((1, 0), (0, 1), (1, 1.8))
    other = vectors((1, 0), (0.1, 1), (1, 1.6))
    found = compare(original, other, first, above_half)
    assert (found.pictures, found.flips, found.crossings) == (3, 1, 1)
    assert 0.99 < found.cosine_min < found.cosine_mean < 1.0
    assert found.largest_change == pytest.approx(0.0995, abs=1e-3)
    same = compare(original, original, first, above_half)
    assert (same.flips, same.crossings, same.largest_change) == (0, 0, 0.0) and same.cosine_min == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "agrees"),
    [
        ({}, True),
        ({"pictures": 99}, False),
        ({"flips": 1}, False),
        ({"crossings": 10}, True),
        ({"crossings": 11}, False),
        ({"cosine_mean": 0.97}, False),
        ({"cosine_min": 0.5}, True),
    ],
)
def test_what_is_taken_for_agreement(changes: dict[str, Any], agrees: bool) -> None:
    good = {
        "pictures": 1000,
        "cosine_min": 0.98,
        "cosine_mean": 0.99,
        "largest_change": 0.1,
        "crossings": 0,
        "flips": 0,
    }
    assert Agreement(**{**good, **changes}).agrees is agrees


def test_a_decision_names_verdict_label_and_thresholds() -> None:
    text = stand_in.POLICY + '[[rules]]\nname = "red"\nwhen = { red = 0.9 }\nlabel = "nsfw"\n'
    decide = decider(parse_policy(text, source="x", name="x"), ("clip.red", "clip.circle"))
    assert decide([0.1, 0.6]) == Decision("clear ", frozenset({"red circle: circle"}))
    assert decide([0.95, 0.6]) == Decision(
        "block nsfw", frozenset({"red circle: circle", "red circle: red", "red: red"})
    )


# --- the tokenizer's contents


def test_every_byte_has_a_symbol_of_its_own() -> None:
    assert len(set(byte_symbols())) == 256 and not any(c.isspace() or not c.isprintable() for c in byte_symbols())


def test_a_clip_tokenizer_is_what_the_library_reads() -> None:
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(json.dumps(clip_tokenizer([("r", "e"), ("re", "d</w>")])))
    assert made.encode("  RED re ").tokens == ["<|startoftext|>", "red</w>", "r", "e</w>", "<|endoftext|>"]
    assert made.token_to_id("<|endoftext|>") == made.get_vocab_size() - 1  # CLIP looks at the highest token
    assert made.encode("猫🐈").tokens[1:-1]  # no text is unknown
    with pytest.raises(ValueError, match="same piece"):
        clip_tokenizer([("a", "b"), ("a", "b")])


# --- variants


@pytest.mark.sampled(1)
@pytest.mark.parametrize("variant", ["int8", "int8w", "fp16"])
def test_a_variant_answers_nearly_the_same(variant: str, copy: Path) -> None:
    folder = open_model_folder(copy)
    variants.make(folder, variant)
    folder = open_model_folder(copy)
    assert folder.variants[variant]["agrees"] is False  # until it was compared
    assert run(folder.visual_file(variant)).shape == (3, 64)
    cosines = (run(folder.visual_file(variant)) * run(folder.visual)).sum(axis=1)
    assert cosines.min() > 0.999
    assert folder.visual_file(variant).stat().st_size < 0.7 * folder.visual.stat().st_size
    assert not [p for p in copy.rglob("*") if "tmp" in p.name]


def run(graph: Path) -> Floats:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, disabled_optimizers=["NchwcTransformer"])
    images = np.random.default_rng(0).standard_normal((3, 3, 64, 64)).astype(np.float32)
    found: Floats = session.run(None, {session.get_inputs()[0].name: images})[0]
    return found


def test_int8_is_what_the_runtimes_are_quick_with(copy: Path) -> None:
    """ONNX Runtime has quick kernels for unsigned by signed bytes alone; OpenVINO wants the weights as they are."""
    variants.make(open_model_folder(copy), "int8")
    graph = onnx.load(copy / "visual/model.int8.onnx").graph
    kinds = {n.op_type for n in graph.node}
    assert {"MatMulInteger", "DynamicQuantizeLinear"} <= kinds
    weights = {i.name: i.data_type for i in graph.initializer}
    multiplied = [weights[n.input[1]] for n in graph.node if n.op_type == "MatMulInteger"]
    assert len(multiplied) == 9 and set(multiplied) == {onnx.TensorProto.INT8}
    variants.make(open_model_folder(copy), "int8w")
    graph = onnx.load(copy / "visual/model.int8w.onnx").graph
    assert sum(n.op_type == "DequantizeLinear" for n in graph.node) == 9
    assert not (copy / "visual/model.int8.onnx").exists()  # one of the two at a time
    assert open_model_folder(copy).variants.keys() == {"int8w"}


@pytest.mark.long
def test_without_vnni_the_range_is_reduced(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On older processors two products may saturate a 16-bit sum, so that weights get seven bits."""
    largest = {}
    for vnni in (True, False):
        monkeypatch.setattr(variants, "has_vnni", lambda vnni=vnni: vnni)
        variants.make(open_model_folder(copy), "int8")
        graph = onnx.load(copy / "visual/model.int8.onnx").graph
        tensors = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
        found = [tensors[n.input[1]] for n in graph.node if n.op_type == "MatMulInteger"]
        largest[vnni] = max(int(np.abs(t.astype(np.int16)).max()) for t in found)
    assert largest == {True: 127, False: 64}


@pytest.mark.parametrize(
    ("machine", "flags", "vnni"),
    [
        ("x86_64", "fpu avx2 avx512_vnni", True),
        ("x86_64", "fpu avx_vnni", True),
        ("x86_64", "fpu avx2 avx512f", False),
        ("aarch64", "", True),
    ],
)
def test_vnni_is_read_from_the_processors_flags(
    machine: str, flags: str, vnni: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", lambda _self: f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n")
    assert variants.has_vnni() is vnni


def test_a_graph_that_is_none_leaves_nothing_behind(copy: Path) -> None:
    folder = open_model_folder(copy)
    folder.visual.write_bytes(b"no graph")
    for variant in ("int8", "int8w", "fp16"):
        with pytest.raises(ModelError, match=f"no {variant} can be made of it") as caught:
            variants.make(folder, variant)
        assert "\n" not in caught.value.line()
    assert sorted(p.name for p in (copy / "visual").iterdir()) == ["model.onnx", "preprocess_cfg.json"]
    assert open_model_folder(copy).variants == {}


def test_without_onnx_it_is_said_what_to_install(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    for variant in ("int8", "int8w", "fp16"):
        with pytest.raises(ModelError, match=r"install fedi-safety\[optimize\]"):
            variants.make(open_model_folder(copy), variant)
