"""The words of the program (docs/design.md section 2) as frozen types, named by their moment in the flow.

Nothing here does I/O. 'Model' always means a neural network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Why an object has no verdict. Kept with the object, counted in the report, never a cause for removal."""

    NOT_MEDIA = "not_media"  # csv, zip, html, an empty file, a database
    UNSUPPORTED = "unsupported"  # media of a kind that is not decoded here
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"  # more bytes, pixels or memory than the caps allow
    TOO_SLOW = "too_slow"  # the decoder ran into its time cap
    DECODER_CRASHED = "decoder_crashed"
    DETECTOR_FAILED = "detector_failed"
    SPECIAL_FILE = "special_file"  # FIFO, socket, device
    SYMLINK = "symlink"  # never followed
    UNREADABLE = "unreadable"  # no permission, or an input/output error
    FETCH_FAILED = "fetch_failed"  # the store did not give all of it, after retries
    VANISHED = "vanished"  # gone between listing and reading
    CHANGED = "changed"  # changed between listing and reading

    @property
    def transient(self) -> bool:
        """Whether another try may succeed although the object and the program stay as they are."""
        return self in _TRANSIENT


_TRANSIENT = frozenset(
    {
        Reason.TOO_SLOW,
        Reason.DECODER_CRASHED,
        Reason.DETECTOR_FAILED,
        Reason.UNREADABLE,
        Reason.FETCH_FAILED,
        Reason.VANISHED,
        Reason.CHANGED,
    }
)


class Verdict(StrEnum):
    """What a policy says of a medium, mildest first."""

    CLEAR = "clear"
    REVIEW = "review"
    BLOCK = "block"

    @property
    def rank(self) -> int:
        """Return 0 for clear, 1 for review, 2 for block."""
        return _VERDICT_RANK[self]


_VERDICT_RANK = {Verdict.CLEAR: 0, Verdict.REVIEW: 1, Verdict.BLOCK: 2}


class ActKind(StrEnum):
    """What can be done about a verdict. `report` leaves the store as it is."""

    REPORT = "report"
    DELETE = "delete"
    PURGE = "purge"  # through the pict-rs that owns the object, aliases and variants included

    @property
    def removes(self) -> bool:
        """Whether the act takes the object out of the store."""
        return self is not ActKind.REPORT


class PlanState(StrEnum):
    """The life of a plan. Only `started` may touch the store; it is committed before the act begins."""

    PLANNED = "planned"  # written, waiting for a real run or for `apply`
    STARTED = "started"  # planned -> started: the act may be under way
    DONE = "done"  # started -> done: verified by reading back
    GONE = "gone"  # started -> gone: the object was not there any more
    CHANGED = "changed"  # started -> changed: not the object that was judged; left alone
    FAILED = "failed"  # started -> failed: tried again by the next real run
    DISMISSED = "dismissed"  # planned -> dismissed: a person said the verdict is wrong
    SUPERSEDED = "superseded"  # planned -> superseded: a newer judgement no longer asks for it

    @property
    def open(self) -> bool:
        """Whether a real run still has something to do about it."""
        return self in (PlanState.PLANNED, PlanState.STARTED, PlanState.FAILED)


class Recheck(StrEnum):
    """What a scan does about objects that were judged before."""

    NEVER = "never"  # verdicts stay as they are
    POLICY = "policy"  # stored scores are decided anew under the policy in force; no file is opened
    ALL = "all"  # every object is read and scored again


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
    """An object without a verdict, and why."""

    object: Object
    reason: Reason
    detail: str = ""
    sha256: bytes | None = None


class MediaType(StrEnum):
    """Kinds of media, told apart by content alone. The value is the IANA media type."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    GIF = "image/gif"
    WEBP = "image/webp"
    BMP = "image/bmp"
    TIFF = "image/tiff"
    AVIF = "image/avif"
    HEIC = "image/heic"
    JXL = "image/jxl"
    SVG = "image/svg+xml"
    MP4 = "video/mp4"
    QUICKTIME = "video/quicktime"
    MATROSKA = "video/x-matroska"
    WEBM = "video/webm"
    OGG = "application/ogg"
    AVI = "video/x-msvideo"


@dataclass(frozen=True, slots=True)
class Frame:
    """One RGB picture of a medium: 8-bit RGB, rows top to bottom, no padding, upright, in sRGB.

    `rgb` holds exactly width * height * 3 bytes. `index` counts frames of the medium from 0.
    """

    index: int
    width: int
    height: int
    rgb: bytes

    def __post_init__(self) -> None:
        """Refuse a buffer that does not fit the dimensions."""
        if self.width < 1 or self.height < 1 or len(self.rgb) != self.width * self.height * 3:
            raise ValueError(f"frame of {self.width}x{self.height} with {len(self.rgb)} bytes")


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a decoder made of a medium: the frames to judge and the picture's true size in pixels."""

    media_type: MediaType
    width: int
    height: int
    frames: tuple[Frame, ...]


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
class Evidence:
    """A frame with what earlier detectors of the cascade found on it."""

    frame: Frame
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Scored:
    """What one detector says of one frame: its signals (0 to 1), and boxes for detectors that come after it."""

    signals: Mapping[str, float]
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Signal:
    """A medium's value for one signal: the highest over its frames, and the frame that gave it."""

    value: float
    frame: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """All that detectors said of one content. `detectors` maps each detector that ran to its version.

    A signal that is not in `signals` was not measured: the cascade had settled every rule without it, or no active
    detector gives it. It must not be read as 0 by a policy that needs it.
    """

    signals: Mapping[str, Signal]
    detectors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of some bytes, whatever names they have: identity, shape and scores."""

    sha256: bytes
    size: int
    media_type: MediaType
    width: int
    height: int
    frames: int
    scores: Scores


@dataclass(frozen=True, slots=True)
class FactorHit:
    """Why a factor reached its threshold: the signal that raised it, its value, and the frame."""

    factor: str
    threshold: float
    value: float
    signal: str
    frame: int


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule that holds, and the factors that made it hold."""

    rule: str
    verdict: Verdict | None
    label: str | None
    factors: tuple[FactorHit, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A policy's word on one content. `reasons` names every rule that held; empty for a plain `clear`."""

    verdict: Verdict
    labels: tuple[str, ...] = ()
    reasons: tuple[RuleHit, ...] = ()
    policy: str = ""


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
    or left open by the cascade, so that the object must be judged again.
    """

    sha256: bytes | None
    verdict: Verdict | None = None
    reason: Reason | None = None
    retry_at: float | None = None
    settled: bool = True
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall be done about one object, as the ledger keeps it."""

    id: int
    object: Object
    sha256: bytes
    act: ActKind
    state: PlanState


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an act ended, after reading back. `state` is one of done, gone, changed, failed."""

    plan: Plan
    state: PlanState
    detail: str = ""


@dataclass(slots=True)
class Tally:
    """The counts of one run; they become the closing line and the `--json` object. Mutable, one writer."""

    listed: int = 0
    judged: int = 0
    already_judged: int = 0
    unscanned: dict[str, int] = field(default_factory=dict)
    clear: int = 0
    review: int = 0
    block: int = 0
    planned: int = 0
    acted: int = 0
    failed: int = 0
    frames: int = 0
    bytes: int = 0

    @property
    def unscanned_total(self) -> int:
        """Return how many objects have no verdict, whatever the reason."""
        return sum(self.unscanned.values())

    @property
    def accounted(self) -> bool:
        """Whether every listed object is judged, was judged, or is unscanned with a reason (I5)."""
        return self.listed == self.judged + self.already_judged + self.unscanned_total
