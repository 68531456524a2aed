"""What a client is told when its request is not handed on, in the words and the form of the server behind the gate.

Never which rule: whoever tries pictures out learns nothing. Pure.
"""

from __future__ import annotations

import json
from email.utils import formatdate
from html import escape
from typing import Any
from uuid import UUID, uuid5

from starlette.responses import Response

from fedi_safety.gate.proxy.kinds import Shape
from fedi_safety.gate.responses import RETRY_AFTER_S

UNCHECKED = "This file could not be checked. Please try again later."
"""What is said of an upload that could not be judged, where the policy refuses that."""

REFUSED, UNJUDGED = "refused", "unjudged"
"""The codes of a refusal by a verdict, and of one because there was none."""

_TEXTS = {
    "too_large": "This file is too large.",
    "too_many": "These are too many files at once.",
    "ambiguous": "This request can be read in two ways.",
    "bad_multipart": "This form is not well-formed.",
    "packed": "Send it without Content-Encoding.",
    "body_timeout": "It took too long to arrive.",
    "busy": "Too many files are being checked. Please try again later.",
    "upstream_down": "The server cannot be reached. Please try again later.",
    "upstream_slow": "The server did not answer in time. Please try again later.",
    "upstream_garbage": "The server's answer makes no sense.",
    "websocket": "WebSockets do not go this way.",
    "loop": "This request goes round in circles.",
    "forbidden": "You may not send anything here.",
    "internal": "Something went wrong.",
}
# What a verdict's refusal has for a status: what the server's own clients take for "this file is not accepted".
_STATUS = {Shape.MISSKEY: 400, Shape.PIEFED: 400, Shape.LEMMY: 400}
# Misskey's clients tell errors by a fixed id: this is its own for such a file (drive/files/create), others are ours.
_INAPPROPRIATE = "bec5bd69-fba3-43c9-b4fb-2894b66ad5d2"
_IDS = UUID("8f7c1d3e-6a0b-4a44-9f0e-0d6a3f5b2c11")


def refusal(
    shape: Shape, code: str, *, status: int | None = None, text: str | None = None, upload: str = ""
) -> Response:
    """Return an answer of the server's own form. Without a `status` it is what refuses a file there."""
    said = text or _TEXTS.get(code, _TEXTS["internal"])
    number = status or _STATUS.get(shape, 422)
    headers = {"Cache-Control": "no-store", "Date": formatdate(usegmt=True)}
    if upload:
        headers["X-Request-Id"] = upload
    if number == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if shape is Shape.PAGE:
        headers["Content-Security-Policy"] = "default-src 'none'"
        return Response(_page(said), number, headers, "text/html; charset=utf-8")
    kind = "application/problem+json" if shape is Shape.MBIN else "application/json"
    return Response(json.dumps(_object(shape, code, said, number)), number, headers, kind)


def _object(shape: Shape, code: str, said: str, status: int) -> dict[str, Any]:
    match shape:
        case Shape.MISSKEY:
            kind = "server" if status >= 500 else "client"
            word, own = ("INAPPROPRIATE", _INAPPROPRIATE) if code == REFUSED else (code.upper(), str(uuid5(_IDS, code)))
            return {"error": {"message": said, "code": word, "id": own, "kind": kind}}
        case Shape.PIXELFED:
            return {"error": said, "message": said}
        case Shape.PIEFED:
            return {"code": status, "message": said, "status": "Bad Request" if status == 400 else "Error"}
        case Shape.MBIN:
            return {"type": "about:blank", "title": "An error occurred", "status": status, "detail": said}
        case Shape.LEMMY:
            return {"error": code, "message": said}
        case _:
            return {"error": said}


def _page(said: str) -> str:
    head = '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Not accepted</title>'
    return f"{head}\n<p>{escape(said)}</p></html>\n"


def shape_for(kind_shape: Shape, route_shape: Shape | None, accept: str) -> Shape:
    """Return the form for one request: a page for a browser that sent a form, the server's own for its clients."""
    shape = route_shape or kind_shape
    first = accept.partition(",")[0].partition(";")[0].strip().lower()
    if first in ("text/html", "application/xhtml+xml"):
        return Shape.PAGE
    if shape is Shape.PAGE and "json" in accept.lower():
        return Shape.ANY
    return shape
