"""README's tables of figures and docs/figures.md are what `./dev bench all` wrote, and nothing typed by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bench import all as everything
from bench import figures_page
from bench.measure import ROOT


@pytest.fixture
def figures() -> dict[str, Any]:
    return dict(json.loads(figures_page.FIGURES.read_text()))


def test_pages_say_what_was_measured(figures: dict[str, Any]) -> None:
    readme = figures_page.README.read_text()
    assert figures_page.with_blocks(readme, figures) == readme
    assert figures_page.PAGE.read_text() == figures_page.page(figures)


def test_a_figure_changed_by_hand_is_seen(figures: dict[str, Any]) -> None:
    readme = figures_page.README.read_text()
    block = next(match for match in figures_page.BLOCK.finditer(readme) if match[1] in figures)
    typed = readme.replace(block[2], block[2] + "Twice as fast as that.\n")
    assert figures_page.with_blocks(typed, figures) == readme


def test_every_block_of_readme_was_measured(figures: dict[str, Any]) -> None:
    blocks = [match[1] for match in figures_page.BLOCK.finditer(figures_page.README.read_text())]
    assert blocks
    assert set(blocks) <= figures.keys()


def test_every_part_has_a_benchmark_and_a_page() -> None:
    assert everything.PARTS.keys() == figures_page.PARTS.keys()
    for part in everything.PARTS.values():
        assert (ROOT / "bench" / f"{part.script}.py").is_file()


def test_what_was_not_measured_keeps_its_block() -> None:
    text = f"<!-- figures: clip -->\nas it was\n{figures_page.END}\n"
    assert figures_page.with_blocks(text, {}) == text


@pytest.mark.parametrize(
    ("value", "said"), [(0.434, "0.43"), (8.31, "8.31"), (51.77, "51.8"), (262.3, "262"), (70123.0, "70,123")]
)
def test_figures_have_the_digits_that_say_something(value: float, said: str) -> None:
    assert figures_page.number(value) == said
