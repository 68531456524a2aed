"""Mastodon's webhook as a source of new media: who may say so, what it names, and where that lies in its storage.

It knows the shape of the message and of the paths, nothing else; whether an address may be fetched is not its to say.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay

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


@dataclass(frozen=True, slots=True)
class Medium:
    """A medium of a new status: its address, and where the message says that it is in use."""

    url: str
    sighting: Sighting


def announced(body: bytes) -> list[Medium] | None:
    """Return a new status' media; empty for other events, None for what is no such message."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not isinstance(message.get("event"), str):
        return None
    status = message.get("object")
    if message["event"] not in EVENTS or not isinstance(status, dict):
        return []
    return list({medium.url: medium for medium in _media(status)}.values())


def _media(status: dict[str, Any]) -> Iterator[Medium]:
    media = status.get("media_attachments")
    post = _post(status)
    for item in media[:_MOST_MEDIA] if isinstance(media, list) else []:
        if isinstance(item, dict) and (url := _word(item.get("url"))):
            number = _word(item.get("id"))
            yield Medium(url, replace(post, record=f"media_attachments/{number}" if number.isdecimal() else None))


def _post(status: dict[str, Any]) -> Sighting:
    """Return the status that shows them, and whose it is; its text is not looked at."""
    account = status.get("account")
    account = account if isinstance(account, dict) else {}
    name, _, domain = _word(account.get("acct")).partition("@")
    host = domain or _host(_word(account.get("url")))
    direct = status.get("visibility") == "direct"
    return Sighting(
        SightingKind.MESSAGE if direct else SightingKind.POST,
        SightingWay.HOOK,
        Certainty.CERTAIN,
        url=_word(status.get("url")) or _word(status.get("uri")) or None,
        person=(f"@{name}@{host}" if host else f"@{name}") if name else None,
        instance=host or None,
        local=not domain if name else None,
        at=_time(_word(status.get("created_at"))),
        post_id=_word(status.get("id")) or None,
        person_id=_word(account.get("id")) or None,
    )


def _word(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= _MOST_URL and value.isprintable() else ""


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def _time(text: str) -> float | None:
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def storage_prefixes(url: str) -> tuple[str, ...]:
    """Return where a file of this address may lie, with its thumbnail: key prefixes.

    What stands before `media_attachments` in the address may be a prefix of the keys, a bucket's name or nothing.
    """
    found = _FILES.fullmatch(unquote(urlsplit(url).path).lstrip("/"))
    if found is None:
        return ()
    before, own = found[1].split("/")[:-1], found[2]
    return tuple("/".join([*before[i:], own]) for i in range(len(before), -1, -1))
