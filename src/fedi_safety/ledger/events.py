"""The append-only event chain: every entry carries the hash of the one before it. Writes it; `verify` checks it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, select, update

from fedi_safety.ledger.codec import dumps, dumps_flat
from fedi_safety.ledger.database.base import LISTENER, Database
from fedi_safety.ledger.database.bulk import AHEAD, put
from fedi_safety.ledger.schema import chain, events

CHAIN_START = bytes(32)


class Kind(StrEnum):
    """What an event tells."""

    RUN_BEGUN = "run.begun"
    RUN_ENDED = "run.ended"
    JUDGED = "judged"  # a verdict that is not clear, or a clear one in its place
    DISMISSED = "dismissed"
    RESTORED = "restored"
    PLANNED = "planned"
    PLAN_CLOSED = "plan.closed"  # superseded or dismissed, without an act
    ACT_STARTED = "act.started"
    ACT_INTERRUPTED = "act.interrupted"  # its end was never recorded; a later act of the same plan was
    ACT_CLOSED = "act.closed"
    BREAKER_TRIPPED = "breaker.tripped"
    BREAKER_RESET = "breaker.reset"
    TRACED = "traced"  # an attempt to find out who put a content there
    CONFIRMED = "confirmed"  # a person's word that a content is what a rule said; a dismissal takes it back
    UNCONFIRMED = "unconfirmed"  # that word is taken back
    VIEWED = "viewed"  # a person is about to be shown a small grey picture of it
    VIEW_LIMIT = "view.limit"  # how many views a day a person may ask for
    ACTION_PLANNED = "action.planned"  # an action through the app
    ACTION_STARTED = "action.started"
    ACTION_CLOSED = "action.closed"  # done, gone or failed; or dismissed or superseded, without being done
    ACTION_WAITING = "action.waiting"  # planned again, or allowed: confirmed, cut off, or asked for anew
    ACTION_BREAKER_TRIPPED = "action_breaker.tripped"
    ACTION_BREAKER_RESET = "action_breaker.reset"
    SEAL_RESERVED = "seal.reserved"  # a sealed copy has its name; each event of one vouches for its row
    SEAL_MADE = "seal.made"
    SEAL_HELD = "seal.held"
    SEAL_RELEASED = "seal.released"
    SEAL_FILED = "seal.filed"  # reported to an authority
    SEAL_RESTORED = "seal.restored"
    SEAL_UNSEALED = "seal.unsealed"
    SEAL_EXPIRING = "seal.expiring"
    SEAL_DESTROYED = "seal.destroyed"
    SUBMISSION_BEGUN = "submission.begun"  # a report to an authority is about to be sent
    SUBMISSION_OPENED = "submission.opened"
    SUBMISSION_DONE = "submission.done"
    SUBMISSION_FAILED = "submission.failed"
    REDECIDED = "redecided"
    GONE = "gone"  # how many objects a pass over all of a store did not meet any more
    IMPORTED = "imported"
    LIST_TURNED = "list.turned"  # a list that blocked is for review from now on: too many of its hits were dismissed


@dataclass(frozen=True, slots=True)
class Event:
    """One entry to be: `payload` is plain JSON; the content and the plan it concerns join it by themselves.

    `condemning` names the rules that condemn its content, for who listens; it is no part of the entry.
    """

    kind: Kind
    payload: Mapping[str, Any] = field(default_factory=dict)
    sha256: bytes | None = None
    plan: int | None = None
    condemning: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the payload as it is stored."""
        full = dict(self.payload)
        if self.sha256 is not None:
            full["sha256"] = self.sha256.hex()
        if self.plan is not None:
            full["plan"] = self.plan
        return dumps(full)


def entry_body(seq: int, at: float, kind: str, payload: str) -> str:
    """Return the canonical JSON of an entry."""
    when, what = dumps_flat((at,))[1:-1], _words(kind)
    return f'{{"at":{when},"kind":{what},"payload":{payload},"seq":{seq}}}'


_words = lru_cache(maxsize=200)(dumps)  # of the kinds of events, which are few


def entry_hash(prev_hash: bytes, seq: int, at: float, kind: str, payload: str) -> bytes:
    """Return the hash of an entry: SHA-256 of the one before it and of its own canonical JSON."""
    return hashlib.sha256(prev_hash + entry_body(seq, at, kind, payload).encode("ascii")).digest()


def append(connection: Connection, at: float, new: Sequence[Event]) -> list[int]:
    """Add entries at the end of the chain, in the caller's transaction; return their numbers."""
    if not new:
        return []
    # The row lock orders writers where the database lets several of them in.
    length, head = connection.execute(select(chain.c.length, chain.c.head).with_for_update()).one()
    rows: list[dict[str, Any]] = []
    for seq, event in enumerate(new, start=length + 1):
        payload = event.text()
        digest = entry_hash(head, seq, at, event.kind.value, payload)
        rows.append(
            {
                "seq": seq,
                "at": at,
                "kind": event.kind.value,
                "payload": payload,
                "sha256": event.sha256,
                "plan_id": event.plan,
                "prev_hash": head,
                "hash": digest,
            }
        )
        head = digest
    put(connection, events, rows)
    connection.execute(update(chain).values(length=length + len(rows), head=head), execution_options=AHEAD)
    told = connection.get_execution_options().get(LISTENER)
    if told is not None:
        told(connection, at, new)
    return list(range(length + 1, length + 1 + len(rows)))


def append_alone(database: Database, at: float, event: Event) -> None:
    """Add one entry in a transaction of its own."""
    with database.write() as connection:
        append(connection, at, [event])
