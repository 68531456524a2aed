"""Which network runs, in which number format and by which runtime, for a model folder on a device.

Decides from what the folder, the processor and the installation say; loads no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fedi_safety.core.errors import ModelError, UsageError
from fedi_safety.core.wording.hints import hint
from fedi_safety.detectors.sessions.devices import DeviceChoice, openvino_units
from fedi_safety.models.folder import FULL, ModelFolder, open_model_folder, weights_digest
from fedi_safety.models.lock import refuse_altered

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")

ONNXRUNTIME = "onnxruntime"
OPENVINO = "openvino"

# The two runtimes want int8 weights written down differently; whether one agrees with fp32 says nothing of the other.
_INT8 = {OPENVINO: "int8w", ONNXRUNTIME: "int8"}


@dataclass(frozen=True)
class Plan:
    """What runs a model's visual tower: the variant of its weights, the runtime, and why these.

    `variant` is fp32, bf16, fp16, int8 or int8w; `unit` is OpenVINO's name of the device, where that is the runtime.
    """

    folder: ModelFolder
    variant: str
    runtime: str
    unit: str
    reason: str

    @property
    def file(self) -> Path:
        """Return the graph to load."""
        return self.folder.visual_file(self.variant)

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 over all files that decide an embedding."""
        return weights_digest(self.folder, self.variant)

    @property
    def name(self) -> str:
        """Name model, variant and weights, as verdicts and kept embeddings do."""
        return f"{self.folder.name} {self.variant} sha256:{self.digest[:16]}"


def plan_model(path: Path, device: DeviceChoice, precision: str = "auto") -> Plan:
    """Open a model folder, refuse altered files and choose how to run it. Raises `ModelError` or `UsageError`."""
    folder = open_model_folder(path)
    variant, reason = _variant(folder, device, precision)
    refuse_altered(folder, variant)
    runtime, unit = _runtime(device, variant)
    return Plan(folder, variant, runtime, unit, reason)


def _variant(folder: ModelFolder, device: DeviceChoice, asked: str) -> tuple[str, str]:
    if asked not in PRECISIONS:
        raise UsageError(f"precision {asked!r}", "unknown", f"use one of {', '.join(PRECISIONS)}")
    if asked == "auto":
        return _by_itself(folder, device)
    if device.on_processor:
        return _for_processor(folder, asked), "asked for"
    if asked in ("bf16", "int8"):
        raise UsageError(f"precision {asked}", f"it is for processors, not for {device.name}", "use fp32 or fp16")
    if asked == "fp16" and not device.unit:  # OpenVINO makes it of fp32 by itself
        _need(folder, asked)
    return asked, "asked for"


def _for_processor(folder: ModelFolder, asked: str) -> str:
    if asked == "fp16":
        raise UsageError("precision fp16", "it is for GPUs; processors compute in bf16 or int8", "use one of these")
    if asked == "bf16":
        _need_openvino()
    if asked != "int8":
        return asked
    # Whichever was made; where both were, the quicker one.
    made = [v for v in _INT8.values() if v in folder.variants]
    if _INT8[OPENVINO] in made and (_openvino_here() or len(made) == 1):
        _need_openvino()
        return _INT8[OPENVINO]
    _need(folder, _INT8[ONNXRUNTIME])
    return _INT8[ONNXRUNTIME]


def _by_itself(folder: ModelFolder, device: DeviceChoice) -> tuple[str, str]:
    shown = "your pictures have shown that it agrees with fp32"
    if not device.on_processor:
        return (
            ("fp16", shown) if not device.unit and agrees(folder, "fp16") else (FULL, "nothing else was shown to agree")
        )
    for runtime, variant in _INT8.items():
        if agrees(folder, variant) and (runtime == ONNXRUNTIME or _openvino_here()):
            return variant, shown
    if _native_bf16():
        return "bf16", "this processor computes in it, by OpenVINO"
    return FULL, "no other that was shown to agree runs here"


def agrees(folder: ModelFolder, variant: str) -> bool:
    """Whether the operator's own pictures have shown that a variant agrees with fp32 (`models optimize`)."""
    return folder.variants.get(variant, {}).get("agrees") is True


def _need(folder: ModelFolder, variant: str) -> None:
    if variant not in folder.variants:
        raise ModelError(
            f"model {folder.name}",
            f"there is no {variant} variant of it",
            f"make one with {hint('models optimize {}', folder.name)}",
        )


def _runtime(device: DeviceChoice, variant: str) -> tuple[str, str]:
    """Return the runtime and OpenVINO's name of the device.

    On processors OpenVINO is taken wherever it is installed: it is the only one with bf16, and the quicker one in fp32.
    """
    if device.unit:
        return OPENVINO, device.unit
    if not device.on_processor or variant == _INT8[ONNXRUNTIME]:
        return ONNXRUNTIME, ""
    return (OPENVINO, "CPU") if _openvino_here() else (ONNXRUNTIME, "")


def _openvino_here() -> bool:
    return "CPU" in openvino_units()


def _need_openvino() -> None:
    """Raise `ModelError` that says what is wrong with OpenVINO, if anything is."""
    if not _openvino_here():
        from fedi_safety.detectors.sessions.openvino_library import INSTALL, load_openvino

        load_openvino()
        raise ModelError("OpenVINO", "finds no processor that it can run on", INSTALL)


def _native_bf16() -> bool:
    if not _openvino_here():
        return False
    from fedi_safety.detectors.sessions.openvino_library import capabilities

    return "BF16" in capabilities("CPU")
