"""The PostgreSQL repository of a pict-rs 0.5, read only: which files belong to a picture, where it came from.

It never writes, and repeats no connection string in a message.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedi_safety.clients.postgresql import ReadOnlyPostgresql, Trouble
from fedi_safety.core.errors import StoreError

_WITHIN_S = 60.0

READS: Mapping[str, tuple[str, ...]] = {
    "hashes": ("hash", "identifier", "motion_identifier"),
    "variants": ("hash", "identifier"),
    "proxies": ("url", "alias"),
}
"""The columns that are read, by table, and nothing else."""


@dataclass(frozen=True, slots=True)
class Owner:
    """To which picture of pict-rs' a stored file belongs. `kind` is original, motion or variant."""

    hash: str
    identifier: str
    kind: str


class PictrsDatabase:
    """Reads the PostgreSQL repository of a pict-rs, where it has one. It never writes."""

    def __init__(self, dsn: str) -> None:
        """Take the connection string; nothing is opened yet."""
        self._dsn = dsn

    def owner(self, identifiers: Sequence[str]) -> Owner | None:
        """Return to what the first known one of these identifiers (paths in pict-rs' store) belongs."""
        rows = self._rows(
            "SELECT h.identifier, h.hash, 'original' FROM hashes h WHERE h.identifier = ANY(%(ids)s)"
            " UNION ALL SELECT h.motion_identifier, h.hash, 'motion' FROM hashes h"
            " WHERE h.motion_identifier = ANY(%(ids)s)"
            " UNION ALL SELECT v.identifier, v.hash, 'variant' FROM variants v WHERE v.identifier = ANY(%(ids)s)",
            {"ids": list(identifiers)},
        )
        found = {identifier: (digest, kind) for identifier, digest, kind in rows}
        for identifier in identifiers:
            if identifier in found:
                digest, kind = found[identifier]
                return Owner(self._hex(digest), identifier, kind)
        return None

    def files(self, picture_hash: str) -> tuple[str, ...]:
        """Return where every file of a picture lies in pict-rs' store: original, motion frame, variants."""
        rows = self._rows(
            "SELECT h.identifier FROM hashes h WHERE h.hash = %(hash)s"
            " UNION SELECT h.motion_identifier FROM hashes h WHERE h.hash = %(hash)s"
            " UNION SELECT v.identifier FROM variants v WHERE v.hash = %(hash)s",
            {"hash": base64.b64encode(bytes.fromhex(picture_hash)).decode("ascii")},
        )
        return tuple(sorted(row[0] for row in rows if row[0] is not None))

    def origins(self, aliases: Sequence[str]) -> tuple[str, ...]:
        """Return the remote URLs that these aliases are proxied copies of."""
        rows = self._rows("SELECT url FROM proxies WHERE alias = ANY(%(aliases)s)", {"aliases": list(aliases)})
        return tuple(sorted(row[0] for row in rows))

    def _hex(self, digest: str) -> str:
        try:
            return base64.b64decode(digest, validate=True).hex()
        except binascii.Error as error:
            raise self._failed("its hashes are not understood") from error

    def _rows(self, query: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with ReadOnlyPostgresql(self._dsn, "database of pict-rs", self._fault).session(_WITHIN_S) as session:
            return session.rows(query, params)

    def _fault(self, trouble: Trouble, cause: str) -> StoreError:
        if trouble is Trouble.SCHEMA:
            return self._failed("it is not the repository of a pict-rs")
        return self._failed(f"it cannot be read: {cause}")

    def _failed(self, cause: str) -> StoreError:
        return StoreError("pictrs.database", cause, "check the connection string and the rights to read")
