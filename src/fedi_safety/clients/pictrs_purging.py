"""Purging one picture of a pict-rs and reading back that all of it is gone. It decides nothing and keeps nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fedi_safety.clients.pictrs import PictrsClient, PictrsRefusal, Picture
from fedi_safety.clients.pictrs_database import Owner, PictrsDatabase
from fedi_safety.core.enums import PlanState
from fedi_safety.core.errors import StoreError
from fedi_safety.core.types import Object, Receipt, Removal

log = logging.getLogger(__name__)

_VERIFY_S = 30.0
_VERIFY_PAUSE_S = 0.1
_ALIASES_NAMED = 50


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What pict-rs knows of a picture, and has forgotten once it is purged.

    `origins` are the addresses that it is a proxied copy of; None where nobody can tell: only the PostgreSQL repository
    has them.
    """

    hash: str
    aliases: tuple[str, ...]
    identifier: str | None
    created_at: float | None
    origins: tuple[str, ...] | None

    @property
    def text(self) -> str:
        """Return it as one short text for a ledger or a log."""
        more = len(self.aliases) - _ALIASES_NAMED
        text = f"aliases {' '.join(self.aliases[:_ALIASES_NAMED])}{f' and {more} more' if more > 0 else ''}"
        text += f"; identifier {self.identifier or 'unknown'}"
        if self.origins:
            text += f"; fetched from {' '.join(self.origins)}"
        return text

    @property
    def receipt(self) -> Receipt:
        """Return all of it for the record of an act; what is not known is left out."""
        at = None if self.created_at is None else datetime.fromtimestamp(self.created_at, UTC).isoformat()
        known = {
            "picture": self.hash,
            "aliases": self.aliases,
            "identifier": self.identifier,
            "created_at": at,
            "origins": self.origins,
        }
        return {name: value for name, value in known.items() if value is not None}


def purge_picture(
    client: PictrsClient, picture: Picture | None, database: PictrsDatabase | None = None, *, wait_s: float = _VERIFY_S
) -> Removal:
    """Purge a picture and wait until pict-rs has forgotten its hash and every alias. Doing it twice is harmless.

    It ends as `done`, `gone` or `failed`; the receipt has what pict-rs knew, as soon as that is to be lost. Raises
    `StoreError` before that.
    """
    if picture is None:
        return Removal(PlanState.GONE, "pict-rs does not have it")
    if not picture.aliases:
        # An earlier purge may be on its way: then its hash goes next.
        if _forgotten(client, picture, (), time.monotonic() + wait_s) is None:
            return Removal(PlanState.GONE, "pict-rs has finished an earlier removal")
        without = "pict-rs lists it without any alias, and so cannot purge it; upload it again and purge"
        return Removal(PlanState.FAILED, without)
    facts = describe(client, picture, database)
    detail = facts.text
    try:
        aliases: tuple[str, ...] | None = None
        for alias in picture.aliases:
            aliases = client.purge(alias)
            if aliases is not None:
                break
        facts = replace(facts, aliases=tuple(dict.fromkeys((*picture.aliases, *(aliases or ())))))
        left = _forgotten(client, picture, facts.aliases, time.monotonic() + wait_s)
    except StoreError as error:  # it may be purged all the same, and the next try would find nothing to tell of it
        return Removal(PlanState.FAILED, error.line(), facts.receipt)
    if left is not None:
        why = f"purged, but after {wait_s:.0f} s {left}: see pict-rs' log; {detail}"
        return Removal(PlanState.FAILED, why, facts.receipt)
    log.info("purged %s: %s", picture.hash, detail)
    return Removal(PlanState.DONE, f"purged, verified: its hash and aliases are gone; {detail}", facts.receipt)


def find_picture(
    client: PictrsClient, database: PictrsDatabase | None, obj: Object, sha256: bytes
) -> tuple[Picture | None, Owner | None]:
    """Find the picture that a stored object with this content belongs to: by the content, else by where its file lies.

    The owner says as what it belongs to it, where it was found by its place. Raises `StoreError`.
    """
    picture = client.find_content(sha256, obj.size)
    if picture is not None or database is None:
        return picture, None
    parts = obj.key.split("/")
    # The store may be scanned from further up than pict-rs' own root.
    owner = database.owner(["/".join(parts[i:]) for i in range(len(parts))])
    if owner is None or (owner.kind == "original" and owner.hash[:64] != sha256.hex()):
        return None, None
    return client.find(owner.hash), owner


def describe(client: PictrsClient, picture: Picture, database: PictrsDatabase | None = None) -> PictureFacts:
    """Return what pict-rs knows of a picture. Raises `StoreError`."""
    identifiers = (client.identifier(alias) for alias in picture.aliases)
    return PictureFacts(
        hash=picture.hash,
        aliases=tuple(picture.aliases),
        identifier=next((found for found in identifiers if found is not None), None),
        created_at=picture.created_at,
        origins=None if database is None else database.origins(picture.aliases),
    )


def _forgotten(client: PictrsClient, picture: Picture, aliases: Sequence[str], until: float) -> str | None:
    """Wait until nothing of a picture is known any more; return what is left when the time is over."""
    left = list(aliases)
    while True:
        left = [alias for alias in left if client.has_alias(alias)]
        trouble = f"alias {left[0]} is still there" if left else _listed(client, picture)
        if trouble is None or time.monotonic() >= until:
            return trouble
        time.sleep(_VERIFY_PAUSE_S)


def _listed(client: PictrsClient, picture: Picture) -> str | None:
    """Return why a picture may still be listed, None if it is not."""
    try:
        return None if client.find(picture.hash) is None else "its hash is still listed"
    except PictrsRefusal as refusal:
        # This picture on its way out, or the newest one, has lost its file.
        if refusal.damaged:
            return f"its hash cannot be looked up: {refusal.line()}"
        raise
