"""The wire protocol of pictrs-safety v1.2.2, as its workers speak it: fetch one picture, say what it is.

It judges nothing and keeps nothing, and asks for one picture at a time: the server may give the same one to two who ask
at once. Works the same against our gate, which speaks this protocol too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from fedi_safety.core.errors import StoreError, StoreUsageError, UsageError

DEFAULT_PORT = 14051
BETTER = "Fedi-Safety-Work"
"""A header by which a gate of ours says that it speaks more than this protocol."""

MAX_WORD_BYTES = 1 << 20
"""More than this no gate has to say, but for media: what it sends beyond is not read."""

_POP = "/api/v1/pop"
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)


class GateUnreachable(StoreError):
    """The gate cannot be reached."""


class KeyRefused(StoreUsageError):
    """The gate does not know the worker's key."""


class NotAGate(StoreUsageError):
    """What answers is no gate."""


@dataclass(frozen=True, slots=True)
class Popped:
    """A picture to judge. `name` is what the server calls it, and must be said back as it is."""

    name: str
    data: bytes = field(repr=False)


class PictrsSafetyClient:
    """Speaks to one pictrs-safety, in an event loop."""

    def __init__(
        self, url: str, key: str, *, max_bytes: int, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Take the server's `url`, without `/api/v1`, and the worker's key. Nothing is sent yet.

        Pictures of more than `max_bytes` are not read. Raises `UsageError` for what can be no URL or key.
        """
        self.url = gate_url(url)
        self.offers_better = False  # it has turned out to be a gate of ours
        self._max_bytes = max_bytes
        self._http = open_http(self.url, {"apikey": checked_key(self.url, key)}, transport)

    async def pop(self) -> Popped | None:
        """Fetch the next picture, None if there is none. One that is too large comes without its bytes.

        Raises `GateUnreachable`, `KeyRefused` or `NotAGate`.
        """
        try:
            async with self._http.stream("GET", _POP, timeout=_TIMEOUT) as response:
                self.offers_better = BETTER in response.headers
                if response.status_code == 204:
                    return None
                if response.status_code != 200:
                    raise refusal(self.url, response.status_code)
                name = _file_name(response.headers.get("content-disposition", ""))
                if not name:
                    raise NotAGate(self.url, "it gives a picture without a name", "check host and port")
                return Popped(name, await read_body(response, self._max_bytes) or b"")
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    async def say(self, name: str, *, is_csam: bool | None, is_nsfw: bool) -> bool:
        """Say what a picture is; None stands for 'no verdict'. Returns false if nobody waits for it any more.

        Raises as `pop` does.
        """
        said = {"image": name, "is_csam": is_csam, "is_nsfw": is_nsfw}
        try:
            async with self._http.stream("POST", _POP, json=said, timeout=_TIMEOUT) as response:
                body = await read_body(response, MAX_WORD_BYTES) or b""
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error
        if response.status_code == 404 and b"No image found" in body:
            return False
        if response.status_code != 201:
            raise refusal(self.url, response.status_code)
        return True

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._http.aclose()


def open_http(url: str, headers: dict[str, str], transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """Return a client for one gate. Redirects are not followed: the key is for this host alone."""
    return httpx.AsyncClient(
        base_url=url,
        headers=headers,
        follow_redirects=False,
        transport=transport,
        limits=httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=60),
    )


async def read_body(response: httpx.Response, most: int) -> bytes | None:
    """Return the whole body, None if it is larger than `most` (then nothing more is read)."""
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)


def gate_url(url: str) -> str:
    """Return the canonical form of a gate's URL: no slash at the end, nothing after the path. Raises `UsageError`."""
    remedy = f"write http://host:{DEFAULT_PORT}"
    try:
        parts = httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError, TypeError):
        raise UsageError("gate", f"{url!r:.100} is no URL", remedy) from None
    if parts.userinfo:
        raise UsageError("gate", "its URL has a user or a key in it", "configure the key as `worker.key`")
    if parts.scheme not in ("http", "https") or not parts.host or parts.query or parts.fragment:
        raise UsageError(url, "not the URL of a gate", remedy)
    return str(parts.copy_with(path=parts.path.rstrip("/").removesuffix("/api/v1"))).rstrip("/")


def checked_key(url: str, key: str) -> str:
    """Return the key. Raises `UsageError` for one that no header can carry."""
    if not key:
        raise UsageError(url, "no key is configured for it", "set `worker.key`, or a key for this gate in the file")
    if not (key.isascii() and key.isprintable()):
        raise UsageError(url, "the key has characters that no header can carry", "check the key")
    return key


def refusal(url: str, code: int) -> StoreError:
    """Return the error that an unexpected status stands for."""
    if code in (401, 403):
        return KeyRefused(url, f"the worker's key is not accepted ({code})", "compare it with the gate's").as_refused()
    if code >= 500 or code in (408, 429):
        return GateUnreachable(url, f"it answered {code}", "see its log")
    return NotAGate(url, f"it answered {code}, not like a gate", "check host and port")


def unreachable(url: str, error: httpx.HTTPError) -> GateUnreachable:
    """Return the error that a failed connection stands for."""
    if isinstance(error, httpx.TimeoutException):
        cause = "no answer in time"
    elif "CERTIFICATE_VERIFY_FAILED" in str(error):
        cause = "its certificate is not trusted"
    else:
        cause = f"cannot be reached: {str(error) or type(error).__name__}"
    return GateUnreachable(url, cause, "check host and port, and that the gate is running")


def _file_name(disposition: str) -> str:
    """Return the file name of a Content-Disposition; quotes and further parameters do no harm."""
    _, _, rest = disposition.partition("filename=")
    return rest.partition(";")[0].strip().strip('"')
