"""A pict-rs as the owner of files: its own names for them, and the addresses that they are proxied copies of.

It forgets both with the picture. It does not know who uploaded one; only the server behind it does.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial

from fedi_safety.clients.pictrs import PictrsClient
from fedi_safety.clients.pictrs_database import PictrsDatabase
from fedi_safety.clients.pictrs_purging import find_picture
from fedi_safety.config.schema import Pictrs
from fedi_safety.core.sightings import Names
from fedi_safety.core.types import Object


class PictrsOwner:
    """Names files of a pict-rs, through its API; its PostgreSQL adds origins and finds thumbnails."""

    def __init__(self, url: str, access: Pictrs) -> None:
        """Take the pict-rs at `url`; it is not reached yet. Raises `StoreUsageError` for a URL or key that is none."""
        key = access.api_key.get_secret_value() if access.api_key is not None else ""
        self._connect = partial(PictrsClient, url, key)
        with closing(self._connect()) as client:
            self.name = f"pict-rs at {client.url}"
        self._database = None if access.database is None else PictrsDatabase(access.database.get_secret_value())

    def names(self, obj: Object, sha256: bytes) -> Names:
        """Return a file's names; see the `FileOwner` port."""
        with closing(self._connect()) as client:
            picture, _ = find_picture(client, self._database, obj, sha256)
        if picture is None:
            return Names()
        origins = () if self._database is None else self._database.origins(picture.aliases)
        return Names(tuple(picture.aliases), origins)
