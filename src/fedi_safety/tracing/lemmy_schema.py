"""What the tables of Lemmy 0.19 and 1.0 are asked: a search for each place where a picture may be in use. Data only.

Every search selects ids, addresses and times, never what a post says. One that has no index to go by says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from fedi_safety.core.sightings import SightingKind
from fedi_safety.tracing.database import Reads, Schema


class By(Enum):
    """By what a search finds: its parameter has that name in lower case."""

    ALIASES = auto()  # pict-rs' names
    ADDRESSES = auto()  # of the picture, as a column has them
    TEXTS = auto()  # patterns of what a text has in it, and `end`, an expression for where that ends
    ORIGINS = auto()  # of a proxied copy


@dataclass(frozen=True, slots=True)
class Search:
    """One place to look in. `what` names it for people.

    Its rows are: record, address, time, the person's id, address, whether they are local, their host, the id of the
    post, comment or message, and, where there are several `kinds`, for each whether it is that.
    """

    what: str
    kinds: tuple[SightingKind, ...]
    by: By
    query: str
    indexed: bool = True


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of some versions of Lemmy: what is read of them, how its own address is asked for, the searches."""

    schema: Schema
    home: str
    searches: tuple[Search, ...]


_LIMIT = "LIMIT %(most)s"
_BY = "JOIN person p ON p.id = x.creator_id JOIN instance i ON i.id = p.instance_id"
# The first is for the index; the second has the names end where the text goes on with something else.
_SAYS = "x.{column} LIKE ANY(%(texts)s) AND substring(x.{column} FROM %(end)s) IS NOT NULL"


class _Words:
    """How searches are written for the columns that versions call differently: an actor's address, and the time."""

    def __init__(self, actor: str, at: str) -> None:
        self.actor, self.at = actor, at
        self.time = f"extract(epoch FROM x.{at})::float8"

    def written(self, table: str, where: str) -> str:
        """Search what somebody wrote."""
        who = f"p.id, p.{self.actor}, p.local, i.domain"
        columns = f"'{table}/' || x.id, x.ap_id, {self.time}, {who}, x.id"
        return f"SELECT {columns} FROM {table} x {_BY} WHERE {where} {_LIMIT}"

    def shown(
        self, table: str, local: str, columns: tuple[str, str], person: str = "NULL", actor_of: str = "NULL"
    ) -> str:
        """Search the two pictures of somebody or something."""
        first, second = (f"(x.{column} = ANY(%(addresses)s)) IS TRUE" for column in columns)
        return (
            f"SELECT '{table}/' || x.id, x.{self.actor}, NULL::float8, {person}, {actor_of}, {local}, i.domain, NULL,"
            f" {first}, {second} FROM {table} x JOIN instance i ON i.id = x.instance_id"
            f" WHERE x.{columns[0]} = ANY(%(addresses)s) OR x.{columns[1]} = ANY(%(addresses)s) {_LIMIT}"
        )


def _tables(name: str, actor: str, at: str, uploads: Search, reads: Reads) -> Tables:
    """Return the tables with these names for the column of an actor's address and of the time.

    `reads` is what the searches for `uploads` read of tables that no other one asks.
    """
    words = _Words(actor, at)
    home = f"SELECT s.{actor} FROM local_site l JOIN site s ON s.id = l.site_id"
    searches = (uploads, *_by_index(words), *_without_index(words))
    common = {
        "local_site": ("site_id",),
        "site": ("id", actor, "instance_id", "icon", "banner"),
        "instance": ("id", "domain"),
        "person": ("id", actor, "local", "instance_id", "avatar", "banner"),
        "community": ("id", actor, "local", "instance_id", "icon", "banner"),
        "post": ("id", "ap_id", "creator_id", at, "url", "thumbnail_url", "body"),
        "comment": ("id", "ap_id", "creator_id", at, "content"),
        "private_message": ("id", "ap_id", "creator_id", at, "content"),
        "custom_emoji": ("id", at, "image_url"),
        "remote_image": ("link", at),
    }
    return Tables(Schema(name, {**reads, **common}), home, searches)


def _by_index(words: _Words) -> tuple[Search, ...]:
    return (
        Search("posts", (SightingKind.POST,), By.ADDRESSES, words.written("post", "x.url = ANY(%(addresses)s)")),
        Search("texts of posts", (SightingKind.POST,), By.TEXTS, words.written("post", _SAYS.format(column="body"))),
        Search("comments", (SightingKind.COMMENT,), By.TEXTS, words.written("comment", _SAYS.format(column="content"))),
        Search(
            "emojis",
            (SightingKind.EMOJI,),
            By.ADDRESSES,
            f"SELECT 'custom_emoji/' || x.id, NULL, {words.time}, NULL, NULL, true, NULL, NULL"
            f" FROM custom_emoji x WHERE x.image_url = ANY(%(addresses)s) {_LIMIT}",
        ),
        Search(
            "proxied copies",
            (SightingKind.PROXIED_COPY,),
            By.ORIGINS,
            f"SELECT 'remote_image', x.link, {words.time}, NULL, NULL, false, i.domain, NULL FROM remote_image x"
            " LEFT JOIN instance i ON i.domain = lower(substring(x.link FROM '^https?://([^/:?#]+)'))"
            f" WHERE x.link = ANY(%(origins)s) {_LIMIT}",
        ),
    )


def _without_index(words: _Words) -> tuple[Search, ...]:
    icons = (SightingKind.ICON, SightingKind.BANNER)
    return (
        Search(
            "thumbnails of posts",
            (SightingKind.LINK_PREVIEW,),
            By.ADDRESSES,
            words.written("post", "x.thumbnail_url = ANY(%(addresses)s)"),
            indexed=False,
        ),
        Search(
            "avatars and banners of people",
            (SightingKind.AVATAR, SightingKind.BANNER),
            By.ADDRESSES,
            words.shown("person", "x.local", ("avatar", "banner"), "x.id", f"x.{words.actor}"),
            indexed=False,
        ),
        Search(
            "icons and banners of communities",
            icons,
            By.ADDRESSES,
            words.shown("community", "x.local", ("icon", "banner")),
            indexed=False,
        ),
        Search(
            "icons and banners of sites",
            icons,
            By.ADDRESSES,
            words.shown("site", "x.id IN (SELECT site_id FROM local_site)", ("icon", "banner")),
            indexed=False,
        ),
        Search(
            "messages",
            (SightingKind.MESSAGE,),
            By.TEXTS,
            words.written("private_message", _SAYS.format(column="content")),
            indexed=False,
        ),
    )


def _uploads(select: str, joins: str, uploaded: str) -> Search:
    """Return the search for who uploaded a picture; those of which `uploaded` is false Lemmy fetched itself."""
    return Search(
        "uploads",
        (SightingKind.UPLOAD, SightingKind.LINK_PREVIEW),
        By.ALIASES,
        f"SELECT {select}, {uploaded}, NOT ({uploaded}) FROM local_image x {joins}"
        f" WHERE x.pictrs_alias = ANY(%(aliases)s) {_LIMIT}",
    )


V0_19 = _tables(
    "Lemmy 0.19",
    "actor_id",
    "published",
    _uploads(
        "'local_image/' || x.pictrs_alias, NULL, extract(epoch FROM x.published)::float8,"
        " p.id, p.actor_id, p.local, i.domain, NULL",
        "LEFT JOIN local_user u ON u.id = x.local_user_id LEFT JOIN person p ON p.id = u.person_id"
        " LEFT JOIN instance i ON i.id = p.instance_id",
        "x.local_user_id IS NOT NULL",
    ),
    {"local_image": ("pictrs_alias", "local_user_id", "published"), "local_user": ("id", "person_id")},
)
V1_0 = _tables(
    "Lemmy 1.0",
    "ap_id",
    "published_at",
    _uploads(
        "'local_image/' || x.pictrs_alias, t.ap_id, extract(epoch FROM x.published_at)::float8,"
        " p.id, p.ap_id, p.local, i.domain, t.id",
        "LEFT JOIN person p ON p.id = x.person_id LEFT JOIN instance i ON i.id = p.instance_id"
        " LEFT JOIN post t ON t.id = x.thumbnail_for_post_id",
        "x.person_id IS NOT NULL AND x.thumbnail_for_post_id IS NULL",
    ),
    {"local_image": ("pictrs_alias", "person_id", "thumbnail_for_post_id", "published_at")},
)
VERSIONS = (V1_0, V0_19)
"""The tables of every version that is known, newest first."""
