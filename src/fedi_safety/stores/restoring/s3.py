"""Putting objects back into a bucket, with the headers, user metadata, tags, class and public reading that they had.

Of a bucket that keeps versions a removal takes all of a key, so that all of them are sealed and put back, in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import SealError, StoreError, StoreUsageError, Unscannable
from fedi_safety.core.sealing.copies import Described, Older
from fedi_safety.core.types import Object
from fedi_safety.stores.s3.client import Version
from fedi_safety.stores.s3.faults import Kind, S3Fault
from fedi_safety.stores.s3.store import S3Store

_HEADERS = {
    "content_type": "ContentType",
    "cache_control": "CacheControl",
    "content_disposition": "ContentDisposition",
    "content_encoding": "ContentEncoding",
    "content_language": "ContentLanguage",
    "website_redirect": "WebsiteRedirectLocation",
    "storage_class": "StorageClass",
}
_EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
# What a service may not know, least needed first: without it the object is stored all the same, and that is said.
_MAY_BE_REFUSED = {
    "IfNoneMatch": "",
    "ACL": "the right of everybody to read it was refused",
    "StorageClass": "the storage class was refused",
    "Tagging": "the tags were refused",
}
MOST_OLDER_BYTES = 256 << 20
"""The most bytes of older versions that are sealed with an object: they are in memory together."""
MOST_VERSIONS = 1000
_UNREADABLE = (Kind.UNSUPPORTED, Kind.DENIED, Kind.REFUSED)


class S3Restorer:
    """Puts objects back into the bucket of an S3 store; see the `Restorer` port."""

    def __init__(self, store: S3Store) -> None:
        """Use the store, which stays the caller's to close."""
        self._client = store.client
        self._address = store.address
        self._url = store.url

    def describe(self, obj: Object, sha256: bytes) -> Described:  # noqa: ARG002
        """Return headers, user metadata, tags, class, and how many older versions go; see the `Restorer` port."""
        try:
            described = self._described(obj.key)
        except S3Fault as fault:
            if fault.kind is Kind.GONE:
                raise Unscannable(Reason.VANISHED, fault.cause) from fault
            raise fault.as_store_error(self._url) from None
        if obj.tag and described["etag"] != obj.tag:
            raise Unscannable(Reason.CHANGED, "it changed after it was listed")
        return described

    def older(self, obj: Object) -> Sequence[Older]:
        """Return the key's older versions and marks of deletion, the oldest first; see the `Restorer` port."""
        thing, key = f"{self._url}: {obj.key}", self._address.root + obj.key
        try:
            versions = [version for version in self._known(key) if not version.latest][::-1]
            size = sum(version.size for version in versions)
            if size > MOST_OLDER_BYTES or len(versions) >= MOST_VERSIONS:
                cause = f"{len(versions):,} older versions of it have {size >> 20:,} MiB, more than are sealed together"
                remedy = "remove some by the service's own tools, or choose `--act purge` for it, which keeps no copy"
                raise SealError(thing, cause, remedy)
            return [self._older(obj.key, version) for version in versions]
        except S3Fault as fault:
            remedy = "grant s3:GetObjectVersion" if fault.kind is Kind.DENIED else fault.remedy
            raise StoreError(thing, f"an older version cannot be read: {fault.cause}", remedy) from None

    def _older(self, key: str, version: Version) -> Older:
        if version.marker:
            return Older({}, None)
        return Older(self._described(key, version.id), self._bytes(self._address.root + key, version.id, version.size))

    def marks(self, obj: Object) -> frozenset[str]:
        """Return a mark for each version of the key, marks of deletion aside; see the `Restorer` port."""
        try:
            versions = self._known(self._address.root + obj.key)
        except S3Fault as fault:
            raise fault.as_store_error(self._url) from None
        return frozenset(
            hashlib.sha256(version.id.encode()).hexdigest()[:16]
            for version in versions
            if version.id and not version.marker
        )

    def _known(self, key: str) -> Sequence[Version]:
        """Return a key's versions and marks of deletion, newest first; none where the service keeps or shows none.

        Of a version and a mark of the same time (some services tell whole seconds) the version counts as the newer one.
        """
        try:
            return sorted(
                self._client.versions(key), key=lambda version: (not version.latest, -(version.mtime_ns or 0))
            )
        except S3Fault as fault:
            if fault.kind in (Kind.UNSUPPORTED, Kind.DENIED):  # what cannot be listed is not removed either
                return ()
            raise

    def _bytes(self, key: str, version: str | None, size: int) -> bytes:
        def whole() -> bytes:
            body = self._client.get(key, version)
            try:
                data = body.read(size + 1)
            finally:
                body.close()
            if len(data) != size:
                raise S3Fault(Kind.AGAIN, f"{len(data)} of {size} bytes came", "try again later")
            return data

        return self._client.insist(whole)

    def _described(self, key: str, version: str | None = None) -> dict[str, Any]:
        asked = {"Bucket": self._address.bucket, "Key": self._address.root + key}
        asked |= {"VersionId": version} if version else {}
        head = self._client.ask("head_object", **asked)
        found: dict[str, Any] = {name: str(head[header]) for name, header in _HEADERS.items() if head.get(header)}
        expires = head.get("ExpiresString") or head.get("Expires")
        found |= {"expires": str(expires)} if expires else {}
        found["metadata"] = {str(name): str(value) for name, value in (head.get("Metadata") or {}).items()}
        found["etag"] = str(head.get("ETag") or "").removeprefix("W/").strip('"')
        found["modified"] = str(head.get("LastModified") or "")
        unread = []
        for name, read in (("tags", self._tags), ("public", self._public)):
            try:
                found[name] = read(asked)
            except S3Fault as fault:
                if fault.kind not in _UNREADABLE:
                    raise
                if fault.kind is Kind.DENIED:
                    unread.append(f"{name} could not be read when it was sealed: {fault.cause}")
        if unread:
            found["unread"] = unread
        return found

    def _tags(self, asked: Mapping[str, str]) -> dict[str, str]:
        answer = self._client.ask("get_object_tagging", **asked)
        return {str(tag["Key"]): str(tag["Value"]) for tag in answer.get("TagSet") or []}

    def _public(self, asked: Mapping[str, str]) -> bool:
        grants = self._client.ask("get_object_acl", **asked).get("Grants") or []
        return any((grant.get("Grantee") or {}).get("URI") == _EVERYBODY for grant in grants)

    def lost(self, described: Described, older: int = 0) -> Sequence[str]:
        """Return what of an object does not come back; see the `Restorer` port."""
        found = [f"the time of storing is new (it was {described.get('modified') or 'not told'})"]
        if older:
            found.append(f"the names of its versions are new; {older} older ones are put back before it, in order")
        return [*found, *described.get("unread", ())]

    def put_back(self, key: str, data: bytes, described: Described, older: Sequence[Older] = ()) -> Sequence[str]:
        """Store the object where nothing has its key, older versions first, and read back; see the `Restorer` port."""
        thing, whole = f"{self._url}: {key}", self._address.root + key
        differs: list[str] = []
        try:
            if older and not self._keeps_versions():
                differs.append(
                    f"the bucket keeps no versions now: {len(older)} older ones stay in the copy, which "
                    "`age -d FILE | tar x` unpacks"
                )
                older = ()
            wanted = [*older, Older(described, data)]
            begun = self._begun(whole, wanted) if older else 0
            if not begun and self._is_taken(whole):
                raise _taken(thing)
            for number, version in enumerate(wanted[begun:], start=begun):
                self._put(whole, version, thing, differs, free=number == 0)
            self._differences(key, wanted, thing, differs)
        except S3Fault as fault:
            raise StoreError(thing, fault.cause, fault.remedy or "grant s3:PutObject") from None
        return list(dict.fromkeys(differs))

    def _keeps_versions(self) -> bool:
        try:
            answer = self._client.ask("get_bucket_versioning", Bucket=self._address.bucket)
        except S3Fault as fault:
            if fault.kind is Kind.UNSUPPORTED:
                return False
            remedy = "grant s3:GetBucketVersioning" if fault.kind is Kind.DENIED else fault.remedy
            raise S3Fault(fault.kind, fault.cause, remedy, fault.code) from None
        return answer.get("Status") == "Enabled"

    def _begun(self, key: str, wanted: Sequence[Older]) -> int:
        """Return how many versions an interrupted putting back has stored: exactly the first of those wanted."""
        there = self._known(key)
        first = wanted[: len(there)]
        bytes_of = [version for version in first if version.data is not None]
        stored = [version for version in there if not version.marker][::-1]
        # Marks of deletion are listed apart, and by some services with other times.
        same = len(there) <= len(wanted) and len(stored) == len(bytes_of) and all(map(_is_it, stored, bytes_of))
        return len(there) if same else 0

    def _put(self, key: str, version: Older, thing: str, differs: list[str], *, free: bool) -> None:
        """Store one version, or a mark of deletion. `free`: nothing may have the key."""
        if version.data is None:
            self._client.delete(key)
        else:
            differs += self._stored(key, version.data, version.described, thing, free=free)

    def _differences(self, key: str, wanted: Sequence[Older], thing: str, differs: list[str]) -> None:
        """Read everything back. Raises `StoreError` for bytes that are not as they were."""
        whole = self._address.root + key
        versions: list[str | None] = [None]
        stored = [(each, each.data) for each in wanted if each.data is not None]
        if len(wanted) > 1:
            there = [version.id for version in self._known(whole) if not version.marker]
            versions = list(there[: len(stored)][::-1])
            if len(versions) != len(stored):
                raise StoreError(thing, "the versions that were read back are not those stored", "see to the service")
        for version, (was, data) in zip(versions, stored, strict=True):
            now = self._described(key, version)
            if self._bytes(whole, version, len(data)) != data:
                raise StoreError(thing, "what was read back is not what was stored", "see to the service")
            for name in (*_HEADERS, "expires", "metadata", "tags", "public"):
                before, is_now = was.described.get(name), now.get(name)
                if before is not None and before != is_now and not any(name.rstrip("s") in line for line in differs):
                    differs.append(f"{name} is {is_now}, and was {before}")

    def _is_taken(self, key: str) -> bool:
        try:
            self._client.head(key)
        except S3Fault as fault:
            if fault.kind is Kind.GONE:
                return False
            raise
        return True

    def _stored(self, key: str, data: bytes, described: Described, thing: str, *, free: bool) -> list[str]:
        """Store it with all that it had; leave out, and name, what the service refuses."""
        whole = {"Bucket": self._address.bucket, "Key": key}
        asked: dict[str, Any] = {header: described[name] for name, header in _HEADERS.items() if name in described}
        asked |= {"Metadata": described["metadata"]} if described.get("metadata") else {}
        asked |= {"Expires": described["expires"]} if described.get("expires") else {}
        asked |= {"Tagging": urlencode(described["tags"])} if described.get("tags") else {}
        asked |= {"ACL": "public-read"} if described.get("public") else {}
        asked |= {"IfNoneMatch": "*"} if free else {}
        differs: list[str] = []
        refused = [name for name in _MAY_BE_REFUSED if name in asked]
        while True:
            try:
                self._client.ask("put_object", **whole, **asked, Body=data)
                return differs
            except S3Fault as fault:
                if fault.code in ("PreconditionFailed", "412"):
                    raise _taken(thing) from None
                if not refused or fault.kind is Kind.AGAIN:
                    raise
                left_out = refused.pop(0)
                del asked[left_out]
                if _MAY_BE_REFUSED[left_out]:
                    differs.append(f"{_MAY_BE_REFUSED[left_out]}: {fault.cause}")

    def close(self) -> None:
        """Nothing was opened beside the store."""


def _is_it(version: Version, wanted: Older) -> bool:
    """Whether a version is one that was put back: its tag is that of before, or that of its bytes."""
    data = wanted.data or b""
    tags = (wanted.described.get("etag"), hashlib.md5(data, usedforsecurity=False).hexdigest())
    return version.size == len(data) and version.tag in tags


def _taken(thing: str) -> StoreUsageError:
    return StoreUsageError(thing, "something stands there already, and nothing was written", "move it away first")
