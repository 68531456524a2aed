"""A pict-rs as a store: every picture once, whatever its aliases; read and removed through the program that owns it.

The key is pict-rs' hash in hex (SHA-256 of the stored file, its size, its format). Unlike other stores it lists the
newest first, the only order that pict-rs has. It sees originals only: variants and thumbnails go with their original,
and files that pict-rs does not know (orphans) show up only when its file store is scanned.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence

import httpx

from fedi_safety.clients.pictrs import (
    PAGE_PICTURES,
    TRIES,
    Oddity,
    Page,
    PictrsClient,
    PictrsRefusal,
    Picture,
    is_hash,
    slug_of,
)
from fedi_safety.clients.pictrs_database import PictrsDatabase
from fedi_safety.clients.pictrs_purging import PictureFacts, describe, purge_picture
from fedi_safety.config.schema import Pictrs
from fedi_safety.core.enums import ActKind, PlanState, Reason
from fedi_safety.core.errors import StoreError, StoreUsageError, Unscannable
from fedi_safety.core.types import Object, Removal, Right, Unscanned

log = logging.getLogger(__name__)

HEAD_BYTES = 4096
_BODY_S = 300.0  # the longest that one file may take, however steadily it drips
_CONCURRENCY = 8
_ALIASES_REMEMBERED = 20_000
_ANCHORS = 64  # hashes listed last, from which a listing that lost its place goes on
# The order is that of the hash's creation, which follows the creation time that is told after processing.
_SINCE_SLACK_S = 600.0


def open_pictrs(url: str, access: Pictrs) -> PictrsStore:
    """Return the store behind `pictrs+http://host:port`; nothing is sent yet.

    Raises `StoreUsageError` if the URL cannot be one, or no API key is configured.
    """
    key = access.api_key.get_secret_value() if access.api_key is not None else ""
    database = PictrsDatabase(access.database.get_secret_value()) if access.database is not None else None
    return PictrsStore(PictrsClient(url, key), database)


class PictrsStore:
    """The pictures of one pict-rs; see the `Store` port for the promises, and above for the order of the listing."""

    default_act = ActKind.PURGE
    local_root = None
    identity = None

    def __init__(
        self, client: PictrsClient, database: PictrsDatabase | None = None, *, page: int = PAGE_PICTURES
    ) -> None:
        """Take over `client`; `database` adds where proxied pictures came from to what is remembered of a removal."""
        self.concurrency = _CONCURRENCY
        self._client = client
        self._database = database
        self._page = page
        self._aliases: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The canonical `pictrs+http://` URL."""
        return f"pictrs+{self._client.url}"

    @property
    def owner(self) -> str:
        """The URL of the pict-rs."""
        return self._client.url

    def list(self, prefixes: Sequence[str] = (), since: float | None = None) -> Iterator[Object | Unscanned]:
        """Yield every picture once, the newest first. `since` ends the listing early; `prefixes` does not shorten it.

        A picture of unknown age is kept whatever `since` says.
        """
        wanted = tuple(prefixes)
        for picture in self._entries():
            if isinstance(picture, Oddity):
                if not wanted or picture.name.startswith(wanted):
                    gap = Object(picture.name, 0, 0)
                    yield Unscanned(gap, Reason.UNREADABLE, "pict-rs lists it with a hash that none can be")
                continue
            at = picture.created_at
            if since is not None and at is not None:
                if at < since - _SINCE_SLACK_S:
                    return
                if at < since:
                    continue
            if not wanted or picture.hash.startswith(wanted):
                yield Object(picture.hash, picture.size, picture.mtime_ns)

    def _entries(self) -> Iterator[Picture | Oddity]:
        """Walk all pages. A page that would begin at a picture removed meanwhile is found again from an earlier one."""
        listed: deque[str] = deque(maxlen=_ANCHORS)
        newest: Picture | Oddity | None = None
        slug: str | None = None
        while True:
            page = self._next_page(slug)
            entries, following = page.entries, page.next
            if slug is None:
                newest = next(iter(entries), None)
            elif not _begins_at(page, slug, newest):
                entries, following = self._find_place(listed)
            for entry in entries:
                if isinstance(entry, Picture):
                    if entry.aliases:
                        self._remember(entry.hash, entry.aliases[0])
                    listed.append(entry.hash)
                yield entry
            if following is None:
                return
            slug = following

    def _next_page(self, slug: str | None) -> Page:
        """Return a page from `slug` on, shorter where a picture on it makes pict-rs fail, so that none before is lost.

        Since 0.5.17 a listing fails at a picture whose file is missing and whose blurhash was never computed.
        """
        size = self._page
        while True:
            try:
                return self._client.page(slug, size)
            except PictrsRefusal as refusal:
                if not refusal.damaged or size == 1:
                    raise
            size //= 2

    def _find_place(self, listed: Sequence[str]) -> tuple[tuple[Picture | Oddity, ...], str | None]:
        """Return what follows the last listed picture that is still there."""
        seen = frozenset(listed)
        for anchor in reversed(listed):
            page = self._client.page(slug_of(anchor), self._page + len(listed))
            if page.begins_at(anchor):
                last = max(i for i, e in enumerate(page.entries) if isinstance(e, Picture) and e.hash in seen)
                return page.entries[last + 1 :], page.next
        raise StoreError(
            self._client.url, "its listing lost its place among many removals", "scan again: what is known goes fast"
        )

    def fetch(self, obj: Object, accept: Callable[[bytes], object]) -> bytes:
        """Return the stored file of a picture, checked against its hash; see the `Store` port. Makes no variant."""
        if not is_hash(obj.key):
            raise Unscannable(Reason.VANISHED, "the key is not a hash of pict-rs")
        accepted = False

        def accept_once(head: bytes) -> None:
            nonlocal accepted
            if not accepted:
                accept(head)
                accepted = True

        pause_s = self._client.pause_s
        failure: Unscannable | StoreError | None = None
        for attempt in range(TRIES):
            if attempt:
                time.sleep(pause_s)
                pause_s *= 2
            # Only the first try trusts the alias from the listing: it may have been removed, and another still stand.
            alias = self._alias(obj.key, fresh=attempt > 0)
            try:
                data = self._read(alias, obj, accept_once)
            except httpx.TransportError as error:
                failure = Unscannable(Reason.FETCH_FAILED, f"the transfer broke off: {type(error).__name__}")
                continue
            except PictrsRefusal as refusal:
                if refusal.status < 500 and refusal.status != 429:
                    raise Unscannable(Reason.UNREADABLE, refusal.cause) from refusal
                failure = Unscannable(Reason.UNREADABLE, f"{refusal.cause}; {refusal.remedy}")
                if refusal.code:
                    break  # pict-rs said why; a proxy between would not have
                continue
            except StoreUsageError:
                raise
            except StoreError as outage:
                failure = outage
                continue
            if data is None:
                failure = Unscannable(Reason.VANISHED, "its alias is gone")
                continue
            if len(data) == obj.size and hashlib.sha256(data).hexdigest() == obj.key[:64]:
                return data
            altered = Unscannable(
                Reason.CHANGED, f"the file is not what pict-rs took in ({len(data)} bytes or more): scan its file store"
            )
            if isinstance(failure, Unscannable) and failure.reason is Reason.CHANGED:
                break  # twice the same: it was no accident on the way
            failure = altered
        assert failure is not None
        raise failure

    def _read(self, alias: str, obj: Object, accept: Callable[[bytes], object]) -> bytes | None:
        """Return at most one byte more than the object has, None if the alias is gone."""
        with self._client.original(alias) as response:
            if response is None:
                return None
            data = bytearray()
            until = time.monotonic() + _BODY_S
            wanted = min(HEAD_BYTES, obj.size)
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) >= wanted:
                    accept(bytes(data[:wanted]))
                if len(data) > obj.size:
                    break
                if time.monotonic() > until:
                    raise Unscannable(Reason.FETCH_FAILED, f"not complete after {_BODY_S:.0f} s")
            return bytes(data[: obj.size + 1])

    def remove(self, obj: Object, sha256: bytes) -> Removal:
        """Purge the picture, with all aliases and variants, and verify that pict-rs knows none of them any more.

        The key is a hash of the content, so the picture that is purged is the one that was judged or none at all.
        """
        if not is_hash(obj.key):
            return Removal(PlanState.GONE, "the key is not a hash of pict-rs")
        if obj.key[:64] != sha256.hex():
            return Removal(PlanState.CHANGED, "the key is the hash of another content than the judged one")
        removal = purge_picture(self._client, self._client.find(obj.key), self._database)
        with self._lock:
            self._aliases.pop(obj.key, None)
        return removal

    def may_remove(self, sample: Sequence[Object]) -> Right:  # noqa: ARG002
        """Return that it may: one key opens the whole internal API, and it is tried here. See the `Store` port."""
        self._client.has_pictures()
        return Right(True)

    def describe(self, obj: Object) -> PictureFacts | None:
        """Return what pict-rs knows of an object, for tracing; None if it does not have it. Raises `StoreError`."""
        picture = self._client.find(obj.key) if is_hash(obj.key) else None
        return None if picture is None else describe(self._client, picture, self._database)

    @property
    def client(self) -> PictrsClient:
        """What speaks to the pict-rs, for what puts pictures back."""
        return self._client

    @property
    def database(self) -> PictrsDatabase | None:
        """Its PostgreSQL repository, where one is configured."""
        return self._database

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _alias(self, key: str, *, fresh: bool) -> str:
        with self._lock:
            alias = None if fresh else self._aliases.get(key)
        if alias is not None:
            return alias
        picture = self._client.find(key)
        if picture is None or not picture.aliases:
            raise Unscannable(Reason.VANISHED, "pict-rs does not have it any more")
        self._remember(key, picture.aliases[0])
        return picture.aliases[0]

    def _remember(self, key: str, alias: str) -> None:
        """Keep an alias for the fetch that soon follows the listing; which are kept is bounded."""
        with self._lock:
            self._aliases[key] = alias
            self._aliases.move_to_end(key)
            while len(self._aliases) > _ALIASES_REMEMBERED:
                self._aliases.popitem(last=False)


def _begins_at(page: Page, slug: str, newest: Picture | Oddity | None) -> bool:
    """Whether a page begins where it was asked for: pict-rs gives the newest one for a place that is not there.

    Of an oddity nobody knows the place; that it is not the newest entry has to do.
    """
    first = page.entries[0] if page.entries else None
    if isinstance(first, Oddity):
        return first != newest
    return first is not None and slug_of(first.hash) == slug
