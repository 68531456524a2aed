"""The design page's tree is the tree that is there: every module and package by name, and none that is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/fedi_safety"


def drawn(page: str) -> tuple[set[str], set[str]]:
    """Return the folders and the modules that a page's tree names, as paths below the package."""
    block = re.search(r"^```\n(src/fedi_safety/.*?)^(?!src)\S", page, flags=re.MULTILINE | re.DOTALL)
    assert block is not None, "there is no tree"
    folders: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    here = ""
    for line in block[1].splitlines():
        if line.lstrip().startswith("#"):
            continue
        if match := re.match(r"( *)([\w/]+)/(?: |$)", line):
            indent = len(match[1])
            above = [(i, path) for i, path in above if i < indent]
            here = f"{above[-1][1]}{match[2]}/" if above else ""
            above.append((indent, here))
            assert here not in folders, f"{here} is drawn twice"
            folders[here] = ""
        folders[here] += line + "\n"
    modules = [
        f"{folder}{name}.py"
        for folder, text in folders.items()
        for names in re.findall(r"\{([\w,\s]+)\}\.py", text)
        for name in re.split(r",\s*", names)
    ]
    assert len(modules) == len(set(modules)), "a module is drawn twice"
    return folders.keys() - {""}, set(modules)


def there() -> Iterator[str]:
    """Every module of the package, as a path below it."""
    for path in PACKAGE.rglob("*.py"):
        yield path.relative_to(PACKAGE).as_posix()


def test_the_tree_names_every_module_and_nothing_else() -> None:
    folders, modules = drawn((ROOT / "docs/design.md").read_text("utf-8"))
    files = {path for path in there() if not path.endswith("__init__.py")}
    parents = {f"{parent.as_posix()}/" for path in there() for parent in Path(path).parents if parent != Path()}
    missing, invented = (files | parents) - modules - folders, (modules | folders) - files - parents
    assert not missing, f"not in the tree of docs/design.md: {', '.join(sorted(missing))}"
    assert not invented, f"in the tree of docs/design.md alone: {', '.join(sorted(invented))}"


def test_the_check_reads_trees() -> None:
    page = "# x\n\n```\nsrc/fedi_safety/  {a}.py\n  # floors\n  b/   what it is for\n       {c,\n       d}.py\n"
    page += "    e/ {f}.py  more\n  g/   {h, i}.py\ntests/  {no}.py\n```\n"
    assert drawn(page) == ({"b/", "b/e/", "g/"}, {"a.py", "b/c.py", "b/d.py", "b/e/f.py", "g/h.py", "g/i.py"})
    with pytest.raises(AssertionError, match="no tree"):
        drawn("# x\n")
    with pytest.raises(AssertionError, match="twice"):
        drawn(page.replace("{h, i}", "{h, h}"))
