"""What is promised of notices, on every kind of ledger: written with what they tell, sent by one, told once."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection

from fedi_safety.core.enums import ActKind
from fedi_safety.core.ledger.matches import ListHits
from fedi_safety.core.ledger.notices import KEPT_S, Channel, Notice, NoticeState, Sent
from fedi_safety.core.notices.transitions import Condition, Transition
from fedi_safety.ledger.ledger import SqlLedger
from fedi_safety.ledger.notices.outbox import MOST_RULES, Told, most
from fedi_safety.ledger.notices.sending import GIVE_UP_S, HELD_S
from support.fakes import FakeClock, FakeStore
from support.ledgers import Opener
from support.passes import CIRCLE, RED_CIRCLE, Bench

ALL = frozenset(Transition)
A, B = Channel("json://a.example", ALL, 900.0), Channel("hooks.on_removed", frozenset([Transition.REMOVED]), 900.0)
OPEN = NoticeState.WAITING, NoticeState.SENDING
STORE = "file:///srv/media"


def trip(ledger: SqlLedger, why: str | None = "too much", store: str = STORE) -> None:
    ledger.set_breaker(ledger.begin_run("scan", store, {}), store, why)


def told(ledger: SqlLedger, channel: str = A.name) -> list[str]:
    return [notice.transition.value for notice in ledger.notices(tuple(NoticeState), 99) if notice.channel == channel]


def take(ledger: SqlLedger, holder: str = "me", *, at_once: bool = False) -> Notice:
    notice = ledger.take_notice(A.name, holder, at_once=at_once)
    assert notice is not None
    return notice


def test_a_notice_is_written_with_what_it_tells_and_for_each_who_wants_it(opener: Opener) -> None:
    ledger = opener(channels=(A, B))
    trip(ledger)
    trip(ledger, None)
    assert told(ledger) == ["breaker_tripped", "breaker_reset"]
    assert told(ledger, B.name) == []
    assert ledger.verify().problem is None


def test_a_list_that_turns_to_review_is_told_with_its_name_and_counts(opener: Opener) -> None:
    ledger = opener(channels=(A, B))
    ledger.turn_list(ledger.begin_run("hashes", "", {"list": "theirs"}), "theirs", ListHits(8, 0, 3))
    notice = take(ledger)
    assert (notice.transition, notice.about) == (Transition.LIST_TURNED, "theirs")
    assert notice.detail == "3 of its 8 hits were dismissed"
    assert told(ledger, B.name) == []
    assert ledger.verify().problem is None


def test_what_is_rolled_back_is_not_told(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = opener(channels=(A,))
    trip(ledger, None)  # makes the store known
    hear = ledger.outbox.hear

    def then_fail(connection: Connection, at: float, new: object) -> None:
        hear(connection, at, new)  # type: ignore[arg-type]
        raise RuntimeError("the disk is gone")

    ledger.database.listen(then_fail)
    run = 1
    with suppress(RuntimeError):
        ledger.set_breaker(run, STORE, "too much")
    assert ledger.breaker(STORE) is None
    assert told(ledger) == []


def test_without_channels_nothing_is_written_and_nothing_remembered(opener: Opener) -> None:
    ledger = opener()
    trip(ledger)
    assert not ledger.set_condition(Condition.FAILING, "here", "it fails")
    assert ledger.notice_figures() == [] and told(ledger) == []
    assert opener(channels=(A,)).set_condition(Condition.FAILING, "here", None) is False


def test_a_condition_is_told_once_and_its_end_once_however_often_it_is_said(opener: Opener) -> None:
    for _ in range(3):  # a restart each time
        ledger = opener(channels=(A,))
        ledger.set_condition(Condition.FAILING, "here", "it fails")
    ledger.set_condition(Condition.FAILING, "there", "it fails")
    for _ in range(3):
        opener(channels=(A,)).set_condition(Condition.FAILING, "here", None)
    assert told(ledger) == ["failing", "failing", "well_again"]


def test_counted_changes_are_gathered_until_somebody_takes_them(opener: Opener) -> None:
    clock = FakeClock()
    ledger = opener(clock=clock, channels=(A,))

    def more(count: int) -> None:
        with ledger.database.write() as connection:
            ledger.outbox.write(connection, clock.now(), Told(Transition.REMOVED, STORE, count))

    more(2)
    more(3)
    assert ledger.take_notice(A.name, "me") is None
    assert ledger.next_notice(A.name) == clock.now() + 900
    clock.advance(900)
    notice = take(ledger)
    assert notice.count == 5
    more(7)  # while it is being sent
    assert ledger.close_notice(notice, "me", Sent(False, "busy"))
    more(1)  # after it was tried
    assert [n.count for n in ledger.notices(OPEN, 9)] == [5, 8]
    clock.advance(31)
    assert ledger.close_notice(take(ledger), "me", Sent(True))
    assert ledger.take_notice(A.name, "me") is None
    untold = take(ledger, at_once=True)  # at the end of a command nothing is held back
    assert untold.count == 8
    assert ledger.close_notice(untold, "me", Sent(False, "busy"))
    more(2)  # what was tried stays as it is: it may have arrived
    assert [n.count for n in ledger.notices(OPEN, 9)] == [8, 2]


def test_two_processes_gather_into_one_notice_and_lose_no_count(opener: Opener) -> None:
    """Each remembers how it left the notice; what the other did to it meanwhile, or what was rolled back, counts."""
    one, other = (opener(channels=(A,)) for _ in range(2))

    def more(ledger: SqlLedger, count: int, rule: str, *, fails: bool = False) -> None:
        with suppress(RuntimeError), ledger.database.write() as connection:
            ledger.outbox.write(connection, 0.0, Told(Transition.REMOVED, STORE, count, Counter({rule: count})))
            if fails:
                raise RuntimeError("the disk is gone")

    more(one, 1, "a")
    more(one, 2, "a", fails=True)
    more(other, 2, "b")
    more(one, 4, "a")
    more(one, 8, "a")
    more(other, 16, "a")
    (notice,) = one.notices(OPEN, 9)
    assert (notice.count, notice.rules) == (31, {"a": 29, "b": 2})


def test_one_sender_at_a_time_and_the_next_one_when_it_is_gone(opener: Opener) -> None:
    clock = FakeClock()
    one, other = (opener(clock=clock, channels=(A,)) for _ in range(2))
    trip(one)
    notice = take(one, "one")
    assert other.take_notice(A.name, "other") is None
    clock.advance(HELD_S - 1)
    assert other.take_notice(A.name, "other") is None
    clock.advance(2)  # the first one is dead, or as good as dead
    again = take(other, "other")
    assert (again.id, again.lost, again.attempts) == (notice.id, 1, 2)
    assert not one.close_notice(notice, "one", Sent(True))  # it comes too late
    assert other.close_notice(again, "other", Sent(True))
    assert other.notices(OPEN, 9) == []


@pytest.mark.parametrize("how", ["lost", "dies"])
def test_what_got_no_answer_is_sent_once_more_and_then_never(opener: Opener, how: str) -> None:
    clock = FakeClock()
    ledger = opener(clock=clock, channels=(A,))
    trip(ledger)

    def unsure(holder: str) -> Notice:
        notice = take(ledger, holder)
        if how == "lost":
            assert ledger.close_notice(notice, holder, Sent(False, "no answer", lost=True))
            assert ledger.take_notice(A.name, holder) is None, "a receiver that hangs is not asked again at once"
            clock.advance(301)
        else:
            clock.advance(HELD_S + 1)
        return notice

    unsure("one")
    refused = take(ledger, "two")  # what did not arrive for certain is no repetition
    assert ledger.close_notice(refused, "two", Sent(False, "the connection is refused"))
    clock.advance(HELD_S + 1)
    assert unsure("three").lost == 1
    assert ledger.take_notice(A.name, "four") is None
    (ended,) = ledger.notices((NoticeState.UNCONFIRMED,), 9)
    assert (ended.lost, ended.attempts) == (2, 3)
    assert ledger.next_notice(A.name) is None
    (figures,) = ledger.notice_figures()
    assert figures.late and figures.unconfirmed == 1 and "1 was sent twice without an answer" in figures.line()
    clock.advance(KEPT_S + 1)
    ledger.tend_notices([A.name])
    assert ledger.notices(tuple(NoticeState), 9) == []


def test_a_sender_that_leaves_lets_the_next_one_in_at_once(opener: Opener) -> None:
    one, other = (opener(channels=(A,)) for _ in range(2))
    trip(one)
    assert one.close_notice(take(one, "one"), "one", Sent(True))
    trip(one, None)
    assert other.take_notice(A.name, "other") is None
    one.let_go(A.name, "one")
    assert take(other, "other").transition is Transition.BREAKER_RESET


def test_a_clock_that_was_set_back_stops_nobody(opener: Opener) -> None:
    clock = FakeClock()
    ledger = opener(clock=clock, channels=(A,))
    trip(ledger)
    assert ledger.close_notice(take(ledger, "one"), "one", Sent(False, "busy"))
    trip(ledger, None)
    clock.advance(-10 * 86_400)
    with ledger.database.write() as connection:
        connection.exec_driver_sql("UPDATE notices SET due_at = 0")
    assert take(ledger, "other")


def test_what_fails_is_tried_later_and_later_and_given_up_after_a_day(opener: Opener) -> None:
    clock = FakeClock()
    ledger = opener(clock=clock, channels=(A,))
    trip(ledger)
    began, tries = clock.now(), 0
    while ledger.notices(OPEN, 1):
        due = ledger.next_notice(A.name)
        assert due is not None
        clock.advance(max(0.0, due - clock.now()))
        assert ledger.close_notice(take(ledger), "me", Sent(False, "it answered 500"))
        tries += 1
    assert GIVE_UP_S <= clock.now() - began <= GIVE_UP_S + 3600
    assert 20 < tries < 40
    (figures,) = ledger.notice_figures()
    assert figures.late and (figures.waiting, figures.given_up, figures.error) == (0, 1, "it answered 500")
    said = "messages to json://a.example: 0 wait; 1 was given up after a day; the last failure: it answered 500"
    assert figures.line() == said
    clock.advance(KEPT_S + 1)
    ledger.tend_notices([A.name])
    assert ledger.notices(tuple(NoticeState), 9) == []


def test_what_waits_behind_a_place_that_is_dead_for_a_day_is_given_up_with_it(opener: Opener) -> None:
    clock = FakeClock()
    ledger = opener(clock=clock, channels=(A,))
    for n in range(50):
        trip(ledger, store=f"file:///srv/{n}")
    while ledger.notices(OPEN, 1) and clock.now() < FakeClock().now() + 2 * GIVE_UP_S:
        clock.advance(max(0.0, (ledger.next_notice(A.name) or 0) - clock.now()))
        assert ledger.close_notice(take(ledger), "me", Sent(False, "no such host"))
    assert clock.now() <= FakeClock().now() + GIVE_UP_S + 2 * 3600
    assert ledger.notice_figures()[0].given_up == 50


def test_what_was_never_tried_is_not_given_up(opener: Opener) -> None:
    clock = FakeClock()
    ledger = opener(clock=clock, channels=(A,))
    trip(ledger)
    clock.advance(30 * 86_400)  # nobody ran anything
    ledger.tend_notices([A.name])
    assert ledger.close_notice(take(ledger), "me", Sent(False, "busy"))
    assert len(ledger.notices(OPEN, 9)) == 1


def test_one_message_that_is_never_accepted_keeps_no_other_back(opener: Opener) -> None:
    clock = FakeClock()
    ledger = opener(clock=clock, channels=(A,))
    trip(ledger)
    poison = take(ledger)
    ledger.close_notice(poison, "me", Sent(False, "it answered 413"))
    trip(ledger, None)
    clock.advance(31)
    sent = []
    for _ in range(2):
        if (notice := ledger.take_notice(A.name, "me")) is not None:
            ledger.close_notice(notice, "me", Sent(notice.id != poison.id, "it answered 413"))
            sent.append(notice.id)
    assert any(number != poison.id for number in sent)


def test_what_waits_for_a_place_that_is_not_configured_any_more_is_given_up(opener: Opener) -> None:
    clock = FakeClock()
    ledger = opener(clock=clock, channels=(A,))
    trip(ledger)
    ledger.tend_notices(["json://other.example"])
    assert len(ledger.notices(OPEN, 9)) == 1  # for a day it may come back
    clock.advance(GIVE_UP_S + 1)
    ledger.tend_notices(["json://other.example"])
    assert ledger.notices((NoticeState.GIVEN_UP,), 9)[0].error == "it is not configured any more"


def test_a_person_can_have_it_sent_now(opener: Opener) -> None:
    ledger = opener(channels=(A,))
    trip(ledger)
    ledger.close_notice(take(ledger), "me", Sent(False, "busy"))
    assert ledger.take_notice(A.name, "me") is None
    ledger.hurry_notices()
    assert take(ledger)


@pytest.mark.parametrize("act", [None, ActKind.DELETE])
def test_a_pass_tells_how_many_were_condemned_and_removed_and_by_which_rules(
    tmp_path: Path, act: ActKind | None
) -> None:
    store = FakeStore({f"cats/{n}.png": RED_CIRCLE + b" n=%d" % n for n in range(5)} | {"b.png": CIRCLE})
    bench = Bench(tmp_path / "ledger.db", store, channels=(A, B))
    bench.scan(act=act)
    bench.scan(act=act)  # and never again
    found = [(n.channel, n.transition.value, n.about, n.count, dict(n.rules)) for n in bench.ledger.notices(OPEN, 9)]
    rules = {"red circle": 5}
    condemned = [(A.name, "condemned", store.url, 5, rules)]
    removed = [(A.name, "removed", store.url, 5, rules), (B.name, "removed", store.url, 5, rules)]
    assert found == (condemned if act is None else condemned + removed)
    assert bench.ledger.verify().problem is None
    bench.close()


def test_rules_are_the_most_frequent_and_a_sum_of_the_rest() -> None:
    rules = Counter({f"rule {n}": 100 - n for n in range(30)})
    once = most(rules)
    assert len(once) == MOST_RULES + 1 and sum(once.values()) == rules.total()
    again = most(Counter(once) + rules)
    assert sum(again.values()) == 2 * rules.total()
