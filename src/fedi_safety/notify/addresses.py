"""What an address of a messaging service may be called: scheme and host, and no more, for the rest is a secret."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

_MOST = 100
# Kinds whose addresses have a host where one belongs; elsewhere a token stands in its place, which may have dots.
_WITH_HOST = frozenset(
    {
        "apprise", "form", "gotify", "hassio", "http", "json", "mailto", "matrix", "mmost", "mqtt", "ncloud", "nctalk",
        "ntfy", "rocket", "signal", "smtp", "xml", "xmpp",
    }
)  # fmt: skip
_TOPIC_ALONE = "ntfy"  # without a path its host is a topic of the public service, as good as a password


def shown(url: str) -> str:
    """Return the scheme and the host of an address, without port, user, password, path and query.

    Where a token may stand in the host's place it is the scheme alone.
    """
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    kind = scheme if scheme in _WITH_HOST else scheme.removesuffix("s")
    try:
        parts = urlsplit(f"//{rest}")
        host = parts.hostname or ""
    except ValueError:
        return f"{scheme}://"
    is_host = kind in _WITH_HOST and host.isascii() and ("." in host or ":" in host or host == "localhost")
    if kind == _TOPIC_ALONE and not parts.path.strip("/"):
        is_host = False
    return f"{scheme}://{host[:_MOST]}" if is_host else f"{scheme}://"


def names(urls: Sequence[str]) -> list[str]:
    """Return a name for each address, in order; of those that look alike the second is `... (2)`.

    A password that is changed changes no name, so that what waits is sent.
    """
    seen: Counter[str] = Counter()
    found = []
    for url in urls:
        name = shown(url)
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
