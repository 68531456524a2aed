"""Faiss over the hashes of `./dev bench known index`, in a Python that has it (pip install faiss-cpu); one thread.

Reads a folder with `many.npy` and `queries.npy`; prints JSON. Not imported by anything.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

BITS = 256
RADIUS = 31


def timed(work: Any, times: int) -> dict[str, float]:
    """Return the milliseconds of processor time that `work(number)` takes, the middle and the 99th of a hundred."""
    taken = []
    for number in range(times):
        begun = time.process_time()
        work(number)
        taken.append((time.process_time() - begun) * 1e3)
    return {"p50_ms": round(float(np.percentile(taken, 50)), 3), "p99_ms": round(float(np.percentile(taken, 99)), 3)}


def main() -> None:
    """Measure both kinds of faiss's index that can be exact."""
    import faiss  # type: ignore[import-not-found]

    faiss.omp_set_num_threads(1)
    folder, kinds = Path(sys.argv[1]), sys.argv[2].split(",")
    many, queries = np.load(folder / "many.npy"), np.load(folder / "queries.npy")
    found: dict[str, Any] = {"faiss": faiss.__version__}
    for kind in kinds:
        begun = time.process_time()
        if kind == "flat":
            index = faiss.IndexBinaryFlat(BITS)
        else:  # what HMA's PDQIndex uses
            index = faiss.IndexBinaryMultiHash(BITS, 16, 16)
            index.nflip = 1
        index.add(many)
        built = time.process_time() - begun
        rows = timed(
            lambda n, index=index: index.range_search(queries[n : n + 1], RADIUS + 1), 20 if kind == "flat" else 200
        )
        size = len(faiss.serialize_index_binary(index)) / 1e6
        begun = time.process_time()
        batch = queries[:64]
        index.range_search(batch, RADIUS + 1)
        batched = (time.process_time() - begun) / len(batch) * 1e3
        found[kind] = rows | {"build_s": round(built, 2), "mb": round(size, 1), "batch_ms": round(batched, 3)}
        del index
    print(json.dumps(found))


if __name__ == "__main__":
    main()
