"""Mastodon announces new media by its webhook. Off until hosts are listed that may be fetched from."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from fedi_safety.clients.mastodon import MAX_BYTES, announced, signed
from fedi_safety.core.ledger.uploads import Told, UploadNote, UploadState
from fedi_safety.gate.backlog.writer import LedgerWriter
from fedi_safety.gate.body import read_small
from fedi_safety.gate.fetching import FetchError, Hosts
from fedi_safety.gate.responses import Refusal
from fedi_safety.judging import logs

log = logging.getLogger(__name__)

ANNOUNCED = "announced"
"""Why a medium that a webhook named is owed: nobody has looked at it yet."""

_BODY_S = 10.0


class MastodonHook:
    """`POST /webhooks/mastodon`: takes down what a new status carries, durably, to be judged at once."""

    def __init__(self, secret: str, hosts: Hosts, writer: LedgerWriter, hurry: Callable[[], None]) -> None:
        """Believe what is signed with `secret`; `hurry` has the backlog worked off without delay."""
        self._secret = secret
        self._hosts = hosts
        self._writer = writer
        self._hurry = hurry

    def routes(self) -> list[BaseRoute]:
        """Return the routes to mount at the root."""
        return [Route("/webhooks/mastodon", self._announce, methods=["POST"])]

    async def _announce(self, request: Request) -> Response:
        body = await read_small(request.stream(), max_bytes=MAX_BYTES, seconds=_BODY_S)
        if not signed(self._secret, body, request.headers.get("x-hub-signature")):
            raise Refusal(401, "bad_signature", "the signature is missing or wrong")
        media = announced(body)
        if media is None:
            raise Refusal(400, "bad_request", "this is no message of Mastodon's webhook")
        wanted = [medium for medium in media if self._listed(medium.url)]
        peer = None if request.client is None else request.client.host
        at = time.time()
        # The id comes from the address: Mastodon repeats a message until it is answered, and the medium is the same.
        notes = [
            UploadNote(
                hashlib.sha256(medium.url.encode()).hexdigest()[:32],
                at,
                "mastodon",
                UploadState.OWED,
                ANNOUNCED,
                "gate",
                url=medium.url,
                told=Told(peer, sighting=medium.sighting),
            )
            for medium in wanted
        ]
        writings = [asyncio.wrap_future(self._writer.enqueue_note(note)) for note in notes]
        for done in await asyncio.gather(*writings, return_exceptions=True):
            if isinstance(done, BaseException):
                raise Refusal(503, "ledger_failing", "the ledger cannot be written; send it again")
        if notes:
            self._hurry()
        logs.note("announced", id=logs.new_id(), media=len(notes), left_out=len(media) - len(notes) or None)
        return JSONResponse({"media": len(notes), "left_out": len(media) - len(notes)}, 202)

    def _listed(self, url: str) -> bool:
        try:
            self._hosts.check(url)
        except FetchError as error:
            log.warning("a new status' medium is left out: %s: %s", error.message, url)
            return False
        return True
