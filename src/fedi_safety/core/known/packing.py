"""The hashes of a content's pictures as one small row each, for the ledger and between gate and worker. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from fedi_safety.core.types import Descriptors, PictureHash

ROW = Struct("<iB32s")
"""Frame (see `PictureHash`), quality, PDQ."""

DESCRIPTOR = Struct("<i64s")
"""Frame, 512 bits."""

MAX_PICTURES = 1024
"""Of one content; of more the first ones are kept. Decoders hand over a few hundred."""


def packed(pictures: Sequence[PictureHash]) -> bytes:
    """Return pictures as rows."""
    return b"".join(ROW.pack(each.frame, each.quality, each.pdq) for each in pictures[:MAX_PICTURES])


def unpacked(data: bytes) -> tuple[PictureHash, ...]:
    """Return the pictures of whole rows; what is no whole row is left out."""
    return tuple(PictureHash(*row) for row in ROW.iter_unpack(data[: len(data) // ROW.size * ROW.size]))


def checked(data: bytes) -> tuple[PictureHash, ...]:
    """Return the pictures of rows from elsewhere. Raises `ValueError` for what cannot be such."""
    pictures = unpacked(data)
    if len(data) % ROW.size or len(pictures) > MAX_PICTURES:
        raise ValueError("not rows of hashes")
    if any(each.quality > 100 for each in pictures):
        raise ValueError("impossible hashes")
    return pictures


def packed_descriptors(descriptors: Descriptors) -> bytes:
    """Return descriptors as rows; their model is kept beside them."""
    return b"".join(DESCRIPTOR.pack(frame, bits) for frame, bits in descriptors.of[:MAX_PICTURES])


def unpacked_descriptors(model: str, data: bytes) -> Descriptors:
    """Return the descriptors of whole rows. Raises `ValueError` where they are none."""
    if len(data) % DESCRIPTOR.size or len(data) > MAX_PICTURES * DESCRIPTOR.size:
        raise ValueError("not rows of descriptors")
    return Descriptors(model, tuple(DESCRIPTOR.iter_unpack(data)))
