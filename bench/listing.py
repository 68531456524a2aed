"""Listing a large bucket: this store's rate and memory beside the bare client library's, in turns.

The keys have the shape of a pict-rs before 0.5.7. They are laid under the S3 server as empty files, because uploading a
million objects would take an hour; the server lists them like any other. With `--kept` they stay for the next run.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bench.measure import Spread, machine, machine_line, write_result

from fedi_safety.config.schema import S3, Settings
from fedi_safety.stores import open_store
from support.servers.s3 import S3Server, s3_server


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--kept", type=Path, help="folder in which the keys stay (default: a temporary one)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    about = machine()
    print(machine_line(about))
    rates: dict[str, list[float]] = {"bare client": [], "this store": []}
    with s3_server(kept_keys(options)) as server:
        bucket = filled(server, "large", options.keys, older_keys)
        rate_of(lambda: ours(server, bucket)) if options.keys <= 50_000 else None  # warm
        before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        for _ in range(options.rounds):
            for name, listing in (("this store", ours), ("bare client", bare)):
                count, rate = rate_of(lambda listing=listing: listing(server, bucket))  # type: ignore[misc]
                rates[name].append(rate)
                grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb
                print(
                    f"{name:12} {count:,} keys  {rate:,.0f} keys/s  peak memory of this process grew by {grown:.1f} MB"
                )
    ratio = Spread(tuple(a / b for a, b in zip(rates["this store"], rates["bare client"], strict=True)))
    print(f"to the bare client {ratio.text()}   target 0.80: {'kept' if ratio.median >= 0.8 else 'MISSED'}")
    write_result("listing", {"machine": about, "keys": options.keys, "rates": rates}, options.out)


if __name__ == "__main__":
    main()
