"""Attempts to trace as `show` and `trace` tell them: in words, in columns, and those that failed alike once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedi_safety.cli.show_cmd import _lines
from fedi_safety.cli.text.lookup import sighting_lines, trace_text
from fedi_safety.core.ledger.records import PastEvent, Shown
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, TraceRecord, TraceState
from support.sources import attempt, seen

MADE = attempt("key")


def ended(state: TraceState, detail: str = "", *sightings: Sighting, at: float = 1.8e9) -> TraceRecord:
    return replace(MADE, state=state, detail=detail, sightings=sightings, at=at)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (ended(TraceState.FOUND), "found"),
        (ended(TraceState.NOTHING), "it knows of nothing"),
        (ended(TraceState.UNKNOWN, "no path of its own"), "unknown: no path of its own"),
        (ended(TraceState.POORLY, "no database", seen("a.example")), "found, not in full: no database"),
        (ended(TraceState.POORLY, "no database"), "nothing found, not every way was open: no database"),
        (ended(TraceState.FAILED, "no answer"), "failed: no answer"),
        (ended(TraceState.NOT_TRACED, "no answer"), "not traced, and the removal waited no longer: no answer"),
        (ended(TraceState.NAMES), "its names are kept"),
    ],
)
def test_every_ending_is_said_in_words(record: TraceRecord, said: str) -> None:
    assert trace_text(record) == f"traced by server at social.example: {said}"
    again = replace(record, retry_at=1.8e9)
    assert trace_text(again) == f"{trace_text(record)}; asked again from 2027-01-15T08:00:00+00:00 on"


def test_every_state_has_words() -> None:
    for state in TraceState:
        assert trace_text(ended(state)).startswith("traced by ")


def test_sightings_stand_in_columns_and_what_nobody_tells_takes_no_room() -> None:
    post = Sighting(
        SightingKind.POST, SightingWay.DATABASE, Certainty.CERTAIN, "https://s.example/1", "@x", "s.example"
    )
    preview = replace(post, kind=SightingKind.LINK_PREVIEW, person="@longer", local=True, at=1.7e9)
    assert sighting_lines(replace(MADE, sightings=(post, preview))) == [
        "post          @x (s.example)                                    certain by database  https://s.example/1",
        "link preview  @longer (s.example, local)  2023-11-14 22:13 UTC  certain by database  https://s.example/1",
    ]
    assert sighting_lines(replace(MADE, sightings=(post,))) == [
        "post  @x (s.example)  certain by database  https://s.example/1"
    ]


def test_whose_it_is_is_said_once() -> None:
    def who(**told: object) -> str:
        nobody = Sighting(SightingKind.POST, SightingWay.PATH, Certainty.POSSIBLE)
        (line,) = sighting_lines(replace(MADE, sightings=(replace(nobody, **told),)))  # type: ignore[arg-type]
        return line.removeprefix("post").removesuffix("possible by path").strip()

    assert who() == ""
    assert who(person="https://a.example/u/x", instance="a.example", local=False) == "https://a.example/u/x (remote)"
    assert who(person="@x", instance="a.example") == "@x (a.example)"
    assert who(person_id="7", local=True) == "person 7 (local)"
    assert who(instance="a.example", local=False) == "a.example, remote"


def test_names_that_were_learnt_stand_below() -> None:
    subject = replace(MADE.subject, aliases=("a.png", "b.png"), origins=("https://far.example/1",))
    assert sighting_lines(replace(MADE, subject=subject)) == ["aliases a.png b.png", "origins https://far.example/1"]


def test_attempts_that_failed_alike_in_a_row_are_shown_once() -> None:
    failed = [ended(TraceState.FAILED, f"no answer within 9.{n} s", at=1.8e9 + n) for n in range(5)]
    traces = [*failed, ended(TraceState.FOUND, "", seen("a.example")), *failed[:1], ended(TraceState.UNKNOWN, "why")]
    event = PastEvent(7, 1.8e9, "traced", {"run": 1})
    lines = _lines(Shown([], MADE.subject.sha256, traces=traces, events=[event]))
    assert [line.split("social.example: ")[1] for line in lines if "traced by" in line] == [
        "failed: no answer within 9.4 s (5 times alike)",
        "found",
        "failed: no answer within 9.0 s",
        "unknown: why",
    ]
    assert not any("event 7" in line for line in lines), "the attempt itself says more"
    other = replace(failed[0], subject=replace(MADE.subject, key="another key"))
    lines = _lines(Shown([], MADE.subject.sha256, traces=[failed[0], other]))
    assert [line.split("  ")[1] for line in lines[1:]] == ["key", "another key"], (
        "which object is said where it matters"
    )
