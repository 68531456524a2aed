"""Copy descriptors against each other: a look-up among removals, and new removals against all that is stored.

Descriptors are random ones, as good as those of distinct photographs, which are 152 bits apart or more. What is stored
is made by the page, so that it is in no one's memory. Times are of the processor.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.known_index import percentiles, spent
from bench.measure import machine, machine_line, write_result

from fedi_safety.config.schema import Settings
from fedi_safety.core.known.types import Effect, Entry, HashKind, KnownList
from fedi_safety.known.catalog import Catalog
from fedi_safety.known.index.descriptors import BYTES, meet

_PAGE = 20_000
_MODEL = "random"
Rows = NDArray[np.uint8]


def rows(count: int, seed: int) -> Rows:
    """Return random descriptors."""
    return np.random.default_rng(seed).integers(0, 256, (count, BYTES), np.uint8)


def altered(one: Rows, bits: int, seed: int) -> Rows:
    """Return a descriptor that differs in exactly so many bits."""
    flips = np.zeros(8 * BYTES, np.uint8)
    flips[np.random.default_rng(seed).choice(8 * BYTES, bits, replace=False)] = 1
    return one ^ np.packbits(flips)


def looked_up(removed: Rows, distance: int, count: int) -> dict[str, Any]:
    """Return what one look-up among so many removals takes, and how many planted ones were found."""
    with tempfile.TemporaryDirectory(prefix="fedi-safety-bench-") as folder, Catalog(Path(folder)) as catalog:
        entries = (
            Entry(HashKind.NEAR, one.tobytes(), id=str(number), category=_MODEL) for number, one in enumerate(removed)
        )
        catalog.put(KnownList("removed", Effect.REVIEW), entries)
        images = catalog.images()
        first, _, _ = spent(partial(images.alike, removed[:1], _MODEL, distance))
        taken, found, beyond = [], 0, 0
        for number in range(count):
            bits = number * (distance + 1) // (count - 1)  # the last is one bit too far
            asked = altered(removed[number], bits, number)[None]
            cpu, _, ((*hits,),) = spent(partial(images.alike, asked, _MODEL, distance))
            taken.append(cpu * 1e3)
            met = str(number) in {hit.entry for hit in hits}
            found, beyond = found + (met and bits <= distance), beyond + (met and bits > distance)
        images.close()
    figures = {"removed": len(removed), "first_ms": round(first * 1e3, 1), "found": found, "found_beyond": beyond}
    return figures | percentiles(taken)


def joined(removed: Rows, stored: int, distance: int) -> dict[str, Any]:
    """Return what new removals cost against all that is stored, in which one of every page is near to one of them."""

    def pages() -> Iterator[Rows]:
        for page in range(stored // _PAGE):
            made = rows(_PAGE, 1_000 + page)
            made[page % _PAGE] = altered(removed[page % len(removed)], page % (distance + 1), page)
            yield made

    def work() -> int:
        return sum(len(places) for page in pages() for _, places, _ in meet(removed, page, distance))

    made, _, _ = spent(lambda: sum(len(page) for page in pages()))
    cpu, wall, found = spent(work)
    return {
        "removed": len(removed),
        "stored": stored // _PAGE * _PAGE,
        "cpu_s": round(cpu - made, 1),
        "wall_s": round(wall, 1),
        "planted": stored // _PAGE,
        "found": found,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--removed", type=int, nargs="*", default=[1_000, 100_000], help="removals that are looked in")
    parser.add_argument("--added", type=int, nargs="*", default=[1, 100], help="new removals against what is stored")
    parser.add_argument("--stored", type=int, default=10_000_000, help="pictures that were described")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    options = parser.parse_args(arguments)
    distance = Settings().known.near_distance
    about = machine()
    print(machine_line(about))
    result: dict[str, Any] = {"machine": about, "joined": [], "looked_up": []}
    for size in options.added:
        result["joined"].append(joined(rows(size, 1), options.stored, distance))
        print(result["joined"][-1], flush=True)
    for size in options.removed:
        result["looked_up"].append(looked_up(rows(size, 2), distance, options.queries))
        print(result["looked_up"][-1], flush=True)
    write_result("known-near", result, options.out)


if __name__ == "__main__":
    main()
