"""The example configuration has every key of the schema, with a comment and its default, and loads as it is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from fedi_safety.config.loading import load_settings
from fedi_safety.config.schema import Settings

EXAMPLE = Path(__file__).parents[3] / "examples/config.toml"
NAMED = {"gate.upstream": "mastodon", "review.people": "ada"}
"""What the example calls each table whose name is the operator's own."""
# A key or a table that is not set; prose has a blank after its `#`.
UNSET = re.compile(r"^#(?=[\w\[])", flags=re.MULTILINE)


def everything(text: str) -> str:
    """The example with every key set."""
    return UNSET.sub("", text)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of the schema with dots, and its field; sections and lists of tables are gone into."""
    for name, field in model.model_fields.items():
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if isinstance(t, type)]
        sections = [t for t in inner if issubclass(t, BaseModel)]
        # A store's own sections are those of the same name above.
        if sections and field.annotation in (sections[0], list[sections[0]]):  # type: ignore[valid-type]
            yield from keys(sections[0], f"{prefix}{name}.")
        elif sections and field.annotation == dict[str, sections[0]]:  # type: ignore[valid-type]
            yield from keys(sections[0], f"{prefix}{name}.{NAMED[prefix + name]}.")
        else:
            yield f"{prefix}{name}", field


def named(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key that a file sets and its value, written alike."""
    leaves = dict(keys(Settings))
    for name, value in table.items():
        key = f"{prefix}{name}"
        tables = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, dict)]
        if key in leaves or not tables:
            yield key, value
        for inner in tables if key not in leaves else []:
            yield from named(inner, f"{key}.")


def differences(text: str) -> list[str]:
    """The keys that the example has and the schema has not, or the other way round, or that it has twice."""
    shown = [key for key, _ in named(tomllib.loads(everything(text)))]
    there = {key for key, _ in keys(Settings)}
    return sorted(there.symmetric_difference(shown)) + [key for key in there if shown.count(key) > 1]


def test_it_loads_and_changes_nothing_as_it_is() -> None:
    assert load_settings(str(EXAMPLE)) == Settings()


def test_with_every_key_set_it_loads_and_has_every_key(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(everything(EXAMPLE.read_text("utf-8")), "utf-8")
    settings = load_settings(str(file))
    assert [store.name for store in settings.stores] == ["pictures"]
    assert [gate.name for gate in settings.worker.gates] == ["lemmy"]
    assert differences(EXAMPLE.read_text("utf-8")) == []


def test_it_shows_the_defaults() -> None:
    values = dict(named(tomllib.loads(everything(EXAMPLE.read_text("utf-8")))))
    shown = 0
    for key, field in keys(Settings):
        default = field.get_default(call_default_factory=True)
        if isinstance(default, int | float | str) or key == "detectors":
            assert values[key] == default, key
            shown += 1
        elif key == "gate.networks":
            assert values[key] == [str(network) for network in default]
    assert shown > 50


def test_every_key_has_a_comment_that_names_its_choices() -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()
    fields = dict(keys(Settings))
    section = ""
    for above, line in zip(["", *lines], lines, strict=False):
        if match := re.match(r"#?\[+([\w.]+)\]+$", line):
            section = f"{match[1]}."
        elif match := re.match(r"#?(\w+) = ", line):
            key = f"{section}{match[1]}"
            if key.startswith("stores.") and match[1] in ("ssh", "pictrs", "trace"):
                continue  # one comment above all of them
            assert above.startswith("# "), f"{key} has no comment"
            kinds = [t for t in (fields[key].annotation, *get_args(fields[key].annotation)) if get_origin(t) is Literal]
            if not key.startswith("gate.unjudged."):  # these have their two above the section
                assert [c for kind in kinds for c in get_args(kind) if not re.search(rf"\b{c}\b", above)] == [], key


def test_a_key_too_few_or_too_many_is_found() -> None:
    text = EXAMPLE.read_text("utf-8")
    assert differences(text.replace("#max_seconds = 30.0\n", "")) == ["limits.max_seconds"]
    assert differences(text.replace("#jobs = 0\n", "#jobs = 0\n#job = 1\n")) == ["job"]
