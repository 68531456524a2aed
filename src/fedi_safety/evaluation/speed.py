"""How many pictures a second detectors score on this machine, by a short measurement with drawn pictures.

Only the networks and their preprocessing: no store, no decoding, no ledger.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import FediSafetyError, Unscannable
from fedi_safety.core.ports import Detector
from fedi_safety.core.types import Evidence

SECONDS = 1.0
"""How long one detector is measured, once it is warm; a large network takes one batch a hand however long that is."""

TOWER_SHARE = 0.85
"""Which share of bare multiplications in fp32 a network for pictures reaches at least (`./dev bench clip`)."""

# As in ViT-L/14 for two pictures at once: short enough that among a hundred some are not disturbed by what else runs.
_PRODUCT = (514, 1024, 1024)


@dataclass(frozen=True, slots=True)
class Speed:
    """What one detector reached, or why it could not be measured."""

    detector: str
    how: str  # number format and what else tells apart
    batch: int = 0
    images_per_second: float = 0.0
    problem: str = ""


def measure(detector: Detector, evidence: Evidence, workers: int, seconds: float = SECONDS) -> float:
    """Return the images a second that `workers` threads reach together, as a scan would use the detector."""
    batch = [evidence] * detector.max_batch
    detector.score(batch)  # the first one is slower: pages are touched, kernels chosen
    done = [0] * workers
    failure: list[BaseException] = []
    start = time.monotonic()

    def work(worker: int) -> None:
        try:
            while True:
                detector.score(batch)
                done[worker] += len(batch)
                if time.monotonic() - start >= seconds:
                    return
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            failure.append(error)

    threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failure:
        raise failure[0]
    return sum(done) / (time.monotonic() - start)


def measured(detector: Detector, evidence: Evidence, workers: int) -> Speed:
    """Measure one detector; a failure becomes the problem that is told."""
    plan = getattr(detector, "plan", None)  # only `clip` has a choice
    how = "fp32" if plan is None else f"{plan.variant} by {plan.runtime}"
    try:
        rate = measure(detector, evidence, workers)
    except (FediSafetyError, Unscannable) as error:
        return Speed(detector.name, how, problem=error.line() if isinstance(error, FediSafetyError) else str(error))
    return Speed(detector.name, how, detector.max_batch, rate)


def matrix_gflops(seconds: float = 0.5) -> float:
    """Return the GFLOP a second that matrix products in fp32 reach on all processors, the best of some.

    It says what a network could reach that is not here, and no more.
    """
    import numpy as np

    rows, inner, columns = _PRODUCT
    left, right = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
    out = np.empty((rows, columns), np.float32)
    best = math.inf
    end = time.monotonic() + seconds
    while time.monotonic() < end or not math.isfinite(best):
        start = time.perf_counter()
        np.matmul(left, right, out=out)
        best = min(best, time.perf_counter() - start)
    return 2.0 * rows * inner * columns / best / 1e9


def estimated_seconds(gflop: float) -> tuple[float, float]:
    """Return how long a network of so much work would take for a picture in fp32, and the rate that this rests on.

    For one that is not here yet: an estimate, from products of matrices on processors as busy as they are now.
    """
    rate = matrix_gflops()
    return gflop / (rate * TOWER_SHARE), rate


def clip_speeds(settings: Settings, precisions: Sequence[str], evidence: Evidence, workers: int) -> list[Speed]:
    """Measure the configured model in these number formats, one after the other, so that one is in memory at a time."""
    from fedi_safety.detectors import concept_detectors, open_detectors

    found = []
    (name,) = concept_detectors()
    for precision in precisions:
        clip = settings.clip.model_copy(update={"precision": precision})
        try:
            (detector,) = open_detectors(settings.model_copy(update={"detectors": [name], "clip": clip}), 1).frames
        except FediSafetyError as error:
            found.append(Speed(name, precision, problem=error.line()))
            continue
        found.append(measured(detector, evidence, workers))
        close = getattr(detector, "close", None)
        if close is not None:
            close()
    return found
