"""In which number format the embedded networks run on a processor, and what the processor has for it. Loads nothing."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Literal

from fedi_safety.core.errors import UsageError
from fedi_safety.detectors.sessions.devices import CPU_PROVIDER, DeviceChoice

Precision = Literal["auto", "fp32", "int8"]

_CPUINFO = Path("/proc/cpuinfo")
# Any of these multiplies eight bits quicker than fp32 does: AVX2 by 1.7 (measured), VNNI by 3. Names of the kernel's.
_GAIN = frozenset({"avx2", "avx_vnni", "avx512_vnni"})


@cache
def processor_flags() -> frozenset[str]:
    """Return what the processor can do in the kernel's words; nothing where the system does not say."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return frozenset()
    line = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(line.partition(":")[2].split())


def in_eight_bits(precision: Precision, device: DeviceChoice) -> bool:
    """Whether networks that can are asked in eight bits first: only ONNX Runtime's own processor code gains by it.

    `auto` takes them where the processor has an instruction for it. Raises `UsageError` where they were asked for
    and something else does the work.
    """
    own = device.providers[:1] == (CPU_PROVIDER,) and not device.unit
    if precision == "int8" and not own:
        raise UsageError(
            "precision int8",
            f"the device {device.name} has its own number formats",
            "leave it out, or add --device cpu",
        )
    if precision != "auto":
        return precision == "int8"
    return own and platform.machine() in ("x86_64", "AMD64") and bool(_GAIN & processor_flags())
