"""The moving terminal of the README shows the README's own commands, which are run by another test."""

from __future__ import annotations

from xml.etree import ElementTree

from support.moving_terminal import COLUMNS, PICTURE, ROOT, drawn, steps, wrapped

README = (ROOT / "README.md").read_text("utf-8")


def test_the_picture_is_of_the_readme_as_it_stands() -> None:
    assert PICTURE.read_text("utf-8") == drawn(steps(README)), "write it anew: python -m support.moving_terminal"
    assert "(docs/terminal.svg)" in README


def test_it_shows_each_command_with_what_it_printed_and_loads_nothing() -> None:
    shown = steps(README)
    picture = drawn(shown)
    lines = [one.text for one in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    wanted = [line.removeprefix("\0") for step in shown for line in wrapped(step)]
    assert lines == wanted and len(shown) == 5
    assert max(map(len, wanted)) <= COLUMNS
    assert "<script" not in picture and picture.count("http") == 1
