"""What is counted of a picture to tell a drawing from a photograph: flat areas, steps, grain, colours, spectrum.

No network, and nothing of what the picture shows. `./dev bench drawn` learns from these numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

SIDE = 256  # pixels of the longer side of what is looked at; what is smaller is not enlarged
_STEPS = (0.75, 1.5, 3.0, 6.0, 12.0, 24.0, 48.0, 96.0)  # of 255
_PERCENTILES = (5, 10, 25, 50, 75, 90)
_BANDS = (0.02, 0.04, 0.08, 0.16, 0.25, 0.35, 0.5)  # of the sampling frequency
_BLOCK = 8
_STRONG = 24.0
_STILL = 3.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def statistics(rgb: NDArray[np.uint8]) -> Floats:
    """Return the numbers of one picture, (height, width, 3) in RGB. They do not depend on its size alone."""
    small = _shrunk(rgb)
    colour = small.astype(np.float32)
    luma = colour @ _LUMA
    return np.concatenate(
        [
            _steps(luma),
            _flats(colour),
            _colours(small),
            _tones(colour),
            _grain(luma, colour),
            _spectrum(luma),
        ]
    ).astype(np.float32)


def _shrunk(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    share = SIDE / max(height, width)
    if share >= 1:
        return rgb
    size = max(_BLOCK, round(width * share)), max(_BLOCK, round(height * share))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BOX, reducing_gap=2.0))


def _shares(values: Floats) -> list[float]:
    """Return which share of the values lies above each step."""
    return [float((values > step).mean()) for step in _STEPS]


def _steps(luma: Floats) -> list[float]:
    """Steps between neighbours, what differs from the mean of neighbours, and steps that lie between still areas."""
    across, down = np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0))
    middle = luma[1:-1, 1:-1]
    around = (luma[1:-1, :-2] + luma[1:-1, 2:] + luma[:-2, 1:-1] + luma[2:, 1:-1]) / 4
    sides = np.minimum(across[:, :-2], across[:, 2:])
    strong = across[:, 1:-1] > _STRONG
    sharp = float((strong & (sides < _STILL)).sum() / (strong.sum() + 8))
    steps = np.concatenate([across.ravel(), down.ravel()])
    centred = steps - steps.mean()
    spread = float((centred**4).mean() / ((centred**2).mean() ** 2 + 1e-3))
    return [*_shares(steps), *_shares(np.abs(middle - around)), sharp, float(np.log1p(spread))]


def _flats(colour: Floats) -> list[float]:
    """Shares of places whose 2x2 and 4x4 pixels are of nearly one colour."""
    found: list[float] = []
    high = low = colour
    for _ in range(2):
        high, low = _of_four(np.maximum, high), _of_four(np.minimum, low)
        spans = _of_channels(np.maximum, high - low)
        found += [float((spans <= span).mean()) for span in (0, 2, 5, 10)]
    return found


def _of_four(choose: np.ufunc, values: Floats) -> Floats:
    """Return one of each 2x2 pixels, by channel; an odd row or column is left out."""
    rows, columns = values.shape[0] // 2 * 2, values.shape[1] // 2 * 2
    cut = values[:rows, :columns]
    found: Floats = choose(choose(cut[::2, ::2], cut[1::2, ::2]), choose(cut[::2, 1::2], cut[1::2, 1::2]))
    return found


def _of_channels(choose: np.ufunc, values: Floats) -> Floats:
    found: Floats = choose(choose(values[..., 0], values[..., 1]), values[..., 2])
    return found


def _colours(small: NDArray[np.uint8]) -> list[float]:
    """How many colours there are, and what share the commonest have."""
    found: list[float] = []
    for bits in (4, 5):
        shifted = small.astype(np.int32) >> (8 - bits)
        codes = (shifted[..., 0] << (2 * bits)) | (shifted[..., 1] << bits) | shifted[..., 2]
        counts = np.sort(np.bincount(codes.ravel()))[::-1]
        counts = counts[counts > 0]
        share = counts / counts.sum()
        found += [float(np.log(len(counts))), float(-(share * np.log(share)).sum())]
        found += [float(share[:most].sum()) for most in (1, 4, 16, 64)]
    return found


def _tones(colour: Floats) -> list[float]:
    """How saturated, how white and how black it is."""
    high, low = _of_channels(np.maximum, colour), _of_channels(np.minimum, colour)
    saturation = (high - low) / (high + 1)
    return [
        float(saturation.mean()),
        float(saturation.std()),
        float((saturation > 0.6).mean()),
        float((saturation < 0.05).mean()),
        float((low > 250).mean()),
        float((high < 6).mean()),
        float(high.std() / 128),
    ]


def _grain(luma: Floats, colour: Floats) -> list[float]:
    """How much the quietest, the middling and the busiest blocks vary, in brightness and in colour."""
    chroma = colour[..., 0] - colour[..., 2]
    found: list[float] = []
    for plane in (luma, chroma):
        blocks = _blocks(plane[..., None], _BLOCK)[..., 0]
        spread = blocks.std(axis=(2, 3))
        found += [float(np.log1p(v)) for v in np.percentile(spread, _PERCENTILES)]
    return found


def _blocks(values: Floats, side: int) -> Floats:
    """Return (rows, columns, side, side, channels) of whole blocks."""
    rows, columns = max(1, values.shape[0] // side), max(1, values.shape[1] // side)
    cut = values[: rows * side, : columns * side]
    return cut.reshape(rows, side, columns, side, -1).swapaxes(1, 2)


def _spectrum(luma: Floats) -> list[float]:
    """How much lies in each band of frequencies, against the whole."""
    height, width = luma.shape
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    power = np.abs(np.fft.rfft2((luma - luma.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    band = np.digitize(radius.ravel(), _BANDS)
    sums = np.bincount(band, power.ravel(), len(_BANDS) + 1)[: len(_BANDS)]
    return [float(v) for v in np.log((sums + 1e-3) / (power.sum() + 1.0) + 1e-7)]
