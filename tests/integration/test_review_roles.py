"""Each role through each page and each form in a browser, with JavaScript and without; the table of routes says which.

A page that comes later is met without a word here: its links are followed and its forms are sent as they stand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedi_safety.core.ledger.review import DecisionState, QueueKind
from fedi_safety.review.pages import RULES
from fedi_safety.review.rules import ROLES, Right, Rule, rights_of
from support.review_browser import CONFINED, Watched, served
from support.review_filled import fill, newest
from support.review_routes import Found, crawl
from support.reviewing import PASSWORD, reviewing
from support.servers.chromium import chromium

pytestmark = [pytest.mark.long, pytest.mark.needs("chromium")]
CHANGES = sorted(
    (rule for rule in RULES if rule.method == "POST" and rule.right is not Right.OPEN),
    key=lambda rule: (rule.path == "/logout", "undo" in rule.path),  # undoing needs what was decided, and out is out
)


def opened(page: Any, root: str, place: str) -> int:
    """Open a page; return its status. A file is none, and comes as it is."""
    address = root.removesuffix("/review") + place
    if "export" in place or "policy/file" in place:
        return int(page.request.get(address).status)
    answer = page.goto(address)
    assert answer is not None
    return int(answer.status)


def sent(page: Any, root: str, found: Found, rule: Rule) -> int:
    """Find a form of this route on a page, put in what must be, and press its button; return the status."""
    for known in found.forms[rule]:
        page.goto(root.removesuffix("/review") + known.place)
        form = page.locator(f'form[action="{known.action}"]')
        if form.count():
            for field in form.first.locator("input[required]").all():
                if not field.input_value():
                    field.fill(PASSWORD if field.get_attribute("type") == "password" else "a reason")
            with page.expect_navigation() as navigation:
                form.first.locator("button").first.click()
            return int(navigation.value.status)
    raise AssertionError(f"no page that this role sees has a form to {rule.path}")


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
@pytest.mark.parametrize("role", ROLES)
def test_each_role_gets_from_each_page_and_form_what_the_table_says(tmp_path: Path, role: str, script: bool) -> None:
    rights = rights_of([role])
    with reviewing(tmp_path, {"one": [role], "all": list(ROLES)}, undo_s=600) as here:
        fill(here)
        every, own = crawl(here.signed_in("all")), crawl(here.signed_in("one"))
        with served(here) as root, chromium() as browser:
            one = Watched(browser, here, "one", java_script_enabled=script)
            for rule, place in every.every(3):
                status = opened(one.page, root, place)
                assert (status == 403) is (rule.right not in rights), (place, status)
                assert status in (200, 403), place
            token = one.page.locator('input[name="token"]').first.get_attribute("value")
            for rule in CHANGES:
                if rule.right in rights:
                    gone = rule.path == "/look"  # a drawn content lies in no store, and cannot be shown
                    assert sent(one.page, root, own, rule) == (410 if gone else 200), rule.path
                    continue
                assert rule not in own.forms, "a form that this role may not send"
                headers, form = {"Origin": root.removesuffix("/review")}, {"token": token or ""}
                answer = one.page.request.post(f"{root}{rule.path}", form=form, headers=headers)
                assert answer.status == 403, rule.path
                assert "Your roles do not allow it." in answer.text()
            assert [said for said in one.complaints if "403" not in said and "410" not in said] == []
            asked = {"image"} if Right.LOOK in rights else set()  # by a looker, who was asked first
            assert one.kinds - asked == CONFINED[0 if script else 1]


def test_of_two_browsers_on_one_object_the_second_learns_who_decided(tmp_path: Path) -> None:
    with reviewing(tmp_path, {"ada": ["reviewer"], "bob": ["reviewer"]}, undo_s=600) as here:
        fill(here)
        sha256 = newest(here, QueueKind.PLANNED)
        with served(here) as root, chromium() as browser:
            ada, bob = (Watched(browser, here, name, locale="en-GB") for name in ("ada", "bob"))
            for one in (ada, bob):
                one.page.goto(f"{root}/object/{sha256.hex()}")
            _press(ada, "Dismiss")
            with bob.page.expect_navigation() as navigation:
                _press(bob, "Remove it")
            assert navigation.value.status == 409
            assert "Somebody was sooner" in bob.page.locator("h1").inner_text()
            assert "ada: dismiss" in bob.page.locator("main").inner_text()
            bob.page.get_by_role("link", name="Look at it").click()
            assert "ada decided: dismiss" in bob.page.locator("main").inner_text()
            with ada.page.expect_navigation():
                ada.page.get_by_role("button", name="Undo").first.click()
            made = here.ledger.decisions(sha256=sha256)
            assert [(one.by, one.state) for one in made] == [("ada", DecisionState.UNDONE)]
            assert (ada.complaints, [said for said in bob.complaints if "409" not in said]) == ([], [])


def _press(one: Watched, name: str) -> None:
    one.page.locator(".choices").get_by_role("button", name=name).click()
