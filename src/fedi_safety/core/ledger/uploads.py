"""Uploads that the gate refused, or let in without a verdict: what is kept of them and how they end, as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from enum import StrEnum
from typing import Protocol

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import Verdict
from fedi_safety.core.sightings import Sighting, Subject
from fedi_safety.core.types import PictureHash

REMOVED = "removed"
"""The outcome of what was condemned and then removed by an act."""

GONE = "gone"
"""The outcome of what was condemned, and not in its store any more when it was to be removed."""

NOT_FOUND = "not found"
"""The outcome of what was in the store no more, or never came to be."""

UNTOLD = "not told apart"
"""The outcome of what may be in the store, written anew, and cannot be told from what else lies there."""

NOT_HASHED, NOT_DECODED, TOO_LITTLE, SEVERAL, UNDECIDED, OTHERWISE = (
    "not hashed",
    "not decoded",
    "too little to see",
    "several look like it",
    "not judged as it is stored",
    "judged otherwise as it is stored",
)
"""Why an upload cannot be found again by what it shows."""

GATE_RUN = "gate"
"""The kind of the runs in which the gate judges."""


class UploadState(StrEnum):
    """The life of such an upload."""

    REFUSED = "refused"  # the end: its sender was told no
    OWED = "owed"  # accepted without a verdict
    HELD = "held"  # owed -> held: this version cannot judge it; tried again with another one
    CONDEMNED = "condemned"  # owed -> condemned: judged since; not removed yet
    SETTLED = "settled"  # the end: judged and harmless, removed, or found to be nowhere

    @property
    def open(self) -> bool:
        """Whether something is still owed."""
        return self in (UploadState.OWED, UploadState.HELD, UploadState.CONDEMNED)


@dataclass(frozen=True, slots=True)
class Likeness:
    """By what an upload is found again where its server may write pictures anew, so that their bytes are others.

    The PDQ of what it shows (32 bytes), its width and height in pixels; without a `pdq` `why` says why it cannot be
    found, one of the words above. `after` is the newest object that the ledger knew when it came: the ledger's to say.
    """

    pdq: bytes | None = None
    width: int = 0
    height: int = 0
    why: str = ""
    after: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that a store has had for a while, and what its content shows. `at` is epoch seconds, the store's word.

    `verdict` is None while that is undecided. `outcome` is `REMOVED` or `GONE` where it is no longer there, else empty.
    """

    key: str
    at: float
    sha256: bytes
    width: int
    height: int
    verdict: Verdict | None
    pictures: tuple[PictureHash, ...] = ()
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What came with an upload beside its bytes: names, ids and addresses, never what a post says.

    None stands for what nobody said. pict-rs says nothing: there it is no more than from where it asked. `likeness` is
    None where the server keeps the bytes as they come; `came_as` is the SHA-256 that it had before it was written anew.
    """

    address: str | None = None  # from where the gate was asked
    file_name: str | None = None  # as the sender calls it, which is often an alias
    sighting: Sighting | None = None  # where the server's own hook says that it is in use
    likeness: Likeness | None = None
    came_as: bytes | None = None

    @property
    def record(self) -> str | None:
        """Return the medium's own record on its server, as `table/id`."""
        return None if self.sighting is None else self.sighting.record


_NOTHING_TOLD = Told()


@dataclass(frozen=True, slots=True)
class UploadNote:
    """What is to be remembered of an upload. `at` is epoch seconds; `url` is where a webhook said that it is."""

    upload: str
    at: float
    sender: str
    state: UploadState
    reason: str
    by: str
    sha256: bytes | None = None
    size: int | None = None
    media_type: str | None = None
    url: str | None = None
    detail: str = ""
    decoder: str | None = None
    told: Told = _NOTHING_TOLD


@dataclass(frozen=True, slots=True)
class BacklogEntry:
    """An open upload as the ledger has it. `verdict` is that of its content, if it has one by now."""

    id: int
    note: UploadNote
    tries: int
    tried_at: float | None
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Move:
    """A waiting upload's next step: `settled` with an `outcome`, another state, or None: a try that led nowhere.

    A `sha256` other than what it came as is that of what its server made of it.
    """

    upload: str
    state: UploadState | None = None
    outcome: str | None = None
    detail: str | None = None
    decoder: str | None = None
    sha256: bytes | None = None  # learnt since
    size: int | None = None
    likeness: Likeness | None = None  # learnt since; what of it is the ledger's stays


@dataclass(slots=True)
class UploadFigures:
    """What the gate has refused and owes. `oldest_at` is of what is owed or condemned, not of what is held.

    `unlike` counts, by why, what of all that cannot be found again by what it shows, although its bytes may be others.
    """

    refused: Counter[str] = field(default_factory=Counter)
    refused_day: int = 0
    owed: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    condemned: int = 0
    settled: Counter[str] = field(default_factory=Counter)
    unlike: Counter[str] = field(default_factory=Counter)
    oldest_at: float | None = None
    judged: int = 0
    blocked: int = 0

    @property
    def any(self) -> bool:
        """Whether the gate has ever left a trace."""
        return bool(self.refused or self.owed or self.held or self.condemned or self.settled or self.judged)


class UploadsToTrace(Protocol):
    """What tracing asks about uploads. See the port `TraceLedger`."""

    def untraced_uploads(self, limit: int) -> list[Subject]:
        """Return condemned contents, each once, that the gate refused or let in and nobody dismissed or traced yet."""
        ...

    def told_of(self, sha256: bytes | None, records: Sequence[str]) -> list[Sighting]:
        """Return where servers' hooks said that a content is in use, known by its hash or by one of these records."""
        ...
