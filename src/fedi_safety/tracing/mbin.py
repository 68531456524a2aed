"""Mbin: whose a stored file is, by its content's SHA-256, which is its name and the key of its record.

The path alone says that much. One file may be of several people: Mbin keeps equal contents once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fedi_safety.config.schema import Trace
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing.addresses import Address, read_address
from fedi_safety.tracing.database import Schema
from fedi_safety.tracing.questions import MOST, Query, Questions, database_way
from fedi_safety.tracing.ways import WaysTracer
from fedi_safety.tracing.whose import Whose, whose

# As src/Entity of MbinOrg/mbin@1a2813a5 has them; Doctrine makes an index for every reference.
SCHEMA = Schema(
    "Mbin",
    {
        "image": ("id", "sha256", "created_at"),
        "entry": ("id", "user_id", "magazine_id", "image_id", "ap_id", "created_at"),
        "entry_comment": ("id", "user_id", "magazine_id", "entry_id", "image_id", "ap_id", "created_at"),
        "post": ("id", "user_id", "magazine_id", "image_id", "ap_id", "created_at"),
        "post_comment": ("id", "user_id", "magazine_id", "post_id", "image_id", "ap_id", "created_at"),
        "user": ("id", "username", "ap_id", "ap_domain", "avatar_id", "cover_id"),
        "magazine": ("id", "name", "ap_id", "ap_domain", "icon_id", "banner_id"),
    },
)
IMAGE = Query("SELECT id, extract(epoch FROM created_at)::float8 FROM image WHERE sha256 = %(sha256)s")
_PERSON = "u.id::text, u.username, u.ap_id, u.ap_domain"
_OF = (
    "SELECT t.id::text, t.ap_id, extract(epoch FROM t.created_at)::float8, m.name, {thread}, "
    f'{_PERSON} FROM "{{table}}" t JOIN "user" u ON u.id = t.user_id'
    " LEFT JOIN magazine m ON m.id = t.magazine_id WHERE t.image_id = %(image)s"
    f" LIMIT {MOST}"
)
ENTRIES = Query(_OF.format(table="entry", thread="t.id::text"))
ENTRY_COMMENTS = Query(_OF.format(table="entry_comment", thread="t.entry_id::text"))
POSTS = Query(_OF.format(table="post", thread="t.id::text"))
POST_COMMENTS = Query(_OF.format(table="post_comment", thread="t.post_id::text"))
AVATARS = Query(f'SELECT {_PERSON} FROM "user" u WHERE u.avatar_id = %(image)s LIMIT {MOST}')
COVERS = Query(f'SELECT {_PERSON} FROM "user" u WHERE u.cover_id = %(image)s LIMIT {MOST}')
_MAGAZINE = "SELECT NULL, m.name, m.ap_id, m.ap_domain FROM magazine m WHERE m.{column} = %(image)s"
ICONS = Query(f"{_MAGAZINE.format(column='icon_id')} LIMIT {MOST}")
BANNERS = Query(f"{_MAGAZINE.format(column='banner_id')} LIMIT {MOST}")
QUERIES = {
    "image": IMAGE,
    "entries": ENTRIES,
    "entry_comments": ENTRY_COMMENTS,
    "posts": POSTS,
    "post_comments": POST_COMMENTS,
    "avatars": AVATARS,
    "covers": COVERS,
    "icons": ICONS,
    "banners": BANNERS,
}
# By what the API calls them, as `/api/admin/WORD/ID/purge`; the page of each, with the thread that it is in.
_THREADS = (
    ("entry", ENTRIES, SightingKind.POST, "/m/{magazine}/t/{thread}"),
    ("comment", ENTRY_COMMENTS, SightingKind.COMMENT, "/m/{magazine}/t/{thread}/-/comment/{id}"),
    ("post", POSTS, SightingKind.POST, "/m/{magazine}/p/{thread}"),
    ("post-comment", POST_COMMENTS, SightingKind.COMMENT, "/m/{magazine}/p/{thread}"),
)
_PICTURES = (
    (AVATARS, SightingKind.AVATAR),
    (COVERS, SightingKind.BANNER),
    (ICONS, SightingKind.ICON),
    (BANNERS, SightingKind.BANNER),
)

# `media/aa/bb/SHA256.EXT`, and what is made of it for pages: `media/cache/FILTER/aa/bb/SHA256.EXT`.
_LAYOUT = re.compile(r"(?:.*/)?(?P<a>[0-9a-f]{2})/(?P<b>[0-9a-f]{2})/(?P<sha256>[0-9a-f]{64})(?:\.\w{1,8})+", re.ASCII)
_MOST_PATH = 1024


def sha256_of(path: str) -> bytes | None:
    """Return the SHA-256 that a path tells; None where it is none of Mbin's."""
    found = _LAYOUT.fullmatch(path[-_MOST_PATH:])
    if found is None or not found["sha256"].startswith(found["a"] + found["b"]):
        return None
    return bytes.fromhex(found["sha256"])


class Mbin:
    """What paths and database of an Mbin tell."""

    def __init__(self, address: Address | None) -> None:
        """Take the server's address where it is known, to name hosts and pages with."""
        self._address = address

    def by_path(self, subject: Subject) -> Traced:
        """Return what the path says: that it is one of its files."""
        sha256 = None if subject.path is None else sha256_of(subject.path)
        if sha256 is None:
            return Traced(unknown="it is no path of mbin's" if subject.path else "there is no path to read")
        sighting = Whose(None, None, None).sighting(
            SightingKind.UPLOAD, SightingWay.PATH, Certainty.POSSIBLE, record=f"image/{sha256.hex()}"
        )
        return Traced((sighting,))

    def sought(self, subject: Subject) -> bytes | str:
        """Return the SHA-256 to look for: the one in the path, as a smaller copy is another content, else its own."""
        sha256 = None if subject.path is None else sha256_of(subject.path)
        return sha256 or subject.sha256 or "it is no path of mbin's, and its content is not known"

    def in_database(self, questions: Questions, sha256: bytes) -> Iterator[Sighting]:
        """Yield where the picture is in use."""
        for image, at in questions.rows(IMAGE, sha256=sha256):
            record, shown = f"image/{image}", 0
            for word, query, kind, page in _THREADS:
                for own, ap_id, posted_at, magazine, thread, *person in questions.rows(query, image=image):
                    shown += 1
                    path = page.format(magazine=magazine, thread=thread, id=own)
                    yield self._whose(*person).sighting(
                        kind,
                        SightingWay.DATABASE,
                        url=ap_id or (None if self._address is None else f"{self._address.root}{path}"),
                        at=posted_at,
                        record=record,
                        post_id=f"{word}/{own}",
                    )
            for query, kind in _PICTURES:
                for own, name, ap_id, domain in questions.rows(query, image=image):
                    shown += 1
                    yield self._whose(own, name, ap_id, domain).sighting(
                        kind, SightingWay.DATABASE, url=self._page("m" if own is None else "u", name), record=record
                    )
            if not shown:
                yield Whose(None, None, None).sighting(SightingKind.UPLOAD, SightingWay.DATABASE, at=at, record=record)

    def _whose(self, person: str | None, name: str | None, ap_id: str | None, domain: str | None) -> Whose:
        # The name of somebody remote has the host in it. A magazine is nobody.
        remote = domain or (name or "").lstrip("@").partition("@")[2] if ap_id is not None else None
        found = whose(None if person is None else name, remote or None, self._address, person)
        return Whose(found.person, found.instance if ap_id is None or remote else None, ap_id is None, person)

    def _page(self, word: str, name: str) -> str | None:
        return None if self._address is None else f"{self._address.root}/{word}/{name}"


def open_mbin(access: Trace) -> WaysTracer:
    """Return the tracer for an Mbin. Raises `TraceUsageError` for an address that is none."""
    address = read_address(access.url)
    name = "mbin" if address is None else f"mbin at {address.host}"
    mbin = Mbin(address)
    ways = database_way(access, name, SCHEMA, mbin.sought, mbin.in_database)
    return WaysTracer(name, ways, mbin.by_path)
