"""Each kind of source as its publisher answers: pages, deletions, withdrawals and replacements, and what breaks off."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fedi_safety.app.known.sources import Brought, bring
from fedi_safety.clients.list_server import ListServer
from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import KnownError, KnownUsageError
from fedi_safety.known.sources import KINDS, ListSource, ncmec
from support.judged_before import World, flipped, md5, pdq
from support.servers.publishers import (
    Arachnid,
    Ncmec,
    Publisher,
    Record,
    Reply,
    StopNcii,
    Terrorism,
    bomb,
    cut,
    serving,
    status,
)

NOW = int(time.time())
LONG_AGO, SINCE = NOW - 8_000_000, NOW + 20
ONE, TWO, THREE, FOUR = (pdq() for _ in range(4))


def records(*hashes: bytes, kind: str = "pdq") -> dict[str, Record]:
    return {str(n): Record(LONG_AGO + n, {kind: each.hex()}) for n, each in enumerate(hashes, 1)}


MAKES: dict[str, tuple[Callable[[dict[str, Record]], Publisher], str, str, str]] = {
    "ncmec": (Ncmec, "/hashsharing", "me:secret", "pdq"),
    "stopncii": (StopNcii, "/v1", "function,subscription", "ImagePDQ"),
    "tech_against_terrorism": (Terrorism, "", "me:secret", "PDQ"),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.catalog.close()
    made.ledger.dispose()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def published(stack: ExitStack, kind: str, *hashes: bytes) -> tuple[Publisher, ListSource, dict[str, Record]]:
    make, path, secret, word = MAKES[kind]
    there = records(*hashes, kind=word)
    publisher = make(there)
    stack.enter_context(serving(publisher))
    source = ListSource("theirs", kind, publisher.url + path, credentials=lambda: secret)
    return publisher, source, there


def fetched(world: World, source: ListSource, *, anew: bool = False, later_s: float = 0.0) -> Brought:
    server = ListServer(source.name, pause_s=0.0)
    return bring(
        world.settings,
        world.ledger,
        world.catalog,
        source,
        server=server,
        anew=anew,
        now=lambda: time.time() + later_s,
    )


def listed(world: World) -> set[bytes]:
    there = {known.name for known in world.catalog.lists()}
    return {entry.hash for entry in world.catalog.entries("theirs")} if "theirs" in there else set()


@pytest.mark.parametrize("kind", MAKES)
def test_what_changed_since_is_asked_for_and_what_was_taken_back_goes(
    world: World, stack: ExitStack, kind: str
) -> None:
    publisher, source, there = published(stack, kind, ONE, TWO, THREE)
    world.judged("near", [flipped(ONE, 9)])
    world.judged("later", [FOUR])
    came = fetched(world, source)
    assert listed(world) == {ONE, TWO, THREE}
    assert (came.fetched.complete, came.fetched.imported.added, world.planned()) == (True, 3, ["near"])
    assert fetched(world, source, later_s=1.0).applied is None
    word = next(iter(there["1"].hashes))
    there["1"] = Record(SINCE, there["1"].hashes, gone=True)
    there["2"] = Record(SINCE, {word: FOUR.hex()})
    if kind == "stopncii":  # whose records are named by their hash: another one is another record
        there["5"] = Record(SINCE, {word: TWO.hex()}, gone=True)
    asked = len(publisher.asked)
    came = fetched(world, source, later_s=300.0)
    assert listed(world) == {THREE, FOUR}
    assert came.fetched.withdrawn == (2 if kind == "stopncii" else 1)
    assert world.verdict("near") == (Verdict.CLEAR, True)
    assert world.verdict("later") == (Verdict.BLOCK, True)
    assert len(publisher.asked) - asked <= 4, "what was read before is not asked for again"
    assert not came.fetched.flaws
    made = next(known for known in world.catalog.lists() if known.name == "theirs")
    with pytest.raises(KnownUsageError, match="agreement"):
        world.catalog.describe(type(made)("theirs", redistribute=True))


@pytest.mark.long
@pytest.mark.parametrize("kind", MAKES)
@pytest.mark.parametrize(
    "spoil", [cut, bomb, status(500), status(401), status(429)], ids=["cut", "bomb", "500", "401", "429"]
)
def test_what_breaks_off_in_the_middle_leaves_a_state_that_the_next_fetch_completes(
    world: World, stack: ExitStack, kind: str, spoil: Callable[[Reply], Reply]
) -> None:
    publisher, source, _ = published(stack, kind, ONE, TWO, THREE, FOUR, pdq())
    publisher.spoil(spoil, times=4, after=2)
    with pytest.raises(KnownError):
        fetched(world, source)
    assert world.catalog.lists() == (), "of pages that cannot be gone on from none counts"
    (state,) = world.catalog.sources()
    assert (state.failures, state.checkpoint) == (1, "")
    publisher.spoils.clear()
    assert fetched(world, source).fetched.complete
    assert len(listed(world)) == 5


@pytest.mark.parametrize("kind", MAKES)
def test_without_credentials_nobody_is_asked(world: World, stack: ExitStack, kind: str) -> None:
    publisher, source, _ = published(stack, kind, ONE)
    for said in ("", "half"):
        with pytest.raises(KnownUsageError, match="credentials"):
            fetched(world, ListSource("theirs", kind, source.url, credentials=lambda said=said: said))  # type: ignore[misc]
    assert publisher.asked == []


def test_ncmecs_entries_go_with_every_kind_of_hash_and_lose_those_that_they_have_no_more(
    world: World, stack: ExitStack
) -> None:
    _, source, there = published(stack, "ncmec")
    there["1"] = Record(LONG_AGO, {"pdq": ONE.hex(), "md5": md5("a").hex(), "pdna": "AAAA"})
    there["2"] = Record(LONG_AGO, {"pdq": TWO.hex(), "md5": md5("b").hex()})
    came = fetched(world, source)
    assert came.fetched.flaws == {"PhotoDNA hashes": 1}
    assert len(listed(world)) == 4
    there["1"] = Record(SINCE, {"pdna": "AAAA"})
    there["2"] = Record(SINCE, {}, gone=True)
    fetched(world, source, later_s=300.0)
    assert listed(world) == set()


def test_ncmecs_deletion_counts_by_its_time_wherever_it_stands(world: World, stack: ExitStack) -> None:
    publisher, source, there = published(stack, "ncmec")
    assert isinstance(publisher, Ncmec)
    publisher.page = 1
    for number in range(6):  # in the order of their names' hashes, so some deletions come first
        there[f"{number}"] = Record(LONG_AGO, {"pdq": pdq().hex()})
    fetched(world, source)
    assert len(listed(world)) == 6
    for number in range(6):
        there[f"{number}"] = Record(SINCE, {}, gone=number % 2 == 0)
        if number % 2:
            there[f"{number}"] = Record(SINCE, {"pdq": pdq().hex()})
    fetched(world, source, later_s=300.0)
    assert len(listed(world)) == 3


@pytest.mark.long
def test_a_span_with_far_too_much_is_asked_for_in_parts_that_each_count(
    world: World, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ncmec, "MOST_OF_SPAN", 4)
    publisher, source, there = published(stack, "ncmec")
    for number in range(40):
        there[str(number)] = Record(LONG_AGO + 7 * number, {"pdq": pdq().hex()})
    publisher.spoil(lambda reply: Reply(500) if len(listed(world)) > 9 else reply, times=10_000)
    with pytest.raises(KnownError):
        fetched(world, source)
    (state,) = world.catalog.sources()
    assert 0 < len(listed(world)) < 40
    assert int(state.checkpoint) > LONG_AGO
    publisher.spoils.clear()
    fetched(world, source)
    assert len(listed(world)) == 40


@pytest.mark.parametrize("where", ["circle", "elsewhere"])
def test_pages_that_lead_in_a_circle_or_elsewhere_are_followed_no_further(
    world: World, stack: ExitStack, where: str
) -> None:
    publisher, source, _ = published(stack, "ncmec", ONE, TWO, THREE)
    other = Ncmec({})
    stack.enter_context(serving(other))
    span = b"/v2/entries?from=1970-01-01T00:00:00Z&amp;to=2070-01-01T00:00:00Z"
    said = (other.url.encode() if where == "elsewhere" else b"") + span

    def led(reply: Reply) -> Reply:
        body = re.sub(rb"<next>[^<]*", b"<next>" + said, gzip.decompress(reply.body))
        if b"<next>" not in body:
            body = body.replace(b"</queryResult>", b"<paging><next>" + said + b"</next></paging></queryResult>")
        return Reply(200, body, {})

    publisher.spoil(led, times=99)
    with pytest.raises(KnownError, match=r"circle|another address"):
        fetched(world, source)
    assert (other.asked, world.catalog.lists()) == ([], ())
    assert len(publisher.asked) < 9


def test_stopnciis_next_page_that_is_the_same_ends_the_fetch(world: World, stack: ExitStack) -> None:
    publisher, source, _ = published(stack, "stopncii", ONE, TWO, THREE)

    def again(reply: Reply) -> Reply:
        said = json.loads(reply.body) | {"hasMoreRecords": True, "nextPageToken": "token-0"}
        return Reply(200, json.dumps(said).encode())

    publisher.spoil(again, times=99)
    with pytest.raises(KnownError, match="circle"):
        fetched(world, source)
    assert len(publisher.asked) == 2


def shield(stack: ExitStack, known: dict[bytes, str]) -> tuple[Arachnid, ListSource]:
    publisher = Arachnid(known)
    stack.enter_context(serving(publisher))
    return publisher, ListSource("theirs", "arachnid_shield", publisher.url, credentials=lambda: "me:secret")


def test_arachnid_shield_is_told_hashes_once_and_what_it_knows_is_condemned(world: World, stack: ExitStack) -> None:
    publisher, source = shield(stack, {ONE: "csam", TWO: "harmful-abusive-material", THREE: "test"})
    world.judged("one", [ONE, pdq()])
    world.judged("two", [TWO])
    world.judged("three", [THREE])
    world.judged("dull", [FOUR], quality=49)
    came = fetched(world, source)
    assert listed(world) == {ONE, TWO}
    assert came.fetched.flaws == {"an entry that is there for tests": 1}
    assert world.planned() == ["one", "two"]
    assert len(publisher.told()) == came.fetched.sent == 4
    assert FOUR not in publisher.told()
    assert all(set(json.loads(asked.body)) == {"hashes"} for asked in publisher.asked)
    world.judged("later", [pdq()])
    fetched(world, source)
    (state,) = world.catalog.sources()
    assert (state.calls, state.sent, len(publisher.told())) == (2, 5, 5)


@pytest.mark.long
def test_a_call_that_failed_counts_and_what_it_asked_is_asked_again(world: World, stack: ExitStack) -> None:
    publisher, source = shield(stack, {ONE: "csam"})
    for number in range(70):
        world.judged(str(number), [pdq()])
    world.judged("one", [ONE])
    publisher.spoil(lambda _reply: Reply(200, b'{"scanned_hashes": {}}'), after=1)
    with pytest.raises(KnownError, match="every hash"):
        fetched(world, source)
    (state,) = world.catalog.sources()
    assert (state.calls, state.sent, listed(world)) == (2, 71, set())
    fetched(world, source)
    (state,) = world.catalog.sources()
    assert (state.calls, state.sent, listed(world)) == (3, 78, {ONE})


def test_kinds_of_the_configuration_are_those_that_there_are() -> None:
    from typing import get_args

    from fedi_safety.config.schema import SourceWord

    assert get_args(SourceWord) == tuple(KINDS)
    assert [kind.name for kind in KINDS.values() if kind.sends] == ["arachnid_shield"]


def test_of_another_publisher_nothing_is_left_of_the_one_before(world: World, stack: ExitStack) -> None:
    _, before, _ = published(stack, "stopncii", ONE, TWO)
    fetched(world, before)
    _, other, _ = published(stack, "stopncii", THREE)
    fetched(world, other)
    assert listed(world) == {THREE}
