"""Makes smaller or quicker variants of a visual tower on this machine. Whether they agree with it is not known here.

    int8    multiplications in 8 bits, for ONNX Runtime on processors
    int8w   weights in 8 bits, for OpenVINO, which does the rest; each runtime is slow with the other's
    fp16    for GPUs
    bf16    the fp32 file, computed in bf16 by OpenVINO: no file of its own

Needs the package `onnx` (the extra `optimize`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fedi_safety.core.errors import ModelError
from fedi_safety.core.wording.hints import hint
from fedi_safety.models.folder import VARIANTS, VISUAL, ModelFolder, file_sha256, open_model_folder, variant_file

NO_FILE = "bf16"
INT8 = ("int8", "int8w")
"""The same number format for two runtimes. A model has one of them at a time."""

_LARGEST_FILE = 1_800_000_000
_SMALLEST_WEIGHT = 4096  # numbers; less is not worth the rounding
_MULTIPLICATIONS = ("MatMul", "Gemm")


def make(folder: ModelFolder, variant: str) -> None:
    """Make a variant in the place of an older one, and record it as one that was not compared. Raises `ModelError`."""
    makers: dict[str, Callable[[Path, Path], None]] = {
        "int8": _dynamic_int8,
        "int8w": _weights_int8,
        "fp16": _half,
    }
    for older in INT8 if variant in INT8 else (variant,):
        forget(folder.path, older)
    if variant == NO_FILE:
        _add(folder.path, variant, {"agrees": False})
        return
    target = folder.path / variant_file(variant)
    part = target.with_name(target.name.replace(".onnx", ".tmp.onnx"))
    try:
        with _quietly():
            makers[variant](folder.path / VISUAL, part)
    except ImportError as error:
        raise ModelError(
            "models optimize", f"needs the package {error.name}", "install fedi-safety[optimize]"
        ) from error
    except Exception as error:  # protobuf, onnx and the quantizer have no common root
        first = (str(error).strip().splitlines() or [""])[0][:300]
        remedy = f"check it with {hint('models verify')}"
        raise ModelError(
            str(folder.visual), f"no {variant} can be made of it: {type(error).__name__} {first}", remedy
        ) from error
    else:
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    _add(folder.path, variant, {"file": variant_file(variant), "sha256": file_sha256(target), "agrees": False})


def record(folder: Path, variant: str, agreement: dict[str, Any], agrees: bool) -> None:
    """Write down in variants.json how a variant compared with the original, and whether it may be used by itself."""
    _add(folder, variant, {**open_model_folder(folder).variants[variant], "agreement": agreement, "agrees": agrees})


def forget(folder: Path, variant: str) -> None:
    """Remove a variant and its record, if there is one."""
    known = dict(open_model_folder(folder).variants)
    if known.pop(variant, None) is not None:
        _write(folder, known)
    if variant != NO_FILE:
        (folder / variant_file(variant)).unlink(missing_ok=True)


def _add(folder: Path, variant: str, entry: dict[str, Any]) -> None:
    _write(folder, {**open_model_folder(folder).variants, variant: entry})


def _write(folder: Path, variants: dict[str, Any]) -> None:
    part = folder / f"{VARIANTS}.tmp"
    part.write_text(json.dumps(variants, indent=2) + "\n")
    part.replace(folder / VARIANTS)


# --- the three ways


def _dynamic_int8(source: Path, target: Path) -> None:
    """Activations are rounded as they come, unsigned; weights per channel, signed: the kernels that are quick."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source)
    del model.graph.value_info[:]  # shapes that the quantizer's rewriting would contradict
    quantize_dynamic(
        model,
        target,
        per_channel=True,
        reduce_range=not has_vnni(),
        weight_type=QuantType.QInt8,
        op_types_to_quantize=list(_MULTIPLICATIONS),
        extra_options={"MatMulConstBOnly": True},
    )


def _weights_int8(source: Path, target: Path) -> None:
    """Weights become signed bytes with a scale per channel, multiplied out by a node before their use."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    done: dict[tuple[str, int], str] = {}
    added: list[Any] = []
    for node in graph.node:
        if node.op_type not in _MULTIPLICATIONS or node.input[1] not in weights:
            continue
        name = node.input[1]
        values = numpy_helper.to_array(weights[name])
        if values.ndim != 2 or values.size < _SMALLEST_WEIGHT or values.dtype != np.float32:
            continue
        turned = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
        axis = 0 if turned else 1
        if (name, axis) not in done:
            scale = (np.abs(values).max(axis=1 - axis) / 127).astype(np.float32)
            scale[scale == 0] = 1
            across = scale[:, None] if axis == 0 else scale[None, :]
            rounded = np.clip(np.rint(values / across), -127, 127).astype(np.int8)
            made = f"{name}_int8_{axis}"
            graph.initializer.extend(
                [
                    numpy_helper.from_array(rounded, made),
                    numpy_helper.from_array(scale, f"{made}_scale"),
                    numpy_helper.from_array(np.zeros(scale.shape, np.int8), f"{made}_zero"),
                ]
            )
            inputs = [made, f"{made}_scale", f"{made}_zero"]
            added.append(helper.make_node("DequantizeLinear", inputs, [f"{made}_out"], axis=axis))
            done[name, axis] = f"{made}_out"
        node.input[1] = done[name, axis]
    if not added:
        raise ValueError("it has no multiplication with weights of its own")
    _drop_unused(graph, {name for name, _ in done})
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    _save(model, target)


def _half(source: Path, target: Path) -> None:
    """Everything in fp16 but input and output."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def _drop_unused(graph: Any, names: set[str]) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name not in names or tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _save(model: Any, target: Path) -> None:
    import onnx

    if model.ByteSize() > _LARGEST_FILE:
        raise ValueError("it is larger than one file can be")
    onnx.save(model, target)


def has_vnni() -> bool:
    """Whether this processor multiplies unsigned by signed bytes without saturating on the way."""
    if platform.machine() not in ("x86_64", "AMD64", "i686"):
        return True
    try:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and not {"avx512_vnni", "avx_vnni"}.isdisjoint(flags[1].split())


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the quantizer's advice from the operator's terminal."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
