"""Model folders with tiny random networks, in the layout of real ones, for tests of what can be wrong with them.

They understand nothing; tests/model/ has a model that does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CONTEXT = 12


def make_model_folder(
    path: Path,
    *,
    seed: int = 0,
    dim: int = 8,
    size: int = 16,
    config: dict[str, Any] | None = None,
    preprocess: dict[str, Any] | None = None,
    tokenizer_config: dict[str, Any] | None = None,
    image_shape: tuple[Any, ...] | None = None,
    text_shape: tuple[Any, ...] | None = None,
    out_dim: int | None = None,
    scale: float = 1.0,
) -> Path:
    """Write a whole model folder; each argument after `size` makes one part of it differ from what it should be."""
    random = np.random.default_rng(seed)
    for part in ("visual", "textual"):
        (path / part).mkdir(parents=True)
    _dump(
        path / "config.json",
        {
            "embed_dim": dim,
            "vision_cfg": {"image_size": size},
            "text_cfg": {"context_length": CONTEXT, "vocab_size": 40},
            **(config or {}),
        },
    )
    given = {"size": [size, size], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    _dump(path / "visual/preprocess_cfg.json", {**given, "resize_mode": "shortest", **(preprocess or {})})
    _dump(path / "textual/tokenizer_config.json", {"pad_token": "[pad]", **(tokenizer_config or {})})
    _dump(path / "textual/tokenizer.json", _tokenizer())
    shape = image_shape or ("n", 3, size, size)
    _save(path / "visual/model.onnx", _visual(random, shape, out_dim or dim, scale))
    _save(path / "textual/model.onnx", _textual(random, text_shape or ("n", CONTEXT), out_dim or dim))
    return path


def _dump(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document))


def _tokenizer() -> dict[str, Any]:
    """One token for each word of a few, or for each letter."""
    vocabulary = {"[pad]": 0, "[end]": 1, **{letter: 2 + i for i, letter in enumerate(LETTERS)}, "red": 30, "blue": 31}
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[end]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"[end]": {"id": "[end]", "ids": [1], "tokens": ["[end]"]}},
        },
        "model": {
            "type": "BPE",
            "vocab": vocabulary | {"re": 32, "bl": 33, "blu": 34},
            "merges": [["r", "e"], ["re", "d"], ["b", "l"], ["bl", "u"], ["blu", "e"]],
        },
    }


def _visual(random: np.random.Generator, shape: tuple[Any, ...], dim: int, scale: float) -> onnx.GraphProto:
    """Mean of each quarter of the picture, times a matrix."""
    flat = 3 * 4
    weights = numpy_helper.from_array(random.standard_normal((flat, dim), np.float32) * np.float32(scale), "w")
    target = numpy_helper.from_array(np.array([-1, flat], np.int64), "flat")
    side = shape[-1] if isinstance(shape[-1], int) else 16
    half = [side // 2, side // 2]
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=half, strides=half),
        helper.make_node("Reshape", ["pooled", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "w"], ["embedding"]),
    ]
    return _graph(nodes, ("image", TensorProto.FLOAT, shape), (shape[0], dim), [weights, target])


def _textual(random: np.random.Generator, shape: tuple[Any, ...], dim: int) -> onnx.GraphProto:
    """The mean of a vector for each token."""
    table = numpy_helper.from_array(random.standard_normal((64, dim), np.float32), "table")
    nodes = [
        helper.make_node("Gather", ["table", "text"], ["vectors"]),
        helper.make_node("ReduceMean", ["vectors"], ["embedding"], axes=[1], keepdims=0),
    ]
    return _graph(nodes, ("text", TensorProto.INT32, shape), (shape[0], dim), [table])


def _graph(
    nodes: list[onnx.NodeProto],
    given: tuple[str, int, tuple[Any, ...]],
    out_shape: tuple[Any, ...],
    initializers: list[onnx.TensorProto],
) -> onnx.GraphProto:
    name, kind, shape = given
    return helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, out_shape)],
        initializers,
    )


def _save(path: Path, graph: onnx.GraphProto) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
