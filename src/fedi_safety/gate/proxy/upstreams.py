"""The servers that are configured to stand behind the gate: checked before anything listens, and told apart by port."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from fedi_safety.config.schema import Gate
from fedi_safety.core.errors import ConfigError
from fedi_safety.gate.admission import NARROWEST

_SCHEMES = {"http": 80, "https": 443}


def check(gate: Gate) -> None:
    """Refuse servers that cannot be handed on to. Raises `ConfigError`."""
    ports = {gate.port: "gate.port"}
    for name, upstream in gate.upstream.items():
        key = f"gate.upstream.{name}"
        host, port = _place(upstream.url, f"{key}.url")
        if upstream.port in ports:
            cause = f"is {upstream.port}, which {ports[upstream.port]} has"
            raise ConfigError(f"{key}.port", cause, "give each server a port of its own")
        ports[upstream.port] = f"{key}.port"
        for network in upstream.networks:
            if network.prefixlen < NARROWEST[network.version]:
                raise ConfigError(f"{key}.networks", f"{network} is open to the world", "name your web servers")
    for name, upstream in gate.upstream.items():
        host, port = _place(upstream.url, f"gate.upstream.{name}.url")
        if port in ports and _is_here(host, gate.host):
            cause = f"{upstream.url} is this gate itself ({ports[port]})"
            raise ConfigError(f"gate.upstream.{name}.url", cause, "give the address of the server behind it")


def answers(url: str, seconds: float = 5.0) -> str:
    """Return why a server gives no answer to HTTP; empty if it gives any."""
    import httpx

    try:
        with httpx.Client(trust_env=False, timeout=seconds) as client:
            client.get(url)
    except httpx.HTTPError as error:
        return f"it gives no answer ({type(error).__name__})"
    return ""


def _place(url: str, key: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if parts.scheme not in _SCHEMES or not host:
        raise ConfigError(key, f"{url!r} is no http or https address", "write http://127.0.0.1:3000, or the like")
    if "@" in parts.netloc:
        raise ConfigError(key, "has a user in it", "leave it out: credentials are the clients' own, and go through")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        cause = f"{url!r} has more than a host and a port"
        raise ConfigError(key, cause, "leave the rest out: paths are handed on as they come")
    return host, port or _SCHEMES[parts.scheme]


def _is_here(host: str, listening: str) -> bool:
    """Whether a host is an address that the gate listens on. One that cannot be looked up now is not."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        own = {str(info[4][0]) for info in socket.getaddrinfo(listening, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return False
    if own & {"0.0.0.0", "::"}:
        own |= {"127.0.0.1", "::1"}
        for address in found:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind((address, 0))  # only an address of this machine can be
                except OSError:
                    continue
                own.add(address)
    return bool(found & own)


class Ports:
    """The gate's application on its own port, and those of the servers behind it on theirs."""

    def __init__(self, own: ASGIApp, others: Mapping[int, ASGIApp]) -> None:
        """Take the applications by the port that they listen on."""
        self._own = own
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the application of the port that it came in at."""
        server = scope.get("server") or ("", 0)
        await self._others.get(int(server[1] or 0), self._own)(scope, receive, send)
