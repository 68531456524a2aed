"""What is sent to act on a Lemmy, and where the answers are read, held to Lemmy's own types of both versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fedi_safety.actions import kind_of, open_moderator
from fedi_safety.config.schema import Trace
from fedi_safety.core.moderation import ActionState, AppAction, Offer, Standing, TargetKind
from support.needs import needs
from support.servers.lemmy import LemmyTypes, RefusedError, lemmy_types
from support.servers.lemmy_api import AT, person, post, view
from support.servers.moderated import TOKEN, Asked, Moderated, Reply, lemmy10, lemmy19, moderated

TYPES = {
    "POST /admin/purge/post": "PurgePost",
    "POST /post/remove": "RemovePost",
    "POST /comment/remove": "RemoveComment",
    "POST /post/report": "CreatePostReport",
    "POST /comment/report": "CreateCommentReport",
    "POST /user/ban": "BanPerson",
    "POST /admin/ban": "BanPerson",
    "DELETE /image": "DeleteImageParams",
}
QUERIES = {"GET /post": "GetPost", "GET /user": "GetPersonDetails", "GET /person": "GetPersonDetails"}
IDS = {TargetKind.POST: "11", TargetKind.COMMENT: "12", TargetKind.PERSON: "13", TargetKind.FILE: "a.png"}


@dataclass
class Version:
    """One of Lemmy's interfaces, and a fake of it."""

    name: str
    answers: Callable[[Moderated, Asked], Reply]


VERSIONS = {version.name: version for version in (Version("v3", lemmy19), Version("v4", lemmy10))}


@pytest.fixture(scope="module")
@needs("lemmy")
def types() -> Iterator[LemmyTypes]:
    with lemmy_types() as running:
        yield running


def offers(version: str) -> list[Offer]:
    kind = kind_of("lemmy")
    assert kind is not None
    return [offer for offer in kind.offers if version == "v4" or offer.name != "delete_image"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_request_is_of_its_type(version: str, types: LemmyTypes) -> None:
    sent: dict[str, dict[str, Any]] = {}
    for offer in offers(version):
        with moderated(VERSIONS[version].answers) as server:
            server.posts = {"11": {"removed": False, "deleted": False}}
            server.comments = {"12": {"removed": False, "deleted": False, "post_id": 11}}
            server.people, server.files = {"13": {"banned": False}}, {"a.png"}
            access = Trace(server="lemmy", url=server.url, token=TOKEN, actions=(offer.name,))
            moderator = open_moderator(access, server.url, "lemmy.example")
            action = AppAction(
                1, bytes(32), "s", moderator.name, offer.name, offer.target, IDS[offer.target], None, None,
                ActionState.STARTED,
            )  # fmt: skip
            moderator.standing(action, within_s=5)
            moderator.perform(action, within_s=5)
            assert moderator.standing(action, within_s=5) is not Standing.OPEN
            moderator.close()
            for asked in server.asked:
                what = f"{asked.method} {asked.path.removeprefix(f'/api/{version}')}"
                if what in TYPES:
                    read = types.read(f"{version}.{TYPES[what]}", json.dumps(asked.body))
                    assert {name: read[name] for name in asked.body} == asked.body, "nothing is lost on the way"
                    sent[TYPES[what]] = asked.body
                elif what in QUERIES:
                    query = "&".join(f"{name}={value}" for name, value in asked.query.items())
                    read = types.read(f"{version}.{QUERIES[what]}", query, "query")
                    assert {name: str(read[name]) for name in asked.query} == asked.query
    assert len(sent) == (7 if version == "v4" else 6)


@pytest.mark.parametrize(("name", "without"), [("v3.PurgePost", "post_id"), ("v4.PurgePost", "reason")])
def test_the_types_refuse_what_is_missing(name: str, without: str, types: LemmyTypes) -> None:
    body = {"post_id": 1, "reason": "r"}
    types.read(name, json.dumps(body))
    del body[without]
    with pytest.raises(RefusedError):
        types.read(name, json.dumps(body))


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_read_of_an_answer_is_where_the_types_have_it(version: str, types: LemmyTypes) -> None:
    them = person(13, "https://lemmy.example/u/them", local=True, banned=True)
    somewhere = {
        "title": "c",
        "posting_restricted_to_mods": False,
        "local_removed": False,
        "visibility": "Public" if version == "v3" else "public",
    }
    community = person(1, "https://lemmy.example/c/c", local=True) | somewhere
    shown = view("post", post(11, "https://lemmy.example/post/11", 13, removed=True), them) | {"community": community}
    read = types.read(f"{version}.PostResponse", json.dumps({"post_view": shown}))
    assert read["post_view"]["post"]["removed"] is True
    assert read["post_view"]["post"]["deleted"] is False
    counts = {
        "person_id": 13,
        "post_count": 0,
        "comment_count": 0,
        "post_score": 0,
        "comment_score": 0,
        "published": AT,
    }
    details = {
        "person_view": {"person": them, "counts": counts, "is_admin": False, "banned": True},
        "moderates": [], "comments": [], "posts": [], "multi_communities_created": [],
    }  # fmt: skip
    view_ = types.read(f"{version}.GetPersonDetailsResponse", json.dumps(details))["person_view"]
    assert (view_["person"]["banned"] if version == "v3" else view_["banned"]) is True
    assert "banned" not in view_ if version == "v3" else "banned" not in view_["person"]
