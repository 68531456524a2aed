"""Detectors by name. Importing this loads no model and no heavy library; `open_detectors` does.

It does not decide which detectors a policy needs, nor in which order they are asked: that is the pipeline's business.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedi_safety.core.errors import UsageError
from fedi_safety.core.ports import Detector

if TYPE_CHECKING:
    from fedi_safety.config.schema import Clip
    from fedi_safety.detectors.sessions.devices import DeviceChoice

# ONNX Runtime builds from 1.29 on (the pinned one is older) send usage reports unless this is set before they are
# loaded, and nothing may leave the machine (I1). Every module here that loads it is imported after this line.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# OpenVINO reports its import to its maker, and leaves an identifier in the home directory, unless this is missing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

EMBEDDED = ("open_nsfw", "nudenet", "age")
"""What `embedded` stands for: the detectors whose weights come with the installation."""

CLIP = "clip"
HORDE = "horde"

_GROUPS = {"embedded": EMBEDDED}
_PLANNED = ("known",)

_SIGNALS = {
    "open_nsfw": ("nsfw.open_nsfw",),
    "nudenet": ("nudity.exposed", "face.present"),
    "age": ("face.minor", "face.young"),
    HORDE: ("horde.csam", "horde.nsfw"),
}


def signals_of(names: Sequence[str]) -> frozenset[str]:
    """Return the signals that the named detectors give, without loading one; unknown names give none.

    Those of `clip` are whatever its concepts are, and are not among them.
    """
    members = [member for name in names for member in _GROUPS.get(name, (name,))]
    return frozenset(signal for member in members for signal in _SIGNALS.get(member, ()))


def available_detectors() -> tuple[str, ...]:
    """Return every name that `open_detectors` takes, groups first."""
    return (*_GROUPS, *EMBEDDED, CLIP, HORDE)


def open_detectors(
    names: Sequence[str], device: str = "auto", threads: int = 0, clip: Clip | None = None
) -> list[Detector]:
    """Load the named detectors, each after those it needs; groups such as `embedded` stand for their members.

    Everything that can be wrong with weights, libraries or the device is raised here, as `ModelError` or `UsageError`,
    not on the first picture. `clip` is the section of the settings that the detector of this name reads.

    `threads` is how many processor threads one `score` call uses; 0 means every processor this process may use. Call
    `score` from as many threads as there are processors: preparing one batch then runs beside the network for another.
    Measured on 2 processors, milliseconds a frame for open_nsfw and NudeNet: two callers 6.9 and 7.9 (`threads` 1 or 2
    alike), one caller with two threads 7.7 and 10.0, one caller with one thread 13.5 and 14.8.
    """
    wanted = _members(names)
    if threads < 0:
        raise UsageError(f"threads {threads}", "negative", "give a number of threads, or 0 for all processors")

    # Heavy imports stay in here: `--help` must not pay for them.
    from fedi_safety.detectors.sessions.devices import choose_device

    choice = choose_device(device)
    count = threads or processors()
    opened: list[Detector] = []
    if any(name in EMBEDDED for name in wanted):
        opened += _open_embedded([name for name in wanted if name in EMBEDDED], choice, count)
    if CLIP in wanted:
        from fedi_safety.config.schema import Clip
        from fedi_safety.detectors.clip import open_clip

        opened.append(open_clip(clip or Clip.model_validate({}), choice, count))
    if HORDE in wanted:
        from fedi_safety.detectors.horde import Horde

        opened.append(Horde(choice))
    return opened


def _members(names: Sequence[str]) -> list[str]:
    """Return each named detector once, groups resolved. Raises `UsageError` for a name that is none."""
    remedy = f"use one of {', '.join(available_detectors())}"
    wanted = list(dict.fromkeys(member for name in names for member in _GROUPS.get(name, (name,))))
    for name in wanted:
        if name in _PLANNED:
            raise UsageError(f"detector {name!r}", "not built yet", remedy)
        if name not in available_detectors():
            raise UsageError(f"detector {name!r}", "unknown", remedy)
    if not wanted:
        raise UsageError("detectors", "none named", remedy)
    return wanted


def _open_embedded(wanted: Sequence[str], device: DeviceChoice, threads: int) -> list[Detector]:
    from fedi_safety.detectors.embedded.age import Age
    from fedi_safety.detectors.embedded.nudenet import NudeNet
    from fedi_safety.detectors.embedded.open_nsfw import OpenNsfw

    makers: dict[str, type[OpenNsfw] | type[NudeNet] | type[Age]] = {
        "open_nsfw": OpenNsfw,
        "nudenet": NudeNet,
        "age": Age,
    }
    for name in wanted:
        for needed in makers[name].after:
            if needed not in wanted:
                raise UsageError(f"detector {name!r}", f"needs {needed!r} before it", f"name {needed!r} too")
    return [makers[name](device, threads) for name in sorted(wanted, key=lambda name: len(makers[name].after))]


def processors() -> int:
    """Count the processors this process may use; containers often grant fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
