"""Mastodon and glitch-soc: whose a stored file is, by the path that they give it, which names a record.

The path alone tells class and id of that record; the database tells the rest, the API of accounts alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fedi_safety.config.schema import Trace
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing.addresses import Address, read_address
from fedi_safety.tracing.database import Schema
from fedi_safety.tracing.questions import MOST, Query, Questions, database_way
from fedi_safety.tracing.ways import Way, WaysTracer
from fedi_safety.tracing.whose import Whose, whose

if TYPE_CHECKING:
    from fedi_safety.clients.mastodon_api import MastodonApi

# As db/schema.rb of 2025-12-17 has them.
SCHEMA = Schema(
    "Mastodon",
    {
        "media_attachments": (
            "id",
            "account_id",
            "status_id",
            "file_file_name",
            "thumbnail_file_name",
            "created_at",
        ),
        "accounts": (
            "id",
            "username",
            "domain",
            "avatar_file_name",
            "avatar_updated_at",
            "header_file_name",
            "header_updated_at",
        ),
        "statuses": ("id", "account_id", "url", "uri", "visibility", "created_at"),
        "custom_emojis": ("id", "domain", "image_file_name", "image_updated_at"),
        "preview_cards": ("id", "image_file_name"),
        "preview_cards_statuses": ("preview_card_id", "status_id"),
    },
)

MEDIUM = Query(
    "SELECT m.file_file_name, m.thumbnail_file_name, extract(epoch FROM m.created_at)::float8,"
    " a.id::text, a.username, a.domain, s.id::text, coalesce(s.url, s.uri), s.visibility"
    " FROM media_attachments m LEFT JOIN accounts a ON a.id = m.account_id"
    " LEFT JOIN statuses s ON s.id = m.status_id WHERE m.id = %(id)s"
)
ACCOUNT = Query(
    "SELECT username, domain, avatar_file_name, extract(epoch FROM avatar_updated_at)::float8,"
    " header_file_name, extract(epoch FROM header_updated_at)::float8 FROM accounts WHERE id = %(id)s"
)
EMOJI = Query(
    "SELECT domain, image_file_name, extract(epoch FROM image_updated_at)::float8 FROM custom_emojis WHERE id = %(id)s"
)
CARD = Query("SELECT image_file_name FROM preview_cards WHERE id = %(id)s")
# Its key begins with the status.
CARD_POSTS = Query(
    "SELECT s.id::text, coalesce(s.url, s.uri), extract(epoch FROM s.created_at)::float8,"
    " a.id::text, a.username, a.domain"
    " FROM preview_cards_statuses c JOIN statuses s ON s.id = c.status_id JOIN accounts a ON a.id = s.account_id"
    f" WHERE c.preview_card_id = %(id)s LIMIT {MOST}",
    scans="posts that show a preview",
)
QUERIES = {"medium": MEDIUM, "account": ACCOUNT, "emoji": EMOJI, "card": CARD, "card_posts": CARD_POSTS}

_KINDS = {
    ("media_attachments", "files"): SightingKind.UPLOAD,
    ("media_attachments", "thumbnails"): SightingKind.UPLOAD,
    ("accounts", "avatars"): SightingKind.AVATAR,
    ("accounts", "headers"): SightingKind.BANNER,
    ("custom_emojis", "images"): SightingKind.EMOJI,
    ("preview_cards", "images"): SightingKind.LINK_PREVIEW,
    ("preview_card_providers", "icons"): SightingKind.ICON,
    ("site_uploads", "files"): SightingKind.ICON,
}
_GROUP = re.compile(r"[0-9]{3}", re.ASCII)
_GROUPS = (3, 6)  # ids are cut into threes: nine digits, or the eighteen of ids that carry their time
_TAIL = 2  # the style and the file's name
_TIMED = 10**15  # smaller ids were counted up
_MOST_PARTS = 64
_DIRECT = 3  # the visibility of a status that only those see whom it names


@dataclass(frozen=True, slots=True)
class Record:
    """The record that a path names. `cached`: it is a copy of something remote; None where the path cannot say.

    `file` is the file's name without its extension, which differs between the sizes of a picture.
    """

    table: str
    attachment: str
    id: int
    cached: bool | None
    file: str

    @property
    def at(self) -> float | None:
        """Return when the record was made, in epoch seconds, where its id says so."""
        return None if self.id < _TIMED else (self.id >> 16) / 1000

    def sure(self, *names: str | None) -> Certainty:
        """Return how sure it is that the record still has this file, by the names of those that it has."""
        return Certainty.CERTAIN if self.file in map(_stem, names) else Certainty.LIKELY


def record_of(path: str) -> Record | None:
    """Return the record that a path names, whatever stands before it; None where it is none of Mastodon's."""
    parts = path.split("/")[-_MOST_PARTS:]
    for at in range(len(parts) - 1):
        if (parts[at], parts[at + 1]) not in _KINDS:
            continue
        groups = parts[at + 2 : -_TAIL]
        if len(groups) in _GROUPS and all(map(_GROUP.fullmatch, groups)):
            cached = _cached(parts, at, len(groups))
            return Record(parts[at], parts[at + 1], int("".join(groups)), cached, _stem(parts[-1]))
    return None


def _cached(parts: list[str], at: int, groups: int) -> bool | None:
    """Whether it is a copy of something remote. The mark is younger than counted ids, so that without it those tell
    nothing; previews of links carry it all the same, as do their providers' icons.
    """
    if parts[at].startswith("preview_card"):
        return None
    if at and parts[at - 1] == "cache":
        return True
    return False if groups == max(_GROUPS) else None


def _stem(name: str | None) -> str:
    return (name or "").rpartition("/")[2].partition(".")[0]


class Mastodon:
    """What paths, database and API of a Mastodon or glitch-soc tell."""

    def __init__(self, server: str, address: Address | None) -> None:
        """Take the server's word, and its address where that is known, to name hosts and pages with."""
        self._server = server
        self._address = address

    def by_path(self, subject: Subject) -> Traced:
        """Return what the path says."""
        record = self._record(subject)
        if isinstance(record, str):
            return Traced(unknown=record)
        local = None if record.cached is None else not record.cached
        host = None if self._address is None else self._address.host
        account = str(record.id) if record.table == "accounts" else None
        sighting = Whose(None, host if local else None, local, account).sighting(
            _KINDS[record.table, record.attachment],
            SightingWay.PATH,
            Certainty.POSSIBLE,
            url=self._page(account),
            # An account's own time is not that of its picture.
            at=record.at if account is None else None,
            record=f"{record.table}/{record.id}",
        )
        return Traced((sighting,))

    def sought(self, subject: Subject) -> Record | str:
        """Return the record that the database can be asked for."""
        record = self._record(subject)
        if not isinstance(record, str) and record.table in ("preview_card_providers", "site_uploads"):
            return f"{record.table}/{record.id} is nobody's"
        return record

    def in_database(self, questions: Questions, record: Record) -> Iterator[Sighting]:
        """Yield where the record is in use."""
        search = {
            "media_attachments": self._medium,
            "accounts": self._account,
            "custom_emojis": self._emoji,
            "preview_cards": self._card,
        }[record.table]
        for sighting in search(questions, record):
            yield replace(sighting, record=f"{record.table}/{record.id}")

    def by_api(self, api: MastodonApi, subject: Subject, within_s: float) -> Traced:
        """Return what the API says, which leads from accounts to people and from nothing else to anything."""
        record = self._record(subject)
        if isinstance(record, str):
            return Traced(unknown=record)
        if record.table != "accounts":
            return Traced(unknown=f"the API leads from {record.table} to nobody; the database does")
        account = api.account(str(record.id), within_s=within_s)
        if account is None:
            return Traced()
        owner = whose(account.username, account.domain, self._address, account.id)
        sighting = owner.sighting(
            _KINDS[record.table, record.attachment],
            SightingWay.API,
            record.sure(*account.pictures),
            url=self._page(account.id),
            record=f"{record.table}/{record.id}",
        )
        return Traced((sighting,))

    def _record(self, subject: Subject) -> Record | str:
        path = subject.path
        if path is None:
            return f"{self._server} knows a file by its path, and there is none"
        return record_of(path) or f"it is no path of {self._server}'s"

    def _page(self, account: str | None) -> str | None:
        """Return the page on which a moderator acts on an account."""
        if account is None or self._address is None:
            return None
        return f"{self._address.root}/admin/accounts/{account}"

    def _medium(self, questions: Questions, record: Record) -> Iterator[Sighting]:
        for file, thumbnail, at, account, name, domain, status, url, visibility in questions.rows(MEDIUM, id=record.id):
            kind = SightingKind.UPLOAD if status is None else SightingKind.POST
            yield whose(name, domain, self._address, account).sighting(
                SightingKind.MESSAGE if visibility == _DIRECT else kind,
                SightingWay.DATABASE,
                record.sure(file, thumbnail),
                url=url if status is not None else self._page(account),
                at=at,
                post_id=status,
            )

    def _account(self, questions: Questions, record: Record) -> Iterator[Sighting]:
        for name, domain, avatar, avatar_at, header, header_at in questions.rows(ACCOUNT, id=record.id):
            certainty = record.sure(avatar if record.attachment == "avatars" else header)
            at = avatar_at if record.attachment == "avatars" else header_at
            yield whose(name, domain, self._address, str(record.id)).sighting(
                _KINDS[record.table, record.attachment],
                SightingWay.DATABASE,
                certainty,
                url=self._page(str(record.id)),
                at=at if certainty is Certainty.CERTAIN else None,
            )

    def _emoji(self, questions: Questions, record: Record) -> Iterator[Sighting]:
        for domain, file, at in questions.rows(EMOJI, id=record.id):
            yield whose(None, domain, self._address).sighting(
                SightingKind.EMOJI, SightingWay.DATABASE, record.sure(file), at=at
            )

    def _card(self, questions: Questions, record: Record) -> Iterator[Sighting]:
        for (file,) in questions.rows(CARD, id=record.id):
            posts = questions.rows(CARD_POSTS, id=record.id)
            for status, url, at, account, name, domain in posts:
                yield whose(name, domain, self._address, account).sighting(
                    SightingKind.LINK_PREVIEW,
                    SightingWay.DATABASE,
                    record.sure(file),
                    url=url,
                    at=at,
                    post_id=status,
                )
            if not posts:
                yield Whose(None, None, None).sighting(
                    SightingKind.LINK_PREVIEW, SightingWay.DATABASE, record.sure(file)
                )


def open_mastodon(access: Trace) -> WaysTracer:
    """Return the tracer for a Mastodon or glitch-soc. Raises `TraceUsageError` for an address that is none."""
    server, address = access.server or "mastodon", read_address(access.url)
    name = server if address is None else f"{server} at {address.host}"
    mastodon = Mastodon(server, address)
    ways = database_way(access, name, SCHEMA, mastodon.sought, mastodon.in_database)
    if access.token is not None and address is not None:
        from fedi_safety.clients.mastodon_api import MastodonApi

        api = MastodonApi(address.root, access.token.get_secret_value())
        ways.append(Way(SightingWay.API, lambda subject, s: mastodon.by_api(api, subject, s), api.close))
    return WaysTracer(name, ways, mastodon.by_path)
