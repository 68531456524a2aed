"""The connections of an SFTP store, in one event loop and without a server: none is left open."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from fedi_safety.core.errors import StoreError
from fedi_safety.stores.sftp.connections import Link, Pool, Waits
from fedi_safety.stores.sftp.trust import Place


class Made:
    """A connection that was made."""

    lost = False
    busy = 1
    ended = False

    async def end(self) -> None:
        self.ended = True


class Growing(Pool):
    """Makes its first connection at once, and each other one when it is let."""

    def __init__(self) -> None:
        super().__init__(Place("server", 22, "user", b"media"), cast("Any", None), cast("Any", None), 4, Waits())
        self.made: list[Made] = []
        self.let = asyncio.Event()
        self.given_up = 0

    async def _connect(self) -> Link:
        try:
            if self.made:
                await self.let.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        self.made.append(Made())
        return cast("Link", self.made[-1])


@pytest.mark.parametrize("done", [False, True])
def test_a_connection_that_is_being_made_is_closed_with_the_others(done: bool) -> None:
    async def story() -> None:
        pool = Growing()
        await pool._link()
        await pool._link()  # it is busy: another one is made meanwhile
        await asyncio.sleep(0)
        if done:
            pool.let.set()
            await asyncio.sleep(0)
        await pool.close()
        pool.let.set()
        await asyncio.sleep(0.01)
        assert [one.ended for one in pool.made] == ([True, True] if done else [True])
        assert pool.given_up == (not done)
        with pytest.raises(StoreError, match="the store is closed"):
            await pool._link()

    asyncio.run(story())
