"""Templates: everything that comes into a page is text, and what has no look of its own becomes visible."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from fedi_safety.core.errors import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedi_safety.review.visit import Visit

_SHORT = 90
_MOST = 400  # letters of what somebody else wrote, anywhere


def plain(text: object) -> str:
    """Return what somebody else wrote as one line of text that shows as it is: no marks that turn or hide letters."""
    return printable(str(text)).encode("utf-8", "backslashreplace").decode()


def _shown(value: Any) -> Any:
    """Return what a template puts into a page: whatever is text is shown `plain`, and not for pages on end."""
    return short(value, _MOST) if isinstance(value, str) and not isinstance(value, Markup) else value


def exact(value: object) -> Markup:
    """Return what a form sends back as it is: for the values of fields and choices, which nobody reads."""
    return escape(value)


def short(text: object, most: int = _SHORT) -> str:
    """Return the same with the middle left out where it is long: beginnings and ends tell names apart."""
    line = plain(text)
    return line if len(line) <= most else f"{line[: most // 2]} … {line[-(most // 2) :]}"


def moment(at: float | None) -> str:
    """Return a time as people read it, in UTC."""
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def machine_time(at: float) -> str:
    """Return a time as programs read it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def percent(value: float) -> str:
    """Return a share of the width of a bar, of which there is at least a trace."""
    return f"{100 * min(max(value, 0.0), 1.0):.1f}"


@cache
def environment() -> Environment:
    """Return the templates of the pages."""
    made = Environment(
        loader=PackageLoader("fedi_safety.review", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        plain=plain, line=plain, exact=exact, short=short, moment=moment, machine_time=machine_time, percent=percent,
        hex=bytes.hex,
    )  # fmt: skip
    return made


def rendered(template: str, visit: Visit, values: Mapping[str, Any]) -> str:
    """Return a page. `_` says a sentence in the reader's language."""
    return environment().get_template(template).render(visit=visit, _=visit.say, **values)
