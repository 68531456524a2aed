"""A large bucket on a real S3 server in parts, as a sweep lists it: every key is in exactly one of them.

`./dev soak bucket` lists 1,000,000 generated keys in directories, and fewer of those that the server lists slowly: by
time, ten directories each, and without any directory; a run of the tests some thousands.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random

import pytest

from fedi_safety.app.ledger import SystemClock
from fedi_safety.app.sweep.messages import Shard
from fedi_safety.app.sweep.parts import PartOfStore, cut
from fedi_safety.config.schema import S3
from fedi_safety.core.keys import KeyRange, key_bytes
from fedi_safety.core.types import Object
from fedi_safety.stores.s3.store import S3Store, open_s3
from support.needs import needs
from support.servers.s3 import S3Server, s3_server, timed_key
from support.share import Share

pytestmark = [pytest.mark.long, pytest.mark.needs("s3")]

PARTS = 16
DAYS = 500  # over which what is stored by time was uploaded
UNEVEN = 4  # times the mean, that a part may have at most
AGAIN = 0.2  # of what is left of a part is parted once more, as is done where workers have nothing to do


def in_directories(count: int, _draw: Random) -> Iterator[str]:
    """Yield keys as a server makes them that counts its uploads, a thousand in a directory."""
    for at in range(count):
        yield f"{at // 256000:02x}/{at // 1000 % 256:02x}/{at:08x}-picture.jpg"


def by_time(count: int, draw: Random) -> Iterator[str]:
    """Yield keys as pict-rs >= 0.5.7 makes them, from a year and a half ago until now."""
    now = time.time()
    for number in range(count):
        yield timed_key(now - draw.random() * DAYS * 86400, number)


def flat(count: int, draw: Random) -> Iterator[str]:
    """Yield keys without any directory, and such that are one another's beginning."""
    for number in range(count):
        name = f"{draw.getrandbits(64):016x}"
        yield name if number % 50 else f"{name[:4]}{number:x}"


@pytest.fixture(scope="module")
@needs("s3")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


def filled(server: S3Server, bucket: str, keys: Iterator[str]) -> list[bytes]:
    """Lay empty objects under the server, which lists them as any other; return their keys as S3 orders them."""
    server.make_bucket(bucket)
    made: set[str] = set()
    folder = None
    for key in keys:
        path = f"{server.root}/{bucket}/{key}"
        if (parent := path.rpartition("/")[0]) != folder:
            folder = parent
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - a million of them
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
        made.add(key)
    return sorted(map(key_bytes, made))


def swept(store: S3Store, draw: Random, most: int) -> tuple[list[bytes], list[int]]:
    """List a bucket in parts, as the driver of a sweep and its workers do; return the keys, and each part's number.

    What is left of a part after so many objects goes to whoever is next, and is parted again by chance.
    """
    first = cut(store, KeyRange(), PARTS)
    todo = deque(enumerate(first))
    found: list[list[bytes]] = [[] for _ in first]
    while todo:
        number, shard = todo.popleft()
        assert shard.parted
        within = shard.within
        part = PartOfStore(store, Shard(within, most=most), SystemClock())
        keys = [key_bytes(item.key) for item in part.list() if isinstance(item, Object)]
        assert all(within.holds(key) for key in keys)
        found[number] += keys
        if part.rest is not None:
            again = cut(store, part.rest, 2) if draw.random() < AGAIN else [Shard(part.rest)]
            todo.extend((number, rest) for rest in again)
    return [key for keys in found for key in keys], [len(keys) for keys in found]


@pytest.mark.parametrize(
    ("shape", "some", "all_"),
    [(in_directories, 4000, 1_000_000), (by_time, 1000, 50_000), (flat, 2000, 20_000)],
    ids=["in directories", "by time", "flat"],
)
def test_every_key_of_a_large_bucket_is_in_exactly_one_part(
    server: S3Server, share: Share, shape: Callable[[int, Random], Iterator[str]], some: int, all_: int
) -> None:
    count = share.of(some, all_)
    draw = Random(f"{share.seed} {shape.__name__}")
    bucket = shape.__name__.replace("_", "-")
    keys = filled(server, bucket, shape(count, draw))
    access = {"access_key_id": server.access_key, "secret_access_key": server.secret_key}
    store = open_s3(f"s3://{bucket}", S3.model_validate(access | {"endpoint": server.endpoint}))
    began = time.monotonic()
    try:
        listed, sizes = swept(store, draw, share.of(400, 10_000))
    finally:
        store.close()
    taken = time.monotonic() - began
    listed.sort()  # what is left of a part may have been listed after what follows it
    assert all(one != next_ for one, next_ in pairwise(listed)), "a key is in two parts"
    assert listed == keys
    assert len(sizes) >= PARTS // 2 and max(sizes) <= UNEVEN * len(keys) / PARTS, sizes
    line = f"{len(keys)} keys {bucket}: each in one of {len(sizes)} parts, the largest {max(sizes)}; {taken:.0f} s"
    share.figure(line)
    if share.full:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
