"""The ledger as its callers see it: one Protocol for each kind of use, and the promises an implementation owes.

`Memory` is asked by what judges, `Ledger` is written by a pass, `WatchLedger` and `UploadLedger` serve the daemon and
the gate, `LedgerReader` serves people who look; `WholeLedger` is all of it. What a ledger lies in is no part of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from fedi_safety.core.enums import ActKind
from fedi_safety.core.ledger.actions import ActionLedger, ActionReader, Confirming
from fedi_safety.core.ledger.census import Census
from fedi_safety.core.ledger.evidence import EvidenceKeeper, EvidenceReader
from fedi_safety.core.ledger.hashes import HashReader
from fedi_safety.core.ledger.history import HistoryReader
from fedi_safety.core.ledger.matches import MatchLedger, MatchReader
from fedi_safety.core.ledger.notices import ConditionLedger, NoticeLedger, NoticeReader
from fedi_safety.core.ledger.objects import ObjectReader
from fedi_safety.core.ledger.progress import ProgressLedger, ProgressReader
from fedi_safety.core.ledger.records import (
    Figures,
    Imported,
    KeptEmbeddings,
    Retry,
    Stand,
    Standing,
    StoreActs,
    StoreCounts,
    Verification,
    Watermark,
)
from fedi_safety.core.ledger.removals import RemovalReader
from fedi_safety.core.ledger.review import ReviewLedger
from fedi_safety.core.ledger.seals import SealKeeper, SealLedger, SealReader
from fedi_safety.core.ledger.stored_scores import WHOLE, OutcomesFn, RedecideFn, Rescorer, ScorePage, Share
from fedi_safety.core.ledger.uploads import (
    BacklogEntry,
    Move,
    Stored,
    UploadFigures,
    UploadNote,
    UploadState,
    UploadsToTrace,
)
from fedi_safety.core.ledger.views import ViewLedger
from fedi_safety.core.moderation import Intended
from fedi_safety.core.sightings import Source, SourceKind, TraceRecord
from fedi_safety.core.types import Content, Judged, Judgement, Known, Object, Outcome, Plan, Unscanned


class Lookup(Protocol):
    """What is remembered of objects; reads only. See `Ledger`."""

    def lookup(
        self, store: str, objects: Sequence[Object], policy: str | None, census: Census | None = None
    ) -> list[Known | None]:
        """Return what is remembered of each object, in order; None where it is new or has changed.

        With a `census` it is noted there that these objects are in the store, changed ones too.
        `policy` is the policy's id; a verdict given under another one is returned with `settled=False`. With None
        policies are not compared. An undecided content is never settled, a dismissed one always is.
        """
        ...


class Verdicts(Protocol):
    """What was judged of contents, by anyone; reads only. See `Ledger`."""

    def contents(self, sha256s: Sequence[bytes]) -> dict[bytes, tuple[Content, Judgement, bool]]:
        """Return contents that have a verdict: what is known, the judgement in force, and whether it is decided.

        The flag is false where a policy change left the stored scores insufficient.
        """
        ...

    def dismissed(self, sha256s: Sequence[bytes]) -> set[bytes]:
        """Return which of these contents a person has dismissed as judged wrongly."""
        ...


class Memory(Lookup, Verdicts, Protocol):
    """All that a pass asks of the ledger before it judges."""


# --- a pass


class TraceLedger(UploadsToTrace, Protocol):
    """What is remembered of who put contents there. See `Ledger`."""

    def record_traces(
        self, run: int | None, records: Sequence[TraceRecord], intended: Sequence[Sequence[Intended]] = ()
    ) -> None:
        """Write attempts to find out who put contents there, with what they found, in one transaction.

        Attempts are added; of earlier ones at the same object and content none is due any more. `intended` has for each
        record the actions through the app that it asks for; they are planned with it, each target of a content once,
        where the content is condemned.
        """
        ...

    def traces_of(self, sha256s: Sequence[bytes]) -> dict[bytes, list[TraceRecord]]:
        """Return the attempts at these contents, oldest first."""
        ...

    def due_traces(self, store: str, limit: int) -> list[TraceRecord]:
        """Return attempts at what a store has, or had, that are to be made again by now; the longest due first."""
        ...


class Ledger(
    Memory, TraceLedger, ActionLedger, ProgressLedger, HashReader, SealLedger, ConditionLedger, NoticeLedger, Protocol
):
    """The durable memory. Reads may come from several threads; writes come from one.

    Every method that writes has committed, durably, when it returns. Errors: `LedgerError`, `LedgerUsageError`.
    `store` is always the store's URL.
    """

    @property
    def name(self) -> str:
        """What a person knows it by: a path, or a URL without its password."""
        ...

    @property
    def runs_by_store(self) -> bool:
        """Whether there is a right to run on each store; else one for all."""
        ...

    def run_lock(self, store: str | None = None) -> AbstractContextManager[None]:
        """Hold the only right to run acts and scans on a store; `LedgerError` if another process has it.

        Without a store, or where the ledger's database knows but one such right, that is for all stores.
        """
        ...

    def begin_run(self, kind: str, store: str, settings: Mapping[str, Any]) -> int:
        """Open a run (`scan`, `apply`, ...) and return its id. `settings` must be plain JSON.

        Three of them are asked for later: `dry_run`; `whole`: whether the pass is over all of the store; `chosen_act`:
        the act's word where somebody chose one that removes, else None.
        """
        ...

    def end_run(self, run: int, status: str, summary: Mapping[str, Any], *, complete: bool | None = None) -> None:
        """Close a run with `done`, `interrupted`, `failed`, `breaker` or `empty` and its closing figures.

        `complete`: whether it was a pass that met all that the store holds; None for every other run.
        """
        ...

    def hold_to(self, run: int) -> None:
        """Let nothing be written from now on but while this run is under way and no later scan of its store began.

        For who works for another's run, and may not hear that it is over. Such a write raises `LedgerError`.
        """
        ...

    def was_dry_run(self, store: str) -> bool:
        """Whether a dry run of the whole store has ever finished; one of a part of it shows too little."""
        ...

    def was_real_run(self, store: str) -> bool:
        """Whether a pass over the whole store has ever begun that may remove, by an act that somebody chose."""
        ...

    def chosen_act(self, store: str) -> ActKind | None:
        """Return the act that somebody chose for the latest run on a store for which somebody chose one."""
        ...

    def census(self, store: str) -> Census:
        """Begin a pass over all of a store: nothing of what is held as present in it is met yet."""
        ...

    def hidden(self, census: Census) -> int:
        """Count the known objects that a census could not meet because their directories failed."""
        ...

    def mark_gone(self, run: int, census: Census) -> int:
        """Mark gone what a census did not meet and could have, and close its waiting plans; return how many objects.

        Contents, judgements and history stay. An object that is met again is present again.
        """
        ...

    def known_objects(self, store: str, most: int) -> list[Object]:
        """Return a few judged objects that are held as present, from all over the store, the newest first."""
        ...

    def identity(self, store: str) -> str | None:
        """Return what told a store from others (see `Store`) when it was last seen to be itself, or None."""
        ...

    def set_identity(self, store: str, identity: str) -> None:
        """Remember what tells a store from another in its place."""
        ...

    def store_counts(self, store: str) -> StoreCounts:
        """Count a store's judged and unscanned media, and its open plans of acts that remove."""
        ...

    def breaker(self, store: str) -> str | None:
        """Return why the breaker holds this store's acts back, or None."""
        ...

    def removed_since(self, store: str, after: float) -> int:
        """Count what was removed from a store since then, or since a person last let its breaker go."""
        ...

    def removed_by_list(self, store: str, within_s: float) -> Mapping[str, int]:
        """Count what was removed so lately, or since a person last let the breaker go, for a list alone, by list."""
        ...

    def judged_since(self, store: str, after: float) -> int:
        """Count the objects of a store that were judged since then, or since a person last let its breaker go."""
        ...

    def set_breaker(self, run: int, store: str, why: str | None) -> None:
        """Trip (`why` given) or reset the breaker of a store, and record the event."""
        ...

    def record(self, run: int, store: str, results: Sequence[Judged | Unscanned]) -> None:
        """Write verdicts and failures of a batch in one transaction. New contents, judgements and objects alike.

        A transient failure gets a time before which it is not tried again (exponential back-off by attempts).
        """
        ...

    def plan(self, run: int, store: str, wanted: Sequence[tuple[Object, bytes]], act: ActKind) -> list[Plan]:
        """Make sure that each (object, sha256) has one open plan of kind `act`; return these plans in order.

        An open plan of another kind is superseded. Dismissed contents get no plan and are left out of the answer.
        """
        ...

    def open_plans(self, store: str | None, act: ActKind | None = None) -> Iterator[Plan]:
        """Yield open plans (planned, started, failed) in order of their id, streaming.

        Plans may be started and closed while iterating.
        """
        ...

    def start(self, run: int, plans: Sequence[Plan]) -> list[Plan]:
        """Commit that this run is about to carry these acts out. Nothing is touched before this returns (I3).

        Returns the plans to carry out, in order, each of them this run's alone. Left out, and never to be acted upon,
        is what a person dismissed, what is no longer condemned, what is undecided, closed, or in another run's hands.
        """
        ...

    def take_back(self, run: int, store: str) -> list[Plan]:
        """Let what earlier runs started on a store and never finished wait again; return these plans.

        Those too that were let wait before, by a run that ended before it came to them. For the holder of the run lock
        alone: nobody else is doing them then.
        """
        ...

    def give_back(self, run: int, plans: Sequence[Plan]) -> None:
        """Let plans wait again that this run started and will not carry out."""
        ...

    def close(self, run: int, outcomes: Iterable[Outcome]) -> None:
        """Commit how acts ended that this run started. `done` marks the object removed, `gone` marks it gone, and
        `changed` forgets its verdict.
        """
        ...

    def redecide(
        self,
        run: int,
        policy: str,
        judge: RedecideFn,
        *,
        outcomes: OutcomesFn | None = None,
        rescorer: Rescorer | None = None,
    ) -> int:
        """Decide every content anew that was judged under another policy, page by page; return how many.

        Where `judge` answers None the content counts as undecided and is read again by the next scan; its old verdict
        stands until then. `rescorer` first computes signals from kept embeddings, where they are defined otherwise now;
        `outcomes` answers for most contents of a page at once, which `judge` is then not asked about.
        """
        ...

    def dispose(self) -> None:
        """Close connections."""
        ...


# --- the daemon and the gate


class WatchLedger(Ledger, Protocol):
    """What the daemon asks beyond a pass: how far it has looked, and what is due again."""

    def watermark(self, store: str) -> Watermark | None:
        """Return how far the daemon has looked at a store, or None if it never finished a pass over it."""
        ...

    def set_watermark(self, store: str, mark: Watermark) -> None:
        """Note how far the daemon has looked. To be called only when everything before it is recorded."""
        ...

    def due_retries(self, store: str, after: tuple[float, int], limit: int) -> list[Retry]:
        """Return unscanned objects whose next try is due, in order of that time, beyond the place `after`."""
        ...

    def due_plans(self, store: str, act: ActKind, limit: int) -> list[Plan]:
        """Return plans of real runs that may be carried out now: those that were left, and failed ones that are due."""
        ...

    def failed_acts(self, store: str) -> int:
        """Return how many acts on a store have failed and are still to be done."""
        ...


class UploadLedger(Ledger, MatchReader, Protocol):
    """What the gate asks beyond a pass: the uploads that it refused, or let in without a verdict."""

    def record_uploads(
        self, run: int, judged: Sequence[Judged], notes: Sequence[UploadNote], moves: Sequence[Move] = ()
    ) -> None:
        """Write what the gate judged (contents alone: it knows no objects), refused and owes, in one transaction."""
        ...

    def untried_entries(self, state: UploadState, limit: int) -> list[BacklogEntry]:
        """Return the uploads in this state that were not tried for the longest, those never tried first."""
        ...

    def stored_since(self, store: str, after: int, first: float, last: float) -> list[Stored]:
        """Return what was stored between two moments of the store's clock, of objects that are newer than `after`."""
        ...

    def ask_upload_again(self, upload: str) -> bool:
        """Let an upload without a verdict be tried at once, also where this version could not judge it.

        False where it is not waiting for a verdict any more.
        """
        ...

    def tend_uploads(self, store: str | None, decoder: str, margin_s: float) -> None:
        """Owe again what another version could not judge, settle what a whole pass did not meet, forget the old."""
        ...

    def upload_figures(self, now: float) -> UploadFigures:
        """Return what the gate has refused and owes."""
        ...


# --- people


class LedgerReader(
    ObjectReader,
    ActionReader,
    EvidenceReader,
    HistoryReader,
    HashReader,
    NoticeReader,
    MatchReader,
    ProgressReader,
    RemovalReader,
    SealReader,
    Protocol,
):
    """What people look at; reads only. Errors: `LedgerError`, `LedgerUsageError`."""

    def figures(self, store: str | None = None, *, histograms: bool = True) -> Figures:
        """Return the figures of one store, or of all. `histograms` reads every score, which takes the longest."""
        ...

    def acts_by_store(self) -> dict[str, StoreActs]:
        """Return the plans and acts of every store that has any, by its URL."""
        ...

    def traces_of(self, sha256s: Sequence[bytes]) -> dict[bytes, list[TraceRecord]]:
        """Return the attempts to trace these contents, oldest first."""
        ...

    def sources(
        self, by: SourceKind, store: str | None = None, *, sure: bool = False, limit: int | None = None
    ) -> list[Source]:
        """Return from where condemned contents came that nobody dismissed, most first, at most `limit`.

        A content that was seen at several counts at each of them, and once among all. `sure` leaves out sightings
        that are no more than possible.
        """
        ...

    def upload_figures(self, now: float) -> UploadFigures:
        """Return what the gate has refused and owes."""
        ...

    def score_pages(
        self, policy: str | None = None, rescorer: Rescorer | None = None, share: Share = WHOLE, *, named: bool = True
    ) -> Iterator[ScorePage]:
        """Yield every content that nobody dismissed, by the page; `objects` counts the objects that have it.

        With `policy` only contents that were judged under another one, or stand undecided. `rescorer` computes signals
        from kept embeddings, where they are defined otherwise now. Of several shares each has other contents. What is
        not `named` has no SHA-256 (`b""`), but for the test card. Writes nothing.
        """
        ...

    def score_shares(self) -> int:
        """Return into how many shares its pages are worth being cut, each for a process of this machine.

        Where these are several, no connection is open when this returns, so that the process may be copied.
        """
        ...

    def kept_embeddings(self) -> list[KeptEmbeddings]:
        """Return how many embeddings are kept, by network and encoding."""
        ...

    def standings(self, model: str, most: int) -> dict[Stand, Standing]:
        """Return how contents stand, with the embeddings that this network made of at most `most` of each kind.

        Which ones their hashes decide, so that they are the same every time. The project's test card is left out.
        """
        ...

    def verify(self) -> Verification:
        """Check the chain of events, and the tables against it."""
        ...


class WholeLedger(
    WatchLedger,
    UploadLedger,
    LedgerReader,
    MatchLedger,
    Confirming,
    EvidenceKeeper,
    SealKeeper,
    ReviewLedger,
    ViewLedger,
    Protocol,
):
    """Every side of a ledger, as opening one gives it; and what only a person does to it."""

    def dismiss(self, sha256: bytes, reason: str, run: int | None = None, *, by: str | None = None) -> int:
        """Record a person's word that this content is judged wrongly; close its waiting plans and return how many.

        It is clear from then on, whatever a policy says. `by` names the person, where that is known. Raises
        `LedgerUsageError` for a content that is not known.
        """
        ...

    def restore(self, sha256: bytes, reason: str = "", run: int | None = None, *, by: str | None = None) -> bool:
        """Undo a dismissal; return whether there was one. The next scan judges the content anew."""
        ...

    def recount(self) -> int:
        """Make every kept counter anew from what it counts; return how many objects there are."""
        ...

    def forget_embeddings(self) -> int:
        """Let go of every kept embedding; return how many there were."""
        ...

    def import_predecessor(self, run: int, file: Path, store: str, *, trust: bool) -> Imported:
        """Take over a predecessor's database for `store`. Doing it again changes nothing.

        Condemned rows become history: shown, and judged again when such an object is met. Passed rows are left to the
        next scan unless `trust` is set: then an object of that name counts as clear, in the version it is first met in.
        Raises `LedgerUsageError` for a file of another kind.
        """
        ...
