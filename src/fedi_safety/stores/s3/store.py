"""The S3 store: a bucket, or a prefix of one, on any service that speaks the protocol.

It never takes part of a body for an object, and a removal takes every version of the key. It writes nothing but
deletions, keeps nothing on disk, and does not know pict-rs beyond the shape of its keys. botocore, used from threads,
lists and deletes, for obstore can do neither with versions; objects are fetched by obstore (`get.py`).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence

from fedi_safety.config.schema import S3
from fedi_safety.core.enums import ActKind, PlanState, Reason
from fedi_safety.core.errors import StoreError, Unscannable
from fedi_safety.core.keys import OUR_NAME, KeyRange, key_bytes, key_text
from fedi_safety.core.types import Object, Removal, Right, Unscanned
from fedi_safety.stores.cutting import cut_by_names, cut_by_samples
from fedi_safety.stores.s3 import pictrs_keys as pictrs
from fedi_safety.stores.s3.address import Address, read_address
from fedi_safety.stores.s3.answers import is_utf8
from fedi_safety.stores.s3.client import Client, Entry, Head, Version
from fedi_safety.stores.s3.faults import Kind, Patience, S3Fault

HEAD_BYTES = 4096
_PIECE_BYTES = 1 << 20
_TOP_PAGES = 3  # of top directories; a bucket with more is listed as a whole
_SAMPLE_KEYS = 1000
_NOT_UTF8 = "the key is not UTF-8, and this service cannot be asked for it"
_ONLY_HIDDEN = (
    "the bucket keeps versions: it is hidden now, but still stored; "
    "grant s3:ListBucketVersions and s3:DeleteObjectVersion, then run again"
)
_RIGHTS_TO_REMOVE = (
    "grant s3:DeleteObject, and where the bucket keeps versions s3:ListBucketVersions and s3:DeleteObjectVersion"
)
_PERHAPS_HIDDEN = (
    "it was not there any more; whether the bucket keeps older versions of it cannot be seen without "
    "s3:ListBucketVersions"
)


def open_s3(url: str, access: S3, patience: Patience | None = None) -> S3Store:
    """Return the store that `url` names, after one small request has shown that it can be listed.

    Raises `StoreUsageError` where URL, credentials, bucket or region are wrong, `StoreError` where it is out of reach.
    """
    address = read_address(url, access)
    patience = patience or Patience()
    client = Client(address, access.connections, patience)
    try:
        client.first_keys(address.root, "", 1)
    except S3Fault as fault:
        client.close()
        if not fault.region or fault.region == address.region:
            raise _store_fault(fault).as_store_error(address.url) from None
        # The service has named the bucket's region: no need to make a person type it.
        address = address.in_region(fault.region)
        client = Client(address, access.connections, patience)
        try:
            client.first_keys(address.root, "", 1)
        except S3Fault as second:
            client.close()
            raise _store_fault(second).as_store_error(address.url) from None
    return S3Store(address, client, access.connections)


class S3Store:
    """A bucket. Keys are relative to the URL's prefix; see the `Store` port for the promises."""

    default_act = ActKind.DELETE
    local_root = None
    identity = None
    owner = None

    def __init__(self, address: Address, client: Client, concurrency: int) -> None:
        """Use `client`, which this store closes."""
        self.concurrency = concurrency
        self._address = address
        self._client = client
        self._timed = False
        self.listed_from: str | None = None
        """The key that the last listing with `since` began from, instead of reading the whole bucket; else None."""

    def __repr__(self) -> str:
        """Name the store, without credentials."""
        return f"S3Store({self.url!r})"

    @property
    def url(self) -> str:
        """The canonical URL, with the endpoint, without credentials."""
        return self._address.url

    @property
    def client(self) -> Client:
        """The requests to the bucket, for what writes there."""
        return self._client

    @property
    def address(self) -> Address:
        """The bucket, and the prefix that is this store's root."""
        return self._address

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # --- listing

    def list(self, prefixes: Sequence[str] = (), since: float | None = None) -> Iterator[Object | Unscanned]:
        """Yield the bucket's objects in the byte order of their keys; see the `Store` port.

        A service that does not list in that order (S3 Express) is passed on as it lists.
        """
        return self.list_within(KeyRange(), prefixes, since)

    def list_within(
        self, within: KeyRange, prefixes: Sequence[str] = (), since: float | None = None
    ) -> Iterator[Object | Unscanned]:
        """Yield a part of the bucket's objects; see the `Divisible` port."""
        since_ns = None if since is None else int(since * 1e9)
        self.listed_from = None
        try:
            for entry in self._entries(prefixes, since) if within.all else self._part(within, prefixes):
                # What has no time, or none that can be read, may be new.
                if since_ns is not None and entry.mtime_ns is not None and entry.mtime_ns < since_ns:
                    continue
                found = self._found(entry)
                if found is not None:
                    yield found
        except S3Fault as fault:
            raise _store_fault(fault).as_store_error(self.url) from None

    def _entries(self, prefixes: Sequence[str], since: float | None) -> Iterator[Entry]:
        ranges = _apart(prefixes)
        if since is not None and ranges == [""] and not self._address.root:
            yield from self._entries_since(since)
            return
        for prefix in ranges:
            yield from self._client.entries(self._address.root + prefix)

    def _part(self, within: KeyRange, prefixes: Sequence[str]) -> Iterator[Entry]:
        """List from a key on. Raises `StoreError` where the service has no order: what a part lacks would be lost."""
        root, last = self._address.root, b""
        after = "" if within.after is None else root + key_text(within.after)
        for prefix in _apart(prefixes):
            for entry in self._client.entries(root + prefix, after):
                key = key_bytes(entry.key[len(root) :])
                if key < last:
                    raise StoreError(self.url, "the service does not list in order", "leave out --engine ray")
                last = key
                if within.past(key):
                    return
                if within.holds(key):
                    yield entry

    def cuts(self, within: KeyRange, most: int) -> tuple[bytes, ...] | None:
        """Part the bucket by time where pict-rs names so, else at directories, else between keys; see `Divisible`."""
        root = self._address.root
        try:
            page = self._client.first_keys(root, "", _SAMPLE_KEYS)
            if sorted(page, key=key_bytes) != page:
                return None
            if within.all and not root and self._is_timed():
                return self._cuts_by_time(most)
            cuts = cut_by_names(self._names, within, most)
            if len(cuts) < most:
                cuts = sorted({*cuts, *cut_by_samples(self._following, within, most)})
            return tuple(cuts)
        except S3Fault as fault:
            raise _store_fault(fault).as_store_error(self.url) from None

    def _cuts_by_time(self, most: int) -> tuple[bytes, ...]:
        first = self._following(key_bytes(pictrs.FIRST_TIMED_KEY))
        began = None if first is None else pictrs.time_of(key_text(first))
        now = time.time()
        if began is None or began >= now:
            return ()
        times = (began + (now - began) * step / (most + 1) for step in range(1, most + 1))
        return tuple(key_bytes(pictrs.key_before(at + pictrs.SLACK_S)) for at in times)

    def _names(self, directory: bytes) -> Sequence[bytes]:
        root = self._address.root
        found = self._client.top(_TOP_PAGES, root + key_text(directory))
        if found is None:
            return []
        return [key_bytes(name[len(root) :]) for name in (*found[0], *(entry.key for entry in found[1]))]

    def _following(self, after: bytes) -> bytes | None:
        root = self._address.root
        keys = self._client.first_keys(root, root + key_text(after), 1)
        return key_bytes(keys[0][len(root) :]) if keys else None

    def _entries_since(self, since: float) -> Iterator[Entry]:
        """List a bucket in which pict-rs keeps its objects by time from the key of that time on, others as a whole.

        Everything that is not of pict-rs' making is still listed: only what lies before the key, and what older
        releases counted up, is passed over, because nothing new is ever stored there.
        """
        top = self._client.top(_TOP_PAGES)
        if top is None or pictrs.TIMED_ROOT not in top[0] or not self._is_timed():
            yield from self._client.entries("")
            return
        directories, beside = top
        self.listed_from = pictrs.key_before(since)
        parts: dict[str, Entry | None] = {entry.key: entry for entry in beside}
        parts |= {name: None for name in directories if not pictrs.is_older_root(name)}
        parts[pictrs.TIMED_ROOT] = None
        for name in sorted(parts, key=key_bytes):
            entry = parts[name]
            if entry is not None:
                yield entry
            else:
                yield from self._client.entries(name, self.listed_from if name == pictrs.TIMED_ROOT else "")

    def _is_timed(self) -> bool:
        """Whether the keys show a pict-rs that names by time. Once it does, it does so for good."""
        if not self._timed:
            sample = self._client.first_keys(pictrs.TIMED_ROOT, pictrs.FIRST_TIMED_KEY, _SAMPLE_KEYS)
            self._timed = pictrs.written_by_time(sample)
        return self._timed

    def _found(self, entry: Entry) -> Object | Unscanned | None:
        """Return what one line of the listing is; None for what is no one's object."""
        key = entry.key[len(self._address.root) :]
        if not key or (entry.size == 0 and entry.key == pictrs.HEALTH_CHECK):
            return None
        obj = Object(key, entry.size or 0, entry.mtime_ns or 0, entry.tag)
        if key.endswith("/") and entry.size == 0:
            return Unscanned(obj, Reason.NOT_MEDIA, "a folder marker")
        if entry.size is None:
            return Unscanned(obj, Reason.UNREADABLE, "the service lists no size for it that can be read")
        if entry.mtime_ns is None and not entry.tag:
            return Unscanned(
                obj, Reason.UNREADABLE, "the service lists neither an ETag nor a time that can be read: no change shows"
            )
        return obj

    # --- reading

    def fetch(self, obj: Object, accept: Callable[[bytes], object]) -> bytes:
        """Return all bytes of the object as listed, or `Unscannable`; see the `Store` port."""
        accepted = False

        def whole() -> bytes:
            nonlocal accepted
            body = self._client.get(self._key(obj))
            try:
                self._compare(obj, body.head)
                head = body.read(min(HEAD_BYTES, obj.size))
                if len(head) < min(HEAD_BYTES, obj.size):
                    raise _cut_short(len(head), obj.size)
                if not accepted:
                    accept(head)
                    accepted = True
                rest = body.read(obj.size - len(head) + 1)
            finally:
                body.close()
            if len(head) + len(rest) != obj.size:
                raise _cut_short(len(head) + len(rest), obj.size)
            return head + rest if rest else head

        try:
            return self._client.insist(whole)
        except S3Fault as fault:
            raise self._unscannable(obj, fault) from None

    def _key(self, obj: Object) -> str:
        return self._address.root + obj.key

    def _compare(self, obj: Object, head: Head) -> None:
        """Raise unless the answer is about the object as it was listed."""
        if not _same(obj, head):
            raise Unscannable(Reason.CHANGED, "it changed after it was listed")
        if head.size is not None and head.size != obj.size:
            if not obj.tag:
                raise Unscannable(Reason.CHANGED, "it changed after it was listed")
            raise _cut_short(head.size, obj.size)

    def _unscannable(self, obj: Object, fault: S3Fault) -> Unscannable:
        """Return what a fault says about one object; raise where it is about the whole store."""
        if fault.kind is Kind.AGAIN:
            return Unscannable(Reason.FETCH_FAILED, fault.phrase)
        if fault.kind in (Kind.GONE, Kind.REFUSED) and not is_utf8(obj.key):
            # It is listed, and not found by the name it is listed with: that proves nothing about it.
            return Unscannable(Reason.UNREADABLE, f"{_NOT_UTF8}: {fault.cause}")
        if fault.kind is Kind.GONE:
            return Unscannable(Reason.VANISHED, fault.cause)
        if fault.kind is Kind.DENIED:
            remedy = fault.remedy or "grant s3:GetObject"
            return Unscannable(Reason.UNREADABLE, f"{fault.cause}; {remedy}")
        if fault.kind in (Kind.UNSUPPORTED, Kind.REFUSED):
            return Unscannable(Reason.UNREADABLE, fault.phrase)
        raise fault.as_store_error(self.url) from None

    # --- removing

    def remove(self, obj: Object, sha256: bytes) -> Removal:
        """Delete every version of the key after reading back that it is what was judged; see the `Store` port.

        Older versions of the key may hold other contents; they go as well, and the detail says how many went.
        """
        try:
            return self._remove(obj, self._key(obj), sha256)
        except Unscannable as error:
            state = PlanState.CHANGED if error.reason is Reason.CHANGED else PlanState.FAILED
            return Removal(state, error.detail)
        except S3Fault as fault:
            remedy = fault.remedy or ("grant s3:DeleteObject" if fault.kind is Kind.DENIED else "")
            return Removal(PlanState.FAILED, f"{fault.cause}; {remedy or 'the next run tries again'}")

    def _remove(self, obj: Object, key: str, sha256: bytes) -> Removal:
        try:
            current = self._digest(obj, key)
        except S3Fault as fault:
            if fault.kind is not Kind.GONE:
                raise
            if not is_utf8(obj.key) and not fault.marker:
                return Removal(PlanState.FAILED, f"{_NOT_UTF8}: {fault.cause}")
            return self._remove_hidden(obj, key, sha256, marker=fault.marker)
        if current != sha256:
            return Removal(PlanState.CHANGED, "the content differs from what was judged")
        versions = self._versions(key)
        latest = next((version for version in versions if version.latest), None)
        if latest is not None and not _is_version(obj, latest):
            return Removal(PlanState.CHANGED, "something else was stored under its name meanwhile")
        return self._delete(obj, key, versions)

    def _remove_hidden(self, obj: Object, key: str, sha256: bytes, *, marker: bool) -> Removal:
        """Finish what a delete marker only hides: an interrupted removal, or someone's plain deletion."""
        try:
            versions = self._client.versions(key)
        except S3Fault as fault:
            if fault.kind is Kind.UNSUPPORTED:
                versions = []
            elif fault.kind is Kind.DENIED:
                return Removal(PlanState.FAILED, _ONLY_HIDDEN) if marker else Removal(PlanState.GONE, _PERHAPS_HIDDEN)
            else:
                raise
        for version in versions:
            if _is_version(obj, version) and self._digest(obj, key, version.id) == sha256:
                return self._delete(obj, key, versions)
        left = f"; {len(versions)} older versions and markers, of other contents, remain" if versions else ""
        return Removal(PlanState.GONE, f"it was not there any more{left}")

    def _digest(self, obj: Object, key: str, version: str | None = None) -> bytes:
        """Return the SHA-256 of what stands there now. Raises if nothing does, or if it is not as it was listed."""

        def whole() -> bytes:
            body = self._client.get(key, version)
            digest, count = hashlib.sha256(), 0
            try:
                if version is None:
                    self._compare(obj, body.head)
                while piece := body.read(_PIECE_BYTES):
                    digest.update(piece)
                    count += len(piece)
            finally:
                body.close()
            if count != obj.size:
                raise _cut_short(count, obj.size)
            return digest.digest()

        try:
            return self._client.insist(whole)
        except S3Fault as fault:
            raise _denied_version(fault, version, "s3:GetObjectVersion") from None

    def _versions(self, key: str) -> Sequence[Version]:
        """Return all versions, or none where the service keeps none or the key may not list them."""
        try:
            return self._client.versions(key)
        except S3Fault as fault:
            if fault.kind in (Kind.UNSUPPORTED, Kind.DENIED):
                return ()
            raise

    def _delete(self, obj: Object, key: str, versions: Sequence[Version]) -> Removal:
        # The latest goes last: while it stands, or a marker in its place, no older version comes to light, and a
        # removal that is interrupted half way is found again by the next run.
        numbered = sorted((v for v in versions if v.id), key=lambda v: v.latest)
        for version in numbered:
            self._delete_version(key, version)
        if not numbered and self._client.delete(key):
            return Removal(PlanState.FAILED, _ONLY_HIDDEN)
        return self._verified(obj, key, numbered)

    def _delete_version(self, key: str, version: Version) -> None:
        try:
            self._client.delete(key, version.id)
        except S3Fault as fault:
            # Some services list an unversioned object as version "null" and then do not know that name.
            if version.id != "null" or fault.kind not in (Kind.UNSUPPORTED, Kind.GONE, Kind.USAGE, Kind.REFUSED):
                raise _denied_version(fault, version.id, "s3:DeleteObjectVersion") from None
            self._client.delete(key)

    def _verified(self, obj: Object, key: str, deleted: Sequence[Version]) -> Removal:
        """Read back that nothing is left."""
        counted = f"{len(deleted)} versions and markers deleted; " if len(deleted) > 1 else ""
        ids = {version.id for version in deleted if version.id != "null"}
        left = self._versions(key)
        if any(version.id in ids for version in left):
            return Removal(PlanState.FAILED, f"{counted}a version is still there; the next run tries again")
        try:
            head = self._client.head(key)
        except S3Fault as fault:
            if fault.kind is not Kind.GONE:
                raise
            if left:
                return Removal(
                    PlanState.FAILED, f"{counted}{len(left)} versions are still there; the next run tries again"
                )
            return Removal(PlanState.DONE, f"{counted}verified: the key is gone")
        if not _is_version(obj, Version("", True, False, head.size or 0, head.tag)):
            return Removal(PlanState.DONE, f"{counted}verified: gone; another object has since taken the key")
        return Removal(PlanState.FAILED, f"{counted}the key still answers; the next run tries again")

    # --- asking what may be done

    def may_remove(self, sample: Sequence[Object]) -> Right:  # noqa: ARG002
        """Return whether deleting is allowed, by deleting a name of our own that nothing has; see the `Store` port.

        A right to write is not needed to remove, so nothing is written. A bucket that keeps versions puts a marker in
        the name's place, which is deleted as a removal deletes versions.
        """
        key = f"{self._address.root}{OUR_NAME}{secrets.token_hex(8)}"
        try:
            if not self._client.delete(key):
                return Right(True)
            markers = [version for version in self._client.versions(key) if version.id]
            for marker in markers:
                self._client.delete(key, marker.id)
        except S3Fault as fault:
            if fault.kind is Kind.GONE:
                return Right(True)
            if fault.kind in (Kind.DENIED, Kind.UNSUPPORTED, Kind.REFUSED):
                return Right(False, f"{fault.cause}; {fault.remedy or _RIGHTS_TO_REMOVE}")
            raise _store_fault(fault).as_store_error(self.url) from None
        return Right(True) if markers else Right(False, _ONLY_HIDDEN)


def _apart(prefixes: Sequence[str]) -> list[str]:
    """Return the prefixes in byte order without those that another one covers: their keys then come in order too."""
    kept: list[str] = []
    for prefix in sorted(set(prefixes) or {""}, key=key_bytes):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept


def _same(obj: Object, head: Head) -> bool:
    if obj.tag:
        # Without a tag the answer cannot be matched: as good as cut short, so it is asked for again.
        if not head.tag:
            raise S3Fault(Kind.AGAIN, "the answer names no ETag", "check what stands before the service")
        return head.tag == obj.tag
    return head.mtime_ns is None or head.mtime_ns // 10**9 == obj.mtime_ns // 10**9


def _is_version(obj: Object, version: Version) -> bool:
    return not version.marker and version.size == obj.size and (not obj.tag or version.tag == obj.tag)


def _cut_short(got: int, size: int) -> S3Fault:
    return S3Fault(Kind.AGAIN, f"{got} of {size} bytes came", "try again later")


def _denied_version(fault: S3Fault, version: str | None, right: str) -> S3Fault:
    """Return the fault, with the right that it takes where a version is refused."""
    if version is None or fault.kind is not Kind.DENIED or fault.remedy:
        return fault
    return S3Fault(fault.kind, fault.cause, f"grant {right}", fault.code)


def _store_fault(fault: S3Fault) -> S3Fault:
    """Return the fault as it reads when it is about the bucket."""
    if fault.kind is Kind.DENIED and not fault.remedy:
        return S3Fault(fault.kind, "access denied", "check the keys, and grant s3:ListBucket on the bucket")
    if fault.kind is Kind.GONE:
        return S3Fault(fault.kind, "there is no such bucket", "check the bucket's name, the endpoint and the region")
    return fault
