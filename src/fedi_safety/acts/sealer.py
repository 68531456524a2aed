"""Sealed files as they are made: read, seal, sync, prove; of two objects at once, the next beside the one in hand.

While the disk has the one, the processor has the other. It writes into a vault; it records and removes nothing.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from mmap import MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import TYPE_CHECKING, Any, Protocol

from fedi_safety import __version__
from fedi_safety.core.enums import ActKind, PlanState, Reason
from fedi_safety.core.errors import FediSafetyError, SealError, Unscannable
from fedi_safety.core.ports import Clock, ReadsInto, Store
from fedi_safety.core.sealing.copies import Described, Draft, Restorer, Seal, Vault
from fedi_safety.core.types import Object, Outcome, Plan

if TYPE_CHECKING:
    from fedi_safety.acts.sealed_file import Contents, Growing, Identity, Recipient

log = logging.getLogger(__name__)

LEFT = "it is left where it is"
_AT_ONCE = 2
_DRAFTS = 4  # that wait for their names: as many as the first group has
_TIMES = 4  # its size is what sealing one object may hold in memory; of two it is the larger one's
_SMALL_BYTES = 32 << 20  # what two may hold together in any case
_KEPT_BYTES = 32 << 20  # of memory that one leaves to the next
_STEP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Proved:
    """A sealed file that lies in the vault and opens. `marks` are the versions of its key that are in it.

    `described` is what it says that the object has beside its bytes.
    """

    size: int
    digest: bytes
    marks: frozenset[str]
    described: Described


class _Place(Protocol):
    """Where a sealed file is written and read back."""

    def put(self, pieces: Iterator[memoryview]) -> None: ...

    def holds(self, data: memoryview) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Named:
    """A place that has its name from the beginning."""

    vault: Vault
    name: str

    def put(self, pieces: Iterator[memoryview]) -> None:
        self.vault.put(self.name, pieces)

    def holds(self, data: memoryview) -> bool:
        return self.vault.holds(self.name, data)

    def __str__(self) -> str:
        return f"{self.vault.url}: {self.name}"


@dataclass(frozen=True, slots=True)
class _Coming:
    """An object that will be asked for, and where its sealed file goes."""

    plan: Plan
    seal: Seal
    vault: Vault
    restorer: Restorer


class _Turn:
    """When one may be read: once the one that was begun before it is opened, and gone from memory in the clear.

    pyrage holds the interpreter while it opens one: two at once would each take twice as long.
    """

    def __init__(self, after: threading.Event | None = None) -> None:
        self.after = after
        self.opened = threading.Event()
        self.stopped = threading.Event()


@dataclass(frozen=True, slots=True)
class _Begun:
    """One that is being made. Its end is None where it may take more memory than it may have beside another."""

    of: _Coming
    turn: _Turn
    end: Future[Proved | Outcome | None]


@dataclass(frozen=True, slots=True)
class _Drafted:
    """One that is made before it has a name. It counts only where its end is a proved file."""

    draft: Draft
    vault: Vault
    turn: _Turn
    end: Future[Proved | Outcome | None]

    def close(self) -> None:
        """Give it up, unless it has its name."""
        self.turn.stopped.set()
        self.end.exception()
        self.draft.close()


class Sealer:
    """Makes sealed files of the objects of one store. One thread asks it."""

    def __init__(self, store: Store, recipients: Sequence[Recipient], clock: Clock) -> None:
        """Seal for `recipients`. Threads start when there is something to do."""
        self._store = store
        self._recipients = recipients
        self._clock = clock
        self._coming: deque[_Coming] = deque()
        self._begun: dict[int, _Begun] = {}
        self._drafted: dict[tuple[Object, bytes], _Drafted] = {}
        self._last = _Turn()  # of what was begun last
        self._last.opened.set()
        self._start()

    def _start(self) -> None:
        self._rooms = _Rooms()
        self._hands = ThreadPoolExecutor(_AT_ONCE, "seal")
        self._beside = ThreadPoolExecutor(3 * _AT_ONCE, "seal-beside")

    def expect(self, coming: Sequence[tuple[Plan, Seal]], vault: Vault, restorer: Restorer) -> None:
        """Hear what `made` will be asked for, in this order. `drop` ends that."""
        asked = {_mark(plan) for plan, _ in coming}
        for mark in [each for each in self._drafted if each not in asked]:
            self._drafted.pop(mark).close()
        waiting = [each for each in coming if _mark(each[0]) not in self._drafted]
        self._coming.extend(_Coming(plan, seal, vault, restorer) for plan, seal in waiting)

    def foresee(self, obj: Object, sha256: bytes, vault: Vault, restorer: Restorer) -> None:
        """Make a file of an object for which `made` may be asked, and prove it; it has no name, and goes by itself.

        Nothing is done where the vault has no such files, or for more than the first few. Raises `FediSafetyError`.
        """
        mark = obj, sha256
        if len(self._drafted) >= _DRAFTS or mark in self._drafted:
            return
        draft = vault.draft()
        if draft is None:
            return
        plan, turn = Plan(0, obj, sha256, ActKind.SEAL, PlanState.PLANNED), self._turn()
        end = self._hands.submit(self._make, plan, draft, restorer, turn, alone=False)
        self._drafted[mark] = _Drafted(draft, vault, turn, end)

    def made(self, plan: Plan, seal: Seal, vault: Vault, restorer: Restorer) -> Proved | Outcome:
        """Return the sealed file of an object, or how its act ended before; begin with what comes next.

        Raises `FediSafetyError`.
        """
        self._begin()
        begun = self._begun.pop(plan.id, None)
        self._coming = deque(each for each in self._coming if each.plan.id != plan.id)
        found = self._foreseen(plan, seal, vault, restorer) if begun is None else begun.end.result()
        if found is None:  # of this one it is not known how much memory it takes: nothing else is in hand meanwhile
            wait([each.end for each in self._begun.values()] + [each.end for each in self._drafted.values()])
            found = self._make(plan, _Named(vault, seal.name), restorer, _Turn(), alone=True)
            assert found is not None
        self._begin()
        return found

    def _foreseen(self, plan: Plan, seal: Seal, vault: Vault, restorer: Restorer) -> Proved | None:
        """Give a file that was made before its name; None where there is none, or it is not what is to be sealed."""
        drafted = self._drafted.pop(_mark(plan), None)
        if drafted is None:
            return None
        try:
            found = drafted.end.result()
            same = isinstance(found, Proved) and drafted.vault is vault and _is_still(found, plan, restorer)
            return found if isinstance(found, Proved) and same and drafted.draft.named(seal.name) else None
        except (FediSafetyError, Unscannable, MemoryError) as error:  # it is tried once more, and said if it fails
            log.info("%s: what was got ready of it does not count: %s", seal.name, error)
            return None
        finally:
            drafted.close()

    def drop(self) -> None:
        """Give up what was begun and not asked for, and leave nothing of it in the vault; expect nothing more."""
        self._coming.clear()
        begun, self._begun = list(self._begun.values()), {}
        drafted, self._drafted = list(self._drafted.values()), {}
        for turn in [each.turn for each in begun] + [each.turn for each in drafted]:
            turn.stopped.set()
        for draft in drafted:
            draft.close()
        wait([each.end for each in begun])
        for each in begun:
            try:
                each.of.vault.remove(each.of.seal.name)
            except FediSafetyError as error:
                # Nothing was recorded of it but its name: the next run writes over it, or destroys it.
                log.info("%s: what was begun of it could not be removed: %s", each.of.seal.name, error.line())

    def close(self) -> None:
        """Give up what is begun, end the threads and let go of the memory. May be called twice."""
        self.drop()
        self._hands.shutdown()
        self._beside.shutdown()
        self._start()

    def _begin(self) -> None:
        """Begin with what comes next, as far as there is room."""
        while self._coming and len(self._begun) < _AT_ONCE and self._fits(self._coming[0]):
            this, turn = self._coming.popleft(), self._turn()
            place = _Named(this.vault, this.seal.name)
            end = self._hands.submit(self._make, this.plan, place, this.restorer, turn, alone=False)
            self._begun[this.plan.id] = _Begun(this, turn, end)

    def _turn(self) -> _Turn:
        """Return the turn after that of what was begun last."""
        self._last = _Turn(self._last.opened)
        return self._last

    def _fits(self, this: _Coming) -> bool:
        """Whether an object may be in hand beside what is."""
        sizes = [each.plan.object.size for each in (this, *(begun.of for begun in self._begun.values()))]
        needed = (3 if this.vault.takes_whole else 2) * sum(sizes)
        return len(sizes) == 1 or needed <= max(_TIMES * max(sizes), _SMALL_BYTES)

    def _make(
        self, plan: Plan, place: _Place, restorer: Restorer, turn: _Turn, *, alone: bool
    ) -> Proved | Outcome | None:
        """Read, seal, sync and prove; return the file, or how it ended before."""
        if turn.after is not None:
            turn.after.wait()
        try:
            if turn.stopped.is_set():
                raise _GivenUp
            return self._read_and_proved(plan, place, restorer, turn, alone=alone)
        finally:
            turn.opened.set()

    def _read_and_proved(
        self, plan: Plan, place: _Place, restorer: Restorer, turn: _Turn, *, alone: bool
    ) -> Proved | Outcome | None:
        from fedi_safety.acts.sealed_file import Contents

        try:
            marks = restorer.marks(plan.object)
            if len(marks) > 1 and not alone:
                return None
            data, memory = self._read(plan.object)
            described = restorer.describe(plan.object, plan.sha256)
            older = restorer.older(plan.object) if len(marks) > 1 else ()
        except Unscannable as error:
            return _unread(plan, error)
        at = self._clock.now()
        contents = Contents(_manifest(self._store.url, plan, described, at), data, at, older)
        del data, older  # the contents let go of them once it is opened
        try:
            return Proved(*self._proved(contents, memory, plan.sha256, place, turn), marks, described)
        except _NotJudged:
            return Outcome(plan, PlanState.CHANGED, "the content differs from what was judged")

    def _read(self, obj: Object) -> tuple[bytes | memoryview, mmap | None]:
        """Return an object, and the memory of ours in which it is, if it is. Raises as `Store.fetch`."""
        if not isinstance(self._store, ReadsInto):
            return self._store.fetch(obj, _anything), None
        memory = self._rooms.take(obj.size)
        data = memoryview(memory)[: obj.size]
        self._store.fetch_into(obj, data)
        return data, memory

    def _proved(
        self, contents: Contents, memory: mmap | None, sha256: bytes, place: _Place, turn: _Turn
    ) -> tuple[int, bytes]:
        """Write the sealed file, open it, and hold what was read back against what was opened; return size and digest.

        Raises `_NotJudged`, and leaves nothing there, for what was not judged. It is written and hashed while it is
        sealed, and opened where it was made while it is read back. What lies in the vault is these bytes, or there is
        no copy.
        """
        import pyrage

        from fedi_safety.acts.sealed_file import Growing, digest_of

        once = pyrage.x25519.Identity.generate()
        judged = self._beside.submit(contents.is_of, sha256)
        with _SHORT_TURNS, self._rooms.lent(contents.room(len(self._recipients) + 1)) as room:
            sealed = Growing(room)
            opens = self._beside.submit(self._opens, contents, memory, once, sealed, judged, turn)
            digest = self._beside.submit(digest_of, sealed.pieces())
            try:
                place.put(_once_judged(sealed, judged, turn.stopped))
                whole = sealed.end()
                there = place.holds(whole)
                if not opens.result() or not there:
                    raise SealError(str(place), "what was read back does not open", "check the vault's disk")
                return len(whole), digest.result()
            finally:
                for each in (opens, judged, digest):  # they use what is let go now
                    each.exception()

    def _opens(
        self,
        contents: Contents,
        memory: mmap | None,
        once: Identity,
        sealed: Growing,
        judged: Future[bool],
        turn: _Turn,
    ) -> bool:
        """Seal, and return whether that opens and is the object, which is let go."""
        try:
            return contents.opens(contents.seal(self._recipients, once, sealed), once)
        finally:
            judged.exception()
            contents.forget()
            if memory is not None:
                self._rooms.give(memory, clear=True)
            turn.opened.set()


def _mark(plan: Plan) -> tuple[Object, bytes]:
    return plan.object, plan.sha256


def _is_still(made: Proved, plan: Plan, restorer: Restorer) -> bool:
    """Whether what a copy says of an object beside its bytes is so. A removal asks for the bytes."""
    return (restorer.marks(plan.object), restorer.describe(plan.object, plan.sha256)) == (made.marks, made.described)


class _NotJudged(Exception):
    """What was read is not what was judged."""


class _GivenUp(Exception):
    """Nobody will ask for it."""


def _once_judged(sealed: Growing, judged: Future[bool], stopped: threading.Event) -> Iterator[memoryview]:
    """Yield a sealed file as it comes; it has an end only where it is of what was judged, and still wanted."""
    for piece in sealed.pieces():
        if stopped.is_set():
            raise _GivenUp
        yield piece
    if not judged.result():
        raise _NotJudged
    if stopped.is_set():
        raise _GivenUp


class _Rooms:
    """Memory, that of earlier objects where it does: new memory costs more than what is written to it.

    It is taken from the kernel in large pages where that has them, which costs a fifth. What is kept holds sealed bytes
    alone, or zeros.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._kept: list[mmap] = []

    @contextmanager
    def lent(self, count: int) -> Iterator[mmap]:
        """Lend memory for so many bytes."""
        found = self.take(count)
        try:
            yield found
        finally:
            self.give(found)

    def take(self, count: int) -> mmap:
        """Return memory for so many bytes, or a few more, so that a sealed file has room where an object had."""
        with self._guard:
            at = next((at for at, each in enumerate(self._kept) if len(each) >= count), None)
            if at is not None:
                return self._kept.pop(at)
            self._kept.clear()  # so that both are not there at once
        found = mmap(-1, (count // _STEP_BYTES + 1) * _STEP_BYTES, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        with suppress(OSError):
            found.madvise(MADV_HUGEPAGE)
        return found

    def give(self, memory: mmap, *, clear: bool = False) -> None:
        """Keep memory for the next one, or let go of it where it is much; `clear` what lies in it."""
        if len(memory) > _KEPT_BYTES:
            with suppress(BufferError):  # somebody looks at it still, and lets go of it himself
                memory.close()
            return
        if clear:
            ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(memory)), 0, len(memory))
        with self._guard:
            self._kept.append(memory)


class _ShortTurns:
    """While somebody seals, a thread that comes back from the disk waits half a millisecond for one that computes.

    Usually it is five, each time, and pyrage computes for thirty. It holds for all of the process.
    """

    _TURN_S = 0.0005

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._count, self._before = 0, 0.0

    def __enter__(self) -> None:
        with self._guard:
            self._count += 1
            if self._count == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, self._TURN_S))

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._count -= 1
            if not self._count:
                sys.setswitchinterval(self._before)


_SHORT_TURNS = _ShortTurns()


def _manifest(store: str, plan: Plan, described: Mapping[str, Any], at: float) -> dict[str, Any]:
    """Return what must be known to put an object back. It lies inside the sealed file, and nowhere else."""
    obj = plan.object
    return {
        "format": 1,
        "made_by": f"fedi-safety {__version__}",
        "sealed_at": at,
        "store": store,
        "key": obj.key,
        "sha256": plan.sha256.hex(),
        "size": obj.size,
        "mtime_ns": obj.mtime_ns,
        "tag": obj.tag,
        "described": dict(described),
    }


def _unread(plan: Plan, error: Unscannable) -> Outcome:
    if error.reason is Reason.CHANGED:
        return Outcome(plan, PlanState.CHANGED, error.detail)
    if error.reason is Reason.VANISHED:
        return Outcome(plan, PlanState.GONE, "it was not there any more, so there was nothing to seal")
    return Outcome(plan, PlanState.FAILED, f"it cannot be read again: {error.detail}; {LEFT}")


def _anything(head: bytes) -> None:
    """Accept every object."""
