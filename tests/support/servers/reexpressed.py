"""Databases of Mastodon, Misskey, Pixelfed, Pleroma, PieFed and Mbin: their schemas as far as they are known, in our
own words (schemas/*.sql), with some rows, and what a tracer must find in them.

None of these servers is to be had from a registry; what is not in the facts is not here either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject
from support.servers.postgresql import PostgresqlServer

_HERE = Path(__file__).with_name("schemas")
SHA256 = bytes.fromhex("e30397c5f8d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b")
ADA, EVE = "@ada@social.example", "@eve@far.example"
OWN, FAR = ("social.example", True), ("far.example", False)
NOBODY = (None, None)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def seen(
    kind: SightingKind,
    person: str | None,
    place: tuple[str | None, bool | None],
    person_id: str | None = None,
    *,
    certainty: Certainty = Certainty.CERTAIN,
    **more: Any,
) -> Sighting:
    """Return a sighting in a database. `place` is the instance, and whether it is this one."""
    instance, local = place
    return Sighting(
        kind,
        SightingWay.DATABASE,
        certainty,
        person=person,
        instance=instance,
        local=local,
        person_id=person_id,
        **more,
    )


@dataclass(frozen=True, slots=True)
class Reexpressed:
    """A server's database. `found` is what each subject leads to; `params` are such as its queries take.

    `slow` is a table that a question without an index looks through, and `word` what is said where it is skipped.
    `asked` leads there, and its sightings are in other tables where `elsewhere`.
    """

    server: str
    schema: str
    found: Mapping[Subject, list[Sighting]]
    params: Mapping[str, Any]
    slow: str = ""
    word: str = ""
    asked: Subject = field(default_factory=Subject)
    elsewhere: bool = True

    def make(self, server: PostgresqlServer, database: str) -> None:
        """Make its tables and rows."""
        server.execute((_HERE / f"{self.server}.sql").read_text(), database=database)


UPLOAD, POST, COMMENT, MESSAGE = (
    SightingKind.UPLOAD,
    SightingKind.POST,
    SightingKind.COMMENT,
    SightingKind.MESSAGE,
)
_MEDIA = "media_attachments/files/109/876/543/210/987"
_CARDS = "cache/preview_cards/images/001/234"
_EVE = "109000000000000007"

MASTODON = Reexpressed(
    "mastodon",
    "Mastodon",
    {
        Subject(key=f"{_MEDIA}/654/small/aaaaaaaaaaaaaaaa.webp"): [
            seen(
                POST,
                ADA,
                OWN,
                "123456",
                url="https://social.example/users/ada/statuses/109876543210987001",
                at=at("2026-02-03 04:00:00"),
                record="media_attachments/109876543210987654",
                post_id="109876543210987001",
            )
        ],
        Subject(key="cache/media_attachments/thumbnails/109/876/543/210/987/655/original/bbbbbbbbbbbbbbbb.png"): [
            seen(
                MESSAGE,
                EVE,
                FAR,
                _EVE,
                url="https://far.example/@eve/1",
                at=at("2026-02-03 04:00:01"),
                record="media_attachments/109876543210987655",
                post_id="109876543210987002",
            )
        ],
        Subject(key=f"{_MEDIA}/656/original/0000000000000000.mp4"): [  # its record has another file by now
            seen(
                UPLOAD,
                ADA,
                OWN,
                "123456",
                certainty=Certainty.LIKELY,
                url="https://social.example/admin/accounts/123456",
                at=at("2026-02-03 04:00:02"),
                record="media_attachments/109876543210987656",
            )
        ],
        Subject(key="accounts/avatars/000/123/456/original/0123456789abcdef.png"): [
            seen(
                SightingKind.AVATAR,
                ADA,
                OWN,
                "123456",
                url="https://social.example/admin/accounts/123456",
                at=at("2026-01-02 03:04:05"),
                record="accounts/123456",
            )
        ],
        Subject(key="cache/accounts/headers/109/000/000/000/000/007/original/0123456789abcdef.jpg"): [
            seen(
                SightingKind.BANNER,
                EVE,
                FAR,
                _EVE,
                certainty=Certainty.LIKELY,
                url=f"https://social.example/admin/accounts/{_EVE}",
                record=f"accounts/{_EVE}",
            )
        ],
        Subject(key="cache/custom_emojis/images/000/012/345/static/dddddddddddddddd.png"): [
            seen(SightingKind.EMOJI, None, FAR, at=at("2026-02-03 04:00:03"), record="custom_emojis/12345")
        ],
        Subject(key=f"{_CARDS}/567/original/eeeeeeeeeeeeeeee.jpg"): [
            seen(
                SightingKind.LINK_PREVIEW,
                ADA,
                OWN,
                "123456",
                url="https://social.example/users/ada/statuses/109876543210987001",
                at=at("2026-02-03 04:05:06"),
                record="preview_cards/1234567",
                post_id="109876543210987001",
            ),
            seen(
                SightingKind.LINK_PREVIEW,
                EVE,
                FAR,
                _EVE,
                url="https://far.example/@eve/1",
                at=at("2026-02-03 04:05:07"),
                record="preview_cards/1234567",
                post_id="109876543210987002",
            ),
        ],
        Subject(key=f"{_CARDS}/568/original/ffffffffffffffff.jpg"): [
            seen(SightingKind.LINK_PREVIEW, None, NOBODY, record="preview_cards/1234568")
        ],
    },
    {"id": 109876543210987654},
    "preview_cards_statuses",
    "posts that show a preview",
    Subject(key=f"{_CARDS}/567/original/eeeeeeeeeeeeeeee.jpg"),
    elsewhere=False,
)

_UUID = "0c1b2a39-4857-4665-9748-3f2e1d0c9b0"


def _made(record: str) -> float:
    return (946_684_800_000 + int(record[:8], 36)) / 1000


MISSKEY = Reexpressed(
    "misskey",
    "Misskey",
    {
        Subject(key=f"thumbnail-{_UUID}1"): [
            seen(
                SightingKind.AVATAR,
                ADA,
                OWN,
                "9abcdefgaa",
                url="https://social.example/admin/user/9abcdefgaa",
                at=_made("9bbbbbbbaa"),
                record="drive_file/9bbbbbbbaa",
            )
        ],
        Subject(key=f"bucket/files/webpublic-{_UUID}2.webp"): [
            seen(
                SightingKind.BANNER,
                EVE,
                FAR,
                "9abcdefgbb",
                url="https://social.example/admin/user/9abcdefgbb",
                at=_made("9bbbbbbbbb"),
                record="drive_file/9bbbbbbbbb",
            )
        ],
        Subject(key=f"files/{_UUID}3"): [
            seen(
                POST,
                ADA,
                OWN,
                "9abcdefgaa",
                url="https://social.example/notes/9ccccccccc",
                at=_made("9ccccccccc"),
                record="drive_file/9bbbbbbbcc",
                post_id="9ccccccccc",
            ),
            seen(
                MESSAGE,
                EVE,
                FAR,
                "9abcdefgbb",
                url="https://far.example/n/1",
                at=_made("9cccccccdd"),
                record="drive_file/9bbbbbbbcc",
                post_id="9cccccccdd",
            ),
        ],
        Subject(url=f"https://social.example/files/{_UUID}4"): [
            seen(SightingKind.EMOJI, None, OWN, at=_made("9bbbbbbbdd"), record="drive_file/9bbbbbbbdd")
        ],
        Subject(key=f"{_UUID}5"): [
            seen(
                UPLOAD,
                ADA,
                OWN,
                "9abcdefgaa",
                url="https://social.example/admin/user/9abcdefgaa",
                at=_made("9bbbbbbbee"),
                record="drive_file/9bbbbbbbee",
            )
        ],
    },
    {"keys": [f"files/{_UUID}3", f"{_UUID}3"], "file": "9bbbbbbbcc", "url": f"https://social.example/files/{_UUID}4"},
    "note",
    "notes",
    Subject(key=f"thumbnail-{_UUID}1"),
)

_V2 = "public/m/_v2/371/109a3c4d5-e6f708/AbCdEfGhIjKl"
_V1 = "public/m/e30397c5f8d1a2b3c4d5e6f708192a3b4c5d6e7f/8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3/four.jpg"
_STORY = "public/_esm.t3/Ab3dEf/Gh1jKl/AbCdEf_x/0123.jpg"
_PROFILE = "https://social.example/i/web/profile/371"
_ONE = seen(
    POST,
    ADA,
    OWN,
    "371",
    url="https://social.example/p/ada/501",
    at=at("2026-02-03 04:05:06"),
    record="media/1",
    post_id="501",
)
_THREE = seen(
    MESSAGE,
    ADA,
    OWN,
    "371",
    url="https://social.example/p/ada/503",
    at=at("2026-02-03 04:05:08"),
    record="media/3",
    post_id="503",
)

PIXELFED = Reexpressed(
    "pixelfed",
    "Pixelfed",
    {
        Subject(key=f"storage/app/{_V2}/one_thumb.jpg"): [_ONE],
        Subject(key=f"{_V2}/one.jpg", sha256=b"\xab" * 32): [_ONE, _THREE],  # the same content was put there twice
        Subject(key="readme.txt", sha256=b"\xab" * 32): [_ONE, _THREE],
        Subject(key="public/m/_v2/372/109a3c4d5-e6f708/AbCdEfGhIjKl/two.jpg"): [
            seen(
                COMMENT,
                EVE,
                FAR,
                "372",
                url="https://far.example/p/eve/9",
                at=at("2026-02-03 04:05:07"),
                record="media/2",
                post_id="502",
            )
        ],
        Subject(key=_V1): [seen(UPLOAD, ADA, OWN, "371", url=_PROFILE, at=at("2026-02-03 04:00:03"), record="media/4")],
        Subject(key="public/cache/avatars/371/avatar_abc.png"): [
            seen(SightingKind.AVATAR, ADA, OWN, "371", url=_PROFILE, record="avatars/371")
        ],
        Subject(key="public/cache/avatars/371/avatar_old.png"): [
            seen(
                SightingKind.AVATAR,
                ADA,
                OWN,
                "371",
                certainty=Certainty.LIKELY,
                url=_PROFILE,
                record="avatars/371",
            )
        ],
        Subject(key=_STORY): [
            seen(POST, ADA, OWN, "371", url=_PROFILE, at=at("2026-02-03 04:00:04"), record="stories/7")
        ],
    },
    {"sha256": "ab" * 32, "profile": 371, "path": f"{_V2}/one.jpg"},
    "stories",
    "stories by their paths",
    Subject(key=_STORY),
    elsewhere=False,
)

_HASHED = f"{SHA256.hex()}.png"
_NOTE = seen(
    POST,
    ADA,
    OWN,
    "ada",
    url="https://social.example/objects/1",
    at=at("2026-02-03 04:05:06"),
    record="objects/2",
)
_SHARED = [
    _NOTE,
    seen(UPLOAD, "@bob@social.example", OWN, "bob", at=at("2026-02-03 04:00:01"), record="objects/3"),
    seen(
        MESSAGE,
        EVE,
        FAR,
        "eve@far.example",
        url="https://far.example/objects/4",
        at=at("2026-02-03 04:00:02"),
        record="objects/4",
    ),
]

PLEROMA = Reexpressed(
    "pleroma",
    "Pleroma",
    {
        Subject(key=f"uploads/{_HASHED}"): _SHARED,
        Subject(key=f"e3/03/97/{_HASHED}"): _SHARED,
        Subject(key="readme.txt", sha256=SHA256): _SHARED,
        Subject(key=f"{'a' * 64}.png"): [
            seen(SightingKind.AVATAR, ADA, OWN, "ada", url="https://social.example/users/ada")
        ],
        Subject(key="0c1b2a39-4857-4665-9748-3f2e1d0c9b8a/a cat.png"): [
            seen(SightingKind.BANNER, "@bob@social.example", OWN, "bob", url="https://social.example/users/bob")
        ],
    },
    {"pattern": f"%{SHA256.hex()}%", "attachment": '[{"url": [{"href": "https://social.example/media/x.png"}]}]'},
    "objects",
    "posts and uploads",
    Subject(key=f"{'a' * 64}.png"),
)

PIEFED = Reexpressed(
    "piefed",
    "PieFed",
    {
        Subject(key="static/media/posts/aB/3d/aB3dEfGhIjKlMnO.jpg"): [
            seen(
                POST,
                ADA,
                OWN,
                "1",
                url="https://social.example/post/11",
                at=at("2026-02-03 04:05:06"),
                record="file/1",
                post_id="11",
            ),
            seen(
                POST,
                EVE,
                FAR,
                "2",
                url="https://far.example/post/1",
                at=at("2026-02-03 04:05:07"),
                record="file/1",
                post_id="12",
            ),
            seen(
                COMMENT,
                ADA,
                OWN,
                "1",
                url="https://social.example/comment/21",
                at=at("2026-02-03 04:05:08"),
                record="file/1",
                post_id="21",
            ),
        ],
        Subject(key="users/xY/z0/xYz0EfGhIjKlMnO.webp"): [
            seen(kind, EVE, FAR, "2", url="https://social.example/u/eve@far.example", record="file/2")
            for kind in (SightingKind.AVATAR, SightingKind.BANNER)
        ],
        Subject(key="posts/cD/5f/cD5fEfGhIjKlMnO.png"): [
            seen(UPLOAD, ADA, OWN, "1", url="https://social.example/u/ada", record="file/3")
        ],
        Subject(key="app/static/media/communities/eF/6g/eF6gEfGhIjKlMnO.png"): [
            seen(SightingKind.ICON, None, OWN, url="https://social.example/c/cats", record="file/4"),
            seen(SightingKind.BANNER, None, FAR, url="https://social.example/c/dogs@far.example", record="file/4"),
        ],
    },
    {"tail": "posts/aB/3d/aB3dEfGhIjKlMnO.jpg", "length": 32, "files": [1]},
    "post_file",
    "posts with several pictures",
    Subject(key="users/xY/z0/xYz0EfGhIjKlMnO.webp"),
)

_THREAD = "https://social.example/m/cats/t/11"
_PICTURED = [
    seen(
        POST,
        ADA,
        OWN,
        "1",
        url=_THREAD,
        at=at("2026-02-03 04:05:06"),
        record="image/1",
        post_id="entry/11",
    ),
    seen(
        COMMENT,
        EVE,
        FAR,
        "2",
        url="https://far.example/c/1",
        at=at("2026-02-03 04:05:07"),
        record="image/1",
        post_id="comment/21",
    ),
    seen(
        POST,
        EVE,
        FAR,
        "2",
        url="https://far.example/p/1",
        at=at("2026-02-03 04:05:08"),
        record="image/1",
        post_id="post/31",
    ),
    seen(
        COMMENT,
        ADA,
        OWN,
        "1",
        url="https://social.example/m/cats/p/31",
        at=at("2026-02-03 04:05:09"),
        record="image/1",
        post_id="post-comment/41",
    ),
]

MBIN = Reexpressed(
    "mbin",
    "Mbin",
    {
        Subject(key=f"media/e3/03/{SHA256.hex()}.jpg"): _PICTURED,
        Subject(key=f"media/cache/entry_thumb/e3/03/{SHA256.hex()}.jpg.webp", sha256=bytes(32)): _PICTURED,
        Subject(key="readme.txt", sha256=SHA256): _PICTURED,
        Subject(sha256=b"\xab" * 32): [
            seen(SightingKind.AVATAR, ADA, OWN, "1", url="https://social.example/u/ada", record="image/2"),
            seen(SightingKind.BANNER, EVE, FAR, "2", url="https://social.example/u/@eve@far.example", record="image/2"),
            seen(SightingKind.ICON, None, OWN, url="https://social.example/m/cats", record="image/2"),
            seen(SightingKind.BANNER, None, FAR, url="https://social.example/m/dogs@far.example", record="image/2"),
        ],
        Subject(sha256=b"\xcd" * 32): [seen(UPLOAD, None, NOBODY, at=at("2026-02-03 04:00:02"), record="image/3")],
    },
    {"sha256": SHA256, "image": 1},
)

REEXPRESSED = (MASTODON, MISSKEY, PIXELFED, PLEROMA, PIEFED, MBIN)
