"""Templates of the report, and the filters and parts of pages that the review pages share with it.

What comes into a page is text. What others wrote goes through `plain`, so that it shows as it is, on one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined

from fedi_safety.core.errors import printable
from fedi_safety.reports.facts import percent

_SHORT = 90


def plain(text: object) -> str:
    """Return what somebody else wrote as one line of text that shows as it is: no marks that turn or hide letters."""
    return printable(str(text)).encode("utf-8", "backslashreplace").decode()


def short(text: object, most: int = _SHORT) -> str:
    """Return the same with the middle left out where it is long: beginnings and ends tell names apart."""
    line = plain(text)
    return line if len(line) <= most else f"{line[: most // 2]} … {line[-(most // 2) :]}"


def moment(at: float | None) -> str:
    """Return a time as people read it, in UTC."""
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def day(at: float | None) -> str:
    """Return the day of a time, in UTC."""
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def machine_time(at: float) -> str:
    """Return a time as programs read it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def number(count: int | None) -> str:
    """Return a count as people read it; nothing where there is none."""
    return "" if count is None else f"{count:,}"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "plain": plain,
    "short": short,
    "moment": moment,
    "day": day,
    "machine_time": machine_time,
    "number": number,
    "share": percent,
}
"""What every template of the project can use."""


def loader() -> BaseLoader:
    """Return where the templates are that the review pages share."""
    return PackageLoader("fedi_safety.reports", "templates")


def made_environment(templates: BaseLoader) -> Environment:
    """Return templates that escape whatever comes in, and fail where a name is missing."""
    made = Environment(
        loader=templates,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(FILTERS)
    return made


@cache
def environment() -> Environment:
    """Return the templates of the report."""
    return made_environment(loader())


def rendered(template: str, **values: Any) -> str:
    """Return a page or part made of a template, in English."""
    return environment().get_template(template).render(_=english, **values)


def english(text: str, **values: object) -> str:
    """Return a sentence as it is written; `{name}` in it becomes that value."""
    return text.format(**values) if values else text
