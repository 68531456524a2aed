"""Sources of lists: fetched in steps that are whole, gone on with where they broke off, and never what they are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.app.known.lists import OWN, describe, drop, find_list, take_in
from fedi_safety.app.known.sources import Brought, bring, sources_of
from fedi_safety.clients.list_server import ListServer, ListServerError
from fedi_safety.config.schema import Known, KnownSource, Settings
from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import ConfigError, KnownError, KnownUsageError
from fedi_safety.core.known.types import Effect, KnownList
from fedi_safety.known.formats import read
from fedi_safety.known.sources import ListSource, fetching
from support.judged_before import World, flipped, pdq
from support.servers.publishers import File, Publisher, bomb, cut, serving, status

BLANK = b"pdq " + b"0" * 64 + b"\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.catalog.close()
    made.ledger.dispose()


@pytest.fixture
def published() -> Iterator[File]:
    publisher = File()
    with serving(publisher):
        yield publisher


def text(*hashes: bytes) -> bytes:
    return b"".join(b"pdq " + each.hex().encode() + b"\n" for each in hashes)


def fetched(world: World, source: ListSource, anew: bool = False) -> Brought:
    server = ListServer(source.name, pause_s=0.0)
    return bring(world.settings, world.ledger, world.catalog, source, server=server, anew=anew)


@pytest.mark.parametrize("name", OWN)
def test_no_source_and_no_file_makes_a_list_that_this_machine_makes_itself(
    world: World, published: File, name: str
) -> None:
    source = KnownSource(name=name, kind="url", url=published.url)
    with pytest.raises(ConfigError, match=f"made from what was {name} here"):
        sources_of(world.settings.model_copy(update={"known": Known(sources=[source])}))
    path = world.folder / "list.txt"
    path.write_bytes(text(pdq()))
    with pytest.raises(KnownUsageError, match=f"made from what was {name} here"):
        take_in(world.settings, world.ledger, world.catalog, KnownList(name), read(path))
    assert find_list(world.catalog, name) is None


def at(publisher: Publisher, **more: object) -> ListSource:
    return replace(ListSource("theirs", "url", publisher.url + "/list.txt"), **more)  # type: ignore[arg-type]


def hashes(world: World, name: str = "theirs") -> set[bytes]:
    return {entry.hash for entry in world.catalog.entries(name)}


def test_a_list_at_an_address_is_taken_in_and_applied_and_asked_for_again_only_where_it_changed(
    world: World, published: File
) -> None:
    one, two, three = pdq(), pdq(), pdq()
    world.judged("near", [flipped(one, 9)])
    world.judged("later", [two])
    published.data = text(one, three)
    came = fetched(world, at(published))
    assert came.applied is not None
    assert came.applied.moves == {("clear", "block"): 1}
    assert world.planned() == ["near"]
    again = fetched(world, at(published))
    assert (again.applied, again.fetched.complete, again.fetched.pages) == (None, True, 0)
    published.data = text(one, two)
    came = fetched(world, at(published))
    assert (came.fetched.imported.added, came.fetched.imported.removed) == (1, 1)
    assert hashes(world) == {one, two}
    assert world.verdict("later") == (Verdict.BLOCK, True)
    published.data = text(two)
    fetched(world, at(published))
    assert world.verdict("near") == (Verdict.CLEAR, True)
    world.whole()


@pytest.mark.long
def test_what_breaks_off_changes_nothing_and_the_next_fetch_brings_it(world: World, published: File) -> None:
    one, two = pdq(), pdq()
    published.data = text(one)
    fetched(world, at(published))
    published.data = text(two)
    for spoil in (cut, bomb, status(401), status(404), status(403)):
        published.spoil(spoil, times=4)
        with pytest.raises(KnownError) as raised:
            fetched(world, at(published))
        assert "secret of the server" not in raised.value.line()
        (state,) = world.catalog.sources()
        assert (hashes(world), state.failure) == ({one}, raised.value.line())
        published.spoils.clear()
    assert state.failures == 5
    came = fetched(world, at(published))
    assert came.fetched.complete
    (state,) = world.catalog.sources()
    assert (hashes(world), state.failures, state.failure) == ({two}, 0, "")


@pytest.mark.parametrize("data", [b"", b"<html><body>Log in</body></html>", b"pdq 00\n", b"\x1f\x8b cut", BLANK])
def test_an_answer_without_a_hash_leaves_the_list(world: World, published: File, data: bytes) -> None:
    one = pdq()
    published.data = text(one)
    fetched(world, at(published))
    published.data = data
    with pytest.raises(KnownError, match=r"^(source )?theirs: ") as raised:
        fetched(world, at(published))
    assert hashes(world) == {one}
    assert "/tmp" not in raised.value.line()


def test_what_may_pass_is_tried_again_and_who_asks_to_wait_is_not_asked_until_then(
    world: World, published: File
) -> None:
    published.data = text(pdq())
    published.spoil(status(500), times=3)
    fetched(world, at(published))
    assert len(published.asked) == 4
    published.data = text(pdq())
    published.spoil(status(429, Retry_After="3600"))
    with pytest.raises(ListServerError) as raised:
        fetched(world, at(published))
    assert (len(published.asked), raised.value.retry_s) == (5, 3600.0)


def test_its_terms_are_those_of_the_configuration_until_somebody_says_otherwise(world: World, published: File) -> None:
    published.data = text(pdq())
    fetched(world, at(published, effect=Effect.BLOCK, distance=10))
    made = find_list(world.catalog, "theirs")
    assert made is not None
    assert (made.effect, made.distance, made.redistribute, made.origin) == (Effect.BLOCK, 10, False, "127.0.0.1")
    describe(world.settings, world.ledger, world.catalog, replace(made, effect=Effect.REVIEW))
    published.data = text(pdq())
    fetched(world, at(published, distance=10))
    known = find_list(world.catalog, "theirs")
    assert known is not None and known.effect is Effect.REVIEW
    fetched(world, at(published, distance=12))
    known = find_list(world.catalog, "theirs")
    assert known is not None and (known.effect, known.distance) == (Effect.BLOCK, 12)


def test_a_list_from_a_source_takes_no_file_and_a_source_no_list_of_others(world: World, published: File) -> None:
    published.data = text(pdq())
    file = world.folder / "mine.txt"
    file.write_bytes(text(pdq()))
    take_in(world.settings, world.ledger, world.catalog, KnownList("mine"), read(file))
    with pytest.raises(KnownUsageError, match="from no source"):
        fetched(world, at(published, name="mine"))
    fetched(world, at(published))
    with pytest.raises(KnownUsageError, match="fetched from a source"):
        take_in(world.settings, world.ledger, world.catalog, KnownList("theirs"), read(file))
    drop(world.settings, world.ledger, world.catalog, "theirs")
    assert world.catalog.sources() == ()
    fetched(world, at(published))
    assert len(hashes(world)) == 1


def test_another_address_begins_anew_and_what_was_there_goes(world: World, published: File) -> None:
    one, two = pdq(), pdq()
    published.data = text(one)
    fetched(world, at(published))
    other = File(text(two))
    with serving(other):
        fetched(world, at(other))
    assert hashes(world) == {two}
    assert other.asked[0].headers["If-None-Match"] is None


@pytest.mark.parametrize(
    ("secret", "header"), [("me:pass word", "Basic bWU6cGFzcyB3b3Jk"), ("a-token", "Bearer a-token")]
)
def test_credentials_come_from_a_file_or_a_variable_and_stand_in_no_message(
    world: World, published: File, secret: str, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.data, published.secret = text(pdq()), header
    file = world.folder / "secret"
    file.write_text(secret + "\n")
    monkeypatch.setenv("LIST_SECRET", secret)
    for said in ({"credentials_file": str(file)}, {"credentials_variable": "LIST_SECRET"}):
        world.settings = configured(world, KnownSource(name="theirs", kind="url", url=published.url, **said))
        (source,) = sources_of(world.settings)
        assert fetched(world, source, anew=True).fetched.complete
        published.spoil(status(403))
        with pytest.raises(KnownUsageError) as raised:
            fetched(world, source, anew=True)
        assert secret not in raised.value.line() + repr(source) + repr(world.catalog.sources())
    asked = len(published.asked)
    with pytest.raises(KnownUsageError, match="unencrypted"):
        fetched(world, replace(source, url="http://social.example/list.txt"))
    assert len(published.asked) == asked


def configured(world: World, *sources: KnownSource) -> Settings:
    return world.settings.model_copy(update={"known": Known(sources=list(sources))})


def test_credentials_follow_no_redirect_to_another_host_and_what_is_told_goes_to_none(
    world: World, published: File
) -> None:
    other = File(text(pdq()))
    with serving(other):
        published.spoil(status(302, Location=f"{other.url}/moved"), times=9)
        fetched(world, at(published, credentials=lambda: "me:secret"))
        assert [(asked.path, asked.headers["Authorization"]) for asked in other.asked] == [("/moved", None)]
        world.judged("one", [pdq()])
        published.spoils.clear()
        published.spoil(status(307, Location=f"{other.url}/v1/pdq/"), times=9)
        shield = ListSource("shield", "arachnid_shield", published.url, credentials=lambda: "me:secret")
        with pytest.raises(KnownUsageError, match="redirects elsewhere"):
            fetched(world, shield)
        assert len(other.asked) == 1


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ({"kind": "ncmec"}, "wants an url"),
        ({"kind": "arachnid_shield"}, "send_hashes = true"),
        ({"kind": "url", "url": "https://a.example", "send_hashes": True}, "sends nothing"),
        ({"kind": "stopncii", "redistribute": True}, "agreement"),
        ({"kind": "url", "url": "https://a.example", "name": "twice"}, "two of that name"),
    ],
)
def test_a_source_that_cannot_be_one_is_refused_before_anybody_is_asked(
    world: World, said: dict[str, Any], cause: str
) -> None:
    first = KnownSource(name="twice", kind="url", url="https://b.example")
    with pytest.raises(ConfigError, match=cause):
        sources_of(configured(world, first, KnownSource(**{"name": "theirs", **said})))


def test_only_entries_of_the_wanted_categories_come_and_one_that_is_none_of_them_any_more_goes(
    world: World, published: File
) -> None:
    one, two = pdq(), pdq()
    published.data = f"kind,hash,id,category\npdq,{one.hex()},1,A1\npdq,{two.hex()},2,B2\n".encode()
    came = fetched(world, at(published, categories=("A1",)))
    assert (hashes(world), came.fetched.left_out) == ({one}, 1)


def test_more_than_anybody_publishes_is_not_taken_in(
    world: World, published: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MOST_ITEMS", 3)
    published.data = text(*(pdq() for _ in range(4)))
    with pytest.raises(KnownError, match="more than 3 entries"):
        fetched(world, at(published))
    assert world.catalog.lists() == ()
