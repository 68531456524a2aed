"""An immutable part of the index: a folder of arrays that are mapped into memory, or a few rows that were just read.

A segment knows the number of each of its rows in the tables and the list it was on; whether the row is still there,
only the tables know.
"""

from __future__ import annotations

import math
import mmap
import os
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import KnownError
from fedi_safety.core.wording.hints import hint
from fedi_safety.known.index.chunks import (
    CHUNKS,
    HALF_REACH,
    RADIUS,
    REACH,
    Numbers,
    Words,
    chunk_shared,
    layout,
    layout_of,
)
from fedi_safety.known.index.search import Found, Halves, Table, by_chunks, halves, joined, one_by_one, ranges

_NEW = ".new-"
_READ_BYTES = 1 << 20
_FILES = ("low", "high", "runs", "offsets", "rows")
DAMAGED = "is damaged"
File = tuple[str, Callable[[], int], int]


def repair() -> str:
    """Return what a person is to do about an index that is damaged."""
    return f"run {hint('hashes verify --repair')}"


@dataclass(frozen=True, slots=True)
class Segment:
    """Some rows with their hashes. `runs` says which: first position, number of the row there, number of its list.

    `files` are those that it is mapped from: the path of each, what asks the system for its size, and its size then.
    """

    hashes: Halves
    runs: Numbers
    table: Table | None = None
    files: tuple[File, ...] = ()

    def __len__(self) -> int:
        """Return how many rows it has."""
        return len(self.hashes.low)

    def near(self, queries: Words, wide: Mapping[int, int]) -> Found:
        """Return the positions within `RADIUS` of each query, or within that of a list in `wide`, by its number.

        Also those within `REACH`, and `HALF_REACH` in their first half, of which a chunk is near, whatever the layout;
        not of lists in `wide`. Raises `KnownError` where what is in the file cannot be.
        """
        self._refuse_cut()
        try:
            return self._near(queries, wide)
        except (IndexError, ValueError) as error:
            raise KnownError("the index of known images", DAMAGED, repair()) from error

    def _refuse_cut(self) -> None:
        """Raise `KnownError` where a file was cut short: whoever reads what is mapped and gone is killed by the system.

        What is cut off in the instant between this and the look-up still is. A file that was merged away meanwhile is
        whole as long as it is mapped.
        """
        for path, size_now, size in self.files:
            if size_now() < size:
                raise KnownError(path, "was cut short while it was in use", repair())

    def _near(self, queries: Words, wide: Mapping[int, int]) -> Found:
        if self.table is None:
            found = one_by_one(self.hashes, queries, REACH, HALF_REACH)
        else:
            found = by_chunks(self.hashes, self.table, queries)
        pieces = [self._told(found, queries, wide)]
        for number, distance in wide.items():
            places = self._places(number)
            if len(places):
                part = Halves(self.hashes.low[places], self.hashes.high[places])
                further = one_by_one(part, queries, distance)
                new = further.distance > RADIUS
                pieces.append(Found(further.query[new], places[further.row[new]], further.distance[new]))
        return joined(pieces)

    def _told(self, found: Found, queries: Words, wide: Mapping[int, int]) -> Found:
        """Return what was found without what is beyond `RADIUS` and shares no chunk, or is on a list in `wide`."""
        if not len(found.row) or not len(beyond := np.flatnonzero(found.distance > RADIUS)):
            return found
        shared = chunk_shared(self.words(found.row[beyond]) ^ queries[found.query[beyond]])
        shared &= ~np.isin(self.rows_of(found.row[beyond])[1], list(wide))
        keep = np.ones(len(found.row), bool)
        keep[beyond] = shared
        return Found(*(column[keep] for column in found))

    def _places(self, number: int) -> Numbers:
        """Return the positions of the rows of one list."""
        lengths = np.diff(self.runs[:, 0], append=len(self))
        own = self.runs[:, 2] == number
        return ranges(self.runs[own, 0], lengths[own]) if own.any() else np.empty(0, np.int64)

    def rows_of(self, positions: Numbers) -> tuple[Numbers, Numbers]:
        """Return the number of each row in the tables, and that of its list."""
        run = self.runs[np.searchsorted(self.runs[:, 0], positions, side="right") - 1]
        return run[:, 1] + (positions - run[:, 0]), run[:, 2]

    def words(self, positions: Numbers) -> Words:
        """Return the hash of each row."""
        return np.concatenate([self.hashes.low[positions], self.hashes.high[positions]], axis=1)

    def bits(self, positions: Numbers) -> NDArray[np.int64]:
        """Return how many bits are set in the hash of each row."""
        counted: Numbers = np.bitwise_count(self.words(positions)).sum(axis=1, dtype=np.int64)
        return counted


def loose(rows: Numbers, lists: Numbers, hashes: Words) -> Segment:
    """Return a segment that is in no file; `rows` go upwards."""
    return Segment(halves(hashes), _runs(rows, lists))


def write(folder: Path, rows: Numbers, lists: Numbers, hashes: Words) -> tuple[str, dict[str, int]]:
    """Write a segment of these rows, which go upwards, below `folder`; return its name there and its files' checksums.

    It is whole and on the disk when this returns, under a name that no segment had before. Raises `OSError`.
    """
    name = f"{rows[0]}-{rows[-1]}-{secrets.token_hex(4)}"
    new = folder / (_NEW + name)
    new.mkdir(mode=0o700, parents=True)
    try:
        parts = halves(hashes)
        for file, array in (("low", parts.low), ("high", parts.high), ("runs", _runs(rows, lists))):
            with _written(new / f"{file}.npy") as stream:
                np.save(stream, array, allow_pickle=False)
        _write_table(new, hashes)
        checksums = {file: checksum(new / f"{file}.npy") for file in _FILES}
        _sync(new)
        new.rename(folder / name)
        _sync(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return name, checksums


def read(folder: Path) -> Segment:
    """Map a segment into memory. Raises `KnownError` where it is not whole by its sizes; `check` reads all of it."""
    try:
        paths = [folder / f"{file}.npy" for file in _FILES]
        mapped = [_mapped(path) for path in paths]
        files = tuple((str(path), file.size, len(file)) for path, (_, file) in zip(paths, mapped, strict=True))
        segment = _segment({path.stem: array for path, (array, _) in zip(paths, mapped, strict=True)}, files)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise KnownError(str(folder), DAMAGED, repair()) from error
    return segment


def check(folder: Path, checksums: Mapping[str, int]) -> None:
    """Read all of a segment. Raises `KnownError` where it is not what was written."""
    for file in _FILES:
        path = folder / f"{file}.npy"
        try:
            whole = checksum(path) == checksums.get(file)
        except OSError as error:
            raise KnownError(str(path), error.strerror or str(error), repair()) from error
        if not whole:
            raise KnownError(str(path), DAMAGED, repair())


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file. Raises `OSError`."""
    found = 0
    buffer = bytearray(_READ_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as stream:
        while size := stream.readinto(buffer):
            found = zlib.crc32(view[:size], found)
    return found


def _runs(rows: Numbers, lists: Numbers) -> Numbers:
    """Return where a new run of rows begins: consecutive numbers, of one list."""
    fresh = np.ones(len(rows), bool)
    fresh[1:] = (np.diff(rows) != 1) | (np.diff(lists) != 0)
    at = np.flatnonzero(fresh)
    return np.stack([at, rows[at], lists[at]], axis=1)


def _write_table(folder: Path, hashes: Words) -> None:
    """Sort the rows by each of their chunks in turn; one chunk's rows are held at a time."""
    cut = layout(len(hashes))
    count = len(hashes)
    offsets = np.zeros(cut.size + 1, np.uint32)
    with _written(folder / "rows.npy") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "<u4", "fortran_order": False, "shape": (CHUNKS * count,)}
        )
        for chunk in range(CHUNKS):
            values = cut.of_chunk(hashes, chunk)
            buckets = int(cut.values[chunk]) + 1
            begin = int(cut.base[chunk])
            filled = np.bincount(values, minlength=buckets)
            offsets[begin + 1 : begin + buckets + 1] = chunk * count + filled.cumsum()
            # Sorted with its row below it in one number: no slower detour by sorting indices.
            values <<= 32
            values |= np.arange(count)
            values.sort()
            stream.write(values.astype("<u4").data)
    with _written(folder / "offsets.npy") as stream:
        np.save(stream, offsets.astype("<u4", copy=False), allow_pickle=False)


def _mapped(path: Path) -> tuple[NDArray[Any], mmap.mmap]:
    """Return an array that lies in a file, and the file as it is mapped. Raises `OSError`, `ValueError`."""
    with path.open("rb") as stream:
        np.lib.format.read_magic(stream)
        shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        begin = stream.tell()
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, kind, math.prod(shape), begin).reshape(shape), mapped


def _segment(arrays: Mapping[str, NDArray[Any]], files: tuple[File, ...]) -> Segment:
    low, high, runs, offsets, rows = (arrays[file] for file in _FILES)
    count = len(low)
    cut = layout_of(len(offsets) - 1)
    whole = (
        low.shape == high.shape == (count, 2)
        and low.dtype == high.dtype == np.dtype("<u8")
        and runs.dtype == np.dtype("<i8")
        and runs.shape[1:] == (3,)
        and len(runs) > 0
        and offsets.ndim == 1
        and rows.shape == (CHUNKS * count,)
        and offsets.dtype == rows.dtype == np.dtype("<u4")
        and offsets[0] == 0
        and offsets[-1] == CHUNKS * count
    )
    if not whole:
        raise ValueError("shapes")
    return Segment(Halves(low, high), runs, Table(cut, offsets, rows), files)


@contextmanager
def _written(path: Path) -> Iterator[Any]:
    """Give a new file, which is on the disk on leaving."""
    with path.open("xb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
