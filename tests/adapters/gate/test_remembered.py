"""What was judged before is asked for in groups: the first at once, whoever comes meanwhile with all others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import LedgerError
from fedi_safety.core.types import Judgement
from fedi_safety.judging.remembered import Grouped, Known
from fedi_safety.judging.types import judged
from support.interleaving import content


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


class Book:
    """Knows a capital letter of each small one but for `x`; asked for `!`, it fails."""

    def __init__(self) -> None:
        self.groups: list[str] = []
        self.free = threading.Event()
        self.free.set()
        self.outage = False

    def ask(self, keys: Sequence[str]) -> dict[str, str]:
        assert self.free.wait(10)
        self.groups.append("".join(keys))
        if self.outage:
            raise LedgerError("ledger", "is away")
        if "!" in keys:
            raise ValueError("a bug")
        return {key: key.upper() for key in keys if key != "x"}


def test_what_comes_while_a_question_is_answered_goes_into_the_next_one() -> None:
    async def test() -> None:
        book = Book()
        book.free.clear()
        asked: Grouped[str, str] = Grouped(book.ask)
        getting = [asyncio.create_task(asked.get("a"))]
        await asyncio.sleep(0.01)
        getting += [asyncio.create_task(asked.get(key)) for key in "bcxbd"]
        await asyncio.sleep(0.01)
        getting.pop().cancel()  # its uploader went away
        book.free.set()
        assert await asyncio.gather(*getting) == ["A", "B", "C", None, "B"]
        assert book.groups == ["a", "bcx"]
        assert await asked.get("e") == "E"

    run(test())


def test_what_cannot_be_answered_is_the_trouble_of_whoever_asked_for_it_alone() -> None:
    async def test() -> None:
        book = Book()
        book.free.clear()
        asked: Grouped[str, str] = Grouped(book.ask)
        getting = [asyncio.create_task(asked.get(key)) for key in "ab!c"]
        await asyncio.sleep(0.01)
        book.free.set()
        answers = await asyncio.gather(*getting, return_exceptions=True)
        assert answers[:2] == ["A", "B"] and answers[3] == "C" and isinstance(answers[2], ValueError)

    run(test())


def test_an_outage_is_told_to_all_and_asked_about_once() -> None:
    async def test() -> None:
        book = Book()
        book.outage = True
        asked: Grouped[str, str] = Grouped(book.ask)
        answers = await asyncio.gather(*(asked.get(key) for key in "abc"), return_exceptions=True)
        assert all(isinstance(answer, LedgerError) for answer in answers)
        assert len(book.groups) <= 2
        book.outage = False
        assert await asked.get("a") == "A"
        with pytest.raises(ValueError, match="a bug"):
            await asked.get("!")

    run(test())


def test_what_is_judged_while_the_ledger_is_asked_is_not_judged_again() -> None:
    """It is not in the ledger's answer, and no longer in hand when that comes."""

    async def test() -> None:
        picture = content(1, 0.9)
        asked, free = threading.Event(), threading.Event()

        def contents(_: Sequence[bytes]) -> dict[bytes, Any]:
            asked.set()
            assert free.wait(10)
            return {}

        examiner = SimpleNamespace(policy=SimpleNamespace(id="p"))
        known = Known(cast(Any, SimpleNamespace(contents=contents)), lambda *_: None, lambda: cast(Any, examiner))
        getting = asyncio.create_task(known.get(picture.sha256))
        await asyncio.to_thread(asked.wait, 10)
        known.put(judged(Judgement(Verdict.CLEAR, policy="p"), picture, "engine"))
        free.set()
        found = await getting
        assert found is not None
        assert (found.outcome, found.by) == ("clear", "memory")
        known.close()

    run(test())
