"""PDQ, the perceptual hash that instances exchange: 256 bits and a quality from 0 to 100 for an RGB picture.

Written here because its package (pdqhash) has no wheels for Linux, and installing builds nothing. A test holds it to
that package's results. Everything before the median is linear, so that one small matrix for each side replaces the box
filters and the choice of 64 rows. It knows no list of hashes and decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.known.types import PDQ_BITS, SURE_BITS

Floats = NDArray[np.float32]

BITS = PDQ_BITS
BYTES = BITS // 8
_SIDE = 64  # the picture is reduced to 64 by 64
_TERMS = 16  # and its 16 by 16 lowest waves are looked at
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue (ITU-R BT.601)
_AT_ONCE = 1 << 18  # products; of more at once the library would wake threads of its own
_PLACES_AT_ONCE = (8, 4, 2, 1)


def pdq(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], int]:
    """Return the hash, its bits in the order in which they are written, and the quality; below 50 it means little."""
    height, width, _ = rgb.shape
    hashed, quality = upright(rgb.tobytes(), width, height)
    return np.unpackbits(hashed).astype(np.bool_), quality


def upright(rgb: bytes, width: int, height: int) -> tuple[NDArray[np.uint8], int]:
    """Return the hash of a picture as it is, 32 bytes, and its quality: quicker than `turns`."""
    colours = _filtered(np.frombuffer(rgb, np.uint8).reshape(height, 3 * width), 1)[:, 0]
    rows = colours.reshape(_SIDE, width, 3) @ _BRIGHTNESS
    small = _filtered(np.ascontiguousarray(rows.T), 1)[:, 0].T
    waves = _cosines()
    terms = np.asarray(waves @ small @ waves.T, np.float32)
    return _packed(_above_median([terms]) > 0)[0], _quality(small)


def turns(rgb: bytes, width: int, height: int) -> tuple[NDArray[np.uint8], int]:
    """Return the hash of a picture as it is and turned and mirrored as `TURNS` says, (8, 32); and its quality.

    `rgb` is as in `core.types.Frame`. Each is the very hash that the turned picture has. To change the signs of waves
    would be cheaper and up to 52 bits off: the reference's filters lean to one side, and a mirror leans to the other.
    """
    hashes, _, quality = turns_and_surest(rgb, width, height)
    return hashes, quality


def turns_and_surest(rgb: bytes, width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """Return what `turns` does, and between the two for each hash which `SURE_BITS` of its bits are the surest."""
    small = _reduced(rgb, width, height)
    waves = _cosines()
    terms = waves @ small @ waves.T
    turned = [terms[down, across].T if aside else terms[down, across] for down, across, aside in _WAYS]
    above = _above_median(turned)
    sureness = np.abs(above)
    least = np.partition(sureness, BITS - SURE_BITS, axis=1)[:, BITS - SURE_BITS]
    return _packed(above > 0), _packed(sureness >= least[:, None]), _quality(small[0, 0])


def _above_median(terms: Sequence[Floats]) -> Floats:
    """Return by how much each wave is above the median, a row for each picture."""
    flat = np.stack([each.ravel() for each in terms])
    medians = np.partition(flat, BITS // 2 - 1, axis=1)[:, BITS // 2 - 1]
    return flat - medians[:, None]


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return bits of waves as hashes have them, as rows of bytes."""
    return np.packbits(bits[:, ::-1], axis=1)


# For each of `TURNS` whether it is upside down, mirrored, and then transposed.
_WAYS = (
    (0, 0, False),
    (1, 0, True),
    (1, 1, False),
    (0, 1, True),
    (0, 1, False),
    (1, 1, True),
    (1, 0, False),
    (0, 0, True),
)


def _reduced(rgb: bytes, width: int, height: int) -> Floats:
    """Return the picture's brightness in 64 by 64 places, each of which stands for what is around it.

    Four times: as it is, mirrored, upside down, and both; (2, 2, 64, 64), upside down first, mirrored second.
    Colours are reduced before they are weighted: there are fewer of them then, and the sums are the same.
    """
    colours = _filtered(np.frombuffer(rgb, np.uint8).reshape(height, 3 * width), 2)
    rows = _from_both_ends(colours.reshape(_SIDE, 2, width, 3) @ _BRIGHTNESS)
    places = _filtered(np.ascontiguousarray(rows.reshape(2 * _SIDE, width).T), 2).reshape(_SIDE, 2, 2, _SIDE)
    return _from_both_ends(places).transpose(2, 0, 3, 1)


def _filtered(lines: NDArray[np.uint8] | Floats, ends: int) -> Floats:
    """Reduce lines to 64, with 2 `ends` to the counterpart of each from the other one too; (64, ends, a line's length).

    A few places at once, which share most of their lines: each line becomes numbers once, and stays in the processor's
    cache. Each call costs a turn of the interpreter's lock.
    """
    length, width = lines.shape
    found = np.empty((_SIDE * ends, width), np.float32)
    for at_once in _PLACES_AT_ONCE:
        blocks = _blocks(length, ends, at_once)
        most = _AT_ONCE // max(block.size for _, block in blocks)
        if most >= width:
            break
    for number, (first, block) in enumerate(blocks):
        rows = slice(number * len(block), (number + 1) * len(block))
        for left in range(0, width, most):
            part = slice(left, left + most)
            some = lines[first : first + block.shape[1], part].astype(np.float32)
            np.matmul(block, some, out=found[rows, part])
    return found.reshape(_SIDE, ends, width)


def _from_both_ends(places: Floats) -> Floats:
    """Return places from one end, then from the other: (64, 2, ...) becomes (2, 64, ...)."""
    return np.stack([places[:, 0], places[::-1, 1]])


@lru_cache(1024)
def _blocks(length: int, ends: int, at_once: int) -> tuple[tuple[int, Floats], ...]:
    """Return for so many places each time their first line, and their weights for it and those that follow."""
    places, weights = _filter(length)
    found = []
    for first in range(0, _SIDE, at_once):
        begins = places[first : first + at_once, 0]
        low = int(begins.min())
        block = np.zeros((at_once, ends, int(begins.max()) - low + places.shape[1]), np.float32)
        for row, begin in enumerate(begins - low):
            block[row, :, begin : begin + places.shape[1]] = weights[first + row, :ends]
        found.append((low, block.reshape(at_once * ends, -1)))
    return tuple(found)


@lru_cache(256)
def _filter(length: int) -> tuple[NDArray[np.intp], Floats]:
    """Return for each of 64 places the lines around it, (64, lines), and two rows of weights for them, (64, 2, lines).

    The first row makes the place, the second makes its counterpart from the other end, which is 63 less its number.
    """
    places, weights = _from_one_end(length)
    back, mirrored = length - 1 - places[::-1], weights[::-1]
    begins = np.minimum(places[:, 0], back[:, -1])
    width = int((np.maximum(places[:, -1], back[:, 0]) - begins).max()) + 1
    begins = np.minimum(begins, length - width)[:, None]
    both = np.zeros((_SIDE, 2, width), np.float32)
    row = np.arange(_SIDE)[:, None]
    both[row, 0, places - begins] = weights
    both[row, 1, back - begins] = mirrored
    return begins + np.arange(width), both


def _from_one_end(length: int) -> tuple[NDArray[np.intp], Floats]:
    """Return for each of 64 places the lines that it is made of, and their weights; (64, lines) each.

    A place is a mean of lines, each of which is a mean of lines.
    """
    window = (length + 2 * _SIDE - 1) // (2 * _SIDE)  # as many as the reduction will melt into half a place
    ahead = (window + 2) // 2
    ends = np.minimum(np.arange(length) + ahead, length)
    begins = np.maximum(np.arange(length) + ahead - window, 0)
    middles = _middles(length)
    lines = begins[middles][:, None] + np.arange(window)
    counted = lines < ends[middles][:, None]
    lines = np.minimum(lines, length - 1)
    lowest, highest = begins[begins[middles]], ends[ends[middles] - 1]
    width = int((highest - lowest).max())
    places = np.minimum(lowest, length - width)[:, None] + np.arange(width)
    met = (begins[lines][..., None] <= places[:, None]) & (places[:, None] < ends[lines][..., None])
    shares = (met & counted[..., None]) / (ends - begins)[lines][..., None]
    weights = (shares.sum(axis=1) / (ends - begins)[middles][:, None]).astype(np.float32)
    return places, weights


def _middles(length: int) -> NDArray[np.intp]:
    return ((np.arange(_SIDE) + 0.5) * length / _SIDE).astype(np.intp)


@lru_cache(1)
def _cosines() -> Floats:
    wave, place = np.arange(1, _TERMS + 1)[:, None], np.arange(_SIDE)[None, :]
    waves = np.sqrt(2.0 / _SIDE) * np.cos(np.pi / (2 * _SIDE) * wave * (2 * place + 1))
    return np.asarray(waves, np.float32)


def _quality(small: Floats) -> int:
    """Return how much there is to see: the sum of the steps between neighbours, in hundredths of the whole range."""
    steps = (np.trunc(np.abs(np.diff(small, axis=axis)) * 100 / 255).sum() for axis in (0, 1))
    return min(100, int(sum(steps) / 90))
