"""Compares S3 client libraries on one local server: listing, and GETs of picture-sized objects, with processor time.

Run it as `python bench/s3_clients.py [--keys 5000] [--objects 400]` with obstore and aiobotocore installed beside
botocore. It starts the tests' server, which shares the machine: the ratios mean something, the rates less.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from fedi_safety.config.schema import S3  # noqa: E402
from fedi_safety.core.types import Object  # noqa: E402
from fedi_safety.stores.s3.store import open_s3  # noqa: E402
from support.servers.s3 import REGION, S3Server, client_of, s3_server  # noqa: E402

_BYTES = 250_000
_CONCURRENCY = 8
Work = Callable[[], int]


def main() -> None:
    """Measure each library and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=5000)
    parser.add_argument("--objects", type=int, default=400)
    chosen = parser.parse_args()
    with s3_server() as server:
        server.make_bucket("keys")
        server.put_files("keys", [f"{i // 100:04d}/{i:07d}" for i in range(chosen.keys)])
        server.make_bucket("pictures")
        for i in range(chosen.objects):
            server.put("pictures", f"{i:06d}", os.urandom(_BYTES))
        works = {**_botocore(server), **_ours(server), **_obstore(server), **_aiobotocore(server)}
        figures = {name: _measured(work) for name, work in works.items()}
    print(json.dumps({"server": server.name, "object_bytes": _BYTES, "concurrency": _CONCURRENCY, **figures}, indent=2))


def _measured(work: Work) -> dict[str, float]:
    """Time a work twice and keep the better run: the first one warms connections and the server's caches."""
    runs = []
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        count = work()
        runs.append((time.perf_counter() - wall, time.process_time() - cpu, count))
    wall, cpu, count = min(runs)
    return {"per_s": round(count / wall, 1), "cpu_ms_each": round(cpu / count * 1000, 3)}


def _in_threads(read: Callable[[str], int], names: list[str]) -> int:
    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        assert sum(pool.map(read, names)) == _BYTES * len(names)
    return len(names)


def _names(server: S3Server) -> list[str]:
    # The server keeps a hidden directory of its own beside the objects.
    return [p.name for p in sorted((server.root / "pictures").glob("0*"))]


def _botocore(server: S3Server) -> dict[str, Work]:
    client = client_of(server.endpoint, server.access_key, server.secret_key)

    def listing() -> int:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="keys")
        return sum(len(page["Contents"]) for page in pages)

    def read(name: str) -> int:
        return len(client.get_object(Bucket="pictures", Key=name)["Body"].read())

    return {"botocore list": listing, "botocore get": lambda: _in_threads(read, _names(server))}


def _ours(server: S3Server) -> dict[str, Work]:
    access = S3.model_validate(
        {
            "access_key_id": server.access_key,
            "secret_access_key": server.secret_key,
            "endpoint": server.endpoint,
        }
    )
    keys, pictures = open_s3("s3://keys", access), open_s3("s3://pictures", access)
    objects = {item.key: item for item in pictures.list() if isinstance(item, Object)}

    def read(name: str) -> int:
        return len(pictures.fetch(objects[name], len))

    return {
        "fedi-safety list": lambda: sum(1 for _ in keys.list()),
        "fedi-safety get": lambda: _in_threads(read, list(objects)),
    }


def _obstore(server: S3Server) -> dict[str, Work]:
    obstore: Any = importlib.import_module("obstore")
    store_of = importlib.import_module("obstore.store").S3Store

    def store(bucket: str) -> Any:
        return store_of(
            bucket,
            endpoint=server.endpoint,
            access_key_id=server.access_key,
            secret_access_key=server.secret_key,
            region=REGION,
            client_options={"allow_http": True},
        )

    keys, pictures = store("keys"), store("pictures")

    def read(name: str) -> int:
        return len(obstore.get(pictures, name).bytes())

    return {
        "obstore list": lambda: sum(len(page) for page in obstore.list(keys, chunk_size=1000)),
        "obstore get": lambda: _in_threads(read, _names(server)),
    }


def _aiobotocore(server: S3Server) -> dict[str, Work]:
    session = importlib.import_module("aiobotocore.session").get_session()

    def client() -> Any:
        return session.create_client(
            "s3",
            region_name=REGION,
            endpoint_url=server.endpoint,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
        )

    async def listing() -> int:
        async with client() as s3:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket="keys")
            return sum([len(page["Contents"]) async for page in pages])

    async def reading() -> int:
        names = _names(server)
        room = asyncio.Semaphore(_CONCURRENCY)
        async with client() as s3:

            async def read(name: str) -> int:
                async with room:
                    answer = await s3.get_object(Bucket="pictures", Key=name)
                    async with answer["Body"] as body:
                        return len(await body.read())

            assert sum(await asyncio.gather(*map(read, names))) == _BYTES * len(names)
        return len(names)

    return {"aiobotocore list": lambda: asyncio.run(listing()), "aiobotocore get": lambda: asyncio.run(reading())}


if __name__ == "__main__":
    main()
