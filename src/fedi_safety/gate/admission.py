"""Who may ask, and how often: tokens in the path, networks, proxies that are believed. It reads no body.

A sender is known by the name of its token, or by its address; never by what it claims.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from fedi_safety.config.schema import Gate
from fedi_safety.core.errors import ConfigError
from fedi_safety.gate.keys import Keyring
from fedi_safety.gate.responses import Refusal

BY_ADDRESS = "IPADDR"
"""In the place of a token: the caller's address decides (the predecessor's word for it)."""

_MOST_BUCKETS = 10_000
_BURST_S = 5.0  # what a caller may save up of its rate
NARROWEST = {4: 8, 6: 16}
"""By version: a network wider than this is as good as the world."""

_NOT_IN_PATHS = "/?#"  # pict-rs sends a token as a part of its URL's path, where these end it

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def check(gate: Gate, *, host: str) -> None:
    """Refuse settings that would let in the whole world, or nobody. Raises `ConfigError`."""
    for network in gate.networks:
        if network.prefixlen < NARROWEST[network.version]:
            raise ConfigError("gate.networks", f"{network} is open to the world", "name the networks of your servers")
    for network in gate.trusted_proxies:
        if network.prefixlen < NARROWEST[network.version]:
            raise ConfigError("gate.trusted_proxies", f"{network} would believe anybody", "name your proxy's address")
    for names, secrets in (("gate.tokens", gate.tokens), ("gate.worker_keys", gate.worker_keys)):
        for name, secret in secrets.items():
            if not secret.get_secret_value().strip():
                raise ConfigError(f"{names}.{name}", "is empty", "give it a long random secret")
    for name, secret in gate.tokens.items():
        token = secret.get_secret_value()
        if token == BY_ADDRESS:
            raise ConfigError(f"gate.tokens.{name}", f"is {BY_ADDRESS}, by which the address decides", "give a secret")
        if unfit := sorted(set(token) & set(_NOT_IN_PATHS)):
            cause = f"has {unfit[0]!r}, at which the path of a URL ends"
            raise ConfigError(f"gate.tokens.{name}", cause, "take letters and digits, as `openssl rand -hex 32` gives")
    if not gate.tokens and not any(not network.is_loopback for network in gate.networks) and not is_loopback(host):
        raise ConfigError(
            f"gate: listening on {host}",
            "the gate would be open to other machines without any authentication",
            "set gate.tokens or gate.networks, or listen on 127.0.0.1",
        )
    if gate.held_bytes < 2 * gate.max_bytes:
        cause = f"is less than twice gate.max_bytes ({gate.max_bytes})"
        raise ConfigError("gate.held_bytes", cause, f"set it to {2 * gate.max_bytes} or more, or lower gate.max_bytes")
    if not gate.engine and not gate.worker_keys:
        raise ConfigError("gate", "nobody would judge: no engine, and no worker's key", "set gate.worker_keys")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to listen on."""
    if host == "localhost":
        return True
    address = parse(host)
    return address is not None and address.is_loopback


@lru_cache(maxsize=1024)
def parse(text: str) -> Address | None:
    """Return the address that a text names, None for anything else. IPv4 that is wrapped in IPv6 is IPv4."""
    try:
        address = ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def block(peer: str) -> str:
    """Return by what an address is counted: itself, or for IPv6 the /64, of which one customer has every address."""
    address = parse(peer)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return peer if address is None else str(address)


RECOGNISED = "recognised"
"""Where the server's edge leaves word in a request's state whom to tell that its caller was let in."""


def recognise(scope: Scope) -> None:
    """Tell the edge that whoever sent this request is known here, by a token, a key, or its address."""
    tell = (scope.get("state") or {}).get(RECOGNISED)
    if tell is not None:
        tell()


FORWARDED_FOR = "x-forwarded-for"
PROXY_SIGNS = (
    "forwarded",
    "via",
    "x-real-ip",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-ray",
    "fastly-client-ip",
    "fly-client-ip",
)
"""Headers that web servers and delivery networks add to what they pass on, and that callers of a gate never send."""

_SIGNS = frozenset(name.encode() for name in PROXY_SIGNS)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was let in, under which name, and from which address where that is known."""

    name: str
    address: str | None = None


class Admission:
    """Tells who a caller is and whether it may ask."""

    def __init__(self, gate: Gate) -> None:
        """Take the tokens and networks of the settings."""
        self._tokens = Keyring({name: secret.get_secret_value() for name, secret in gate.tokens.items()})
        self._networks = tuple(gate.networks)
        self._proxies = tuple(gate.trusted_proxies)
        self._rate = gate.rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def address(self, peer: str | None, headers: Headers) -> Address | None:
        """Return the caller's address: the peer's, or what the nearest trusted proxies say it is in `X-Forwarded-For`.

        From the right, because everything to the left of what a trusted proxy added is the caller's own word. Of whom a
        proxy speaks that is not listed, or that does not say it in that header, nobody knows: None. Else one on this
        machine would let the world in as itself.
        """
        address = parse(peer or "")
        hops = [hop for header in headers.getlist(FORWARDED_FOR) for hop in header.split(",")]
        passed_on = bool(hops) or any(name in _SIGNS for name, _ in headers.raw)
        if passed_on and not (hops and address is not None and _within(address, self._proxies)):
            return None
        while address is not None and hops and _within(address, self._proxies):
            address = parse(hops.pop())
        return address

    def knows(self, peer: str) -> bool:
        """Whether an address is listed, as a caller's or a proxy's."""
        address = parse(peer)
        return address is not None and _within(address, (*self._networks, *self._proxies))

    def admit(self, presented: str | None, address: Address | None, peer: str | None = None) -> Caller:
        """Return the caller, by the token that it presented or by its address. Raises `Refusal` 401.

        What exactly was not known is for the log, with `peer`, who stands at the other end of the connection.
        """
        if presented is not None and presented != BY_ADDRESS:
            name = self._tokens.holder(presented)
            if name is None:
                raise _stranger("the token is none of gate.tokens", "token")
            return Caller(name, None if address is None else str(address))
        if address is None:
            raise _stranger(
                f"it came through a proxy at {peer}, not in gate.trusted_proxies, or without X-Forwarded-For", "proxy"
            )
        if not _within(address, self._networks):
            raise _stranger(f"{address} is not in gate.networks", "address")
        return Caller(str(address), str(address))

    def slow_down(self, caller: Caller) -> None:
        """Count one upload of this caller. Raises `Refusal` 429 when it sends more than its rate."""
        if not self._rate:
            return
        now = time.monotonic()
        most = max(1.0, self._rate * _BURST_S)
        saved, at = self._buckets.pop(caller.name, (most, now))
        saved = min(most, saved + (now - at) * self._rate)
        allowed = saved >= 1.0
        self._buckets[caller.name] = (saved - 1.0 if allowed else saved, now)
        while len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if not allowed:
            raise Refusal(429, "rate_limited", f"more than {self._rate:g} uploads a second")


def _stranger(why: str, what: str) -> Refusal:
    return Refusal(401, "unauthorized", "You are not authorized to use this service", why=why, kind=what)


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
