"""What a tracer finds: where a content is in use on a server, and whose it is. Pure data; nothing here does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SightingKind(StrEnum):
    """As what a content is in use."""

    UPLOAD = "upload"  # somebody put it there, and nothing shows it
    POST = "post"
    COMMENT = "comment"
    MESSAGE = "message"
    AVATAR = "avatar"
    BANNER = "banner"
    ICON = "icon"
    EMOJI = "emoji"
    LINK_PREVIEW = "link_preview"
    PROXIED_COPY = "proxied_copy"


class SightingWay(StrEnum):
    """By which way it was found, the one that tells most first."""

    DATABASE = "database"
    API = "api"
    PATH = "path"  # what the object's path alone says


class Certainty(StrEnum):
    """How sure it is that this very content is meant."""

    CERTAIN = "certain"  # the server's own record names this object
    LIKELY = "likely"  # a record names an address that led here
    POSSIBLE = "possible"  # no more than what a path or a name suggests


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where a content was found in use: names, ids and addresses; never what a post says.

    None stands for what the server does not tell. `local` is whether the person belongs to this server.
    """

    kind: SightingKind
    way: SightingWay
    certainty: Certainty
    url: str | None = None
    person: str | None = None  # as the server knows them, such as an actor's id
    instance: str | None = None  # the host that the person belongs to
    local: bool | None = None
    at: float | None = None  # seconds since the epoch
