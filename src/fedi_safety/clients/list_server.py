"""HTTP as those who publish lists of hashes speak it: one bounded answer into a file, unpacked by whoever reads it.

It knows no publisher. What is packed stays packed: an answer that unpacks to more than a machine has is found out by
whoever reads it. Credentials go to the address that they are for, never over a connection that can be read.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from fedi_safety import __version__
from fedi_safety.core.errors import KnownError, KnownUsageError
from fedi_safety.core.notices.access import ACCESS

MOST_BYTES = 1 << 30
"""The largest answer, as it comes."""

TRIES = 4
_PAUSE_S = 1.0  # doubled with every try
_LONGEST_PAUSE_S = 30.0  # who asks to wait for longer is asked again by the next fetch
_ANSWER_S = 1800.0
_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_REDIRECTS = 5
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ListServerError(KnownError):
    """A publisher of lists cannot be reached, or did not answer as it was asked. `retry_s`: after so long it may."""

    def __init__(self, thing: str, cause: str, remedy: str = "", *, retry_s: float = 0.0) -> None:
        """Keep when to ask again besides the message."""
        self.retry_s = retry_s
        super().__init__(thing, cause, remedy)


class ListServerUsageError(ListServerError, KnownUsageError):
    """A publisher of lists was asked for what it does not have, or not for whoever asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose body lies in a file. `changed` is false where there is none, for it is as it was."""

    file: Path
    headers: Mapping[str, str]
    changed: bool = True


class ListServer:
    """Asks publishers of lists. One instance for one source; used by one thread."""

    def __init__(
        self,
        name: str,
        *,
        transport: httpx.BaseTransport | None = None,
        pause_s: float = _PAUSE_S,
        said: str | None = None,
        where: str = "[[known.sources]]",
    ) -> None:
        """Take the source's name, for messages what it `said` to be and `where` it was given; nothing is sent."""
        self.name = name
        self._said = said or f"source {name}"
        self._where = where
        self._pause_s = pause_s
        self._http = httpx.Client(
            timeout=_TIMEOUT,
            verify=ssl.create_default_context(),
            transport=transport,
            headers={"User-Agent": f"fedi-safety/{__version__}", "Accept-Encoding": "gzip"},
        )
        if logging.getLogger("httpx").level == logging.NOTSET:
            logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for every request

    def __enter__(self) -> ListServer:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._http.close()

    def ask(
        self,
        url: str,
        to: Path,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        secret: Mapping[str, str] | None = None,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        redirects: bool = False,
        most_bytes: int = MOST_BYTES,
    ) -> Answer:
        """Bring the answer to a GET, or to a POST of `body` as JSON or of a `form`, into the file `to`.

        `secret` are headers with credentials; they, and what is posted, follow no redirect to another host. What may
        pass (429, 5xx, a connection that broke) is tried again. Raises `ListServerError`.
        """
        self._check(url, secret, posted=body is not None or form is not None)
        request = _Request(url, params, {**(headers or {})}, {**(secret or {})}, body, form)
        pause_s = self._pause_s
        for left in reversed(range(TRIES)):
            try:
                return self._once(request, to, redirects=redirects, most_bytes=most_bytes)
            except httpx.InvalidURL:
                raise self._usage("the address is none", f"check its url in {self._where}") from None
            except _Again as again:
                if not left or again.wait_s > _LONGEST_PAUSE_S:
                    raise self._error(again.cause, again.remedy, retry_s=again.wait_s) from None
                time.sleep(min(max(pause_s, again.wait_s), _LONGEST_PAUSE_S))
            pause_s *= 2
        raise AssertionError("unreachable")

    def _once(self, request: _Request, to: Path, *, redirects: bool, most_bytes: int) -> Answer:
        for _ in range(1 + _REDIRECTS):
            try:
                response = self._http.send(request.built(self._http), stream=True)
            except httpx.TransportError as error:
                raise self._unreachable(error) from None
            try:
                if not (redirects and response.has_redirect_location):
                    return self._taken(response, to, most_bytes, secret=bool(request.secret))
            finally:
                response.close()
            following = str(response.url.join(response.headers["location"]))
            if urlsplit(request.url).scheme == "https" and urlsplit(following).scheme != "https":
                raise self._error("it redirects to an address without encryption", "check its address")
            elsewhere = urlsplit(following)[:2] != urlsplit(request.url)[:2]
            if elsewhere and request.posted:
                raise self._usage("it redirects elsewhere", "give the address that it redirects to")
            secret = {} if elsewhere else request.secret
            request = replace(request, url=following, params=None, secret=secret)
        raise self._error("too many redirects", "check its address")

    def _taken(self, response: httpx.Response, to: Path, most_bytes: int, *, secret: bool) -> Answer:
        """Write an answer's body as it comes. Raises what its status means."""
        status = response.status_code
        if status == 304:
            if secret:
                ACCESS.accepted(self._said)
            return Answer(to, response.headers, changed=False)
        if not 200 <= status < 300:
            raise self._refusal(response)
        if secret:
            ACCESS.accepted(self._said)
        packing = response.headers.get("content-encoding", "identity").strip().lower()
        if packing not in ("identity", "gzip", "x-gzip", ""):
            raise self._error("its answer is packed in a way that was not asked for", "see whether a proxy answers")
        until = time.monotonic() + _ANSWER_S
        size = 0
        try:
            with to.open("wb") as file:
                for piece in response.iter_raw():
                    size += len(piece)
                    if size > most_bytes:
                        raise self._error(f"its answer has more than {most_bytes:,} bytes", "check its address")
                    if time.monotonic() > until:
                        raise self._error(f"its answer takes longer than {_ANSWER_S:.0f} s", "try again later")
                    file.write(piece)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        length = response.headers.get("content-length", "")
        if length.isdigit() and int(length) != size:
            raise _Again("its answer was cut off", "try again later")
        return Answer(to, response.headers)

    def _check(self, url: str, secret: Mapping[str, str] | None, *, posted: bool) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise self._usage("the address is no http address", "write it as https://host/...")
        if parts.username is not None or parts.password is not None:
            raise self._usage("its address has a user in it", "give credentials_file or credentials_variable instead")
        if (secret or posted) and parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise self._usage("credentials would be sent unencrypted", "write its address with https")
        if secret and not all(value.isascii() and value.isprintable() for value in secret.values()):
            raise self._usage("its credentials have characters that no header can carry", "copy them anew")

    def _refusal(self, response: httpx.Response) -> ListServerError | _Again:
        """Say what a status other than success means. Nothing of the answer is repeated."""
        status = response.status_code
        if status in (401, 403):
            error = self._usage(f"it does not accept the credentials ({status})", "check them, and what they are for")
            return ACCESS.refused(self._said, error.cause, error)
        if status in (404, 410):
            return self._usage(f"there is nothing at this address ({status})", f"check its url in {self._where}")
        if status == 429:
            return _Again("it asks to slow down (429)", "it is tried again later", _retry_after(response))
        if status >= 500:
            return _Again(f"it answered {status}", "try again later", _retry_after(response))
        if response.has_redirect_location:
            return self._usage("it redirects elsewhere", "give the address that it redirects to")
        return self._error(f"it answered {status}", f"check its url in {self._where}")

    def _unreachable(self, error: httpx.TransportError) -> ListServerError | _Again:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return self._error("its certificate is not trusted", "check the address and this machine's clock")
        said = "no answer in time" if isinstance(error, httpx.TimeoutException) else type(error).__name__
        return _Again(f"it cannot be reached ({said})", "check the network and its address")

    def _error(self, cause: str, remedy: str, *, retry_s: float = 0.0) -> ListServerError:
        return ListServerError(self._said, cause, remedy, retry_s=retry_s)

    def _usage(self, cause: str, remedy: str) -> ListServerUsageError:
        return ListServerUsageError(self._said, cause, remedy)


@dataclass(frozen=True, slots=True)
class _Request:
    url: str
    params: Mapping[str, str] | None
    headers: Mapping[str, str]
    secret: Mapping[str, str]
    body: Any
    form: Mapping[str, str] | None

    @property
    def posted(self) -> bool:
        return self.body is not None or self.form is not None

    def built(self, http: httpx.Client) -> httpx.Request:
        headers = {**self.headers, **self.secret}
        if not self.posted:
            return http.build_request("GET", self.url, params=self.params, headers=headers)
        return http.build_request("POST", self.url, json=self.body, data=self.form, headers=headers)


class _Again(Exception):
    """What may pass when it is tried again, after `wait_s` seconds at least."""

    def __init__(self, cause: str, remedy: str, wait_s: float = 0.0) -> None:
        self.cause = cause
        self.remedy = remedy
        self.wait_s = wait_s
        super().__init__(cause)


def _retry_after(response: httpx.Response) -> float:
    """Return how many seconds a server asks to wait: so many, or until a date."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0
