"""Whether known images are found again, shown with drawn pictures and lists that are made for it and thrown away."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from fedi_safety.core.errors import FediSafetyError, Unscannable
from fedi_safety.core.known.types import TURNS, Effect, Entry, HashKind, KnownList
from fedi_safety.core.types import Fingerprints, Frame
from fedi_safety.detectors.examples import drawn_face
from fedi_safety.detectors.known.pdq import turns
from fedi_safety.detectors.known.recognizer import Describer, Known
from fedi_safety.known.catalog import Catalog

_WIDTH, _HEIGHT = 128, 96
_MIRRORED = TURNS.index("mirrored")


def check() -> list[str]:
    """Return what is wrong; nothing where all is well."""
    return _tried(_wrong)


def check_near(describer: Describer) -> list[str]:
    """Return what is wrong with a copy descriptor: it must find a part of a drawn picture, and take no other for it."""
    return _tried(partial(_wrong_near, describer))


def _tried(wrong: Callable[[Path], Iterator[str]]) -> list[str]:
    try:
        with tempfile.TemporaryDirectory(prefix="fedi-safety-known-") as folder:
            return list(wrong(Path(folder)))
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


def _wrong_near(describer: Describer, folder: Path) -> Iterator[str]:
    whole = drawn_face().frame
    listed = describer.describe([whole])[0].tobytes()
    with Catalog(folder) as catalog:
        catalog.put(KnownList("example", Effect.REVIEW), [Entry(HashKind.NEAR, listed, "1", category=describer.model)])
    known = Known(catalog.images(), describer)
    try:
        part, other = known.pictures([_inner(whole), _stripes(whole)])
        if "1" not in [hit.entry for hit in part.hits if hit.kind is HashKind.NEAR]:
            yield f"a part of a drawn picture was not found within {describer.distance} bits of the whole"
        if any(hit.kind is HashKind.NEAR for hit in other.hits):
            yield f"drawn stripes are within {describer.distance} bits of a drawn face"
    finally:
        known.close()


def _inner(frame: Frame) -> Frame:
    """Return a picture without a twentieth at each of its sides."""
    pixels = np.frombuffer(frame.rgb, np.uint8).reshape(frame.height, frame.width, 3)
    down, across = frame.height // 20, frame.width // 20
    inner = np.ascontiguousarray(pixels[down : frame.height - down, across : frame.width - across])
    return Frame(0, inner.shape[1], inner.shape[0], inner.tobytes())


def _stripes(like: Frame) -> Frame:
    """Return a picture of as many pixels with blue stripes across."""
    down, across = np.mgrid[0 : like.height, 0 : like.width]
    pixels = np.where(((down + across) % 24 < 9)[..., None], (30, 60, 160), (240, 240, 230)).astype(np.uint8)
    return Frame(1, like.width, like.height, pixels.tobytes())


def _drawn(seed: int) -> Frame:
    """Return a picture of coloured cells."""
    cells = np.random.default_rng(seed).integers(0, 256, (_HEIGHT // 8, _WIDTH // 8, 3), dtype=np.uint8)
    return Frame(0, _WIDTH, _HEIGHT, np.kron(cells, np.ones((8, 8, 1), np.uint8)).tobytes())
