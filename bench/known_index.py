"""The index of known images: recall against brute force, sizes, look-ups, changes, a list against all that is stored.

Hashes are random ones with as many bits set as photographs' have or more: 1,000 photographs' own were as good as
random. Times are of the processor, in milliseconds a look-up unless said. With `--peer PYTHON`, one that has faiss, its
two exact indices are measured on the same hashes, on one thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.measure import machine, machine_line, run, write_result

from fedi_safety.core import sqlite_files
from fedi_safety.core.known.types import Effect, Entry, HashKind, KnownList
from fedi_safety.known import tables, upkeep
from fedi_safety.known.catalog import Catalog
from fedi_safety.known.images import Images
from fedi_safety.known.index.chunks import words
from fedi_safety.known.index.segment import read, write
from fedi_safety.known.index.turned import turned

Hashes = NDArray[np.uint8]
NAMES = "listed"
RADIUS = 31
_PAGE = 50_000
_BATCH = 64


def hashes(count: int, seed: int) -> Hashes:
    """Return random hashes with at least half of their bits set."""
    random = np.random.default_rng(seed)
    found = random.integers(0, 1 << 64, (count, 4), np.uint64, endpoint=False)
    few = np.bitwise_count(found).sum(axis=1) < 128
    found[few] = ~found[few]
    return found.view(np.uint8).reshape(count, 32)


def altered(one: Hashes, bits: int, random: np.random.Generator) -> Hashes:
    """Return a hash that differs in exactly so many bits."""
    flips = np.zeros(256, np.uint8)
    flips[random.choice(256, bits, replace=False)] = 1
    return one ^ np.packbits(flips)


def planted(many: Hashes, count: int, seed: int) -> tuple[Hashes, NDArray[np.int64], NDArray[np.int64]]:
    """Return queries 0 to 32 bits from some of these hashes, the hashes' positions, and the distances."""
    random = np.random.default_rng(seed)
    at = random.choice(len(many), count, replace=False)
    distances = np.arange(count) % (RADIUS + 2)
    return np.stack([altered(many[a], int(d), random) for a, d in zip(at, distances, strict=True)]), at, distances


def brute(many: Hashes, query: Hashes) -> NDArray[np.int64]:
    """Return the positions within the distance, by numpy and nothing else."""
    differing = np.bitwise_count(many.view(np.uint64) ^ query.view(np.uint64)).sum(axis=1)
    return np.flatnonzero(differing <= RADIUS)


def entries(many: Hashes, first: int = 0) -> Iterator[Entry]:
    """Give hashes as entries with ids."""
    for number, value in enumerate(many, first):
        yield Entry(HashKind.PDQ, value.tobytes(), id=str(number))


def spent(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the seconds of processor and wall time that something took, and its answer."""
    wall, cpu = time.monotonic(), time.process_time()
    answer = work()
    return time.process_time() - cpu, time.monotonic() - wall, answer


def percentiles(taken: Sequence[float]) -> dict[str, float]:
    """Return the middle, the 99th of a hundred and the last of some milliseconds."""
    return {
        name: round(float(np.percentile(taken, q)), 3) for name, q in (("p50_ms", 50), ("p99_ms", 99), ("max_ms", 100))
    }


def looked_up(images: Images, queries: Hashes, at_once: int = 1) -> dict[str, float]:
    """Return the processor time of look-ups, each alone or so many at once; a look-up's share of it."""
    taken = []
    for first in range(0, len(queries) - at_once + 1, at_once):
        cpu, _, _ = spent(partial(images.near, queries[first : first + at_once]))
        taken.append(cpu * 1e3 / at_once)
    return percentiles(taken)


def recall(images: Images, many: Hashes, count: int) -> dict[str, Any]:
    """Hold every answer against brute force; planted ones at 0 to 32 bits, of which those at 32 must not be found."""
    queries, at, distances = planted(many, count, seed=5)
    answers = [hit for first in range(0, count, 8) for hit in images.near(queries[first : first + 8])]
    wrong = sum(
        {int(hit.entry) for hit in hits} != set(brute(many, q).tolist())
        for hits, q in zip(answers, queries, strict=True)
    )
    within = distances <= RADIUS
    found = sum(
        str(a) in {hit.entry for hit in hits}
        for a, hits in zip(at[within], np.array(answers, object)[within], strict=True)
    )
    beyond = sum(
        str(a) in {hit.entry for hit in hits}
        for a, hits in zip(at[~within], np.array(answers, object)[~within], strict=True)
    )
    return {"planted": int(within.sum()), "found": found, "found_at_32": beyond, "unlike_brute_force": wrong}


def megabytes(folder: Path) -> float:
    """Return the size of all files below a folder."""
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


def measured(folder: Path, many: Hashes, options: argparse.Namespace) -> dict[str, Any]:
    """Put the hashes onto a list and measure all of a catalog's rows but the join."""
    catalog = Catalog(folder)
    imported, imported_wall, _ = spent(lambda: catalog.put(KnownList(NAMES, Effect.BLOCK), entries(many)))
    with sqlite_files.writing(writer := tables.create(folder, wait_s=60)):
        built, built_wall, _ = spent(lambda: upkeep.rebuild(writer, folder))
    writer.close()
    catalog.merge()
    index = folder / upkeep.FOLDER
    [segment] = index.iterdir()
    opened = spent(lambda: read(segment))[1]
    images = catalog.images()
    first = spent(lambda: images.near(many[:1]))[1]
    queries = hashes(2_000, seed=7)
    images.near(queries[:200])
    result: dict[str, Any] = {
        "hashes": len(many),
        "index_mb": megabytes(index),
        "lists_mb": megabytes(folder) - megabytes(index),
        "import_s": round(imported, 1),
        "import_wall_s": round(imported_wall, 1),
        "build_s": round(built, 1),
        "build_wall_s": round(built_wall, 1),
        "open_ms": round(opened * 1e3, 2),
        "first_look_up_wall_ms": round(first * 1e3, 1),
        "look_up": looked_up(images, queries),
        "eight_turns": looked_up(images, queries, 8),
        "batch_of_64": looked_up(images, queries, _BATCH),
        "met": looked_up(images, planted(many, 200, seed=11)[0]),
        "brute_force_ms": round(float(np.median([spent(partial(brute, many, q))[0] for q in queries[:9]])) * 1e3, 1),
        "recall": recall(images, many, options.planted),
    }
    fresh = hashes(100_000, seed=13)
    cpu, wall, _ = spent(lambda: catalog.change(NAMES, entries(fresh, len(many))))
    result["add_100000"] = {"cpu_s": round(cpu, 2), "wall_s": round(wall, 2)}
    assert images.near(fresh[:1])[0], "what was added is not found"
    result["look_up_after_adding"] = looked_up(images, queries)
    cpu, wall, _ = spent(lambda: catalog.change(NAMES, (), entries(many[:1])))
    result["delete_one"] = {"cpu_ms": round(cpu * 1e3, 2), "wall_ms": round(wall * 1e3, 2)}
    assert not images.near(many[:1])[0], "what was deleted is found"
    catalog.close()
    images.close()
    return result


def files_alone(folder: Path, many: Hashes, count: int) -> dict[str, Any]:
    """Return what the index's own files take, with no list's tables: for millions, which take minutes to import."""
    rows = np.arange(1, len(many) + 1)
    folder.mkdir()
    built, _, (name, _) = spent(lambda: write(folder, rows, np.ones_like(rows), words(many)))
    _, opened, segment = spent(lambda: read(folder / name))
    queries = words(hashes(1_200, seed=7))
    segment.near(queries[:200], {})
    asked, at, distances = planted(many, count, seed=5)
    found, unlike = 0, 0
    for query, position, distance in zip(asked, at, distances, strict=True):
        answer = segment.near(words(query[None]), {})
        met = set(answer.row[answer.distance <= RADIUS].tolist())
        found += position in met and distance <= RADIUS
        unlike += met != set(brute(many, query).tolist())
    taken = {
        name: percentiles(
            [spent(partial(segment.near, queries[n : n + k], {}))[0] * 1e3 / k for n in range(0, 1_152, k)]
        )
        for name, k in (("look_up", 1), ("eight_turns", 8), ("batch_of_64", _BATCH))
    }
    return {"hashes": len(many), "index_mb": megabytes(folder), "build_s": built, "open_ms": opened * 1e3, **taken} | {
        "planted": int((distances <= RADIUS).sum()),
        "found": int(found),
        "unlike_brute_force": unlike,
    }


def many_lists(folder: Path, many: Hashes, lists: int) -> dict[str, Any]:
    """Return the look-ups over these hashes as so many lists, put one after another."""
    queries = hashes(1_000, seed=7)
    with Catalog(folder) as catalog:
        for number, part in enumerate(np.array_split(many, lists)):
            catalog.put(KnownList(f"list {number}"), entries(part))
        images = catalog.images()
        images.near(queries[:100])
        result = {
            "lists": lists,
            "segments": len(list((folder / upkeep.FOLDER).iterdir())),
            "before": looked_up(images, queries),
        }
        catalog.merge()
        images.near(queries[:100])
        return result | {"merged": looked_up(images, queries)}


def joined(folder: Path, stored: Hashes, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Return what lists of these sizes cost against all stored hashes, 200 of which are made to meet it, turned."""
    random = np.random.default_rng(17)
    rows = []
    for size in sizes:
        many = stored.copy()
        listed = hashes(size, seed=size)
        at = random.choice(len(many), 200, replace=False)
        ways = turned(listed[:200])
        for number, position in enumerate(at):
            one = ways[number % len(ways), number % min(size, 200)]
            many[position] = altered(one, number % (RADIUS + 1), random)
        np.save(folder / "stored.npy", many)
        del many
        with Catalog(folder / f"join-{size}") as catalog:
            catalog.put(KnownList("new"), entries(listed))
        finished = run(
            [sys.executable, __file__, "--join-only", str(folder / f"join-{size}"), str(folder / "stored.npy")],
            cwd=folder,
            watch=True,
        )
        met = json.loads(finished.out)
        rows.append(
            {
                "list": size,
                "stored": len(stored),
                "cpu_s": round(finished.cpu_s, 1),
                "wall_s": round(finished.wall_s, 1),
                "peak_rss_mb": round(finished.memory.rss_mb if finished.memory else 0.0, 1),
                "planted_found": len(set(met) & set(at.tolist())),
                "others_found": len(set(met) - set(at.tolist())),
            }
        )
        print(rows[-1], flush=True)
    return rows


def join_only(lists: Path, stored: Path) -> None:
    """Join in a process of its own, so that its memory is its own, and print which stored hashes were met."""
    # Read by the page, as a ledger is, so that the stored hashes are in no one's memory.
    shape = np.load(stored, mmap_mode="r").shape

    def pages() -> Iterator[tuple[int, Hashes]]:
        with stored.open("rb") as stream:
            np.lib.format.read_magic(stream)
            np.lib.format.read_array_header_1_0(stream)
            for first in range(0, shape[0], _PAGE):
                yield first, np.frombuffer(stream.read(_PAGE * 32), np.uint8).reshape(-1, 32)

    with Catalog(lists) as catalog:
        print(json.dumps([first + position for first, position, _ in catalog.join(pages)]))


def peers(python: str, folder: Path, many: Hashes, kinds: Sequence[str]) -> dict[str, Any]:
    """Return what faiss takes over the same hashes."""
    np.save(folder / "many.npy", many)
    np.save(folder / "queries.npy", hashes(2_000, seed=7))
    script = Path(__file__).with_name("known_peers.py")
    command = [python, str(script), str(folder), ",".join(kinds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hashes", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--files", action="store_true", help="the index's own files alone, without lists")
    parser.add_argument("--planted", type=int, default=330, help="queries whose answer is held against brute force")
    parser.add_argument("--lists", type=int, default=0, help="also put the hashes as so many lists one after another")
    parser.add_argument("--join", type=int, nargs="*", default=[], help="sizes of lists against the stored hashes")
    parser.add_argument("--stored", type=int, default=10_000_000)
    parser.add_argument("--peer", help="a Python that has faiss")
    parser.add_argument("--work", type=Path, help="folder for lists and hashes (default: a temporary one)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    parser.add_argument("--join-only", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.join_only:
        join_only(*options.join_only)
        return
    about = machine()
    print(machine_line(about))
    result: dict[str, Any] = {"benchmark": "known index", "machine": about, "rows": []}
    for count in options.hashes:
        many = hashes(count, seed=1)
        with tempfile.TemporaryDirectory(dir=options.work) as scratch:
            of = files_alone(Path(scratch) / "known", many, options.planted) if options.files else None
            row = of or measured(Path(scratch) / "known", many, options)
        if options.peer:
            with tempfile.TemporaryDirectory(dir=options.work) as scratch:
                row["peers"] = peers(
                    options.peer, Path(scratch), many, ("flat", "multihash") if count <= 1_000_000 else ("flat",)
                )
        if options.lists:
            with tempfile.TemporaryDirectory(dir=options.work) as scratch:
                row["many_lists"] = many_lists(Path(scratch) / "known", many, options.lists)
        print(json.dumps(row, indent=1), flush=True)
        result["rows"].append(row)
    if options.join:
        with tempfile.TemporaryDirectory(dir=options.work) as scratch:
            result["join"] = joined(Path(scratch), hashes(options.stored, seed=3), options.join)
    write_result("known-index", result, options.out)


if __name__ == "__main__":
    main()
