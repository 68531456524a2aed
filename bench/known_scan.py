"""What lists of known images add to a scan: processor time a picture, with lists of several lengths.

A picture is a frame of 768 pixels with its file of some hundred KB: MD5 and SHA-1 of its bytes, the look-up by these,
PDQ in eight turns and the look-ups of these. Entries are random hashes, which are as good as photographs' own; no
picture is on a list. They go straight into the index: what is not met is in no row that is read, and to import ten
million takes minutes. open_nsfw, the cheapest network of the default, is measured beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.known_index import hashes
from bench.measure import machine, machine_line, write_result

from fedi_safety.config.schema import Settings
from fedi_safety.core import sqlite_files
from fedi_safety.core.known.types import KnownList
from fedi_safety.core.types import Evidence, Fingerprints, Frame
from fedi_safety.detectors import open_detectors
from fedi_safety.detectors.known.recognizer import Known
from fedi_safety.known import tables, upkeep
from fedi_safety.known.catalog import Catalog
from fedi_safety.known.index import segment
from fedi_safety.known.index.chunks import words

SIDE = 768
MUST_MS = {0: 2.3, 1_000_000: 4.3, 10_000_000: 13.0}
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "hubble_deep_field", "retina", "immunohistochemistry")


def pictures() -> list[tuple[Frame, bytes]]:
    """Return photographs that ship with scikit-image as frames, and each as a file."""
    from skimage import data

    found = []
    for index, name in enumerate(PHOTOGRAPHS):
        image = Image.fromarray(getattr(data, name)()[..., :3]).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        found.append((Frame(index, SIDE, SIDE, image.tobytes()), file.getvalue()))
    return found


def fill(folder: Path, count: int) -> None:
    """Make a list of so many random hashes, in the index alone: as many as ten million take 14 s and a gigabyte."""
    with Catalog(folder) as catalog:
        catalog.put(KnownList("random"), ())
    rows = np.arange(1, count + 1)
    name, checksums = segment.write(folder / upkeep.FOLDER, rows, np.ones_like(rows), words(hashes(count, seed=count)))
    with closing(tables.create(folder, wait_s=60)) as writer, sqlite_files.writing(writer):
        values = (name, 1, count, count, 0, json.dumps(checksums))
        writer.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)", values)
        writer.execute("UPDATE state SET loose_after = ?", (count,))


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """Return the median of this thread's processor time, after one call that warms up."""
    work()
    taken = []
    for _ in range(rounds):
        start = time.thread_time()
        work()
        taken.append(1000 * (time.thread_time() - start))
    return median(taken)


def compared(known: Known, frame: Frame, file: bytes) -> None:
    """Do for one picture what a scan does for its sake."""
    sha1 = hashlib.sha1(file, usedforsecurity=False).digest()
    md5 = hashlib.md5(file, usedforsecurity=False).digest()
    known.exact(Fingerprints(bytes(32), sha1, md5, len(file)))
    known.pictures([frame])


def measured(count: int, shown: Sequence[tuple[Frame, bytes]], rounds: int, kept: Path | None) -> dict[str, Any]:
    """Return what one length of list adds. Where lists are `kept`, one that is there is used again."""
    with tempfile.TemporaryDirectory(prefix="fedi-safety-bench-") as scratch:
        folder = Path(scratch) if kept is None else kept / f"random-{count}"
        return _measured(folder, count, shown, rounds)


def _measured(folder: Path, count: int, shown: Sequence[tuple[Frame, bytes]], rounds: int) -> dict[str, Any]:
    with Catalog(folder) as catalog:
        if count and not catalog.lists():
            fill(folder, count)
        known = Known(catalog.images())
        each = [milliseconds(partial(compared, known, frame, file), rounds) for frame, file in shown]
        known.close()
    return {"entries": count, "ms": median(each), "must_ms": MUST_MS.get(count)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", default="0,1000000", help="lengths of lists, with commas between")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--keep", type=Path, help="a folder in which long lists stay for the next time")
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    chosen = parser.parse_args(arguments)
    shown = pictures()
    rows = [measured(int(count), shown, chosen.rounds, chosen.keep) for count in chosen.entries.split(",")]
    opened = open_detectors(Settings(device="cpu", detectors=["open_nsfw"]), 1).frames[0]
    network_ms = milliseconds(lambda: opened.score([Evidence(shown[0][0])]), chosen.rounds)
    about = machine()
    print(machine_line(about))
    for row in rows:
        must = "" if row["must_ms"] is None else f"  (must: {row['must_ms']})"
        share = row["ms"] / network_ms
        print(f"{row['entries']:>12,} entries  {row['ms']:6.2f} ms a picture, {share:.2f} of open_nsfw{must}")
    print(f"open_nsfw on the same frame: {network_ms:.1f} ms")
    write_result("known-scan", {"machine": about, "rows": rows, "open_nsfw_ms": network_ms}, chosen.out)


if __name__ == "__main__":
    main()
