"""What the detector `clip` costs and adds here, in words, before anything is fetched."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedi_safety.config.schema import Settings

_TOWER_SHARE = 0.85  # of bare multiplications, what a network for pictures reaches at least (`./dev bench clip`)
_PRODUCT = (2056, 1024, 4096)  # what most of ViT-L/14's work is, for eight pictures at once
_SECONDS = 0.3


def clip_offer(settings: Settings) -> Iterator[str]:
    """Yield lines about the configured model: its size, how quick it would be here, and what it sees."""
    from fedi_safety.models.names import KNOWN

    known = next((model for model in KNOWN if model.name == settings.clip.model), None)
    cost = "of unknown size"
    if known is not None:
        seconds = known.gflop / (_matrix_gflops() * _TOWER_SHARE)
        cost = f"{known.download_mb:,} MB to fetch, about {seconds:.2g} s a picture on this machine"
    yield f"CLIP ({settings.clip.model}) can be added: {cost}."
    yield "It looks at pictures without a face and at drawings too, and only at what the others leave open."


def is_here(settings: Settings) -> bool:
    """Tell whether the configured model lies where models are kept."""
    from fedi_safety.config.locations import model_dir

    return (model_dir(settings.clip) / settings.clip.model).is_dir()


def _matrix_gflops() -> float:
    """Return the GFLOP a second that matrix products in fp32 reach on all processors, the best of some."""
    import numpy as np

    rows, inner, columns = _PRODUCT
    left, right = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
    out = np.empty((rows, columns), np.float32)
    best, end = math.inf, time.monotonic() + _SECONDS
    while time.monotonic() < end or not math.isfinite(best):
        start = time.perf_counter()
        np.matmul(left, right, out=out)
        best = min(best, time.perf_counter() - start)
    return 2.0 * rows * inner * columns / best / 1e9
