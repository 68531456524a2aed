"""The boundaries of the core as Protocols, and the promises an implementation owes; `ledger.ports` has the ledger's.

Adapters implement them; the pipeline calls them; tests replace them by fakes (tests/support/fakes.py). One contract
suite per port runs against every implementation (tests/contract/).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from fedi_safety.core.enums import ActKind, Detail, MediaType
from fedi_safety.core.keys import KeyRange
from fedi_safety.core.moderation import AppAction, Standing
from fedi_safety.core.sightings import Names, Subject, Traced
from fedi_safety.core.types import (
    Decoded,
    Evidence,
    Fingerprints,
    Object,
    Outcome,
    Plan,
    Removal,
    Right,
    Scored,
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


@runtime_checkable
class ReadsInto(Protocol):
    """What a store is besides, where it reads an object into memory that is there: new memory costs more than that."""

    def fetch_into(self, obj: Object, memory: memoryview) -> None:
        """Fill memory of the object's size with its bytes. Raises as `fetch`; what is there then is anything."""
        ...


@runtime_checkable
class Countable(Protocol):
    """What a store is besides, where counting its objects costs little beside reading them."""

    def count(self, prefixes: Sequence[str], going: Callable[[], bool]) -> int | None:
        """Return how many objects `Store.list` would yield now; None where `going` said no before the end.

        Raises `StoreError`.
        """
        ...


@runtime_checkable
class Divisible(Protocol):
    """What a store is besides, where a part of its keys costs little more to list than what it holds."""

    def list_within(
        self, within: KeyRange, prefixes: Sequence[str] = (), since: float | None = None
    ) -> Iterator[Object | Unscanned]:
        """Yield what `Store.list` yields of these keys, in its order.

        A directory that fails is yielded by every part that has keys beneath it.
        """
        ...

    def cuts(self, within: KeyRange, most: int) -> tuple[bytes, ...] | None:
        """Return keys, ascending, that part what lies within into parts of about one size, as far as that shows.

        They need not be anyone's. Costs a few requests, whatever the store holds. None where nothing can be parted,
        because the store has no order. Raises `StoreError`.
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

    @property
    def default_act(self) -> ActKind:
        """The act that suits it, where the operator chose none."""
        ...

    @property
    def local_root(self) -> Path | None:
        """The directory of this machine that it is, of which the kernel tells changes; None for every other store."""
        ...

    @property
    def identity(self) -> str | None:
        """What tells it from another store in its place, such as a root's device and inode; None where nothing does.

        It may change while the store stays itself: after a reboot, a remount, a restore.
        """
        ...

    @property
    def owner(self) -> str | None:
        """The URL of the pict-rs whose pictures its objects are, so that removing is purging; None where there is none.

        A store of files that belong to a pict-rs does not know that: the operator says so (`pictrs.url`).
        """
        ...

    def remove(self, obj: Object, sha256: bytes) -> Removal:
        """Remove `obj` if it is still the one that was judged, durably, and read back.

        It ends as `done`, `gone` (it was not there) or `changed` (something else stands there now: left alone), with a
        detail, or `failed` with the cause. Any doubt about the identity is `changed` or `failed`, never a removal.
        """
        ...

    def may_remove(self, sample: Sequence[Object]) -> Right:
        """Return whether objects such as these, just listed, could be removed; none of them is touched.

        What has to be written to learn that is an object of our own, gone again after it. Raises `StoreError`.
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


@runtime_checkable
class ActAhead(Act, Protocol):
    """What an act is besides, where the next objects can be got ready while one is in hand."""

    @property
    def at_first(self) -> int:
        """How many acts make the first group: more than one where a person's word is heard before each of them."""
        ...

    def foresee(self, obj: Object, sha256: bytes) -> None:
        """Hear of an object that will be asked for if nothing comes between. Nothing that lasts is made of it.

        What was got ready of it is given up at the end of the next `ahead`, or of the act. Does not raise.
        """
        ...

    def ahead(self, plans: Sequence[Plan]) -> AbstractContextManager[None]:
        """Hold the promise that `perform` will be called for these, in this order, unless it ends before.

        What was got ready and not performed by then is undone. Does not raise because of an object.
        """
        ...


class FileOwner(Protocol):
    """The program that a store's files belong to, where it has names of its own for them, such as a pict-rs."""

    @property
    def name(self) -> str:
        """What it is and where, without any credential."""
        ...

    def names(self, obj: Object, sha256: bytes) -> Names:
        """Return the names of an object with this content; none where it knows no such file. Raises `StoreError`."""
        ...


class Tracer(Protocol):
    """Finds out who put a content where, on one server, from what that server knows. It reads and changes nothing."""

    @property
    def name(self) -> str:
        """The server, as messages and records name it: its kind and where it is."""
        ...

    def trace(self, subject: Subject, *, within_s: float) -> Traced:
        """Return where a content is in use, by the best way that is open: database, else API, else the path alone.

        Nothing found is an answer. Raises `TraceError` where no way tells anything and one that might is closed, or
        `within_s` seconds do not suffice: not to know is something else than to know of none. It does not raise
        anything else because of what it is asked, and no message repeats a credential.
        """
        ...

    def close(self) -> None:
        """Release connections. May be called twice."""
        ...


class Moderator(Protocol):
    """Acts on one server through its own API, with the rights of the token that it was given."""

    @property
    def name(self) -> str:
        """The server, as messages and records name it: its kind and where it is."""
        ...

    def standing(self, action: AppAction, *, within_s: float) -> Standing:
        """Read from the server how the target of an action stands. Raises `ModerationError` where it cannot be told."""
        ...

    def perform(self, action: AppAction, *, within_s: float) -> None:
        """Do it. To be called where `standing` is `open`; whether it came about `standing` tells.

        Raises `ModerationError` where the server refuses or does not answer; then it may have been done all the same.
        No message repeats a credential.
        """
        ...

    def close(self) -> None:
        """Release connections. May be called twice."""
        ...
