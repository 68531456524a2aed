"""What evidence is made of, and what follows from it: when, where and who, as far as the ledger knows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import printable
from fedi_safety.core.ledger.evidence import Custody, Submission
from fedi_safety.core.ledger.records import PastJudgement, Shown
from fedi_safety.core.sealing.copies import Seal
from fedi_safety.core.sightings import Certainty, Sighting, host_name
from fedi_safety.core.types import Hashes

WHOLE_PIXELS = 256
"""At how many pixels of a view a still counts as seen."""
VIEWED = "viewed"
"""The kind of the event by which a person's view of the picture is on record, before it is shown."""

NOT_ADVICE = "This is not legal advice. Nobody who wrote this program is your lawyer."
_ENGLISH = ("person", "of", "this server's own account", "another server's account")
_GERMAN = ("Person", "von", "Konto dieses Servers", "Konto eines anderen Servers")
_SURE = (Certainty.CERTAIN, Certainty.LIKELY, Certainty.POSSIBLE)


class Known(StrEnum):
    """How it is known when it happened."""

    IN_USE = "When it was first in use on the server, by the server's own record."
    ASKED = "When this server was first asked to take it in."
    EXAMINED = "When it was first examined here; when it was uploaded is not known."
    WRITTEN = "When this was written; nothing else is known."


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports; what is not known is empty. `service` is the server's public address."""

    organization: str = ""
    service: str = ""
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    phone: str = ""
    address: str = ""

    @property
    def person(self) -> str:
        """Return the person's whole name."""
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(frozen=True, slots=True)
class Draft:
    """A file for an authority. `missing` names what it must have and has not."""

    name: str
    recipient: str
    text: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known of one content. `made_at` is epoch seconds."""

    sha256: bytes
    shown: Shown
    hashes: Hashes | None
    seals: Sequence[Seal]
    custody: Custody
    submissions: Sequence[Submission]
    reporter: Reporter
    made_at: float
    version: str

    @property
    def judgement(self) -> PastJudgement | None:
        """Return the last judgement that says that something is wrong with it; None where none ever did."""
        found = (p for p in reversed(self.shown.judgements) if p.judgement.verdict in (Verdict.BLOCK, Verdict.REVIEW))
        return next(found, None)

    @property
    def stands(self) -> bool:
        """Whether it may be reported: it stands condemned, and no person dismissed it."""
        last = self.shown.judgements[-1].judgement.verdict if self.shown.judgements else None
        return self.shown.dismissal is None and last is Verdict.BLOCK

    @property
    def viewed_at(self) -> float | None:
        """Return when a person last viewed it here, by the log of views; None where that knows of no view."""
        return max((entry.at for entry in self.custody.entries if entry.kind == VIEWED), default=None)

    @property
    def viewed_whole(self) -> bool:
        """Whether the log of views says that a person saw all that it shows: a plain still, at the largest size.

        A still out of a clip is not the clip, and 32 grey pixels are no picture.
        """
        views = (json.loads(entry.body).get("payload", {}) for entry in self.custody.entries if entry.kind == VIEWED)
        return any(view.get("whole") is True and view.get("pixels", 0) >= WHOLE_PIXELS for view in views)

    @property
    def size(self) -> int | None:
        """Return the content's size in bytes, as its objects have it."""
        return next((row.size for row in self.shown.rows if row.size is not None), None)

    @property
    def removed(self) -> bool:
        """Whether no object that is known still has it."""
        return bool(self.shown.rows) and all(row.state in ("removed", "gone") for row in self.shown.rows)

    def sightings(self) -> list[Sighting]:
        """Return where it was found in use, each once, the surest first."""
        traced = (sighting for record in self.shown.traces for sighting in record.sightings)
        return sorted(dict.fromkeys(traced), key=lambda sighting: _SURE.index(sighting.certainty))

    def incident(self) -> tuple[float, Known]:
        """Return when it happened, in epoch seconds, and how that is known."""
        seen = [s.at for s in self.sightings() if s.at is not None and s.certainty is not Certainty.POSSIBLE]
        if seen:
            return min(min(seen), self.made_at), Known.IN_USE
        if uploads := [float(upload["at"]) for upload in self.shown.uploads]:
            return min(min(uploads), self.made_at), Known.ASKED
        if judged := [past.at for past in self.shown.judgements]:
            return min(min(judged), self.made_at), Known.EXAMINED
        return self.made_at, Known.WRITTEN

    def urls(self) -> list[str]:
        """Return the addresses at which it was shown or lay, each once."""
        found = [sighting.url for sighting in self.sightings()]
        found += [record.subject.url for record in self.shown.traces]
        found += [upload["url"] for upload in self.shown.uploads]
        return list(dict.fromkeys(url for url in found if url))

    def person(self) -> Sighting | None:
        """Return the sighting that names who put it there: the surest, of this server before others."""
        named = [s for s in self.sightings() if s.person or s.person_id]
        named.sort(key=lambda s: (_SURE.index(s.certainty), s.local is not True))
        return named[0] if named else None

    def names(self) -> list[str]:
        """Return what it was called: keys of objects, names of uploads, aliases; each once."""
        found = [row.key for row in self.shown.rows]
        found += [upload["told"].get("file_name") for upload in self.shown.uploads]
        found += [alias for record in self.shown.traces for alias in record.subject.aliases]
        return list(dict.fromkeys(printable(name) for name in found if name))


def moment(at: float) -> str:
    """Return a moment for people, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def timestamp(at: float) -> str:
    """Return a moment as XML has it, in UTC, whole seconds."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}Z"


def whose(sighting: Sighting, german: bool = False) -> str:
    """Return who is behind a sighting, in one line; empty where nobody is named."""
    person, of, own, other = _GERMAN if german else _ENGLISH
    who = sighting.person or (f"{person} {sighting.person_id}" if sighting.person_id else "")
    if not who and not sighting.instance:
        return ""
    parts = [who]
    if sighting.person and sighting.person_id:
        parts.append(f"id {sighting.person_id}")
    if sighting.instance:
        parts.append(f"{of} {host_name(sighting.instance)}")
    parts.append({True: own, False: other, None: ""}[sighting.local])
    return ", ".join(part for part in parts if part)


def hash_lines(evidence: Evidence) -> Iterable[tuple[str, str]]:
    """Yield what it is found again by: the kind of the hash, and the hash in hex."""
    yield "SHA-256", evidence.sha256.hex()
    if evidence.hashes is None:
        return
    yield "SHA-1", evidence.hashes.sha1.hex()
    yield "MD5", evidence.hashes.md5.hex()
    several = len(evidence.hashes.pictures) > 1
    for picture in evidence.hashes.pictures:
        where = f" of frame {picture.frame}" if several else ""
        yield f"PDQ{where}", f"{picture.pdq.hex()}, quality {picture.quality} of 100"
