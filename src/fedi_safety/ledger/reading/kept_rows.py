"""The types that rows are of which few contents have: copies, traces, actions. Loaded where there is such a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from fedi_safety.core.moderation import ActionState, AppAction, TargetKind
from fedi_safety.core.sealing.copies import Seal, SealState
from fedi_safety.core.sightings import (
    Certainty,
    Sighting,
    SightingKind,
    SightingWay,
    Subject,
    TraceRecord,
    TraceState,
)
from fedi_safety.ledger import codec

SIGHTING = tuple(field.name for field in fields(Sighting))
"""The columns of a sighting that are its own."""

_AS_THEY_ARE = (
    *("size", "digest", "made_at", "expires_at", "held", "authority", "reference", "filed_at", "restored_at"),
    *("ended_at", "detail"),
)


def seal_from(row: Mapping[Any, Any]) -> Seal:
    """Return the copy that a row of `seals` is of, with its store's URL as `store`."""
    return Seal(
        row["id"],
        row["plan_id"],
        row["store"],
        codec.key_text(row["key"]),
        row["sha256"],
        row["vault"],
        row["name"],
        SealState(row["state"]),
        *(row[name] for name in _AS_THEY_ARE),
    )


def sighting_from(cells: Any) -> Sighting:
    """Return the sighting that such cells are of."""
    own = {name: cells[name] for name in SIGHTING}
    words = {"kind": SightingKind(own["kind"]), "way": SightingWay(own["way"])}
    return Sighting(**(own | words | {"certainty": Certainty(own["certainty"])}))


def trace_from(row: Mapping[str, Any], found: Sequence[Sighting]) -> TraceRecord:
    """Return the attempt that a row of `traces` is of, with its store's URL as `store`."""
    names = codec.said_from(row["names"])
    key = None if row["key"] is None else codec.key_text(row["key"])
    aliases, origins = tuple(names["aliases"]), tuple(names["origins"])
    subject = Subject(row["store"], key, row["sha256"], aliases, origins, row["url"])
    ending = (TraceState(row["state"]), row["detail"], tuple(found), row["retry_at"], row["plan_id"])
    return TraceRecord(subject, row["server"], row["at"], *ending)


def action_from(row: Mapping[Any, Any]) -> AppAction:
    """Return the action that a row of `app_actions` is of, with its store's URL as `store`."""
    return AppAction(
        row["id"], row["sha256"], row["store"], row["server"], row["action"], TargetKind(row["target"]),
        row["target_id"], row["url"], row["about"], ActionState(row["state"]), row["attempts"], row["detail"],
        row["updated_at"], row["begun_at"],
    )  # fmt: skip
