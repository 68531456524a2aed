"""What sightings ask for: by kind, certainty, and whose people they are; and when there are too many. Tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedi_safety.core.moderation import (
    ActionState,
    AppAction,
    Offer,
    TargetKind,
    Wanted,
    Where,
    intended,
    mark_of,
    reason_of,
    too_many,
)
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, TraceRecord, TraceState

EVERYTHING = tuple(Offer(target.value, target, record="drive_file") for target in TargetKind)
SURE = Sighting(
    SightingKind.POST, SightingWay.DATABASE, Certainty.CERTAIN, "https://a.example/p/1", "@them@far.example",
    "far.example", False, record="drive_file/f1", post_id="p1", person_id="u1",
)  # fmt: skip
SUBJECT = Subject("file:///srv", "key", bytes(32), ("one.png", "two.png"))


def asked(*sightings: Sighting, offers: tuple[Offer, ...] = EVERYTHING) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in intended(offers, sightings):
        found.setdefault(one.action, []).append(one.target_id)
    return found


ALL = {"file": ["f1"], "post": ["p1"], "person": ["u1"], "instance": ["far.example"]}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ALL),
        ({"certainty": Certainty.LIKELY}, {"file": ["f1"], "post": ["p1"]}),
        ({"certainty": Certainty.POSSIBLE}, {}),
        ({"local": None}, {"file": ["f1"], "post": ["p1"]}),
        ({"person_id": None}, {"file": ["f1"], "post": ["p1"], "instance": ["far.example"]}),
        ({"instance": None}, {"file": ["f1"], "post": ["p1"], "person": ["u1"]}),
        ({"post_id": None, "record": None}, {"account": ["u1"], "person": ["u1"], "instance": ["far.example"]}),
        ({"record": "media/7"}, {name: ids for name, ids in ALL.items() if name != "file"}),
        ({"kind": SightingKind.COMMENT}, {"comment" if name == "post" else name: ids for name, ids in ALL.items()}),
        ({"kind": SightingKind.MESSAGE}, {name: ids for name, ids in ALL.items() if name != "post"}),
        # Who links to a page has not put its preview's picture there, nor has whoever a copy was proxied for.
        ({"kind": SightingKind.LINK_PREVIEW}, {"file": ["f1"], "post": ["p1"]}),
        ({"kind": SightingKind.PROXIED_COPY}, {"file": ["f1"], "post": ["p1"]}),
        ({"kind": SightingKind.EMOJI, "post_id": None}, {"file": ["f1"]}),
    ],
)
def test_what_a_sighting_asks_for(changed: dict[str, object], expected: dict[str, list[str]]) -> None:
    assert asked(replace(SURE, **changed)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("where", "local"), [(Where.LOCAL, True), (Where.REMOTE, False)])
def test_whose_people_it_may_be(where: Where, local: bool) -> None:
    offers = (Offer("ban", TargetKind.PERSON, where),)
    assert asked(replace(SURE, local=local), offers=offers) == {"ban": ["u1"]}
    assert asked(replace(SURE, local=not local), offers=offers) == {}


def test_each_target_once() -> None:
    again = replace(SURE, kind=SightingKind.UPLOAD)
    assert asked(SURE, again, replace(SURE, post_id="p2"))["post"] == ["p1", "p2"]
    assert asked(SURE, again)["person"] == ["u1"]
    assert asked(offers=EVERYTHING) == {}


def test_a_trace_of_no_content_asks_for_nothing_and_others_name_the_server() -> None:
    record = TraceRecord(SUBJECT, "s", 0.0, TraceState.FOUND, sightings=(SURE,))
    wanted = Wanted(EVERYTHING, "lemmy at a.example")
    assert {one.server for one in wanted.by(record)} == {"lemmy at a.example"}
    assert wanted.by(replace(record, subject=replace(SUBJECT, sha256=None))) == []
    assert Wanted().by(record) == []


@pytest.mark.parametrize(
    ("most", "begun", "due", "trips"),
    [(2, 0, 2, False), (2, 0, 3, True), (2, 2, 1, True), (0, 0, 1, True), (0, 9, 0, False)],
)
def test_when_there_are_too_many(most: int, begun: int, due: int, trips: bool) -> None:
    assert (too_many(most, begun, due) is not None) is trips


def test_only_persons_and_instances_need_a_person() -> None:
    assert {target for target in TargetKind if target.needs_person} == {TargetKind.PERSON, TargetKind.INSTANCE}


def test_a_report_is_known_again_and_says_nothing_of_the_picture() -> None:
    action = AppAction(1, bytes(range(32)), "s", "n", "report", TargetKind.POST, "1", None, None, ActionState.STARTED)
    assert mark_of(action) in reason_of(action)
    assert mark_of(action) != mark_of(replace(action, sha256=bytes(32)))
