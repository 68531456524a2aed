"""Scores of many contents at once, as arrays: no number is looked at one by one. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fedi_safety.ledger import codec
from fedi_safety.ledger.compact.numbers import DOUBLE, FRAMES
from fedi_safety.ledger.compact.vocabulary import Vocabulary

EMPTY, NOTHING = 256, 257
"""In the place of a first byte: there are no bytes, and not even that."""


class Blobs(Sequence["bytes | None"]):
    """The bytes of many contents in one piece, from which those of one are cut when somebody asks for them."""

    __slots__ = ("_whole", "data", "lengths", "starts")

    def __init__(self, data: bytes, lengths: NDArray[np.int64]) -> None:
        """Take them one behind another, and how long each is: -1 where there is none. Raises `ValueError`."""
        sizes = lengths.clip(0)
        ends = np.cumsum(sizes)
        if len(data) != (int(ends[-1]) if len(ends) else 0):
            raise ValueError("not the bytes that these lengths are of")
        self._whole = data
        self.data, self.lengths, self.starts = np.frombuffer(data, np.uint8), lengths, ends - sizes

    @classmethod
    def of(cls, blobs: Sequence[bytes | None]) -> Blobs:
        """Put bytes together, unless they are."""
        if isinstance(blobs, Blobs):
            return blobs
        lengths = [-1 if blob is None else len(blob) for blob in blobs]
        return cls(b"".join([blob for blob in blobs if blob]), np.array(lengths, np.int64))

    def __len__(self) -> int:
        """Return of how many contents they are."""
        return len(self.lengths)

    def __getitem__(self, at: int) -> bytes | None:  # type: ignore[override]  # nobody asks for several
        """Return those of one content."""
        length, start = int(self.lengths[at]), int(self.starts[at])
        return None if length < 0 else self._whole[start : start + length]

    def __contains__(self, wanted: object) -> bool:
        """Whether some content has these."""
        return isinstance(wanted, bytes) and self._place(wanted) is not None

    def index(self, wanted: Any, start: int = 0, stop: int | None = None) -> int:  # noqa: ARG002  # nobody asks for a part
        """Return the first content that has these bytes, of which there are some."""
        place = self._place(wanted)
        if place is None:
            raise ValueError("no content has these bytes")
        return place

    def _place(self, wanted: bytes) -> int | None:
        at = self._whole.find(wanted)
        while at >= 0:
            owners = np.flatnonzero((self.starts == at) & (self.lengths == len(wanted)))
            if len(owners):
                return int(owners[0])
            at = self._whole.find(wanted, at + 1)
        return None

    def arrange(self, order: NDArray[np.intp]) -> None:
        """Put them into another order."""
        self.lengths, self.starts = self.lengths[order], self.starts[order]

    def cut(self, starts: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """Return so many bytes from each of these places in the whole, (places, size)."""
        if not len(starts):
            return np.zeros((0, size), np.uint8)
        return np.ascontiguousarray(sliding_window_view(self.data, size)[starts])

    def first(self) -> NDArray[np.int16]:
        """Return the first byte of each, `EMPTY` or `NOTHING`."""
        found = np.full(len(self), EMPTY, np.int16)
        found[self.lengths < 0] = NOTHING
        some = self.lengths > 0
        found[some] = self.data[self.starts[some]]
        return found


@codec.stored("scores of contents")
def table(
    vocabulary: Vocabulary, names_ids: Sequence[int] | NDArray[np.int64], blobs: Sequence[bytes | None]
) -> tuple[list[str], NDArray[np.float64], NDArray[np.int32]]:
    """Return names, values and frames, (contents, names); NaN was not measured. Contents of one layout go together."""
    every = Blobs.of(blobs)
    kind_of = np.asarray(names_ids, np.int64) << 8 | every.data[every.starts]
    layouts = [(each >> 8, each & 0xFF, np.flatnonzero(kind_of == each)) for each in np.unique(kind_of).tolist()]
    names = sorted({name for names_id, _, _ in layouts for name in vocabulary.names(names_id)})
    column = {name: i for i, name in enumerate(names)}
    values = np.full((len(every), len(names)), np.nan)
    frames = np.zeros((len(every), len(names)), np.int32)
    for names_id, flags, places in layouts:
        own = vocabulary.names(names_id)
        if not own:
            continue
        fields = [("flags", "u1"), ("values", "<f8" if flags & DOUBLE else "<f4", (len(own),))]
        kind = np.dtype([*fields, *([("frames", "<i4", (len(own),))] if flags & FRAMES else [])])
        if (every.lengths[places] != kind.itemsize).any():
            raise ValueError("scores that are not as many as their names")
        rows = every.cut(every.starts[places], kind.itemsize).view(kind)[:, 0]
        cells = np.ix_(places, np.array([column[name] for name in own], np.intp))
        values[cells] = rows["values"]
        if flags & FRAMES:
            frames[cells] = rows["frames"]
    return names, values, frames
