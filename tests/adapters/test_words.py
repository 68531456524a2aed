"""One word for one thing (docs/glossary.md), in all that people read: messages, help, pages, and files that come along.

What others rely on keeps its name: `--act`, `--resume-acts`, `debt` of the gate's settings and metrics.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.messages import messages

ROOT = Path(__file__).parents[2]
_WHOSE = (
    r"an?|the|no|any|each|every|its|their|one|two|some|such|these|chosen|single|which|this|that|of|whose|failed|open"
)
NOT_OURS = {
    "expensive": re.compile(r"\bdear(?:er|est|ly)?\b", re.IGNORECASE),
    "action": re.compile(rf"\b(?:{_WHOSE}) acts?\b"),
    "waiting uploads": re.compile(r"\b(?:debts?|owed?|owes|owing)\b", re.IGNORECASE),
    "fix, correct, put right": re.compile(r"\bmend(?:s|ed|ing)?\b", re.IGNORECASE),
    "condemned": re.compile(r"\b(?:guilty|false blocks?|(?:was|were|is|are|be|been) flagged)\b", re.IGNORECASE),
}
NAMES = re.compile(r"```.*?```|`[^`]*`|--resume-acts|\\-\\-resume\\-acts", re.DOTALL)


def wrong(text: str) -> list[tuple[str, str]]:
    """The words that are not ours, with what we say instead; names in code are left out."""
    plain = " ".join(NAMES.sub(" ` ", text).split())
    return [(found[0], ours) for ours, words in NOT_OURS.items() for found in words.finditer(plain)]


def read() -> Iterator[tuple[str, str]]:
    """All texts that people read, by where they are."""
    for message in messages():
        yield f"{message.file}:{message.line}", message.text
    patterns = ("*.md", "docs/**/*.md", "examples/*", "packaging/*", "src/fedi_safety/policies/*.toml")
    for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        yield str(path.relative_to(ROOT)), path.read_text("utf-8")


@pytest.mark.long
def test_every_text_has_the_words_of_the_glossary() -> None:
    assert [(place, *found) for place, text in read() for found in wrong(text)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Leave dear detectors out.", ["dear"]),
        ("It needs a chosen\nact: until then", ["chosen act"]),
        ("the acts of a run", ["the acts"]),
        ("uploads are owed, a debt", ["debt", "owed"]),
        ("2 of these must be mended", ["mended"]),
        ("Three false blocks; a picture was flagged", ["false blocks", "was flagged"]),
        ("`an act` and `--act ACTION`, `debt`, see --resume-acts", []),
        ("a run that plans and does not act; it acts on what is condemned", []),
        ("the REPORT Act, the Digital Services Act", []),
    ],
)
def test_these_checks_find_what_is_wrong(text: str, found: list[str]) -> None:
    assert sorted(word for word, _ in wrong(text)) == found


def test_what_is_said_is_found_wherever_it_stands() -> None:
    found = {message.text: message for message in messages()}
    assert len(found) > 2000
    for text in (
        "free some space; nothing of this step was kept",  # in a table
        "give --replace, or name another file",  # a remedy
        "Leave expensive detectors out where cheap ones settle every rule.",  # help
        "{} of these must be put right",  # with a figure in it
        "waiting uploads: %d judged, %d condemned, %d removed",  # a line of a log
    ):
        assert text in found, text
    assert found["give --replace, or name another file"].asks and not found["is there already"].asks
    assert not any("sqlite_schema" in text or "Return what" in text for text in found), "statements and docstrings"
