"""A file of hashes at an address, in any format that `hashes import` reads; asked for again only where it changed."""

from __future__ import annotations

import json
from collections.abc import Iterator

from fedi_safety.core.errors import KnownUsageError
from fedi_safety.known.formats import read
from fedi_safety.known.sources.kinds import Asking, Page, basic


def fetch_url(asking: Asking) -> Iterator[Page]:
    """Give the file, which is all of the list; nothing where it is as it was."""
    source = asking.source
    said = source.credentials().strip()
    secret = {} if not said else basic(said) if ":" in said else {"Authorization": f"Bearer {said}"}
    answer = asking.server.ask(
        source.url, asking.answer, headers=_unless_same(asking.checkpoint), secret=secret, redirects=True
    )
    if not answer.changed:
        return
    try:
        reading = read(answer.file, source.format, source.hash_kind)
    except KnownUsageError as error:
        raise asking.strange(error.cause) from error
    reached = {name: answer.headers[name] for name in ("etag", "last-modified") if name in answer.headers}
    yield Page(asking.read(reading.format.read, source.hash_kind), json.dumps(reached), whole=True)


def _unless_same(checkpoint: str) -> dict[str, str]:
    """Return the headers that ask for nothing where nothing changed."""
    reached = json.loads(checkpoint) if checkpoint else {}
    names = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
    return {names[name]: value for name, value in reached.items()}
