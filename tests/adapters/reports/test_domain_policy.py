"""A suggested domain policy: whom it names, whom it never names, and that the servers' own forms are met."""

from __future__ import annotations

import csv
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedi_safety.core.enums import PolicyServer
from fedi_safety.core.sightings import Source
from fedi_safety.reports.domain_policy import Suggestion, render, suggested

OWN = "social.example"


def source(name: str = "bad.example", contents: int = 12, of: int = 20, *, local: bool | None = False) -> Source:
    return Source(name, local, contents, of, 1.0)


def names(*sources: Source, **bounds: float) -> list[str]:
    least = {"least_contents": int(bounds.get("contents", 5)), "least_share": bounds.get("share", 0.05)}
    return [one.name for one in suggested(sources, OWN, **least).sources]  # type: ignore[arg-type]


def test_an_instance_from_which_enough_came_is_named() -> None:
    assert names(source(), source("worse.example", 20)) == ["bad.example", "worse.example"]
    assert suggested([source()], None).sources == (source(),)


@pytest.mark.parametrize(
    ("contents", "of", "named"),
    [
        (1, 1, False),  # 100 % of one is nothing
        (4, 4, False),
        (5, 5, True),  # 56.6 % at least
        (5, 39, True),
        (5, 46, False),  # 4.7 % at least
        (100, 1_300, True),
        (100, 2_000, False),  # 4.1 %
    ],
)
def test_enough_is_a_number_and_a_share_that_is_sure(contents: int, of: int, named: bool) -> None:
    assert names(source(contents=contents, of=of)) == (["bad.example"] if named else [])


def test_both_bounds_are_the_operators_to_set() -> None:
    assert names(source(contents=1, of=1), contents=1, share=0.2) == ["bad.example"]
    assert names(source(contents=1, of=1), contents=1, share=0.21) == []
    assert names(source(contents=40, of=1000), contents=41, share=0) == []


@pytest.mark.parametrize(
    ("never", "reason"),
    [
        (source(OWN), "your own"),
        (source("example"), "your own"),  # a domain above one's own
        (source(local=True), "your own"),
        (source(local=None), "not known to be remote"),
        (source("bad.example:8443"), "without a domain that can be named"),
        (source("192.0.2.7"), "without a domain that can be named"),
        (source("[2001:db8::1]"), "without a domain that can be named"),
        (source("localhost"), "without a domain that can be named"),
        (source("bücher.example"), "without a domain that can be named"),
        (source("a..example"), "without a domain that can be named"),
        (source("-a.example"), "without a domain that can be named"),
        (source("a" * 64 + ".example"), "without a domain that can be named"),
        (source("a." * 130 + "example"), "without a domain that can be named"),
        (source("bad.example\n=cmd()"), "without a domain that can be named"),
        (source("bad.example\n"), "without a domain that can be named"),
        (source(contents=4, of=4), "with fewer than 5 contents"),
        (source(contents=5, of=100), "whose share may be below 5.0 %"),
    ],
)
def test_who_is_not_named_is_counted_with_the_reason(never: Source, reason: str) -> None:
    found = suggested([source("other.example"), never], "Social.Example")
    assert [one.name for one in found.sources] == ["other.example"]
    assert found.left_out == {reason: 1}


def test_another_domain_that_ends_like_ones_own_can_be_named() -> None:
    assert names(source("antisocial.example"), source("l.example")) == ["antisocial.example", "l.example"]


def test_an_internationalised_domain_is_named_as_the_dns_has_it() -> None:
    assert names(source("xn--bcher-kva.xn--p1ai")) == ["xn--bcher-kva.xn--p1ai"]


def test_mastodon_gets_its_columns_and_the_mildest_limit() -> None:
    text = render(PolicyServer.MASTODON, suggested([source(), source("worse.example")], OWN))
    assert text == (
        "#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate\n"
        "bad.example,noop,true,false,,false\n"
        "worse.example,noop,true,false,,false\n"
    )
    # It takes a file without the first line for a list of domains to suspend, so an empty policy has that line too.
    (first,) = csv.reader(render(PolicyServer.MASTODON, suggested([], OWN)).splitlines())
    assert first[0] == "#domain"


def test_lemmy_gets_one_body_an_instance() -> None:
    bodies = json.loads(render(PolicyServer.LEMMY, suggested([source(), source("worse.example")], OWN)))
    assert bodies == [
        {"instance": name, "block": True, "reason": "moderation of media"} for name in ("bad.example", "worse.example")
    ]
    assert json.loads(render(PolicyServer.LEMMY, Suggestion((), suggested([], OWN).left_out))) == []


@given(st.lists(st.tuples(st.text(max_size=80), st.booleans()), max_size=20))
@settings(max_examples=100)
def test_nothing_but_domains_gets_into_a_file(told: list[tuple[str, bool]]) -> None:
    found = suggested([source(f"{name}.example" if host else name) for name, host in told], OWN)
    assert len(found.sources) + found.left_out.total() == len(told)
    _, *lines = render(PolicyServer.MASTODON, found).split("\n")
    assert all(re.fullmatch(r"[a-z0-9.-]{4,253},noop,true,false,,false", line) for line in lines[:-1])
    assert len(lines) == len(found.sources) + 1
