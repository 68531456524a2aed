"""Style sheets: colours and figures, which the report and the review pages share, and what each has besides."""

from __future__ import annotations

from functools import cache
from importlib import resources

SHARED = ("tokens.css", "figures.css")
"""What the review pages begin their own style sheet with."""


@cache
def style(*names: str) -> str:
    """Return these style sheets in one, in order."""
    folder = resources.files("fedi_safety.reports") / "styles"
    return "".join((folder / name).read_text("utf-8") for name in names)


def report_style() -> str:
    """Return the style sheet of the report's page."""
    return style(*SHARED, "report.css")
