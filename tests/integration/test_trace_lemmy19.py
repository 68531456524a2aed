"""Lemmy 0.19 on its real tables: what its database tells of a picture; see support/lemmy_cases.py for most of it."""

from __future__ import annotations

from fedi_safety.core.sightings import SightingKind, Subject
from fedi_safety.tracing.lemmy_schema import V0_19 as TABLES
from support.lemmy_cases import LemmyCases, new_alias, new_name
from support.lemmy_records import FAR, ROOT, LemmyRecords
from support.servers.lemmy import V0_19
from support.servers.postgresql import PostgresqlServer


class TestLemmy019(LemmyCases):
    release = V0_19
    tables = TABLES

    def test_a_preview_that_lemmy_fetched_itself_leads_to_the_post_that_links(
        self, server: PostgresqlServer, records: LemmyRecords
    ) -> None:
        """Its record names nobody, and the post has no index by its thumbnail."""
        alias = new_alias()
        records.upload(alias, None)
        them = records.person(new_name(), FAR)
        post = records.post(them, 1, FAR, url="https://news.example/1", thumbnail_url=f"{ROOT}/pictrs/image/{alias}")
        found = self.found(server, Subject(aliases=(alias,)))
        assert [(s.kind, s.record, s.person_id, s.post_id) for s in found] == [
            (SightingKind.LINK_PREVIEW, f"local_image/{alias}", None, None),
            (SightingKind.LINK_PREVIEW, f"post/{post}", str(them), str(post)),
        ]
