"""The wire protocol of pict-rs 0.5: its HTTP API, and its PostgreSQL repository read only.

It lists, finds, streams and purges pictures, and tells by typed errors what went wrong, never with the API key in a
message. It judges nothing, keeps nothing, and asks for nothing that would make pict-rs create or download a file.
"""

from __future__ import annotations

import base64
import logging
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from fedi_safety.core.bounds import ns_of
from fedi_safety.core.errors import StoreError, StoreUsageError
from fedi_safety.core.notices.access import ACCESS

log = logging.getLogger(__name__)

FORMATS = (5, 8, 7, 2, 3, 9, 10, 4, 1, 0, 6)
"""The last byte of a hash tells the format; the common ones first: jpeg, webp, png, gif, animated webp, mp4, ..."""

PAGE_PICTURES = 100
_HASH_CHARS = 78  # hex of SHA-256 (32 bytes), size (6), format (1)
_NAME_CHARS = 255
TRIES = 4
_PAUSE_S = 0.5  # doubled with every try: together as long as a restart of pict-rs takes
_IMPORT_S = 300.0
_CONNECT_S = 10.0
_READ_S = 120.0  # since 0.5.17 a page waits for blurhashes that were never computed
_BODY_READ_S = 30.0
_CONNECTIONS = 32
_MAX_REDIRECTS = 3
# What pict-rs answers with status 500 where a file is missing or damaged. It is tried again like other failures: a
# removal under way passes through that state.
_LASTING = frozenset({"not-found", "lost-file", "decode-image"})


class PictrsRefusal(StoreError):
    """pict-rs answered with an error."""

    def __init__(self, thing: str, status: int, code: str, remedy: str = "") -> None:
        """Keep the HTTP `status` and pict-rs' own `code`, which may be empty."""
        self.status = status
        self.code = code
        self.damaged = code in _LASTING  # the file of a picture, not pict-rs, is the trouble
        super().__init__(thing, f"pict-rs answered {status}{f' ({code})' if code else ''}", remedy)


@dataclass(frozen=True, slots=True)
class Picture:
    """One content that pict-rs keeps, whatever its names. `hash` is hex: SHA-256, size and format of the stored file.

    `created_at` is in epoch seconds, None where pict-rs has no details yet.
    """

    hash: str
    aliases: tuple[str, ...]
    created_at: float | None

    @property
    def sha256(self) -> bytes:
        """Return the SHA-256 of the stored file."""
        return bytes.fromhex(self.hash[:64])

    @property
    def mtime_ns(self) -> int:
        """Return when it was stored in epoch nanoseconds, 0 where that is not known."""
        return ns_of(self.created_at) or 0

    @property
    def size(self) -> int:
        """Return the stored file's size in bytes."""
        return int(self.hash[64:76], 16)


@dataclass(frozen=True, slots=True)
class Oddity:
    """An entry of a listing that names no picture: its hash is none that pict-rs gives. `name` is what it says."""

    name: str


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in pict-rs' order, newest first, and where the next page begins."""

    entries: tuple[Picture | Oddity, ...]
    next: str | None

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Return those that are pictures."""
        return tuple(entry for entry in self.entries if isinstance(entry, Picture))

    def begins_at(self, picture_hash: str) -> bool:
        """Whether its first entry is the picture with this hash."""
        first = self.entries[0] if self.entries else None
        return isinstance(first, Picture) and first.hash == picture_hash


def hash_of(sha256: bytes, size: int, format_byte: int) -> str:
    """Return pict-rs' hash, in hex, of a stored file."""
    return (sha256 + size.to_bytes(6, "big") + bytes([format_byte])).hex()


def slug_of(picture_hash: str) -> str:
    """Return the name by which a page of the listing can begin at this hash."""
    return base64.urlsafe_b64encode(bytes.fromhex(picture_hash)).decode()


def is_hash(text: str) -> bool:
    """Whether `text` is a hash in hex, as this module writes it."""
    return len(text) == _HASH_CHARS and all(c in "0123456789abcdef" for c in text)


class PictrsClient:
    """Speaks to one pict-rs. May be used from several threads."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        transport: httpx.BaseTransport | None = None,
        pause_s: float = _PAUSE_S,
        read_s: float = _READ_S,
    ) -> None:
        """Take the internal `url` (http or https) and the API key; nothing is sent yet.

        Raises `StoreUsageError` for a URL or a key that cannot be used.
        """
        self.url = internal_url(url)
        if not api_key:
            raise StoreUsageError(
                self.url, "no API key is configured", "set `pictrs.api_key` to pict-rs' PICTRS__SERVER__API_KEY"
            )
        if not (api_key.isascii() and api_key.isprintable()):
            raise StoreUsageError(self.url, "the API key has characters that no header can carry", "check the key")
        self.pause_s = pause_s
        self._key = {"X-Api-Token": api_key}
        self._body_timeout = httpx.Timeout(min(read_s, _BODY_READ_S), connect=_CONNECT_S, pool=None)
        # Proxies from the environment are for the world outside; this is the operator's own network.
        self._http = httpx.Client(
            base_url=self.url,
            timeout=httpx.Timeout(read_s, connect=_CONNECT_S, pool=None),
            limits=httpx.Limits(max_connections=_CONNECTIONS),
            verify=ssl.create_default_context(),
            trust_env=False,
            transport=transport,
        )
        if logging.getLogger("httpx").level == logging.NOTSET:
            logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for every request

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._http.close()

    # --- what pict-rs has

    def page(self, slug: str | None = None, limit: int = PAGE_PICTURES) -> Page:
        """Return a page that begins at `slug`, or at the newest picture without one.

        A slug that pict-rs does not have (any more) gives the newest page as well: compare the first hash.
        """
        params: dict[str, str | int] = {"limit": limit}
        if slug is not None:
            params["slug"] = slug
        answer = self._internal("GET", "/internal/hashes", params)
        if answer is None:
            raise self._stranger("it has no /internal/hashes", "pict-rs 0.5 or newer is needed; or scan its files")
        try:
            page = answer["page"]
            following = page.get("next")
            entries = tuple(_entry(item) for item in page["hashes"])
            if slug is None and limit > 1 and entries and not any(isinstance(entry, Picture) for entry in entries):
                raise ValueError("no entry has a hash")
            return Page(entries, None if following is None else str(following))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._stranger("its listing is not understood", "check its version: 0.5 is known here") from error

    def find(self, picture_hash: str) -> Picture | None:
        """Return the picture with this hash, or None if pict-rs does not have it."""
        page = self.page(slug_of(picture_hash), 1)
        return page.pictures[0] if page.begins_at(picture_hash) else None

    def has_pictures(self) -> bool:
        """Whether pict-rs has anything at all."""
        return bool(self.page(limit=1).entries)

    def find_content(self, sha256: bytes, size: int) -> Picture | None:
        """Return the picture that has this stored file as its original, whatever its format."""
        for format_byte in FORMATS:
            found = self.find(hash_of(sha256, size, format_byte))
            if found is not None:
                return found
        return None

    def aliases(self, alias: str) -> tuple[str, ...]:
        """Return every alias of the picture that has this one; none if there is no such alias."""
        answer = self._internal("GET", "/internal/aliases", {"alias": alias})
        return () if answer is None else _strings(answer.get("aliases"))

    def identifier(self, alias: str) -> str | None:
        """Return where the original lies in pict-rs' store, or None if there is no such alias."""
        answer = self._internal("GET", "/internal/identifier", {"alias": alias})
        found = None if answer is None else answer.get("identifier")
        return found if isinstance(found, str) else None

    def has_alias(self, alias: str) -> bool:
        """Whether pict-rs still knows the alias; a picture whose file is lost has its aliases still."""
        response = self._send("HEAD", _original(alias), {}, {})
        if response.status_code == 404:
            return False
        if response.status_code < 400 or response.status_code == 500:
            return True
        raise PictrsRefusal(self.url, response.status_code, "")

    def healthz(self) -> None:
        """Raise unless pict-rs says that it is well. On object storage it writes its `health-check` object for that."""
        response = self._send("GET", "/healthz", {}, {})
        if response.status_code != 200:
            raise self._refusal(response)

    # --- what is removed

    def purge(self, alias: str) -> tuple[str, ...] | None:
        """Have the picture removed with all aliases and variants; return the aliases, None if there is no such alias.

        pict-rs only queues it: see `purge_picture`.
        """
        answer = self._internal("POST", "/internal/purge", {"alias": alias})
        return None if answer is None else _strings(answer.get("aliases"))

    def delete(self, alias: str) -> bool:
        """Have one alias removed, and the picture with the last; return false if there is no such alias."""
        return self._internal("POST", "/internal/delete", {"alias": alias}) is not None

    # --- what is put back

    def import_picture(self, alias: str, data: bytes) -> str:
        """Have pict-rs take in a picture under an alias; return the alias that it has there.

        One try: a second one would find the alias taken by the first. Raises `StoreError`.
        """
        try:
            response = self._http.post(
                "/internal/import",
                headers=self._key,
                files={"images[]": (alias, data)},
                timeout=httpx.Timeout(_IMPORT_S, connect=_CONNECT_S, pool=None),
            )
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        body = _json(response)
        files = (body or {}).get("files")
        if response.status_code not in (200, 201) or not isinstance(files, list) or not files:
            raise self._refusal(response)
        return str(files[0].get("file"))

    # --- reading

    @contextmanager
    def original(self, alias: str) -> Iterator[httpx.Response | None]:
        """Open the stored file for streaming, None if there is no such alias. No variant is made.

        One try: `httpx.TransportError` passes through, inside the block too. A server that cannot be reached at all
        is `StoreError`, any other answer `PictrsRefusal`. A caller that tries again waits `pause_s` first.
        """
        url = httpx.URL(self.url + _original(alias))
        for _ in range(1 + _MAX_REDIRECTS):
            try:
                # The key goes nowhere else: a pict-rs with a public endpoint redirects to the object storage.
                request = self._http.build_request(
                    "GET", url, headers={"Accept-Encoding": "identity"}, timeout=self._body_timeout
                )
                response = self._http.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise self._unreachable(error) from error
            try:
                if response.status_code == 404:
                    yield None
                    return
                if response.status_code == 200:
                    _acknowledge_at_once(response)
                    yield response
                    return
                if not response.has_redirect_location:
                    response.read()
                    raise self._refusal(response)
                url = url.join(response.headers["location"])
            finally:
                response.close()
        raise PictrsRefusal(self.url, 303, "too many redirects")

    # --- the plumbing

    def _internal(self, method: str, path: str, params: Mapping[str, str | int]) -> dict[str, Any] | None:
        """Return the JSON of an internal endpoint, None for a 404."""
        response = self._send(method, path, params, self._key)
        if response.status_code in (401, 403):
            error = StoreUsageError(
                self.url,
                f"the API key is not accepted ({response.status_code})",
                "set `pictrs.api_key` to pict-rs' PICTRS__SERVER__API_KEY (without one it has no internal API)",
            )
            raise ACCESS.refused(f"pict-rs at {self.url}", error.cause, error)
        if response.status_code == 404:
            return None
        if response.status_code // 100 == 3:
            raise self._stranger("it redirects elsewhere", "give pict-rs' own internal address")
        if response.status_code != 200:
            raise self._refusal(response)
        body = _json(response)
        if body is None:
            kind = response.headers.get("content-type", "nothing").partition(";")[0]
            raise self._stranger(f"it does not answer like a pict-rs but with {kind}", "check host and port")
        ACCESS.accepted(f"pict-rs at {self.url}")
        return body

    def _send(
        self, method: str, path: str, params: Mapping[str, str | int], headers: Mapping[str, str]
    ) -> httpx.Response:
        """Ask, again after a lost connection or a 5xx, and return the last answer. Everything asked is repeatable."""
        pause_s = self.pause_s
        for left in reversed(range(TRIES)):
            try:
                response = self._http.request(method, path, params=dict(params), headers=dict(headers))
            except httpx.TransportError as error:
                if not left:
                    raise self._unreachable(error) from error
            except httpx.HTTPError as error:
                raise self._unreachable(error) from error
            else:
                code = response.status_code
                if not left or not (code == 429 or code >= 500):
                    return response
            time.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("the last try returns or raises")

    def _refusal(self, response: httpx.Response) -> PictrsRefusal:
        code = _code(response)
        remedy = "see pict-rs' log"
        if code in _LASTING:
            remedy = (
                "the file of a picture is missing or damaged in its store: have pict-rs forget missing ones "
                "(POST /internal/prune_missing?force=true), or scan its files instead"
            )
        elif code == "read-only":
            remedy = "pict-rs is in read-only mode"
        return PictrsRefusal(self.url, response.status_code, code, remedy)

    def _stranger(self, cause: str, remedy: str) -> StoreUsageError:
        return StoreUsageError(self.url, cause, remedy)

    def _unreachable(self, error: httpx.HTTPError) -> StoreError:
        if isinstance(error, httpx.TimeoutException):
            cause = "no answer in time"
        elif "CERTIFICATE_VERIFY_FAILED" in str(error):
            cause = "its certificate is not trusted"
        else:
            cause = f"cannot be reached: {_without_errno(str(error)) or type(error).__name__}"
        return StoreError(self.url, cause, "check host and port, and that pict-rs is running")


def internal_url(url: str) -> str:
    """Return the canonical form of a pict-rs' http URL: lower case, no default port, no slash at the end.

    Raises `StoreUsageError`, without repeating what may be a password.
    """
    plain = url.removeprefix("pictrs+")
    try:
        parts = urlsplit(plain)
        port = parts.port
    except ValueError as error:
        raise StoreUsageError("pict-rs", "its URL is not valid", "write http://host:8080") from error
    if parts.username is not None or parts.password is not None:
        raise StoreUsageError("pict-rs", "its URL has a user in it", "give the API key as `pictrs.api_key`")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise StoreUsageError(url, "not the URL of a pict-rs", "write http://host:8080")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    where = host if port in (None, default) else f"{host}:{port}"
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}"


def _original(alias: str) -> str:
    return f"/image/original/{quote(alias, safe='')}"


def _acknowledge_at_once(response: httpx.Response) -> None:
    """Spare the 40 ms of a delayed acknowledgement: pict-rs sends a file's head and body apart, and waits between.

    Measured on loopback with one connection: 31 files a second without, 290 with.
    """
    stream = response.extensions.get("network_stream")
    connection = None if stream is None else stream.get_extra_info("socket")
    if isinstance(connection, socket.socket) and hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _entry(item: object) -> Picture | Oddity:
    """Read one entry of a listing; whatever it is, it costs no other."""
    said = item if isinstance(item, dict) else {}
    digest, aliases, details = said.get("hex"), _strings(said.get("aliases")), said.get("details")
    if not isinstance(digest, str) or not is_hash(digest):
        named = digest if isinstance(digest, str) and digest else next(iter(aliases), "an entry without a name")
        return Oddity(named[:_NAME_CHARS])
    created = details.get("created_at") if isinstance(details, dict) else None
    return Picture(digest, aliases, _seconds(created))


def _seconds(created: object) -> float | None:
    """Return a picture's time in epoch seconds; None where there is none, or none that can be read."""
    if not isinstance(created, str):
        return None
    try:
        return datetime.fromisoformat(created).timestamp()
    except (ValueError, OverflowError):
        return None


def _strings(value: object) -> tuple[str, ...]:
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def _json(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) and "msg" in body else None


def _code(response: httpx.Response) -> str:
    """Return pict-rs' own name of an error, if the answer has one."""
    body = _json(response)
    code = None if body is None else body.get("code")
    return code if isinstance(code, str) else ""


def _without_errno(text: str) -> str:
    return text.partition("] ")[2] if text.startswith("[Errno") else text
