"""Memory for uploads that arrive or are judged: what does not fit waits until it does.

How large an upload is shows at its end: pict-rs sends it in chunks, without a length. So those that arrive may hold
only so much that the largest among them can still grow to the greatest size allowed: no two ever wait for each other.
And no caller takes the part that is left to others. It belongs to one event loop, and reads nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from operator import attrgetter

from fedi_safety.judging.turns import share

_size = attrgetter("size")


@dataclass(eq=False, slots=True)
class Holding:
    """What one upload holds, from its first byte until it is let go of."""

    memory: Memory = field(repr=False)
    caller: str
    size: int = 0

    async def take(self, size: int) -> None:
        """Hold so many bytes more; wait for them. Once there is no more to come, `whole` must be called."""
        await self.memory.grow(self, size)

    def whole(self) -> None:
        """Note that nothing more comes: what it holds is given back when it is judged."""
        self.memory.came_whole(self)

    def let_go(self) -> None:
        """Give everything back. May be called twice."""
        self.memory.forget(self)


@dataclass(slots=True)
class _Caller:
    """The uploads of one caller: what they hold, and of that, what those hold that still arrive."""

    held: int = 0
    arriving: int = 0
    largest: int = 0  # of one that arrives
    uploads: set[Holding] = field(default_factory=set)  # that arrive
    waiting: dict[Holding, tuple[int, asyncio.Future[None]]] = field(default_factory=dict)  # in the order of coming

    def grows(self, upload: Holding, size: int) -> None:
        """Count so many bytes more of an upload that arrives."""
        upload.size += size
        self.held += size
        self.arriving += size
        self.largest = max(self.largest, upload.size)

    def leaves(self, upload: Holding) -> None:
        """Count an upload no longer among those that arrive."""
        if upload not in self.uploads:
            return
        self.uploads.remove(upload)
        self.arriving -= upload.size
        if upload.size == self.largest:
            self.largest = max((other.size for other in self.uploads), default=0)


class Memory:
    """Bounds the bytes of all uploads in hand."""

    def __init__(self, limit_bytes: int, largest_bytes: int) -> None:
        """Hold at most `limit_bytes`, of uploads of at most `largest_bytes`, which must be less."""
        if largest_bytes > limit_bytes:
            raise ValueError("the largest upload would not fit")
        self.limit_bytes = limit_bytes
        self._beside = limit_bytes - largest_bytes  # of all that arrive but for the largest of them
        self._callers: dict[str, _Caller] = {}  # those that hold something, or wait to

    @property
    def taken_bytes(self) -> int:
        """Return how many are held now."""
        return sum(caller.held for caller in self._callers.values())

    def hold(self, caller: str) -> Holding:
        """Return the holding of one upload of this caller, with nothing in it."""
        return Holding(self, caller)

    async def grow(self, holding: Holding, size: int) -> None:
        """See `Holding.take`."""
        caller = self._callers.setdefault(holding.caller, _Caller())
        caller.uploads.add(holding)
        if not caller.waiting and self._fits(holding, size, caller):
            caller.grows(holding, size)
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        caller.waiting[holding] = size, granted
        try:
            self._changed()
            await granted
        finally:
            caller.waiting.pop(holding, None)

    def came_whole(self, holding: Holding) -> None:
        """See `Holding.whole`."""
        if (caller := self._callers.get(holding.caller)) is not None:
            caller.leaves(holding)
            self._changed()

    def forget(self, holding: Holding) -> None:
        """See `Holding.let_go`."""
        if (caller := self._callers.get(holding.caller)) is None:
            return
        caller.leaves(holding)
        caller.held -= holding.size
        holding.size = 0
        if not (caller.held or caller.uploads or caller.waiting):
            del self._callers[holding.caller]
        self._changed()

    def _changed(self) -> None:
        """Give those who wait what fits now: callers that hold least come first, of each whoever came first.

        Where that one does not fit, the largest of the caller's is tried as well: it is whole first, and gives back.
        """
        waiting = [caller for caller in self._callers.values() if caller.waiting]
        if not waiting:
            return
        for caller in sorted(waiting, key=lambda one: one.held):
            while caller.waiting:
                first = next(iter(caller.waiting))
                if not self._given(first, caller):
                    largest = max(caller.waiting, key=_size)
                    if largest.size >= caller.largest and largest is not first:
                        self._given(largest, caller)
                    break

    def _given(self, holding: Holding, caller: _Caller) -> bool:
        """Whether it fits what an upload waits for; then it has it."""
        size, granted = caller.waiting[holding]
        if not granted.done():
            if not self._fits(holding, size, caller):
                return False
            caller.grows(holding, size)
            granted.set_result(None)
        del caller.waiting[holding]
        return True

    def _fits(self, holding: Holding, size: int, own: _Caller) -> bool:
        """Whether it may hold so many more: the largest that arrives can still be taken in whole after that."""
        grown = holding.size + size
        callers = self._callers.values()
        if sum(caller.held for caller in callers) + size > self.limit_bytes:
            return False
        largest = max(grown, *(caller.largest for caller in callers))
        if sum(caller.arriving for caller in callers) + size - largest > self._beside:
            return False
        if own.arriving + size - max(own.largest, grown) > share(self._beside):
            return False
        # Where all that the caller holds still arrives, nothing of it is given back before this one is whole.
        return own.held == own.arriving or own.held + size <= share(self.limit_bytes)
