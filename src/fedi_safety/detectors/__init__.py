"""Detectors by name. Importing this loads no model and no heavy library; `open_detectors` does.

It does not decide which detectors a policy needs, nor in which order they are asked: that is the pipeline's business.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from fedi_safety.core.errors import UsageError
from fedi_safety.core.ports import Detector

# ONNX Runtime builds from 1.29 on (the pinned one is older) send usage reports unless this is set before they are
# loaded, and nothing may leave the machine (I1). Every module here that loads it is imported after this line.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

EMBEDDED = ("open_nsfw", "nudenet", "age")
"""What `embedded` stands for: the detectors whose weights come with the installation."""

_GROUPS = {"embedded": EMBEDDED}
_PLANNED = ("clip", "known", "horde")


_SIGNALS = {
    "open_nsfw": ("nsfw.open_nsfw",),
    "nudenet": ("nudity.exposed", "face.present"),
    "age": ("face.minor", "face.young"),
}


def signals_of(names: Sequence[str]) -> frozenset[str]:
    """Return the signals that the named detectors give, without loading one; unknown names give none."""
    members = [member for name in names for member in _GROUPS.get(name, (name,))]
    return frozenset(signal for member in members for signal in _SIGNALS.get(member, ()))


def available_detectors() -> tuple[str, ...]:
    """Return every name that `open_detectors` takes, groups first."""
    return (*_GROUPS, *EMBEDDED)


def open_detectors(names: Sequence[str], device: str = "auto", threads: int = 0) -> list[Detector]:
    """Load the named detectors, each after those it needs; groups such as `embedded` stand for their members.

    Everything that can be wrong with weights, libraries or the device is raised here, as `ModelError` or `UsageError`,
    not on the first picture.

    `threads` is how many processor threads one `score` call uses; 0 means every processor this process may use. Call
    `score` from as many threads as there are processors: preparing one batch then runs beside the network for another.
    Measured on 2 processors, milliseconds a frame for open_nsfw and NudeNet: two callers 6.9 and 7.9 (`threads` 1 or 2
    alike), one caller with two threads 7.7 and 10.0, one caller with one thread 13.5 and 14.8.
    """
    wanted: list[str] = []
    for name in names:
        for member in _GROUPS.get(name, (name,)):
            if member in _PLANNED:
                raise UsageError(
                    f"detector {name!r}", "not built yet", f"use one of {', '.join(available_detectors())}"
                )
            if member not in EMBEDDED:
                raise UsageError(f"detector {name!r}", "unknown", f"use one of {', '.join(available_detectors())}")
            if member not in wanted:
                wanted.append(member)
    if not wanted:
        raise UsageError("detectors", "none named", f"use one of {', '.join(available_detectors())}")
    if threads < 0:
        raise UsageError(f"threads {threads}", "negative", "give a number of threads, or 0 for all processors")

    # Heavy imports stay in here: `--help` must not pay for them.
    from fedi_safety.detectors.embedded.age import Age
    from fedi_safety.detectors.embedded.nudenet import NudeNet
    from fedi_safety.detectors.embedded.open_nsfw import OpenNsfw
    from fedi_safety.detectors.runtime import choose_device

    choice = choose_device(device)
    count = threads or _processors()
    makers: dict[str, type[OpenNsfw] | type[NudeNet] | type[Age]] = {
        "open_nsfw": OpenNsfw,
        "nudenet": NudeNet,
        "age": Age,
    }
    for name in wanted:
        for needed in makers[name].after:
            if needed not in wanted:
                raise UsageError(f"detector {name!r}", f"needs {needed!r} before it", f"name {needed!r} too")
    wanted.sort(key=lambda name: len(makers[name].after))
    return [makers[name](choice, count) for name in wanted]


def _processors() -> int:
    """Count the processors this process may use; containers often grant fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
