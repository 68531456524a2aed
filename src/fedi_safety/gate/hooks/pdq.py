"""PieFed asks for a picture's PDQ hash. Off until hosts are listed that may be fetched from; it judges nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from fedi_safety.core.errors import FediSafetyError, Unscannable
from fedi_safety.core.ports import Decoder
from fedi_safety.core.types import Decoded
from fedi_safety.gate.admission import Admission
from fedi_safety.gate.app import admitted
from fedi_safety.gate.fetching import Fetcher, FetchError
from fedi_safety.gate.responses import Refusal
from fedi_safety.judging import logs

_PDQ_AT_ONCE = 4
_HEAD_BYTES = 4096


class PdqHook:
    """`GET /pdq?image_url=`: fetches a picture from a listed host and returns its PDQ hash, as PieFed expects it."""

    def __init__(self, admission: Admission, fetcher: Fetcher, decoder: Callable[[], Decoder | None]) -> None:
        """Answer those whom `admission` lets in; `decoder` is None while it is not there yet."""
        self._admission = admission
        self._fetcher = fetcher
        self._decoder = decoder
        self._busy = 0

    def routes(self) -> list[BaseRoute]:
        """Return the routes to mount at the root."""
        return [Route(path, self._pdq, methods=["GET"]) for path in ("/pdq", "/pdq/{token}")]

    async def _pdq(self, request: Request) -> Response:
        caller = admitted(self._admission, request)
        url = request.query_params.get("image_url")
        if not url:
            raise Refusal(400, "bad_request", "image_url is missing")
        if self._busy >= _PDQ_AT_ONCE:
            raise Refusal(429, "busy", "too many pictures are being hashed")
        decoder = self._decoder()
        if decoder is None:
            raise Refusal(503, "models_loading", "the gate is not ready yet")
        self._busy += 1
        try:
            data = await self._fetcher.get(url)
            quality, bits = await asyncio.to_thread(_hash, decoder, data)
        except FetchError as error:
            if error.forbidden:
                raise Refusal(403, "forbidden_url", error.message) from None
            raise Refusal(502, "fetch_failed", error.message) from None
        except Unscannable as error:
            raise Refusal(422, "not_decodable", error.reason.value) from None
        except FediSafetyError as error:
            raise Refusal(503, "engine_failed", error.cause) from None
        finally:
            self._busy -= 1
        logs.note("hashed", id=logs.new_id(), sender=caller.name, bytes=len(data), quality=quality)
        return JSONResponse({"quality": quality, "pdq_hash_binary": bits})


def _hash(decoder: Decoder, data: bytes) -> tuple[int, str]:
    decoded = decoder.decode(data, decoder.sniff(data[:_HEAD_BYTES]))
    return _pdq_of(decoded)


def _pdq_of(decoded: Decoded) -> tuple[int, str]:
    import numpy as np

    from fedi_safety.detectors.known.pdq import pdq

    frame = decoded.frames[0]
    bits, quality = pdq(np.frombuffer(frame.rgb, np.uint8).reshape(frame.height, frame.width, 3))
    return quality, "".join("1" if bit else "0" for bit in bits)
