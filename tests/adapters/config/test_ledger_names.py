"""A ledger's URL as people may see it."""

from __future__ import annotations

import pytest

from fedi_safety.config.locations import ledger_name, with_password

NAMES = {
    "/var/lib/fedi-safety/ledger.db": "/var/lib/fedi-safety/ledger.db",
    "sqlite:///a?b@c:d": "sqlite:///a?b@c:d",
    "postgresql://": "postgresql://",
    "postgresql://me@host:5433/db": "postgresql://me@host:5433/db",
    "postgresql://me:se@cret@host/db": "postgresql://me@host/db",
    "postgresql://me:secret@one:1,two:2/db?target_session_attrs=any": "postgresql://me@one:1,two:2/db",
    "postgresql:///db?service=x&password=secret&sslpassword=secret": "postgresql:///db?service=x",
    "mysql://me:secret@host/db": "mysql://me@host/db",
}


@pytest.mark.parametrize("url", NAMES)
def test_a_ledger_is_named_without_its_password(url: str) -> None:
    assert ledger_name(url) == NAMES[url]
    assert with_password(url) is ("secret" in url or "se@cret" in url)
