"""Endpoints for other servers than pict-rs: PieFed asks for a picture's PDQ hash, Mastodon announces new media.

Both are off until hosts are listed that may be fetched from. It judges nothing itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from fedi_safety.clients.mastodon import MAX_BYTES, media_urls, signed
from fedi_safety.core.errors import FediSafetyError, Unscannable
from fedi_safety.core.ports import Decoder
from fedi_safety.core.types import Decoded
from fedi_safety.gate.admission import Admission
from fedi_safety.gate.app import admitted, new_id
from fedi_safety.gate.backlog.writer import Book
from fedi_safety.gate.fetching import Fetcher, FetchError, Hosts
from fedi_safety.gate.responses import Refusal
from fedi_safety.judging import logs
from fedi_safety.ledger.uploads import UploadNote, UploadState

log = logging.getLogger(__name__)

ANNOUNCED = "announced"
"""Why a medium that a webhook named is owed: nobody has looked at it yet."""

_PDQ_AT_ONCE = 4
_HEAD_BYTES = 4096
_BODY_S = 10.0


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
        logs.note("hashed", id=new_id(), sender=caller.name, bytes=len(data), quality=quality)
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


class MastodonHook:
    """`POST /webhooks/mastodon`: takes down what a new status carries, durably, to be judged at once."""

    def __init__(self, secret: str, hosts: Hosts, book: Book, hurry: Callable[[], None]) -> None:
        """Believe what is signed with `secret`; `hurry` has the debt worked off without delay."""
        self._secret = secret
        self._hosts = hosts
        self._book = book
        self._hurry = hurry

    def routes(self) -> list[BaseRoute]:
        """Return the routes to mount at the root."""
        return [Route("/webhooks/mastodon", self._announce, methods=["POST"])]

    async def _announce(self, request: Request) -> Response:
        body = await _small_body(request)
        if not signed(self._secret, body, request.headers.get("x-hub-signature")):
            raise Refusal(401, "bad_signature", "the signature is missing or wrong")
        urls = media_urls(body)
        if urls is None:
            raise Refusal(400, "bad_request", "this is no message of Mastodon's webhook")
        wanted = [url for url in urls if self._listed(url)]
        at = time.time()
        # The id comes from the address: Mastodon repeats a message until it is answered, and the medium is the same.
        notes = [
            UploadNote(
                hashlib.sha256(url.encode()).hexdigest()[:32],
                at,
                "mastodon",
                UploadState.OWED,
                ANNOUNCED,
                "gate",
                url=url,
            )
            for url in wanted
        ]
        writings = [asyncio.wrap_future(self._book.write(note)) for note in notes]
        for done in await asyncio.gather(*writings, return_exceptions=True):
            if isinstance(done, BaseException):
                raise Refusal(503, "ledger_failing", "the ledger cannot be written; send it again")
        if notes:
            self._hurry()
        logs.note("announced", id=new_id(), media=len(notes), left_out=len(urls) - len(notes) or None)
        return JSONResponse({"media": len(notes), "left_out": len(urls) - len(notes)}, 202)

    def _listed(self, url: str) -> bool:
        try:
            self._hosts.check(url)
        except FetchError as error:
            log.warning("a new status' medium is left out: %s: %s", error.message, url)
            return False
        return True


async def _small_body(request: Request) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_S):
            async for piece in request.stream():
                size += len(piece)
                if size > MAX_BYTES:
                    raise Refusal(413, "too_large", f"more than {MAX_BYTES} bytes", close=True)
                pieces.append(piece)
    except TimeoutError:
        raise Refusal(408, "body_timeout", f"it did not arrive within {_BODY_S:g} s", close=True) from None
    return b"".join(pieces)
