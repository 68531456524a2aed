"""What a tracer finds: where a content is in use on a server, and whose it is. Pure data; nothing here does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote, urlsplit


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

    None stands for what the server does not tell. `local` is whether the person belongs to this server. The ids are the
    server's own, as its API takes them; `record` names the medium's own record as `table/id`.
    """

    kind: SightingKind
    way: SightingWay
    certainty: Certainty
    url: str | None = None  # of the post, comment, message or page that shows it
    person: str | None = None  # as the server knows them, such as an actor's id
    instance: str | None = None  # the host that the person belongs to
    local: bool | None = None
    at: float | None = None  # seconds since the epoch
    record: str | None = None
    post_id: str | None = None  # of a comment or message, where that is the kind
    person_id: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What a tracer is asked about; it uses what it can. At least one of `key`, `sha256`, `aliases` and `url` is given.

    `aliases` and `origins` are what a pict-rs knows of the content: its own names for it, and the addresses that it is
    a proxied copy of. `url` is an address that a person gave.
    """

    store: str | None = None  # the URL of the store that has it
    key: str | None = None
    sha256: bytes | None = None
    aliases: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    url: str | None = None

    @property
    def path(self) -> str | None:
        """Return the path by which the server may know it: its key, else that of its address; never a leading `/`."""
        if self.key is not None:
            return self.key.lstrip("/")
        return None if self.url is None else unquote(_url_path(self.url), errors="surrogateescape").lstrip("/")


@dataclass(frozen=True, slots=True)
class Traced:
    """What a tracer found, by the best way that was open.

    No sightings: the server knows of nothing, or `unknown` says why it can never tell of this one. `closed` says, a
    line each, why a better way was not open, without any credential; empty where asking again would tell no more.
    """

    sightings: tuple[Sighting, ...] = ()
    unknown: str = ""
    closed: tuple[str, ...] = ()


def _url_path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:  # a host that is none, such as `http://[`
        return ""
