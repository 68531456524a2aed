"""Sends uploads as pict-rs does: one request each, chunked, at given moments or from a number of uploaders."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 64 << 10
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What one upload got. `at` is when it was due, `seconds` from then to the answer: waiting to be sent counts."""

    at: float
    seconds: float
    status: int  # 0: no answer
    code: str


def unlike(data: bytes, number: int) -> bytes:
    """Return the same picture as another content: a comment is added, as every upload of a busy server is its own."""
    mark = b"bench %016d" % number
    if data.startswith(b"\xff\xd8"):
        return data[:2] + b"\xff\xfe" + struct.pack(">H", len(mark) + 2) + mark + data[2:]
    if data.startswith(b"\x89PNG"):
        body = b"tEXt" + b"Comment\0" + mark
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:33] + chunk + data[33:]
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        more = b"benc" + struct.pack("<I", len(mark)) + mark + b"\0" * (len(mark) % 2)
        return data[:4] + struct.pack("<I", len(data) - 8 + len(more)) + data[8:] + more
    raise ValueError("no such picture in the corpus")


class Pictures:
    """The corpus in memory; every picture that it gives is a content of its own."""

    def __init__(self, folder: Path) -> None:
        """Read all files of a folder."""
        self._files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
        self._given = self._at = 0

    @property
    def mean_bytes(self) -> float:
        """Return the mean size."""
        return sum(map(len, self._files)) / len(self._files)

    def next(self) -> bytes:
        """Return another one."""
        self._given += 1
        self._at += 1
        return unlike(self._files[self._at * 61 % len(self._files)], self._given)

    def begin_at(self, place: int) -> None:
        """Give the pictures from this place of their order on: the same ones as after it before, as other contents."""
        self._at = place


async def send(port: int, data: bytes, at: float) -> Reply:
    """Send one upload and wait for its answer."""
    status, code = 0, ""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(
                    b"POST /api/v1/scan/IPADDR HTTP/1.1\r\nHost: gate\r\nContent-Type: image/jpeg\r\n"
                    b"User-Agent: pict-rs v0.5.0-main\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                )
                for start in range(0, len(data), _CHUNK):
                    part = data[start : start + _CHUNK]
                    writer.write(b"%x\r\n" % len(part) + part + b"\r\n")
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
                answer = await reader.read()
            finally:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        code = str(json.loads(body).get("code", ""))
    except (OSError, TimeoutError, ValueError, IndexError) as error:
        code = type(error).__name__
    return Reply(at, time.monotonic() - at, status, code)


def arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Yield moments at which uploads come, on the mean `rate` a second and independent of each other (Poisson)."""
    source = random.Random(seed)
    at = source.expovariate(rate)
    while at < seconds:
        yield at
        at += source.expovariate(rate)


async def offer(port: int, pictures: Pictures, moments: Sequence[float]) -> list[Reply]:
    """Send an upload at each of these moments, whether or not the ones before were answered."""
    start = time.monotonic()
    sent: list[asyncio.Task[Reply]] = []
    for moment in moments:
        await asyncio.sleep(max(0.0, start + moment - time.monotonic()))
        sent.append(asyncio.create_task(send(port, pictures.next(), start + moment)))
    return list(await asyncio.gather(*sent))


async def press(port: int, pictures: Pictures, uploaders: int, seconds: float) -> list[Reply]:
    """Have a number of uploaders send one after another for a while."""
    until = time.monotonic() + seconds
    replies: list[Reply] = []

    async def one() -> None:
        while time.monotonic() < until:
            replies.append(await send(port, pictures.next(), time.monotonic()))

    await asyncio.gather(*(one() for _ in range(uploaders)))
    return replies
