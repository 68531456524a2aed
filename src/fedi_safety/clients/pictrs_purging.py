"""Purging one picture of a pict-rs and reading back that all of it is gone. It decides nothing and keeps nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fedi_safety.clients.pictrs import PictrsClient, PictrsRefusal, Picture
from fedi_safety.clients.pictrs_database import PictrsDatabase
from fedi_safety.core.types import PlanState

log = logging.getLogger(__name__)

_VERIFY_S = 30.0
_VERIFY_PAUSE_S = 0.1
_ALIASES_NAMED = 50


def purge_picture(
    client: PictrsClient, picture: Picture | None, database: PictrsDatabase | None = None, *, wait_s: float = _VERIFY_S
) -> tuple[PlanState, str]:
    """Purge a picture and wait until pict-rs has forgotten its hash and every alias. Doing it twice is harmless.

    Returns `done`, `gone` or `failed` and a detail that keeps what can be traced later. Raises `StoreError`.
    """
    if picture is None:
        return PlanState.GONE, "pict-rs does not have it"
    if not picture.aliases:
        # An earlier purge may be on its way: then its hash goes next.
        if _forgotten(client, picture, (), time.monotonic() + wait_s) is None:
            return PlanState.GONE, "pict-rs has finished an earlier removal"
        return PlanState.FAILED, "pict-rs lists it without any alias, and so cannot purge it; upload it again and purge"
    detail = trace_text(describe(client, picture, database))
    aliases: tuple[str, ...] | None = None
    for alias in picture.aliases:
        aliases = client.purge(alias)
        if aliases is not None:
            break
    known = tuple(dict.fromkeys((*picture.aliases, *(aliases or ()))))
    left = _forgotten(client, picture, known, time.monotonic() + wait_s)
    if left is not None:
        return PlanState.FAILED, f"purged, but after {wait_s:.0f} s {left}: see pict-rs' log; {detail}"
    log.info("purged %s: %s", picture.hash, detail)
    return PlanState.DONE, f"purged, verified: its hash and aliases are gone; {detail}"


def describe(client: PictrsClient, picture: Picture, database: PictrsDatabase | None = None) -> dict[str, Any]:
    """Return what pict-rs knows of a picture: hash, aliases, identifier, creation time, and origins if proxied.

    `origins` is None where nobody can tell: only the PostgreSQL repository has them.
    """
    identifiers = (client.identifier(alias) for alias in picture.aliases)
    return {
        "hash": picture.hash,
        "aliases": list(picture.aliases),
        "identifier": next((found for found in identifiers if found is not None), None),
        "created_at": picture.created_at,
        "origins": None if database is None else list(database.origins(picture.aliases)),
    }


def trace_text(described: Mapping[str, Any]) -> str:
    """Return a description as one short text for a ledger or a log."""
    aliases = described["aliases"]
    more = len(aliases) - _ALIASES_NAMED
    text = f"aliases {' '.join(aliases[:_ALIASES_NAMED])}{f' and {more} more' if more > 0 else ''}"
    text += f"; identifier {described['identifier'] or 'unknown'}"
    if described["origins"]:
        text += f"; fetched from {' '.join(described['origins'])}"
    return text


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
