"""The chain of events followed from its beginning, and what each check of the ledger is made with. Changes nothing."""

from __future__ import annotations

import json
from collections import Counter, namedtuple
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Any

from sqlalchemy import Connection, Row, select

from fedi_safety.core.errors import DamagedError
from fedi_safety.ledger import codec
from fedi_safety.ledger.events import CHAIN_START, Kind, entry_hash
from fedi_safety.ledger.schema import events, runs

_OF_ACTIONS = (Kind.ACTION_PLANNED, Kind.ACTION_STARTED, Kind.ACTION_CLOSED, Kind.ACTION_WAITING)
_OFTEN = frozenset((Kind.JUDGED, Kind.PLANNED, Kind.ACT_STARTED, Kind.ACT_CLOSED))  # which have no last word to keep
PAGE_ROWS = 2000
"""How many rows are checked at once."""

Rows = Sequence[Row[*tuple[Any, ...]]]


class Broken(Exception):
    """The first break, as its message."""


def read_payload(payload: str) -> dict[str, Any]:
    """Return what an event says: `json.loads`, in less time where nothing stands around it. Raises `Broken`."""
    try:
        found, end = _DECODER.raw_decode(payload)
        said = found if end == len(payload) else json.loads(payload)
    except ValueError as error:
        raise Broken("an event says what nobody can read") from error
    if not isinstance(said, dict):
        raise Broken("an event says what nobody can read")
    return said


_DECODER = json.JSONDecoder()


def says(payload: str, name: str, value: str | int | None) -> bool:
    """Whether an event says just this under a name, by the letters of its canonical JSON, in a tenth of reading it.

    To be asked of events of one level, whose hash was checked. Within a text of theirs no quotation mark stands bare.
    What is written otherwise may still say it: who is told no reads the event.
    """
    if value is None:
        return f'"{name}":' not in payload
    cell = f'"{name}":{value if isinstance(value, int) else encode_basestring_ascii(value)}'
    return f"{cell}," in payload or payload.endswith(f"{cell}}}")


def told_by(connection: Connection, seqs: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return events by number, as dictionaries with their kind and time."""
    e = events.c
    query = select(e.seq, e.kind, e.at, e.payload).where(e.seq.in_(seqs))
    return {
        seq: {**read_payload(payload), "kind": kind, "at": at} for seq, kind, at, payload in connection.execute(query)
    }


def pages(connection: Connection, query: Any, key: Any) -> Iterator[Rows]:
    """Run `query` page by page in order of `key`, which must be among its columns."""
    after = 0
    while True:
        page = connection.execute(query.where(key > after).order_by(key).limit(PAGE_ROWS)).all()
        if not page:
            return
        yield page
        after = page[-1]._mapping[key]


def named_pages(connection: Connection, query: Any, key: Any) -> Iterator[list[Any]]:
    """Do the same; rows become tuples whose names cost nothing to ask for."""
    kind: Any = None
    for page in pages(connection, query, key):
        kind = kind or namedtuple("Checked", page[0]._fields)
        yield list(map(kind._make, page))


@dataclass(slots=True)
class Told:
    """What the chain told: how often each kind, and last why breakers hold, and how app actions and copies stand."""

    kinds: Counter[str] = field(default_factory=Counter)
    breakers: dict[str, str | None] = field(default_factory=dict)
    action_breakers: dict[str, str | None] = field(default_factory=dict)
    app_actions: dict[int, int] = field(default_factory=dict)  # by which event each stands
    seals: dict[int, int] = field(default_factory=dict)

    def hear(self, kind: str, seq: int, said: dict[str, Any]) -> None:
        """Note what an event says of what has a last word."""
        if kind in (Kind.BREAKER_TRIPPED, Kind.BREAKER_RESET):
            self.breakers[said["store"]] = said["why"]
        elif kind in (Kind.ACTION_BREAKER_TRIPPED, Kind.ACTION_BREAKER_RESET):
            self.action_breakers[said["store"]] = said["why"]
        elif kind in _OF_ACTIONS:
            self.app_actions[said["about"]] = seq
        elif kind.startswith("seal."):
            self.seals[said["about"]] = seq


def check_chain(connection: Connection, length: int, head: bytes) -> Told:
    """Follow the chain, and check the runs on the way; return what it told."""
    told = Told()
    e = events.c
    expected, before = 1, CHAIN_START
    query = select(e.seq, e.at, e.kind, e.payload, e.sha256, e.plan_id, e.prev_hash, e.hash)
    for page in pages(connection, query, e.seq):
        for seq, at, kind, payload, sha256, plan_id, prev_hash, own in page:
            if seq != expected:
                raise Broken(f"event {expected} is missing")
            if prev_hash != before or own != entry_hash(prev_hash, seq, at, kind, payload):
                raise Broken(f"event {seq} was altered, or the one before it")
            digest = None if sha256 is None else sha256.hex()
            often = kind in _OFTEN and says(payload, "sha256", digest) and says(payload, "plan", plan_id)
            said = {} if often else read_payload(payload)
            if not often and (said.get("sha256") != digest or said.get("plan") != plan_id):
                raise Broken(f"event {seq} points to something else than it says")
            told.kinds[kind] += 1
            if kind not in _OFTEN:
                told.hear(kind, seq, said)
            expected, before = seq + 1, own
        _check_runs(connection, page)
    if expected - 1 != length:
        raise Broken(f"there are {expected - 1} events and not {length}: some at the end are missing, or were added")
    if before != head:
        raise Broken("the last event is not the one that was written last")
    return told


def _check_runs(connection: Connection, page: Rows) -> None:
    """Compare the runs that events of a page begin or end with their rows."""
    told = [(row, read_payload(row.payload)) for row in page if row.kind in (Kind.RUN_BEGUN, Kind.RUN_ENDED)]
    r = runs.c
    query = select(*r).where(r.id.in_([said["run"] for _, said in told]))
    known = {row.id: row for row in connection.execute(query)} if told else {}
    for event, said in told:
        run = known.get(said["run"])
        if run is None:
            raise Broken(f"run {said['run']} is gone")
        try:
            settings = codec.said_from(run.settings)
            summary = None if run.summary is None else codec.said_from(run.summary)
        except DamagedError as error:
            raise Broken(f"run {run.id} is not what its events say") from error
        if event.kind == Kind.RUN_BEGUN:
            own = [run.kind, run.store, settings, run.started_at, run.dry_run, run.whole, run.act]
            expected = [said["kind"], said["store"], said["settings"], event.at]
            expected += [bool(settings.get("dry_run", False)), settings.get("whole"), settings.get("chosen_act")]
        else:
            own = [run.status, summary, run.ended_at]
            expected = [said["status"], said["summary"], event.at]
        if own != expected:
            raise Broken(f"run {run.id} is not what its events say")
