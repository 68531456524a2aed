"""Networks in ONNX Runtime: weights checked before they are loaded, threads that do not spin, failures told apart.

Knows nothing about what a network means. Reads weight files and no other; downloads nothing.
"""

from __future__ import annotations

import contextlib
import io
import logging
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _ort_errors

from fedi_safety.core.errors import DeviceError, ModelError
from fedi_safety.detectors.sessions.devices import DeviceChoice
from fedi_safety.detectors.sessions.network import Floats, OutOfMemory, Port, checked, failure, first_line
from fedi_safety.detectors.sessions.pinned import Pinned, ordinary

log = logging.getLogger(__name__)


_ORT_ERRORS: tuple[type[Exception], ...] = (
    _ort_errors.Fail,
    _ort_errors.InvalidArgument,
    _ort_errors.NoModel,
    _ort_errors.EngineError,
    _ort_errors.RuntimeException,
    _ort_errors.InvalidProtobuf,
    _ort_errors.NotImplemented,
    _ort_errors.InvalidGraph,
    _ort_errors.EPFail,
    MemoryError,
    RuntimeError,  # what I/O binding raises
)


class Session:
    """A graph that ONNX Runtime has loaded."""

    def __init__(self, session: Any, device: str = "cpu") -> None:
        """Take an `onnxruntime.InferenceSession`; `device` is how messages call what it runs on."""
        self._session = session
        self._device = device
        self.input = _port(session.get_inputs()[0])
        self.outputs = tuple(_port(output) for output in session.get_outputs())
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        # Where inputs and outputs are bound to memory of the device itself; the other providers copy on their own.
        self._bound_to = "cuda" if {"CUDAExecutionProvider", "TensorrtExecutionProvider"} & {*self.providers} else ""
        self._pinned = Pinned() if self._bound_to else None

    def __del__(self) -> None:
        """Unlock the memory that batches were prepared in."""
        if getattr(self, "_pinned", None) is not None:
            cast("Pinned", self._pinned).close()

    def room(self, shape: tuple[int, ...]) -> AbstractContextManager[Floats]:
        """See `Network`."""
        return ordinary(shape) if self._pinned is None else self._pinned.lend(shape)

    def run(self, batch: NDArray[Any], output: str | None = None) -> Floats:
        """See `Network`."""
        name = output or self.outputs[0].name
        try:
            if self._bound_to:
                result = self._run_bound(batch, name)
            else:
                result = cast("Floats", self._session.run([name], {self.input.name: batch})[0])
        except _ORT_ERRORS as error:
            raise failure(error, self._device) from error
        return checked(result, len(batch))

    def _run_bound(self, batch: NDArray[Any], output: str) -> Floats:
        """Run with the batch copied to the device once and the output left there until it is whole."""
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self.input.name, onnxruntime.OrtValue.ortvalue_from_numpy(batch, self._bound_to, 0))
        binding.bind_output(output, self._bound_to, 0)
        self._session.run_with_iobinding(binding)
        return cast("Floats", binding.copy_outputs_to_cpu()[0])


_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
}


def _port(argument: Any) -> Port:
    shape = tuple(size if isinstance(size, int) else None for size in argument.shape)
    return Port(argument.name, shape, _TYPES.get(argument.type))


@cache
def _arena_shared() -> bool:
    """Make the memory that the runs of all small networks take turns in; False where the library refuses.

    It grows by what is missing, to what runs at once take, and no further.
    """
    size = {"initial_chunk_size_bytes": 1 << 20, "max_dead_bytes_per_chunk": 1 << 20}
    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    where = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    how = onnxruntime.OrtArenaCfg({"max_mem": 0, "arena_extend_strategy": 1, **size})
    try:
        onnxruntime.create_and_register_allocator(where, how)
    except _ORT_ERRORS as error:
        log.debug("networks have no memory in common: %s", first_line(error))
        return False
    return True


def _options(threads: int, *, keep_memory: bool) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; warnings speak of graph optimisation
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # the graphs are chains; nothing runs side by side
    # Threads that spin while they wait take the processor from decoding, which runs at the same time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # An arena of one's own never gives memory back and grows to the largest batch ever seen.
    options.enable_cpu_mem_arena = keep_memory
    if not keep_memory and _arena_shared():
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")  # weights stay outside
    # Patterns are kept for every batch size that occurs, and DirectML cannot work with them.
    options.enable_mem_pattern = False
    return options


def open_session(
    source: Path | bytes,
    device: DeviceChoice,
    threads: int,
    remedy: str,
    *,
    name: str = "",
    keep_memory: bool = False,
    half: bool = False,
) -> Session:
    """Load a graph from a file or from bytes. Raises `ModelError` or `DeviceError`.

    `threads` is the number of processor threads of one `run`; `name` is how messages call the graph. With
    `keep_memory` what one run has used is kept for the next; without, it is left to the runs of all such networks.
    `half` says that the graph is in fp16.
    """
    named = name or str(source)
    options = _options(threads, keep_memory=keep_memory)
    if device.providers[0] in ("CUDAExecutionProvider", "TensorrtExecutionProvider"):
        _preload_cuda()
    graph = source if isinstance(source, bytes) else str(source)
    # This optimiser of ONNX Runtime 1.28 crashes on fp16, which the processor gets when a GPU does not start.
    extra: dict[str, Any] = {"disabled_optimizers": ["NchwcTransformer"]} if half else {}
    try:
        loaded = onnxruntime.InferenceSession(graph, options, providers=list(device.providers), **extra)
        # The library keeps the file's bytes for a fallback that is not used here: as much again as the weights take.
        loaded._model_bytes = None
        session = Session(loaded, device.name)
    except _ORT_ERRORS as error:
        what = failure(error, device.name)
        if isinstance(what, DeviceError):
            raise what from error
        if isinstance(what, OutOfMemory):
            raise DeviceError(
                f"device {device.name!r}", f"not enough memory to load {named}", "free some, or take a smaller model"
            ) from error
        raise ModelError(named, f"the model cannot be loaded: {first_line(error)}", remedy) from error
    # ONNX Runtime falls back to the processor without a word when a driver or a GPU is missing.
    if device.providers[0] not in session.providers:
        if device.asked_for:
            raise ModelError(
                f"device {device.name!r}",
                "it could not be started",
                "check its driver and libraries, or use --device auto",
            )
        log.warning("device %s could not be started; using %s", device.name, ", ".join(session.providers))
    return session


def _preload_cuda() -> None:
    """Let ONNX Runtime find the CUDA libraries that pip installs. What it prints about absent ones goes to the log."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is None:
        return
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        preload()
    for line in said.getvalue().splitlines():
        log.debug("%s", line)
