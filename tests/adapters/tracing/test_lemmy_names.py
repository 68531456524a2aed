"""By what names a picture is searched for on a Lemmy: what is taken for one, what is not, and in which forms."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedi_safety.core.sightings import Certainty, Subject
from fedi_safety.tracing.lemmy import by_path
from fedi_safety.tracing.lemmy_names import MOST_ALIASES, Names, alias_in, names_of, questions

ALIAS = "2b1c6f1e-6d0a-4a37-9a51-4d7d4ac6f8b1.png"
ORIGIN = "https://far.example/pictrs/image/a b.png?x=ü&y=1"
ROOTS = ["https://lemmy.example", "https://old.example"]


@pytest.mark.parametrize(
    ("url", "alias", "origin"),
    [
        (f"https://lemmy.example/pictrs/image/{ALIAS}", ALIAS, None),
        (f"https://lemmy.example/pictrs/image/{ALIAS}?format=webp&thumbnail=96", ALIAS, None),
        (f"https://lemmy.example/api/v4/image/{ALIAS}", ALIAS, None),
        ("https://lemmy.example/pictrs/image/eOtYb9iEiB.jpeg", "eOtYb9iEiB.jpeg", None),
        ("https://lemmy.example/api/v3/image_proxy?url=https%3A%2F%2Ffar.example%2Fa.png", None, "https://far.example/a.png"),
        ("https://lemmy.example/api/v4/image/proxy?x=1&url=https%3A%2F%2Ffar.example%2Fa.png", None, "https://far.example/a.png"),
        ("https://lemmy.example/post/1?url=https%3A%2F%2Ffar.example%2Fa.png", None, None),
        ("https://lemmy.example/pictrs/image/a.png", None, None),  # too short to stand for one picture
        (f"https://lemmy.example/pictrs/image/{ALIAS}/more", None, None),
        (f"https://lemmy.example/image/{ALIAS}", None, None),
        ("http://[", None, None),
    ],
)  # fmt: skip
def test_an_address_has_a_name_in_it_or_none(url: str, alias: str | None, origin: str | None) -> None:
    names = names_of(Subject(url=url))
    assert names == Names(() if alias is None else (alias,), () if origin is None else (origin,))
    assert bool(names) == bool(alias or origin)


def test_what_pictrs_told_is_taken_once_and_up_to_a_bound() -> None:
    many = tuple(f"{n:08}-6d0a-4a37-9a51-4d7d4ac6f8b1.png" for n in range(MOST_ALIASES + 5))
    names = names_of(Subject(key=f"pictrs/image/{many[0]}", aliases=(*many, many[0]), origins=(ORIGIN, ORIGIN)))
    assert (names.aliases, names.origins) == (many[:MOST_ALIASES], (ORIGIN,))


@given(st.text(), st.text())
def test_no_name_matches_more_than_itself(alias: str, origin: str) -> None:
    names = names_of(Subject(aliases=(alias,), origins=(origin,)))
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{8,70}", name) for name in names.aliases)
    assert all(len(name) >= 12 and name.isprintable() for name in names.origins)
    for question in questions(names, ROOTS):
        pattern = re.compile(f"(?:{'|'.join(map(re.escape, question.texts))}){question.end}")
        for text in question.texts:
            assert pattern.search(f"see ![]({text}), or {text}.")
            for longer in (f"{text}a", f"{text}-1", f"{text}_", f"{text}.b"):
                assert not pattern.search(longer)


def test_every_form_of_a_name_is_searched_for() -> None:
    by_alias, by_origin = questions(Names((ALIAS,), (ORIGIN,)), ROOTS)
    assert (by_alias.certainty, by_origin.certainty) == (Certainty.CERTAIN, Certainty.LIKELY)
    for address in (
        f"https://lemmy.example/pictrs/image/{ALIAS}",
        f"https://old.example/pictrs/image/{ALIAS}?format=webp&thumbnail=256",
        f"https://lemmy.example/api/v4/image/{ALIAS}?file_type=webp&max_size=512",
    ):
        assert address in by_alias.addresses
    encoded = "https%3A%2F%2Ffar.example%2Fpictrs%2Fimage%2Fa%20b.png%3Fx%3D%C3%BC%26y%3D1"
    assert by_origin.addresses[0] == ORIGIN
    assert f"https://old.example/api/v4/image/proxy?url={encoded}" in by_origin.addresses
    assert by_origin.texts == (ORIGIN, encoded)
    assert questions(Names((), ()), ROOTS) == []


@given(st.text(alphabet="/0123456789abcdef-.", max_size=400))
def test_a_path_tells_a_time_only_where_it_has_one(path: str) -> None:
    for sighting in by_path(Subject(key=path)).sightings:
        assert sighting.at is None or 0 <= sighting.at < 2**48 / 1000
    assert alias_in(path) is None or path.endswith(alias_in(path) or "")
