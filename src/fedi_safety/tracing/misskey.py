"""Misskey and Sharkey: whose a stored file is, by the access key that its path ends with.

The path alone says no more than that; the database and the API lead from the key to the file, its owner and its notes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from fedi_safety.config.schema import Trace
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing.addresses import Address, read_address
from fedi_safety.tracing.database import Schema
from fedi_safety.tracing.questions import MOST, Query, Questions, database_way
from fedi_safety.tracing.ways import Way, WaysTracer
from fedi_safety.tracing.whose import Whose, whose

if TYPE_CHECKING:
    from fedi_safety.clients.misskey import DriveFile, MisskeyApi, User

# As packages/backend/src/models of misskey-dev/misskey@0425f49 has them.
SCHEMA = Schema(
    "Misskey",
    {
        "drive_file": (
            "id",
            "userId",
            "userHost",
            "url",
            "accessKey",
            "thumbnailAccessKey",
            "webpublicAccessKey",
        ),
        "user": ("id", "username", "host", "avatarId", "bannerId"),
        "note": ("id", "userId", "fileIds", "visibility", "url", "uri"),
        "emoji": ("host", "originalUrl", "publicUrl"),
    },
)
_OWNED = 'd.id, d.url, d."userHost", u.id, u.username FROM drive_file d LEFT JOIN "user" u ON u.id = d."userId"'
# One for each of the keys, so that each is looked up by an index of its own.
FILE = Query(
    " UNION ".join(
        f'SELECT {_OWNED} WHERE d."{column}" = ANY(%(keys)s)'
        for column in ("accessKey", "thumbnailAccessKey", "webpublicAccessKey")
    )
    + f" LIMIT {MOST}"
)
AVATAR = Query(f'SELECT id, username, host FROM "user" WHERE "avatarId" = %(file)s LIMIT {MOST}')
BANNER = Query(f'SELECT id, username, host FROM "user" WHERE "bannerId" = %(file)s LIMIT {MOST}')
NOTES = Query(
    "SELECT n.id, coalesce(n.url, n.uri), n.visibility::text, u.id, u.username, u.host FROM note n"
    ' JOIN "user" u ON u.id = n."userId" WHERE n."fileIds" @> ARRAY[%(file)s]::varchar[]'
    f" LIMIT {MOST}",
    scans="notes",  # some versions have an index over their files
)
EMOJI = Query(
    f'SELECT host FROM emoji WHERE "originalUrl" = %(url)s OR "publicUrl" = %(url)s LIMIT {MOST}', scans="emojis"
)
QUERIES = {"file": FILE, "avatar": AVATAR, "banner": BANNER, "notes": NOTES, "emoji": EMOJI}

_NAME = re.compile(
    r"(?:thumbnail-|webpublic-)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(\.\w{1,8})?", re.ASCII
)
_MOST_PARTS = 16
_EPOCH_MS = 946_684_800_000  # ids of the usual two kinds count milliseconds from 2000-01-01 on, in base 36
_TIMED = {10: 8, 16: 8}  # their lengths, and how many of their characters are the time


@dataclass(frozen=True, slots=True)
class Key:
    """An access key, as a path ends with it: `name`, and as what it may stand in the database, with a prefix or not.

    `url` is an address that was asked about, where it is known.
    """

    name: str
    candidates: tuple[str, ...]
    url: str | None = None

    @property
    def inside(self) -> bool:
        """Whether it is a name as Misskey gives to files that it keeps itself, without an extension."""
        found = _NAME.fullmatch(self.name)
        return found is not None and found[1] is None


def key_of(subject: Subject) -> Key | None:
    """Return the access key that a path ends with, None where that is none."""
    parts = (subject.path or "").split("/")[-_MOST_PARTS:]
    if not _NAME.fullmatch(parts[-1]):
        return None
    return Key(parts[-1], tuple("/".join(parts[at:]) for at in range(len(parts))), subject.url)


def made_at(record_id: str) -> float | None:
    """Return when a record was made, in epoch seconds, where its id is of one of the usual kinds."""
    digits = _TIMED.get(len(record_id))
    if digits is None or not (record_id.isascii() and record_id.isalnum()):
        return None
    return (int(record_id[:digits], 36) + _EPOCH_MS) / 1000


class Misskey:
    """What paths, database and API of a Misskey tell."""

    def __init__(self, server: str, address: Address | None) -> None:
        """Take the server's word, and its address where that is known, to name hosts and pages with."""
        self._server = server
        self._address = address

    def by_path(self, subject: Subject) -> Traced:
        """Return what the path says: that it is one of its files, and by which key."""
        key = self.sought(subject)
        if isinstance(key, str):
            return Traced(unknown=key)
        sighting = Whose(None, None, None).sighting(
            SightingKind.UPLOAD, SightingWay.PATH, Certainty.POSSIBLE, record=f"drive_file/{key.name}"
        )
        return Traced((sighting,))

    def sought(self, subject: Subject) -> Key | str:
        """Return the key that the server can be asked for."""
        if subject.path is None:
            return f"{self._server} knows a file by its path, and there is none"
        return key_of(subject) or f"it is no path of {self._server}'s"

    def in_database(self, questions: Questions, key: Key) -> Iterator[Sighting]:
        """Yield where the file is in use; where nothing shows it, whose upload it is."""
        for file, url, host, user, name in questions.rows(FILE, keys=list(key.candidates)):
            record, shown = f"drive_file/{file}", 0
            for kind, query in ((SightingKind.AVATAR, AVATAR), (SightingKind.BANNER, BANNER)):
                for person, username, domain in questions.rows(query, file=file):
                    shown += 1
                    yield whose(username, domain, self._address, person).sighting(
                        kind, SightingWay.DATABASE, url=self._page(person), at=made_at(file), record=record
                    )
            for note, at, visibility, person, username, domain in questions.rows(NOTES, file=file):
                shown += 1
                yield whose(username, domain, self._address, person).sighting(
                    SightingKind.MESSAGE if visibility == "specified" else SightingKind.POST,
                    SightingWay.DATABASE,
                    url=at or self._note(note),
                    at=made_at(note),
                    record=record,
                    post_id=note,
                )
            if user is None:
                for (domain,) in questions.rows(EMOJI, url=url):
                    shown += 1
                    yield whose(None, domain, self._address).sighting(
                        SightingKind.EMOJI, SightingWay.DATABASE, at=made_at(file), record=record
                    )
            if not shown:
                yield whose(name, host, self._address, user).sighting(
                    SightingKind.UPLOAD,
                    SightingWay.DATABASE,
                    url=self._page(user),
                    at=made_at(file),
                    record=record,
                )

    def by_api(self, api: MisskeyApi, subject: Subject, within_s: float) -> Traced:
        """Return what the API says of the file at one of the addresses that it may have."""
        key = self.sought(subject)
        if isinstance(key, str):
            return Traced(unknown=key)
        until = time.monotonic() + within_s
        urls = [key.url] if key.url else []
        if self._address is not None:
            urls.append(f"{self._address.root}/files/{key.name}")
        for url in urls:
            file = api.file_at(url, within_s=until - time.monotonic())
            if file is not None:
                return Traced(tuple(self._shown(api, file, key, until)))
        if key.inside or key.url:
            return Traced()
        return Traced(unknown="the API knows a file by its address, which the key does not tell")

    def _shown(self, api: MisskeyApi, file: DriveFile, key: Key, until: float) -> Iterator[Sighting]:
        record = f"drive_file/{file.id}"
        certainty = Certainty.CERTAIN if set(key.candidates) & set(file.access_keys) else Certainty.LIKELY
        shown = 0
        user = None if file.user_id is None else api.user(file.user_id, within_s=until - time.monotonic())
        for note in api.notes_with(file.id, within_s=until - time.monotonic()):
            shown += 1
            yield whose(note.username, note.host, self._address, note.user_id).sighting(
                SightingKind.MESSAGE if note.direct else SightingKind.POST,
                SightingWay.API,
                certainty,
                url=note.uri or self._note(note.id),
                at=note.created_at,
                record=record,
                post_id=note.id,
            )
        owner = whose(None if user is None else user.username, file.host, self._address, file.user_id)
        kinds = [] if user is None else _pictured(file, user)
        for kind in kinds or ([] if shown else [SightingKind.UPLOAD]):
            yield owner.sighting(
                kind, SightingWay.API, certainty, url=self._page(file.user_id), at=file.created_at, record=record
            )

    def _page(self, user: str | None) -> str | None:
        """Return the page on which a moderator acts on a person."""
        return None if user is None or self._address is None else f"{self._address.root}/admin/user/{user}"

    def _note(self, note: str) -> str | None:
        return None if self._address is None else f"{self._address.root}/notes/{note}"


def _pictured(file: DriveFile, user: User) -> list[SightingKind]:
    """Return as what a file is shown on its owner's page; a picture's address may be that of a proxy, with its own."""
    shown = ((SightingKind.AVATAR, user.avatar_url), (SightingKind.BANNER, user.banner_url))
    return [kind for kind, url in shown if any(own in unquote(url) for own in file.urls)]


def open_misskey(access: Trace) -> WaysTracer:
    """Return the tracer for a Misskey or Sharkey. Raises `TraceUsageError` for an address that is none."""
    server, address = access.server or "misskey", read_address(access.url)
    name = server if address is None else f"{server} at {address.host}"
    misskey = Misskey(server, address)
    ways = database_way(access, name, SCHEMA, misskey.sought, misskey.in_database)
    if access.token is not None and address is not None:
        from fedi_safety.clients.misskey import MisskeyApi

        api = MisskeyApi(address.root, server, access.token.get_secret_value())
        ways.append(Way(SightingWay.API, lambda subject, s: misskey.by_api(api, subject, s), api.close))
    return WaysTracer(name, ways, misskey.by_path)
