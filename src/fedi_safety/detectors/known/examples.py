"""Whether known images are found again, shown with drawn pictures and lists that are made for it and thrown away."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fedi_safety.core.errors import FediSafetyError, Unscannable
from fedi_safety.core.known.types import Effect, Entry, HashKind, KnownList
from fedi_safety.core.types import Fingerprints, Frame
from fedi_safety.detectors.known.pdq import TURNS, turns
from fedi_safety.detectors.known.recognizer import Known
from fedi_safety.known.catalog import Catalog

_WIDTH, _HEIGHT = 128, 96
_MIRRORED = TURNS.index("mirrored")


def check() -> list[str]:
    """Return what is wrong; nothing where all is well."""
    try:
        with tempfile.TemporaryDirectory(prefix="fedi-safety-known-") as folder:
            return list(_wrong(Path(folder)))
    except (FediSafetyError, Unscannable, OSError) as error:
        return [str(error)]


def _wrong(folder: Path) -> Iterator[str]:
    one, other = _drawn(1), _drawn(2)
    listed = turns(one.rgb, _WIDTH, _HEIGHT)[0][_MIRRORED].tobytes()
    bytes_ = hashlib.md5(one.rgb, usedforsecurity=False).digest()
    with Catalog(folder) as catalog:
        catalog.put(KnownList("example"), [Entry(HashKind.PDQ, listed, "1"), Entry(HashKind.MD5, bytes_, "2")])
        catalog.put(KnownList("harmless", Effect.NEGATIVE), [])
    known = Known(catalog.images())
    try:
        found = known.pictures([one, other])
        met = [(hit.list, hit.entry, hit.distance, hit.turn) for hit in found[0].hits]
        if met != [("example", "1", 0, TURNS[_MIRRORED])]:
            yield f"a mirrored picture met {met or 'nothing'} instead of its entry"
        if found[1].hits:
            yield "another picture met an entry that is not its own"
        exact = known.exact(Fingerprints(bytes(32), bytes(20), bytes_, len(one.rgb)))
        if [hit.entry for hit in exact] != ["2"]:
            yield "a file was not found by its MD5"
    finally:
        known.close()


def _drawn(seed: int) -> Frame:
    """Return a picture of coloured cells."""
    cells = np.random.default_rng(seed).integers(0, 256, (_HEIGHT // 8, _WIDTH // 8, 3), dtype=np.uint8)
    return Frame(0, _WIDTH, _HEIGHT, np.kron(cells, np.ones((8, 8, 1), np.uint8)).tobytes())
