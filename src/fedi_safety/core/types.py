"""The words of the program (docs/design.md section 2) as frozen types, named by their moment in the flow.

Nothing here does I/O. 'Model' always means a neural network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum


class Reason(StrEnum):
    """Why an object has no verdict. Kept with the object, counted in the report, never a cause for removal."""

    EMPTY = "empty"  # no bytes at all, or nothing to see: sound without a picture
    NOT_MEDIA = "not_media"  # csv, zip, html, a database
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

    @property
    def of_decoder(self) -> bool:
        """Whether it was the decoder's word, so that another version of it, or other bounds, may do better."""
        return self in _OF_DECODER


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

_OF_DECODER = frozenset(
    {
        Reason.EMPTY,
        Reason.NOT_MEDIA,
        Reason.UNSUPPORTED,
        Reason.CORRUPT,
        Reason.TRUNCATED,
        Reason.TOO_LARGE,
        Reason.TOO_SLOW,
        Reason.DECODER_CRASHED,
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
    decoder: str = ""  # the mark of the decoder whose word it was


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
    PDF = "application/pdf"
    MP4 = "video/mp4"
    QUICKTIME = "video/quicktime"
    MATROSKA = "video/x-matroska"
    WEBM = "video/webm"
    OGG = "application/ogg"
    AVI = "video/x-msvideo"

    @property
    def is_clip(self) -> bool:
        """Whether it is a container for tracks of pictures and sound."""
        return self is MediaType.OGG or self.value.startswith("video/")


class Detail(Enum):
    """How closely a medium is looked at."""

    COARSE = "coarse"  # the first pass over a medium
    FINE = "fine"  # the second, because the first came near to a rule: more frames, and other views of them


class Part(StrEnum):
    """Which of the things that a medium is made of a frame belongs to."""

    PICTURE = "picture"  # what it is for: the still, the animation, the clip
    COVER = "cover"  # cover art, an attached picture, the still that stands in for an animation
    THUMBNAIL = "thumbnail"  # a small picture in the file's metadata
    FURTHER = "further"  # another picture or animation in the same file
    FURTHER_CLIP = "further_clip"  # a clip in a file of another kind, or behind a first one


_PART_TEXT = {
    Part.COVER: "cover picture",
    Part.THUMBNAIL: "thumbnail",
    Part.FURTHER: "further picture",
    Part.FURTHER_CLIP: "further clip",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a picture that is looked at by itself: the `number`-th (from 1) of `of`, and its edges.

    These are in thousandths of the upright picture's width and height, from its upper left corner. Raises `ValueError`
    for a part that is none.
    """

    number: int
    of: int
    left: int
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        inside = 0 <= self.left < self.right <= 1000 and 0 <= self.top < self.bottom <= 1000
        if not inside or not 1 <= self.number <= self.of:
            raise ValueError(f"no such tile: {self}")

    @property
    def text(self) -> str:
        """Return it as a person would say it, e.g. `tile 3 of 9, 0-33 % x 20-60 %`: from the left, from the top."""
        across, down = (f"{a / 10:.0f}-{b / 10:.0f} %" for a, b in ((self.left, self.right), (self.top, self.bottom)))
        return f"tile {self.number} of {self.of}, {across} x {down}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in its medium a frame is found, and how it is shown. The whole of a plain still has nothing to say here."""

    time_s: float | None = None  # seconds from the beginning
    page: int = 0  # from 1, where pictures follow each other without times; 0 where they do not
    track: int = 1  # of a clip with several pictures at once
    part: Part = Part.PICTURE
    on_black: bool = False  # what is transparent shows black; everywhere else it shows white
    tile: Tile | None = None  # None for the whole picture
    bare: bool = False  # without an even border that the picture has
    turned: int = 0  # degrees clockwise: 0, 90, 180 or 270

    @property
    def text(self) -> str:
        """Return it as a person would say it, e.g. `at 1:02.40`; empty for the whole of a plain still."""
        words = []
        if self.part in _PART_TEXT:
            words.append(_PART_TEXT[self.part])
        if self.track > 1:
            words.append(f"track {self.track}")
        if self.page:
            words.append(f"picture {self.page}")
        if self.time_s is not None:
            words.append(f"at {clock_text(self.time_s)}")
        if self.tile is not None:
            words.append(self.tile.text)
        if self.bare:
            words.append("without its border")
        if self.turned:
            words.append(f"turned by {self.turned}°")
        if self.on_black:
            words.append("on black")
        return " ".join(words)


def clock_text(seconds: float) -> str:
    """Return a time within a medium as `m:ss.cc`, with hours where there are any."""
    whole, hundredths = divmod(round(seconds * 100), 100)
    minutes, rest = divmod(whole, 60)
    hours, left = divmod(minutes, 60)
    return f"{hours}:{left:02}:{rest:02}.{hundredths:02}" if hours else f"{minutes}:{rest:02}.{hundredths:02}"


_NOWHERE = Place()


@dataclass(frozen=True, slots=True)
class Frame:
    """One RGB picture of a medium: 8-bit RGB, rows top to bottom, no padding, upright, in sRGB.

    `rgb` holds exactly width * height * 3 bytes. `index` tells the frames of a medium apart and is the same at every
    pass; in an animation or clip it counts from 0 whatever could be shown.
    """

    index: int
    width: int
    height: int
    rgb: bytes
    place: Place = _NOWHERE

    def __post_init__(self) -> None:
        """Refuse a buffer that does not fit the dimensions."""
        if self.width < 1 or self.height < 1 or len(self.rgb) != self.width * self.height * 3:
            raise ValueError(f"frame of {self.width}x{self.height} with {len(self.rgb)} bytes")


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a decoder made of a medium: the frames to judge and the picture's true size in pixels.

    `partly` says why there is more in it that cannot be judged, if so; it begins with a `Reason`. `more` says that a
    second pass would show other frames; of a still it always would. `total` counts all frames there are in this pass,
    judged or not; 0 where that is not known.
    """

    media_type: MediaType
    width: int
    height: int
    frames: tuple[Frame, ...]
    partly: str | None = None
    more: bool = False
    total: int = 0


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
    """What one detector says of one frame: its signals (0 to 1), and boxes for detectors that come after it.

    `embedding` is the frame as its network sees it, from which the signals were computed: float16, little-endian, of
    unit length. Only a detector whose signals can be computed anew from it gives one.
    """

    signals: Mapping[str, float]
    boxes: tuple[Box, ...] = ()
    embedding: bytes | None = None


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
class Signal:
    """A medium's value for one signal: the highest over its frames, the frame that gave it, and where that is."""

    value: float
    frame: int = 0
    where: str = ""


@dataclass(frozen=True, slots=True)
class Scores:
    """All that detectors said of one content. `detectors` maps each detector that ran to its version.

    A signal that is not in `signals` was not measured: the cascade had settled every rule without it, or no active
    detector gives it. It must not be read as 0 by a policy that needs it. `embeddings` come with fresh scores only,
    from the detectors that give them.
    """

    signals: Mapping[str, Signal]
    detectors: Mapping[str, str]
    embeddings: tuple[Embedding, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of some bytes, whatever names they have: identity, shape and scores.

    `frames` of `total` were judged (0: nobody knows how many there are). `partly` and `total` are as in `Decoded`;
    `decoder` is the mark of the decoder where it could show a part only.
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


@dataclass(frozen=True, slots=True)
class FactorHit:
    """Why a factor reached its threshold: the signal that raised it, its value, and the frame with its place."""

    factor: str
    threshold: float
    value: float
    signal: str
    frame: int
    where: str = ""


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an act ended, after reading back. `state` is one of done, gone, changed, failed."""

    plan: Plan
    state: PlanState
    detail: str = ""
