"""Who may do what: every route there is has a rule, and each role gets from it what the table says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route

from fedi_safety.core.enums import Verdict
from fedi_safety.review.app import create_app
from fedi_safety.review.pages import RULES
from fedi_safety.review.rules import ROLES, Right, Rule, rights_of, table
from support.reviewing import Reviewing, form_of, reviewing, send

DOCS = Path(__file__).parents[3] / "docs/review.md"
CHANGES = tuple(rule for rule in RULES if rule.method == "POST")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewing]:
    with reviewing(tmp_path_factory.mktemp("roles")) as found:
        found.put("one.png", Verdict.BLOCK)
        yield found


def shown(rule: Rule) -> str:
    return f"{rule.method} {rule.path}"


def place_of(rule: Rule) -> str:
    filled = rule.path.replace("{kind}", "planned").replace("{sha256}", "0" * 64).replace("{word}", "x")
    query = "?queue=planned&decision=dismiss&rule=red+circle" if rule.path == "/many" else ""
    return f"/review{filled}{query}"


def test_there_is_no_route_without_a_rule(here: Reviewing) -> None:
    routed = {
        (method, route.path)
        for route in create_app(here.pages).routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    ruled = {(rule.method, rule.path) for rule in RULES}
    assert routed - ruled == {("GET", "/{name}")}, "the style sheet and the script alone are anybody's"
    assert ruled <= routed
    assert len(ruled) == len(RULES), "two rules for one route"


def test_what_is_open_to_everybody_signs_in_and_nothing_else() -> None:
    assert {rule.path for rule in RULES if rule.right is Right.OPEN} == {"/login", "/enter"}
    assert all(rule.right is not Right.SEE or rule.path in ("/logout", "/prove") for rule in CHANGES)


@pytest.mark.parametrize("rule", RULES, ids=shown)
def test_each_role_gets_from_a_route_what_the_table_says(here: Reviewing, rule: Rule) -> None:
    for role in ROLES:
        browser = here.signed_in(role)
        token = form_of(browser.get("/review/decisions").text, "logout")
        if rule.method == "GET":
            answer = browser.get(place_of(rule))
        else:
            answer = send(browser, rule.path.removeprefix("/"), token)
        refused = answer.status_code == 403 and "Your roles do not allow it." in answer.text
        assert refused is (rule.right not in rights_of([role])), f"{role}: {answer.status_code}"
        assert answer.status_code < 500


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.right is not Right.OPEN], ids=shown)
def test_a_stranger_gets_the_way_to_sign_in_and_nothing_else(here: Reviewing, rule: Rule) -> None:
    browser = here.browser()
    if rule.method == "GET":
        answer = browser.get(place_of(rule))
        assert (answer.status_code, answer.headers["location"]) == (303, "/review/login")
    else:
        answer = send(browser, rule.path.removeprefix("/"), {})
        assert (answer.status_code, "Nothing was done." in answer.text) == (401, True)


@pytest.mark.parametrize("rule", CHANGES, ids=shown)
def test_a_change_needs_the_origin_of_the_pages(here: Reviewing, rule: Rule) -> None:
    browser = here.signed_in("admin")
    form = form_of(browser.get("/review/decisions").text, "logout")
    for origin in (None, "null", "http://evil.example", "https://localhost", "http://localhost:81"):
        answer = send(browser, rule.path.removeprefix("/"), form, origin=origin)
        assert (answer.status_code, "did not come from these pages" in answer.text) == (403, True), origin
    assert browser.get("/review/decisions").status_code == 200, "still signed in"


@pytest.mark.parametrize("rule", [rule for rule in CHANGES if rule.right is not Right.OPEN], ids=shown)
def test_a_change_needs_the_token_of_the_session(here: Reviewing, rule: Rule) -> None:
    role = "looker" if rule.right is Right.LOOK else "admin"
    browser, other = here.signed_in(role), here.signed_in(role)
    foreign = form_of(other.get("/review/decisions").text, "logout")
    for form in ({}, {"token": ""}, {"token": "é"}, foreign):
        answer = send(browser, rule.path.removeprefix("/"), form)
        assert (answer.status_code, "This page is too old" in answer.text) == (403, True)
    assert browser.get("/review/decisions").status_code == 200, "still signed in"


def test_the_table_in_the_docs_is_made_of_the_rules() -> None:
    rows = re.findall(r"^\| (GET|POST) \| `([^`]+)` \| (\w+) \|(.*)\|$", DOCS.read_text("utf-8"), flags=re.MULTILINE)
    written = [(method, path, right, *(cell.strip() for cell in rest.split("|"))) for method, path, right, rest in rows]
    assert written == table(RULES)
