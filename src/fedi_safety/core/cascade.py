"""Runs detectors cheap ones first, and only on media that some rule still needs them for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Protocol

from fedi_safety.core.errors import Unscannable, out_of_memory
from fedi_safety.core.explained.account import Account
from fedi_safety.core.explained.left_out import left_out
from fedi_safety.core.frames.scores import ONE_PICTURE, FrameScore, FrameScores
from fedi_safety.core.known.ports import Recognizer
from fedi_safety.core.pictures import Passes, Picture, Scope, Seen, merged, once, scope_of
from fedi_safety.core.policy import Policy, marks
from fedi_safety.core.policy.reading import Wanted
from fedi_safety.core.policy.word import Word
from fedi_safety.core.ports import Clock, ContentDetector, Detector, Embedder
from fedi_safety.core.types import Embedding, Evidence, Fingerprints, Frame, LeftOut, Scored, Scores, Signal


class StageTimer(Protocol):
    """What the cascade needs to book time on a detector."""

    def timed(self, stage: str, clock: Clock) -> AbstractContextManager[None]:
        """Return a context manager that adds the time spent inside."""
        ...


class _Scope:
    """What one look shows of a medium's pictures: the highest values of all, and of each. None: not in this look."""

    def __init__(self, own: Mapping[str, Signal], shown: Collection[int], pictures: int) -> None:
        self.known: dict[str, Signal] = dict(own)
        self._own = own
        self._pictures: list[dict[str, Signal] | None] = [{} if at in shown else None for at in range(pictures)]

    def add(self, found: Sequence[tuple[int, dict[str, Signal]]]) -> None:
        """Note what a detector said of frames, each with the place of its picture."""
        fresh: dict[int, dict[str, Signal]] = {}
        for place, signals in found:
            fresh[place] = merged(fresh[place], signals) if place in fresh else signals
            for name, signal in signals.items():
                best = self.known.get(name)
                if best is None or signal.value > best.value:
                    self.known[name] = signal
        for place, signals in fresh.items():
            self._pictures[place] = {**(self._pictures[place] or {}), **signals}

    def content(self, frames: Sequence[Frame]) -> Seen:
        """Return it as rules see it; `frames` has one of each picture."""
        if len(self._pictures) < 2:
            return Seen(self.known)
        places = [place for place, signals in enumerate(self._pictures) if signals is not None]
        pictures = []
        for place in places:
            of = frames[place].place
            pictures.append(Picture({**self._own, **(self._pictures[place] or {})}, of.stream, of.time_ms))
        return Seen(self.known, pictures, places=places)


class _Medium:
    """What is known so far of one medium of a batch. Pictures are numbered by their order in `passes`."""

    def __init__(self, frames: Sequence[Frame], known: Scores, *, near: bool) -> None:
        self.near = near
        self.evidence = [Evidence(frame) for frame in frames]
        self.ran: dict[str, str] = dict(known.detectors)
        self.done: dict[str, set[int]] = {}  # by detector the frames it saw
        self.embeddings: list[Embedding] = []
        self.account = Account(frames)
        self.failure: Unscannable | None = None
        self.wanted: Wanted | None = None  # what is to be measured yet; None: to be asked anew
        self._measured: list[dict[str, float]] = [{} for _ in frames]
        order = {number: place for place, number in enumerate(sorted({frame.picture for frame in frames}))}
        self._place = [order[frame.picture] for frame in frames]
        self._one_of = [frames[self._place.index(place)] for place in range(len(order))]
        self._scope_of = [scope_of(frame.index, second=frame.second) for frame in frames]
        self._scopes = {
            scope: _Scope(known.signals, {self._place[i] for i in self._within(scope)}, len(order))
            for scope in (Scope if any(frame.second for frame in frames) else (Scope.EVERY,))
        }

    def _within(self, scope: Scope) -> list[int]:
        return [i for i, own in enumerate(self._scope_of) if own <= scope]

    def passes(self) -> Passes:
        """Return it as rules see it."""
        every = self._scopes[Scope.EVERY].content(self._one_of)
        if len(self._scopes) == 1:
            return once(every, closed=not self.near)
        first, whole = (self._scopes[scope].content(self._one_of) for scope in (Scope.FIRST, Scope.WHOLE))
        return Passes(first, whole, every, closed=True)

    def of_pictures(self, places: Collection[int]) -> list[int]:
        """Return the numbers of the frames that show these pictures."""
        return [i for i, place in enumerate(self._place) if place in places]

    def add(self, detector: Detector, frames: Sequence[int], results: Sequence[Scored]) -> None:
        """Note what a detector said of these frames."""
        self.wanted = None
        self.ran[detector.name] = detector.version
        self.done.setdefault(detector.name, set()).update(frames)
        model = detector.embedding_model if isinstance(detector, Embedder) else ""
        found_of: dict[int, dict[str, Signal]] = {}
        for i, scored in zip(frames, results, strict=True):
            evidence = self.evidence[i]
            if scored.boxes:
                self.evidence[i] = Evidence(evidence.frame, evidence.boxes + tuple(scored.boxes))
            if scored.embedding is not None:
                self.embeddings.append(Embedding(evidence.frame.index, model, scored.embedding))
            if scored.findings:
                self.account.add(detector.name, evidence.frame, scored.findings)
            found = {
                name: Signal(value, evidence.frame.index, evidence.frame.place.text, scored.matches.get(name, ()))
                for name, value in scored.signals.items()
            }
            self._measured[i].update(scored.signals)
            found_of[i] = found
        for scope, part in self._scopes.items():
            part.add([(self._place[i], found) for i, found in found_of.items() if self._scope_of[i] <= scope])

    def scores(self) -> Scores:
        """Return what came of it."""
        signals = self._scopes[Scope.EVERY].known
        return Scores(signals, self.ran, tuple(self.embeddings), self._frames(), self.account.explanation())

    def _frames(self) -> FrameScores:
        if len(self.evidence) < 2:
            return FrameScores.of((), closed=True) if not self.near else ONE_PICTURE
        rows = []
        for evidence, measured in zip(self.evidence, self._measured, strict=True):
            frame, place = evidence.frame, evidence.frame.place
            rows.append(
                FrameScore(frame.index, frame.picture, place.stream, place.time_ms, place.text, measured, frame.second)
            )
        return FrameScores.of(rows, closed=not self.near)


class Cascade:
    """An ordered set of detectors under one policy. Thread-safe if the detectors are."""

    def __init__(
        self,
        detectors: Sequence[Detector],
        policy: Policy,
        *,
        enabled: bool = True,
        content_detectors: Sequence[ContentDetector] = (),
        recognizer: Recognizer | None = None,
    ) -> None:
        """Order the detectors. With `enabled=False` every detector whose signals any rule uses sees every frame.

        Those of whole contents come before all others, whatever they cost, and the `recognizer` before these: it has
        spoken before a medium's frames come here. Raises `ValueError` for a detector that needs one which is not there.
        """
        self.recognizer = recognizer
        names = {d.name for d in detectors}
        for detector in detectors:
            if missing := set(detector.after) - names:
                raise ValueError(f"detector {detector.name} needs {', '.join(sorted(missing))}")
        self._policy = policy
        self._enabled = enabled
        self._relents = any(rule.may_relent for rule in policy.rules)
        self._order = _ordered(detectors)
        self._of_contents = list(content_detectors)
        own = (d.signals for d in detectors), (d.signals for d in content_detectors)
        self.available = frozenset(s for signals in chain(*own) for s in signals)

    @property
    def enabled(self) -> bool:
        """Whether detectors are left out where nothing hangs on them."""
        return self._enabled

    @property
    def versions(self) -> dict[str, str]:
        """Detector names with their versions."""
        return {d.name: d.version for d in self._of_contents} | {d.name: d.version for d in self._order}

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
        self,
        media: Sequence[Sequence[Frame]],
        known: Sequence[Scores],
        stages: StageTimer,
        clock: Clock,
        near: Sequence[bool] = (),
    ) -> list[Scores | Unscannable]:
        """Score a batch of media (a list of frames each) until every rule is settled for each of their pictures.

        `known` is what each content told by itself, `near` of which of them more could be shown, so that it matters as
        well whether they come near to a rule (see `policy.nearly`). A medium that a detector fails on comes back as
        `Unscannable`; its neighbours are scored all the same. One without frames stays as it is known.
        """
        asked = near or [False] * len(media)
        work = [_Medium(frames, one, near=more) for frames, one, more in zip(media, known, asked, strict=True)]
        # What makes a verdict milder is asked for once the verdict is in sight: the first round may pass it by.
        left = work
        for _ in self._order:
            self._round(left, stages, clock)
            left = [medium for medium in left if self._wanted(medium)] if self._relents else []
            if not left:
                break
        return [medium.failure or medium.scores() for medium in work]

    def _round(self, work: Sequence[_Medium], stages: StageTimer, clock: Clock) -> None:
        """Ask every detector once about what is still open when its turn comes."""
        for detector in self._order:
            asking = [(medium, frames) for medium in work if (frames := self._needed(detector, medium))]
            if asking:
                with stages.timed(detector.name, clock):
                    self._run(detector, asking)

    def _wanted(self, medium: _Medium) -> Wanted:
        """Return what is to be measured yet of a medium; nothing of one that failed."""
        if not medium.evidence or medium.failure is not None:
            return {}
        if medium.wanted is None:
            medium.wanted = Word(self._policy, medium.passes(), self.available, cascade=self._enabled).wanted()
        return medium.wanted

    def left_out(self, scores: Scores) -> list[LeftOut]:
        """Return which detectors did not see every picture of what was scored here, and why that changes no rule."""
        if scores.explanation is None or not scores.explanation.looks:
            return []  # there was nothing to see
        return left_out(self._policy, scores, self._order, self.available, cascade=self._enabled)

    def _needed(self, detector: Detector, medium: _Medium) -> list[int]:
        """Return which frames a detector must see: those of pictures that it, or one that needs it, may settle."""
        wanted = self._wanted(medium)
        signals = set(detector.signals)
        for later in self._order:
            if detector.name in later.after:
                signals.update(later.signals)
        frames = medium.of_pictures({place for place, open_here in wanted.items() if open_here & signals})
        return [i for i in frames if i not in medium.done.get(detector.name, ())]

    def _run(self, detector: Detector, media: Sequence[tuple[_Medium, list[int]]]) -> None:
        """Give a detector these frames in batches; if a batch fails, find out which medium it is."""
        frames = [medium.evidence[i] for medium, places in media for i in places]
        results: list[Scored] = []
        try:
            for at in range(0, len(frames), detector.max_batch):
                results.extend(detector.score(frames[at : at + detector.max_batch]))
        except (Unscannable, MemoryError) as error:
            if len(media) == 1:
                media[0][0].failure = error if isinstance(error, Unscannable) else out_of_memory("scored")
                return
            for one in media:
                self._run(detector, [one])
            return
        at = 0
        for medium, places in media:
            medium.add(detector, places, results[at : at + len(places)])
            at += len(places)


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
