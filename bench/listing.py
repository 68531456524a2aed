"""Listing a large bucket: this store's rate and memory beside the bare client library's, in turns.

The keys have the shape of a pict-rs before 0.5.7. They are laid under the S3 server as empty files, because uploading a
million objects would take an hour; the server lists them like any other. With `--kept` they stay for the next run.
With `--shards` the bucket is also cut by StartAfter into so many parts of as many keys, which processes list at once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bench.measure import Spread, machine, machine_line, write_result

from fedi_safety.config.schema import S3, Settings
from fedi_safety.stores import open_store
from support.servers.s3 import S3Server, client_of, s3_server


def older_keys(count: int) -> Iterator[str]:
    """Yield keys as older releases of pict-rs made them, 1,000 in a directory."""
    for at in range(count):
        number = at // 1000
        yield f"{number // 256:02x}/{number % 256:02x}/{number:06x}-{at % 1000:04d}-picture.jpg"


def filled(server: S3Server, name: str, count: int, keys: Callable[[int], Iterator[str]]) -> str:
    """Return the bucket with `count` empty objects, which are laid under the server unless they are there already."""
    bucket = f"{name}-{count}"
    complete = server.root.with_name(f"{bucket}.complete")
    if complete.exists():
        return bucket
    if not (server.root / bucket).exists():
        server.make_bucket(bucket)
    folder = None
    for key in keys(count):
        path = server.root / bucket / key
        if path.parent != folder:
            folder = path.parent
            folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
    complete.touch()
    return bucket


def kept_keys(options: argparse.Namespace) -> Path | None:
    """Return the folder in which the server's data stay, None if they go."""
    return None if options.kept is None else Path(options.kept) / "data"


def bare(server: S3Server, bucket: str) -> Iterator[object]:
    """Yield what botocore's own paginator lists."""
    for page in server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket):
        yield from page.get("Contents", [])


def ours(server: S3Server, bucket: str) -> Iterator[object]:
    """Yield what the store lists."""
    access = {"access_key_id": server.access_key, "secret_access_key": server.secret_key}
    store = open_store(f"s3://{bucket}", Settings(s3=S3.model_validate(access | {"endpoint": server.endpoint})))
    try:
        yield from store.list()
    finally:
        store.close()


def rate_of(listing: Callable[[], Iterator[object]]) -> tuple[int, float]:
    """Return how many keys came, and how many a second."""
    started = time.monotonic()
    count = sum(1 for _ in listing())
    return count, count / (time.monotonic() - started)


# --- shards


def bounds_of(keys: list[str], shards: int) -> list[str]:
    """Return after which keys so many shards of a listing begin and end; the last one ends with the bucket."""
    return ["", *(keys[len(keys) * number // shards - 1] for number in range(1, shards)), ""]


def shard_count(access: tuple[str, str, str], bucket: str, after: str, last: str) -> int:
    """List what comes after one key up to another with the bare client, in a process of its own; return how many."""
    client = client_of(*access)
    count = 0
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, StartAfter=after):
        keys = [entry["Key"] for entry in page.get("Contents", ())]
        if last and keys and keys[-1] >= last:
            return count + sum(1 for key in keys if key <= last)
        count += len(keys)
    client.close()
    return count


def sharded(server: S3Server, bucket: str, bounds: list[str]) -> tuple[int, float]:
    """List all shards at once, a process each; return how many keys came, and how many a second."""
    access = (server.endpoint, server.access_key, server.secret_key)
    with multiprocessing.get_context("spawn").Pool(len(bounds) - 1) as pool:
        pool.starmap(shard_count, [(access, bucket, bounds[0], "!")] * (len(bounds) - 1), 1)  # all are there and warm
        started = time.monotonic()
        found = pool.starmap(shard_count, [(access, bucket, a, b) for a, b in pairwise(bounds)], 1)
        taken = time.monotonic() - started
    return sum(found), sum(found) / taken


def by_shards(server: S3Server, bucket: str, count: int, cuts: list[int]) -> dict[str, Any]:
    """List the bucket cut into each of these numbers of shards; return the rates."""
    keys = sorted(older_keys(count))  # as S3 orders them: by their bytes
    rates: dict[str, Any] = {}
    for shards in cuts:
        found, rate = sharded(server, bucket, bounds_of(keys, shards))
        if found != count:
            raise SystemExit(f"{shards} shards listed {found:,} of {count:,} keys")
        rates[str(shards)] = round(rate, 1)
        first = rates[str(cuts[0])]
        print(f"{shards} shards: {found:,} keys, each once  {rate:,.0f} keys/s, {rate / first:.2f} times {cuts[0]}")
    return rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--no-bare", action="store_true", help="leave the bare client out, and the target with it")
    parser.add_argument(
        "--shards", type=int, nargs="+", default=[], metavar="N", help="also cut in so many, e.g. 1 2 4"
    )
    parser.add_argument("--kept", type=Path, help="folder in which the keys stay (default: a temporary one)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    about = machine()
    print(machine_line(about))
    rates: dict[str, list[float]] = {"bare client": [], "this store": []}
    shards: dict[str, Any] = {}
    with s3_server(kept_keys(options)) as server:
        bucket = filled(server, "large", options.keys, older_keys)
        rate_of(lambda: ours(server, bucket)) if options.keys <= 50_000 else None  # warm
        before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        for _ in range(options.rounds):
            for name, listing in (("this store", ours), ("bare client", bare))[: 1 if options.no_bare else 2]:
                count, rate = rate_of(lambda listing=listing: listing(server, bucket))  # type: ignore[misc]
                rates[name].append(rate)
                grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb
                print(
                    f"{name:12} {count:,} keys  {rate:,.0f} keys/s  peak memory of this process grew by {grown:.1f} MB"
                )
        if options.shards:
            shards = by_shards(server, bucket, options.keys, options.shards)
    if not options.no_bare:
        ratio = Spread(tuple(a / b for a, b in zip(rates["this store"], rates["bare client"], strict=True)))
        print(f"to the bare client {ratio.text()}   target 0.80: {'kept' if ratio.median >= 0.8 else 'MISSED'}")
    write_result("listing", {"machine": about, "keys": options.keys, "rates": rates, "shards": shards}, options.out)


if __name__ == "__main__":
    main()
