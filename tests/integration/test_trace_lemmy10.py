"""Lemmy 1.0 on its real tables: what its database tells of a picture; see support/lemmy_cases.py for most of it."""

from __future__ import annotations

from fedi_safety.core.sightings import SightingKind, Subject
from fedi_safety.tracing.lemmy_schema import V1_0 as TABLES
from support.lemmy_cases import LemmyCases, new_alias, new_name
from support.lemmy_records import FAR, ROOT, LemmyRecords
from support.servers.lemmy import DATABASE, V1_0
from support.servers.postgresql import PostgresqlServer


class TestLemmy10(LemmyCases):
    release = V1_0
    tables = TABLES

    def test_a_preview_that_lemmy_fetched_itself_leads_to_its_post_by_an_index(
        self, server: PostgresqlServer, records: LemmyRecords
    ) -> None:
        alias = new_alias()
        them = records.person(new_name(), FAR)
        post = records.post(them, 1, FAR, url="https://news.example/1", thumbnail_url=f"{ROOT}/api/v4/image/{alias}")
        records.upload(alias, them, post)
        (seen,) = self.found(server, Subject(aliases=(alias,)))
        assert (seen.kind, seen.record) == (SightingKind.LINK_PREVIEW, f"local_image/{alias}")
        assert (seen.url, seen.post_id, seen.person_id) == (f"https://{FAR}/post/{post}", str(post), str(them))

    def test_an_old_preview_without_its_post_is_searched_for(
        self, server: PostgresqlServer, records: LemmyRecords
    ) -> None:
        alias = new_alias()
        them = records.person(new_name(), FAR)
        post = records.post(them, 1, FAR, thumbnail_url=f"{ROOT}/pictrs/image/{alias}")
        records.upload(alias, None)
        found = self.found(server, Subject(aliases=(alias,)))
        assert [(s.record, s.post_id) for s in found] == [
            (f"local_image/{alias}", None),
            (f"post/{post}", str(post)),
        ]

    def test_purging_a_person_takes_the_record_of_their_uploads_with_it(
        self, server: PostgresqlServer, records: LemmyRecords
    ) -> None:
        """Why it is traced before it is acted: afterwards nobody knows."""
        alias = new_alias()
        name = new_name()
        me = records.person(name)
        records.upload(alias, me)
        (seen,) = self.found(server, Subject(aliases=(alias,)))
        assert seen.person == f"{ROOT}/u/{name}"
        server.execute(f"DELETE FROM person WHERE id = {me}", database=DATABASE)
        assert self.found(server, Subject(aliases=(alias,))) == []
