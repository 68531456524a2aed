"""The site leads to every page: its navigation to those under docs/, the index of the decisions to each of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DECISIONS = DOCS / "decisions"


def test_every_page_is_in_the_navigation_once() -> None:
    # The navigation is the part that ends with the next line that is not indented.
    nav = re.search(r"^nav:\n((?: .*\n)+)", (ROOT / "mkdocs.yml").read_text("utf-8"), flags=re.MULTILINE)
    assert nav is not None
    named = re.findall(r"^ +- [\w ]+: (\S+\.md)$", nav[1], flags=re.MULTILINE)
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if not decision(path)]
    assert sorted(named) == sorted(pages)


def test_every_decision_is_in_the_index_with_its_title_and_date() -> None:
    pages = sorted(path for path in DECISIONS.glob("*.md") if decision(path))
    assert len(pages) >= 64
    rows = []
    for number, path in enumerate(pages, 1):
        assert path.name.startswith(f"{number:04}-"), f"{path.name}: the numbers have a gap or a double"
        head = re.match(r"# (\d+)\. (.+)\n\nDate: (20\d\d-\d\d-\d\d)\n\n## Decision\n\n\S", path.read_text("utf-8"))
        assert head is not None, f"{path.name}: not in the form of the others"
        assert int(head[1]) == number, path.name
        for heading in ("## Why\n", "## Measured\n"):
            assert f"\n{heading}\n" in path.read_text("utf-8"), f"{path.name} has no {heading.strip()}"
        rows.append(f"| [{number:04}]({path.name}) | {head[2]} | {head[3]} |")
    index = (DECISIONS / "README.md").read_text("utf-8")
    assert [line for line in index.splitlines() if line.startswith("| [")] == rows


def test_each_question_has_an_answer_that_leads_to_a_heading_of_a_page() -> None:
    """The links are held to what they lead to by tests/adapters/test_docs.py."""
    parts = re.split(r"^## ", (DOCS / "faq.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
    assert len(parts) >= 20
    for part in parts:
        question, answer = part.split("\n", 1)
        assert question.endswith(("?", "? What now?", ".")), question
        assert re.search(r"\]\([\w/-]+\.md(?:#[\w-]+)?\)", answer), question


def decision(path: Path) -> bool:
    """Whether a page under docs/ is one decision."""
    return path.parent == DECISIONS and path.name != "README.md"
