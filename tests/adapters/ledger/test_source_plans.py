"""How SQLite finds what is asked for: from the few that are condemned on, by the page, never through all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety.core.sightings import SourceKind
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from support.fakes import FakeClock
from support.query_plans import reads_of
from support.sources import STORE, condemned, seen, sha


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    made = open_ledger(tmp_path / "ledger.db", clock=FakeClock())
    condemned(made, {"one": [seen("a.example", "@x", person_id="7")]})
    yield made
    made.dispose()


@pytest.mark.parametrize("store", [None, STORE])
@pytest.mark.parametrize("by", SourceKind)
def test_sources_are_read_from_their_counters_alone(ledger: SqlLedger, by: SourceKind, store: str | None) -> None:
    reads = reads_of(ledger, "source_tallies", lambda: ledger.sources(by, store))
    steps = [step for each in reads for step in each]
    assert steps and all(step.startswith("SEARCH source_tallies USING ") and "(kind=?" in step for step in steps), steps
    assert reads_of(ledger, "sightings", lambda: ledger.sources(by, store)) == []


@pytest.mark.parametrize("store", [None, STORE])
@pytest.mark.parametrize("by", SourceKind)
def test_when_a_source_was_seen_last_is_looked_up_among_its_own(
    ledger: SqlLedger, by: SourceKind, store: str | None
) -> None:
    """That is where the content went that was seen there last."""
    condemned(ledger, {"two": [seen("a.example", "@x", person_id="7")]}, at=1_800_000_001.0)
    ledger.dismiss(sha("two"), "a false alarm", by="ada")
    reads = reads_of(ledger, "sightings", lambda: ledger.sources(by, store))
    assert reads, "it is not looked up"
    for step in (step for each in reads for step in each):
        assert step.startswith(("SEARCH", "SCAN stores")), reads


def test_what_stands_condemned_goes_through_no_other_plans(ledger: SqlLedger) -> None:
    """Of each object its own plans are read, however many are open, and of contents those that are not clear."""
    (reads,) = reads_of(ledger, "plans", lambda: ledger.condemned(None, limit=9))
    assert not [step for step in reads if step.startswith("SCAN") and step.split()[1] != "stores"], reads
    assert [step for step in reads if "plans USING" in step and "object_id=?" not in step] == []
    assert any("contents USING COVERING INDEX ix_contents_not_clear" in step for step in reads), reads


def test_a_page_of_scores_reads_the_objects_of_its_contents_alone(ledger: SqlLedger) -> None:
    found = reads_of(ledger, "objects", lambda: list(ledger.score_pages()))
    assert any(" objects " in step for reads in found for step in reads), "it is asked how many there are"
    for reads in found:
        searches = [step for step in reads if " objects " in step]
        assert all("ix_objects_content_id_group_id (content_id>? AND content_id<?)" in step for step in searches), reads
