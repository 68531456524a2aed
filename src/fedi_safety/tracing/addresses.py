"""The server's public address, as a configuration gives it: checked, and the host that its people belong to."""

from __future__ import annotations

from urllib.parse import urlsplit

from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import TraceUsageError


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is: `root` is its URL without a trailing slash, `host` the host, with a port that is not usual."""

    root: str
    host: str


def read_address(url: str | None) -> Address | None:
    """Return the address that `trace.url` gives. Raises `TraceUsageError` for what is none, without repeating it."""
    if url is None:
        return None
    wrong = TraceUsageError("trace.url", "it is no address of a server", "write it like https://social.example")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or not url.isprintable():
        raise wrong
    if parts.username is not None or parts.password is not None:
        raise TraceUsageError("trace.url", "it has a name or password in it", "set `trace.token` instead")
    bare = f"[{host}]" if ":" in host else host
    named = bare if port is None else f"{bare}:{port}"
    return Address(f"{parts.scheme}://{named}{parts.path.rstrip('/')}", named)
