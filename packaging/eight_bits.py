"""Makes the graph in eight bits that `open_nsfw` asks first, of the weights that its package carries.

    .venv/bin/python packaging/eight_bits.py            # writes the file that the detector loads, prints its SHA-256
    .venv/bin/python packaging/eight_bits.py --compare  # scores of both on pictures that were not used to make it

Ranges of activations are learned from harmless pictures of `./dev bench benign`: those whose SHA-256 begins with 0 to 3
in hexadecimal, 80 of them at most; the others are what --compare looks at. Weights get seven bits, one scale for each
channel: with eight, processors without VNNI overflow in what they add up. Only convolutions are in eight bits: the sum
along the residual connections, and what comes after the last of them, stay in fp32. What a convolution gives is rounded
once, after the step that cuts off what is below zero, and not before it as well. On another processor the ranges may
differ in their last digits, and so the file's SHA-256. Licences are the package's own (docs/detectors.md).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import version_converter
from onnx.helper import make_attribute, make_tensor_value_info
from onnx.numpy_helper import from_array, to_array
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "src"))
from bench.benign_changes import read  # noqa: E402
from bench.benign_corpora import gather, read_manifest  # noqa: E402
from bench.corpus import default_work  # noqa: E402

from fedi_safety.core.types import Frame  # noqa: E402
from fedi_safety.detectors.embedded.open_nsfw import (  # noqa: E402
    BORDER,
    EIGHT_BITS,
    MEAN_BGR,
    SIDE,
    STRIDE,
    WEIGHTS,
    WINDOW_PX,
    prepared,
    windows,
)
from fedi_safety.detectors.sessions.devices import choose_device  # noqa: E402
from fedi_safety.detectors.sessions.loading import load_session  # noqa: E402

MADE = ROOT / "src/fedi_safety/detectors/embedded/open_nsfw_int8.onnx"
CORPORA = ("people", "photographs", "galleries", "clip-art")
LEARNED = "0123"  # first digits of the digests of pictures that ranges are learned from
MOST = 80
LONGEST_PX = 640
OPSET = 17
IN_EIGHT_BITS = ["Conv", "MaxPool"]
PERCENTILE = 99.999  # of the values of an activation that its range must hold

Floats = NDArray[np.float32]


def pictures(work: Path, *, learned: bool) -> Iterator[Frame]:
    """Yield the pictures that ranges are learned from, or the others."""
    for files in gather(read_manifest(), work, named=CORPORA).files.values():
        for _, path in files:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if path.suffix.lower() == ".svg" or (digest[0] in LEARNED) != learned:
                continue
            image = read(path)
            image.thumbnail((LONGEST_PX, LONGEST_PX))
            yield Frame(0, image.width, image.height, image.tobytes())


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """What the library learns ranges from."""

    def __init__(self, name: str, batches: Sequence[Floats]) -> None:
        self._left = iter([{name: batch} for batch in batches])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)


def make(work: Path) -> bytes:
    """Return the graph."""
    found = [prepared([frame]) for frame in pictures(work, learned=True)]
    step = max(1, len(found) // MOST)
    chosen = found[::step][:MOST]
    say(f"ranges of {len(chosen)} of {len(found)} pictures")
    with tempfile.TemporaryDirectory() as name:
        newer, plain, made = (Path(name) / file for file in ("newer.onnx", "plain.onnx", "made.onnx"))
        graph = version_converter.convert_version(onnx.load_from_string(WEIGHTS.read()), OPSET)
        onnx.save(graph, newer)
        quant_pre_process(newer, plain, skip_symbolic_shape=True)
        quantize_static(
            plain,
            made,
            _Reader(graph.graph.input[0].name, chosen),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=IN_EIGHT_BITS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE},
        )
        return fed_windows(rounded_once(onnx.load(made))).SerializeToString(deterministic=True)


def rounded_once(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take out the rounding between each convolution and its rectifier: the one behind the rectifier is enough.

    The library rounds what a convolution gives to a range of its own first, half of which is cut off right away. Then
    it cannot make one step of all three, and each picture goes through fp32 and back 33 times.
    """
    graph = model.graph
    by_output = {output: node for node in graph.node for output in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    needless: list[onnx.NodeProto] = []
    for rectifier in (node for node in graph.node if node.op_type == "Relu"):
        back = by_output[rectifier.input[0]]
        if back.op_type != "DequantizeLinear":
            continue  # a sum
        there = by_output[back.input[0]]
        convolution = by_output[there.input[0]]
        if convolution.op_type == "Conv" and all(uses[node.output[0]] == 1 for node in (there, back)):
            rectifier.input[0] = convolution.output[0]
            needless += [there, back]
    for node in needless:
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for each in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(each)
    return model


def fed_windows(model: onnx.ModelProto) -> onnx.ModelProto:
    """Have the first convolution take a picture's pixels, as `open_nsfw.windows` lays them out.

    Its input is not rounded then: a pixel is a whole number already, and the mean goes into the bias. The 7x7 weights
    become 7x1 of eight pixels each, the eighth of which counts nothing.
    """
    graph = model.graph
    by_name = {each.name: each for each in graph.initializer}
    rounding = next(node for node in graph.node if node.op_type == "QuantizeLinear")  # in their order: the input's
    (back,) = (node for node in graph.node if rounding.output[0] in node.input)
    (convolution,) = (node for node in graph.node if back.output[0] in node.input)
    scaled = {node.output[0]: [by_name[name] for name in node.input] for node in graph.node if node.input[0] in by_name}
    weights, weight_scale, _ = scaled[convolution.input[1]]
    bias, bias_scale, _ = scaled[convolution.input[2]]
    scale, zero = (by_name[name] for name in back.input[1:])

    steps = to_array(weights).astype(np.int64)
    was = to_array(bias) * float(to_array(scale))
    put(bias, np.rint(was - steps.sum((2, 3)) @ MEAN_BGR).astype(np.int32))
    put(bias_scale, to_array(weight_scale))
    put(scale, np.float32(1))
    put(zero, np.uint8(0))
    outputs, channels, height, width = steps.shape
    wide = np.zeros((outputs, channels, height, WINDOW_PX), np.int8)
    wide[..., :width] = steps[:, ::-1]  # RGB instead of BGR
    put(weights, wide.transpose(0, 3, 1, 2).reshape(outputs, WINDOW_PX * channels, height, 1))

    back.input[0] = rounding.input[0]
    graph.node.remove(rounding)
    for name in ("strides", "kernel_shape", "pads"):
        convolution.attribute.remove(next(each for each in convolution.attribute if each.name == name))
    for name, values in (("strides", [STRIDE, 1]), ("kernel_shape", [height, 1]), ("pads", [0] * 4)):
        convolution.attribute.append(make_attribute(name, values))
    rows, steps_of_row = SIDE + 2 * BORDER, SIDE // STRIDE
    shape = ["pictures", rows, steps_of_row, WINDOW_PX * channels]
    graph.input[0].CopyFrom(make_tensor_value_info(graph.input[0].name, onnx.TensorProto.UINT8, shape))
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def put(initializer: onnx.TensorProto, values: Any) -> None:
    """Put other values into the graph, under the same name."""
    initializer.CopyFrom(from_array(np.array(values, order="C"), initializer.name))


def compare(work: Path) -> None:
    """Print how far both are apart on pictures that ranges were not learned from, each prepared as it is for it."""
    device = choose_device("cpu")
    whole, first = (load_session(w.path(), w.sha256, device, 1) for w in (WEIGHTS, EIGHT_BITS))
    found = [
        (whole.run(prepared([frame]))[0, 1], first.run(windows([frame]))[0, 1])
        for frame in pictures(work, learned=False)
    ]
    scores = np.array(found, np.float64)
    full, eight = scores.T
    apart = np.abs(full - eight)
    say(f"{len(full)} pictures: {apart.max():.4f} apart at most, {apart.mean():.4f} on average")
    for bound in (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.8):
        below = eight < bound
        most = full[below].max() if below.any() else 0.0
        say(
            f"below {bound} in eight bits: {below.mean():.0%}, in fp32 {most:.3f} at most, "
            f"{apart[below].max() if below.any() else 0:.3f} apart at most; "
            f"on the other side in fp32: {int((below != (full < bound)).sum())}"
        )


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


def main() -> None:
    """Write the file, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", action="store_true", help="compare the file with the package's own weights")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder of the pictures' packages")
    options = parser.parse_args()
    if options.compare:
        compare(options.work)
        return
    data = make(options.work)
    MADE.write_bytes(data)
    say(f"{MADE.relative_to(ROOT)}: {len(data) / 1e6:.1f} MB, SHA-256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
