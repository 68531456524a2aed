"""Scores of many contents at once, as arrays: no number is looked at one by one. Reads only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedi_safety.ledger.compact.numbers import DOUBLE, FRAMES
from fedi_safety.ledger.compact.vocabulary import Vocabulary


def table(
    vocabulary: Vocabulary, names_ids: Sequence[int], blobs: Sequence[bytes]
) -> tuple[list[str], NDArray[np.float64], NDArray[np.int32]]:
    """Return names, values and frames, (contents, names); NaN was not measured. Contents of one layout go together."""
    flags_of = np.frombuffer(bytes([blob[0] for blob in blobs]), np.uint8)
    kind_of = np.array(names_ids, np.int64) << 8 | flags_of
    layouts = [(each >> 8, each & 0xFF, np.flatnonzero(kind_of == each)) for each in sorted(set(kind_of.tolist()))]
    names = sorted({name for names_id, _, _ in layouts for name in vocabulary.names(names_id)})
    column = {name: i for i, name in enumerate(names)}
    values = np.full((len(blobs), len(names)), np.nan)
    frames = np.zeros((len(blobs), len(names)), np.int32)
    for names_id, flags, places in layouts:
        own = vocabulary.names(names_id)
        if not own:
            continue
        fields = [("flags", "u1"), ("values", "<f8" if flags & DOUBLE else "<f4", (len(own),))]
        kind = np.dtype([*fields, *([("frames", "<i4", (len(own),))] if flags & FRAMES else [])])
        rows = np.frombuffer(b"".join([blobs[at] for at in places.tolist()]), kind)
        cells = np.ix_(places, np.array([column[name] for name in own], np.intp))
        values[cells] = rows["values"]
        if flags & FRAMES:
            frames[cells] = rows["frames"]
    return names, values, frames
