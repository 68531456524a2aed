"""Reads concept files. Finds every mistake in a file, with its line, before complaining. Knows no network."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fedi_safety.concepts import PLACE, PREFIX, Concept, ConceptSet
from fedi_safety.concepts.learned import load_heads
from fedi_safety.config.locations import expanded, learned_dir
from fedi_safety.config.toml_lines import KeyPath, dotted, line_numbers, problem_at, syntax_problem
from fedi_safety.core.errors import ConfigError

if TYPE_CHECKING:
    from fedi_safety.config.schema import Clip

DEFAULT = "default"
MAX_TEXTS = 20_000
"""How many texts a file may come to: each is run through the textual tower once, about fifty a second."""

_NAME = re.compile(r"[a-z0-9_]+")
_MAX_PROMPT = 300  # characters; CLIP reads 77 tokens
_KEYS = ("positive", "negative", "against", "templates", "temperature")
_REMEDY = "see docs/clip.md"


def concepts_text(name_or_path: str) -> tuple[str, str, str]:
    """Return the text of a concept file, how to call it in messages, and its name. Raises `ConfigError`."""
    if name_or_path == DEFAULT:
        return files(__package__).joinpath("default.toml").read_text("utf-8"), "the bundled concepts", DEFAULT
    path = expanded(name_or_path)
    try:
        return path.read_text("utf-8"), str(path), path.stem
    except FileNotFoundError as error:
        cause = f"there is no such concept file, and the only bundled one is called {DEFAULT!r}"
        raise ConfigError(f"concepts {name_or_path}", cause, "name a file, or `default`") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"concepts {path}", "it is not UTF-8 text", _REMEDY) from error
    except (OSError, ValueError) as error:
        cause = f"it cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(f"concepts {path}", cause, "name a file, or `default`") from error


def parse_concepts(text: str, source: str, name: str) -> ConceptSet:
    """Return the concepts that `text` (TOML) describes. Raises `ConfigError` that lists every problem with its line."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(source, syntax_problem(str(error)), _REMEDY) from error
    reader = _Reader(document, line_numbers(text))
    concepts = reader.concepts()
    if reader.problems:
        raise ConfigError(source, "; ".join(reader.problems), _REMEDY)
    return ConceptSet(name, concepts)


class _Reader:
    """Turns a parsed document into concepts, collecting problems instead of stopping at the first."""

    def __init__(self, document: Mapping[str, Any], lines: Mapping[KeyPath, int]) -> None:
        self._document = document
        self._lines = lines
        self.problems: list[str] = []

    def concepts(self) -> tuple[Concept, ...]:
        """Read all; what is returned is meaningless where there are problems."""
        for key in self._document:
            if key not in ("concepts", "templates", "temperature"):
                self._problem((key,), f"unknown key {key!r}; the keys are concepts, templates, temperature")
        templates = self._templates(("templates",), self._document.get("templates"), (PLACE,))
        temperature = self._temperature(("temperature",), self._document.get("temperature"), 0.01)
        tables = self._document.get("concepts")
        if not isinstance(tables, dict) or not tables:
            self._problem(("concepts",), "there must be at least one [concepts.NAME] table")
            return ()
        positives = {
            name: self._texts(("concepts", name, "positive"), table.get("positive"), needed=True)
            for name, table in tables.items()
            if isinstance(table, dict)
        }
        concepts = tuple(
            concept
            for name, table in tables.items()
            if (concept := self._concept(name, table, positives, templates, temperature)) is not None
        )
        count = sum(len(texts) for concept in concepts for texts in concept.prompts)
        if count > MAX_TEXTS:
            self._problem(("concepts",), f"prompts times templates make {count:,} texts, more than {MAX_TEXTS:,}")
        return concepts

    def _concept(
        self,
        name: str,
        table: object,
        positives: Mapping[str, tuple[str, ...]],
        templates: tuple[str, ...],
        temperature: float,
    ) -> Concept | None:
        path: KeyPath = ("concepts", name)
        if not isinstance(table, dict):
            self._problem(path, f"{dotted(path)} must be a table")
            return None
        if not _NAME.fullmatch(name):
            self._problem(path, f"{name!r} is no name for a signal {PREFIX}NAME: use a to z, 0 to 9 and _")
        for key in table:
            if key not in _KEYS:
                self._problem((*path, key), f"unknown key {key!r}; a concept has {', '.join(_KEYS)}")
        own = self._texts((*path, "negative"), table.get("negative"), needed=False)
        negative = dict.fromkeys(own)
        for other in self._texts((*path, "against"), table.get("against"), needed=False):
            if other == name or other not in positives:
                self._problem((*path, "against"), f"{dotted(path)}.against: there is no other concept {other!r}")
            negative.update(dict.fromkeys(positives.get(other, ())))
        positive = positives[name]
        if positive and not negative:
            self._problem(path, f"{dotted(path)} needs `negative` prompts, or other concepts in `against`")
        for both in sorted(set(positive) & negative.keys()):
            self._problem(path, f"{dotted(path)}: {both!r} is both positive and negative")
        return Concept(
            name,
            positive,
            tuple(negative),
            self._templates((*path, "templates"), table.get("templates"), templates),
            self._temperature((*path, "temperature"), table.get("temperature"), temperature),
        )

    def _problem(self, path: KeyPath, text: str) -> None:
        self.problems.append(problem_at(self._lines, path, text))

    def _texts(self, path: KeyPath, value: object, *, needed: bool) -> tuple[str, ...]:
        if value is None and not needed:
            return ()
        if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
            self._problem(path, f"{dotted(path)} must be a list of texts, not empty")
            return ()
        for text in value:
            if not text.strip() or not text.isprintable() or len(text) > _MAX_PROMPT:
                self._problem(path, f"{dotted(path)}: {text[:40]!r} is not one line of 1 to {_MAX_PROMPT} characters")
        return tuple(dict.fromkeys(value))

    def _templates(self, path: KeyPath, value: object, default: tuple[str, ...]) -> tuple[str, ...]:
        if value is None:
            return default
        found = self._texts(path, value, needed=True)
        for template in found:
            if template.count(PLACE) != 1:
                self._problem(path, f"{dotted(path)}: {template[:40]!r} must have {PLACE} exactly once")
        return found

    def _temperature(self, path: KeyPath, value: object, default: float) -> float:
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.001 <= value <= 1:
            self._problem(path, f"{dotted(path)} must be a number from 0.001 to 1, not {value!r}")
            return default
        return float(value)


def load_concepts(name_or_path: str) -> ConceptSet:
    """Return the bundled concepts (`default`) or those of a file. Raises `ConfigError` that lists every problem."""
    return parse_concepts(*concepts_text(name_or_path))


def configured_concepts(clip: Clip) -> ConceptSet:
    """Return the configured concepts with the learned heads beside them. Raises `ConfigError`."""
    return replace(load_concepts(clip.concepts), heads=load_heads(clip.learned, learned_dir()))
