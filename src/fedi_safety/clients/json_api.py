"""A server's JSON API, asked with a token over HTTP: one bounded question, and typed errors that repeat no credential.

It knows no server. It follows no redirect, so that the token goes nowhere else, and tries nothing twice.
"""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from fedi_safety.core.errors import ApiError, printable
from fedi_safety.core.notices.access import ACCESS

__all__ = ["MAX_BYTES", "ApiError", "JsonApi", "fits_header"]  # who asks catches as well

MAX_BYTES = 8 << 20
_MOST_CODE = 120  # characters of what a server calls its error
_CONNECT_S = 10.0


def fits_header(token: str) -> bool:
    """Whether a token can be sent at all."""
    return bool(token) and token.isascii() and token.isprintable()


class JsonApi:
    """The API of one server. May be used from several threads."""

    def __init__(
        self,
        root: str,
        name: str,
        token: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        accepts: bool = True,
    ) -> None:
        """Take the server's address without a trailing slash, its `name` for messages, and a token; nothing is sent.

        `accepts`: a server of this kind answers nothing well that comes with a token which it does not know. Raises
        `ApiError` for a token that no header can carry.
        """
        self.root = root
        self.name = name
        self.about = f"API of {name} at {urlsplit(root).hostname}"
        self._has_token = token is not None
        self._accepts = accepts and token is not None
        if token is not None and not fits_header(token):
            raise ApiError(
                f"API of {name}", "the token has characters that no header can carry", "copy it anew, without line ends"
            )
        self._http = httpx.Client(
            base_url=root,
            headers={"Accept": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"}),
            verify=ssl.create_default_context(),
            trust_env=False,
            transport=transport,
        )
        if logging.getLogger("httpx").level == logging.NOTSET:
            logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for every request

    def ask(
        self,
        method: str,
        path: str,
        *,
        within_s: float,
        params: Mapping[str, str | int | bool] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return what a 2xx answer has in its body, None for an empty one. `body` is sent as JSON.

        Raises `ApiError` for everything else, and for an answer that is not there within `within_s` seconds.
        """
        until = time.monotonic() + within_s
        timeout = httpx.Timeout(max(within_s, 0.001), connect=max(min(within_s, _CONNECT_S), 0.001), pool=None)
        try:
            with self._http.stream(method, path, params=params, json=body, timeout=timeout) as response:
                text = self._read(response, until)
        except httpx.TimeoutException:
            raise self._error(f"no answer within {within_s:.3g} s", "look whether the server is busy") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as error:
            # Of the text nothing: it may repeat what was sent.
            raise self._error(
                f"it cannot be reached ({type(error).__name__})", "check that it runs, and the address"
            ) from None
        return self._answer(response, text)

    def status(self, path: str, *, within_s: float) -> int:
        """Return the status alone that a GET is answered with; nothing of its body is read. Raises `ApiError`."""
        try:
            with self._http.stream("GET", path, timeout=httpx.Timeout(max(within_s, 0.001))) as response:
                return response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise self._error(
                f"it cannot be reached ({type(error).__name__})", "check that it runs, and the address"
            ) from None

    def _read(self, response: httpx.Response, until: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > MAX_BYTES:
                raise self._error(
                    f"it answers with more than {MAX_BYTES >> 20} MiB",
                    "check the address: something else may answer there",
                )
            if time.monotonic() > until:
                raise httpx.ReadTimeout("the whole answer takes too long")
        return b"".join(parts)

    def _answer(self, response: httpx.Response, text: bytes) -> Any:
        status = response.status_code
        if response.has_redirect_location:
            raise self._error("it redirects elsewhere", "give the address that it redirects to", status)
        try:
            found = json.loads(text) if text.strip() else None
        except (ValueError, RecursionError):
            found = text
        if 200 <= status < 300:
            if self._accepts:
                ACCESS.accepted(self.about)
            if isinstance(found, bytes):
                kind = printable(response.headers.get("content-type", "nothing").partition(";")[0][:_MOST_CODE])
                raise self._error(
                    f"it does not answer with JSON but with {kind}",
                    "check the address: something else may answer there",
                    status,
                )
            return found
        code = _code(found)
        if status == 401:
            error = self._error("it does not accept the token", "make a new token", status, code)
            raise ACCESS.refused(self.about, error.cause, error) if self._has_token else error
        if status == 403:
            raise self._error(
                "the token may not do this", "check the token's scopes and its account's role", status, code
            )
        if status == 429:
            raise self._error("it is asked too often", "it is tried again later", status, code)
        said = f" ({code})" if code else ""
        raise self._error(f"it answered {status}{said}", "see its log" if status >= 500 else "", status, code)

    def _error(self, cause: str, remedy: str, status: int | None = None, code: str = "") -> ApiError:
        return ApiError(f"API of {self.name}", cause, remedy, status=status, code=code)

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._http.close()


def _code(found: Any) -> str:
    """Return what a server calls its error: Mastodon and Lemmy say it as text, Misskey as a code in an object."""
    error = found.get("error") if isinstance(found, dict) else None
    if isinstance(error, dict):
        error = error.get("code")
    return printable(error)[:_MOST_CODE] if isinstance(error, str) else ""
