"""Pages of another room beside the gate: their sessions and error pages are their own, and no upload meets them."""

from __future__ import annotations

import secrets
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from support.serving import RED_CIRCLE, gate


class Sessions:
    """A session by a cookie, in memory, as pages would bring it."""

    seen: list[str]

    def __init__(self, app: ASGIApp, seen: list[str]) -> None:
        self._app = app
        self._seen = seen
        self._visits: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        self._seen.append(request.url.path)
        session = request.cookies.get("session") or secrets.token_hex(8)
        self._visits[session] = self._visits.get(session, 0) + 1
        scope["session"], scope["visits"] = session, self._visits[session]
        await self._app(scope, receive, send)


async def page(request: Request) -> Response:
    response = HTMLResponse(f"<p>visit {request.scope['visits']}</p>")
    response.set_cookie("session", request.scope["session"], path="/pages", httponly=True, samesite="strict")
    return response


async def missing(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return HTMLResponse("<p>no such page</p>", error.status_code)


def test_pages_are_mounted_beside_the_gate(tmp_path: Path) -> None:
    seen: list[str] = []
    pages = Starlette(
        routes=[Route("/", page)], middleware=[Middleware(Sessions, seen=seen)], exception_handlers={404: missing}
    )
    with gate(tmp_path, extra_routes=[Mount("/pages", app=pages)]) as g:
        first = g.get("/pages/")
        assert (first.status, first.body) == (200, b"<p>visit 1</p>")
        cookie = first.headers["set-cookie"].split(";")[0]
        assert g.request("GET", "/pages/", headers={"Cookie": cookie}).body == b"<p>visit 2</p>"
        assert (g.get("/pages/none").status, g.get("/pages/none").body) == (404, b"<p>no such page</p>")
        # The gate's own endpoints are as they were, and nothing of the pages stands before them.
        assert g.upload(RED_CIRCLE).code == "block"
        assert g.get("/healthz").json == {"status": "alive"}
        assert g.get("/none").json["code"] == "not_found"
        assert set(seen) == {"/pages/", "/pages/none"}
