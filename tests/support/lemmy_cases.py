"""What a Lemmy's database tells, the same cases for each version on its real tables.

The tracer logs in as a role that has what `doctor` prints and nothing else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from fedi_safety.config.schema import Trace
from fedi_safety.core.errors import TraceError
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing import open_tracer
from fedi_safety.tracing import questions as searching
from fedi_safety.tracing.database import grants
from fedi_safety.tracing.lemmy_database import searched_by
from fedi_safety.tracing.lemmy_names import Names, questions
from fedi_safety.tracing.lemmy_schema import Search, Tables
from fedi_safety.tracing.questions import MOST
from support.lemmy_records import FAR, HOST, ROOT, LemmyRecords
from support.needs import needs
from support.servers.lemmy import DATABASE, Release, lemmy_postgresql
from support.servers.postgresql import PostgresqlServer

ROLE = "fedi_safety"
KINDS = SightingKind
_numbers = count(1)


def new_name() -> str:
    """Return a name that no other person, community or host of any test has, nor the same test's second try."""
    return f"name{next(_numbers)}"


def new_alias() -> str:
    """Return an alias that no other test has."""
    return f"{next(_numbers):08x}-6d0a-4a37-9a51-4d7d4ac6f8b1.png"


class LemmyCases:
    """The cases; a subclass names the version."""

    release: ClassVar[Release]
    tables: ClassVar[Tables]

    @pytest.fixture(scope="class")
    @staticmethod
    @needs("lemmy", "postgresql")
    def server(request: pytest.FixtureRequest) -> Iterator[PostgresqlServer]:
        cases = request.cls
        with lemmy_postgresql(cases.release) as running:
            running.execute(*grants(cases.tables.schema.reads, role=ROLE, database=DATABASE), database=DATABASE)
            with LemmyRecords(running, cases.release) as made:
                made.site()
                made.community("ours")
            yield running

    @pytest.fixture
    def records(self, server: PostgresqlServer) -> Iterator[LemmyRecords]:
        with LemmyRecords(server, self.release) as made:
            yield made

    def traced(
        self, server: PostgresqlServer, subject: Subject, within_s: float = 20, database: str = DATABASE
    ) -> Traced:
        access = Trace(server="lemmy", database=SecretStr(server.dsn(ROLE, database)))
        tracer = open_tracer(access)
        assert tracer is not None
        try:
            return tracer.trace(subject, within_s=within_s)
        finally:
            tracer.close()

    def found(self, server: PostgresqlServer, subject: Subject) -> list[Sighting]:
        """Trace, and see that nothing was left out and all of it is the database's word."""
        answer = self.traced(server, subject)
        assert (answer.unknown, answer.closed) == ("", ())
        assert all(sighting.way is SightingWay.DATABASE for sighting in answer.sightings)
        return list(answer.sightings)

    def test_each_place_where_a_picture_is_in_use_is_found_with_who_put_it_there(
        self, server: PostgresqlServer, records: LemmyRecords
    ) -> None:
        alias = new_alias()
        shown = f"{ROOT}/pictrs/image/{alias}"
        name, stranger, host = new_name(), new_name(), f"{new_name()}.example"
        me = records.person(name, avatar=shown)
        them = records.person(stranger, FAR, banner=f"{shown}?format=webp")
        records.upload(alias, me)
        community = records.community(name, icon=shown)
        far_community = records.community(stranger, FAR, banner=f"{ROOT}/api/v4/image/{alias}")
        linked = records.post(them, community, FAR, url=f"{shown}?format=webp&thumbnail=256")
        told = records.post(me, community, body=f"look: ![]({shown})")
        shrunk = records.post(them, community, FAR, thumbnail_url=shown)
        said = records.comment(them, told, f"[this](https://other.example/pictrs/image/{alias}?x=1).", FAR)
        sent = records.message(them, me, f"see {shown}.")
        site = records.site(host, icon=shown)
        emoji: dict[str, Any] = {"local_site_id": 1} if records.is_0_19 else {}
        smile = records.add("custom_emoji", shortcode=f"e{linked}", image_url=shown, alt_text="", category="", **emoji)
        # Neither of these is it.
        records.post(me, community, body=f"{shown}2 and /image/x{alias} and {alias}")
        records.post(me, community, url=f"{shown}.webp")
        found = self.found(server, Subject(aliases=(alias,)))
        assert all(sighting.certainty is Certainty.CERTAIN for sighting in found)
        mine, theirs = (f"{ROOT}/u/{name}", HOST, True, str(me)), (f"https://{FAR}/u/{stranger}", FAR, False, str(them))
        nobody, nobody_far = (None, HOST, True, None), (None, FAR, False, None)
        expected = {
            (KINDS.UPLOAD, None, f"local_image/{alias}", None, *mine),
            (KINDS.POST, f"https://{FAR}/post/{linked}", f"post/{linked}", str(linked), *theirs),
            (KINDS.POST, f"{ROOT}/post/{told}", f"post/{told}", str(told), *mine),
            (KINDS.LINK_PREVIEW, f"https://{FAR}/post/{shrunk}", f"post/{shrunk}", str(shrunk), *theirs),
            (KINDS.COMMENT, f"https://{FAR}/comment/{said}", f"comment/{said}", str(said), *theirs),
            (KINDS.AVATAR, f"{ROOT}/u/{name}", f"person/{me}", None, *mine),
            (KINDS.BANNER, f"https://{FAR}/u/{stranger}", f"person/{them}", None, *theirs),
            (KINDS.ICON, f"{ROOT}/c/{name}", f"community/{community}", None, *nobody),
            (KINDS.BANNER, f"https://{FAR}/c/{stranger}", f"community/{far_community}", None, *nobody_far),
            (KINDS.ICON, f"https://{host}/", f"site/{site}", None, None, host, False, None),
            (KINDS.EMOJI, None, f"custom_emoji/{smile}", None, None, None, True, None),
        }
        message = {s for s in found if s.kind is KINDS.MESSAGE}
        assert {(s.record, s.post_id, s.person_id) for s in message} == {
            (f"private_message/{sent}", str(sent), str(them))
        }
        rows = {
            (s.kind, s.url, s.record, s.post_id, s.person, s.instance, s.local, s.person_id)
            for s in found
            if s not in message
        }
        assert rows == expected
        timed = {KINDS.UPLOAD, KINDS.POST, KINDS.COMMENT, KINDS.LINK_PREVIEW, KINDS.MESSAGE, KINDS.EMOJI}
        assert all((s.at is not None and abs(s.at - time.time()) < 600) == (s.kind in timed) for s in found)

    def test_every_alias_leads_to_its_own_uploader(self, server: PostgresqlServer, records: LemmyRecords) -> None:
        aliases = [new_alias() for _ in range(30)]
        people = {alias: records.person(new_name()) for alias in aliases}
        for alias, person in people.items():
            records.upload(alias, person)
        found = self.found(server, Subject(aliases=tuple(aliases)))
        assert {(s.record, s.person_id) for s in found} == {(f"local_image/{a}", str(p)) for a, p in people.items()}
        # The address alone does, and nothing is found by what is no name of it.
        (one,) = self.found(server, Subject(url=f"https://cdn.example/pictrs/image/{aliases[3]}?format=jpg"))
        assert one.person_id == str(people[aliases[3]])
        assert self.found(server, Subject(aliases=(new_alias(),))) == []

    def test_a_proxied_copy_leads_to_where_its_origin_is_named(
        self, server: PostgresqlServer, records: LemmyRecords
    ) -> None:
        origin = f"https://{FAR}/pictrs/image/{new_alias()}?a=1\\&b=ü_100%"
        them = records.person(new_name(), FAR)
        records.add("remote_image", "link", link=origin)
        linked = records.post(them, 1, FAR, url=origin)
        old = records.post(them, 1, FAR, body=f"![]({ROOT}/api/v3/image_proxy?url={quote(origin, safe='')})")
        plain = records.post(them, 1, FAR, body=f"see {origin}, there")
        new = records.comment(them, old, f"{ROOT}/api/v4/image/proxy?url={quote(origin, safe='')}&file_type=webp", FAR)
        shrunk = records.post(them, 1, FAR, thumbnail_url=f"{ROOT}/api/v3/image_proxy?url={quote(origin, safe='')}")
        records.post(them, 1, FAR, body=f"{origin}/more, {origin}2")
        found = self.found(server, Subject(origins=(origin,)))
        assert {(s.kind, s.certainty, s.record, s.instance) for s in found} == {
            (KINDS.PROXIED_COPY, Certainty.CERTAIN, "remote_image", FAR),
            (KINDS.POST, Certainty.LIKELY, f"post/{linked}", FAR),
            (KINDS.POST, Certainty.LIKELY, f"post/{old}", FAR),
            (KINDS.POST, Certainty.LIKELY, f"post/{plain}", FAR),
            (KINDS.COMMENT, Certainty.LIKELY, f"comment/{new}", FAR),
            (KINDS.LINK_PREVIEW, Certainty.LIKELY, f"post/{shrunk}", FAR),
        }
        url = f"{ROOT}/api/v3/image_proxy?url={quote(origin, safe='')}"
        assert set(self.found(server, Subject(url=url))) == set(found)

    def test_hostile_names_find_nothing_and_break_nothing(
        self, server: PostgresqlServer, records: LemmyRecords
    ) -> None:
        me = records.person(new_name())
        records.post(me, 1, body=f"{ROOT}/pictrs/image/{new_alias()} 100% _ \\ '")
        for bad in (
            "%",
            "_" * 20,
            "a",
            "';DROP TABLE post;--",
            "x" * 5000,
            "\0",
            "\udcff",
            ".*" * 10,
            "https://%%%%%%",
        ):
            subject = Subject(key="files/readme.txt", aliases=(bad,), origins=(bad,))
            assert self.traced(server, subject).sightings == (), bad
        assert records.post(me, 1) > 0

    def test_so_many_uses_are_named_up_to_a_bound(self, server: PostgresqlServer, records: LemmyRecords) -> None:
        alias = new_alias()
        me = records.person(new_name())
        for _ in range(MOST + 5):
            records.post(me, 1, url=f"{ROOT}/pictrs/image/{alias}")
        answer = self.traced(server, Subject(aliases=(alias,)))
        assert len(answer.sightings) == MOST
        assert f"more posts than the {MOST}" in answer.unknown

    def test_without_a_name_its_path_is_left_and_what_helps_is_said(self, server: PostgresqlServer) -> None:
        answer = self.traced(server, Subject(key="files/01/8e/0a/1b/2c/3d/7e/4f/80/9a/bcdef0123456.webp"))
        (seen,) = answer.sightings
        assert (seen.way, seen.at) == (SightingWay.PATH, 1709566536.765)
        assert "set `pictrs.url` and `pictrs.api_key`" in answer.unknown
        assert answer.closed == ()

    def test_what_has_no_index_is_skipped_with_a_word_when_it_takes_too_long(
        self, server: PostgresqlServer, records: LemmyRecords, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import psycopg

        alias = new_alias()
        me = records.person(new_name())
        records.upload(alias, me)
        with psycopg.connect(server.dsn(database=DATABASE)) as busy:
            busy.execute("LOCK TABLE private_message IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            answer = self.traced(server, Subject(aliases=(alias,)), within_s=2)
            monkeypatch.setattr(searching, "SCAN_S", 0.3)
            again = self.traced(server, Subject(aliases=(alias,)), within_s=40)
            assert time.monotonic() - began < 20
        assert again.sightings == answer.sightings
        assert [s.person_id for s in answer.sightings] == [str(me)]
        assert re.fullmatch(r"messages: skipped after [0-9.]+ s, as no index leads there", answer.unknown)
        assert answer.closed == ()

    def test_a_search_that_should_be_quick_and_is_not_leaves_what_was_found_and_is_made_again(
        self, server: PostgresqlServer, records: LemmyRecords
    ) -> None:
        import psycopg

        alias = new_alias()
        me = records.person(new_name())
        records.upload(alias, me)
        with psycopg.connect(server.dsn(database=DATABASE)) as busy:
            busy.execute("LOCK TABLE comment IN ACCESS EXCLUSIVE MODE")
            answer = self.traced(server, Subject(aliases=(alias,)), within_s=1)
            assert [s.person_id for s in answer.sightings] == [str(me)]
            assert "no answer within" in answer.closed[0]
            busy.execute("LOCK TABLE local_image IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(TraceError, match="no answer within"):
                self.traced(server, Subject(aliases=(new_alias(),)), within_s=1)

    def test_tables_of_another_version_are_refused_in_one_line(self, server: PostgresqlServer) -> None:
        name = f"other{next(_numbers)}"
        server.execute(f"CREATE DATABASE {name}")
        with pytest.raises(TraceError) as caught:
            self.traced(server, Subject(aliases=(new_alias(),)), database=name)
        assert "it is no database of" in caught.value.line() and "\n" not in caught.value.line()
        server.execute("CREATE TABLE local_image (pictrs_alias text, local_user_id int)", database=name)
        with pytest.raises(TraceError, match=r"it has no table .*; the schema of Lemmy 1.0, Lemmy 0.19 is expected"):
            self.traced(server, Subject(aliases=(new_alias(),)), database=name)

    def test_every_search_goes_by_an_index_or_says_that_it_may_not(
        self, server: PostgresqlServer, records: LemmyRecords
    ) -> None:
        records.many(people=400, posts=4000, comments=4000)
        scans = [search.what for search in self.tables.searches if not self.by_index(server, search)]
        assert scans == [search.what for search in self.tables.searches if not search.indexed], scans
        assert scans == [
            "thumbnails of posts",
            "avatars and banners of people",
            "icons and banners of communities",
            "icons and banners of sites",
            "messages",
        ]

    def by_index(self, server: PostgresqlServer, search: Search) -> bool:
        """Whether the searched table is read by a condition on an index, in every form that the search takes."""
        asked = questions(Names((new_alias(), new_alias()), (f"https://{FAR}/{new_alias()}",)), [ROOT])
        plans = [
            plan
            for question in asked
            for params in searched_by(question, search.by)
            for plan in explained(server, search.query, {**params, "most": MOST})
        ]
        assert plans, f"{search.what}: nothing was asked"
        # By what is searched for, that is: an index may also serve to join, after all has been read.
        return all("ANY" in str(plan.get("Index Cond", plan.get("Recheck Cond"))) for plan in plans)


def explained(
    server: PostgresqlServer, query: str, params: dict[str, object], *, seqscan: bool = False
) -> list[dict[str, object]]:
    """Return the nodes of a query's plan that read the searched table, `x`.

    Few rows would be read whole, index or not: that takes `seqscan`.
    """
    import psycopg

    with psycopg.connect(server.dsn(database=DATABASE)) as connection:
        connection.execute("SELECT set_config('enable_seqscan', %s, false)", ["on" if seqscan else "off"])
        row = connection.execute(f"EXPLAIN (FORMAT json) {query}".encode(), params).fetchone()
    assert row is not None
    nodes: list[dict[str, object]] = []
    left: list[dict[str, object]] = [row[0][0]["Plan"]]
    while left:
        node = left.pop()
        nodes.append(node)
        more = node.get("Plans", [])
        assert isinstance(more, Sequence)
        left += more
    return [node for node in nodes if node.get("Alias") == "x"]
