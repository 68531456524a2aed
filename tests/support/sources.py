"""Ledgers that say where condemned contents came from: for each content its sightings, as if it had been traced."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from fedi_safety.core.enums import MediaType, Verdict
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.sightings import (
    Certainty,
    Sighting,
    SightingKind,
    SightingWay,
    Subject,
    TraceRecord,
    TraceState,
)
from fedi_safety.core.types import Content, Judged, Judgement, Object, Scores

STORE = "file:///srv/media"


def sha(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def seen(
    instance: str | None,
    person: str | None = None,
    *,
    local: bool | None = False,
    person_id: str | None = None,
    certainty: Certainty = Certainty.CERTAIN,
) -> Sighting:
    """A post of that person, as a server's database tells of it."""
    url = None if person is None else f"https://{instance}/post/1"
    return Sighting(
        SightingKind.POST, SightingWay.DATABASE, certainty, url, person, instance, local, person_id=person_id
    )


def condemned(ledger: WholeLedger, traced: Mapping[str, Sequence[Sighting]], *, at: float = 1_800_000_000.0) -> int:
    """Record a condemned content for each key, with an attempt that found these sightings; none for an empty list."""
    run = ledger.begin_run("scan", STORE, {"dry_run": True})
    contents = {key: Content(sha(key), 1, MediaType.PNG, 1, 1, 1, Scores({}, {"test": "1"})) for key in traced}
    judgement = Judgement(Verdict.BLOCK, (), (), "test@1")
    ledger.record(run, STORE, [Judged(Object(key, 1, 1), content, judgement) for key, content in contents.items()])
    ledger.record_traces(run, [attempt(key, *sightings, at=at) for key, sightings in traced.items() if sightings])
    return run


def attempt(key: str, *sightings: Sighting, at: float = 1_800_000_000.0) -> TraceRecord:
    """What an attempt to trace a content came to that found these."""
    return TraceRecord(Subject(STORE, key, sha(key)), "server at social.example", at, TraceState.FOUND, "", sightings)
