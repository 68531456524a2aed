"""Mastodon's API tells whose an avatar or a banner is, and no more. The server is mastodon-mock, a double of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from fedi_safety.config.schema import Trace
from fedi_safety.core.ports import Tracer
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject
from fedi_safety.tracing import open_tracer
from support.needs import needs
from support.servers.mastodon_mock import MastodonMock, Person, mastodon_mock

TOKEN = "t0ken-never-shown"


@pytest.fixture(scope="module")
@needs("mastodon-mock")
def server() -> Iterator[MastodonMock]:
    with mastodon_mock(
        [Person("mod", token=TOKEN, role="admin"), Person("ada"), Person("eve", "far.example")]
    ) as running:
        yield running


@pytest.fixture
def tracer(server: MastodonMock) -> Iterator[Tracer]:
    yield from opened(server, TOKEN)


def opened(server: MastodonMock, token: str) -> Iterator[Tracer]:
    tracer = open_tracer(Trace(server="mastodon", url=server.url, token=SecretStr(token)))
    assert tracer is not None
    yield tracer
    tracer.close()


def shown(server: MastodonMock, name: str) -> dict[str, str]:
    found: dict[str, str] = server.ask(TOKEN, "GET", "/api/v1/accounts/lookup", params={"acct": name})
    return found


def key(own: str, attachment: str, file: str) -> str:
    digits = own.zfill(18)
    groups = "/".join(digits[at : at + 3] for at in range(0, 18, 3))
    return f"accounts/{attachment}/{groups}/original/{file}"


@pytest.mark.parametrize(
    ("name", "person", "instance"),
    [("ada", "@ada@{host}", None), ("eve@far.example", "@eve@far.example", "far.example")],
)
def test_an_avatar_and_a_banner_lead_to_the_account(
    server: MastodonMock, tracer: Tracer, name: str, person: str, instance: str | None
) -> None:
    account, host = shown(server, name), server.url.removeprefix("http://")
    own = account["id"]
    for attachment, kind, picture in (
        ("avatars", SightingKind.AVATAR, account["avatar"]),
        ("headers", SightingKind.BANNER, account["header"]),
    ):
        for file, certainty in (
            (picture.rpartition("/")[2], Certainty.CERTAIN),
            ("0123456789abcdef.png", Certainty.LIKELY),  # which was replaced since
        ):
            found = tracer.trace(Subject(key=key(own, attachment, file)), within_s=30)
            assert found.sightings == (
                Sighting(
                    kind,
                    SightingWay.API,
                    certainty,
                    url=f"{server.url}/admin/accounts/{own}",
                    person=person.format(host=host),
                    instance=instance or host,
                    local=instance is None,
                    record=f"accounts/{own}",
                    person_id=own,
                ),
            )
            assert (found.closed, found.unknown) == ((), "")


def test_an_account_that_is_gone_leaves_what_the_path_says(tracer: Tracer) -> None:
    found = tracer.trace(Subject(key=key("7", "avatars", "0123456789abcdef.png")), within_s=30)
    assert [s.way for s in found.sightings] == [SightingWay.PATH]
    assert (found.unknown, found.closed) == ("the API knows of no such record", ())


def test_what_the_api_does_not_lead_to_is_said(tracer: Tracer) -> None:
    medium = "media_attachments/files/109/876/543/210/987/654/original/0123456789abcdef.png"
    found = tracer.trace(Subject(key=medium), within_s=30)
    assert [s.way for s in found.sightings] == [SightingWay.PATH]
    assert "leads from media_attachments to nobody" in found.unknown and found.closed == ()


def test_a_token_that_is_not_accepted_closes_the_way_and_is_not_repeated(server: MastodonMock) -> None:
    avatar = Subject(key=key(shown(server, "ada")["id"], "avatars", "0123456789abcdef.png"))
    for tracer in opened(server, "another-t0ken"):
        (closed,) = tracer.trace(avatar, within_s=30).closed
        assert closed == "API of Mastodon: it does not accept the token; make a new token"
