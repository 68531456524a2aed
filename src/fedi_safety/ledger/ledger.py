"""The ledger's ports on a database: every method that writes is one transaction. `open_ledger` is the way in.

What the transactions do is in results, planning and verdicts; what people look at is in reading and statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.errors import LedgerUsageError, printable
from fedi_safety.core.ledger.census import Census
from fedi_safety.core.ledger.notices import Channel
from fedi_safety.core.ledger.records import (
    Figures,
    Filters,
    Imported,
    KeptEmbeddings,
    Retry,
    Row,
    Shown,
    StoreActs,
    StoreCounts,
    Verification,
    Watermark,
)
from fedi_safety.core.ledger.stored_scores import OutcomesFn, RedecideFn, Rescorer
from fedi_safety.core.ledger.uploads import GONE, REMOVED, Move, UploadNote
from fedi_safety.core.ports import Clock
from fedi_safety.core.types import Content, Judged, Judgement, Known, Object, Outcome, Plan, Unscanned
from fedi_safety.core.wording.hints import hint
from fedi_safety.ledger import census as censuses
from fedi_safety.ledger import (
    codec,
    embeddings,
    lookup,
    planning,
    statistics,
    uploads,
    verdicts,
    watermarks,
)
from fedi_safety.ledger import runs as earlier
from fedi_safety.ledger.counts import upkeep
from fedi_safety.ledger.database import open_database
from fedi_safety.ledger.database.again import done_again
from fedi_safety.ledger.database.base import BUSY_TIMEOUT_S, Database
from fedi_safety.ledger.embeddings import Keep
from fedi_safety.ledger.events import Event, Kind, append
from fedi_safety.ledger.followup import app_actions
from fedi_safety.ledger.followup.sides import FollowUp
from fedi_safety.ledger.known.hashes import HashSide
from fedi_safety.ledger.known.matches import MatchSide
from fedi_safety.ledger.known.removals import RemovalSide
from fedi_safety.ledger.migrate import bring_up_to_date
from fedi_safety.ledger.notices.outbox import Outbox
from fedi_safety.ledger.notices.sending import NoticeSide
from fedi_safety.ledger.reading.listing import list_objects
from fedi_safety.ledger.reading.showing import show, store_urls
from fedi_safety.ledger.reading.through import ThroughDatabase
from fedi_safety.ledger.results import record as record_results
from fedi_safety.ledger.results import record_contents
from fedi_safety.ledger.runs import ProgressSide
from fedi_safety.ledger.schema import plans, runs, stores
from fedi_safety.ledger.standings import ScoreSide
from fedi_safety.ledger.uploads import UploadSide
from fedi_safety.ledger.verify import verify


def open_ledger(
    url_or_path: str | Path,
    *,
    clock: Clock,
    readonly: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    keep: Keep = Keep.NO,
    channels: Sequence[Channel] = (),
) -> SqlLedger:
    """Open a ledger, made or upgraded where needed; with `readonly` it must exist and nothing is written.

    `keep` says whether embeddings that come with scores are kept; `channels` are told of changes. Raises
    `LedgerUsageError` (place, rights, version) or `LedgerError` (damaged, locked, disk full).
    """
    database = open_database(url_or_path, readonly=readonly, busy_timeout_s=busy_timeout_s)
    try:
        bring_up_to_date(database)  # who begins does not wait for a server that is not there
    except BaseException:
        database.dispose()
        raise
    return SqlLedger(database, clock, keep, channels)


@done_again(but=("close", "dispose"))  # what is closed comes from an iterable, which ends; see `_close`
class SqlLedger(UploadSide, FollowUp, HashSide, MatchSide, RemovalSide, ScoreSide, ProgressSide, NoticeSide):
    """The durable memory in one database: `WholeLedger`. Reads from any thread; writes queue up on a lock."""

    def __init__(
        self, database: Database, clock: Clock, keep: Keep = Keep.NO, channels: Sequence[Channel] = ()
    ) -> None:
        """Take over an up-to-date database."""
        self.database = database
        self.clock = clock
        self.keep = keep
        self.outbox = Outbox(channels)
        if channels:
            database.listen(self.outbox.hear)
        self._store_ids: dict[str, int] = {}

    @property
    def name(self) -> str:
        """What a person knows it by: a path, or a URL without its password."""
        return self.database.name

    def dispose(self) -> None:
        """Close connections."""
        self.database.dispose()

    # --- runs and the breaker

    def begin_run(self, kind: str, store: str, settings: Mapping[str, Any]) -> int:
        """Open a run and return its id."""
        now = self.clock.now()
        row = {
            "kind": kind,
            "store": store,
            "dry_run": bool(settings.get("dry_run", False)),
            "whole": settings.get("whole"),
            "act": settings.get("chosen_act"),
            "settings": codec.dumps(dict(settings)),
            "started_at": now,
        }
        with self.database.write() as connection:
            run = int(connection.execute(insert(runs).returning(runs.c.id), row).scalar_one())
            payload = {"run": run, "kind": kind, "store": store, "settings": dict(settings)}
            append(connection, now, [Event(Kind.RUN_BEGUN, payload)])
        return run

    def end_run(self, run: int, status: str, summary: Mapping[str, Any], *, complete: bool | None = None) -> None:
        """Close a run with its closing figures."""
        now = self.clock.now()
        text = codec.dumps(dict(summary))
        with self.database.write() as connection:
            ended = {"ended_at": now, "status": status, "summary": text, "complete": complete}
            connection.execute(update(runs).where(runs.c.id == run).values(ended))
            payload = {"run": run, "status": status, "summary": dict(summary)}
            append(connection, now, [Event(Kind.RUN_ENDED, payload)])

    def was_dry_run(self, store: str) -> bool:
        """Whether a dry run of the whole store has ever finished; one of a part of it shows too little."""
        with self.database.read() as connection:
            return earlier.was_dry(connection, store)

    def was_real_run(self, store: str) -> bool:
        """Whether a pass over the whole store has ever begun that may remove, by an act that somebody chose."""
        with self.database.read() as connection:
            return earlier.was_real(connection, store)

    def chosen_act(self, store: str) -> ActKind | None:
        """Return the act that somebody chose for the latest run on a store for which somebody chose one."""
        with self.database.read() as connection:
            return earlier.chosen_act(connection, store)

    def store_counts(self, store: str) -> StoreCounts:
        """Count a store's judged and unscanned media, and its open plans of acts that remove."""
        return statistics.store_counts(self.database, store)

    def breaker(self, store: str) -> str | None:
        """Return why the breaker holds this store's acts back, or None."""
        with self.database.read() as connection:
            return connection.execute(select(stores.c.breaker).where(stores.c.url == store)).scalar_one_or_none()

    def set_breaker(self, run: int, store: str, why: str | None) -> None:
        """Trip or reset the breaker of a store. Resetting one that holds nothing back is no event."""
        now = self.clock.now()
        with self.database.write() as connection:
            store_id = self._store_id(connection, store)
            before = connection.execute(select(stores.c.breaker).where(stores.c.id == store_id)).scalar_one()
            if before == why:
                return
            connection.execute(update(stores).where(stores.c.id == store_id).values(breaker=why))
            kind = Kind.BREAKER_RESET if why is None else Kind.BREAKER_TRIPPED
            append(connection, now, [Event(kind, {"run": run, "store": store, "why": why})])

    def removed_since(self, store: str, after: float) -> int:
        """Count what was removed from a store since then, or since a person last let its breaker go."""
        return statistics.removed_since(self.database, store, after)

    def judged_since(self, store: str, after: float) -> int:
        """Count the objects of a store that were judged since then, or since a person last let its breaker go."""
        return statistics.judged_since(self.database, store, after)

    # --- what a store holds

    def census(self, store: str) -> Census:
        """Begin a pass over all of a store: nothing of what is held as present is met yet."""
        return censuses.begin(self.database, store)

    def hidden(self, census: Census) -> int:
        """Count the known objects that a census could not meet because their directories failed."""
        return censuses.hidden(self.database, census)

    def mark_gone(self, run: int, census: Census) -> int:
        """Mark gone what a census did not meet and could have, page by page; return how many objects that were."""
        return censuses.mark_gone(self.database, self.clock, run, census)

    def known_objects(self, store: str, most: int) -> list[Object]:
        """Return a few objects that were judged, or at least read, and are held as present."""
        return censuses.known_objects(self.database, store, most)

    def identity(self, store: str) -> str | None:
        """Return what told a store from others when it was last seen to be itself, or None."""
        return censuses.identity(self.database, store)

    def set_identity(self, store: str, identity: str) -> None:
        """Remember what tells a store from another in its place."""
        with self.database.write() as connection:
            censuses.set_identity(connection, self._store_id(connection, store), identity)

    # --- the daemon

    def watermark(self, store: str) -> Watermark | None:
        """Return how far the daemon has looked at a store, or None if it never finished a pass over it."""
        with self.database.read() as connection:
            return watermarks.get(connection, store)

    def set_watermark(self, store: str, mark: Watermark) -> None:
        """Note how far the daemon has looked. To be called only when everything before it is recorded."""
        with self.database.write() as connection:
            watermarks.put(connection, self._store_id(connection, store), mark)

    def due_retries(self, store: str, after: tuple[float, int], limit: int) -> list[Retry]:
        """Return unscanned objects whose next try is due, in order of that time, beyond the place `after`."""
        with self.database.read() as connection:
            return watermarks.due(connection, store, self.clock.now(), after, limit)

    def due_plans(self, store: str, act: ActKind, limit: int) -> list[Plan]:
        """Return plans of real runs that may be carried out now: those that were left, and failed ones that are due."""
        with self.database.read() as connection:
            return planning.due_page(connection, self.clock.now(), store, act, limit)

    def failed_acts(self, store: str) -> int:
        """Return how many acts on a store have failed and are still to be done."""
        with self.database.read() as connection:
            return planning.failed_count(connection, store)

    # --- the gate

    def record_uploads(
        self, run: int, judged: Sequence[Judged], notes: Sequence[UploadNote], moves: Sequence[Move] = ()
    ) -> None:
        """Write what the gate judged (contents alone: it knows no objects), refused and owes, in one transaction."""
        now = self.clock.now()
        with self.database.write() as connection:
            if judged:
                record_contents(connection, now, run, judged, self.keep)
                uploads.judged(connection, now, [item.content.sha256 for item in judged])
            uploads.note(connection, notes)
            uploads.move(connection, now, moves)

    # --- what is remembered

    def lookup(
        self, store: str, objects: Sequence[Object], policy: str | None, census: Census | None = None
    ) -> list[Known | None]:
        """Return what is remembered of each object, in order; None where it is new or has changed."""
        with self.database.read() as connection:
            store_id = self._known_store_id(connection, store)
            if store_id is None:
                return [None] * len(objects)
            found, adopted = lookup.lookup(connection, store_id, objects, policy, census)
        if adopted and not self.database.readonly:
            with self.database.write() as connection:
                lookup.adopt(connection, adopted)
        return found

    def contents(self, sha256s: Sequence[bytes]) -> dict[bytes, tuple[Content, Judgement, bool]]:
        """Return contents that have a verdict: what is known, the judgement in force, and whether it is decided."""
        found: dict[bytes, tuple[Content, Judgement, bool]] = {}
        with self.database.read() as connection:
            for part in codec.chunks(sha256s):
                found.update(lookup.contents_of(connection, part))
        return found

    def dismissed(self, sha256s: Sequence[bytes]) -> set[bytes]:
        """Return which of these contents a person has dismissed as judged wrongly."""
        with self.database.read() as connection:
            return verdicts.dismissed_among(connection, sha256s)

    # --- what is written

    def record(self, run: int, store: str, results: Sequence[Judged | Unscanned]) -> None:
        """Write verdicts and failures of a batch in one transaction."""
        if not results:
            return
        now = self.clock.now()
        with self.database.write() as connection:
            record_results(connection, now, run, self._store_id(connection, store), results, self.keep)
            uploads.judged(connection, now, [r.content.sha256 for r in results if isinstance(r, Judged)])

    def plan(self, run: int, store: str, wanted: Sequence[tuple[Object, bytes]], act: ActKind) -> list[Plan]:
        """Make sure that each (object, sha256) has one open plan of kind `act`; return these plans in order."""
        if not wanted:
            return []
        now = self.clock.now()
        with self.database.write() as connection:
            store_id = self._store_id(connection, store)
            return planning.make_plans(connection, now, run, store, store_id, wanted, act)

    def open_plans(self, store: str | None, act: ActKind | None = None) -> Iterator[Plan]:
        """Yield open plans in order of their id, page by page; plans may be started and closed meanwhile."""

        def page_behind(after: int) -> list[Plan]:
            with self.database.read() as connection:
                return planning.open_page(connection, after, store, act)

        after = 0
        while page := self.database.whole(partial(page_behind, after)):
            yield from page
            after = page[-1].id

    def start(self, run: int, plans: Sequence[Plan]) -> list[Plan]:
        """Commit that these acts are about to be carried out; return those that still may be."""
        if not plans:
            return []
        now = self.clock.now()
        with self.database.write() as connection:
            return planning.start(connection, now, run, plans)

    def take_back(self, run: int, store: str) -> list[Plan]:
        """Let what earlier runs started on a store and never finished wait again; return these plans."""
        own = planning.of_store(store)
        with self.database.write() as connection:
            planning.give_back(connection, self.clock.now(), run, own)
            return planning.interrupted(connection, own)

    def give_back(self, run: int, plans: Sequence[Plan]) -> None:
        """Let plans wait again that this run started and will not carry out."""
        if plans:
            mine = planning.owned_by(run, [plan.id for plan in plans])
            with self.database.write() as connection:
                planning.give_back(connection, self.clock.now(), run, mine)

    def close(self, run: int, outcomes: Iterable[Outcome]) -> None:
        """Commit how acts ended, in batches. What was done is recorded even if the iterable then raises."""
        batch: list[Outcome] = []
        try:
            for outcome in outcomes:
                batch.append(outcome)
                if len(batch) == codec.BATCH_ROWS:
                    full, batch = batch, []
                    self.database.whole(partial(self._close, run, full))
        finally:
            if batch:
                self.database.whole(partial(self._close, run, batch))

    def _close(self, run: int, batch: Sequence[Outcome]) -> None:
        now = self.clock.now()
        with self.database.write() as connection:
            removed, gone = planning.close(connection, now, run, batch)
            uploads.removed(connection, now, removed, REMOVED)
            uploads.removed(connection, now, gone, GONE)

    # --- policies

    def redecide(
        self,
        run: int,
        policy: str,
        judge: RedecideFn,
        *,
        outcomes: OutcomesFn | None = None,
        rescorer: Rescorer | None = None,
    ) -> int:
        """Decide every content anew that was judged under another policy; return how many were.

        `rescorer` first computes signals from kept embeddings, where they are defined otherwise now. `outcomes`
        answers for most contents of a page at once (see `replay`).
        """
        from fedi_safety.ledger.replay import redecide

        return redecide(self.database, self.clock, run, policy, judge, outcomes, rescorer)

    # --- embeddings

    def kept_embeddings(self) -> list[KeptEmbeddings]:
        """Return how many embeddings are kept, by network and encoding."""
        with self.database.read() as connection:
            return embeddings.totals(connection)

    def forget_embeddings(self) -> int:
        """Let go of every kept embedding; return how many there were."""
        with self.database.write() as connection:
            return embeddings.forget_all(connection)

    # --- people

    def dismiss(self, sha256: bytes, reason: str, run: int | None = None, *, by: str | None = None) -> int:
        """Record a person's word that this content is judged wrongly; close its waiting plans and return how many.

        It is clear from then on, whatever a policy says. `by` names the person, where that is known.
        """
        now = self.clock.now()
        with self.database.write() as connection:
            row = self._content(connection, sha256)
            if row["dismissed_at"] is not None:
                return 0
            verdicts.dismiss(connection, now, run, sha256, printable(reason), row, by)
            app_actions.dismiss(connection, now, run, sha256)
            of_it = plans.c.content_id == row["id"]
            return planning.close_waiting(connection, now, run, of_it, PlanState.DISMISSED)

    def restore(self, sha256: bytes, reason: str = "", run: int | None = None, *, by: str | None = None) -> bool:
        """Undo a dismissal; return whether there was one. The next scan judges the content anew."""
        now = self.clock.now()
        with self.database.write() as connection:
            row = self._content(connection, sha256)
            if row["dismissed_at"] is None:
                return False
            verdicts.restore(connection, now, run, sha256, printable(reason), row, by)
            return True

    def import_predecessor(self, run: int, file: Path, store: str, *, trust: bool) -> Imported:
        """Take over a predecessor's database for `store`. Doing it again changes nothing."""
        from fedi_safety.ledger.import_predecessor import import_database

        return import_database(self.database, self.clock.now(), run, file, store, trust=trust)

    def _content(self, connection: Connection, sha256: bytes) -> Any:
        row = verdicts.content_row(connection, sha256)
        if row is None:
            thing = f"content {sha256.hex()}"
            raise LedgerUsageError(thing, "is not in the ledger", f"see {hint('list')} for what is")
        return row

    # --- what people look at

    def list_objects(self, filters: Filters | None = None, limit: int | None = None) -> Iterator[Row]:
        """Yield the objects that `filters` lets through, oldest first, page by page, at most `limit`."""
        return list_objects(ThroughDatabase(self.database), filters, limit)

    def show(self, target: str | bytes, store: str | None = None) -> Shown | None:
        """Return everything about an object's key or a content's SHA-256; None if neither is known."""
        return show(ThroughDatabase(self.database), target, store)

    def store_urls(self) -> list[str]:
        """Return the URLs of all stores that the ledger knows, oldest first."""
        return store_urls(ThroughDatabase(self.database))

    def figures(self, store: str | None = None, *, histograms: bool = True) -> Figures:
        """Return the figures of one store, or of all; histograms take the longest."""
        return statistics.figures(self.database, store, histograms=histograms)

    def acts_by_store(self) -> dict[str, StoreActs]:
        """Return the plans and acts of every store that has any, by its URL."""
        return statistics.acts_by_store(self.database)

    def verify(self) -> Verification:
        """Check the event chain, and the tables against it; see `fedi_safety.ledger.verify`."""
        return verify(self.database)

    def recount(self) -> int:
        """Make every kept counter anew from what it counts; return how many objects there are."""
        return upkeep.recount(self.database)

    # --- stores

    def _known_store_id(self, connection: Connection, store: str) -> int | None:
        known = self._store_ids.get(store)
        if known is None:
            known = lookup.find_store(connection, store)
            if known is not None:
                self._store_ids[store] = known
        return known

    def _store_id(self, connection: Connection, store: str) -> int:
        """Return a store's row, made if need be, inside a write transaction."""
        # An id that this transaction makes is not cached: the transaction may yet be rolled back.
        known = self._known_store_id(connection, store)
        return lookup.store_row(connection, store) if known is None else known
