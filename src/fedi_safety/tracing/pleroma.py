"""Pleroma and Akkoma: whose a stored file is, by its name, which is its content's SHA-256 or stands below an own id.

The path alone says no more. In their database everything is JSON, and no index that they make leads from a file to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fedi_safety.config.schema import Trace
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing.addresses import Address, read_address
from fedi_safety.tracing.database import Schema
from fedi_safety.tracing.questions import MOST, Query, Questions, database_way
from fedi_safety.tracing.ways import WaysTracer
from fedi_safety.tracing.whose import Whose, whose

# As the migrations of soapbox-pub/rebased@cb3e0462 (2.6.50) have them.
SCHEMA = Schema(
    "Pleroma",
    {
        "objects": ("id", "data", "inserted_at"),
        "users": ("ap_id", "nickname", "local", "avatar", "banner"),
    },
)
INDEX = Query(
    "SELECT count(*) FROM pg_catalog.pg_indexes WHERE schemaname = 'public' AND tablename = 'objects'"
    " AND indexdef LIKE '%% USING gin %%' AND indexdef LIKE '%%-> ''attachment''%%'"
)
_OBJECT = (
    "SELECT o.id, o.data->>'id', o.data->>'type', o.data->>'actor', extract(epoch FROM o.inserted_at)::float8,"
    " u.nickname, u.local FROM objects o LEFT JOIN users u ON u.ap_id = o.data->>'actor'"
)
# By the index that there may be: it holds whole attachments, so that the address must be known to the letter.
ATTACHED = Query(f"{_OBJECT} WHERE o.data->'attachment' @> %(attachment)s::jsonb LIMIT {MOST}")
OBJECTS = Query(f"{_OBJECT} WHERE o.data::text LIKE %(pattern)s LIMIT {MOST}", scans="posts and uploads")
USERS = Query(
    "SELECT nickname, avatar::text LIKE %(pattern)s, banner::text LIKE %(pattern)s FROM users"
    f" WHERE local AND (avatar::text LIKE %(pattern)s OR banner::text LIKE %(pattern)s) LIMIT {MOST}",
    scans="avatars and banners",
)
QUERIES = {"attached": ATTACHED, "objects": OBJECTS, "users": USERS}
ADVISED = "CREATE INDEX CONCURRENTLY fedi_safety_attachment ON objects USING gin ((data->'attachment') jsonb_path_ops)"
"""The index that makes posts quick to find. The owner of the database makes it, if they will."""

_HASHED = re.compile(r"([0-9a-f]{64})(?:\.\w{1,8})?", re.ASCII)
_OWN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_MOST_PATH = 1024
_UPLOADS = frozenset({"Document", "Image", "Video", "Audio"})  # as records without an own address
_DIRECT = "ChatMessage"


@dataclass(frozen=True, slots=True)
class File:
    """A file: `token` is what every address of it has in it; `tail` is its path below the uploads, where known."""

    token: str
    tail: str | None
    url: str | None = None


def file_of(path: str) -> File | None:
    """Return what a path tells; None where it is none of Pleroma's."""
    parts = path[-_MOST_PATH:].split("/")
    hashed = _HASHED.fullmatch(parts[-1])
    if hashed is not None:
        sha256 = hashed[1]
        shards = [sha256[at : at + 2] for at in (0, 2, 4)]
        return File(sha256, "/".join(parts[-4:] if parts[-4:-1] == shards else parts[-1:]))
    if len(parts) > 1 and parts[-1] and _OWN.fullmatch(parts[-2]):
        return File(f"{parts[-2]}/", "/".join(parts[-2:]))
    return None


class Pleroma:
    """What paths and database of a Pleroma or Akkoma tell."""

    def __init__(self, server: str, address: Address | None) -> None:
        """Take the server's word, and its address where that is known, to name hosts and pages with."""
        self._server = server
        self._address = address

    def by_path(self, subject: Subject) -> Traced:
        """Return what the path says: that it is one of its files, which are all of its own people."""
        file = None if subject.path is None else file_of(subject.path)
        if file is None:
            return Traced(unknown=f"it is no path of {self._server}'s")
        host = None if self._address is None else self._address.host
        sighting = Whose(None, host, True).sighting(SightingKind.UPLOAD, SightingWay.PATH, Certainty.POSSIBLE)
        return Traced((sighting,))

    def sought(self, subject: Subject) -> File | str:
        """Return the file that the database can be asked for, by its name or its content."""
        file = None if subject.path is None else file_of(subject.path)
        if file is not None:
            return File(file.token, file.tail, subject.url)
        if subject.sha256 is not None:
            return File(subject.sha256.hex(), None, subject.url)
        return f"it is no path of {self._server}'s, and its content is not known"

    def in_database(self, questions: Questions, file: File) -> Iterator[Sighting]:
        """Yield where the file is in use; an upload where nothing of the same person's shows it."""
        pattern = f"%{file.token}%"
        rows = self._attached(questions, file) or questions.rows(OBJECTS, pattern=pattern)
        showing = {row[3] for row in rows if not _is_upload(row[1], row[2])}
        for own, url, sort, actor, at, nickname, local in rows:
            uploaded = _is_upload(url, sort)
            if uploaded and actor in showing:
                continue
            kind = SightingKind.MESSAGE if sort == _DIRECT else SightingKind.POST
            yield self._whose(actor, nickname, local).sighting(
                SightingKind.UPLOAD if uploaded else kind,
                SightingWay.DATABASE,
                url=None if uploaded else url,
                at=at,
                record=f"objects/{own}",
            )
        for nickname, avatar, banner in questions.rows(USERS, pattern=pattern):
            for kind, shown in ((SightingKind.AVATAR, avatar), (SightingKind.BANNER, banner)):
                if shown:
                    yield self._whose(None, nickname, True).sighting(
                        kind, SightingWay.DATABASE, url=self._page(nickname)
                    )

    def _attached(self, questions: Questions, file: File) -> list[tuple[Any, ...]]:
        """Return the objects that an index leads to, where there is one."""
        urls = [file.url] if file.url else []
        if self._address is not None and file.tail is not None:
            urls.append(f"{self._address.root}/media/{file.tail}")
        if not urls or not questions.rows(INDEX)[0][0]:
            return []
        shapes = [json.dumps([{"url": [{"href": url}]}]) for url in dict.fromkeys(urls)]
        return [row for shape in shapes for row in questions.rows(ATTACHED, attachment=shape)]

    def _whose(self, actor: str | None, nickname: str | None, local: bool | None) -> Whose:
        if nickname is None:
            return Whose(actor, None, None)
        domain = None if local else nickname.partition("@")[2] or None
        return whose(nickname, domain, self._address, nickname)

    def _page(self, nickname: str) -> str | None:
        return None if self._address is None else f"{self._address.root}/users/{nickname}"


def _is_upload(url: Any, sort: Any) -> bool:
    return url is None or sort in _UPLOADS


def open_pleroma(access: Trace) -> WaysTracer:
    """Return the tracer for a Pleroma or Akkoma. Raises `TraceUsageError` for an address that is none."""
    server, address = access.server or "pleroma", read_address(access.url)
    name = server if address is None else f"{server} at {address.host}"
    pleroma = Pleroma(server, address)
    ways = database_way(access, name, SCHEMA, pleroma.sought, pleroma.in_database)
    return WaysTracer(name, ways, pleroma.by_path)
