"""The one place that turns media into contents and judgements, for scans, the daemon, the gate and its workers.

What a content tells by its hashes, decoding with one more try, the cascade, the second pass where the first came near
to a rule, a person's word. It keeps nothing and writes nothing: what becomes of a verdict is the caller's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from fedi_safety.core.cascade import Cascade, StageTimer
from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import KNOWN_PREFIX, Detail, MediaType, Reason, Verdict
from fedi_safety.core.errors import Unscannable, out_of_memory
from fedi_safety.core.explained.account import lasting, with_second_pass
from fedi_safety.core.frames.scores import closed
from fedi_safety.core.known.effects import counted, effects, of_others, signals
from fedi_safety.core.known.ports import Compared
from fedi_safety.core.known.types import Hit
from fedi_safety.core.policy import Policy, condemned_by_lists, dismissal, judge, nearly
from fedi_safety.core.ports import Clock, Decoder
from fedi_safety.core.types import (
    Content,
    Decoded,
    Descriptors,
    Explanation,
    Fingerprints,
    Frame,
    Hashes,
    Judgement,
    Scores,
)

Dismissed = Callable[[Sequence[bytes]], set[bytes]]
"""Asks which of some contents, by SHA-256, a person has dismissed as judged wrongly."""

Examined = tuple[Content, Judgement] | Unscannable


@dataclass(frozen=True, slots=True)
class DecodedMedium:
    """A medium whose frames are in hand. `data` is kept while a second pass could show more of it.

    `known` is what its hashes told, those of its bytes and of its pictures; `hashes` are these. `decoded` has no frames
    where the bytes alone decide. What is `settled` by its hashes is shown to no detector.
    """

    sha256: bytes
    size: int
    decoded: Decoded
    known: Scores
    data: bytes | None = None
    hashes: Hashes | None = None
    settled: bool = False

    @property
    def frame_bytes(self) -> int:
        """Return how many bytes of pixels it holds."""
        return sum(len(frame.rgb) for frame in self.decoded.frames)

    @property
    def judged(self) -> Sequence[Frame]:
        """Return the frames that detectors are shown."""
        return () if self.settled else self.decoded.frames


class _FirstWord:
    """What the first pass over a medium came to: whether it is plainly clear, and whether it came near to a rule."""

    def __init__(
        self, policy: Policy, medium: DecodedMedium, scores: Scores | Unscannable, available: frozenset[str]
    ) -> None:
        self.medium = medium
        self.scores = scores
        self.plainly_clear, self.near = True, False
        if not isinstance(scores, Unscannable):
            judgement = judge(policy, scores.signals, scores.frames)
            self.plainly_clear = not _says_something(judgement)
            self.near = medium.data is not None and nearly(policy, scores.signals, scores.frames, available)


@dataclass(frozen=True, slots=True)
class Examiner:
    """Examines media under one policy as it is in force. Its methods may be called from several threads at once."""

    decoder: Decoder
    cascade: Cascade
    policy: Policy
    stages: StageTimer
    clock: Clock

    @property
    def knows_bytes(self) -> bool:
        """Whether bytes can be told from others although nothing in them decodes. Raises `Unscannable`."""
        return self.cascade.recognizer is not None and self.cascade.recognizer.active

    def decode(
        self, sha256: bytes, data: bytes, media_type: MediaType, refused: Unscannable | None = None
    ) -> DecodedMedium:
        """Decode a medium; twice where the decoder died, which need not be the medium's doing.

        Raises `Unscannable` where it cannot be decoded, unless its hashes alone make a rule hold: then it comes back
        without frames, and in part only. `refused` says why it is not to be decoded, where that is known.
        """
        known = _Known(self, sha256, data)
        try:
            if refused is not None:
                raise refused
            decoded = self._decoded(data, media_type)
        except Unscannable as error:
            if judge(self.policy, known.scores.signals).verdict is Verdict.CLEAR:
                raise
            decoded = Decoded(media_type, 0, 0, (), f"{error.reason.value}: {error.detail}")
        known.compare(decoded)
        settled = known.condemns()
        kept = data if decoded.more and not settled else None
        decoded = replace(decoded, compared=())  # they are hashed, and of no more use
        return DecodedMedium(sha256, len(data), decoded, known.scores, kept, known.hashes, settled)

    def rehash(self, stored: Content, data: bytes) -> tuple[Content, Judgement | None]:
        """Hash a content that was judged before, and return it with its scores and what they come to now.

        No detector is asked. Nothing is said where lists have nothing to add: its judgement stands. What does not
        decode has the hashes of its bytes alone. Raises `Unscannable` where lists cannot be read, or where another try
        may decode it: what counts as hashed is not hashed again.
        """
        known = _Known(self, stored.sha256, data)
        try:
            decoded = self._decoded(data, stored.media_type)
        except Unscannable as error:
            if error.reason.transient:
                raise
        else:
            known.compare(decoded)
        said = {name: signal for name, signal in known.scores.signals.items() if name.startswith(KNOWN_PREFIX)}
        content = replace(stored, hashes=known.hashes)
        if not said:
            return content, None
        scores = replace(
            stored.scores,
            signals={**stored.scores.signals, **said},
            detectors={**stored.scores.detectors, **known.scores.detectors},
        )
        return replace(content, scores=scores), judge(self.policy, scores.signals, scores.frames)

    def _decoded(self, data: bytes, media_type: MediaType) -> Decoded:
        with self.stages.timed("decode", self.clock):
            try:
                return self._pass(data, media_type)
            except Unscannable as error:
                if error.reason is not Reason.DECODER_CRASHED:
                    raise
            return self._pass(data, media_type)

    def _pass(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        try:
            return self.decoder.decode(data, media_type, detail)
        except MemoryError:
            raise out_of_memory("decoded") from None

    def examine(self, batch: Sequence[DecodedMedium], dismissed: Dismissed) -> list[Examined]:
        """Score and judge a batch; return for each medium what is known of it with its judgement, or why nothing is.

        `dismissed` is asked about those alone that would not be plainly clear, once for the batch: a person's word
        needs no second pass and stands above every rule.
        """
        results = self.cascade.score(
            [medium.judged for medium in batch],
            [medium.known for medium in batch],
            self.stages,
            self.clock,
            [medium.data is not None for medium in batch],
        )
        first = [
            _FirstWord(self.policy, medium, scores, self.cascade.available)
            for medium, scores in zip(batch, results, strict=True)
        ]
        doubtful = [word.medium.sha256 for word in first if word.near or not word.plainly_clear]
        cleared = dismissed(doubtful) if doubtful else set()
        return [
            word.scores if isinstance(word.scores, Unscannable) else self._last_word(word, word.scores, cleared)
            for word in first
        ]

    def _last_word(self, first: _FirstWord, scores: Scores, cleared: set[bytes]) -> tuple[Content, Judgement]:
        medium, decoded = first.medium, first.medium.decoded
        gone = medium.sha256 in cleared
        if first.near and not gone:
            decoded, scores = self._second_pass(medium, scores)
        judgement = dismissal(self.policy.id) if gone else judge(self.policy, scores.signals, scores.frames)
        scores = replace(scores, explanation=self._explanation(scores, judgement, near=first.near))
        content = content_of(medium.sha256, medium.size, decoded, scores, decoder_mark(self.decoder))
        return replace(content, hashes=medium.hashes), judgement

    def _explanation(self, scores: Scores, judgement: Judgement, *, near: bool) -> Explanation | None:
        """Return what the verdict rests on; nothing of what is plainly clear, which is nearly everything.

        What came near to a rule is explained as well: a stricter policy would condemn that first, from its scores.
        """
        if scores.explanation is None or not (near or _says_something(judgement)):
            return None
        return lasting(scores.explanation, judgement, self.cascade.left_out(scores))

    def _second_pass(self, medium: DecodedMedium, scores: Scores) -> tuple[Decoded, Scores]:
        """Return what is known after more of the medium was judged, together with what was seen.

        Where that fails, the first pass stands, and `partly` says so.
        """
        first = medium.decoded
        assert medium.data is not None
        try:
            with self.stages.timed("decode", self.clock):
                second = self._pass(medium.data, first.media_type, Detail.FINE)
            seen = {frame.index for frame in first.frames}
            # All frames, also those that were scored before: the cascade settles rules by all that a medium shows.
            further = (replace(frame, second=True) for frame in second.frames if frame.index not in seen)
            frames = first.frames + tuple(further)
            (again,) = self.cascade.score([frames], [medium.known], self.stages, self.clock)
            if isinstance(again, Unscannable):
                raise again
        except Unscannable as error:
            why = f"{error.reason.value}: the second pass failed: {error.detail}"
            # What failed is not tried again until another decoder may do better, as any other part is.
            return replace(first, partly=first.partly or why), replace(scores, frames=closed(scores.frames))
        if again.explanation is not None:
            again = replace(again, explanation=with_second_pass(again.explanation, seen))
        return replace(second, frames=frames), again


@contextmanager
def _in_memory() -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise out_of_memory("hashed") from None


class _Known:
    """What a content's hashes tell of it, as far as they are made."""

    @_in_memory()
    def __init__(self, examiner: Examiner, sha256: bytes, data: bytes) -> None:
        """Hash the bytes, and compare them. Raises `Unscannable` where lists cannot be read."""
        cascade = examiner.cascade
        self._sha256 = sha256
        self._policy = examiner.policy
        self._stages, self._clock = examiner.stages, examiner.clock
        self._recognizer = cascade.recognizer
        self._sparing = self._recognizer is not None and cascade.enabled
        self._exact: Sequence[Hit] = ()
        self.hashes: Hashes | None = None
        prints = None
        if cascade.hashes_contents or self._recognizer is not None:
            # Lists of known images name contents so; nothing rests on these hashes being hard to forge.
            sha1 = hashlib.sha1(data, usedforsecurity=False).digest()
            prints = Fingerprints(sha256, sha1, hashlib.md5(data, usedforsecurity=False).digest(), len(data))
        self.scores = cascade.score_content(sha256, prints)
        if self._recognizer is not None and prints is not None:
            self.hashes = Hashes(prints.sha1, prints.md5)
            with self._stages.timed(self._recognizer.name, self._clock):
                self._exact = self._recognizer.exact(prints)
                self._say({}, {})

    @_in_memory()
    def compare(self, decoded: Decoded) -> None:
        """Hash what it shows, and compare that too. Raises `Unscannable` where lists cannot be read."""
        frames = _hashed_frames(decoded)
        if self._recognizer is None or self.hashes is None or not frames:
            return
        with self._stages.timed(self._recognizer.name, self._clock):
            found = self._recognizer.pictures(frames)
            pictures = tuple(each.hash for each in found)
            self.hashes = replace(
                self.hashes, pictures=pictures, descriptors=_descriptors(self._recognizer.model, found)
            )
            met = counted((each.hash, of_others(self._sha256, each.hits)) for each in found)
            self._say(met, {frame.index: frame.place.text for frame in frames})

    def condemns(self) -> bool:
        """Whether lists alone condemn it, so that no detector has anything to add; unless all are to be asked."""
        return self._sparing and condemned_by_lists(self._policy, self.scores.signals)

    def _say(self, pictures: Mapping[int, Sequence[Hit]], where: Mapping[int, str]) -> None:
        assert self._recognizer is not None
        if not self._recognizer.active:
            return
        said = signals(effects(self._exact, pictures), where)
        ran = {**self.scores.detectors, self._recognizer.name: self._recognizer.version}
        self.scores = replace(self.scores, signals={**self.scores.signals, **said}, detectors=ran)


def _descriptors(model: str, found: Sequence[Compared]) -> Descriptors | None:
    made = tuple((each.hash.frame, each.descriptor) for each in found if each.descriptor is not None)
    return Descriptors(model, made) if model else None


def _hashed_frames(decoded: Decoded) -> list[Frame]:
    """Return the pictures by which a medium is found again: the same ones whenever it is decoded.

    Its stills as a whole, and what is there to be compared alone: without border and transparency, moments of what
    moves. Moments that are judged are drawn by chance.
    """
    wholes = [
        frame
        for frame in decoded.frames
        if frame.place.time_s is None and frame.place.tile is None and not frame.place.turned
    ]
    return list({frame.index: frame for frame in (*wholes, *decoded.compared)}.values())


def _says_something(judgement: Judgement) -> bool:
    return judgement.verdict is not Verdict.CLEAR or bool(judgement.reasons)


def decoder_mark(decoder: Decoder) -> str:
    """Return a short name of the decoder at its version, under which its failures are kept."""
    return hashlib.sha256(decoder.version.encode()).hexdigest()[:12]


def content_of(sha256: bytes, size: int, decoded: Decoded, scores: Scores, mark: str) -> Content:
    """Return what is known of bytes that were judged; `mark` is the decoder's.

    Frames on black, and those of the first pass that a second one does not repeat, are more than a pass's total counts.
    """
    total = max(decoded.total, len(decoded.frames)) if decoded.total else 0
    return Content(
        sha256,
        size,
        decoded.media_type,
        decoded.width,
        decoded.height,
        len(decoded.frames),
        scores,
        decoded.partly,
        total,
        mark if decoded.partly else "",
    )
