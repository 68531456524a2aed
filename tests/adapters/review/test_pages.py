"""What the pages show: what others wrote as text, no picture, nothing of elsewhere, a page at a time."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from jinja2.ext import extract_from_ast

from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger.review import QueueFilter, QueueKind
from fedi_safety.review import people
from fedi_safety.review.app import HEADERS
from fedi_safety.review.pages import RULES
from fedi_safety.review.templating import environment, plain, short
from fedi_safety.review.words import preferred, sentences
from support.review_filled import fill
from support.review_markup import read
from support.reviewing import CIRCLE, SQUARE, form_of, reviewing, send

HOSTILE = (
    "<script>document.title='run'</script>",
    "\"><img src=x onerror=alert(1)> 'quoted' {{ 7 * 7 }} {% raw %}",
    "a\u202egnp.exe",
    "\udcff\udcfe not UTF-8",
    "x" * 200 + " the end",
    "=cmd|' /C calc'!A0",
)
MOST_BYTES = 60_000


def test_what_others_wrote_shows_as_text_on_every_page(tmp_path: Path) -> None:
    with reviewing(tmp_path, undo_s=600) as here:
        for number, hostile in enumerate(HOSTILE):
            here.put(f"{number} {hostile.replace('/', '')}", Verdict.BLOCK, hostile)
        admin = here.signed_in("admin")
        entry = here.ledger.queue(QueueFilter(QueueKind.PLANNED)).entries[0]
        page = admin.get(f"/review/object/{entry.sha256.hex()}").text
        send(admin, "decide", form_of(page, "decide", decision="dismiss") | {"reason": HOSTILE[0]})
        run = here.ledger.begin_run("scan", here.store, {})
        here.ledger.set_breaker(run, here.store, HOSTILE[1])
        shown = ""
        for rule in RULES:
            if rule.method == "GET" and "{" not in rule.path and rule.path not in ("/", "/login", "/many"):
                answer = admin.get(f"/review{rule.path}")
                if answer.headers["content-type"].startswith("text/html"):
                    shown += read(answer.text).text
        shown += read(admin.get("/review/queue/planned").text).text
        for one in here.ledger.queue(QueueFilter(QueueKind.PLANNED)).entries:
            shown += read(admin.get(f"/review/object/{one.sha256.hex()}").text).text
        for query in ({"rule": HOSTILE[0]}, {"rule": HOSTILE[1], "store": HOSTILE[0]}, {"since": HOSTILE[0]}):
            shown += read(admin.get("/review/queue/planned", params=query).text).text
            many = {"queue": "planned", "decision": "dismiss", "rule": HOSTILE[0], **query}
            shown += read(admin.get("/review/many", params=many).text).text
        for text in (HOSTILE[0], HOSTILE[1].split(" ")[0], "\\u202e", "\\udcff", "the end"):
            assert text in shown, text
        assert "\u202e" not in shown
        assert "49" not in shown.split("{{")[1][:20], "no template is made of what others wrote"


def test_every_answer_has_the_headers_that_keep_it_here(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        admin = here.signed_in("admin")
        for place in ("queue/review", "nothing", "audit/export", "style.css", "decisions", "object/x"):
            answer = admin.get(f"/review/{place}")
            for name, value in HEADERS.items():
                if name != "Cache-Control" or place != "style.css":
                    assert answer.headers[name] == value, (place, name)
        assert admin.post("/review/queue/review").status_code == 405 or admin.post("/review/nothing").status_code == 404
        policy = HEADERS["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "img-src" not in policy, "none is allowed, as of everything that is not named"


def test_no_page_is_large_and_none_shows_all_of_a_queue(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        for number in range(45):
            here.put(f"{'long name ' * 20}{number}.png", Verdict.REVIEW, CIRCLE if number % 3 else SQUARE)
        viewer = here.signed_in("viewer")
        first = viewer.get("/review/queue/review").text
        older = re.search(r'href="([^"]*before=\d+)"', first)
        assert older is not None
        second = viewer.get(older[1].replace("&amp;", "&")).text
        seen = re.findall(r"/review/object/([0-9a-f]{64})", first + second)
        assert (len(seen), len(set(seen))) == (45, 45)
        squares = viewer.get("/review/queue/review", params={"rule": SQUARE}).text
        assert len(re.findall(r'class="entry"', squares)) == 15
        assert viewer.get("/review/queue/review", params={"store": "file:///nowhere"}).text.count('class="entry"') == 0
        sizes = {place: len(viewer.get(f"/review/{place}").content)
                 for place in ("queue/review", "audit", "decisions", "style.css", f"object/{seen[0]}")}  # fmt: skip
        assert max(sizes.values()) < MOST_BYTES, sizes


def test_the_queue_is_found_by_index_and_stops_after_its_page(tmp_path: Path) -> None:
    from sqlalchemy import text

    from fedi_safety.ledger.followup.review import _rows_of, _rules_of

    with reviewing(tmp_path) as here:
        here.put("one.png", Verdict.REVIEW)
        with here.ledger.database.read() as connection:  # type: ignore[attr-defined]
            for kind in QueueKind:
                for query in (_rows_of(QueueFilter(kind), 99).limit(40), _rules_of(QueueFilter(kind), 99).limit(40)):
                    words = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
                    plan = [row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {words}"))]
                    assert not [step for step in plan if step.startswith("SCAN")], plan
                    assert not [step for step in plan if "TEMP B-TREE" in step], plan


@pytest.mark.parametrize(
    "narrowed", [{"rule": SQUARE}, {"since": "1d"}, {"store": "here"}, {"store": "file:///nowhere"}]
)
def test_a_page_of_a_narrowed_queue_reads_so_far_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, narrowed: dict[str, str]
) -> None:
    monkeypatch.setattr("fedi_safety.ledger.followup.review._MOST_ROWS", 4)
    with reviewing(tmp_path) as here:
        put = [here.put(f"{n}.png", Verdict.REVIEW, SQUARE if n == 1 else CIRCLE).hex() for n in range(10)]
        wanted = narrowed if narrowed.get("store") != "here" else {"store": here.store}
        viewer = here.signed_in("viewer")
        place, seen, pages = "/review/queue/review?" + urlencode(wanted), [], 0
        while True:
            page = viewer.get(place).text
            seen += re.findall(r'class="entry" href="/review/object/([0-9a-f]{64})', page)
            pages += 1
            further = re.search(r'href="([^"]*before=\d+[^"]*)"', page)
            if further is None:
                break
            place = unescape(further[1])
        assert seen == ([put[1]] if "rule" in narrowed else [] if "nowhere" in str(narrowed) else put[::-1])
        assert pages == 3, "four rows, four, and two"


def test_sealed_copies_are_shown_a_page_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedi_safety.review.pages.sealed.SHOWN", 2)
    with reviewing(tmp_path) as here:
        fill(here)
        viewer = here.signed_in("viewer")
        first = viewer.get("/review/sealed").text
        older = re.search(r'href="(/review/sealed\?before=\d+)"', first)
        assert older is not None
        second = viewer.get(older[1]).text
        copies = [re.findall(r'class="key">([^<]+)<', page) for page in (first, second)]
        assert [len(page) for page in copies] == [2, 1]
        assert len({*copies[0], *copies[1]}) == 3
        assert "before=" not in second


def test_the_chain_is_shown_by_the_page_filtered_and_as_a_file(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        sha256 = here.put("one.png", Verdict.BLOCK)
        for number in range(30):
            here.put(f"{number}.png", Verdict.BLOCK)
        here.ledger.dismiss(sha256, "no", by="ada")
        viewer = here.signed_in("viewer")
        page = read(viewer.get("/review/audit").text).text
        assert "dismissed" in page
        assert "by ada" in page
        only = viewer.get(f"/review/audit?of={sha256.hex()}&kind=dismissed").text
        assert "Older" not in only
        lines = viewer.get("/review/audit/export").text.splitlines()
        told = [json.loads(line) for line in lines]
        assert [event["seq"] for event in told] == list(range(len(told), 0, -1))
        assert len(told) == here.ledger.verify().length
        kinds = {json.loads(line)["kind"] for line in viewer.get("/review/audit/export?kind=planned").text.splitlines()}
        assert kinds == {"planned"}
        for query in ("of=x", f"of={'g' * 64}"):
            assert viewer.get(f"/review/audit?{query}").status_code == 404


def test_the_check_of_the_chain_says_its_word_on_the_page(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        here.put("one.png", Verdict.BLOCK)
        reviewer = here.signed_in("reviewer")
        assert "was not checked" in reviewer.get("/review/audit").text
        form = form_of(reviewer.get("/review/audit").text, "audit/verify")
        assert send(reviewer, "audit/verify", form).status_code == 303
        thread = here.pages.checker._thread
        assert thread is not None
        thread.join()
        assert "It is whole:" in reviewer.get("/review/audit").text
        with here.ledger.database.write() as connection:  # type: ignore[attr-defined]
            connection.exec_driver_sql("UPDATE events SET payload = '{}' WHERE seq = 2")
        here.pages.checker.start()
        thread = here.pages.checker._thread
        assert thread is not None
        thread.join()
        assert "event 2 was altered" in reviewer.get("/review/audit").text


def test_a_hold_asks_for_the_password_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reviewing(tmp_path) as here:
        sha256 = here.put("one.png", Verdict.BLOCK)
        plan = next(here.ledger.open_plans(here.store))
        run = here.ledger.begin_run("apply", here.store, {})
        (started,) = here.ledger.start(run, [plan])
        seal = here.ledger.reserve_seals([started], "file:///vault")[started.id]
        assert here.ledger.record_seal(seal, 10, bytes(32), 3600.0)
        reviewer = here.signed_in("reviewer")
        form = form_of(reviewer.get("/review/sealed").text, "sealed/hold") | {"reason": "a court asked"}
        later = here.pages.clock.now() + 700
        monkeypatch.setattr(here.pages.sessions._clock, "now", lambda: later)
        refused = send(reviewer, "sealed/hold", form)
        assert (refused.status_code, "/review/prove" in refused.text) == (403, True)
        proof = form_of(reviewer.get("/review/prove").text, "prove")
        assert send(reviewer, "prove", proof | {"password": "wrong"}).status_code == 401
        assert send(reviewer, "prove", proof | {"password": "a harmless pass phrase"}).status_code == 303
        assert send(reviewer, "sealed/hold", form | {"reason": " "}).status_code == 400
        assert send(reviewer, "sealed/hold", form).status_code == 303
        (held,) = here.ledger.seals(sha256=sha256)
        assert held.held == "a court asked (by reviewer)"
        assert "held: a court asked" in reviewer.get("/review/sealed").text
        free = form_of(reviewer.get("/review/sealed").text, "sealed/release")
        assert send(reviewer, "sealed/release", free).status_code == 303
        assert send(reviewer, "sealed/release", free | {"name": "x"}).status_code == 404
        (held,) = here.ledger.seals(sha256=sha256)
        assert held.held is None


def test_a_form_is_small(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        answer = send(here.browser(), "login", {"name": "x" * 70_000})
        assert answer.status_code == 413


def test_texts_are_shortened_in_the_middle_and_never_hide() -> None:
    assert short("a" * 50 + "b" * 200 + "c" * 50, 20) == "aaaaaaaaaa … cccccccccc"
    assert plain("a\u202eb\x00\udcff") == r"a\u202eb\x00\udcff"


def test_every_sentence_of_the_pages_has_a_translation_and_none_is_left_over() -> None:
    found: set[str] = set()
    made = environment()
    for name in made.list_templates():
        assert made.loader is not None
        source = made.loader.get_source(made, name)[0]
        for _, _, said in extract_from_ast(made.parse(source)):
            sentence = said[0] if isinstance(said, tuple) else said
            if sentence is not None:  # what comes from a table, which `said_in` reads
                found.add(str(sentence))
    package = Path(people.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text("utf-8")
        found |= said_in(text)
    german = sentences("de")
    assert found - german.keys() == set()
    assert german.keys() - found == set()
    for english, said in german.items():
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", said)), english


def said_in(module: str) -> set[str]:
    """The sentences that a module gives to a page: of refusals, and of the tables in capitals."""
    import ast

    found: set[str] = set()
    for node in ast.walk(ast.parse(module)):
        called = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refused"
        if called:
            assert isinstance(node, ast.Call)
            found |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
        said = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "say"
        if said and isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            found.add(str(node.args[0].value))
        tables = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("HEADINGS", "WHAT", "REASONS")
        if tables:
            assert isinstance(node, ast.Assign)
            found |= {c.value for c in ast.walk(node.value) if isinstance(c, ast.Constant) and isinstance(c.value, str)}
    return found


@pytest.mark.parametrize(
    ("accept", "language"),
    [("", "en"), ("de", "de"), ("de-AT,de;q=0.9,en;q=0.5", "de"), ("fr, en;q=0.8, de;q=0.3", "en"),
     ("fr", "en"), ("en;q=0.1, de;q=0.9", "de"), ("de;q=x, en", "en"), (",;;q=,", "en")],
)  # fmt: skip
def test_the_language_is_the_readers(accept: str, language: str) -> None:
    assert preferred(accept).language == language


def test_a_page_in_german_is_german_and_says_so(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        page: Any = here.signed_in("viewer").get("/review/queue/review", headers={"Accept-Language": "de"})
        assert '<html lang="de">' in page.text
        assert "Warteschlange" in page.text
