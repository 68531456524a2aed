"""The gate's hand in the ledger: what somebody waits for is written at once, and what comes meanwhile together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any, cast

import pytest

from fedi_safety.core.ledger.uploads import UploadNote, UploadState
from fedi_safety.gate.backlog import writer as writer_module
from fedi_safety.gate.backlog.writer import LedgerWriter
from fedi_safety.judging.metrics import Metrics


class Ledger:
    """Takes what is written, in transactions."""

    def __init__(self) -> None:
        self.transactions: list[list[str]] = []
        self.begun, self.free = threading.Event(), threading.Event()
        self.free.set()

    def record_uploads(self, _run: int, _judged: Any, notes: Sequence[UploadNote], _moves: Any) -> None:
        self.begun.set()
        assert self.free.wait(30)
        if notes:
            self.transactions.append([note.upload for note in notes])


@contextmanager
def writing() -> Iterator[tuple[LedgerWriter, Ledger]]:
    ledger = Ledger()
    writer = LedgerWriter(cast("Any", ledger), 1, Metrics())
    writer.start()
    try:
        yield writer, ledger
    finally:
        writer.close()


def note(number: int) -> UploadNote:
    return UploadNote(f"{number:032x}", 0.0, "a", UploadState.OWED, "queue_full", "gate", bytes(32), 1, None)


def test_those_of_a_moment_share_a_transaction_and_each_is_told_when_it_is_durable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer_module, "_MOMENT_S", 2.0)
    with writing() as (writer, ledger):
        first = writer.enqueue_note(note(0))
        wait([first], 5)
        assert first.done() and ledger.transactions == [[note(0).upload]]
        others = []
        for number in range(1, 31):
            others.append(writer.enqueue_note(note(number)))
            time.sleep(0.002)
        assert not any(other.done() for other in others), "told before it was written"
        assert len(wait(others, 5).done) == 30
        assert [len(names) for names in ledger.transactions] == [1, 30]


def test_what_is_being_written_is_not_written_yet() -> None:
    with writing() as (writer, ledger):
        ledger.free.clear()
        asked = writer.enqueue_note(note(0))
        assert ledger.begun.wait(10)
        assert not writer.flush(0.2)
        ledger.free.set()
        assert writer.flush(10) and asked.done()


def test_one_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_MOMENT_S", 2.0)
    monkeypatch.setattr(writer_module, "_PATIENT_S", 2.0)
    with writing() as (writer, _):
        for number in range(3):
            time.sleep(2.1)
            begun = time.monotonic()
            wait([writer.enqueue_note(note(number), patient=number == 2)], 5)
            assert time.monotonic() - begun < 1.9


def test_who_has_time_waits_for_more_and_is_taken_along_by_who_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_MOMENT_S", 0.01)
    monkeypatch.setattr(writer_module, "_PATIENT_S", 5.0)
    with writing() as (writer, ledger):
        wait([writer.enqueue_note(note(0), patient=True)], 5)
        time.sleep(0.05)
        patient = [writer.enqueue_note(note(number), patient=True) for number in (1, 2)]
        time.sleep(0.05)
        assert not any(one.done() for one in patient)
        assert len(wait([*patient, writer.enqueue_note(note(3))], 3).done) == 3
        assert [len(names) for names in ledger.transactions] == [1, 3]
