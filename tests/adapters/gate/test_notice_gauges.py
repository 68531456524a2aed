"""What the gate tells of itself, and of how the telling goes."""

from __future__ import annotations

from pathlib import Path

from fedi_safety.core.errors import StoreError
from fedi_safety.core.ledger.notices import Channel, NoticeState, Sent
from fedi_safety.core.notices.access import ACCESS
from fedi_safety.core.notices.transitions import Transition
from fedi_safety.gate.notice_gauges import NoticeGauges
from fedi_safety.judging.metrics import Metrics
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from support.fakes import FakeClock

CHANNEL = Channel("json://a.example", frozenset(Transition))


def opened(tmp_path: Path, clock: FakeClock) -> SqlLedger:
    return open_ledger(tmp_path / "ledger.db", clock=clock, channels=[CHANNEL])


def test_a_gate_that_does_not_keep_up_is_told_once(tmp_path: Path) -> None:
    ledger = opened(tmp_path, FakeClock())
    gauges = NoticeGauges(Metrics(), ledger, lambda: False, lambda: False)
    for unready, overdue in ((False, False), (True, False), (True, True), (False, True), (False, False)):
        gauges.look(unready, overdue)
    found = ledger.notices(tuple(NoticeState), 9)
    assert [(n.transition.value, n.detail) for n in found] == [
        ("gate_stale", "nobody judges uploads"),
        ("well_again", "gate_stale"),
    ]
    ledger.dispose()


def test_what_waits_and_what_was_given_up_are_figures_and_an_alert(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = opened(tmp_path, clock)
    metrics = Metrics()
    gauges = NoticeGauges(metrics, ledger, lambda: False, lambda: False)
    ledger.set_breaker(1, "file:///srv", "too much")
    gauges.look(False, False)
    assert b"fedi_safety_gate_notices_waiting 1.0" in metrics.page()
    late = [gauges.late]
    for _ in range(2):
        notice = ledger.take_notice(CHANNEL.name, "me")
        assert notice is not None
        ledger.close_notice(notice, "me", Sent(False, "it answered 500"))
        gauges.look(False, False)
        late.append(gauges.late)
        clock.advance(86_401)
    assert late == [False, True, True]
    assert b"fedi_safety_gate_notices_given_up 1.0" in metrics.page()
    assert b"fedi_safety_gate_notices_waiting 0.0" in metrics.page()
    ledger.dispose()


def test_what_got_no_answer_twice_is_a_figure_and_an_alert(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = opened(tmp_path, clock)
    metrics = Metrics()
    gauges = NoticeGauges(metrics, ledger, lambda: False, lambda: False)
    ledger.set_breaker(1, "file:///srv", "too much")
    for _ in range(2):
        notice = ledger.take_notice(CHANNEL.name, "me")
        assert notice is not None
        ledger.close_notice(notice, "me", Sent(False, "no answer", lost=True))
        clock.advance(400)
    gauges.look(False, False)
    assert gauges.late and b"fedi_safety_gate_notices_unconfirmed 1.0" in metrics.page()
    ledger.dispose()


def test_a_gate_tells_of_credentials_that_its_judging_met(tmp_path: Path) -> None:
    ledger = opened(tmp_path, FakeClock())
    gauges = NoticeGauges(Metrics(), ledger, lambda: False, lambda: False)
    ACCESS.refused("pict-rs at http://p.example", "the API key is not accepted (401)", StoreError("p", "no"))
    for _ in range(2):
        gauges.look(False, False)
    assert [(n.transition.value, n.about) for n in ledger.notices(tuple(NoticeState), 9)] == [
        ("credentials_refused", "pict-rs at http://p.example")
    ]
    ledger.dispose()
