"""Where condemned contents came from, as a ledger counts it, on every kind of database."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedi_safety.core.sightings import Certainty, Source, SourceKind, host_name
from support.fakes import FakeClock
from support.ledgers import Opener
from support.sources import attempt, condemned, seen, sha

INSTANCE, PERSON = SourceKind


def counts(found: list[Source]) -> list[tuple[str, int, int]]:
    return [(source.name, source.contents, source.of) for source in found]


# --- one host is one instance, however it is spelled


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("Far.Example", "far.example"),
        ("far.example.", "far.example"),
        (" far.example ", "far.example"),
        ("far.example..", "far.example"),
        ("far.example . ", "far.example"),
        ("far.example.:8443", "far.example:8443"),
        ("bücher.example.:8443.", "xn--bcher-kva.example:8443"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),  # ü of two characters
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),  # another domain than strasse.example
        ("strasse.example", "strasse.example"),
        ("日本.example", "xn--wgv71a.example"),
        ("bücher.рф:8443", "xn--bcher-kva.xn--p1ai:8443"),
        ("no host, ü.example", "no host, ü.example"),
        ("far.example:8443", "far.example:8443"),  # another server on the same host
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:DB8::1]:80", "[2001:db8::1]:80"),
        ("", ""),
        ("..", ""),
        ("ü" * 300, "ü" * 300),
    ],
)
def test_a_host_has_one_spelling(spelled: str, name: str) -> None:
    assert host_name(spelled) == name


@given(st.text(max_size=300) | st.text(". :8aÜ\t\u2003٣", max_size=12))  # what closes a host, in any order
@settings(max_examples=300)
def test_a_spelling_is_found_again_by_itself(host: str) -> None:
    once = host_name(host)
    assert host_name(once) == once


def test_spellings_of_a_host_count_as_one_instance(opener: Opener) -> None:
    ledger = opener()
    spellings = ("Bücher.Example", "xn--bcher-kva.example", "bücher.example.", "bücher.example:8443")
    condemned(ledger, {str(n): [seen(spelled)] for n, spelled in enumerate(spellings)})
    assert counts(ledger.sources(INSTANCE)) == [("xn--bcher-kva.example", 3, 4), ("xn--bcher-kva.example:8443", 1, 4)]
    assert ledger.verify().problem is None


# --- what counts


def test_a_content_counts_once_at_each_place_and_once_among_all(opener: Opener) -> None:
    ledger = opener()
    both = [seen("a.example", "@x@a.example"), seen("b.example", "@y@b.example"), seen("b.example", "@y@b.example")]
    run = condemned(ledger, {"one": both, "two": both[1:], "three": []})
    ledger.record_traces(run, [attempt("two", *both[1:], at=1_800_000_099.0)])  # asked again, found again
    assert ledger.sources(INSTANCE) == [
        Source("b.example", False, 2, 2, 1_800_000_099.0),
        Source("a.example", False, 1, 2, 1_800_000_000.0),
    ]
    assert counts(ledger.sources(PERSON)) == [("@y@b.example", 2, 2), ("@x@a.example", 1, 2)]


def test_what_a_person_dismissed_counts_nowhere_until_that_is_taken_back(opener: Opener) -> None:
    ledger = opener()
    condemned(ledger, {"one": [seen("a.example", "@x")], "two": [seen("b.example", "@y")]})
    ledger.dismiss(sha("one"), "a tomato")
    assert counts(ledger.sources(INSTANCE)) == [("b.example", 1, 1)]
    assert counts(ledger.sources(PERSON)) == [("@y", 1, 1)]
    ledger.restore(sha("one"))
    assert len(ledger.sources(INSTANCE)) == 2


def test_a_person_known_by_an_id_alone_is_the_one_who_was_named_later(opener: Opener) -> None:
    ledger = opener()
    by_path = seen(None, person_id="7", certainty=Certainty.POSSIBLE)
    named = seen("a.example", "@x@a.example", person_id="7")
    condemned(
        ledger, {"one": [by_path], "two": [named], "three": [by_path, named], "four": [seen(None, person_id="8")]}
    )
    assert counts(ledger.sources(PERSON)) == [("@x@a.example", 3, 4), ("8", 1, 4)]


def test_what_is_no_more_than_possible_can_be_left_out(opener: Opener) -> None:
    ledger = opener()
    sure = [seen("a.example", certainty=certainty) for certainty in (Certainty.CERTAIN, Certainty.LIKELY)]
    condemned(ledger, {"one": sure[:1], "two": sure[1:], "three": [seen("b.example", certainty=Certainty.POSSIBLE)]})
    assert len(ledger.sources(INSTANCE)) == 2
    assert counts(ledger.sources(INSTANCE, sure=True)) == [("a.example", 2, 2)]


def test_one_who_was_seen_as_local_once_is_never_remote(opener: Opener) -> None:
    ledger = opener()
    told = {"one": True, "two": False, "three": None}
    condemned(ledger, {key: [seen("both.example", local=local)] for key, local in told.items()})
    condemned(ledger, {"four": [seen("nobody-says.example", local=None)]})
    assert {source.name: source.local for source in ledger.sources(INSTANCE)} == {
        "both.example": True,
        "nobody-says.example": None,
    }


def test_no_more_are_returned_than_asked_for(opener: Opener) -> None:
    ledger = opener()
    condemned(ledger, {f"{n}/{m}": [seen(f"{n}.example")] for n in range(5) for m in range(n + 1)})
    assert counts(ledger.sources(INSTANCE, limit=2)) == [("4.example", 5, 15), ("3.example", 4, 15)]


def test_counts_are_those_of_the_sightings(opener: Opener) -> None:
    """Against a count by sets, over sightings at random."""
    ledger = opener(clock=FakeClock())
    rng = random.Random(13)
    hosts, people = [f"{n}.example" for n in range(4)], [f"@{n}" for n in range(6)]
    traced = {
        str(n): [
            seen(rng.choice([*hosts, None]), rng.choice([*people, None]), local=rng.choice([True, False, None]))
            for _ in range(rng.randrange(4))
        ]
        for n in range(60)
    }
    condemned(ledger, traced)
    dismissed = {str(n) for n in range(0, 60, 7)}
    for key in dismissed:
        ledger.dismiss(sha(key), "")
    for by in SourceKind:
        at: dict[str, set[str]] = {}
        for key, sightings in traced.items():
            for name in {s.instance if by is INSTANCE else s.person for s in sightings} - {None}:
                if key not in dismissed:
                    at.setdefault(str(name), set()).add(key)
        of = len(set().union(*at.values()))
        assert sorted(counts(ledger.sources(by))) == sorted((name, len(keys), of) for name, keys in at.items())
