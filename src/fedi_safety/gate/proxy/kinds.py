"""Which servers the gate can stand in front of: where uploads come in, and what of a server it never sees.

One row adds one. The rows are data; what is done with them is `server`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote_to_bytes

_FORMAT = re.compile(r"\.[A-Za-z0-9]{1,10}\Z")  # Rails takes `/media.json` for `/media`


class Shape(StrEnum):
    """In which form a server tells its clients that something went wrong."""

    MASTODON = "mastodon"
    MISSKEY = "misskey"
    PIXELFED = "pixelfed"
    PIEFED = "piefed"
    MBIN = "mbin"
    LEMMY = "lemmy"
    PAGE = "page"  # what a browser shows after a form was sent
    ANY = "any"


@dataclass(frozen=True, slots=True)
class UploadRoute:
    """A place where uploads come in. `path` is a regular expression for all of a path; `fields` are where files are.

    All files of a request are judged, whatever their fields are called. `shape` is the kind's unless it is named here.
    """

    methods: tuple[str, ...]
    path: str
    fields: tuple[str, ...]
    shape: Shape | None = None

    def leads(self, paths: frozenset[str]) -> bool:
        """Whether any of these spellings of a path is this place. Servers let a client override the method."""
        return any(re.fullmatch(self.path, path) for path in paths)


@dataclass(frozen=True, slots=True)
class Who:
    """How a server says whose credentials these are: where the answer has the name and the id.

    `by_token`: the token is sent as `i` in JSON, as Misskey takes it; else the request's own `Authorization` is.
    """

    method: str
    path: str
    name: tuple[str, ...]
    id: tuple[str, ...]
    by_token: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamKind:
    """A kind of server. `everywhere`: each form on each path is judged, because uploads come in at too many of them.

    `unseen` is what reaches its store by other ways; `watch` sees that.
    """

    name: str
    routes: tuple[UploadRoute, ...]
    shape: Shape
    unseen: tuple[str, ...]
    who: Who | None = None
    everywhere: bool = False
    reencodes: bool = True  # so that its store may have other bytes than were uploaded; some only if it is told to
    port: int = 8080  # where it listens out of the box; of PHP's, where a web server on this machine might

    def route(self, raw_path: bytes) -> UploadRoute | None:
        """Return the place that a path leads to, None if no uploads come in there."""
        paths = spellings(raw_path)
        return next((route for route in self.routes if route.leads(paths)), None)


def spellings(raw_path: bytes) -> frozenset[str]:
    """Return a path as servers may read it: percent signs resolved, no double or last slash, no dots, no format."""
    found = set()
    for text in (raw_path, unquote_to_bytes(raw_path)):
        path = text.decode("latin-1").partition("?")[0].partition(";")[0].replace("\\", "/")
        steps: list[str] = []
        for step in path.split("/"):
            if step == "..":
                steps = steps[:-1]
            elif step not in ("", "."):
                steps.append(step)
        plain = "/" + "/".join(steps)
        found |= {plain, _FORMAT.sub("", plain)}
    return frozenset(found)


_FEDERATION = "what other servers send (federation)"
_BY_URL = "what is fetched by its address"
_OAUTH = Who("GET", "/api/v1/accounts/verify_credentials", ("acct",), ("id",))
_MISSKEY = Who("POST", "/api/i", ("username",), ("id",), by_token=True)
_PERSON = ("my_user", "local_user_view", "person")

# Read: mastodon/mastodon config/routes/api.rb @e91ede5b, settings.rb @0bf4dc60 and admin.rb @00c21009, where the API's
# paths have no format and the forms' have one, and config/initializers/paperclip.rb @d6bc7471, which registers
# `Paperclip::DataUriAdapter`: a `data:` address in any of these fields is a file as well. Newer versions have
# `/api/v1/profile`, which was not read.
_MASTODON_API = (
    UploadRoute(("POST",), r"/api/v[12]/media", ("file", "thumbnail")),
    UploadRoute(("PUT", "PATCH"), r"/api/v1/media/[^/]+", ("thumbnail",)),
    UploadRoute(("PATCH",), r"/api/v1/accounts/update_credentials", ("avatar", "header")),
    UploadRoute(("PUT", "PATCH"), r"/api/v1/profile", ("avatar", "header")),
)
_MASTODON_FORMS = (
    UploadRoute(("POST", "PUT", "PATCH"), r"/settings/profile", ("account[avatar]", "account[header]"), Shape.PAGE),
    UploadRoute(("POST",), r"/admin/custom_emojis", ("custom_emoji[image]",), Shape.PAGE),
    UploadRoute(
        ("POST", "PUT", "PATCH"),
        r"/admin/settings/branding",
        ("form_admin_settings[thumbnail]", "form_admin_settings[mascot]", "form_admin_settings[favicon]"),
        Shape.PAGE,
    ),
)
_MASTODON_UNSEEN = (_FEDERATION, "pictures of link previews", "emoji that are copied from other servers")
# Read: misskey-dev/misskey packages/backend/src/server/api/endpoints/drive/files/create.ts @0b2dd3a5, the one endpoint
# that requires a file; emoji, avatars and banners are chosen from the drive. And transfem-org/Sharkey
# packages/backend/src/server/api/mastodon/MastodonApiServerService.ts @95df69b0: of Mastodon's API it takes files at
# `/api/v1/media`, `/api/v2/media` (`file`) and, in later versions, at `update_credentials`; all end in the drive.
_DRIVE = (UploadRoute(("POST",), r"/api/drive/files/create", ("file",)),)
# Read: superseriousbusiness/gotosocial internal/api/client/media/media.go @0884f894, client/admin/admin.go @34130b74;
# the other paths as its API documents them.
_GOTOSOCIAL = (
    UploadRoute(("POST",), r"/api/v[12]/media", ("file",)),
    UploadRoute(("PATCH",), r"/api/v1/accounts/update_credentials", ("avatar", "header")),
    UploadRoute(("POST",), r"/api/v1/admin/custom_emojis", ("image",)),
    UploadRoute(("PATCH",), r"/api/v1/admin/custom_emojis/[^/]+", ("image",)),
    UploadRoute(("PATCH",), r"/api/v1/instance", ("thumbnail",)),
)
# Read: pleroma-social/pleroma lib/pleroma/web/router.ex @0ab69da1; and of Akkoma, in external-mirrors/akkoma, the same
# file @108fbb0f, which has fewer of these places and no other. Avatars may be `data:` addresses.
_PLEROMA = (
    *_MASTODON_API,
    UploadRoute(("PUT",), r"/api/v1/pleroma/mascot", ("file",)),
    UploadRoute(("PATCH",), r"/api/v1/pleroma/accounts/update_(avatar|banner|background)", ("img", "banner")),
    UploadRoute(("POST", "PATCH"), r"/api(/v1)?/pleroma/emoji/packs(/[^/]+)?/files", ("file",)),
    UploadRoute(("POST",), r"/api/ap/upload_media", ("file",)),
)
# Read: pixelfed/pixelfed routes/api.php @f78aa1f6, routes/web-api.php @d4198b32. A PHP server takes each path behind
# `/index.php` as well, and has forms elsewhere: so all of its forms are judged.
_PIXELFED = (
    *_MASTODON_API,
    UploadRoute(("POST",), r"/api/compose/v0/media/(upload|update)", ("file",)),
    UploadRoute(("POST",), r"/api/direct/(thread/)?media", ("file",)),
    UploadRoute(("POST",), r"(/api/v1|/api/pixelfed/v1)?/avatar/update", ("avatar",)),
    UploadRoute(("POST",), r"/api/(web/)?stories/v1/add", ("file",)),
    UploadRoute(("POST",), r"/settings/(home|avatar)", ("avatar",), Shape.PAGE),
    UploadRoute(("POST",), r"/api/(local/)?import/ig/media", ("file[]",)),
)
# Read: blentz/pyfedi app/api/alpha/utils/upload.py @236a03cc, whose upstream is elsewhere. Its forms are all over.
_PIEFED = (UploadRoute(("POST",), r"/api/alpha/upload/(image|community_image|user_image)", ("file",)),)
# Read: MbinOrg/mbin config/mbin_routes/user_api.yaml @3a5dd9aa, entry_api.yaml @d4c0fc1b, post_api.yaml @3306fc0d,
# magazine_api.yaml @14959f26, moderation_api.yaml @121c84f7. Its forms are all over.
_MBIN = (
    UploadRoute(("POST",), r"/api/users/(avatar|cover)", ("uploadImage",)),
    UploadRoute(("POST",), r"/api/(entry|posts)/.+/image", ("uploadImage",)),
    UploadRoute(("POST",), r"/api/magazine/[^/]+/(image|entries|posts/image)", ("uploadImage",)),
    UploadRoute(("POST", "PUT"), r"/api/moderate/magazine/[^/]+/(theme|banner)", ("uploadImage",)),
)
# Read: LemmyNet/lemmy crates/routes/src/images/upload.rs @058c33d9; the paths as its API documents them.
_LEMMY = (
    UploadRoute(("POST",), r"/pictrs/image", ("images[]",)),
    UploadRoute(("POST",), r"/api/v4/(image|.+/(avatar|banner|icon))", ("images[]",)),
)

KINDS: dict[str, UpstreamKind] = {
    kind.name: kind
    for kind in (
        UpstreamKind("mastodon", _MASTODON_API + _MASTODON_FORMS, Shape.MASTODON, _MASTODON_UNSEEN, _OAUTH, port=3000),
        UpstreamKind(
            "glitch-soc", _MASTODON_API + _MASTODON_FORMS, Shape.MASTODON, _MASTODON_UNSEEN, _OAUTH, port=3000
        ),
        UpstreamKind("pixelfed", _PIXELFED, Shape.PIXELFED, (_FEDERATION,), _OAUTH, everywhere=True),
        UpstreamKind(
            "misskey", _DRIVE, Shape.MISSKEY, ("/api/drive/files/upload-from-url", _FEDERATION), _MISSKEY,
            reencodes=False, port=3000,
        ),
        UpstreamKind(
            "sharkey",
            _DRIVE + tuple(UploadRoute(r.methods, r.path, r.fields, Shape.MASTODON) for r in _MASTODON_API),
            Shape.MISSKEY,
            ("/api/drive/files/upload-from-url", _FEDERATION),
            _MISSKEY,
            reencodes=False,
            port=3000,
        ),
        UpstreamKind("gotosocial", _GOTOSOCIAL, Shape.MASTODON, (_FEDERATION,), _OAUTH),
        UpstreamKind("pleroma", _PLEROMA, Shape.MASTODON, (_FEDERATION,), _OAUTH, port=4000),
        UpstreamKind("akkoma", _PLEROMA, Shape.MASTODON, (_FEDERATION,), _OAUTH, port=4000),
        UpstreamKind(
            "piefed", _PIEFED, Shape.PIEFED, (_BY_URL, _FEDERATION),
            Who("GET", "/api/alpha/site", (*_PERSON, "user_name"), (*_PERSON, "id")), everywhere=True, port=5000,
        ),
        UpstreamKind(
            "mbin", _MBIN, Shape.MBIN, (_BY_URL, _FEDERATION), Who("GET", "/api/users/me", ("username",), ("userId",)),
            everywhere=True,
        ),
        UpstreamKind(
            "lemmy", _LEMMY, Shape.LEMMY, ("pictures of link previews", _FEDERATION),
            Who("GET", "/api/v3/site", (*_PERSON, "name"), (*_PERSON, "id")), port=8536,
        ),
        UpstreamKind("any", (), Shape.ANY, (_BY_URL, _FEDERATION), None, everywhere=True),
    )
}  # fmt: skip
"""All kinds, by the word that the configuration has for each."""


def paths(kind: UpstreamKind) -> Iterator[str]:
    """Yield the expressions for the paths where uploads come in, for a web server's configuration."""
    yield from (route.path for route in kind.routes)
