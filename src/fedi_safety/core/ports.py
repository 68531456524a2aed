"""The boundaries of the core as Protocols, and the promises an implementation owes.

Adapters implement them; the pipeline calls them; tests replace them by fakes (tests/fakes.py). One contract suite per
port runs against every implementation (tests/contract/).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from fedi_safety.core.types import (
    ActKind,
    Content,
    Decoded,
    Detail,
    Evidence,
    Fingerprints,
    Judged,
    Judgement,
    Known,
    MediaType,
    Object,
    Outcome,
    Plan,
    PlanState,
    Scored,
    Scores,
    Unscanned,
)


class Clock(Protocol):
    """The time, replaceable in tests."""

    def now(self) -> float:
        """Return seconds since the Unix epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean something."""
        ...


class ReadableStore(Protocol):
    """Where media is read from; nothing can be done to it by this. See `Store`."""

    @property
    def url(self) -> str:
        """The canonical URL, without credentials; the store's name in the ledger."""
        ...

    def list(self, prefixes: Sequence[str] = (), since: float | None = None) -> Iterator[Object | Unscanned]:
        """Yield every object once, in ascending order of the key's bytes, holding none of the store in memory.

        `prefixes` keeps keys that start with one of them; `since` (epoch seconds) keeps objects modified at or after
        it. What is there but can never be read as an object (a FIFO, a symlink, a closed directory) is yielded as
        `Unscanned`. Does not open objects.
        """
        ...

    def fetch(self, obj: Object, accept: Callable[[bytes], object]) -> bytes:
        """Return all bytes of `obj`, held in memory only.

        Calls `accept(head)` with the first bytes (up to 4096) before reading on; what it raises passes through, and
        nothing more is read. Raises `Unscannable` with `vanished`, `changed` (the object is no longer what was
        listed), or `unreadable`. Never returns a part of an object.
        """
        ...


class Store(ReadableStore, Protocol):
    """Where media lives. Every method may be called from several threads at once.

    Errors: `StoreUsageError` when the store was named wrongly or may not be read at all, `StoreError` when it cannot be
    reached now. What concerns a single object is `Unscannable`, never one of these.
    """

    @property
    def concurrency(self) -> int:
        """How many objects are worth fetching at once: enough to hide the way to them, no more than it can bear."""
        ...

    def remove(self, obj: Object, sha256: bytes) -> tuple[PlanState, str]:
        """Remove `obj` if it is still the one that was judged, durably, and read back.

        Returns `done`, `gone` (it was not there) or `changed` (something else stands there now: left alone), with a
        detail, or `failed` with the cause. Any doubt about the identity is `changed` or `failed`, never a removal.
        """
        ...

    def close(self) -> None:
        """Release connections and descriptors. May be called twice."""
        ...


class Decoder(Protocol):
    """Turns untrusted bytes into frames, outside this process. Thread-safe; one call decodes one medium."""

    @property
    def version(self) -> str:
        """Names the decoders, their versions and the bounds they work within.

        What it failed on is tried again under another one.
        """
        ...

    def sniff(self, head: bytes) -> MediaType:
        """Tell the media type from the first bytes of an object.

        Raises `Unscannable` with `not_media`, `unsupported`, or `empty` for empty input. Names and media types claimed
        by anyone else play no part.
        """
        ...

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        """Return frames of a medium, at least one, upright, in sRGB, scaled down to what detectors need.

        Of what moves, frames over the whole length; a second pass gives more of them. Where some decode and others do
        not, those that do are returned and `partly` says why not all. Raises `Unscannable` with `empty`, `unsupported`,
        `corrupt`, `truncated`, `too_large`, `too_slow` or `decoder_crashed` where none does. Does not raise anything
        else because of the bytes it is given.
        """
        ...

    def close(self) -> None:
        """End the child processes."""
        ...


class Detector(Protocol):
    """Gives signals to frames. `score` may be called from several threads at once."""

    @property
    def name(self) -> str:
        """The detector's name, e.g. `open_nsfw`."""
        ...

    @property
    def version(self) -> str:
        """The package's version and the weights' SHA-256, so that a verdict can name what gave it."""
        ...

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals it gives; after `score` each of them is set on every frame."""
        ...

    @property
    def after(self) -> tuple[str, ...]:
        """Names of detectors whose boxes it needs and which therefore run before it on the same frame."""
        ...

    @property
    def cost(self) -> float:
        """Relative cost for a frame; the cascade runs cheap ones first."""
        ...

    @property
    def max_batch(self) -> int:
        """The most frames one call of `score` may be given."""
        ...

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        """Return one result per frame, in order. Raises `ModelError` if the model cannot be used at all."""
        ...


@runtime_checkable
class ContentDetector(Protocol):
    """Gives signals to a content by its bytes' hashes alone, before it is decoded or where it cannot be.

    `score_content` may be called from several threads at once.
    """

    @property
    def name(self) -> str:
        """The detector's name."""
        ...

    @property
    def version(self) -> str:
        """What gave a verdict: the program's version and a digest of what it compares with."""
        ...

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals it gives; after `score_content` each of them is set."""
        ...

    def score_content(self, fingerprints: Fingerprints) -> Scored:
        """Return its signals, with the matches that raised them. Raises `Unscannable` where it cannot tell."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """What a detector is besides, when its signals are defined by the operator and computed from one embedding a frame.

    A kept embedding then gives the signals under other definitions, without the picture.
    """

    @property
    def embedding_model(self) -> str:
        """Names network, precision and weights, but not what is computed from the embeddings."""
        ...

    @property
    def definitions(self) -> Mapping[str, str]:
        """By signal, a digest of what defines it. They become part of the policy's id."""
        ...


class Act(Protocol):
    """Does something about a planned object. It does not touch the ledger."""

    @property
    def kind(self) -> ActKind:
        """Which act this is."""
        ...

    def perform(self, plan: Plan) -> Outcome:
        """Carry out one plan and verify it by reading back. Doing it twice is harmless.

        Does not raise because of the object; a failure is an `Outcome` with state `failed` and the cause.
        """
        ...


class Lookup(Protocol):
    """What is remembered of objects; reads only. See `Ledger`."""

    def lookup(self, store: str, objects: Sequence[Object], policy: str | None) -> list[Known | None]:
        """Return what is remembered of each object, in order; None where it is new or has changed.

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


class Ledger(Memory, Protocol):
    """The durable memory. Reads may come from several threads; writes come from one.

    Every method that writes has committed, durably, when it returns. Errors: `LedgerError`, `LedgerUsageError`.
    `store` is always the store's URL.
    """

    def run_lock(self) -> AbstractContextManager[None]:
        """Hold the only right to run acts and scans on this ledger; `LedgerError` if another process has it."""
        ...

    def begin_run(self, kind: str, store: str, settings: Mapping[str, Any]) -> int:
        """Open a run (`scan`, `apply`, ...) and return its id. `settings` must be plain JSON."""
        ...

    def end_run(self, run: int, status: str, summary: Mapping[str, Any]) -> None:
        """Close a run with `done`, `interrupted`, `failed` or `breaker` and its closing figures."""
        ...

    def was_dry_run(self, store: str) -> bool:
        """Whether a dry run of this store has ever finished."""
        ...

    def breaker(self, store: str) -> str | None:
        """Return why the breaker holds this store's acts back, or None."""
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

    def supersede(self, run: int, store: str, objects: Sequence[Object]) -> int:
        """Close planned (not started) plans of these objects, which are no longer condemned. Returns how many."""
        ...

    def open_plans(self, store: str | None, act: ActKind | None = None) -> Iterator[Plan]:
        """Yield open plans (planned, started, failed) in order of their id, streaming.

        Plans may be started and closed while iterating.
        """
        ...

    def start(self, run: int, plans: Sequence[Plan]) -> list[Plan]:
        """Commit that these acts are about to be carried out. Nothing is touched before this returns (I3).

        Returns the plans to carry out, in order: one that a person dismissed, or that was superseded or closed, since
        it was listed is left out and must not be acted upon.
        """
        ...

    def close(self, run: int, outcomes: Iterable[Outcome]) -> None:
        """Commit how acts ended. `done` and `gone` mark the object removed; `changed` forgets its verdict."""
        ...

    def redecide(self, run: int, policy: str, judge: Callable[[bytes, Scores], Judgement | None]) -> int:
        """Decide every content anew that was judged under another policy, page by page; return how many.

        `judge` gets the SHA-256 and the stored scores and answers None where these do not suffice: the content then
        counts as undecided and is read again by the next scan; its old verdict stands until then.
        """
        ...

    def dispose(self) -> None:
        """Close connections."""
        ...
