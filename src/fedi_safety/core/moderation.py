"""Actions through the app: what a server offers, what a sighting asks for, and how far it came. Pure data and rules.

`act` is what is done to a stored object; an action here is what is done to the post, person or instance behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, StrEnum

from fedi_safety.core.classes import dataclass
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, TraceRecord


class TargetKind(StrEnum):
    """What an action is done to, in the order in which it is: the bytes before the post, the post before the person."""

    FILE = "file"
    POST = "post"
    COMMENT = "comment"
    ACCOUNT = "account"  # of a person, where no more is done than to say something about it
    PERSON = "person"
    INSTANCE = "instance"

    @property
    def needs_person(self) -> bool:
        """Whether a classifier's word is never enough for it: somebody's account, or everybody's of an instance."""
        return self in (TargetKind.PERSON, TargetKind.INSTANCE)


class Where(Enum):
    """Whose people an action can be done about."""

    LOCAL = "local"
    REMOTE = "remote"
    ANY = "any"

    def takes(self, local: bool | None) -> bool:
        """Whether somebody is among them; of whom nobody knows is among none."""
        return local is not None and self is not (Where.REMOTE if local else Where.LOCAL)


@dataclass(frozen=True, slots=True)
class Offer:
    """One action that a kind of server offers. One name may stand for several targets, each an offer of its own.

    `record` is the table whose records are the files that it is for.
    """

    name: str
    target: TargetKind
    where: Where = Where.ANY
    record: str | None = None


class ActionState(StrEnum):
    """The life of an action through the app. Only `started` may reach the server; it is committed before."""

    UNCONFIRMED = "unconfirmed"  # it waits for a person's word
    PLANNED = "planned"
    STARTED = "started"  # it may be under way; the next run reads the server before it is done again
    DONE = "done"  # verified by reading back
    GONE = "gone"  # what it was to be done to is not there, or was so already by other hands
    FAILED = "failed"  # tried again when it is due
    DISMISSED = "dismissed"  # a person said that the verdict is wrong
    SUPERSEDED = "superseded"  # a newer judgement asks for it no longer

    @property
    def open(self) -> bool:
        """Whether a run still has something to do about it, or a person has."""
        return self in (ActionState.UNCONFIRMED, ActionState.PLANNED, ActionState.STARTED, ActionState.FAILED)


@dataclass(frozen=True, slots=True)
class Intended:
    """An action that a sighting asks for: `sighting` is its place among the trace's.

    `target_id` is the server's own id; of an instance it is the host. `about` is whose post it is, where that is known.
    """

    action: str
    target: TargetKind
    target_id: str
    sighting: int
    url: str | None = None
    about: str | None = None
    server: str = ""  # see `Moderator.name`


@dataclass(frozen=True, slots=True)
class AppAction:
    """An action through the app, as the ledger keeps it."""

    id: int
    sha256: bytes
    store: str
    server: str
    action: str
    target: TargetKind
    target_id: str
    url: str | None
    about: str | None
    state: ActionState
    attempts: int = 0
    detail: str = ""
    at: float = 0.0  # when its state last changed, in epoch seconds
    begun_at: float | None = None  # when it was last started

    @property
    def text(self) -> str:
        """Return it as a line for people names it."""
        return f"{self.action} of {self.target} {self.url or self.target_id}"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A person's word that a content is what it was condemned for; see `ActionState.UNCONFIRMED`."""

    at: float
    by: str
    reason: str


class Standing(Enum):
    """How a target stands on its server."""

    OPEN = "open"  # the action is still to be done
    SO = "so"  # it is as the action would make it
    GONE = "gone"  # it is not there


_OF_THEIRS = frozenset(
    {
        SightingKind.UPLOAD,
        SightingKind.POST,
        SightingKind.COMMENT,
        SightingKind.MESSAGE,
        SightingKind.AVATAR,
        SightingKind.BANNER,
    }
)
"""What a person put there themselves. Of a link's preview or a proxied copy they may never have seen the picture."""


def intended(offers: Sequence[Offer], sightings: Sequence[Sighting]) -> list[Intended]:
    """Return what these sightings ask for, of what is on offer, in the order of doing and each target once.

    What a path alone suggests asks for nothing. A person or an instance is only touched for a certain sighting of what
    they put there themselves, and only where it is known whose people they are.
    """
    found: dict[tuple[str, TargetKind, str], Intended] = {}
    for offer in offers:
        for place, sighting in enumerate(sightings):
            if sighting.certainty is Certainty.POSSIBLE:
                continue
            for one in _targets(offer, sighting, place):
                found.setdefault((one.action, one.target, one.target_id), one)
    return list(found.values())


def _targets(offer: Offer, sighting: Sighting, place: int) -> list[Intended]:
    name, target, who = offer.name, offer.target, sighting.person_id
    if target.needs_person:
        sure = sighting.certainty is Certainty.CERTAIN and sighting.kind in _OF_THEIRS
        target_id = who if target is TargetKind.PERSON else sighting.instance
        if not sure or target_id is None or not offer.where.takes(sighting.local):
            return []
        return [Intended(name, target, target_id, place, None if target is TargetKind.INSTANCE else sighting.person)]
    if target is TargetKind.FILE:
        table, _, file = (sighting.record or "").partition("/")
        return [Intended(name, target, file, place, sighting.url, who)] if file and table == offer.record else []
    if target is TargetKind.ACCOUNT:
        if who is None or sighting.post_id is not None or sighting.kind not in _OF_THEIRS:
            return []
        return [Intended(name, target, who, place, sighting.url, who)]
    shown = TargetKind.COMMENT if sighting.kind is SightingKind.COMMENT else TargetKind.POST
    if sighting.post_id is None or shown is not target or sighting.kind is SightingKind.MESSAGE:
        return []
    return [Intended(name, target, sighting.post_id, place, sighting.url, who)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The actions that somebody switched on, of those that their server offers; `server` is its `Moderator.name`."""

    offers: tuple[Offer, ...] = ()
    server: str = ""

    def by(self, record: TraceRecord) -> list[Intended]:
        """Return what a trace asks for; see `intended`. Of one without a content there is nothing."""
        if record.subject.sha256 is None:
            return []
        found = intended(self.offers, record.sightings)
        return [replace(one, server=self.server) for one in found]


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """Whose a token is, and of the rights that it needs those that it `lacks` and those that are `untold`.

    `name` is what the server calls the account, empty where the token may not ask that.
    """

    name: str
    lacks: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()


def too_many(most: int, begun: int, due: int) -> str | None:
    """Return why actions through the app must stop, or None: too many of them within a day, none of `due` included."""
    if not due or begun + due <= most:
        return None
    before = f" after {begun} within a day" if begun else ""
    return f"{due} actions through the app are due{before}, more than {most}"


def mark_of(action: AppAction) -> str:
    """Return the words by which a report of ours about a content is known again."""
    return f"fedi-safety {action.sha256.hex()[:32]}"


def reason_of(action: AppAction) -> str:
    """Return what a server's moderators read: by whom, of which content, never what it shows."""
    return f"An automatic scan condemned a picture. ({mark_of(action)})"
