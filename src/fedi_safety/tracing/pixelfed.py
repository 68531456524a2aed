"""Pixelfed: whose a stored file is, by its path, which tells the profile since version 2 of the layout, or its content.

Its database can be asked where that is a PostgreSQL.
"""

from __future__ import annotations

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

# As the migrations of pixelfed/pixelfed at 0.11.13 have them.
SCHEMA = Schema(
    "Pixelfed",
    {
        "media": (
            "id",
            "status_id",
            "profile_id",
            "user_id",
            "original_sha256",
            "optimized_sha256",
            "media_path",
            "thumbnail_path",
            "created_at",
        ),
        "statuses": ("id", "url", "uri", "visibility", "in_reply_to_id", "created_at"),
        "profiles": ("id", "username", "domain"),
        "users": ("id", "profile_id"),
        "avatars": ("profile_id", "media_path"),
        "stories": ("id", "profile_id", "path", "created_at"),
    },
)
_SHOWN = (
    "SELECT m.id, m.media_path, m.thumbnail_path, extract(epoch FROM m.created_at)::float8, s.id::text,"
    " coalesce(s.url, s.uri), s.visibility::text, s.in_reply_to_id, extract(epoch FROM s.created_at)::float8,"
    " p.id::text, p.username, p.domain FROM media m"
    " LEFT JOIN statuses s ON s.id = m.status_id LEFT JOIN profiles p ON p.id = m.profile_id"
)
_AT = "(m.media_path = %(path)s OR m.thumbnail_path = %(path)s)"
CONTENT = Query(f"{_SHOWN} WHERE m.original_sha256 = %(sha256)s OR m.optimized_sha256 = %(sha256)s LIMIT {MOST}")
# By the profile, and of that by the account: an index begins with `user_id`, and none with a path.
OWN_PATH = Query(
    f"{_SHOWN} WHERE m.user_id = (SELECT id FROM users WHERE profile_id = %(profile)s) AND {_AT} LIMIT {MOST}"
)
PATH = Query(f"{_SHOWN} WHERE {_AT} LIMIT {MOST}", scans="media by their paths")
AVATAR = Query(
    "SELECT p.username, p.domain, a.media_path FROM profiles p LEFT JOIN avatars a ON a.profile_id = p.id"
    " WHERE p.id = %(profile)s"
)
STORY = Query(
    "SELECT s.id, p.id::text, p.username, p.domain, extract(epoch FROM s.created_at)::float8"
    f" FROM stories s LEFT JOIN profiles p ON p.id = s.profile_id WHERE s.path = %(path)s LIMIT {MOST}",
    scans="stories by their paths",
)
QUERIES = {
    "content": CONTENT,
    "own_path": OWN_PATH,
    "path": PATH,
    "avatar": AVATAR,
    "story": STORY,
}

_LAYOUT = re.compile(
    r"(?:.*/)?(?P<path>public/(?:"
    r"m/_v2/(?P<v2>[0-9]{1,19})/[0-9a-f]{9}-[0-9a-f]{6}/\w{12}/\w+\.\w{1,8}"
    r"|(?P<v1>m)/[0-9a-f]{40}/[0-9a-f]{40}/\w+\.\w{1,8}"
    r"|cache/avatars/(?P<avatar>[0-9]{1,19})/avatar_\w+\.\w{1,8}"
    r"|(?P<story>_esm\.t3)/\w+/\w+/[\w/]+\.\w{1,8}"
    r"|(?P<emoji>emoji)/[\w./-]+\.\w{1,8}"
    r"))",
    re.ASCII,
)
_MOST_PATH = 1024
_KINDS = {
    "v2": SightingKind.UPLOAD,
    "v1": SightingKind.UPLOAD,
    "avatar": SightingKind.AVATAR,
    "story": SightingKind.POST,
    "emoji": SightingKind.EMOJI,
}


@dataclass(frozen=True, slots=True)
class File:
    """A file as its path tells of it: as the database has the path, of which layout, and of which profile.

    What is known of the content alone has no path, and `layout` is empty.
    """

    path: str
    layout: str
    profile: int | None
    sha256: bytes | None = None


def file_of(path: str) -> File | None:
    """Return what a path tells, whatever stands before it; None where it is none of Pixelfed's."""
    found = _LAYOUT.fullmatch(path[-_MOST_PATH:])
    if found is None:
        return None
    (layout, text), *_ = [(name, text) for name, text in found.groupdict().items() if name in _KINDS and text]
    return File(found["path"], layout, int(text) if text.isdecimal() else None)


class Pixelfed:
    """What paths and database of a Pixelfed tell."""

    def __init__(self, address: Address | None) -> None:
        """Take the server's address where it is known, to name hosts and pages with."""
        self._address = address

    def by_path(self, subject: Subject) -> Traced:
        """Return what the path says."""
        file = None if subject.path is None else file_of(subject.path)
        if file is None:
            return Traced(
                unknown="it is no path of pixelfed's" if subject.path else "pixelfed knows a file by its path"
            )
        profile = None if file.profile is None else str(file.profile)
        sighting = Whose(None, None, None, profile).sighting(
            _KINDS[file.layout],
            SightingWay.PATH,
            Certainty.POSSIBLE,
            url=self._page(profile),
            record=None if file.layout != "avatar" else f"avatars/{profile}",
        )
        return Traced((sighting,))

    def sought(self, subject: Subject) -> File | str:
        """Return the file that the database can be asked for, by its path or its content."""
        file = None if subject.path is None else file_of(subject.path)
        if file is None and subject.sha256 is None:
            return "it is no path of pixelfed's, and its content is not known"
        if file is not None and file.layout == "emoji":
            return "emojis are nobody's"
        return (
            File("", "", None, subject.sha256)
            if file is None
            else File(file.path, file.layout, file.profile, subject.sha256)
        )

    def in_database(self, questions: Questions, file: File) -> Iterator[Sighting]:
        """Yield where the file is in use, and the same content."""
        if file.layout == "avatar":
            yield from self._avatar(questions, file)
            return
        if file.layout == "story":
            for story, profile, name, domain, at in questions.rows(STORY, path=file.path):
                yield whose(name, domain, self._address, profile).sighting(
                    SightingKind.POST, SightingWay.DATABASE, url=self._page(profile), at=at, record=f"stories/{story}"
                )
            return
        rows: dict[int, tuple[Any, ...]] = {}
        if file.sha256 is not None:
            rows |= {row[0]: row for row in questions.rows(CONTENT, sha256=file.sha256.hex())}
        if file.profile is not None:
            rows |= {row[0]: row for row in questions.rows(OWN_PATH, profile=file.profile, path=file.path)}
        if file.path and not any(file.path in row[1:3] for row in rows.values()):
            rows |= {row[0]: row for row in questions.rows(PATH, path=file.path)}
        for row in rows.values():
            yield self._shown(row)

    def _shown(self, row: tuple[Any, ...]) -> Sighting:
        medium, _, _, made_at, status, url, visibility, reply_to, posted_at, profile, name, domain = row
        kind = SightingKind.UPLOAD
        if status is not None:
            kind = SightingKind.POST if reply_to is None else SightingKind.COMMENT
        if status is not None and url is None and name and self._address is not None:
            url = f"{self._address.root}/p/{name}/{status}"
        return whose(name, domain, self._address, profile).sighting(
            SightingKind.MESSAGE if visibility == "direct" else kind,
            SightingWay.DATABASE,
            url=url if status is not None else self._page(profile),
            at=made_at if status is None else posted_at,
            record=f"media/{medium}",
            post_id=status,
        )

    def _avatar(self, questions: Questions, file: File) -> Iterator[Sighting]:
        for name, domain, path in questions.rows(AVATAR, profile=file.profile):
            yield whose(name, domain, self._address, str(file.profile)).sighting(
                SightingKind.AVATAR,
                SightingWay.DATABASE,
                Certainty.CERTAIN if path == file.path else Certainty.LIKELY,
                url=self._page(str(file.profile)),
                record=f"avatars/{file.profile}",
            )

    def _page(self, profile: str | None) -> str | None:
        """Return the page that shows a profile by its id."""
        return None if profile is None or self._address is None else f"{self._address.root}/i/web/profile/{profile}"


def open_pixelfed(access: Trace) -> WaysTracer:
    """Return the tracer for a Pixelfed. Raises `TraceUsageError` for an address that is none."""
    address = read_address(access.url)
    name = "pixelfed" if address is None else f"pixelfed at {address.host}"
    pixelfed = Pixelfed(address)
    ways = database_way(access, name, SCHEMA, pixelfed.sought, pixelfed.in_database)
    return WaysTracer(name, ways, pixelfed.by_path)
