"""What a tracer finds: where a content is in use on a server, and whose it is. Pure data; nothing here does I/O."""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from fedi_safety.core.classes import dataclass

_HOST_CHARS = 253  # the most that the DNS takes


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
    HOOK = "hook"  # what the server's own hook said when it announced the content to the gate
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
    instance: str | None = None  # the host that the person belongs to, kept as `host_name` spells it
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
class Names:
    """What the owner of a file knows of it, and forgets with it: see `Subject`."""

    aliases: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Traced:
    """What a tracer found, by the best way that was open.

    No sightings: the server knows of nothing, or `unknown` says why it can never tell of this one. Beside sightings
    `unknown` says what was left out. `closed` says, a line each, why a better way was not open, without any credential;
    empty where asking again would tell no more.
    """

    sightings: tuple[Sighting, ...] = ()
    unknown: str = ""
    closed: tuple[str, ...] = ()


class TraceState(StrEnum):
    """How an attempt to trace ended."""

    FOUND = "found"
    NOTHING = "nothing"  # the server knows of nothing
    UNKNOWN = "unknown"  # the server cannot tell of this one, now or later
    POORLY = "poorly"  # a better way was closed; tried again
    FAILED = "failed"  # no way was open; tried again
    NOT_TRACED = "not traced"  # an act did not wait any longer; tried again
    NAMES = "names"  # no server is configured: what the files' owner knows is kept, and that is all

    @property
    def open(self) -> bool:
        """Whether asking again may tell more."""
        return self in (TraceState.POORLY, TraceState.FAILED, TraceState.NOT_TRACED)


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """One attempt to trace a content, as the ledger keeps it. `server` is the tracer's name.

    `detail` says why it is not simply found: a line for people. `retry_at` is when it is due again, in epoch seconds.
    `plan` is the plan whose act it came before.
    """

    subject: Subject
    server: str
    at: float
    state: TraceState
    detail: str = ""
    sightings: tuple[Sighting, ...] = ()
    retry_at: float | None = None
    plan: int | None = None


class SourceKind(StrEnum):
    """By what condemned contents are put together."""

    INSTANCE = "instance"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Source:
    """From where condemned contents came: how many of the `of` that were traced to any source."""

    name: str
    local: bool | None
    contents: int
    of: int
    last_at: float  # when one of them was last traced there


def host_name(host: str) -> str:
    """Return the one spelling of a host by which it is counted and compared: small letters, no closing dot, each label
    as the DNS has it (`xn--...`).

    What is no host stays as it is but for its case.
    """
    small = host.strip().lower().removesuffix(".")
    if small.isascii() or len(small) > _HOST_CHARS:
        return small
    name, colon, port = small.rpartition(":")
    if not (colon and port.isdecimal()):
        name, colon, port = small, "", ""
    return ".".join(map(_as_ascii, name.split("."))) + colon + port


def _as_ascii(label: str) -> str:
    normal = unicodedata.normalize("NFC", label)
    if label.isascii() or not all(c in "-" or unicodedata.category(c)[0] in "LMN" for c in normal):
        return label
    return "xn--" + normal.encode("punycode").decode("ascii")


def _url_path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:  # a host that is none, such as `http://[`
        return ""
