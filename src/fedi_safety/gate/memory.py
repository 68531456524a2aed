"""Memory for uploads that arrive or are judged: what does not fit waits until it does.

How large an upload is shows at its end: pict-rs sends it in chunks, without a length. So those that arrive may hold
only so much that the largest among them can still grow to the greatest size allowed: no two ever wait for each other.
And no caller takes the part that is left to others. It belongs to one event loop, and reads nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fedi_safety.judging.turns import share


@dataclass(eq=False, slots=True)
class Holding:
    """What one upload holds, from its first byte until it is let go of."""

    memory: Memory = field(repr=False)
    caller: str
    size: int = 0
    arriving: bool = True

    async def take(self, size: int) -> None:
        """Hold so many bytes more; wait for them. Once there is no more to come, `whole` must be called."""
        await self.memory.grow(self, size)

    def whole(self) -> None:
        """Note that nothing more comes: what it holds is given back when it is judged."""
        self.arriving = False
        self.memory.changed()

    def let_go(self) -> None:
        """Give everything back. May be called twice."""
        self.memory.forget(self)


@dataclass(slots=True)
class _Sums:
    """Of one caller, or of all: what they hold, and of that, what of uploads that still arrive."""

    held: int = 0
    arriving: int = 0
    largest: int = 0  # of one that arrives


class Memory:
    """Bounds the bytes of all uploads in hand."""

    def __init__(self, limit_bytes: int, largest_bytes: int) -> None:
        """Hold at most `limit_bytes`, of uploads of at most `largest_bytes`, which must be less."""
        if largest_bytes > limit_bytes:
            raise ValueError("the largest upload would not fit")
        self.limit_bytes = limit_bytes
        self._beside = limit_bytes - largest_bytes  # of all that arrive but for the largest of them
        self._holdings: set[Holding] = set()
        self._waiting: dict[Holding, tuple[int, asyncio.Future[None]]] = {}  # in the order in which they came

    @property
    def taken_bytes(self) -> int:
        """Return how many are held now."""
        return sum(holding.size for holding in self._holdings)

    def hold(self, caller: str) -> Holding:
        """Return the holding of one upload of this caller, with nothing in it."""
        return Holding(self, caller)

    async def grow(self, holding: Holding, size: int) -> None:
        """See `Holding.take`."""
        self._holdings.add(holding)
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[holding] = size, granted
        try:
            self.changed()
            await granted
        finally:
            self._waiting.pop(holding, None)

    def forget(self, holding: Holding) -> None:
        """See `Holding.let_go`."""
        holding.size = 0
        self._holdings.discard(holding)
        self.changed()

    def changed(self) -> None:
        """Give those who wait what fits now: callers that hold least come first."""
        if not self._waiting:
            return
        everyone, callers = self._sums()
        stuck: set[str] = set()
        for holding in sorted(self._waiting, key=lambda one: callers[one.caller].held):
            size, granted = self._waiting[holding]
            own = callers[holding.caller]
            overtakes = holding.caller in stuck and holding.size < own.largest
            if granted.done() or overtakes:
                continue
            if not self._fits(holding, size, everyone, own):
                stuck.add(holding.caller)
                continue
            holding.size += size
            for sums in (everyone, own):
                sums.held += size
                sums.arriving += size
                sums.largest = max(sums.largest, holding.size)
            granted.set_result(None)

    def _sums(self) -> tuple[_Sums, dict[str, _Sums]]:
        everyone = _Sums()
        callers: dict[str, _Sums] = {}
        for holding in self._holdings:
            for sums in (everyone, callers.setdefault(holding.caller, _Sums())):
                sums.held += holding.size
                if holding.arriving:
                    sums.arriving += holding.size
                    sums.largest = max(sums.largest, holding.size)
        return everyone, callers

    def _fits(self, holding: Holding, size: int, everyone: _Sums, own: _Sums) -> bool:
        """Whether it may hold so many more: the largest that arrives can still be taken in whole after that."""
        grown = holding.size + size
        if everyone.held + size > self.limit_bytes:
            return False
        if everyone.arriving + size - max(everyone.largest, grown) > self._beside:
            return False
        if own.arriving + size - max(own.largest, grown) > share(self._beside):
            return False
        # Where all that the caller holds still arrives, nothing of it is given back before this one is whole.
        return own.held == own.arriving or own.held + size <= share(self.limit_bytes)
