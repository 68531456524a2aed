"""What judges: decoder and detectors as configured, loaded once; and what they measure, without loading them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedi_safety.concepts.rescoring import ConceptRescorer, rescorer_of
from fedi_safety.config.locations import known_folder, model_dir
from fedi_safety.config.schema import Settings
from fedi_safety.core.cascade import Cascade
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.known.ports import KnownImages, Recognizer
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import ContentDetector, Decoder, Detector, Embedder
from fedi_safety.core.wording.hints import hint
from fedi_safety.service.cpus import cpu_count
from fedi_safety.service.heap import bound_heap, give_memory_back

if TYPE_CHECKING:
    from fedi_safety.detectors.known.descriptor import CopyDescriptor
    from fedi_safety.detectors.sessions.devices import DeviceChoice
    from fedi_safety.media import Caps, SandboxDecoder

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Engine:
    """Decoder and detectors, loaded once and shared by every pass of the process."""

    decoder: Decoder
    detectors: list[Detector]
    device: str
    jobs: int
    content_detectors: list[ContentDetector] = field(default_factory=list)
    recognizer: Recognizer | None = None
    describer: CopyDescriptor | None = None
    lists: KnownImages | None = None  # which the recognizer compares with

    @property
    def signals(self) -> frozenset[str]:
        """Return every signal that the loaded detectors give."""
        return frozenset().union(*(d.signals for d in self.detectors), *(d.signals for d in self.content_detectors))

    @property
    def definitions(self) -> dict[str, str]:
        """Return by signal a digest of what defines it, for the signals that the operator defines."""
        return {s: d for each in self.detectors if isinstance(each, Embedder) for s, d in each.definitions.items()}

    def in_force(self, policy: Policy) -> Policy:
        """Return the policy as it judges with these detectors."""
        return policy.among(self.signals, self.definitions)

    def cascade(self, in_force: Policy, *, enabled: bool = True) -> Cascade:
        """Return the detectors in the order in which they are asked under a policy as `in_force` gives it."""
        return Cascade(
            self.detectors,
            in_force,
            enabled=enabled,
            content_detectors=self.content_detectors,
            recognizer=self.recognizer,
        )

    @property
    def rescorer(self) -> ConceptRescorer | None:
        """Return what computes signals from kept embeddings, if a detector's signals can be."""
        return rescorer_of(self.detectors)

    @property
    def media_at_once(self) -> int:
        """How many media are scored together: 8, or more where every network runs on a GPU, which needs them."""
        return max(8, min((d.max_batch for d in self.detectors), default=0))

    def close(self) -> None:
        """End the decoder's processes, and let go of the lists of known images."""
        self.decoder.close()
        if self.recognizer is not None:
            self.recognizer.close()


@dataclass(frozen=True, slots=True)
class Measured:
    """What the configured detectors would measure, and how it is defined; said without loading a network."""

    signals: frozenset[str]
    definitions: Mapping[str, str]

    def in_force(self, policy: Policy) -> Policy:
        """Return the policy as it judges with these detectors."""
        return policy.among(self.signals, self.definitions)


def measurable(settings: Settings) -> Measured:
    """Return what the configured detectors would measure. Raises `ConfigError` if the concepts have a mistake."""
    from fedi_safety.detectors import definitions_of, signals_of

    return Measured(signals_of(settings), definitions_of(settings))


def open_engine(settings: Settings, had_lists: Callable[[], bool] = lambda: False) -> Engine:
    """Load detectors and start the decoder. Raises `ModelError`, `UsageError` or `DecoderError` here, not later.

    Where the ledger says that it `had_lists` of known images and there are none, nothing is judged until they are back.
    """
    from fedi_safety.detectors import open_detectors
    from fedi_safety.detectors.known.recognizer import Known
    from fedi_safety.detectors.sessions.devices import choose_device
    from fedi_safety.known.catalog import Catalog

    jobs = settings.jobs or cpu_count()
    device = choose_device(settings.device)
    bound_heap()
    # The decoder's first process starts while networks are loaded.
    with ThreadPoolExecutor(1, "decoder") as pool:
        starting = pool.submit(open_decoder, settings, jobs)
        try:
            opened = open_detectors(settings, 1)
            describer = open_describer(settings, device)
        except BaseException:
            with suppress(FediSafetyError):
                starting.result().close()
            raise
        decoder = starting.result()
    give_memory_back()  # of what was read and rearranged while networks were loaded
    lists = Catalog(known_folder(settings)).images(expected=had_lists())
    known = Known(lists, describer)
    return Engine(decoder, opened.frames, device.name, jobs, opened.contents, known, describer, lists)


def open_describer(settings: Settings, device: DeviceChoice) -> CopyDescriptor | None:
    """Load the configured copy descriptor; None where there is none. Raises `ModelError` or `DeviceError`."""
    if settings.known.near is None:
        return None
    from fedi_safety.detectors.known.descriptor import CopyDescriptor
    from fedi_safety.models.descriptor import open_descriptor_folder
    from fedi_safety.models.names import folder_name

    folder = open_descriptor_folder(model_dir(settings.clip) / folder_name(settings.known.near))
    return CopyDescriptor(folder, settings.known.near_distance, device, 1)


def open_decoder(settings: Settings, jobs: int) -> SandboxDecoder:
    """Start the first of the decoder's processes, and say which protections it lacks. Raises `DecoderError`."""
    from fedi_safety.media import SandboxDecoder

    decoder = SandboxDecoder(caps(settings), jobs)
    try:
        protections = decoder.protections()
    except FediSafetyError:
        decoder.close()
        raise
    if lacking := [name for name, active in protections.items() if not active]:
        log.warning("the decoder's processes lack protections: %s; see %s", "; ".join(lacking), hint("doctor"))
    return decoder


def caps(settings: Settings) -> Caps:
    """Return the decoder's caps as the media layer wants them."""
    from fedi_safety.media import Caps

    return Caps(**dict(settings.limits))
