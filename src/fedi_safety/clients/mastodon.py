"""Mastodon's webhook as a source of new media: who may say so, what it names, and where that lies in its storage.

It knows the shape of the message and of the paths, nothing else; whether an address may be fetched is not its to say.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

EVENTS = frozenset({"status.created", "status.updated"})
MAX_BYTES = 1 << 20
_MOST_MEDIA = 32
_MOST_URL = 2000
# `.../media_attachments/files/109/876/543/210/987/654/original/0123456789abcdef.png`
_FILES = re.compile(
    r"((?:[\w~-][\w.~-]*/)*?)((?:cache/)?media_attachments/files/(?:\d{3}/){3,6})[a-z_]+/[0-9a-f]{1,64}\.\w{1,8}"
)


def signed(secret: str, body: bytes, signature: str | None) -> bool:
    """Whether the body was signed with the secret, as `X-Hub-Signature` says it."""
    own = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(own.encode(), (signature or "").strip().encode("utf-8", "surrogateescape"))


def media_urls(body: bytes) -> list[str] | None:
    """Return the addresses of a new status' media; empty for other events, None for what is no such message."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not isinstance(message.get("event"), str):
        return None
    if message["event"] not in EVENTS:
        return []
    return list(dict.fromkeys(_urls(message.get("object"))))


def _urls(status: Any) -> Iterator[str]:
    media = status.get("media_attachments") if isinstance(status, dict) else None
    for item in media[:_MOST_MEDIA] if isinstance(media, list) else []:
        url = item.get("url") if isinstance(item, dict) else None
        if isinstance(url, str) and 0 < len(url) <= _MOST_URL and url.isprintable():
            yield url


def storage_prefixes(url: str) -> tuple[str, ...]:
    """Return where a file of this address may lie, with its thumbnail: key prefixes.

    What stands before `media_attachments` in the address may be a prefix of the keys, a bucket's name or nothing.
    """
    found = _FILES.fullmatch(unquote(urlsplit(url).path).lstrip("/"))
    if found is None:
        return ()
    before, own = found[1].split("/")[:-1], found[2]
    return tuple("/".join([*before[i:], own]) for i in range(len(before), -1, -1))
