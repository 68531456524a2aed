"""The second pass: where a first one came near to a rule, more of the medium is judged, together with what was seen.

And what is then known of the content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from fedi_safety.core.cascade import Cascade, StageTimer
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.policy import Policy, nearly
from fedi_safety.core.ports import Clock, Decoder
from fedi_safety.core.types import Content, Decoded, Detail, Scores, Signal


def second_pass(
    policy: Policy,
    decoder: Decoder,
    cascade: Cascade,
    data: bytes,
    first: Decoded,
    scores: Scores,
    marked: Mapping[str, Signal],
    stages: StageTimer,
    clock: Clock,
) -> tuple[Decoded, Scores]:
    """Return what is known of a medium after the second pass, if it is due; else what the first one gave.

    `data` is the medium that `first` was decoded from, `scores` what the cascade said of it. Where the second pass
    fails, the first one stands, and `partly` says so.
    """
    if not first.more or not nearly(policy, scores.signals):
        return first, scores
    try:
        with stages.timed("decode", clock):
            second = decoder.decode(data, first.media_type, Detail.FINE)
        seen = {frame.index for frame in first.frames}
        # All frames, also those that were scored before: the cascade settles rules by all that a medium shows.
        frames = first.frames + tuple(frame for frame in second.frames if frame.index not in seen)
        (again,) = cascade.score([frames], [marked], stages, clock)
        if isinstance(again, Unscannable):
            raise again
    except Unscannable as error:
        why = f"{error.reason.value}: the second pass failed: {error.detail}"
        return replace(first, partly=first.partly or why), scores
    return replace(second, frames=frames), again


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
