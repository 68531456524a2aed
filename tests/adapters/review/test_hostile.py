"""Whatever stands in the ledger shows as text: hostile words in every column of words, on every page there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Column, LargeBinary, Table, Text, select, update

from fedi_safety.ledger.schema import contents, metadata
from fedi_safety.review.rules import ROLES
from support.review_filled import fill
from support.review_markup import read
from support.review_routes import Found, crawl
from support.reviewing import Reviewing, reviewing

pytestmark = pytest.mark.long  # tests/adapters/review/test_pages.py has a share of it
WORDS = {
    *("contents.verdict", "judgements.verdict", "objects.state", "objects.reason", "plans.act", "plans.state"),
    *("acts.outcome", "runs.act", "uploads.state", "traces.state", "sightings.kind", "sightings.way"),
    *("sightings.certainty", "app_actions.state", "app_actions.target", "app_actions.action", "seals.state"),
    *("review_decisions.kind", "review_decisions.state", "embeddings.encoding", "notices.state", "notices.transition"),
    *(
        "object_groups.state",
        "object_groups.verdict",
        "object_groups.reason",
        "tallies.what",
        "tallies.name",
        "run_tallies.verdict",
    ),
}
"""Columns that hold one of a few words of the program's own, which it would not read otherwise."""
LEFT = {"review_sessions.person", "review_sessions.stamp", "review_decisions.batch"}
"""By which the test itself gets in, and by which decisions are found."""
NULLABLE_JSON = {"acts.receipt", "uploads.told", "judgements.signals", "notices.rules"}
ELSEWHERE = {"contents.reasons", "judgements.labels", "judgements.reasons", "judgements.signals"}
"""Columns that are empty where another row tells what they would."""
KEYS = {"objects.key", "traces.key", "seals.key"}
SHOWN = {
    *("objects.key", "contents.reasons", "reason_shapes.body", "stores.url", "stores.breaker", "stores.action_breaker"),
    *("detector_sets.body", "judgements.policy", "plans.error"),
    *("sightings.person", "sightings.instance", "sightings.url", "traces.detail", "seals.held", "seals.authority"),
    *("seals.reference", "review_decisions.reason", "review_decisions.by", "review_decisions.detail", "events.payload"),
    *("uploads.sender", "app_actions.detail"),
}
"""Columns whose words are certainly on a page, so that the rest of this is about something."""
HOSTILE = (
    "<script>document.title='run'</script>\"><img src=x onerror=alert(1)> 'quoted' {{ 7 * 7 }} {% raw %} a\u202egnp.exe"
    " \u2066 \x1b[31m </option></select></title> =cmd|' /C calc'!A0\r\nSet-Cookie: x "
) + "long " * 750
MOST_BYTES = 60_000


def mark(column: Column[Any]) -> str:
    return f"{column.table.name}.{column.name}"


def words_of(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if isinstance(column.type, Text) and mark(column) not in WORDS | LEFT]


def spoilt(value: Any, marked: str) -> Any:
    """The same JSON with every string and every free name in it replaced; the program's own names and words stay."""
    if isinstance(value, str):
        return value if re.fullmatch(r"[a-z_.]{1,14}|", value) else f"@{marked}@ {HOSTILE}"
    if isinstance(value, list):
        return [spoilt(each, marked) for each in value]
    if isinstance(value, dict):
        return {
            f"@{marked}@ {name} {HOSTILE[:80]}" if "." in name else name: spoilt(each, marked)
            for name, each in value.items()
        }
    return value


def new_value(column: Column[Any], old: Any, number: int) -> Any:
    if mark(column) in KEYS:
        return f"@{mark(column)}@ {number} {HOSTILE}".encode() + b"\xff\xfe"
    if mark(column) in NULLABLE_JSON and old is None:
        return None
    if mark(column) in ELSEWHERE and old == "":
        return ""
    if isinstance(old, str) and old[:1] in ("{", "["):
        return json.dumps(spoilt(json.loads(old), mark(column)), sort_keys=True, separators=(",", ":"))
    return f"@{mark(column)}@ {number} {HOSTILE}"


def spoil(here: Reviewing) -> set[str]:
    """Put hostile words into every row; return the columns that had one."""
    met: set[str] = set()
    with here.ledger.database.write() as connection:  # type: ignore[attr-defined]
        for table in metadata.sorted_tables:
            columns = [*words_of(table), *(c for c in table.columns if mark(c) in KEYS)]
            own = list(table.primary_key.columns)
            for number, row in enumerate(connection.execute(select(table)).mappings().all() if columns else ()):
                values = {column.name: new_value(column, row[column.name], number) for column in columns}
                where = [column == row[column.name] for column in own]
                connection.execute(update(table).where(*where).values(**values))
                met |= {mark(column) for column in columns}
    return met


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with reviewing(tmp_path_factory.mktemp("hostile"), {"all": list(ROLES)}, undo_s=600) as here:
        fill(here)
        assert spoil(here) >= SHOWN
        browser = here.signed_in("all")
        found: Found = crawl(browser)
        with here.ledger.database.read() as connection:  # type: ignore[attr-defined]
            every = [
                f"/review/object/{sha256.hex()}" for sha256 in connection.execute(select(contents.c.sha256)).scalars()
            ]
        yield {place: browser.get(place) for place in (*(place for _, place in found.every()), *every)}


def test_a_column_is_of_one_kind_and_those_named_here_exist() -> None:
    known = {mark(c) for t in metadata.sorted_tables for c in t.columns if isinstance(c.type, Text | LargeBinary)}
    assert (WORDS | LEFT | KEYS | SHOWN | NULLABLE_JSON) - known == set()


def test_every_page_is_sound_small_and_says_it_all_as_text(pages: dict[str, Any]) -> None:
    text = ""
    for place, answer in pages.items():
        if answer.headers.get("content-type", "").startswith("text/html"):
            page = read(answer.text)  # no script, no picture, no tag that does not close
            text += page.text
            assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x1b]", page.text), place
            assert "run'</script>" not in answer.text
    assert len(text) > 50_000
    assert {column for column in SHOWN if f"@{column}@" not in text} == set()
    for said in ("<script>document.title='run'", "{{ 7 * 7 }}", r"\u202e", r"\x1b[31m", "</option>"):
        assert said in text, said
    sizes = {place: len(answer.content) for place, answer in pages.items() if "/export" not in place}
    assert {place[:60]: size for place, size in sizes.items() if size > MOST_BYTES} == {}


def test_no_header_is_made_of_them(pages: dict[str, Any]) -> None:
    for place, answer in pages.items():
        assert "set-cookie" not in answer.headers, place
        assert len(answer.headers.get("location", "")) < 8192, place
