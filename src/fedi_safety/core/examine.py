"""The one place that turns media into contents and judgements, for scans, the daemon, the gate and its workers.

What a content tells by its hashes, decoding with one more try, the cascade, the second pass where the first came near
to a rule, a person's word. It keeps nothing and writes nothing: what becomes of a verdict is the caller's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fedi_safety.core.cascade import Cascade, StageTimer
from fedi_safety.core.enums import Detail, MediaType, Reason, Verdict
from fedi_safety.core.errors import Unscannable, out_of_memory
from fedi_safety.core.explained.account import lasting, with_second_pass
from fedi_safety.core.frames.scores import closed
from fedi_safety.core.policy import Policy, dismissal, judge, nearly
from fedi_safety.core.ports import Clock, Decoder
from fedi_safety.core.types import Content, Decoded, Explanation, Fingerprints, Judgement, Scores

Dismissed = Callable[[Sequence[bytes]], set[bytes]]
"""Asks which of some contents, by SHA-256, a person has dismissed as judged wrongly."""

Examined = tuple[Content, Judgement] | Unscannable


@dataclass(frozen=True, slots=True)
class DecodedMedium:
    """A medium whose frames are in hand. `data` is kept while a second pass could show more of it.

    `known` is what the content told by itself; `decoded` has no frames where that alone decides.
    """

    sha256: bytes
    size: int
    decoded: Decoded
    known: Scores
    data: bytes | None = None

    @property
    def frame_bytes(self) -> int:
        """Return how many bytes of pixels it holds."""
        return sum(len(frame.rgb) for frame in self.decoded.frames)


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

    def decode(self, sha256: bytes, data: bytes, media_type: MediaType) -> DecodedMedium:
        """Decode a medium; twice where the decoder died, which need not be the medium's doing.

        Raises `Unscannable` where it cannot be decoded, unless its hashes alone make a rule hold: then it comes back
        without frames, and in part only.
        """
        try:
            known = self._known(sha256, data)
        except MemoryError:
            raise out_of_memory("hashed") from None
        try:
            decoded = self._decoded(data, media_type)
        except Unscannable as error:
            if judge(self.policy, known.signals).verdict is Verdict.CLEAR:
                raise
            decoded = Decoded(media_type, 0, 0, (), f"{error.reason.value}: {error.detail}")
        return DecodedMedium(sha256, len(data), decoded, known, data if decoded.more else None)

    def _known(self, sha256: bytes, data: bytes) -> Scores:
        prints = None
        if self.cascade.hashes_contents:
            # Lists of known images name contents so; nothing rests on these hashes being hard to forge.
            sha1 = hashlib.sha1(data, usedforsecurity=False).digest()
            prints = Fingerprints(sha256, sha1, hashlib.md5(data, usedforsecurity=False).digest(), len(data))
        return self.cascade.score_content(sha256, prints)

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
            [medium.decoded.frames for medium in batch],
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
        return content_of(medium.sha256, medium.size, decoded, scores, decoder_mark(self.decoder)), judgement

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
