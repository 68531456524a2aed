"""Pipes are bounded, keep order, end when their producers end, and let everybody go on abort."""

from __future__ import annotations

import threading
import time

import pytest

from fedi_safety.core.queues import ByteBudget, Pipe, Stopped


def test_order_is_kept_and_batches_take_what_is_waiting() -> None:
    pipe: Pipe[int] = Pipe(10, 1)
    for i in range(7):
        pipe.put(i)
    pipe.finish()
    assert list(pipe.batches(3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_single_item_is_not_held_back_to_fill_a_batch() -> None:
    pipe: Pipe[int] = Pipe(10, 1)
    pipe.put(1)
    assert pipe.take(8) == [1]


def test_put_waits_while_full() -> None:
    pipe: Pipe[int] = Pipe(1, 1)
    pipe.put(1)
    done = threading.Event()

    def second() -> None:
        pipe.put(2)
        done.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not done.wait(0.1)
    assert pipe.take(1) == [1]
    assert done.wait(5)
    thread.join()


def test_it_ends_only_after_every_producer() -> None:
    pipe: Pipe[int] = Pipe(5, 2)
    pipe.finish()
    assert pipe.take(1, timeout_s=0.01) == []
    pipe.finish()
    assert pipe.take(1) is None


def test_abort_frees_a_waiting_producer_and_consumer() -> None:
    full: Pipe[int] = Pipe(1, 1)
    full.put(1)
    empty: Pipe[int] = Pipe(1, 1)
    stopped: list[str] = []

    def wait(name: str, pipe: Pipe[int]) -> None:
        try:
            pipe.put(2) if name == "put" else pipe.take(1)
        except Stopped:
            stopped.append(name)

    threads = [threading.Thread(target=wait, args=args) for args in (("put", full), ("take", empty))]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    full.abort()
    empty.abort()
    for thread in threads:
        thread.join(5)
    assert sorted(stopped) == ["put", "take"]
    with pytest.raises(Stopped):
        full.put(3)


def test_a_byte_budget_holds_back_what_does_not_fit_but_lets_one_giant_in() -> None:
    budget = ByteBudget(100)
    budget.take(1000)  # nothing else is held
    done = threading.Event()

    def second() -> None:
        budget.take(60)
        done.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not done.wait(0.1)
    budget.give_back(1000)
    assert done.wait(5)
    thread.join()
    budget.take(40)
    budget.abort()
    with pytest.raises(Stopped):
        budget.take(1)


def test_a_byte_budget_that_nobody_waits_for_says_no() -> None:
    strict = ByteBudget(100, one_always=False)
    assert not strict.try_take(101) and strict.taken_bytes == 0
    assert strict.try_take(60) and not strict.try_take(41) and strict.try_take(40)
    strict.give_back(60)
    assert strict.taken_bytes == 40 and strict.fits(60) and not strict.fits(61)
    lenient = ByteBudget(100)
    assert lenient.try_take(1000) and not lenient.try_take(1)
