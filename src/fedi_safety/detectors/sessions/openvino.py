"""Networks in OpenVINO: bf16 and dynamic int8 on processors, and Intel's GPUs. The package is an extra.

The counterpart of onnx.py, with the same promises. What of the package reports its use is never loaded (I1): see the
package's own `__init__.py`, which is imported before this.
"""

from __future__ import annotations

import contextlib
import io
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.errors import DeviceError, ModelError
from fedi_safety.detectors.sessions.network import Floats, OutOfMemory, Port, checked, failure
from fedi_safety.detectors.sessions.openvino_convert import SMALLEST, Converted, converted
from fedi_safety.detectors.sessions.openvino_library import capabilities, core, load_openvino
from fedi_safety.detectors.sessions.pinned import ordinary
from fedi_safety.models.folder import graph_files

if TYPE_CHECKING:
    import openvino


# How each precision is asked for. Without a hint OpenVINO takes the fastest format that the processor has.
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
# How many numbers of an activation share a scale when they are turned into int8 on the fly. Measured on ViT-L-14, in
# images for two seconds of processor time: 32 4.4, 64 5.3, 128 5.8, 256 5.4, 1024 4.7.
_GROUP = "128"


class OpenVino:
    """A graph that OpenVINO has compiled for a device. See `network.Network`."""

    def __init__(
        self,
        source: Path | bytes,
        unit: str,
        precision: str,
        threads: int,
        remedy: str,
        *,
        name: str = "",
        cache: Path | None = None,
        key: str = "",
    ) -> None:
        """Load an ONNX graph from a file or from bytes. Raises `ModelError` or `DeviceError`.

        `precision` int8w means a graph with int8 weights, whose activations are quantised on the fly. `threads` is the
        number of processor threads of one `run`; as many runs as fit the processors go side by side. With a `cache`
        folder, and a `key` that names the graph's content, a large graph is converted once and takes half the memory.
        """
        self._name = name or str(source)
        self._device = f"openvino ({unit})"
        # These two come before the weights, so that they are gone first when this goes.
        self._compiled: Any = None
        self._requests: queue.LifoQueue[Any] = queue.LifoQueue()
        self._weights: Converted | None = None
        self._ran = False
        try:
            model = self._read(source, cache, key)
            with self._small():
                self._compiled = core().compile_model(model, unit, _properties(unit, precision, threads))
        except (RuntimeError, MemoryError) as error:
            self._refuse(error, unit, remedy)
        self.input = _port(self._compiled.inputs[0])
        self.outputs = tuple(_port(output) for output in self._compiled.outputs)

    def _read(self, source: Path | bytes, cache: Path | None, key: str) -> Any:
        if isinstance(source, bytes):
            return core().read_model(io.BytesIO(source))
        if cache is not None and sum(file.stat().st_size for file in graph_files(source)) >= SMALLEST:
            openvino = load_openvino()
            self._weights = converted(source, f"{key} {openvino.__version__}", cache)
            if self._weights is not None:
                weights = openvino.Tensor(self._weights.array(), shared_memory=True)
                return core().read_model(self._weights.xml, weights)
        return core().read_model(source)

    def _refuse(self, error: Exception, unit: str, remedy: str) -> None:
        what = failure(error, f"openvino ({unit})")
        if isinstance(what, DeviceError):
            raise what from error
        if isinstance(what, OutOfMemory):
            raise DeviceError(
                f"device openvino ({unit})", f"not enough memory to load {self._name}", "free some"
            ) from error
        raise ModelError(self._name, f"the model cannot be loaded: {_said(error)}", remedy) from error

    def room(self, shape: tuple[int, ...]) -> contextlib.AbstractContextManager[Floats]:
        """See `network.Network`."""
        return ordinary(shape)

    def run(self, batch: NDArray[Any], output: str | None = None) -> Floats:
        """See `network.Network`."""
        index = 0 if output is None else next(i for i, port in enumerate(self.outputs) if port.name == output)
        try:
            with self._small(), self._request() as request:
                result = request.infer({0: batch}, share_inputs=True)[index]
                # The request's own memory is used again by the next run.
                answer = checked(np.array(result, np.float32), len(batch))
        except (RuntimeError, MemoryError) as error:
            raise failure(error, self._device) from error
        self._ran = True
        return answer

    def _small(self) -> contextlib.AbstractContextManager[None]:
        """Keep mapped weights out of memory until the first run is over.

        Up to then they are read, one after the other, and kept in the order and the format that the processor likes.
        """
        return contextlib.nullcontext() if self._weights is None or self._ran else self._weights.kept_small()

    @contextlib.contextmanager
    def _request(self) -> Iterator[Any]:
        """Lend a request, of which there are as many as there were runs at once."""
        try:
            request = self._requests.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            yield request
        finally:
            self._requests.put(request)


def _properties(unit: str, precision: str, threads: int) -> dict[str, Any]:
    if precision == "int8w":
        hint = "bf16" if "BF16" in capabilities(unit) else "f32"
        properties: dict[str, Any] = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP}
    else:
        hint, properties = _HINTS[precision], {}
    properties["INFERENCE_PRECISION_HINT"] = hint
    if unit == "CPU":
        from fedi_safety.service.cpus import cpu_count

        count = cpu_count()
        properties |= {
            "INFERENCE_NUM_THREADS": count,
            "NUM_STREAMS": max(1, count // threads),
            "ENABLE_CPU_PINNING": "NO",
        }
    return properties


def _port(node: openvino.ConstOutput) -> Port:
    shape = tuple(int(d.get_length()) if d.is_static else None for d in node.get_partial_shape())
    try:
        dtype = cast("np.dtype[Any] | None", np.dtype(node.get_element_type().to_dtype()))
    except RuntimeError:  # a format that numpy does not have
        dtype = None
    names = sorted(node.get_names())
    return Port(names[0] if names else "", shape, dtype)


def _said(error: Exception) -> str:
    """Return what is worth reading of an OpenVINO exception, whose first lines name source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or [type(error).__name__])[0][:300]
