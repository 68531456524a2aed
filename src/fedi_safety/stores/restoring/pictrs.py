"""Putting pictures back into a pict-rs, by its own import: under every alias that they had.

pict-rs takes them in like an upload: it may make the bytes anew, and makes variants again when somebody asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict

from fedi_safety.clients.pictrs import PictrsClient
from fedi_safety.clients.pictrs_database import PictrsDatabase
from fedi_safety.clients.pictrs_purging import describe, find_picture
from fedi_safety.config.schema import Pictrs
from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import StoreUsageError, Unscannable
from fedi_safety.core.sealing.copies import Described, Older, Restorer
from fedi_safety.core.types import Object


def open_pictrs_files(files: Restorer, access: Pictrs) -> PictrsFiles:
    """Return what puts back the files of a store that the configured pict-rs owns. Raises `StoreUsageError`."""
    if access.url is None:
        raise StoreUsageError("restore", "it goes back through pict-rs", "set `pictrs.url` and `pictrs.api_key`")
    key = access.api_key.get_secret_value() if access.api_key is not None else ""
    database = PictrsDatabase(access.database.get_secret_value()) if access.database is not None else None
    return PictrsFiles(files, PictrsClient(access.url, key), database)


class PictrsRestorer:
    """Puts pictures back into a pict-rs; see the `Restorer` port."""

    def __init__(self, client: PictrsClient, database: PictrsDatabase | None = None) -> None:
        """Use the client, which stays the caller's to close."""
        self._client = client
        self._database = database

    def describe(self, obj: Object, sha256: bytes) -> Described:
        """Return the names that pict-rs has for a picture; see the `Restorer` port."""
        picture, owner = find_picture(self._client, self._database, obj, sha256)
        if picture is None:
            raise Unscannable(Reason.UNREADABLE, "pict-rs does not know it, so it could not be put back through it")
        if owner is not None and owner.kind != "original":
            raise Unscannable(
                Reason.UNREADABLE,
                f"it is a {owner.kind} of {owner.hash[:64]}, with which the original would go, and that is not sealed; "
                "it goes when its original is sealed, or by `--act purge`",
            )
        facts = asdict(describe(self._client, picture, self._database))
        return {"pictrs": {name: value for name, value in facts.items() if value is not None}}

    def older(self, obj: Object) -> Sequence[Older]:  # noqa: ARG002
        """Return nothing: its pict-rs shows none."""
        return ()

    def marks(self, obj: Object) -> frozenset[str]:  # noqa: ARG002
        """Return nothing: its pict-rs shows none."""
        return frozenset()

    def lost(self, described: Described, older: int = 0) -> Sequence[str]:
        """Return what of a picture does not come back; see the `Restorer` port."""
        found = [
            "pict-rs may make the bytes anew, as of an upload",
            "its delete tokens and the time of its upload are new, and variants are made when they are asked for",
        ]
        if described["pictrs"].get("origins"):
            found.append("it was a proxied copy, and is a picture of its own then")
        if older:
            found.append(
                f"{older} older versions of its file stay in the copy, for pict-rs gives it a new file: "
                "`age -d FILE | tar x` unpacks them"
            )
        return found

    def put_back(
        self,
        key: str,  # noqa: ARG002
        data: bytes,
        described: Described,
        older: Sequence[Older] = (),  # noqa: ARG002
    ) -> Sequence[str]:
        """Import the picture under each alias, and read back; see the `Restorer` port."""
        aliases = [str(alias) for alias in described["pictrs"]["aliases"]]
        taken = [alias for alias in aliases if self._client.has_alias(alias)]
        differs = []
        for alias in aliases:
            if alias in taken:
                if self._differs(alias, data) is not None:
                    cause = f"alias {alias} is that of another picture by now"
                    raise StoreUsageError(self._client.url, cause, "see who took it")
                continue
            made = self._client.import_picture(alias, data)
            if made != alias:
                differs.append(f"alias {alias} became {made}")
        if not aliases:
            made = self._client.import_picture(f"{hashlib.sha256(data).hexdigest()[:32]}.bin", data)
            aliases = [made]
            differs.append(f"it had no alias, and is {made} now")
        if (why := self._differs(aliases[0], data)) is not None:
            differs.append(why)
        return differs

    def _differs(self, alias: str, data: bytes) -> str | None:
        """Return how the stored file differs, None where it is the same."""
        with self._client.original(alias) as response:
            if response is None:
                return f"alias {alias} is not there"
            there = response.read()
        if there == data:
            return None
        was, now = hashlib.sha256(data).hexdigest(), hashlib.sha256(there).hexdigest()
        return f"pict-rs made the bytes anew: {len(there)} and not {len(data)}, SHA-256 {now} and not {was}"

    def close(self) -> None:
        """Nothing was opened beside the store."""


class PictrsFiles(PictrsRestorer):
    """The same for a store of files that belong to a pict-rs; what describes the files tells the rest."""

    def __init__(self, files: Restorer, client: PictrsClient, database: PictrsDatabase | None = None) -> None:
        """Take over the client."""
        super().__init__(client, database)
        self._files = files

    def describe(self, obj: Object, sha256: bytes) -> Described:
        """Return what the file has, and pict-rs' names for it."""
        return {**self._files.describe(obj, sha256), **super().describe(obj, sha256)}

    def older(self, obj: Object) -> Sequence[Older]:
        """Return older versions of the file, where the store keeps some: they go once pict-rs has let go of it."""
        return self._files.older(obj)

    def marks(self, obj: Object) -> frozenset[str]:
        """Return the marks of the file's versions."""
        return self._files.marks(obj)

    def close(self) -> None:
        """Close the client."""
        self._client.close()
