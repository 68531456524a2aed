"""A copy descriptor drawn by code: signs of chance sums over a picture in coarse cells. It knows nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SIDE = 32
NAME = "drawn-descriptor"


def write_descriptor(folder: Path, bits: int = 512) -> Path:
    """Write its folder, and return it."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = np.random.default_rng(512).standard_normal((3 * 8 * 8, bits)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["pictures"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["flat", "mean"], ["even"]),
        helper.make_node("MatMul", ["even", "weights"], ["descriptors"]),
    ]
    taken = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    given = helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, ["n", bits])
    graph = helper.make_graph(nodes, "drawn", [taken], [given], [numpy_helper.from_array(weights, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (folder / "visual").mkdir(parents=True)
    save(model, str(folder / "visual/model.onnx"))
    told = {"size": SIDE, "input": "float32", "layout": "NCHW", "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    (folder / "config.json").write_text(json.dumps({"copy_descriptor": told}))
    return folder
