"""Mastodon's actions against mastodon-mock, a stateful double of its API with the routes for moderators."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedi_safety.actions import kind_of, open_moderator
from fedi_safety.config.schema import Trace
from fedi_safety.core.errors import ModerationDown
from fedi_safety.core.moderation import ActionState, AppAction, Offer, Standing, TargetKind
from fedi_safety.core.ports import Moderator
from support.needs import needs
from support.servers.mastodon_mock import MastodonMock, Person, mastodon_mock

ADMIN, THEM = "the-admins-token", "their-token"


@pytest.fixture(scope="module")
@needs("mastodon-mock")
def server() -> Iterator[MastodonMock]:
    people = [Person("admin", token=ADMIN, role="admin"), Person("them", token=THEM), Person("far", "far.example")]
    with mastodon_mock(people) as running:
        yield running


def opened(server: MastodonMock, token: str = ADMIN) -> Moderator:
    access = Trace(server="mastodon", url=server.url, token=token, actions=("report",))
    return open_moderator(access, server.url, "social.example")


def offers() -> list[Offer]:
    kind = kind_of("mastodon")
    assert kind is not None
    return list(kind.offers)


@pytest.fixture(scope="module")
def them(server: MastodonMock) -> str:
    """The id of whose picture it is."""
    people = server.ask(ADMIN, "GET", "/api/v1/admin/accounts")
    (found,) = [one["id"] for one in people if one["username"] == "them"]
    return str(found)


def action_for(server: MastodonMock, who: str, offer: Offer, number: int) -> AppAction:
    """Return an action on a post of theirs, on them, or on the instance of somebody far away."""
    ids = {TargetKind.INSTANCE: "far.example"}
    if offer.target is TargetKind.POST:
        ids[TargetKind.POST] = server.ask(THEM, "POST", "/api/v1/statuses", json={"status": "a picture"})["id"]
    return AppAction(
        number, bytes([number]) * 32, "s", "n", offer.name, offer.target, ids.get(offer.target, who), None, who,
        ActionState.STARTED, 1,
    )  # fmt: skip


@pytest.mark.parametrize(("place", "offer"), list(enumerate(offers())), ids=[f"{o.name} {o.target}" for o in offers()])
def test_it_is_done_and_read_back(server: MastodonMock, them: str, place: int, offer: Offer) -> None:
    moderator, action = opened(server), action_for(server, them, offer, place + 1)
    assert moderator.standing(action, within_s=30) is Standing.OPEN
    moderator.perform(action, within_s=30)
    assert moderator.standing(action, within_s=30) is Standing.SO
    if offer.target is TargetKind.POST:
        (report, *_) = server.ask(ADMIN, "GET", "/api/v1/admin/reports")
        assert report["category"] == "legal"
        assert [status["id"] for status in report["statuses"]] == [action.target_id]
        # One that a moderator has settled is not made again.
        server.ask(ADMIN, "POST", f"/api/v1/admin/reports/{report['id']}/resolve")
        assert moderator.standing(action, within_s=30) is Standing.SO
    if offer.target is TargetKind.INSTANCE:
        (block,) = server.ask(ADMIN, "GET", "/api/v1/admin/domain_blocks")
        assert (block["domain"], block["severity"], block["reject_media"]) == ("far.example", "silence", True)
    moderator.close()


def test_an_account_that_is_gone_and_a_token_that_is_none(server: MastodonMock) -> None:
    (offer,) = [offer for offer in offers() if offer.name == "suspend"]
    gone = AppAction(
        9, bytes(32), "s", "n", "suspend", offer.target, "999", None, None, ActionState.STARTED, 1
    )  # fmt: skip
    moderator = opened(server)
    assert moderator.standing(gone, within_s=30) is Standing.GONE
    moderator.close()
    wrong = opened(server, "no-such-token")
    with pytest.raises(ModerationDown, match="token"):
        wrong.standing(gone, within_s=30)
    wrong.close()
