"""Fetches a picture by its address, from listed hosts alone, so that nobody can turn the gate against other machines.

A name's addresses are looked up once, checked, and connected to as they are: what a name server says a moment later
plays no part. Redirects are followed by hand and checked like the first address. Nothing of the environment (proxies,
netrc) is used, no cookie is kept.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpcore

from fedi_safety import __version__
from fedi_safety.core.errors import ConfigError
from fedi_safety.gate.admission import Address

_REDIRECTS = 3
_CONNECT_S = 5.0
_STEP_S = 10.0
_AS_IT_IS = "/%:=&?~+!$,;'@()*[]-._"
_PORTS = {"http": 80, "https": 443}
# Ranges of IANA's registries of special addresses that are no place on the internet, or a door from IPv6 into IPv4
# behind which a private address may lie. `ipaddress` knows most of them, but each version of Python others.
_SPECIAL = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by a provider's customers
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, where clouds keep their metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "::/96",  # unspecified, loopback, IPv4-compatible
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64 within a network
        "100::/64",  # discarded
        "100:0:0:1::/64",  # dummy prefix
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID and others
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fc00::/7",  # unique local
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
    )
)


class FetchError(Exception):
    """A picture that was not fetched. `forbidden` tells what may not be asked for from what did not work.

    `absent`: its host says that there is no such picture, which no outage does.
    """

    def __init__(self, message: str, *, forbidden: bool = False, absent: bool = False) -> None:
        """Say why, without repeating what a remote machine said."""
        self.message = message
        self.forbidden = forbidden
        self.absent = absent
        super().__init__(message)


class Hosts:
    """The hosts that may be asked: names, or addresses, with a port where it is not the usual one."""

    def __init__(self, key: str, listed: Iterable[str]) -> None:
        """Take the settings' list; `key` is its name. Raises `ConfigError` for what is no host."""
        self._listed: set[tuple[str, int | None]] = set()
        for text in listed:
            try:
                parts = urlsplit(f"//{text}")
                host, port = _plain(parts.hostname or ""), parts.port
            except ValueError:
                host, port = "", None
            if not host or parts.path or parts.query or "@" in text:
                raise ConfigError(key, f"{text!r} is no host", "write example.org, or example.org:8443")
            self._listed.add((host, port))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._listed)

    def check(self, url: str) -> tuple[str, int]:
        """Return the host and port of a URL that may be fetched. Raises `FetchError`."""
        try:
            parts = urlsplit(url)
            host, port = _plain(parts.hostname or ""), parts.port
        except ValueError:
            raise FetchError("not a URL", forbidden=True) from None
        if parts.scheme not in _PORTS or not host:
            raise FetchError("not an http or https URL", forbidden=True)
        if parts.username is not None or parts.password is not None:
            raise FetchError("the URL has a user in it", forbidden=True)
        usual = _PORTS[parts.scheme]
        wanted = (host, port or usual)
        if not (wanted in self._listed or (wanted[1] == usual and (host, None) in self._listed)):
            raise FetchError("the host is not listed", forbidden=True)
        return wanted

    def is_address(self, host: str) -> bool:
        """Whether a host is an address that was listed as such: then it may be a private one."""
        return _address(host) is not None and any(listed == _plain(host) for listed, _ in self._listed)


class _GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses alone."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = [host] if self._hosts.is_address(host) else await public_addresses(host, port)
        failure: Exception | None = None
        for address in addresses[:4]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def public_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a name, all of them public. Raises `FetchError`: one that is not condemns the name."""
    try:
        async with asyncio.timeout(_CONNECT_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise FetchError("the host's address cannot be found") from None
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    if not addresses or not all(is_public(address) for address in addresses):
        raise FetchError("the host has an address that is not public", forbidden=True)
    return addresses


def is_public(text: str) -> bool:
    """Whether an address belongs to the internet at large, and leads to no other address."""
    address = _address(text)
    if address is None:
        return False
    if address.version == 6 and address.ipv4_mapped is not None:
        return is_public(str(address.ipv4_mapped))
    if any(address in special for special in _SPECIAL):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches from `hosts`, at most `max_bytes`, within `seconds` altogether."""

    hosts: Hosts
    max_bytes: int
    seconds: float = 15.0
    network: httpcore.AsyncNetworkBackend | None = None  # for tests
    tls: ssl.SSLContext | None = None  # for tests

    async def get(self, url: str) -> bytes:
        """Return what is at `url`. Raises `FetchError`."""
        try:
            async with (
                asyncio.timeout(self.seconds),
                httpcore.AsyncConnectionPool(
                    ssl_context=self.tls,
                    max_connections=2,
                    network_backend=self.network or _GuardedNetwork(self.hosts),
                ) as pool,
            ):
                for _ in range(_REDIRECTS + 1):
                    self.hosts.check(url)
                    found = await self._step(pool, url)
                    if isinstance(found, bytes):
                        return found
                    url = urljoin(url, found)
        except TimeoutError:
            raise FetchError("it took too long") from None
        except (httpcore.TimeoutException, httpcore.NetworkError) as error:
            raise FetchError(f"the host cannot be reached ({type(error).__name__})") from None
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, ssl.SSLError, OSError, ValueError):
            raise FetchError("the host's answer makes no sense") from None
        raise FetchError("too many redirects")

    async def _step(self, pool: httpcore.AsyncConnectionPool, url: str) -> bytes | str:
        """Return the body, or where it is said to be instead."""
        steps = dict.fromkeys(("connect", "read", "write", "pool"), _STEP_S) | {"connect": _CONNECT_S}
        headers = [
            (b"User-Agent", f"fedi-safety/{__version__}".encode()),
            (b"Accept", b"image/*, video/*"),
            (b"Accept-Encoding", b"identity"),
        ]
        async with pool.stream("GET", _ascii(url), headers=headers, extensions={"timeout": steps}) as response:
            named = {name.lower(): value for name, value in response.headers}
            if response.status in (301, 302, 303, 307, 308) and b"location" in named:
                return named[b"location"].decode("latin-1")
            if response.status != 200:
                raise FetchError(f"the host answered {response.status}", absent=response.status in (404, 410))
            if named.get(b"content-encoding", b"identity") != b"identity":
                raise FetchError("the host's answer is packed")
            pieces: list[bytes] = []
            size = 0
            async for piece in response.aiter_stream():
                size += len(piece)
                if size > self.max_bytes:
                    raise FetchError(f"more than {self.max_bytes} bytes")
                pieces.append(piece)
            return b"".join(pieces)


def _ascii(url: str) -> str:
    """Return a checked URL as it is sent: its host as it is compared, no raw bytes beyond ASCII, no fragment."""
    parts = urlsplit(url)
    host = _plain(parts.hostname or "")
    host = f"[{host}]" if ":" in host else host
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    path, query = quote(parts.path, _AS_IT_IS), quote(parts.query, _AS_IT_IS)
    return parts._replace(netloc=netloc, path=path, query=query, fragment="").geturl()


def _plain(host: str) -> str:
    """Return a host as it is compared: lower case, in ASCII, without the last dot; an address in its short form."""
    host = host.rstrip(".").lower()
    address = _address(host)
    if address is not None:
        return str(address)
    return host.encode("idna").decode("ascii") if host else ""


def _address(host: str) -> Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None
