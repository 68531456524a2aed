"""What networks can run on here: the kinds of devices, what serves them, and which of them `auto` takes.

Looks at what is installed and what the runtimes report. Loads no network.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import onnxruntime

from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import UsageError

CPU_PROVIDER = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """Where networks run: the name a person knows, ONNX Runtime's providers best first, and why.

    `unit` is set where the package `openvino` itself runs them: what it calls the device, such as `CPU` or `GPU`.
    """

    name: str
    providers: tuple[str, ...]
    reason: str
    unit: str = ""

    @property
    def asked_for(self) -> bool:
        """Whether the operator named it; `auto` may fall back to the processor, a named device may not."""
        return self.reason == ASKED

    @property
    def on_processor(self) -> bool:
        """Whether the machine's own processor does the work, in the memory that everything else shares."""
        return self.name == "cpu" or self.unit == "CPU"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of device: the providers that serve it, best first, and what brings them."""

    providers: tuple[str, ...]
    source: str
    helpers: tuple[str, ...] = ()


ASKED = "asked for"

# In the order in which `auto` prefers them. TensorRT is only taken when asked for: it compiles every graph for minutes
# at its first start. Names: https://onnxruntime.ai/docs/execution-providers/
_KINDS = {
    "cuda": _Kind(("CUDAExecutionProvider",), "the package onnxruntime-gpu"),
    "rocm": _Kind(("MIGraphXExecutionProvider", "ROCMExecutionProvider"), "the package onnxruntime-migraphx"),
    "openvino": _Kind(("OpenVINOExecutionProvider",), "the extra `openvino`"),
    "coreml": _Kind(("CoreMLExecutionProvider",), "onnxruntime on macOS"),
    "directml": _Kind(("DmlExecutionProvider",), "the package onnxruntime-directml"),
    "tensorrt": _Kind(
        ("TensorrtExecutionProvider",), "the packages onnxruntime-gpu and tensorrt", ("CUDAExecutionProvider",)
    ),
    "cpu": _Kind((CPU_PROVIDER,), "the package onnxruntime"),
}
_RENDERERS = Path("/dev/dri")  # where Linux has the devices by which programs reach a GPU of Intel's
_NOT_BY_AUTO = frozenset({"tensorrt", "cpu"})

DEVICES = ("auto", *_KINDS)
"""What `--device` takes."""


@dataclass(frozen=True, slots=True)
class DeviceFact:
    """One row of what this machine can do: whether a kind of device is there, and by what, or what would bring it."""

    name: str
    available: bool
    by: str


def device_facts() -> tuple[DeviceFact, ...]:
    """Return every kind of device, in the order in which `auto` prefers them."""
    available = tuple(onnxruntime.get_available_providers())
    rows = []
    for name, kind in _KINDS.items():
        by = ", ".join(p for p in kind.providers if p in available)
        if name == "openvino" and (units := openvino_units()):
            by = ", ".join(filter(None, (f"OpenVINO on {', '.join(units)}", by)))
        rows.append(DeviceFact(name, bool(by), by or f"needs {kind.source}"))
    return tuple(rows)


def choose_device(requested: str = "auto") -> DeviceChoice:
    """Pick the providers for a device by name; `auto` takes the fastest kind that this installation has.

    Raises `UsageError` for a device that is unknown or that nothing installed here supports.
    """
    if requested == "auto":
        return _by_itself()
    if requested not in _KINDS:
        raise UsageError(f"device {requested!r}", "unknown", f"use one of {', '.join(DEVICES)}")
    if requested == "openvino" and (units := openvino_units()):
        return DeviceChoice(requested, (CPU_PROVIDER,), ASKED, _best_unit(units))
    wanted = _KINDS[requested]
    available = tuple(onnxruntime.get_available_providers())
    found = next((p for p in wanted.providers if p in available), None)
    if found is None:
        here = ", ".join(fact.name for fact in device_facts() if fact.available) or "none"
        raise UsageError(
            f"device {requested!r}",
            f"the installed ONNX Runtime does not support it (it has: {here})",
            f"{wanted.source} would bring it",
        )
    chain = dict.fromkeys((found, *(p for p in wanted.helpers if p in available), CPU_PROVIDER))
    return DeviceChoice(requested, tuple(chain), ASKED)


def _by_itself() -> DeviceChoice:
    available = tuple(onnxruntime.get_available_providers())
    for name, kind in _KINDS.items():
        found = next((p for p in kind.providers if p in available), None)
        if found and name not in _NOT_BY_AUTO:
            return DeviceChoice(name, (found, CPU_PROVIDER), f"auto: the installed ONNX Runtime has {found}")
        if name == "openvino" and _may_have_gpu() and (unit := _best_unit(openvino_units())) not in ("", "CPU"):
            return DeviceChoice(name, (CPU_PROVIDER,), f"auto: OpenVINO found a {unit}", unit)
    return DeviceChoice("cpu", (CPU_PROVIDER,), "auto: the installed ONNX Runtime has no provider for a GPU")


def _may_have_gpu() -> bool:
    """Tell whether OpenVINO may find one: loading the library only to hear that there is none takes 30 MB and 0.2 s."""
    return sys.platform != "linux" or any(_RENDERERS.glob("renderD*"))


def openvino_units() -> tuple[str, ...]:
    """Return what the package `openvino` can run networks on; nothing where it is not installed or does not load."""
    if importlib.util.find_spec("openvino") is None:
        return ()
    from fedi_safety.detectors.sessions.openvino_library import units

    return units()


def _best_unit(units: tuple[str, ...]) -> str:
    """Prefer a GPU; an NPU takes no networks of this size."""
    gpus = [unit for unit in units if unit.startswith("GPU")]
    return gpus[0] if gpus else ("CPU" if "CPU" in units else "")


def largest_batch(device: DeviceChoice) -> int:
    """Return how many pictures a network for whole frames should get at once.

    On a processor batches gain nothing (within 10 % from 1 to 16) and cost memory: NudeNet takes 15 MB a frame, for
    every thread that asks it. A GPU needs them.
    """
    return 1 if device.on_processor else 32
