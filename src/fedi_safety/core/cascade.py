"""Runs detectors cheap ones first, and only on media that some rule still needs them for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from fedi_safety.core.errors import Unscannable
from fedi_safety.core.policy import Policy, open_signals
from fedi_safety.core.ports import Clock, Detector, Embedder
from fedi_safety.core.types import Embedding, Evidence, Frame, Scored, Scores, Signal


class StageTimer(Protocol):
    """What the cascade needs to book time on a detector."""

    def timed(self, stage: str, clock: Clock) -> AbstractContextManager[None]:
        """Return a context manager that adds the time spent inside."""
        ...


class _Medium:
    """What is known so far of one medium of a batch."""

    def __init__(self, frames: Sequence[Frame], signals: Mapping[str, Signal]) -> None:
        self.evidence = [Evidence(frame) for frame in frames]
        self.signals: dict[str, Signal] = dict(signals)
        self.ran: dict[str, str] = {}
        self.embeddings: list[Embedding] = []
        self.failure: Unscannable | None = None

    def add(self, detector: Detector, results: Sequence[Scored]) -> None:
        self.ran[detector.name] = detector.version
        model = detector.embedding_model if isinstance(detector, Embedder) else ""
        for i, (evidence, scored) in enumerate(zip(self.evidence, results, strict=True)):
            if scored.boxes:
                self.evidence[i] = Evidence(evidence.frame, evidence.boxes + tuple(scored.boxes))
            if scored.embedding is not None:
                self.embeddings.append(Embedding(evidence.frame.index, model, scored.embedding))
            for name, value in scored.signals.items():
                best = self.signals.get(name)
                if best is None or value > best.value:
                    self.signals[name] = Signal(value, evidence.frame.index, evidence.frame.place.text)


class Cascade:
    """An ordered set of detectors under one policy. Thread-safe if the detectors are."""

    def __init__(self, detectors: Sequence[Detector], policy: Policy, *, enabled: bool = True) -> None:
        """Order the detectors. With `enabled=False` every detector whose signals any rule uses sees every frame.

        Raises `ValueError` for a detector that needs one which is not there.
        """
        names = {d.name for d in detectors}
        for detector in detectors:
            if missing := set(detector.after) - names:
                raise ValueError(f"detector {detector.name} needs {', '.join(sorted(missing))}")
        self._policy = policy
        self._enabled = enabled
        self._order = _ordered(detectors)
        self.available = frozenset(s for d in detectors for s in d.signals)

    @property
    def versions(self) -> dict[str, str]:
        """Detector names with their versions."""
        return {d.name: d.version for d in self._order}

    def open(self, signals: Mapping[str, Signal]) -> frozenset[str]:
        """Return the signals that may still change the verdict."""
        return open_signals(self._policy, signals, self.available, cascade=self._enabled)

    def score(
        self,
        media: Sequence[Sequence[Frame]],
        marked: Sequence[Mapping[str, Signal]],
        stages: StageTimer,
        clock: Clock,
    ) -> list[Scores | Unscannable]:
        """Score a batch of media (a list of frames each) until every rule is settled for each of them.

        `marked` holds signals known beforehand. A medium that a detector fails on comes back as `Unscannable`; its
        neighbours are scored all the same.
        """
        work = [_Medium(frames, known) for frames, known in zip(media, marked, strict=True)]
        for detector in self._order:
            asking = [m for m in work if m.failure is None and self._needs(detector, m)]
            if asking:
                with stages.timed(detector.name, clock):
                    self._run(detector, asking)
        return [m.failure or Scores(m.signals, m.ran, tuple(m.embeddings)) for m in work]

    def _needs(self, detector: Detector, medium: _Medium) -> bool:
        wanted = self.open(medium.signals)
        if wanted.intersection(detector.signals):
            return True
        return any(detector.name in later.after and wanted.intersection(later.signals) for later in self._order)

    def _run(self, detector: Detector, media: Sequence[_Medium]) -> None:
        """Give a detector all frames of these media in batches; if a batch fails, find out which medium it is."""
        frames = [e for m in media for e in m.evidence]
        results: list[Scored] = []
        try:
            for at in range(0, len(frames), detector.max_batch):
                results.extend(detector.score(frames[at : at + detector.max_batch]))
        except Unscannable as error:
            if len(media) == 1:
                media[0].failure = error
                return
            for medium in media:
                self._run(detector, [medium])
            return
        at = 0
        for medium in media:
            medium.add(detector, results[at : at + len(medium.evidence)])
            at += len(medium.evidence)


def _ordered(detectors: Sequence[Detector]) -> list[Detector]:
    """Sort by cost, every detector after the ones it needs."""
    left = sorted(detectors, key=lambda d: (d.cost, d.name))
    order: list[Detector] = []
    while left:
        done = {d.name for d in order}
        ready = next((d for d in left if set(d.after) <= done), None)
        if ready is None:
            raise ValueError("detectors need each other in a circle: " + ", ".join(d.name for d in left))
        left.remove(ready)
        order.append(ready)
    return order
