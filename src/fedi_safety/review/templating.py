"""Templates of the pages: everything that comes into one is text, and what has no look of its own becomes visible.

Figures are shown by the report's own templates, which lie below these.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader

from fedi_safety.reports.templating import loader, made_environment
from fedi_safety.reports.templating import machine_time as machine_time
from fedi_safety.reports.templating import plain as plain
from fedi_safety.reports.templating import short as short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedi_safety.review.visit import Visit


def percent(value: float) -> str:
    """Return a share of the width of a bar, of which there is at least a trace."""
    return f"{100 * min(max(value, 0.0), 1.0):.1f}"


@cache
def environment() -> Environment:
    """Return the templates of the pages."""
    made = made_environment(ChoiceLoader([PackageLoader("fedi_safety.review", "templates"), loader()]))
    made.filters.update(line=plain, percent=percent, hex=bytes.hex)
    return made


def rendered(template: str, visit: Visit, values: Mapping[str, Any]) -> str:
    """Return a page. `_` says a sentence in the reader's language."""
    return environment().get_template(template).render(visit=visit, _=visit.say, **values)
