"""Pages of figures: they say what the report says, preview a policy without applying it, and wait for nothing long."""

from __future__ import annotations

import hashlib
import re
import threading
import time
import tomllib
from collections import Counter
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.app.known.lists import open_catalog
from fedi_safety.app.replay import preview_ledger
from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import LedgerError
from fedi_safety.core.known.types import Effect, Entry, HashKind, KnownList
from fedi_safety.core.ledger.matches import TURNED
from fedi_safety.core.ledger.review import QueueFilter, QueueKind
from fedi_safety.core.policy import Policy
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, TraceRecord, TraceState
from fedi_safety.policies import PRESETS, load_policy, parse_policy
from fedi_safety.policies.writing import policy_file
from fedi_safety.review import preview_child, previewing
from fedi_safety.review.counted import Counted
from fedi_safety.review.pages.coverage import ages_of
from fedi_safety.review.previewing import Count, Previews
from support.fakes import FakeClock
from support.reviewing import CIRCLE, SQUARE, Reviewing, form_of, reviewing, send

POLICY = f"""
[factors]
red = ["pixels.red"]

[[rules]]
name = "{CIRCLE}"
when = {{ red = 0.5 }}
verdict = "block"
"""


def traced(here: Reviewing, sha256: bytes, person: str, instance: str, *, sure: bool = True) -> None:
    certainty = Certainty.CERTAIN if sure else Certainty.POSSIBLE
    seen = Sighting(SightingKind.POST, SightingWay.API, certainty, None, person, instance, False, 1.8e9)
    record = TraceRecord(Subject(here.store, "x", sha256), "lemmy", 1.8e9, TraceState.FOUND, "", (seen,))
    here.ledger.record_traces(None, [record])


def queued(here: Reviewing, **wanted: Any) -> list[str]:
    return [one.key for one in here.ledger.queue(QueueFilter(QueueKind.PLANNED, **wanted)).entries]


# --- coverage


def test_coverage_says_what_the_report_says(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        for number in range(7):
            here.put(f"{number}.png", Verdict.BLOCK if number < 2 else Verdict.CLEAR)
        page = here.signed_in("viewer").get("/review/coverage").text
        (store,) = here.ledger.figures(histograms=False).stores
        assert "of the media have a verdict: 7 of 7." in page
        assert store.verdicts == Counter(block=2, clear=5)
        cells = re.findall(r"</i>(\w+)</span></td><td class=\"n\">(\d+)</td><td class=\"n\">([^<]*)<", page)
        assert cells == [("judged", "7", "100.0 %"), ("clear", "5", "71.4 %"), ("condemned", "2", "28.5 %")]
        assert "The last pass that met all of it ended" in page


def test_ages_are_counted_by_steps() -> None:
    days = {"2026-11-29": 1, "2026-11-28": 2, "2026-11-22": 4, "2026-10-30": 8, "2026-01-01": 16, "2020-01-01": 32}
    assert ages_of(days, date(2026, 11, 29)) == {1: 3, 7: 4, 30: 8, 365: 16, 0: 32}


def test_a_figure_that_takes_long_keeps_no_page_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedi_safety.review.counted._FIRST_WAIT_S", 0.02)
    counted, asked = Counted(FakeClock()), []

    def count() -> int:
        asked.append(1)
        time.sleep(1.0)
        return len(asked)

    assert counted.read("x", count) is None
    counted.close()
    read = counted.read("x", count)
    assert read is not None and read.value == 1
    began = time.monotonic()
    assert all(counted.read("x", count) == read for _ in range(50))
    assert time.monotonic() - began < 20 and len(asked) == 1, "it stands for twenty times as long as it took"


def test_a_figure_that_fails_says_why() -> None:
    def count() -> int:
        raise LedgerError("ledger.db", "is locked", "wait")

    counted = Counted(FakeClock())
    counted.read("x", count)
    counted.close()
    read = counted.read("x", count)
    assert read is not None and read.value is None and "is locked" in read.error


# --- sources


def test_sources_are_counted_with_their_intervals_and_lead_to_what_waits(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        shas = [here.put(f"{number}.png", Verdict.BLOCK) for number in range(4)]
        for number, sha256 in enumerate(shas[:3]):
            host = "bad.example" if number < 2 else "<b>.example"
            traced(here, sha256, f"https://{host}/u/{number}", host, sure=number != 1)
        viewer = here.signed_in("viewer")
        page = viewer.get("/review/sources").text
        assert "3 contents were traced" in page and "2 of 3" in page and "20.7 % to 93.8 %" in page
        assert "&lt;b&gt;.example" in page and "<b>.example" not in page
        assert "https://bad.example/u/0" in viewer.get("/review/sources?by=person").text
        here.pages.counted.close()
        assert "1 of 2" in viewer.get("/review/sources?sure=1").text
        assert queued(here, source="bad.example") == ["1.png", "0.png"]
        assert queued(here, source="BAD.example", least=0.5) == ["1.png", "0.png"]
        assert queued(here, source="https://bad.example/u/1") == ["1.png"]
        waiting = viewer.get("/review/queue/planned?source=bad.example").text
        assert waiting.count('class="entry"') == 2


def test_all_of_a_source_is_decided_at_once_with_the_count_and_an_undo(tmp_path: Path) -> None:
    with reviewing(tmp_path, {"ada": ["reviewer"]}, undo_s=600) as here:
        shas = [here.put(f"{number}.png", Verdict.BLOCK) for number in range(3)]
        for sha256 in shas[:2]:
            traced(here, sha256, "https://bad.example/u/x", "bad.example")
        ada = here.signed_in("ada")
        page = ada.get("/review/many?queue=planned&decision=dismiss&source=bad.example").text
        assert "Dismiss 2 contents?" in page
        answer = send(ada, "many", form_of(page, "many") | {"word": "harmless"})
        assert answer.status_code == 303
        assert {one.sha256 for one in here.ledger.decisions()} == set(shas[:2])
        done = ada.get(answer.headers["location"]).text
        assert send(ada, "undo", form_of(done, "undo")).status_code == 303
        nothing = ada.get("/review/many?queue=planned&decision=dismiss")
        assert (nothing.status_code, "a rule, a source or a store first" in nothing.text) == (400, True)


def test_a_queue_goes_by_score_where_that_is_asked_for(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        for number, value in enumerate((0.6, 0.95, 0.7, 0.95, 0.5)):
            here.put(f"{number}.png", Verdict.BLOCK, SQUARE if number == 2 else CIRCLE, value=value)
        assert queued(here, by_score=True) == ["3.png", "1.png", "2.png", "0.png", "4.png"]
        assert queued(here, least=0.7) == ["3.png", "2.png", "1.png"]
        assert queued(here, least=0.7, by_score=True, rule=SQUARE) == ["2.png"]
        wanted = QueueFilter(QueueKind.PLANNED, by_score=True)
        first = here.ledger.queue(wanted, limit=3)
        rest = here.ledger.queue(wanted, limit=3, before=first.older)
        assert [one.key for one in (*first.entries, *rest.entries)] == [f"{n}.png" for n in (3, 1, 2, 0, 4)]
        assert rest.older is None
        page = here.signed_in("viewer").get("/review/queue/planned?order=score&least=0.9").text
        assert re.findall(r'class="key">([^<]*)<', page) == ["3.png", "1.png"]


# --- lists


def test_lists_say_what_they_do_and_what_came_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDI_SAFETY_KNOWN__FOLDER", str(tmp_path / "known"))
    with reviewing(tmp_path) as here:
        viewer = here.signed_in("viewer")
        with open_catalog(here.settings) as catalog:
            known = KnownList("<i>friends", Effect.BLOCK, origin="a friend", licence="as agreed")
            catalog.put(known, [Entry(HashKind.SHA256, hashlib.sha256(bytes([n])).digest()) for n in range(3)])
        page = viewer.get("/review/lists").text
        assert "&lt;i&gt;friends" in page and "sha256 3" in page and "a friend" in page and "as agreed" in page
        assert "what meets it is condemned by the presets" in page
        assert "0 days ago" in page and "Too many" not in page


def test_a_list_that_turned_to_review_by_itself_says_when_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDI_SAFETY_KNOWN__FOLDER", str(tmp_path / "known"))
    with reviewing(tmp_path) as here:
        with open_catalog(here.settings) as catalog:
            for name, effect in (("friends", Effect.REVIEW), ("foes", Effect.BLOCK)):
                catalog.put(KnownList(name, effect), [Entry(HashKind.SHA256, hashlib.sha256(name.encode()).digest())])
        for name in ("friends", "foes"):  # which people set back since
            here.ledger.begin_run("hashes", "", {"list": name, TURNED: {"contents": 8, "dismissed": 3}})
        page = here.signed_in("viewer").get("/review/lists").text
        assert page.count("It turned to review by itself:") == 1
        assert "3 of its 8 hits were dismissed then." in page


# --- the policy


def policy_of(folder: Path) -> str:
    place = folder / "policy.toml"
    place.write_text(POLICY)
    return str(place)


def with_policy(here: Reviewing, folder: Path) -> None:
    settings = here.settings.model_copy(update={"policy": policy_of(folder)})
    here.pages.settings = settings
    here.pages.previews._settings = settings


def test_a_policy_is_previewed_as_the_command_does_and_nothing_is_applied(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        with_policy(here, tmp_path)
        for number in range(9):
            here.put(f"{number}.png", Verdict.BLOCK if number < 4 else Verdict.CLEAR, value=0.1 if number < 2 else 0.9)
        before = here.ledger.verify().length
        viewer = here.signed_in("viewer")
        base = load_policy(here.pages.settings.policy)
        query = {"of": base.id, "t0.0": "0.8", "go": "1"}
        page = viewer.get("/review/policy", params=query).text
        while "It is being counted." in page:
            page = viewer.get("/review/policy", params=query).text
        moved = parse_policy(POLICY.replace("0.5", "0.8"), source="x", name="policy")
        found = preview_ledger(here.pages.settings, moved, here.ledger)
        assert found.rules[CIRCLE] == 7 and found.changes["clear", "block"] == 5
        rows = re.findall(r"<td class=\"t\">(\w+)</td><td class=\"t\">(?:<strong>)?([\w ]+).*?n\">(\d+)<", page)
        assert rows == [("clear", "condemned", "5"), ("condemned", "clear", "2"), ("condemned", "as before", "2")]
        assert re.search(rf"{CIRCLE}</td><td class=\"n\">7<", page)
        assert page.count('data-threshold="0.8"') == 2, "drawn for wide and for narrow screens"
        assert 'value="0.8"' in page and "was 0.5" in page
        assert here.ledger.verify().length == before
        file = viewer.get("/review/policy/file", params=query)
        assert file.headers["content-disposition"] == 'attachment; filename="policy.toml"'
        saved = parse_policy(file.text, source="x", name="policy")
        assert (saved, file.text.startswith("# Made on the review pages by viewer from policy@")) == (moved, True)
        assert len(page) < 60_000


@pytest.mark.parametrize("value", ["0", "1.01", "-1", "nan", "inf", "<b>", "0.5.5"])
def test_what_is_no_threshold_is_refused_and_of_another_policy_ignored(tmp_path: Path, value: str) -> None:
    with reviewing(tmp_path) as here:
        with_policy(here, tmp_path)
        viewer = here.signed_in("viewer")
        query = {"of": load_policy(here.pages.settings.policy).id, "t0.0": value}
        for place in ("policy", "policy/file"):
            answer = viewer.get(f"/review/{place}", params=query)
            assert (answer.status_code, "This is no threshold" in answer.text) == (400, True)
        other = viewer.get("/review/policy/file", params=query | {"of": "another@1"})
        assert (other.status_code, "red = 0.5" in other.text) == (200, True)


@pytest.mark.parametrize("name", PRESETS)
def test_a_written_policy_is_read_back_as_the_same(name: str) -> None:
    policy = load_policy(name)
    assert parse_policy(policy_file(policy, ["a", "b"]), source="x", name=name) == policy


def test_a_written_policy_keeps_odd_names_and_every_key() -> None:
    text = """
[factors]
"a b\\"" = { signals = ["x.y", "z"], agree = 2 }
c = ["x.y"]
[[rules]]
name = "<script> 'quoted' \\\\"
when = { "a b\\"" = 1e-05, c = 0.1234567890123 }
verdict = "block"
within_s = 0.5
across_frames = "review"
second_look = "clear"
review_if = { c = 1 }
[[rules]]
name = "label"
when = { c = 0.5 }
label = "nsfw"
[cascade]
c = { below = 0.1, by = ["x.y"] }
"""
    policy = parse_policy(text, source="x", name="odd")
    assert isinstance(policy, Policy)
    assert parse_policy(policy_file(policy), source="x", name="odd") == policy


def test_whoever_asks_for_another_policy_gives_up_the_one_before(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        here.put("one.png", Verdict.BLOCK)
        previews = Previews(here.settings, here.pages.clock)
        texts = [POLICY.replace("0.5", f"0.{n}") for n in range(1, 5)]
        first, *others = [previews.ask(b"ada", text, "p") for text in texts]
        assert others[-1].ended.wait(60) and others[-1].found is not None, others[-1].error
        assert first.found is None and all(one.found is None for one in others[:-1])
        shared = previews.ask(b"bob", texts[-1], "p")
        assert shared is others[-1], "what was counted stands for everybody, for a while"
        bad = previews.ask(b"bob", "no policy", "p", wait_s=60)
        assert "no policy" not in bad.error and "line 1" in bad.error
        last = previews.ask(b"bob", texts[0], "p")
        previews.close()
        assert last.ended.is_set()


def test_what_was_given_up_before_its_child_was_there_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    one = Previews._one

    def held(self: Previews, count: Count) -> None:
        begun.set()
        assert go_on.wait(60)
        one(self, count)

    monkeypatch.setattr(Previews, "_one", held)
    with reviewing(tmp_path) as here:
        here.put("one.png", Verdict.BLOCK)
        previews = Previews(here.settings, here.pages.clock)
        first = previews.ask(b"ada", POLICY, "p")
        assert begun.wait(60)
        second = previews.ask(b"ada", POLICY.replace("0.5", "0.4"), "p")
        third = previews.ask(b"bob", POLICY, "p")
        go_on.set()
        assert third is not first, "nobody is to wait for a count that was given up"
        assert third.ended.wait(60) and third.found is not None and second.found is not None
        assert first.found is None and first.error
        previews.close()


def test_a_preview_stands_aside_while_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(preview_child, "stand_aside", lambda: order.append("aside"))
    monkeypatch.setattr(preview_child, "_say", lambda said: order.append("told" if "done" in said else "found"))
    with reviewing(tmp_path) as here:
        here.put("one.png", Verdict.BLOCK)
        preview_child.count(preview_child.Wanted(here.settings, POLICY, "p"))
    assert order == ["aside", "told"]


def test_what_took_long_to_count_stands_for_twenty_times_as_long() -> None:
    quick, slow = previewing.Count("a", "a"), previewing.Count("b", "b", begun=time.monotonic() - 60.0)
    for count in (quick, slow):
        previewing._end(count, 0.0)
    assert 110 < quick.until - time.monotonic() <= 120
    assert 1190 < slow.until - time.monotonic() <= 1210


# --- what others made, and parts of pages


def test_what_others_made_is_served_as_it_was_published(tmp_path: Path) -> None:
    static = resources.files("fedi_safety.review") / "static"
    with reviewing(tmp_path) as here:
        browser = here.browser()
        for one in tomllib.loads((static / "vendored.toml").read_text("utf-8"))["files"]:
            answer = browser.get(f"/review/{one['file']}")
            assert hashlib.sha256(answer.content).hexdigest() == one["sha256"], one["file"]
            assert "Zero-Clause BSD" in browser.get(f"/review/{one['licence_file']}").text
            again = browser.get(f"/review/{one['file']}", headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")


def test_a_part_of_a_page_that_is_refused_leads_to_the_whole(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        part = {"HX-Request": "true"}
        out = here.browser().get("/review/policy?base=strict", headers=part)
        assert (out.status_code, out.headers["hx-redirect"]) == (204, "/review/login")
        viewer = here.signed_in("viewer")
        query = f"/review/policy?of={load_policy('balanced').id}&t2.0=9"
        refused = viewer.get(query, headers=part)
        assert refused.status_code == 204 and refused.headers["hx-redirect"].endswith("&t2.0=9")
        assert viewer.get("/review/queue/planned", headers=part).status_code == 200
