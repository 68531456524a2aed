"""Multiplication rates of this machine, and a visual tower's beside them: run as a child of bench/clip.py.

A chain of multiplications of the tower's own shapes, with weights, without anything else; for int8 also ONNX Runtime's
bare product of bytes. The tower gets pictures of its own size, so that there is next to nothing to prepare.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fedi_safety.core.types import Frame
from fedi_safety.detectors.clip.folder import ONNXRUNTIME, OPENVINO, Plan, plan_model
from fedi_safety.detectors.clip.towers import VisualTower
from fedi_safety.detectors.sessions.devices import CPU_PROVIDER, DeviceChoice, choose_device
from fedi_safety.detectors.sessions.onnx import open_session
from fedi_safety.models.folder import ModelFolder

_PAIRS = 6  # of an up and a down projection in a chain
_OPSET = 18


def tower_flops(folder: ModelFolder) -> float:
    """Return the operations of one picture in a vision transformer, an addition and a multiplication being two."""
    vision = folder.config["vision_cfg"]
    width, layers, patch = int(vision["width"]), int(vision["layers"]), int(vision["patch_size"])
    side = int(vision["image_size"]) // patch
    tokens = side * side + 1
    block = 12 * width * width * tokens + 2 * tokens * tokens * width
    first = side * side * patch * patch * 3 * width
    return 2.0 * (layers * block + first + width * folder.dim)


def chain(rows: int, width: int, variant: str) -> tuple[bytes, float]:
    """Return a graph that multiplies (rows, width) up to four times the width and down again, and its operations."""
    random = np.random.default_rng(0)
    nodes, weights = [], []
    name = "x"
    kind = TensorProto.FLOAT16 if variant == "fp16" else TensorProto.FLOAT
    for i in range(2 * _PAIRS):
        inner, outer = (width, 4 * width) if i % 2 == 0 else (4 * width, width)
        values = random.standard_normal((inner, outer), np.float32) / np.float32(np.sqrt(inner))
        if variant == "int8w":
            scale = (np.abs(values).max(axis=0) / 127).astype(np.float32)
            weights += [
                numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"w{i}q"),
                numpy_helper.from_array(scale, f"w{i}s"),
                numpy_helper.from_array(np.zeros(outer, np.int8), f"w{i}z"),
            ]
            nodes.append(helper.make_node("DequantizeLinear", [f"w{i}q", f"w{i}s", f"w{i}z"], [f"w{i}"], axis=1))
        else:
            weights.append(
                numpy_helper.from_array(values.astype(np.float16 if variant == "fp16" else np.float32), f"w{i}")
            )
        nodes.append(helper.make_node("MatMul", [name, f"w{i}"], [f"y{i}"]))
        name = f"y{i}"
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", kind, [None, width])],
        [helper.make_tensor_value_info(name, kind, [None, width])],
        weights,
    )
    return _model(graph), 2.0 * _PAIRS * 2 * rows * width * 4 * width


def byte_product(rows: int, inner: int, outer: int) -> tuple[bytes, float]:
    """Return a graph with one product of unsigned by signed bytes, summed up so that little comes back."""
    weight = np.random.default_rng(0).integers(-127, 128, (inner, outer), np.int8)
    nodes = [
        helper.make_node("MatMulInteger", ["x", "w"], ["y"]),
        helper.make_node("ReduceMax", ["y"], ["z"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "bytes",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [rows, inner])],
        [helper.make_tensor_value_info("z", TensorProto.INT32, [])],
        [numpy_helper.from_array(weight, "w")],
    )
    return _model(graph), 2.0 * rows * inner * outer


def _model(graph: Any) -> bytes:
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    made.ir_version = 9
    onnx.checker.check_model(made)
    data: bytes = made.SerializeToString()
    return data


def rate(work: Callable[[], object], flops: float, seconds: float) -> float:
    """Return the best GFLOP/s of several runs within `seconds`, after a warm one: what the machine can, undisturbed."""
    work()
    best = 0.0
    end = time.monotonic() + seconds
    while True:
        start = time.monotonic()
        work()
        best = max(best, flops / (time.monotonic() - start) / 1e9)
        if time.monotonic() >= end:
            return best


def multiplication_rates(plan: Plan, device: DeviceChoice, threads: int, seconds: float) -> dict[str, float]:
    """Return GFLOP/s by what was multiplied, in the plan's number format and by its runtime."""
    width = int(plan.folder.config["vision_cfg"]["width"])
    side = int(plan.folder.config["vision_cfg"]["image_size"]) // int(plan.folder.config["vision_cfg"]["patch_size"])
    batch = 8 if device.on_processor else 64
    found: dict[str, float] = {}
    for title, rows, across in (("tower's shapes", batch * (side * side + 1), width), ("square", 2048, 2048)):
        if title == "square" and not device.on_processor:
            rows = across = 4096
        data, flops = chain(rows, across, plan.variant)
        kind = np.float16 if plan.variant == "fp16" else np.float32
        x: NDArray[Any] = np.random.default_rng(1).standard_normal((rows, across), np.float32).astype(kind)
        found[title] = rate(_runner(plan, device, threads, data, x), flops, seconds)
    if plan.variant in ("int8", "int8w"):
        for title, shape in (
            ("bytes, tower's", (batch * (side * side + 1), width, 4 * width)),
            ("bytes, square", (2048,) * 3),
        ):
            data, flops = byte_product(*shape)
            bytes_in = np.random.default_rng(1).integers(0, 256, shape[:2], np.uint8)
            cpu = DeviceChoice("cpu", (CPU_PROVIDER,), "asked for")
            found[title] = rate(_bare(cpu, threads, data, bytes_in), flops, seconds)
    return found


def _runner(plan: Plan, device: DeviceChoice, threads: int, data: bytes, x: NDArray[Any]) -> Callable[[], object]:
    if plan.runtime == OPENVINO:
        from fedi_safety.detectors.sessions.openvino import OpenVino

        network = OpenVino(data, plan.unit, plan.variant, threads, "", name="chain")
        return lambda: network.run(x)
    return _bare(device, threads, data, x)


def _bare(device: DeviceChoice, threads: int, data: bytes, x: NDArray[Any]) -> Callable[[], object]:
    """Return a run by ONNX Runtime; on a GPU input and output stay there, so that the bus is not measured."""
    session = open_session(data, device, threads, "", name="chain", keep_memory=True)
    raw: Any = session._session
    if device.on_processor:
        return lambda: raw.run(None, {"x": x})
    import onnxruntime

    where = "cuda" if device.name in ("cuda", "tensorrt") else "cpu"
    binding = raw.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x, where, 0))
    binding.bind_output(raw.get_outputs()[0].name, where, 0)

    def work() -> None:
        raw.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return work


def measure(model: Path, precision: str, device_name: str, threads: int, seconds: float) -> dict[str, Any]:
    """Measure multiplications and the tower in turns; return GFLOP/s and images/s."""
    device = choose_device(device_name)
    plan = plan_model(model, device, precision)
    tower = VisualTower(plan, device, threads)
    side = tower.image_size
    pixels = np.random.default_rng(0).integers(0, 256, side * side * 3, np.uint8).tobytes()
    frames = [Frame(i, side, side, pixels) for i in range(tower.max_batch)]
    flops = tower_flops(plan.folder)
    before = multiplication_rates(plan, device, threads, seconds)
    reached = rate(lambda: tower.embed(frames), flops * len(frames), 2 * seconds)
    after = multiplication_rates(plan, device, threads, seconds)
    tower.close()
    gemm = {title: max(value, after[title]) for title, value in before.items()}
    own = gemm["tower's shapes"]
    return {
        "variant": plan.variant,
        "runtime": plan.runtime if plan.runtime == ONNXRUNTIME else f"{plan.runtime} {plan.unit}",
        "batch": len(frames),
        "gflop_per_image": round(flops / 1e9, 2),
        "tower_images_per_second": round(reached * 1e9 / flops, 3),
        "tower_gflops": round(reached, 1),
        "gemm_gflops": {title: round(value, 1) for title, value in gemm.items()},
        "share_of_own_shapes": round(reached / own, 3),
        "share_of_best": round(reached / max(gemm.values()), 3),
    }


if __name__ == "__main__":
    folder, precision_, device_, threads_, seconds_ = sys.argv[1:6]
    print(json.dumps(measure(Path(folder), precision_, device_, int(threads_), float(seconds_))))
