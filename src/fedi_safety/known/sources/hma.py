"""A Hasher-Matcher-Actioner's banks, read from its database: its API has no call that lists what is in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote, urlsplit, urlunsplit

from fedi_safety.clients.hma_database import HmaDatabase, Signal
from fedi_safety.core.errors import KnownUsageError
from fedi_safety.known.formats.items import Item, entry_of
from fedi_safety.known.sources.kinds import Asking, Page


def fetch_hma(asking: Asking) -> Iterator[Page]:
    """Give all hashes that its banks match with, a bank's name as their category; all of the list, every time."""
    whole = True
    for signals in HmaDatabase(_dsn(asking), asking.source.name).signals(asking.now_s):
        yield Page(_items(signals), whole=whole)
        whole = False
    yield Page((), str(int(asking.now_s)), whole=whole)


def _items(signals: Sequence[Signal]) -> Iterator[Item]:
    for each in signals:
        place = f"content {each.content}"
        yield entry_of(place, each.kind, each.text, id=str(each.content), category=each.bank, seen=each.made_s)


def _dsn(asking: Asking) -> str:
    """Return the connection string: the address with the role and the password."""
    parts = urlsplit(asking.source.url)
    if parts.scheme not in ("postgresql", "postgres") or parts.username is not None:
        cause = "its url is no postgresql://host/database"
        raise KnownUsageError(f"source {asking.source.name}", cause, "role and password belong into credentials_file")
    said = asking.source.credentials().strip()
    role, _, password = said.partition(":")
    login = f"{quote(role, safe='')}:{quote(password, safe='')}@" if said else ""
    return urlunsplit(parts._replace(netloc=login + parts.netloc))
