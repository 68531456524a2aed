"""The words of the program (docs/design.md section 2) as frozen types, named by their moment in the flow.

Nothing here does I/O. 'Model' always means a neural network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedi_safety.core.enums import ActKind, MediaType, PlanState, Reason, Verdict
from fedi_safety.core.frames.scores import ONE_PICTURE, FrameScores
from fedi_safety.core.frames.shown import Decoded as Decoded
from fedi_safety.core.frames.shown import Frame as Frame
from fedi_safety.core.frames.signals import FactorHit as FactorHit
from fedi_safety.core.frames.signals import Judgement as Judgement
from fedi_safety.core.frames.signals import Match as Match
from fedi_safety.core.frames.signals import RuleHit as RuleHit
from fedi_safety.core.frames.signals import Signal as Signal


@dataclass(frozen=True, slots=True)
class Object:
    """One stored thing, as the store lists it.

    `key` is relative to the store's root, with `/` between parts; bytes that are not UTF-8 stand as lone
    surrogates (PEP 383). `tag` is the store's own version mark: equal `size`, `mtime_ns` and `tag` mean that the
    object has not changed since.
    """

    key: str
    size: int
    mtime_ns: int
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Unscanned:
    """An object without a verdict, and why; whether it is a gap or was skipped is the reason's to say."""

    object: Object
    reason: Reason
    detail: str = ""
    sha256: bytes | None = None
    decoder: str = ""  # the mark of the decoder whose word it was


@dataclass(frozen=True, slots=True)
class Box:
    """A region that a detector found: relative to the frame (0 to 1), with its class name and score."""

    label: str
    score: float
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detector took a region of a frame for, or passed over: for people who will not look.

    `x`, `y`, `width`, `height` are as in `Box`; `size_px` is its shorter side in pixels of the frame as judged. `ages`
    are chances (0 to 1) by what they are of, in words, e.g. `{"dlib under 18": 0.31}`. `signals` are those of the
    detector that this finding alone would give, so that a factor can be traced to it; empty where it gives none.
    `counted` tells whether the detector took it into account, `why` why not, or whatever else it has to say.
    """

    label: str
    score: float
    x: float
    y: float
    width: float
    height: float
    size_px: int
    ages: Mapping[str, float] = field(default_factory=dict)
    counted: bool = True
    why: str = ""
    signals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A finding with the frame it was made in. Detectors that speak of one region make one finding together."""

    detectors: tuple[str, ...]
    frame: int
    finding: Finding


@dataclass(frozen=True, slots=True)
class Look:
    """A frame as it was judged: which picture it shows, where that is, and whether only a second pass had it."""

    frame: int
    picture: int
    where: str
    width: int
    height: int
    second: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A detector that was not asked of so many of a medium's pictures, and why that could change no rule."""

    detector: str
    why: str
    pictures: int = 1


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the scores of one content rest on: frames that were judged, what was found in them, and who was not asked.

    Not the scores themselves, and never pixels. `more_looks` and `more_found` count what there was beyond.
    """

    looks: tuple[Look, ...] = ()
    found: tuple[Found, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    more_looks: int = 0
    more_found: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """A frame with what earlier detectors of the cascade found on it."""

    frame: Frame
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """A content as its bytes alone tell it: its hashes and its size in bytes. What it shows plays no part."""

    sha256: bytes
    sha1: bytes
    md5: bytes
    size: int


@dataclass(frozen=True, slots=True)
class PictureHash:
    """The PDQ of one picture of a content, 32 bytes, and how much there was to see (`quality`, 0 to 100).

    `frame` is the index of the `Frame`, which is the same at every reading; a content has one hash of each. A picture
    that is attached to what moves, such as a clip's cover, has the complement of its index, below 0: it is no moment.
    """

    frame: int
    quality: int
    pdq: bytes

    @property
    def index(self) -> int:
        """The index of the `Frame`."""
        return index_of(self.frame)

    @property
    def attached(self) -> bool:
        """Whether it is no moment of what moves, but comes with it."""
        return self.frame < 0


def index_of(frame: int) -> int:
    """Return the index of the frame that a hash is of, by its number there (`PictureHash.frame`)."""
    return frame if frame >= 0 else ~frame


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What a network for finding copies made of a content's pictures: 64 bytes each, by the index of the `Frame`.

    `model` names network and weights; what different ones made does not compare.
    """

    model: str
    of: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Hashes:
    """What a content is found again by, beside its SHA-256: of its bytes, and of what it shows.

    Of what moves, `pictures` are at whole seconds, so that they are the same wherever it is read. `descriptors` are
    None where no network for them is configured.
    """

    sha1: bytes
    md5: bytes
    pictures: tuple[PictureHash, ...] = ()
    descriptors: Descriptors | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """What one detector says of one frame or content: its signals (0 to 1), and boxes for detectors that come after it.

    `embedding` is the frame as its network sees it, from which the signals were computed: float16, little-endian, of
    unit length. Only a detector whose signals can be computed anew from it gives one. `matches` names, by signal, the
    entries of lists that raised it. `findings` say in which regions the signals were found; nothing is decided by them.
    """

    signals: Mapping[str, float]
    boxes: tuple[Box, ...] = ()
    embedding: bytes | None = None
    matches: Mapping[str, tuple[Match, ...]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Embedding:
    """One frame as a network sees it, kept so that signals can be computed anew without the picture.

    `model` names network, precision and weights; embeddings of different ones do not compare. `data` is as in
    `Scored.embedding`.
    """

    frame: int
    model: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Scores:
    """All that detectors said of one content. `detectors` maps each detector that ran to its version.

    A signal that is not in `signals` was not measured: the cascade had settled every rule without it, or no active
    detector gives it. It must not be read as 0 by a policy that needs it. `embeddings` come with fresh scores only,
    from the detectors that give them.

    `signals` are the highest values; which of them hold together, and which of them a first pass saw, is `frames`' to
    say. None: nobody kept that. `explanation` comes with fresh scores only, like `embeddings`.
    """

    signals: Mapping[str, Signal]
    detectors: Mapping[str, str]
    embeddings: tuple[Embedding, ...] = ()
    frames: FrameScores | None = ONE_PICTURE
    explanation: Explanation | None = None


NO_SCORES = Scores({}, {})
"""Nothing is known of a content yet."""


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of some bytes, whatever names they have: identity, shape and scores.

    `frames` of `total` were judged (0: nobody knows how many there are). `partly` and `total` are as in `Decoded`;
    `decoder` is the mark of the decoder where it could show a part only. `hashes` come with fresh scores only.
    """

    sha256: bytes
    size: int
    media_type: MediaType
    width: int
    height: int
    frames: int
    scores: Scores
    partly: str | None = None
    total: int = 0
    decoder: str = ""
    hashes: Hashes | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """An object whose content has a verdict in this run. `fresh` is false when the content was judged before."""

    object: Object
    content: Content
    judgement: Judgement
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger remembers of an unchanged object.

    Exactly one of `verdict` and `reason` is set. `settled` is false when the verdict was given under another policy
    or left open by the cascade, so that the object must be judged again. `decoder` is set where another decoder may do
    better: the mark of the one that failed on it or showed a part only, empty if nobody wrote that down.
    """

    sha256: bytes | None
    verdict: Verdict | None = None
    reason: Reason | None = None
    retry_at: float | None = None
    settled: bool = True
    attempts: int = 0
    decoder: str | None = None
    partly: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall be done about one object, as the ledger keeps it."""

    id: int
    object: Object
    sha256: bytes
    act: ActKind
    state: PlanState


Receipt = Mapping[str, str | tuple[str, ...]]
"""What was learnt while an act was done and cannot be asked for afterwards, such as aliases that pict-rs forgets.

For programs, beside the sentence for people. Names and ids, never content; empty where there is nothing to keep.
"""


@dataclass(frozen=True, slots=True)
class Removal:
    """How a store's removal ended, after reading back: `done`, `gone`, `changed` or `failed`."""

    state: PlanState
    detail: str = ""
    receipt: Receipt = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Right:
    """Whether something may be done to a store, as far as that was tried without touching anybody's objects.

    `held` is None where it was not tried; `detail` says where and why not, with a remedy.
    """

    held: bool | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an act ended, after reading back. `state` is one of done, gone, changed, failed."""

    plan: Plan
    state: PlanState
    detail: str = ""
    receipt: Receipt = field(default_factory=dict)
