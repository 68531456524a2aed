"""The languages of the pages. English is in the templates; others are tables of sentences beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

LANGUAGES = ("en", "de")


@cache
def sentences(language: str) -> Mapping[str, str]:
    """Return what each English sentence is in a language; none for English itself."""
    if language == LANGUAGES[0]:
        return {}
    text = (resources.files("fedi_safety.review") / f"words_{language}.toml").read_text("utf-8")
    return dict(tomllib.loads(text))


@dataclass(frozen=True, slots=True)
class Words:
    """One reader's language. A sentence that it lacks is said in English."""

    language: str = LANGUAGES[0]

    def say(self, text: str, **values: object) -> str:
        """Return a sentence; `{name}` in it becomes that value."""
        said = sentences(self.language).get(text, text)
        return said.format(**values) if values else said


def preferred(accept: str) -> Words:
    """Return the language that a browser asks for first, of those there are."""
    wanted: list[tuple[float, str]] = []
    for part in accept.split(",")[:20]:
        tag, _, weight = part.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        wanted.append((-quality, tag.strip().lower().partition("-")[0]))
    return Words(next((tag for _, tag in sorted(wanted, key=lambda one: one[0]) if tag in LANGUAGES), LANGUAGES[0]))
