"""The package OpenVINO, which is an extra: loaded or missing, and what devices it finds. Runs no network."""

from __future__ import annotations

import functools
from typing import Any

from fedi_safety.core.errors import ModelError
from fedi_safety.detectors.sessions.network import first_line

INSTALL = "install the extra `openvino` (fedi-safety[openvino])"


def load_openvino() -> Any:
    """Return the package. Raises `ModelError` if it is not installed or does not load."""
    try:
        import openvino
    except ImportError as error:
        raise ModelError("OpenVINO", f"cannot be loaded ({first_line(error)})", INSTALL) from error
    return openvino


@functools.cache
def core() -> Any:
    return load_openvino().Core()


def units() -> tuple[str, ...]:
    """Return the devices that OpenVINO finds, such as CPU and GPU; none if it does not load."""
    try:
        return tuple(str(unit) for unit in core().available_devices)
    except (ModelError, RuntimeError):
        return ()


def capabilities(unit: str) -> frozenset[str]:
    """Return the number formats that a device computes in natively: FP32, BF16, FP16, INT8."""
    try:
        return frozenset(str(c) for c in core().get_property(unit, "OPTIMIZATION_CAPABILITIES"))
    except (ModelError, RuntimeError):
        return frozenset()
