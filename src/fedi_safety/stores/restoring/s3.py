"""Putting objects back into a bucket, with the headers, user metadata, tags, class and public reading that they had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import StoreError, StoreUsageError, Unscannable
from fedi_safety.core.sealing.copies import Described
from fedi_safety.core.types import Object
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

    def _described(self, key: str) -> dict[str, Any]:
        asked = {"Bucket": self._address.bucket, "Key": self._address.root + key}
        head = self._client.ask("head_object", **asked)
        found: dict[str, Any] = {name: str(head[header]) for name, header in _HEADERS.items() if head.get(header)}
        expires = head.get("ExpiresString") or head.get("Expires")
        found |= {"expires": str(expires)} if expires else {}
        found["metadata"] = {str(name): str(value) for name, value in (head.get("Metadata") or {}).items()}
        found["etag"] = str(head.get("ETag") or "").removeprefix("W/").strip('"')
        found["modified"] = str(head.get("LastModified") or "")
        unread = []
        for name, read in (("tags", self._tags), ("public", self._public), ("versions", self._versions)):
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

    def _versions(self, asked: Mapping[str, str]) -> int:
        return len(self._client.versions(asked["Key"]))

    def lost(self, described: Described) -> Sequence[str]:
        """Return what of an object does not come back; see the `Restorer` port."""
        found = [f"the time of storing is new (it was {described.get('modified') or 'not told'})"]
        older = described.get("versions", 1) - 1
        if older > 0:
            found.append(f"{older} older versions or markers of the key went with it, and are not in the copy")
        return [*found, *described.get("unread", ())]

    def put_back(self, key: str, data: bytes, described: Described) -> Sequence[str]:
        """Store the object where nothing has its key, and read back; see the `Restorer` port."""
        whole = {"Bucket": self._address.bucket, "Key": self._address.root + key}
        thing = f"{self._url}: {key}"
        try:
            if self._is_taken(whole):
                raise _taken(thing)
            differs = self._stored(whole, data, described, thing)
            now = self._described(key)
            body = self._client.get(whole["Key"])
            try:
                if body.read(len(data) + 1) != data:
                    raise StoreError(thing, "what was read back is not what was stored", "see to the service")
            finally:
                body.close()
        except S3Fault as fault:
            raise StoreError(thing, fault.cause, fault.remedy or "grant s3:PutObject") from None
        compared = [*_HEADERS, "expires", "metadata", "tags", "public"]
        for name in compared:
            was, is_now = described.get(name), now.get(name)
            if was is not None and was != is_now and not any(name.rstrip("s") in line for line in differs):
                differs.append(f"{name} is {is_now}, and was {was}")
        return differs

    def _is_taken(self, whole: Mapping[str, str]) -> bool:
        try:
            self._client.head(whole["Key"])
        except S3Fault as fault:
            if fault.kind is Kind.GONE:
                return False
            raise
        return True

    def _stored(self, whole: Mapping[str, str], data: bytes, described: Described, thing: str) -> list[str]:
        """Store it with all that it had; leave out, and name, what the service refuses."""
        asked: dict[str, Any] = {header: described[name] for name, header in _HEADERS.items() if name in described}
        asked |= {"Metadata": described["metadata"]} if described.get("metadata") else {}
        asked |= {"Expires": described["expires"]} if described.get("expires") else {}
        asked |= {"Tagging": urlencode(described["tags"])} if described.get("tags") else {}
        asked |= {"ACL": "public-read"} if described.get("public") else {}
        asked["IfNoneMatch"] = "*"
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


def _taken(thing: str) -> StoreUsageError:
    return StoreUsageError(thing, "something stands there already, and nothing was written", "move it away first")
