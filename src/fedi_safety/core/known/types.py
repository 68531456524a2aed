"""What a list of known images and its entries are. No hash is computed or compared here."""

from __future__ import annotations

from enum import StrEnum

from fedi_safety.core.classes import dataclass


class Effect(StrEnum):
    """What a list does to the contents that it names."""

    BLOCK = "block"
    REVIEW = "review"
    NEGATIVE = "negative"
    """These are harmless: stands above every perceptual match of another list."""


class HashKind(StrEnum):
    """A kind of hash that can be compared here. All but the last two tell whether bytes are the same, and nothing else.

    `near` is what a network for finding copies makes of a picture (512 bits); lists are not exchanged in it.
    """

    SHA256 = "sha256"
    SHA1 = "sha1"
    MD5 = "md5"
    PDQ = "pdq"
    NEAR = "near"

    @property
    def size_bytes(self) -> int:
        """Return the length of such a hash."""
        return {HashKind.SHA256: 32, HashKind.SHA1: 20, HashKind.MD5: 16, HashKind.PDQ: 32, HashKind.NEAR: 64}[self]


EXCHANGED = tuple(kind for kind in HashKind if kind is not HashKind.NEAR)
"""The kinds that lists are read and written in."""


PDQ_BITS = 256
PDQ_BYTES = PDQ_BITS // 8
SURE_BITS = 192
"""Of a PDQ: the rest hang on details, those nearest to being otherwise, and differ by chance after a harsh change."""

TURNS = (
    "",
    "turned by 90°",
    "turned by 180°",
    "turned by 270°",
    "mirrored",
    "mirrored and turned by 90°",
    "mirrored and turned by 180°",
    "mirrored and turned by 270°",
)
"""What is done to a picture before its hash is made, clockwise, in the order in which turned hashes are given."""

BY_SUREST = "by its surest bits"
"""How a hit that would be too far off by all bits is told, in the place of a turn or after it."""

DISTANCE = 31
"""Bits of 256 by which a PDQ may differ, unless a list says otherwise: what those who publish such lists recommend."""

SHARE = 0.8
"""Part of a clip's frames that must meet those of a listed clip (vPDQ), unless a list says otherwise."""


@dataclass(frozen=True, slots=True)
class KnownList:
    """A list as the operator has it: its name, what it does, and where it is from. Its entries are kept elsewhere.

    `distance` is for its perceptual hashes; `share` (0 to 1) of a clip's frames must meet those of a clip that it
    lists. What is not to be passed on (`redistribute`) never leaves, in no export. Times are seconds since 1970 in UTC;
    after `expires_s` the list matches nothing.

    A list that is had from a publisher has the `group` that the operator put that one into, empty for all others. It
    condemns by itself where `agreeing` is 1; else publishers of so many groups have to list the same picture, and fewer
    send it to review. `waiting` entries count only beside others: they do nothing where too few agree.
    """

    name: str
    effect: Effect = Effect.BLOCK
    distance: int = DISTANCE
    share: float = SHARE
    origin: str = ""
    licence: str = ""
    redistribute: bool = False
    expires_s: float | None = None
    group: str = ""
    agreeing: int = 1
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One hash on a list.

    `id` is the list's own name for it, unique there together with its kind; empty where it has none but the hash.
    `quality` is that of the picture's PDQ (0 to 100), where the list tells it. `positive` and `negative` count opinions
    on it, where the list has such. `clip` names the listed clip that this PDQ is a frame of, which a single picture
    does not meet; empty for an image. Times are seconds since 1970 in UTC.
    """

    kind: HashKind
    hash: bytes
    id: str = ""
    category: str = ""
    seen_s: float | None = None
    expires_s: float | None = None
    quality: int | None = None
    positive: int = 0
    negative: int = 0
    clip: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that a content or one of its pictures meets. `distance` is in bits, 0 for an exact hash.

    `turn` says how the picture was turned or mirrored to meet it, in words, and whether `BY_SUREST`; else it is empty.
    `clip` names the listed clip whose frame it is; such a hit counts only where `share` of a clip's frames have one of
    that clip. Of `near` there are 512 bits. `group`, `agreeing` and `waiting` are the list's.
    """

    list: str
    effect: Effect
    entry: str
    kind: HashKind
    distance: int = 0
    turn: str = ""
    clip: str = ""
    share: float = 0.0
    group: str = ""
    agreeing: int = 1
    waiting: bool = False
