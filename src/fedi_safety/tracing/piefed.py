"""PieFed: whose a stored file is, by its path, of which the database has the whole. The path alone tells its sort."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fedi_safety.config.schema import Trace
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing.addresses import Address, read_address
from fedi_safety.tracing.database import Schema
from fedi_safety.tracing.questions import MOST, Query, Questions, database_way
from fedi_safety.tracing.ways import WaysTracer
from fedi_safety.tracing.whose import Whose, whose

# As app/models.py of a copy has them; upstream could not be read.
SCHEMA = Schema(
    "PieFed",
    {
        "file": ("id", "file_path", "thumbnail_path", "source_url"),
        "user_file": ("user_id", "file_id"),
        "post": ("id", "user_id", "image_id", "ap_id", "posted_at"),
        "post_file": ("post_id", "file_id"),
        "post_reply": ("id", "user_id", "image_id", "ap_id", "posted_at"),
        "user": ("id", "user_name", "ap_id", "ap_domain", "avatar_id", "cover_id"),
        "community": ("name", "ap_id", "ap_domain", "icon_id", "image_id"),
    },
)
_PERSON = "u.id::text, u.user_name, u.ap_id, u.ap_domain"
# Which of these columns have an index differs from version to version; those of `file` never had one.
FILE = Query(
    "SELECT id FROM file WHERE right(file_path, %(length)s) = %(tail)s OR right(thumbnail_path, %(length)s) = %(tail)s"
    f" OR right(source_url, %(length)s) = %(tail)s LIMIT {MOST}",
    scans="files by their paths",
)
_SHOWN = (
    "SELECT t.id::text, t.ap_id, extract(epoch FROM t.posted_at)::float8, "
    f'{_PERSON} FROM {{table}} t JOIN "user" u ON u.id = t.user_id WHERE {{where}} LIMIT {MOST}'
)
POSTS = Query(_SHOWN.format(table="post", where="t.image_id = ANY(%(files)s)"), scans="posts")
GALLERIES = Query(
    _SHOWN.format(table="post", where="t.id IN (SELECT post_id FROM post_file WHERE file_id = ANY(%(files)s))"),
    scans="posts with several pictures",
)
REPLIES = Query(_SHOWN.format(table="post_reply", where="t.image_id = ANY(%(files)s)"), scans="comments")
_PICTURED = f'SELECT {_PERSON} FROM "user" u WHERE u.{{column}} = ANY(%(files)s) LIMIT {MOST}'
AVATARS = Query(_PICTURED.format(column="avatar_id"), scans="avatars")
COVERS = Query(_PICTURED.format(column="cover_id"), scans="covers")
UPLOADS = Query(
    f'SELECT {_PERSON} FROM user_file f JOIN "user" u ON u.id = f.user_id'
    f" WHERE f.file_id = ANY(%(files)s) LIMIT {MOST}",
    scans="uploads",
)
_COMMUNITY = f"SELECT NULL, name, ap_id, ap_domain FROM community WHERE {{column}} = ANY(%(files)s) LIMIT {MOST}"
ICONS = Query(_COMMUNITY.format(column="icon_id"), scans="icons of communities")
BANNERS = Query(_COMMUNITY.format(column="image_id"), scans="banners of communities")
QUERIES = {
    "file": FILE,
    "posts": POSTS,
    "galleries": GALLERIES,
    "replies": REPLIES,
    "avatars": AVATARS,
    "covers": COVERS,
    "uploads": UPLOADS,
    "icons": ICONS,
    "banners": BANNERS,
}
_THREADS = (
    (POSTS, SightingKind.POST, "post"),
    (GALLERIES, SightingKind.POST, "post"),
    (REPLIES, SightingKind.COMMENT, "comment"),
)
_PICTURES = (
    (AVATARS, SightingKind.AVATAR, "u"),
    (COVERS, SightingKind.BANNER, "u"),
    (ICONS, SightingKind.ICON, "c"),
    (BANNERS, SightingKind.BANNER, "c"),
)

_LAYOUT = re.compile(
    r"(?:.*/)?(?P<tail>(?P<sort>posts|users|communities)/(?P<a>\w\w)/(?P<b>\w\w)/(?P<name>[\w-]{5,64})\.\w{1,8})",
    re.ASCII,
)
_MOST_PATH = 1024
_SORTS = {"posts": SightingKind.UPLOAD, "users": SightingKind.AVATAR, "communities": SightingKind.ICON}


@dataclass(frozen=True, slots=True)
class File:
    """A file: the end of its path, which every form of it has, and as what it is kept."""

    tail: str
    kind: SightingKind


def file_of(path: str) -> File | None:
    """Return what a path tells; None where it is none of PieFed's."""
    found = _LAYOUT.fullmatch(path[-_MOST_PATH:])
    if found is None or not found["name"].startswith(found["a"] + found["b"]):
        return None
    return File(found["tail"], _SORTS[found["sort"]])


class Piefed:
    """What paths and database of a PieFed tell."""

    def __init__(self, address: Address | None) -> None:
        """Take the server's address where it is known, to name hosts and pages with."""
        self._address = address

    def by_path(self, subject: Subject) -> Traced:
        """Return what the path says: as what the file is kept."""
        file = self.sought(subject)
        if isinstance(file, str):
            return Traced(unknown=file)
        return Traced((Whose(None, None, None).sighting(file.kind, SightingWay.PATH, Certainty.POSSIBLE),))

    def sought(self, subject: Subject) -> File | str:
        """Return the file that the database can be asked for."""
        if subject.path is None:
            return "piefed knows a file by its path, and there is none"
        return file_of(subject.path) or "it is no path of piefed's"

    def in_database(self, questions: Questions, file: File) -> Iterator[Sighting]:
        """Yield where the file is in use; where nothing shows it, whose upload it is."""
        files = [own for (own,) in questions.rows(FILE, tail=file.tail, length=len(file.tail))]
        if not files:
            return
        shown = [*self._threads(questions, files), *self._pictures(questions, files)]
        yield from shown or self._uploads(questions, files)

    def _threads(self, questions: Questions, files: list[int]) -> Iterator[Sighting]:
        seen: set[tuple[SightingKind, str]] = set()
        for query, kind, word in _THREADS:
            for own, ap_id, at, *person in questions.rows(query, files=files):
                if (kind, own) in seen:  # by its picture, and by its pictures
                    continue
                seen.add((kind, own))
                yield self._whose(*person).sighting(
                    kind,
                    SightingWay.DATABASE,
                    url=ap_id or self._page(word, own),
                    at=at,
                    record=f"file/{files[0]}",
                    post_id=own,
                )

    def _pictures(self, questions: Questions, files: list[int]) -> Iterator[Sighting]:
        for query, kind, word in _PICTURES:
            for own, name, ap_id, domain in questions.rows(query, files=files):
                yield self._whose(own, name, ap_id, domain).sighting(
                    kind, SightingWay.DATABASE, url=self._page(word, ap_id or name), record=f"file/{files[0]}"
                )

    def _uploads(self, questions: Questions, files: list[int]) -> Iterator[Sighting]:
        for own, name, ap_id, domain in questions.rows(UPLOADS, files=files) or [(None, None, None, None)]:
            owner = Whose(None, None, None) if own is None else self._whose(own, name, ap_id, domain)
            yield owner.sighting(
                SightingKind.UPLOAD,
                SightingWay.DATABASE,
                url=None if own is None else self._page("u", ap_id or name),
                record=f"file/{files[0]}",
            )

    def _whose(self, own: str | None, name: str | None, ap_id: str | None, domain: str | None) -> Whose:
        # A community is nobody.
        return whose(None if own is None else name, domain if ap_id else None, self._address, own)

    def _page(self, word: str, name: str) -> str | None:
        return None if self._address is None else f"{self._address.root}/{word}/{name}"


def open_piefed(access: Trace) -> WaysTracer:
    """Return the tracer for a PieFed. Raises `TraceUsageError` for an address that is none."""
    address = read_address(access.url)
    name = "piefed" if address is None else f"piefed at {address.host}"
    piefed = Piefed(address)
    ways = database_way(access, name, SCHEMA, piefed.sought, piefed.in_database)
    return WaysTracer(name, ways, piefed.by_path)
