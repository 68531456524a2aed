"""The README's first steps as a moving picture of a terminal: an SVG without script, made of what the tests run.

`python -m support.moving_terminal` writes docs/terminal.svg anew, of the README's own blocks one by one. They are
run and compared by tests/e2e/test_readme.py, so that it shows what is true. Who wants no movement sees its last state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs/terminal.svg"
COLUMNS = 86
_BLOCK = re.compile(r"^<!-- run: exits \d+ -->\n```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_WIDTH, _HEIGHT, _EDGE = 8.4, 19.0, 16.0  # of a character and of a line, and around the text; in pixels
_TYPING_S, _READING_S, _END_S = 0.9, 2.2, 6.0
_STYLE = """
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d8dee9;white-space:pre}
.c{fill:#8fd3b6}
@media(prefers-reduced-motion:no-preference){.s{animation:show var(--all) step-end infinite}}
"""


@dataclass(frozen=True, slots=True)
class Step:
    """A command and what it printed."""

    command: str
    output: tuple[str, ...]


def steps(readme: str, most: int = 5) -> list[Step]:
    """Return the first commands of the README's blocks that the tests run."""
    found = []
    for block in _BLOCK.findall(readme):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *output = part.rstrip("\n").split("\n")
            found.append(Step(command, tuple(output)))
    return found[:most]


def drawn(shown: list[Step]) -> str:
    """Return the SVG: a screen a step, each with what was typed, then what came."""
    height = max(len(wrapped(step)) for step in shown) * _HEIGHT + 2 * _EDGE + 24
    width = COLUMNS * _WIDTH + 2 * _EDGE
    times, at = [], 0.0
    for number, _ in enumerate(shown):
        times.append((at, at + _TYPING_S))
        at += _TYPING_S + (_END_S if number == len(shown) - 1 else _READING_S)
    rules, body = [], []
    for number, (step, (typed, printed)) in enumerate(zip(shown, times, strict=True)):
        last = number == len(shown) - 1
        until = at if last else times[number + 1][0]
        lines = wrapped(step)
        commands = sum(1 for line in lines if line.startswith("\0"))
        for name, begin, part in (("c", typed, lines[:commands]), ("o", printed, lines[commands:])):
            rules.append(_rule(f"{name}{number}", begin / at * 100, until / at * 100))
            hidden = "" if last else ' opacity="0"'
            body.append(f'<g class="s {name}{number}"{hidden}>' + "".join(_lines(part, name, commands)) + "</g>")
    style = f"{_STYLE}:root{{--all:{at:.1f}s}}\n" + "\n".join(rules)
    title = "fedi-safety in a terminal: " + "; ".join(step.command for step in shown)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{style}\n</style>\n"
        f'<rect width="100%" height="100%" rx="8" fill="#1d2430"/>\n'
        + "".join(f'<circle cx="{20 + 18 * n}" cy="18" r="5" fill="#4c566a"/>' for n in range(3))
        + "\n"
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _rule(name: str, begin: float, end: float) -> str:
    frames = f"0%{{opacity:0}}{begin:.2f}%{{opacity:1}}{end:.2f}%{{opacity:0}}"
    if begin == 0:
        frames = f"0%{{opacity:1}}{end:.2f}%{{opacity:0}}"
    return (
        f"@keyframes {name}{{{frames}}}@media(prefers-reduced-motion:no-preference){{.{name}{{animation-name:{name}}}}}"
    )


def wrapped(step: Step) -> list[str]:
    """Return the lines of a screen; those of the command begin with a null."""
    typed = [f"\0{line}" for line in _cut(f"$ {step.command}")]
    return typed + [line for text in step.output for line in _cut(text.expandtabs(4))]


def _cut(line: str) -> list[str]:
    return [line[at : at + COLUMNS] for at in range(0, max(1, len(line)), COLUMNS)]


def _lines(lines: list[str], name: str, above: int) -> list[str]:
    first = 0 if name == "c" else above
    drawn_lines = []
    for number, line in enumerate(lines, first):
        y = _EDGE + 24 + (number + 0.75) * _HEIGHT
        kind = ' class="c"' if name == "c" else ""
        text = escape(line.removeprefix("\0"))
        drawn_lines.append(f'<text x="{_EDGE:.0f}" y="{y:.1f}"{kind} xml:space="preserve">{text}</text>')
    return drawn_lines


if __name__ == "__main__":
    PICTURE.write_text(drawn(steps((ROOT / "README.md").read_text("utf-8"))), "utf-8")
