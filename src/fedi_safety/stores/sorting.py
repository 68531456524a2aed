"""Sorts byte strings of which only a part fits in memory: sorted runs in a temporary file, merged.

The file holds what is sorted (a directory's names), never media, and has no name of its own.
"""

from __future__ import annotations

import heapq
import os
import struct
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

_BLOCK_BYTES = 1 << 16
MAX_RECORD_BYTES = 0xFFFF


class SortedRuns:
    """Takes records in any order and gives them back sorted, once."""

    def __init__(self, in_memory: int) -> None:
        """Hold at most `in_memory` records in memory before they go to a file."""
        self._in_memory = in_memory
        self._records: list[bytes] = []
        self._runs: list[tuple[int, int]] = []
        self._file: BinaryIO | None = None

    @property
    def held(self) -> list[bytes] | None:
        """The records, if all of them are in memory."""
        return self._records if self._file is None else None

    def add(self, record: bytes) -> None:
        """Take a record of at most `MAX_RECORD_BYTES`."""
        self._records.append(record)
        if len(self._records) >= self._in_memory:
            self._spill()

    def _spill(self) -> None:
        self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        self._records.sort()
        start = self._file.seek(0, os.SEEK_END)
        for record in self._records:
            self._file.write(struct.pack("<H", len(record)) + record)
        self._file.flush()
        self._runs.append((start, self._file.tell()))
        self._records = []

    def sort(self) -> None:
        """Sort what is in memory; call it once, when all are added."""
        self._records.sort()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the records in order."""
        if self._file is None:
            return iter(self._records)
        fd = self._file.fileno()
        return heapq.merge(*(_run(fd, *run) for run in self._runs), self._records)

    def close(self) -> None:
        """Give up the file. May be called twice."""
        if self._file is not None:
            self._file.close()


def _run(fd: int, start: int, end: int) -> Iterator[bytes]:
    """Read one sorted run back, a block at a time."""
    buffer = b""
    while start < end or buffer:
        if start < end:
            block = os.pread(fd, min(_BLOCK_BYTES, end - start), start)
            start += len(block)
            buffer += block
        at = 0
        while at + 2 <= len(buffer):
            length = int.from_bytes(buffer[at : at + 2], "little")
            if at + 2 + length > len(buffer):
                break
            yield buffer[at + 2 : at + 2 + length]
            at += 2 + length
        buffer = buffer[at:]
