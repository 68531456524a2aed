"""NCMEC's hash sharing, version 2: what its members added, changed and deleted between two moments, in pages.

Entries of a span come in no order, and a page leads to the next for some hours only; so a span counts once all of its
pages came. One that has more than can be lost is asked for in parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from urllib.parse import parse_qs, urljoin, urlsplit

from fedi_safety.core.errors import KnownUsageError
from fedi_safety.known.formats.items import Source
from fedi_safety.known.formats.ncmec import next_page, read_ncmec
from fedi_safety.known.sources.kinds import Asking, Page

MOST_OF_SPAN = 200_000
"""About so many entries are asked for at once: two hundred answers, which are lost together if one breaks off."""

_BEHIND_S = 60  # what is younger may not be complete yet
_OVERLAP_S = 600  # what came late into what was fetched before
_FEW = 2_000


def fetch_ncmec(asking: Asking) -> Iterator[Page]:
    """Give what changed since the checkpoint, span by span."""
    start = begun = _seconds(asking)
    last = int(asking.now_s) - _BEHIND_S
    span = last - start
    while start < last:
        end = min(last, start + max(1, span))
        first = max(0, start - _OVERLAP_S) if start == begun else start
        url = f"{asking.source.url}/v2/entries?from={_moment(first)}&to={_moment(end)}"
        _ask(asking, url)
        following = _next(asking, url)
        count = _count(following)
        if count > MOST_OF_SPAN and end - start > 1:
            span = max(1, (end - start) * MOST_OF_SPAN // (2 * count))
            continue
        yield from _span(asking, url, following, str(end))
        start = end
        span *= 2 if count < _FEW else 1


def _span(asking: Asking, url: str, following: str, end: str) -> Iterator[Page]:
    """Give the pages of a span, of which the first was asked for."""
    read = partial(read_ncmec, anew=bool(asking.checkpoint))
    while following:
        yield Page(asking.read(read))
        url = following
        _ask(asking, url)
        following = _next(asking, url)
    yield Page(asking.read(read), end)


def _ask(asking: Asking, url: str) -> None:
    asking.turn(url)
    asking.server.ask(url, asking.answer, secret=asking.basic())


def _next(asking: Asking, url: str) -> str:
    """Return the address of the next page, empty for none. Raises `KnownError` for one that is elsewhere."""
    try:
        said = next_page(Source(asking.answer))
    except KnownUsageError as error:
        raise asking.strange(error.cause) from error
    if not said:
        return ""
    base = asking.source.url
    following = base + said if said.startswith("/v2/") else urljoin(url, said)
    if urlsplit(following)[:2] != urlsplit(base)[:2]:
        raise asking.strange("its next page is at another address")
    return following


def _count(following: str) -> int:
    """Return about how many entries a span has, by what leads to its second page; 0 where there is none."""
    said = parse_qs(urlsplit(following).query).get("max", ["0"])[-1]
    return int(said[:12]) if said[:12].isdigit() else 0


def _seconds(asking: Asking) -> int:
    return int(asking.checkpoint) if asking.checkpoint.isdigit() else 0


def _moment(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
