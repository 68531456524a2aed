"""Templates of the pages: everything that comes into one is text, and what has no look of its own becomes visible.

Figures are shown by the report's own templates, which lie below these.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader
from markupsafe import Markup, escape

from fedi_safety.reports.templating import loader, made_environment
from fedi_safety.reports.templating import machine_time as machine_time
from fedi_safety.reports.templating import plain as plain
from fedi_safety.reports.templating import short as short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedi_safety.review.visit import Visit

_MOST = 400  # letters of what somebody else wrote, anywhere


def _shown(value: Any) -> Any:
    """Return what a template puts into a page: whatever is text is shown `plain`, and not for pages on end."""
    return short(value, _MOST) if isinstance(value, str) and not isinstance(value, Markup) else value


def exact(value: object) -> Markup:
    """Return what a form sends back as it is: for the values of fields and choices, which nobody reads."""
    return escape(value)


def percent(value: float) -> str:
    """Return a share of the width of a bar, of which there is at least a trace."""
    return f"{100 * min(max(value, 0.0), 1.0):.1f}"


@cache
def environment() -> Environment:
    """Return the templates of the pages."""
    made = made_environment(ChoiceLoader([PackageLoader("fedi_safety.review", "templates"), loader()]))
    made.finalize = _shown
    made.filters.update(line=plain, exact=exact, percent=percent, hex=bytes.hex)
    return made


def rendered(template: str, visit: Visit, values: Mapping[str, Any]) -> str:
    """Return a page. `_` says a sentence in the reader's language."""
    return environment().get_template(template).render(visit=visit, _=visit.say, **values)
