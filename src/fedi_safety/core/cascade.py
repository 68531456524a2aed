"""Runs detectors cheap ones first, and only on media that some rule still needs them for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Protocol

from fedi_safety.core.errors import Unscannable, out_of_memory
from fedi_safety.core.policy import Policy, marks, open_signals
from fedi_safety.core.ports import Clock, ContentDetector, Detector, Embedder
from fedi_safety.core.types import Embedding, Evidence, Fingerprints, Frame, Scored, Scores, Signal


class StageTimer(Protocol):
    """What the cascade needs to book time on a detector."""

    def timed(self, stage: str, clock: Clock) -> AbstractContextManager[None]:
        """Return a context manager that adds the time spent inside."""
        ...


class _Medium:
    """What is known so far of one medium of a batch."""

    def __init__(self, frames: Sequence[Frame], known: Scores) -> None:
        self.evidence = [Evidence(frame) for frame in frames]
        self.signals: dict[str, Signal] = dict(known.signals)
        self.ran: dict[str, str] = dict(known.detectors)
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
                    matches = scored.matches.get(name, ())
                    self.signals[name] = Signal(value, evidence.frame.index, evidence.frame.place.text, matches)


class Cascade:
    """An ordered set of detectors under one policy. Thread-safe if the detectors are."""

    def __init__(
        self,
        detectors: Sequence[Detector],
        policy: Policy,
        *,
        enabled: bool = True,
        content_detectors: Sequence[ContentDetector] = (),
    ) -> None:
        """Order the detectors. With `enabled=False` every detector whose signals any rule uses sees every frame.

        Those of whole contents come before all others, whatever they cost. Raises `ValueError` for a
        detector that needs one which is not there.
        """
        names = {d.name for d in detectors}
        for detector in detectors:
            if missing := set(detector.after) - names:
                raise ValueError(f"detector {detector.name} needs {', '.join(sorted(missing))}")
        self._policy = policy
        self._enabled = enabled
        self._order = _ordered(detectors)
        self._of_contents = list(content_detectors)
        own = (d.signals for d in detectors), (d.signals for d in content_detectors)
        self.available = frozenset(s for signals in chain(*own) for s in signals)

    @property
    def versions(self) -> dict[str, str]:
        """Detector names with their versions."""
        return {d.name: d.version for d in self._of_contents} | {d.name: d.version for d in self._order}

    def open(self, signals: Mapping[str, Signal]) -> frozenset[str]:
        """Return the signals that may still change the verdict."""
        return open_signals(self._policy, signals, self.available, cascade=self._enabled)

    @property
    def hashes_contents(self) -> bool:
        """Whether `score_content` compares more than the SHA-256, so that a content's other hashes are worth making."""
        return bool(self._of_contents)

    def score_content(self, sha256: bytes, fingerprints: Fingerprints | None) -> Scores:
        """Return what a content tells by its bytes alone; `fingerprints` may be None unless `hashes_contents`.

        Raises `Unscannable` where a detector fails: what it did not compare must not count as compared.
        """
        signals, ran = marks(sha256), dict[str, str]()
        for detector in self._of_contents:
            if fingerprints is None:
                raise ValueError("the content was not hashed")
            scored = detector.score_content(fingerprints)
            ran[detector.name] = detector.version
            for name, value in scored.signals.items():
                signals[name] = Signal(value, matches=scored.matches.get(name, ()))
        return Scores(signals, ran)

    def score(
        self, media: Sequence[Sequence[Frame]], known: Sequence[Scores], stages: StageTimer, clock: Clock
    ) -> list[Scores | Unscannable]:
        """Score a batch of media (a list of frames each) until every rule is settled for each of them.

        `known` is what each content told by itself. A medium that a detector fails on comes back as `Unscannable`; its
        neighbours are scored all the same. One without frames stays as it is known.
        """
        work = [_Medium(frames, one) for frames, one in zip(media, known, strict=True)]
        for detector in self._order:
            asking = [m for m in work if m.evidence and m.failure is None and self._needs(detector, m)]
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
        except (Unscannable, MemoryError) as error:
            if len(media) == 1:
                media[0].failure = error if isinstance(error, Unscannable) else out_of_memory("scored")
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
