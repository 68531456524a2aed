"""axe-core from npm, which finds in a page what keeps people with a screen reader, a keyboard or weak eyes out.

`./dev test --servers axe` fetches it. It is run in the page of a browser by the tests, and is no part of the program.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from support import needs
from support.servers import npm

_PACKAGES = {"axe-core": "4.14.1"}
_SCRIPT = "node_modules/axe-core/axe.min.js"
_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
_COMMAND = "./dev test --servers axe"
_RUN = """async () => {
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
  const found = await axe.run(document, {resultTypes: ["violations"]});
  return found.violations.map((one) => [one.impact, one.id, one.nodes.map((node) => node.html.slice(0, 160))]);
}"""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a page breaks, how grave that is, and the elements that do."""

    impact: str
    rule: str
    elements: tuple[str, ...]


def check() -> bool:
    """Whether it is installed; raises Unready if it cannot be."""
    return npm.check("axe", _PACKAGES)


def build(say: Callable[[str], None]) -> None:
    """Install it, without running anything of it."""
    npm.build("axe", _PACKAGES, say)


@cache
def _script() -> str:
    if not check():
        raise RuntimeError(f"axe-core is not installed: run `{_COMMAND}` once")
    data = (npm.place("axe", _PACKAGES) / _SCRIPT).read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise RuntimeError("axe-core is not the one that these tests know")
    return data.decode()


def violations(page: Any) -> list[Violation]:
    """Return what axe finds on a page of Playwright's by all its rules, with whatever can be opened there open."""
    needs.started("axe")
    page.evaluate(_script())
    return [Violation(impact, rule, tuple(elements)) for impact, rule, elements in page.evaluate(_RUN)]
