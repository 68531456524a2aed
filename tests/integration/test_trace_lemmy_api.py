"""What Lemmy's HTTP API tells of a picture, in front of a fake that is held to Lemmy's own types of both versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fedi_safety.clients.lemmy import MOST_PAGES, PAGE, LemmyClient
from fedi_safety.core.errors import ApiError
from fedi_safety.core.sightings import Certainty, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing.lemmy_api import LemmyApi
from support.needs import needs
from support.servers.lemmy import LemmyTypes, RefusedError, lemmy_types
from support.servers.lemmy_api import ADMIN, AT, FakeLemmy, comment, person, post, upload, view

ROOT = "https://lemmy.example"
KINDS = SightingKind
ALIAS = "2b1c6f1e-6d0a-4a37-9a51-4d7d4ac6f8b1.png"
OTHER = "eOtYb9iEiB.jpeg"
ORIGIN = "https://far.example/pictrs/image/aaaaaaaa-6d0a-4a37-9a51-4d7d4ac6f8b1.png"
SHOWN = f"{ROOT}/pictrs/image/{ALIAS}"
ME = person(7, f"{ROOT}/u/me", local=True, avatar=SHOWN)
THEM = person(8, "https://far.example/u/them", local=False)
LINKED = post(21, f"{ROOT}/post/21", 7, url=SHOWN, thumbnail_url=f"{SHOWN}?format=webp")
TOLD = post(22, "https://far.example/post/22", 8, body=f"look: ![]({SHOWN}).")
LONGER = post(23, "https://far.example/post/23", 8, body=f"look: {SHOWN}2")
PROXIED = post(24, "https://far.example/post/24", 8, url=ORIGIN)
SAID = comment(31, "https://far.example/comment/31", 8, f"[x]({SHOWN}?a=1)")
FILLERS = [upload(f"filler-{n:08}.png", THEM | {"id": 9}) for n in range(PAGE * 3)]


@pytest.fixture(scope="module")
@needs("lemmy")
def types() -> Iterator[LemmyTypes]:
    with lemmy_types() as running:
        yield running


@dataclass
class Asked:
    """A fake, and what asks it."""

    lemmy: FakeLemmy
    api: LemmyApi

    def trace(self, within_s: float = 30, **subject: Any) -> Traced:
        return self.api.trace(Subject(**subject), within_s)


@pytest.fixture(params=[("v3", "0.19.21"), ("v4", "1.0.0-beta.1")], ids=["0.19", "1.0"])
def asked(request: pytest.FixtureRequest, types: LemmyTypes) -> Iterator[Asked]:
    version, told = request.param
    uploads = [*FILLERS, upload(ALIAS, ME), upload(OTHER, THEM, LINKED if version == "v4" else None)]
    posts = [view("post", one, ME if one is LINKED else THEM) for one in (LINKED, TOLD, LONGER, PROXIED)]
    lemmy = FakeLemmy(types, version, told, uploads, posts, [view("comment", SAID, THEM)])
    api = LemmyApi(LemmyClient(ROOT, ADMIN, transport=lemmy.transport))
    yield Asked(lemmy, api)
    api.close()
    api.close()


def test_uploader_posts_and_comments_are_found(asked: Asked) -> None:
    found = asked.trace(aliases=(ALIAS,))
    assert (found.unknown, found.closed) == ("", ())
    assert {s.way for s in found.sightings} == {SightingWay.API}
    assert {s.certainty for s in found.sightings} == {Certainty.CERTAIN}
    me, them = (f"{ROOT}/u/me", "lemmy.example", True, "7"), ("https://far.example/u/them", "far.example", False, "8")
    expected = {
        (KINDS.UPLOAD, None, f"local_image/{ALIAS}", None, *me),
        (KINDS.AVATAR, f"{ROOT}/u/me", "person/7", None, *me),
        (KINDS.POST, "https://far.example/post/22", "post/22", "22", *them),
        (KINDS.COMMENT, "https://far.example/comment/31", "comment/31", "31", *them),
    }
    if asked.lemmy.version == "v3":  # 1.0 has no question for what links to an address
        expected |= {
            (KINDS.POST, f"{ROOT}/post/21", "post/21", "21", *me),
            (KINDS.LINK_PREVIEW, f"{ROOT}/post/21", "post/21", "21", *me),
        }
    rows = {(s.kind, s.url, s.record, s.post_id, s.person, s.instance, s.local, s.person_id) for s in found.sightings}
    assert rows == expected
    assert {s.at for s in found.sightings if s.kind is not KINDS.AVATAR} == {1793534400.0}, AT


def test_a_preview_that_lemmy_fetched_names_its_post(asked: Asked) -> None:
    (seen, *more) = asked.trace(aliases=(OTHER,)).sightings
    preview = asked.lemmy.version == "v4"
    assert (seen.kind, seen.post_id) == ((KINDS.LINK_PREVIEW, "21") if preview else (KINDS.UPLOAD, None))
    assert (seen.person_id, more) == ("8", [])


def test_no_address_is_searched_for_where_it_would_be_fetched(asked: Asked) -> None:
    found = asked.trace(origins=(ORIGIN,))
    searched = [read.get("q") or read.get("search_term") for name, read in asked.lemmy.asked if name == "Search"]
    if asked.lemmy.version == "v3":
        (seen,) = found.sightings
        assert (seen.kind, seen.certainty, seen.post_id) == (KINDS.POST, Certainty.LIKELY, "24")
    else:
        assert (found.sightings, searched) == ((), [])
        assert "1.0 would fetch it" in found.unknown
    asked.trace(aliases=(ALIAS,), origins=(ORIGIN,))
    if asked.lemmy.version == "v4":
        terms = [read["search_term"] for name, read in asked.lemmy.asked if name == "Search"]
        assert terms and not any("://" in term for term in terms)


def test_a_listing_ends_where_all_are_found_or_it_has_no_more(asked: Asked) -> None:
    asked.trace(aliases=(FILLERS[3]["local_image"]["pictrs_alias"],))
    assert sum(name == "ListMedia" for name, _ in asked.lemmy.asked) == 1
    asked.lemmy.asked.clear()
    found = asked.trace(aliases=("none-has-this-name.png",))
    assert (found.sightings, found.unknown, found.closed) == ((), "", ())
    assert sum(name == "ListMedia" for name, _ in asked.lemmy.asked) == 4


def test_what_is_too_old_to_be_listed_is_said(types: LemmyTypes) -> None:
    uploads = [FILLERS[0]] * (PAGE * MOST_PAGES) + [upload(ALIAS, ME)]
    lemmy = FakeLemmy(types, "v3", "0.19.21", uploads)
    found = LemmyApi(LemmyClient(ROOT, ADMIN, transport=lemmy.transport)).trace(Subject(aliases=(ALIAS,)), 300)
    assert found.sightings == ()
    assert found.unknown == "Lemmy 0.19 lists no more than its newest 5000 uploads"


def test_so_many_names_are_searched_for_up_to_a_bound(asked: Asked) -> None:
    found = asked.trace(aliases=tuple(f"alias-{n:08}.png" for n in range(20)))
    assert "posts were searched for 8 of 20 names" in found.unknown


def test_without_time_what_was_left_out_is_said(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.api._client.version(within_s=5)
    found = asked.trace(within_s=0, aliases=(ALIAS,))
    assert found.sightings == ()
    assert "no time to search" in found.unknown and "no time to look through" in found.unknown


def test_a_token_that_is_no_admins_is_told_and_not_repeated(asked: Asked) -> None:
    secret = "s3cret-never-shown"
    api = LemmyApi(LemmyClient(ROOT, secret, transport=asked.lemmy.transport))
    with pytest.raises(ApiError) as caught:
        api.trace(Subject(aliases=(ALIAS,)), 5)
    assert "set the token of an admin" in caught.value.line() and secret not in caught.value.line()


@pytest.mark.parametrize(
    ("version", "told", "cause"),
    [
        ("v3", "0.18.5", "its version '0.18.5' is not known"),
        ("v4", "2.0.0", "its version '2.0.0' is not known"),
        ("v3", "\x1b[31m" * 50, "is not known"),
        ("v9", "", "it is no Lemmy"),
    ],
)
def test_another_version_is_told_in_one_line(types: LemmyTypes, version: str, told: str, cause: str) -> None:
    lemmy = FakeLemmy(types, version, told)
    api = LemmyApi(LemmyClient(ROOT, ADMIN, transport=lemmy.transport))
    with pytest.raises(ApiError) as caught:
        api.trace(Subject(aliases=(ALIAS,)), 5)
    assert cause in caught.value.line() and caught.value.line().isprintable()
    assert "0.19 and 1.0 are known" in caught.value.line()


def test_what_was_found_before_an_answer_failed_counts_and_is_asked_again(asked: Asked) -> None:
    asked.lemmy.uploads = [{"local_image": {}}]  # no Lemmy says this: the fake refuses
    with pytest.raises(RefusedError, match="missing field"):
        asked.trace(aliases=(ALIAS,))
    asked.lemmy.types = LoseUploads(asked.lemmy.types)  # type: ignore[assignment]
    found = asked.trace(aliases=(ALIAS,))
    assert {s.kind for s in found.sightings} >= {KINDS.POST, KINDS.COMMENT}
    assert len(found.closed) == 1 and "are not understood" in found.closed[0]


class LoseUploads:
    """Types that let an answer to the list of uploads through unread."""

    def __init__(self, types: LemmyTypes) -> None:
        self._types = types

    def read(self, name: str, text: str, form: str = "json") -> Any:
        return {} if name.endswith("ListMediaResponse") else self._types.read(name, text, form)
