"""Holds what a browser showed of a file against what was judged of it, both scaled down to a coarse grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from fedi_safety.core.types import Frame
from support.corpus.moving import picture
from support.servers.chromium import Seen

_GRID = (24, 24)
_OPAQUE = 0.9  # of a cell: what is transparent shows the page, and is whatever the page is
_EVEN = 8  # of 255: cells that differ by no more show nothing
_MEAN, _MOST = 6.0, 60.0  # of 255: how far cells may be apart on the average, and one of them
_ASPECT = 0.1  # how far the shapes may be apart, as a logarithm

Cells = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Apart:
    """How far two pictures are apart, of 255: on the average, and where they are furthest."""

    mean: float
    most: float

    def within(self, mean: float = _MEAN, most: float = _MOST) -> bool:
        """Whether it is little enough for the same picture."""
        return self.mean <= mean and self.most <= most


class Shown:
    """What a browser showed, on white and on black, and which cells of it are the picture's own."""

    def __init__(self, seen: Seen) -> None:
        """Scale it down."""
        pixels = np.frombuffer(seen.rgba, np.uint8).reshape(seen.rows, seen.columns, 4).astype(np.float64)
        alpha = pixels[..., 3:] / 255
        on_black = pixels[..., :3] * alpha
        self.how = seen.how
        self._shape = math.log(seen.width / seen.height)
        share = _cells(alpha)
        self._opaque = share[..., 0] >= _OPAQUE
        self._grounds = [_cells(on_black + 255 * (1 - alpha)), _cells(on_black)]
        self._own = self._grounds[1][self._opaque] / share[self._opaque]
        self.share = float(self._opaque.mean())  # of it that shows anything at all

    @property
    def something(self) -> bool:
        """Whether there is anything to see: more than nothing, and more than one even colour."""
        return bool(self._opaque.any() and np.ptp(self._own, axis=0).max() > _EVEN)

    def nearest(self, frames: Iterable[Frame]) -> Apart:
        """Return how far the most similar frame is apart; what was not shown of a damaged picture does not count."""
        return min((apart for frame in frames for apart in self._from(frame)), key=_badness, default=Apart(255, 255))

    def _from(self, frame: Frame) -> Iterator[Apart]:
        if abs(math.log(frame.width / frame.height) - self._shape) > _ASPECT:
            return
        cells = _cells(np.asarray(picture(frame), np.float64))
        for ground in self._grounds:
            apart = np.abs(ground - cells)
            yield Apart(float(apart.mean()), float(apart.max()))
            if self._opaque.any():
                own = apart[self._opaque]
                yield Apart(float(own.mean()), float(own.max()))


def _badness(apart: Apart) -> float:
    return max(apart.mean / _MEAN, apart.most / _MOST)


def _cells(values: Cells) -> Cells:
    bands = [Image.fromarray(values[..., band].astype(np.float32)) for band in range(values.shape[2])]
    return np.dstack([np.asarray(band.resize(_GRID, Image.Resampling.BOX), np.float64) for band in bands])
