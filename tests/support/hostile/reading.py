"""Reads a request as the proxy does, in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fedi_safety.gate.memory import Memory
from fedi_safety.gate.proxy.media_type import content_type
from fedi_safety.gate.proxy.package import Package, take_in
from support.hostile.multipart import Request

_BYTES = 1 << 20


def read(request: Request, at_once: int = 0) -> Package:
    """Return what the proxy finds; `at_once` bytes come in one piece. Raises `Refusal`."""

    async def pieces() -> AsyncIterator[bytes]:
        size = at_once or len(request.body) or 1
        for start in range(0, len(request.body), size):
            yield request.body[start : start + size]

    async def main() -> Package:
        holding = Memory(4 * _BYTES, _BYTES).hold("somebody")
        return await take_in(pieces(), content_type(request.content_types), holding, max_bytes=_BYTES, seconds=10)

    return asyncio.run(main())
