"""I3 for actions through the app: recorded before done, once, after the bytes, about people by a person's word only.

A person's no wins, stop means stop, and a breaker of their own bounds them whatever is killed in between.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import update

from fedi_safety.core.actions import Actions
from fedi_safety.core.enums import ActKind, Verdict
from fedi_safety.core.errors import LedgerUsageError, ModerationDown, ModerationError
from fedi_safety.core.moderation import ActionState, AppAction, Offer, Wanted
from fedi_safety.core.policy import Rule
from fedi_safety.core.ports import Moderator
from fedi_safety.core.sightings import Certainty, Subject, Traced
from fedi_safety.core.tracing import Tracing
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.ledger.schema import app_actions
from fedi_safety.stores.local import LocalStore
from support.fakes import FakeClock, FakeStore, red_circles
from support.killing import killed_at
from support.moderators import OFFERS, FakeModerator, LastingModerator
from support.passes import RED, RED_CIRCLE, Bench
from support.tracers import SEEN, FakeTracer

A, B = RED_CIRCLE + b" a", RED_CIRCLE + b" b"


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def seen_by(subject: Subject, **changed: object) -> Traced:
    """A post, and the person behind it, for each key."""
    known: dict[str, object] = {"post_id": f"post-{subject.key}", "person_id": f"person-{subject.key}"}
    return Traced((replace(SEEN, **(known | changed)),))  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "ledger.db", FakeStore({"a": A, "b": B, "fine": RED}))
    switch_on(bench, FakeModerator())
    yield bench
    assert bench.ledger.verify().problem is None
    bench.close()


def switch_on(
    bench: Bench,
    moderator: Moderator,
    offers: tuple[Offer, ...] = OFFERS,
    most: int = 20,
    seen: Any = MappingProxyType({}),
) -> None:
    """Have the bench's next passes trace, and act through this server."""
    wanted = Wanted(offers, moderator.name)
    tracer = FakeTracer(lambda subject: seen_by(subject, **seen))
    bench.tracing = Tracing(bench.ledger, bench.clock, bench.store.url, tracer=tracer, actions=wanted)
    bench.actions = Actions(bench.ledger, bench.clock, bench.store.url, moderator, offers, most, limit_s=5.0)


def server(bench: Bench) -> FakeModerator:
    assert bench.actions is not None and isinstance(bench.actions.moderator, FakeModerator)
    return bench.actions.moderator


def states(bench: Bench, data: bytes = A) -> dict[str, ActionState]:
    return {one.action: one.state for one in bench.ledger.actions_of(sha(data))}


def again(bench: Bench) -> None:
    """Make another pass, as another process would: with counts of its own."""
    assert bench.actions is not None
    bench.actions = Actions(
        bench.ledger,
        bench.clock,
        bench.store.url,
        bench.actions.moderator,
        bench.actions.offers,
        bench.actions.most,
        5.0,
    )
    bench.scan()


POSTS = {("report", "post-a"), ("remove_post", "post-a"), ("report", "post-b"), ("remove_post", "post-b")}


def test_the_order_is_trace_bytes_post_person(bench: Bench) -> None:
    happened: list[str] = []
    assert isinstance(bench.store, FakeStore) and bench.tracing is not None
    store, tracer, remove = bench.store, bench.tracing._tracer, bench.store.remove
    assert isinstance(tracer, FakeTracer)
    answer = tracer.answer
    tracer.answer = lambda subject: (happened.append("trace"), answer(subject))[1]  # type: ignore[func-returns-value]
    store.remove = lambda obj, sha256: (happened.append("bytes"), remove(obj, sha256))[1]  # type: ignore[method-assign,func-returns-value]
    server(bench).before = lambda action: happened.append(action.action)
    bench.scan(limit=1)
    assert happened == ["trace", "bytes", "report", "remove_post"]
    bench.ledger.confirm(sha(A), "", "admin")
    again(bench)
    first = happened.index("ban")
    assert "remove_post" not in happened[first:] or happened[first:].index("remove_post") > 1
    of_a = [one for one in server(bench).done if one[1].endswith("-a") or one[1] == "far.example"]
    assert [name for name, _ in of_a] == ["report", "remove_post", "ban", "domain_block"]


@pytest.mark.parametrize(("dry_run", "act"), [(True, ActKind.DELETE), (False, None)])
def test_a_dry_run_and_the_mode_report_do_none_and_plan_none(bench: Bench, dry_run: bool, act: ActKind | None) -> None:
    bench.scan(dry_run=dry_run, act=act)
    assert server(bench).read == []
    assert states(bench) == {}


def test_each_is_on_record_as_started_before_the_server_is_reached(bench: Bench) -> None:
    known: list[tuple[str, ActionState]] = []

    def look(action: AppAction) -> None:
        other = open_ledger(bench.path, clock=FakeClock(), readonly=True)
        known.extend((one.action, one.state) for one in other.actions_of(action.sha256) if one.id == action.id)
        other.dispose()

    server(bench).before = look
    bench.scan()
    assert set(server(bench).done) == POSTS
    assert len(known) == 4 and {state for _, state in known} == {ActionState.STARTED}
    assert {state for name, state in states(bench).items() if name in ("report", "remove_post")} == {ActionState.DONE}


def test_nothing_about_a_person_or_an_instance_without_a_persons_word(bench: Bench) -> None:
    bench.scan()
    again(bench)
    assert set(server(bench).done) == POSTS
    waits = {"ban": ActionState.UNCONFIRMED, "domain_block": ActionState.UNCONFIRMED}
    assert {name: state for name, state in states(bench).items() if name in waits} == waits
    assert bench.ledger.unconfirmed_actions(bench.store.url) == 4
    allowed = bench.ledger.confirm(sha(A), "seen by two of us", "admin")
    assert {one.action for one in allowed} == {"ban", "domain_block"}
    again(bench)
    assert set(server(bench).done) == POSTS | {("ban", "person-a"), ("domain_block", "far.example")}
    assert states(bench, B)["ban"] is ActionState.UNCONFIRMED, "one content's word is no other's"


def test_a_persons_word_is_asked_for_again_when_it_starts(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "other.db", FakeStore({"a": A, "fine": RED}))
    switch_on(bench, FakeModerator())
    bench.scan()
    with bench.ledger.database.write() as connection:  # whoever let it through
        connection.execute(update(app_actions).where(app_actions.c.action == "ban").values(state="planned"))
    again(bench)
    assert {name for name, _ in server(bench).done} == {"report", "remove_post"}
    assert bench.ledger.verify().problem is not None
    bench.close()


def test_a_word_given_before_the_trace_counts_and_one_for_what_is_not_condemned_is_refused(bench: Bench) -> None:
    bench.scan(dry_run=True)
    bench.ledger.confirm(sha(A), "", "admin")
    with pytest.raises(LedgerUsageError, match="not condemned"):
        bench.ledger.confirm(sha(RED), "", "admin")
    with pytest.raises(LedgerUsageError, match="not in the ledger"):
        bench.ledger.confirm(sha(b"unknown"), "", "admin")
    again(bench)
    assert ("ban", "person-a") in server(bench).done
    assert ("ban", "person-b") not in server(bench).done


def test_a_dismissal_takes_the_word_back_and_nothing_waits_any_more(bench: Bench) -> None:
    bench.scan()
    bench.ledger.confirm(sha(A), "", "admin")
    bench.ledger.dismiss(sha(A), "a tomato")
    assert bench.ledger.confirmation(sha(A)) is None
    assert states(bench)["ban"] is ActionState.DISMISSED
    with pytest.raises(LedgerUsageError, match="dismissed"):
        bench.ledger.confirm(sha(A), "", "admin")
    again(bench)
    bench.ledger.restore(sha(A))
    again(bench)
    assert set(server(bench).done) == POSTS, "the word does not come back with the verdict"


def test_what_was_dismissed_and_is_condemned_again_waits_again(bench: Bench) -> None:
    assert isinstance(bench.store, FakeStore)
    bench.store.refusing = {"a", "b"}
    bench.scan()
    bench.ledger.confirm(sha(A), "", "admin")
    bench.ledger.dismiss(sha(A), "a tomato")
    assert set(states(bench).values()) == {ActionState.DISMISSED}
    bench.ledger.restore(sha(A))
    bench.store.refusing = {"b"}
    again(bench)
    assert set(server(bench).done) == {("report", "post-a"), ("remove_post", "post-a")}
    assert states(bench)["ban"] is ActionState.UNCONFIRMED, "the word does not come back with the verdict"


def test_what_a_person_dismisses_while_others_are_done_is_not_done(bench: Bench) -> None:
    def dismiss_the_other(action: AppAction) -> None:
        bench.ledger.dismiss(sha(B if action.sha256 == sha(A) else A), "a tomato")
        server(bench).before = lambda _action: None

    server(bench).before = dismiss_the_other
    bench.scan()
    assert len({target for _, target in server(bench).done}) == 1


def test_a_milder_policy_wins(bench: Bench) -> None:
    assert isinstance(bench.store, FakeStore)
    server(bench).before = lambda _action: (_ for _ in ()).throw(ModerationError("fake", "no"))
    bench.scan()
    assert states(bench)["report"] is ActionState.FAILED
    server(bench).before = lambda _action: None
    policy = red_circles()
    rules = tuple(replace(rule, verdict=Verdict.REVIEW) if isinstance(rule, Rule) else rule for rule in policy.rules)
    bench.policy = replace(policy, rules=rules)
    bench.clock.advance(7200)
    again(bench)
    assert server(bench).done == []
    assert set(states(bench).values()) == {ActionState.SUPERSEDED}


def test_a_milder_policy_wins_over_what_is_about_to_start(bench: Bench) -> None:
    bench.actions = None
    bench.scan()
    due = bench.ledger.due_actions(bench.store.url)
    assert len(due) == 4
    policy = red_circles()
    rules = tuple(replace(rule, verdict=Verdict.REVIEW) if isinstance(rule, Rule) else rule for rule in policy.rules)
    bench.policy = replace(policy, rules=rules)
    bench.scan(dry_run=True)  # another process decides anew in between
    run = bench.ledger.begin_run("apply", bench.store.url, {})
    assert [bench.ledger.start_action(run, one, None, 0.0) for one in due] == [None] * 4


def test_not_before_the_bytes_are_away(bench: Bench) -> None:
    assert isinstance(bench.store, FakeStore)
    bench.store.refusing = {"a"}
    bench.scan()
    assert {target for _, target in server(bench).done} == {"post-b"}
    bench.store.refusing = set()
    again(bench)
    assert set(server(bench).done) == POSTS


def test_not_where_nothing_was_removed_though_it_was_traced(bench: Bench) -> None:
    bench.scan(act=None)
    assert bench.tracing is not None and bench.actions is not None
    record = bench.tracing.trace(Subject(bench.store.url, "a", sha(A)), None)  # as `fedi-safety trace` does
    bench.ledger.record_traces(None, [record], [Wanted(OFFERS, server(bench).name).by(record)])
    assert states(bench)["report"] is ActionState.PLANNED
    assert bench.ledger.due_actions(bench.store.url) == []
    assert bench.actions.carry_out(bench.ledger.begin_run("apply", bench.store.url, {}), lambda: True)
    assert server(bench).read == []


def test_not_before_the_last_copy_of_the_bytes_is_away(bench: Bench) -> None:
    assert isinstance(bench.store, FakeStore)
    bench.store.put("copy", A)
    bench.store.refusing = {"copy"}
    bench.scan()
    assert bench.store.removed.count("a") == 1
    assert {target for _, target in server(bench).done} == {"post-b"}
    bench.store.refusing = set()
    again(bench)
    assert {target for _, target in server(bench).done} == {"post-a", "post-b", "post-copy"}


def test_stop_means_stop(bench: Bench) -> None:
    assert bench.actions is not None
    bench.scan(dry_run=True)
    actions, bench.actions = bench.actions, None
    bench.scan()
    stops = iter([True, False])
    run = bench.ledger.begin_run("apply", bench.store.url, {})
    assert not actions.carry_out(run, lambda: next(stops))
    assert len(server_of(actions).done) == 1
    assert sum(one.state is ActionState.STARTED for one in bench.ledger.actions_of(sha(A))) == 0


def server_of(actions: Actions) -> FakeModerator:
    assert isinstance(actions.moderator, FakeModerator)
    return actions.moderator


def test_what_is_so_already_or_gone_is_no_error_and_nothing_is_done(bench: Bench) -> None:
    server(bench).so = {("remove_post", "post-a")}
    server(bench).gone = {"post-b"}
    bench.scan()
    assert server(bench).done == [("report", "post-a")]
    assert states(bench)["remove_post"] is ActionState.GONE
    assert states(bench, B)["report"] is ActionState.GONE
    assert bench.actions is not None and bench.actions.failures == []


def test_what_failed_is_tried_again_when_it_is_due(bench: Bench) -> None:
    def refuse(action: AppAction) -> None:
        if action.action == "remove_post":
            raise ModerationError("fake", "it answered 403", "see its rights")

    server(bench).before = refuse
    bench.scan()
    assert {name for name, _ in server(bench).done} == {"report"}, "others go on"
    failed = [one for one in bench.ledger.actions_of(sha(A)) if one.state is ActionState.FAILED]
    assert ["it answered 403" in one.detail for one in failed] == [True]
    assert bench.actions is not None and len(bench.actions.failures) == 2
    assert bench.ledger.due_actions(bench.store.url, only_due=True) == []
    bench.clock.advance(61)
    assert len(bench.ledger.due_actions(bench.store.url, only_due=True)) == 2
    server(bench).before = lambda _action: None
    again(bench)
    assert set(server(bench).done) == POSTS


def test_a_server_that_does_nothing_is_not_believed(bench: Bench) -> None:
    server(bench).idle = True
    bench.scan()
    assert {state for name, state in states(bench).items() if name in ("report", "remove_post")} == {ActionState.FAILED}


def test_a_server_that_is_down_is_asked_once_a_run(bench: Bench) -> None:
    def down(_action: AppAction) -> None:
        raise ModerationDown("fake", "cannot be reached")

    server(bench).before = down
    bench.scan()
    assert len(server(bench).read) == 1
    assert [*states(bench).values(), *states(bench, B).values()].count(ActionState.FAILED) == 1


def test_what_is_switched_off_or_meant_for_another_server_is_left(bench: Bench) -> None:
    assert bench.actions is not None
    actions, bench.actions = bench.actions, None
    bench.scan()
    run = bench.ledger.begin_run("apply", bench.store.url, {})
    other = FakeModerator("fake at elsewhere.example")
    replace_ = Actions(bench.ledger, bench.clock, bench.store.url, other, OFFERS, 20, 5.0)
    assert replace_.carry_out(run, lambda: True)
    assert other.read == []
    less = Actions(bench.ledger, bench.clock, bench.store.url, actions.moderator, OFFERS[:1], 20, 5.0)
    less.carry_out(run, lambda: True)
    assert {name for name, _ in server_of(actions).done} == {"report"}


def test_the_breaker_stops_before_the_first_and_survives_a_restart(bench: Bench, tmp_path: Path) -> None:
    switch_on(bench, FakeModerator(), most=3)
    bench.scan()
    assert bench.actions is not None and bench.actions.tripped is not None
    assert "4 actions" in bench.actions.tripped
    assert server(bench).read == [], "none of too many is done"
    bench.close()
    moderator = server(bench)
    bench.__post_init__()  # another process opens the ledger
    switch_on(bench, moderator, most=100)
    bench.clock.advance(3 * 86_400)
    bench.scan()
    assert server(bench).read == [], "it is latched"
    run = bench.ledger.begin_run("apply", bench.store.url, {})
    assert bench.actions is not None
    bench.actions.carry_out(run, lambda: True, resume=True)
    assert set(server(bench).done) == POSTS
    assert bench.ledger.action_breaker(bench.store.url) is None


def test_the_breaker_counts_a_day_over_runs_that_were_killed(bench: Bench) -> None:
    switch_on(bench, FakeModerator(), most=4)
    bench.scan()
    assert len(server(bench).done) == 4
    assert isinstance(bench.store, FakeStore)
    bench.store.put("c", RED_CIRCLE + b" c")
    again(bench)
    assert bench.actions is not None and bench.actions.tripped is not None
    assert "2 actions through the app are due after 4 within a day, more than 4" in bench.actions.tripped
    assert len(server(bench).done) == 4
    bench.ledger.set_action_breaker(bench.ledger.begin_run("apply", bench.store.url, {}), bench.store.url, None)
    again(bench)
    assert len(server(bench).done) == 6, "a person's word begins the count anew"


def test_what_is_tried_again_counts_once(bench: Bench) -> None:
    def refuse(_action: AppAction) -> None:
        raise ModerationError("fake", "it answered 500")

    switch_on(bench, FakeModerator(), most=4)
    server(bench).before = refuse
    bench.scan()
    bench.clock.advance(120)
    server(bench).before = lambda _action: None
    again(bench)
    assert bench.actions is not None and bench.actions.tripped is None
    assert set(server(bench).done) == POSTS


def test_no_more_begin_than_allowed_whoever_else_is_acting(bench: Bench) -> None:
    bench.actions = None
    bench.scan()
    run = bench.ledger.begin_run("apply", bench.store.url, {})
    due = bench.ledger.due_actions(bench.store.url)
    assert len(due) == 4
    began = [bench.ledger.start_action(run, one, 3, 0.0) for one in due]
    assert sum(one is not None for one in began) == 3


def test_one_action_has_one_doer(bench: Bench) -> None:
    bench.actions = None
    bench.scan()
    other = open_ledger(bench.path, clock=bench.clock)
    first = bench.ledger.begin_run("apply", bench.store.url, {})
    second = other.begin_run("apply", bench.store.url, {})
    (mine, *_) = bench.ledger.due_actions(bench.store.url)
    taken = [bench.ledger.start_action(first, mine, None, 0.0), other.start_action(second, mine, None, 0.0)]
    assert [one is not None for one in taken] == [True, False]
    with pytest.raises(ValueError, match="was not started by run"):
        other.close_action(second, mine, ActionState.DONE, "")
    other.dispose()


@pytest.mark.long
def test_killed_at_any_step_no_action_is_done_twice_or_without_record(tmp_path: Path) -> None:
    fatal, killed = 0, True
    (tmp_path / "0/media").mkdir(parents=True)
    (tmp_path / "0/media/a").write_bytes(A)
    (tmp_path / "0/media/fine").write_bytes(RED)

    def opened(folder: Path) -> Bench:
        bench = Bench(folder / "ledger.db", LocalStore(str(tmp_path / "now/media")))
        switch_on(bench, LastingModerator(folder / "done"))
        return bench

    (tmp_path / "0").replace(tmp_path / "now")
    prepared = opened(tmp_path / "now")
    prepared.scan(dry_run=True)
    prepared.ledger.confirm(sha(A), "", "admin")
    prepared.close()
    (tmp_path / "now").replace(tmp_path / "0")
    while killed:
        fatal += 1
        folder, moderator = tmp_path / "now", LastingModerator(tmp_path / "now/done")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "0", folder)
        killed = killed_at(fatal, lambda: opened(tmp_path / "now").scan())
        after = opened(folder)
        began = {one.action for one in after.ledger.actions_of(sha(A)) if one.attempts}
        assert {name for name, _ in moderator.done()} <= began, f"step {fatal}: done without a record"
        after.scan()
        wanted = [("report", "post-a"), ("remove_post", "post-a"), ("ban", "person-a"), ("domain_block", "far.example")]
        assert moderator.done() == wanted, f"step {fatal}"
        assert set(states(after).values()) == {ActionState.DONE}, f"step {fatal}: {states(after)}"
        assert after.ledger.verify().problem is None
        after.close()
    assert fatal > 30, "there were steps to be killed at"


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("seen", "done"),
    [
        ({"certainty": Certainty.POSSIBLE}, set()),
        ({"certainty": Certainty.LIKELY}, {"report", "remove_post"}),
        ({"local": None}, {"report", "remove_post"}),
        ({"local": True}, {"report", "remove_post", "ban"}),
        ({}, {"report", "remove_post", "ban", "domain_block"}),
    ],
)
def test_how_sure_it_is_decides_what_may_be_done(bench: Bench, seen: dict[str, object], done: set[str]) -> None:
    switch_on(bench, server(bench), seen=seen)
    bench.scan(dry_run=True)
    bench.ledger.confirm(sha(A), "", "admin")
    bench.scan()
    assert {name for name, _ in server(bench).done if states(bench)} == done & set(states(bench))
    assert set(states(bench)) == done
