"""The words that stand in tables, files and messages: reasons, verdicts, acts, states, media types. No I/O."""

from __future__ import annotations

from enum import Enum, StrEnum

LEARNED_PREFIX = "learned."
"""What the signals begin with that an operator's own dismissals taught. None of them condemns alone."""

KNOWN_PREFIX = "known."
"""What the signals begin with that lists of known images give. They change with the lists, not with the policy."""


class Reason(StrEnum):
    """Why an object has no verdict: it is no media (`skipped`), or it is and could not be judged (unscanned).

    Kept with the object, counted in the report, never a cause for removal.
    """

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
    def skipped(self) -> bool:
        """Whether it says that there is no medium to judge: counted and listed, but no gap."""
        return self in SKIPPED

    @property
    def transient(self) -> bool:
        """Whether another try may succeed although the object and the program stay as they are."""
        return self in _TRANSIENT

    @property
    def of_decoder(self) -> bool:
        """Whether it was the decoder's word, so that another version of it, or other bounds, may do better."""
        return self in _OF_DECODER


SKIPPED = frozenset({Reason.NOT_MEDIA, Reason.EMPTY, Reason.SYMLINK, Reason.SPECIAL_FILE})
"""The reasons of what is no media. Every other reason is of a gap: it should have been judged and was not."""

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
    """What can be done about a verdict; each of these takes the object out of the store."""

    DELETE = "delete"
    PURGE = "purge"  # through the pict-rs that owns the object, aliases and variants included
    SEAL = "seal"  # a copy that only the operator's key opens, kept elsewhere; then one of the two above


NO_ACT = "report"

"""The word for leaving every store as it is, where people choose an act: it is none."""

ACT_WORDS = (*(kind.value for kind in ActKind), NO_ACT)

"""What people may choose."""


def act_word(act: ActKind | None) -> str:
    """Return an act as people choose it and as runs record it."""
    return NO_ACT if act is None else act.value


class PolicyServer(StrEnum):
    """The servers for which a domain policy can be written."""

    MASTODON = "mastodon"
    LEMMY = "lemmy"


class PlanState(StrEnum):
    """The life of a plan. Only `started` may touch the store; it is committed before the act begins."""

    PLANNED = "planned"  # written, waiting for a real run or for `apply`
    STARTED = "started"  # planned -> started: the act may be under way
    DONE = "done"  # started -> done: verified by reading back
    GONE = "gone"  # started -> gone: the object was not there any more, in a store that is itself
    CHANGED = "changed"  # started -> changed: not the object that was judged; left alone
    FAILED = "failed"  # started -> failed: tried again by the next real run
    DISMISSED = "dismissed"  # planned -> dismissed: a person said the verdict is wrong
    SUPERSEDED = "superseded"  # planned -> superseded: a newer judgement no longer asks for it

    @property
    def open(self) -> bool:
        """Whether a real run still has something to do about it."""
        return self in (PlanState.PLANNED, PlanState.STARTED, PlanState.FAILED)


class Listing(Enum):
    """What the listing of a whole store lets one conclude about what it did not name."""

    COMPLETE = "complete"  # what was not met is gone
    PARTIAL = "partial"  # the same, but for what lies in directories that failed
    DOUBTED = "doubted"  # so much shorter than what is known that a person has to confirm it first
    NOTHING = "nothing"  # nothing is there and nothing was: it may be a store that is not mounted yet


class Root(Enum):
    """Whether a store stands on what it stood on before, where its kind can tell."""

    SAME = "same"
    OTHER = "other"
    UNTOLD = "untold"  # its kind cannot tell, or nothing was remembered


class Recheck(StrEnum):
    """What a scan does about objects that were judged before."""

    NEVER = "never"  # verdicts stay as they are
    POLICY = "policy"  # stored scores are decided anew under the policy in force; no file is opened
    ALL = "all"  # every object is read and scored again


class FailOn(StrEnum):
    """What a scan tells its caller by an exit code of its own, if it is asked to."""

    CONDEMNED = "condemned"


class ScanEngine(StrEnum):
    """What makes a pass."""

    LOCAL = "local"  # this process
    RAY = "ray"  # workers that Ray places, on this machine or on many


class MediaType(StrEnum):
    """Kinds of media, told apart by content alone. The value is the IANA media type."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    GIF = "image/gif"
    WEBP = "image/webp"
    BMP = "image/bmp"
    ICO = "image/vnd.microsoft.icon"
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
    OTHER = "application/octet-stream"  # of no kind that is known: it can be found again by its bytes alone

    @property
    def is_clip(self) -> bool:
        """Whether it is a container for tracks of pictures and sound."""
        return self is MediaType.OGG or self.value.startswith("video/")


class Detail(Enum):
    """How closely a medium is looked at."""

    COARSE = "coarse"  # the first pass over a medium
    FINE = "fine"  # the second, because the first came near to a rule: more frames, and other views of them


class IncidentType(StrEnum):
    """What a report is about, in short words for people; NCMEC's own are in `reports.evidence.cybertip`."""

    CSAM = "csam"
    TRAFFICKING = "trafficking"
    TOURISM = "tourism"
    MOLESTATION = "molestation"
    ENTICEMENT = "enticement"
    OBSCENE_TO_CHILD = "obscene-to-child"
    MISLEADING_WORDS = "misleading-words"
