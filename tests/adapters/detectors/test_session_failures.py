"""What runtimes report when something is wrong, and what becomes of it, in the words that the runtimes use."""

from __future__ import annotations

import builtins
import ctypes
import logging
import sys
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import DeviceError, ExitCode, ModelError, Unscannable
from fedi_safety.detectors.embedded import age
from fedi_safety.detectors.sessions import devices, openvino, openvino_library, pinned
from fedi_safety.detectors.sessions.devices import CPU_PROVIDER, DeviceChoice
from fedi_safety.detectors.sessions.loading import load_session
from fedi_safety.detectors.sessions.network import OutOfMemory, failure
from fedi_safety.detectors.sessions.onnx import Session, open_session

CUDA = DeviceChoice("cuda", ("CUDAExecutionProvider", CPU_PROVIDER), "asked for")

NO_MEMORY = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running MatMul node. Name:'m' "
    "Status Message: CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; file=cuda_allocator.cc ; line=114",
    "[ONNXRuntimeError] : 1 : FAIL : bfc_arena.cc:376 Available memory of 8126464 is smaller than requested bytes of 9",
    "bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 1610612736",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
    "HIP failure 2: hipErrorOutOfMemory ; GPU=0",
    "Exception during initialization: HRESULT: 0x8007000E, E_OUTOFMEMORY",
    "[GPU] CL_OUT_OF_HOST_MEMORY: exceeded max size of memory allocation",
    "[GPU] out of GPU resources: CL_MEM_OBJECT_ALLOCATION_FAILURE",
    "std::bad_alloc",
)
LOST = (
    "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=h",
    "CUDA failure 719: unspecified launch failure ; GPU=0",
    "CUDA error 100: no CUDA-capable device is detected",
    "CUDA failure 46: all CUDA-capable devices are busy or unavailable",
    "CUDA failure 214: uncorrectable ECC error encountered",
    "HRESULT: 0x887A0005, DXGI_ERROR_DEVICE_REMOVED: the GPU device instance has been suspended",
    "DXGI_ERROR_DEVICE_HUNG",
    "hipErrorNoDevice: no ROCm-capable device is detected",
    "[GPU] CL_DEVICE_NOT_AVAILABLE: device was lost",
)
OTHER = (
    "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: image",
    "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Reshape node.\nStacktrace: ...",
)


@pytest.mark.parametrize("message", NO_MEMORY)
def test_out_of_memory_is_told_apart(message: str) -> None:
    found = failure(ort_errors.RuntimeException(message), "cuda")
    assert isinstance(found, OutOfMemory)
    assert found.reason is Reason.DETECTOR_FAILED  # for detectors that cannot do with smaller batches


@pytest.mark.parametrize("message", LOST)
def test_a_lost_device_is_told_apart(message: str) -> None:
    found = failure(ort_errors.RuntimeException(message), "cuda")
    assert isinstance(found, DeviceError)
    assert found.exit_code is ExitCode.OUTSIDE
    assert "cuda" in found.line() and "lost" in found.line() and "\n" not in found.line()


@pytest.mark.parametrize("message", OTHER)
def test_anything_else_concerns_the_batch(message: str) -> None:
    found = failure(ort_errors.RuntimeException(message), "cuda")
    assert type(found) is Unscannable
    assert "Stacktrace" not in found.detail


def test_the_processors_own_memory_counts_as_well() -> None:
    assert isinstance(failure(MemoryError(), "cpu"), OutOfMemory)


class _Fake:
    """Stands in for an `InferenceSession` on a GPU, and for its binding."""

    def __init__(self, providers: list[str], error: Exception | None = None) -> None:
        self.providers = providers
        self.error = error
        self.calls: list[tuple[Any, ...]] = []

    def get_inputs(self) -> list[object]:
        return [type("Input", (), {"name": "image", "shape": ["n", 2], "type": "tensor(float)"})]

    def get_outputs(self) -> list[object]:
        return [type("Output", (), {"name": "embedding", "shape": ["n", 2], "type": "tensor(float)"})]

    def get_providers(self) -> list[str]:
        return self.providers

    def run(self, names: list[str], feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        self.calls.append(("run", *names))
        return [feed["image"]]

    def io_binding(self) -> _Fake:
        return self

    def bind_ortvalue_input(self, name: str, value: object) -> None:
        self.value = value
        self.calls.append(("input", name))

    def bind_output(self, name: str, device: str, number: int) -> None:
        self.calls.append(("output", name, device, number))

    def run_with_iobinding(self, binding: _Fake) -> None:
        assert binding is self
        if self.error is not None:
            raise self.error
        self.calls.append(("run",))

    def copy_outputs_to_cpu(self) -> list[object]:
        return [self.value]


def test_on_cuda_inputs_and_outputs_are_bound_to_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[tuple[str, int]] = []

    def place(batch: NDArray[Any], device: str, number: int) -> NDArray[Any]:
        placed.append((device, number))
        return batch

    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_numpy", staticmethod(place))
    fake = _Fake(["CUDAExecutionProvider", CPU_PROVIDER])
    batch = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert np.array_equal(Session(fake, "cuda").run(batch), batch)
    assert placed == [("cuda", 0)]
    assert fake.calls == [("input", "image"), ("output", "embedding", "cuda", 0), ("run",)]
    plain = _Fake(["DmlExecutionProvider", CPU_PROVIDER])
    Session(plain, "directml").run(batch)
    assert plain.calls == [("run", "embedding")]


@pytest.mark.parametrize(("message", "expected"), [(NO_MEMORY[0], OutOfMemory), (LOST[0], DeviceError)])
def test_failures_of_a_bound_run_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, message: str, expected: type[Exception]
) -> None:
    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_numpy", staticmethod(lambda batch, *_: batch))
    fake = _Fake(["CUDAExecutionProvider", CPU_PROVIDER], RuntimeError(message))
    with pytest.raises(expected):
        Session(fake, "cuda").run(np.zeros((1, 2), np.float32))


def test_loading_without_enough_memory_names_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise ort_errors.RuntimeException(NO_MEMORY[0])

    monkeypatch.setattr(onnxruntime, "InferenceSession", full)
    with pytest.raises(DeviceError, match="not enough memory to load the visual tower"):
        open_session(b"", CUDA, 1, "", name="the visual tower")


def test_a_missing_library_of_the_gpu_is_an_error_where_the_gpu_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime then prints why and silently takes the processor."""
    session = onnxruntime.InferenceSession

    def without_cublas(data: bytes, options: object, providers: list[str]) -> object:
        return session(data, options, providers=[CPU_PROVIDER])

    monkeypatch.setattr(onnxruntime, "InferenceSession", without_cublas)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: sys.stdout.write("Failed to load libcublasLt.so.12"))
    with caplog.at_level(logging.DEBUG), pytest.raises(ModelError, match="could not be started; check its driver"):
        load_session(age.WEIGHTS.path(), age.WEIGHTS.sha256, CUDA, 1)
    assert "libcublasLt" in caplog.text
    assert capsys.readouterr().out == "", "standard output is for results"


def test_openvino_that_is_missing_or_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def broken(name: str, *rest: Any) -> Any:
        if name == "openvino":
            raise ImportError("libtbb.so.12: cannot open shared object file")
        return real(name, *rest)

    openvino_library.core.cache_clear()
    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(ModelError, match=r"libtbb.so.12.*install the extra `openvino`"):
        openvino_library.load_openvino()
    assert openvino_library.units() == ()
    assert openvino_library.capabilities("CPU") == frozenset()
    assert devices.openvino_units() == ()
    monkeypatch.undo()
    assert "CPU" in devices.openvino_units()


def test_failures_of_openvino_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    network = openvino.OpenVino(age.WEIGHTS.read(), "CPU", "fp32", 1, "")

    class Failing:
        def __init__(self, message: str) -> None:
            self.message = message

        def infer(self, *_arguments: object, **_options: object) -> None:
            raise RuntimeError(self.message)

    batch = np.zeros((1, 3, 64, 64), np.float32)
    assert network.run(batch).shape == (1, 81)
    for message, expected in ((NO_MEMORY[6], OutOfMemory), (LOST[-1], DeviceError), ("bad shape", Unscannable)):
        network._requests.put(Failing(message))
        with pytest.raises(expected):
            network.run(batch)
        network._requests.get()


def test_an_unloadable_graph_in_openvino_is_one_line() -> None:
    with pytest.raises(ModelError, match="the graph: the model cannot be loaded") as caught:
        openvino.OpenVino(b"nothing", "CPU", "fp32", 1, "get it again", name="the graph")
    assert "\n" not in caught.value.line() and "Exception from" not in caught.value.line()


def test_the_embedded_detectors_say_the_same_in_openvino() -> None:
    choice = DeviceChoice("openvino", (CPU_PROVIDER,), "asked for", "CPU")
    cpu = DeviceChoice("cpu", (CPU_PROVIDER,), "asked for")
    batch = np.random.default_rng(0).random((3, 3, 64, 64), np.float32) - 0.5
    one, other = (load_session(age.WEIGHTS.path(), age.WEIGHTS.sha256, c, 1).run(batch) for c in (choice, cpu))
    assert np.abs(one - other).max() < 1e-4
    assert np.abs(one - one[0]).max() > 1e-3


class _Cudart:
    """Stands in for CUDA's library: hands out memory until it is used up."""

    def __init__(self, arrays: int) -> None:
        self.left = arrays
        self.kept: dict[int, Any] = {}
        self.freed: list[int] = []

    def cudaHostAlloc(self, address: Any, size: ctypes.c_size_t, _flags: ctypes.c_uint) -> int:
        if not self.left:
            return 2
        self.left -= 1
        memory = ctypes.create_string_buffer(size.value)
        self.kept[ctypes.addressof(memory)] = memory
        address._obj.value = ctypes.addressof(memory)
        return 0

    def cudaFreeHost(self, address: ctypes.c_void_p) -> int:
        assert address.value is not None
        self.freed.append(address.value)
        return 0


def test_batches_for_cuda_are_prepared_in_locked_memory_that_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    library = _Cudart(arrays=2)
    monkeypatch.setattr(pinned, "_library", lambda: library)
    session = Session(_Fake(["CUDAExecutionProvider", CPU_PROVIDER]), "cuda")
    with session.room((4, 2)) as first, session.room((3, 2)) as second:
        first[:], second[:] = 1, 2
        assert (first.shape, second.shape) == ((4, 2), (3, 2))
        assert {first.ctypes.data, second.ctypes.data} == set(library.kept)
        assert first.sum() == 8 and second.sum() == 12
        with session.room((2, 2)) as third:  # there is no more of it
            assert third.ctypes.data not in library.kept
    with session.room((2, 2)) as again:
        assert again.ctypes.data in library.kept
    del session
    assert sorted(library.freed) == sorted(library.kept)


def test_without_cudas_library_memory_is_ordinary() -> None:
    pinned._library.cache_clear()
    assert pinned._library() is None, "this test is for machines without CUDA"
    session = Session(_Fake(["CUDAExecutionProvider", CPU_PROVIDER]), "cuda")
    with session.room((4, 2)) as array:
        assert array.shape == (4, 2) and array.dtype == np.float32
