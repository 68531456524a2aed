"""Every route is met: by a link from another page, and by a form on one; each form works as it stands for who may."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedi_safety.review.pages import RULES
from fedi_safety.review.rules import ROLES
from support.review_filled import fill
from support.review_routes import BY_HAND, NO_PAGES, Found, crawl
from support.reviewing import Reviewing, reviewing


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewing]:
    with reviewing(tmp_path_factory.mktemp("routes"), {"all": list(ROLES)}, undo_s=600) as found:
        fill(found)
        yield found


@pytest.fixture(scope="module")
def found(here: Reviewing) -> Found:
    return crawl(here.signed_in("all"))


def test_every_page_is_reached_by_a_link_or_named_with_an_address(found: Found) -> None:
    pages = {rule.path for rule in RULES if rule.method == "GET"}
    assert pages - {rule.path for rule in found.places} == NO_PAGES, "no link leads there from a filled ledger"
    assert pages >= {*BY_HAND, *NO_PAGES}


def test_every_change_has_a_form_on_a_page(found: Found) -> None:
    for rule in RULES:
        if rule.method == "POST" and rule.path not in ("/login", "/enter"):  # whose pages are for those who are out
            assert rule in found.forms, rule.path
