"""Decisions: written before they are done, undone until then, and never done twice, whoever else decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedi_safety.core.enums import PlanState, Verdict
from fedi_safety.core.errors import LedgerError
from fedi_safety.core.ledger.records import Filters
from fedi_safety.core.ledger.review import DecisionKind, DecisionState, QueueFilter, QueueKind
from fedi_safety.core.types import Outcome
from fedi_safety.review.app import HEADERS
from fedi_safety.review.carrying import LAPSE_S
from fedi_safety.review.sessions import digest_of
from support.fakes import FakeClock
from support.reviewing import CIRCLE, SQUARE, Reviewing, form_of, reviewing, send

TWO = {"ada": ["reviewer"], "bob": ["reviewer"]}


def page_of(here: Reviewing, browser: Any, sha256: bytes, query: str = "") -> str:
    answer = browser.get(f"/review/object/{sha256.hex()}{query}")
    assert answer.status_code == 200
    return str(answer.text)


def decide(here: Reviewing, browser: Any, sha256: bytes, decision: str, query: str = "", **more: str) -> Any:
    return send(browser, "decide", form_of(page_of(here, browser, sha256, query), "decide", decision=decision) | more)


def state_of(here: Reviewing, sha256: bytes) -> list[tuple[str, str]]:
    return [(one.by, one.state.value) for one in here.ledger.decisions(sha256=sha256)]


def test_a_dismissal_waits_and_can_be_undone_until_then(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO, undo_s=600) as here:
        sha256 = here.put("one.png", Verdict.BLOCK)
        ada = here.signed_in("ada")
        answer = decide(here, ada, sha256, "dismiss", word="drawing", reason="a cartoon")
        assert answer.status_code == 303
        assert here.pages.carrier.carry_due() == 0, "it is not due yet"
        assert here.ledger.dismissed([sha256]) == set()
        after = ada.get(answer.headers["location"]).text
        assert send(ada, "undo", form_of(after, "undo")).status_code == 303
        assert state_of(here, sha256) == [("ada", "undone")]
        late = send(ada, "undo", form_of(after, "undo"))
        assert (late.status_code, "too late to undo" in late.text) == (409, True)


def test_a_dismissal_is_then_what_dismiss_does_and_the_chain_says_by_whom(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256 = here.put("one.png", Verdict.BLOCK)
        decide(here, here.signed_in("ada"), sha256, "dismiss", word="drawing", reason="a cartoon")
        assert here.pages.carrier.carry_due() == 1
        shown = here.ledger.show(sha256)
        assert shown is not None
        assert shown.dismissal == "drawing: a cartoon"
        assert [plan["state"] for plan in shown.plans] == ["dismissed"]
        assert next(event for event in shown.events if event.kind == "dismissed").payload["by"] == "ada"
        assert here.ledger.verify().problem is None


def test_a_confirmation_is_taken_back_as_the_command_does_and_only_where_there_is_one(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256, never = here.put("one.png", Verdict.REVIEW), here.put("two.png", Verdict.BLOCK)
        ada, bob = here.signed_in("ada"), here.signed_in("bob")
        assert "take_back" not in page_of(here, ada, sha256), "nobody confirmed it"
        odd = form_of(page_of(here, ada, never), "decide") | {"decision": "take_back"}
        assert send(ada, "decide", odd).status_code == 409
        decide(here, ada, sha256, "confirm")
        assert here.pages.carrier.carry_due() == 1
        shown = here.ledger.show(sha256)
        assert shown is not None and shown.judgements[-1].judgement.verdict is Verdict.BLOCK
        answer = decide(here, bob, sha256, "take_back", word="", reason="not what it seems")
        assert answer.status_code == 303
        assert "bob decided: take the word back" in page_of(here, ada, sha256)
        assert here.pages.carrier.carry_due() == 1
        shown = here.ledger.show(sha256)
        assert shown is not None and shown.confirmation is None
        assert shown.judgements[-1].judgement.verdict is Verdict.REVIEW, "what the word alone condemned is not"
        assert [plan["state"] for plan in shown.plans] == ["superseded"]
        event = next(event for event in shown.events if event.kind == "unconfirmed")
        assert (event.payload["by"], event.payload["reason"]) == ("bob", "not what it seems")
        assert state_of(here, sha256)[0] == ("bob", "done")
        assert here.ledger.verify().problem is None


def test_a_word_that_is_to_be_taken_back_stands_if_that_is_undone(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO, undo_s=600) as here:
        sha256 = here.put("one.png", Verdict.BLOCK)
        here.ledger.confirm(sha256, "", "bob")
        ada = here.signed_in("ada")
        answer = decide(here, ada, sha256, "take_back")
        assert here.pages.carrier.carry_due() == 0
        after = ada.get(answer.headers["location"]).text
        assert send(ada, "undo", form_of(after, "undo")).status_code == 303
        shown = here.ledger.show(sha256)
        assert shown is not None and shown.confirmation is not None


def test_a_removal_goes_through_the_act_and_its_record(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256, other = here.put("a/one.png", Verdict.BLOCK), here.put("a/two.png", Verdict.BLOCK)
        decide(here, here.signed_in("ada"), sha256, "remove")
        assert (here.folder / "a/one.png").exists(), "not before it is due"
        assert here.pages.carrier.carry_due() == 1
        assert not (here.folder / "a/one.png").exists()
        assert (here.folder / "a/two.png").exists(), "nothing but what was decided"
        states = {row.key: row.act_state for row in here.ledger.list_objects(Filters(store=here.store))}
        assert states == {"a/one.png": PlanState.DONE, "a/two.png": PlanState.PLANNED}
        assert state_of(here, sha256) == [("ada", "done")]
        runs = here.ledger.figures(histograms=False).runs
        assert [run["status"] for run in runs if run["kind"] == "apply"] == ["done"]
        assert here.ledger.verify().problem is None
        assert other in {one.sha256 for one in here.ledger.queue(QueueFilter(QueueKind.PLANNED)).entries}


def test_what_the_policy_or_a_person_said_meanwhile_wins_over_a_decided_removal(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256 = here.put("one.png", Verdict.BLOCK)
        decide(here, here.signed_in("ada"), sha256, "remove")
        here.ledger.dismiss(sha256, "on the command line")
        assert here.pages.carrier.carry_due() == 1
        assert (here.folder / "one.png").exists()
        (made,) = here.ledger.decisions(sha256=sha256)
        assert (made.state, made.detail) == (DecisionState.FAILED, "nothing was planned for it any more")


def test_the_breaker_holds_back_what_is_decided_piece_by_piece(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        most = here.settings.breaker.model_copy(update={"max_removed": 2})
        object.__setattr__(here.pages.carrier, "_settings", here.settings.model_copy(update={"breaker": most}))
        ada = here.signed_in("ada")
        sha256s = [here.put(f"{number}.png", Verdict.BLOCK) for number in range(4)]
        for sha256 in sha256s[:3]:
            decide(here, ada, sha256, "remove")
            here.pages.carrier.carry_due()
        assert [(here.folder / f"{number}.png").exists() for number in range(4)] == [False, False, True, True]
        (made,) = here.ledger.decisions(sha256=sha256s[2])
        assert made.state is DecisionState.FAILED
        assert "the breaker holds it back" in made.detail
        page = here.signed_in("ada").get("/review/breaker").text
        assert "It holds the removals back." in page
        assert "Only an admin can resume it." in page


def test_an_admin_resumes_a_breaker_and_only_as_the_page_showed_it(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        here.put("one.png", Verdict.BLOCK)
        run = here.ledger.begin_run("scan", here.store, {})
        here.ledger.set_breaker(run, here.store, "too many <b>at once</b>")
        admin = here.signed_in("admin")
        page = admin.get("/review/breaker").text
        assert "too many &lt;b&gt;at once&lt;/b&gt;" in page
        form = form_of(page, "breaker/resume") | {"why": "too many <b>at once</b>"}
        here.ledger.set_breaker(run, here.store, "for another reason")
        assert send(admin, "breaker/resume", form).status_code == 409
        assert here.ledger.breaker(here.store) == "for another reason"
        form = form_of(admin.get("/review/breaker").text, "breaker/resume")
        assert send(admin, "breaker/resume", form).status_code == 303
        assert here.ledger.breaker(here.store) is None
        assert send(admin, "breaker/resume", form).status_code == 409, "the second click is told"
        assert send(admin, "breaker/resume", form | {"store": "file:///nowhere"}).status_code == 404
        assert here.ledger.verify().problem is None


def test_of_two_people_the_second_learns_who_was_sooner_and_nothing_is_done_twice(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO, undo_s=600) as here:
        sha256 = here.put("one.png", Verdict.BLOCK)
        ada, bob = here.signed_in("ada"), here.signed_in("bob")
        as_bob_saw_it = page_of(here, bob, sha256)
        assert decide(here, ada, sha256, "dismiss").status_code == 303
        late = send(bob, "decide", form_of(as_bob_saw_it, "decide", decision="remove"))
        assert late.status_code == 409
        assert "Somebody was sooner" in late.text
        assert "<strong>ada</strong>" in late.text
        assert state_of(here, sha256) == [("ada", "waiting")]
        assert "ada decided: dismiss" in page_of(here, bob, sha256)


def test_also_when_the_first_decision_was_carried_out_in_between(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256 = here.put("one.png", Verdict.BLOCK)
        ada, bob = here.signed_in("ada"), here.signed_in("bob")
        as_bob_saw_it = page_of(here, bob, sha256)
        decide(here, ada, sha256, "confirm")
        here.pages.carrier.carry_due()
        late = send(bob, "decide", form_of(as_bob_saw_it, "decide", decision="dismiss"))
        assert (late.status_code, "<strong>ada</strong>" in late.text) == (409, True)
        anew = send(bob, "decide", form_of(page_of(here, bob, sha256), "decide", decision="dismiss"))
        assert anew.status_code == 303, "who saw it may decide otherwise"
        here.pages.carrier.carry_due()
        assert here.ledger.dismissed([sha256]) == {sha256}


def test_two_who_carry_out_take_each_decision_once(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256s = [here.put(f"{number}.png", Verdict.BLOCK) for number in range(6)]
        here.ledger.decide(DecisionKind.CONFIRM, sha256s, "", "ada", 0, 0)
        first, second = here.ledger.take_decisions(4, LAPSE_S), here.ledger.take_decisions(4, LAPSE_S)
        assert [len(first), len(second)] == [4, 2]
        assert not {one.id for one in first} & {one.id for one in second}


def test_a_decision_that_nobody_carried_out_in_time_lapses_and_frees_the_content(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256 = here.put("one.png", Verdict.BLOCK)
        clock = FakeClock()
        here.ledger.clock = clock  # type: ignore[attr-defined]
        here.ledger.decide(DecisionKind.REMOVE, [sha256], "", "ada", 10, 0)
        clock.advance(10 + LAPSE_S + 1)
        assert here.pages.carrier.carry_due() == 0
        assert state_of(here, sha256) == [("ada", "lapsed")]
        assert (here.folder / "one.png").exists()
        here.ledger.decide(DecisionKind.REMOVE, [sha256], "", "bob", 0, clock.now())
        assert len(here.ledger.take_decisions(9, LAPSE_S)) == 1
        clock.advance(LAPSE_S + 1)  # who took it was killed
        assert here.ledger.take_decisions(9, LAPSE_S) == []
        written, in_the_way = here.ledger.decide(DecisionKind.DISMISS, [sha256], "", "ada", 0, clock.now())
        assert (len(written), in_the_way) == (1, [])


def test_what_is_not_condemned_cannot_be_removed(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256 = here.put("one.png", Verdict.REVIEW, SQUARE)
        ada = here.signed_in("ada")
        page = page_of(here, ada, sha256)
        form = form_of(page, "decide", decision="dismiss")
        assert "Remove it" not in page
        answer = send(ada, "decide", form | {"decision": "remove"})
        assert (answer.status_code, "nothing left to decide" in answer.text) == (409, True)
        assert send(ada, "decide", form).status_code == 303
        here.pages.carrier.carry_due()
        assert here.ledger.queue_counts()[QueueKind.REVIEW] == 0
        gone = send(ada, "decide", form | {"seen_at": "9e12"})
        assert (gone.status_code, "nothing left to decide" in gone.text) == (409, True)


def test_what_was_sent_to_review_is_condemned_by_a_persons_word_and_then_removed(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256 = here.put("one.png", Verdict.REVIEW, SQUARE)
        ada = here.signed_in("ada")
        assert "Condemn it" in page_of(here, ada, sha256)
        assert decide(here, ada, sha256, "confirm", reason="I know it").status_code == 303
        assert here.ledger.confirmation(sha256) is None, "not before it is due"
        here.pages.carrier.carry_due()
        (made,) = here.ledger.decisions(sha256=sha256)
        assert (made.state, "planned in" in made.detail) == (DecisionState.DONE, True)
        page = page_of(here, ada, sha256)
        for said in ("condemned by a person", "confirmed by ada", "No policy decides it anew", SQUARE):
            assert said in page, said
        assert (here.folder / "one.png").exists(), "it is planned, and waits like anything else"
        counts = here.ledger.queue_counts()
        assert (counts[QueueKind.REVIEW], counts[QueueKind.PLANNED]) == (0, 1)
        decide(here, ada, sha256, "remove")
        here.pages.carrier.carry_due()
        assert not (here.folder / "one.png").exists()
        assert here.ledger.verify().problem is None


def test_all_that_one_rule_sent_to_review_is_condemned_at_once_and_undone_until_then(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO, undo_s=600) as here:
        for number in range(3):
            here.put(f"{number}.png", Verdict.REVIEW, SQUARE)
        ada = here.signed_in("ada")
        assert "decision=confirm" in ada.get("/review/queue/review?rule=blue+square").text
        page = ada.get("/review/many?queue=review&decision=confirm&rule=blue+square").text
        answer = send(ada, "many", form_of(page, "many"))
        assert send(ada, "undo", form_of(ada.get(answer.headers["location"]).text, "undo")).status_code == 303
        assert here.pages.carrier.carry_due() == 0
        assert here.ledger.queue_counts()[QueueKind.REVIEW] == 3


def test_one_rule_is_decided_at_once_with_the_count_first(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        circles = [here.put(f"circle {number}.png", Verdict.BLOCK, CIRCLE) for number in range(3)]
        square = here.put("square.png", Verdict.BLOCK, SQUARE)
        ada = here.signed_in("ada")
        queue = ada.get("/review/queue/planned?rule=red+circle").text
        assert "/review/many?queue=planned&amp;decision=dismiss&amp;rule=red+circle" in queue
        page = ada.get("/review/many?queue=planned&decision=dismiss&rule=red+circle").text
        assert "Dismiss 3 contents?" in page
        form = form_of(page, "many") | {"word": "harmless"}
        late = here.put("circle 4.png", Verdict.BLOCK, CIRCLE)
        changed = send(ada, "many", form)
        assert (changed.status_code, "not as many any more" in changed.text) == (409, True)
        assert here.ledger.decisions() == []
        again = form_of(ada.get("/review/many?queue=planned&decision=dismiss&rule=red+circle").text, "many")
        answer = send(ada, "many", again)
        assert "dismiss: 4" in ada.get(answer.headers["location"]).text
        here.pages.carrier.carry_due()
        assert here.ledger.dismissed([*circles, late, square]) == {*circles, late}
        unfit = {"queue=planned&decision=dismiss": 400, "queue=review&decision=remove&rule=x": 400,
                 "queue=planned&decision=burn&rule=x": 400, "queue=x&decision=dismiss&rule=x": 404}  # fmt: skip
        for query, status in unfit.items():
            assert ada.get(f"/review/many?{query}").status_code == status, query


def test_after_a_decision_comes_the_next_of_the_same_queue(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256s = [here.put(f"{number}.png", Verdict.REVIEW) for number in range(3)]
        ada = here.signed_in("ada")
        entries = here.ledger.queue(QueueFilter(QueueKind.REVIEW)).entries
        assert [one.sha256 for one in entries] == sha256s[::-1], "the newest first"
        place = f"/review/object/{sha256s[2].hex()}?queue=review&place={entries[0].place}"
        for nth in (1, 0, None):
            shown = ada.get(place).text
            answer = send(ada, "decide", form_of(shown, "decide", decision="dismiss"))
            place = answer.headers["location"]
            assert place.startswith("/review/queue/review" if nth is None else f"/review/object/{sha256s[nth].hex()}?")
        assert here.pages.carrier.carry_due() == 3


def test_where_nobody_chose_an_act_nothing_is_removed(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        nothing = here.settings.model_copy(update={"act": None})
        object.__setattr__(here.pages.carrier, "_settings", nothing)
        sha256 = here.put("one.png", Verdict.BLOCK)
        decide(here, here.signed_in("ada"), sha256, "remove")
        here.pages.carrier.carry_due()
        (made,) = here.ledger.decisions(sha256=sha256)
        assert (made.state, "nobody has chosen" in made.detail) == (DecisionState.FAILED, True)
        assert (here.folder / "one.png").exists()


def test_a_store_that_is_not_there_fails_the_decision_and_nothing_else(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256 = here.put("one.png", Verdict.BLOCK)
        here.folder.rename(tmp_path / "elsewhere")
        decide(here, here.signed_in("ada"), sha256, "remove")
        here.pages.carrier.carry_due()
        (made,) = here.ledger.decisions(sha256=sha256)
        assert made.state is DecisionState.FAILED
        states = {row.key: row.act_state for row in here.ledger.list_objects(Filters(store=here.store))}
        assert states == {"one.png": PlanState.PLANNED}, "its plan waits"
        assert here.ledger.verify().problem is None


def test_an_object_that_is_gone_meanwhile_is_not_removed_and_the_decision_says_so(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        here.put("another.png", Verdict.CLEAR)  # an empty directory would prove nothing
        sha256 = here.put("one.png", Verdict.BLOCK)
        decide(here, here.signed_in("ada"), sha256, "remove")
        (here.folder / "one.png").unlink()
        assert here.pages.carrier.carry_due() == 1
        (made,) = here.ledger.decisions(sha256=sha256)
        assert (made.state, made.detail) == (DecisionState.DONE, "one.png: gone")
        assert here.ledger.queue_counts()[QueueKind.PLANNED] == 0
        assert here.ledger.verify().problem is None


def test_a_plan_that_was_carried_out_meanwhile_is_not_carried_out_again(tmp_path: Path) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256 = here.put("one.png", Verdict.BLOCK)
        ada = here.signed_in("ada")
        decide(here, ada, sha256, "remove")
        page = page_of(here, ada, sha256)
        run = here.ledger.begin_run("apply", here.store, {})
        started = here.ledger.start(run, list(here.ledger.open_plans(here.store)))
        here.ledger.close(run, [Outcome(plan, PlanState.DONE) for plan in started])
        here.ledger.end_run(run, "done", {})
        kept = (here.folder / "one.png").read_bytes()
        assert here.pages.carrier.carry_due() == 1
        (made,) = here.ledger.decisions(sha256=sha256)
        assert (made.state, made.detail) == (DecisionState.FAILED, "nothing was planned for it any more")
        assert (here.folder / "one.png").read_bytes() == kept, "nor is what lies in its place now"
        assert "Remove it" not in page_of(here, ada, sha256)
        late = send(ada, "undo", form_of(page, "undo"))
        assert (late.status_code, "too late to undo" in late.text) == (409, True)


@pytest.mark.parametrize("place", ["queue/planned?done=x", "object/" + "0" * 64 + "?done=x", "audit?done=x", "sealed"])
def test_a_ledger_that_cannot_be_read_is_a_page_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    with reviewing(tmp_path, TWO) as here:
        ada = here.signed_in("ada")
        kept = here.ledger.session(digest_of(ada.cookies["fedi_safety_review"]))

        def broken() -> None:
            raise LedgerError("ledger.db", "the disk failed", "look at the disk")

        database = here.ledger.database  # type: ignore[attr-defined]
        monkeypatch.setattr(here.ledger, "session", lambda _digest: kept)
        monkeypatch.setattr(database, "read", broken)
        answer = ada.get(f"/review/{place}")
        assert (answer.status_code, "the disk failed" in answer.text) == (503, True)
        assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
        monkeypatch.undo()
        assert ada.get(f"/review/{place.partition('?')[0]}").status_code in (200, 404)


@pytest.mark.parametrize("field", ["sha256", "decision", "seen_at"])
@pytest.mark.parametrize("text", ["", "x", "../..", "nan" * 9])
def test_a_form_that_is_none_is_refused(tmp_path: Path, field: str, text: str) -> None:
    with reviewing(tmp_path, TWO) as here:
        sha256 = here.put("one.png", Verdict.BLOCK)
        ada = here.signed_in("ada")
        form = form_of(page_of(here, ada, sha256), "decide", decision="dismiss") | {field: text}
        assert send(ada, "decide", form).status_code in (400, 404)
        assert here.ledger.decisions() == []
