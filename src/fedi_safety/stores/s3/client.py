"""The S3 requests that the store needs, each insisted on with patience, answers read into plain values.

It is botocore underneath, and obstore for GETs where that asks the same (`get.py`), with no configuration but ours: no
profile files, no metadata service, no retries of their own. It knows nothing of media or verdicts.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from fedi_safety.core.bounds import clamped_ns, ns_of, size_of
from fedi_safety.stores.s3 import answers
from fedi_safety.stores.s3.address import Address
from fedi_safety.stores.s3.answers import key_of
from fedi_safety.stores.s3.faults import NOT_S3, Kind, Patience, S3Fault
from fedi_safety.stores.s3.get import Gets

T = TypeVar("T")
# bench/s3_clients.py measures other libraries. obstore is the fastest, but can neither list nor delete versions.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PIECE_BYTES = 1 << 18
_NAMING = {"Key", "Prefix", "StartAfter", "Marker", "KeyMarker"}  # the parts of a request that hold a key
_GRACE_S = 30.0  # a body's time begins with this much, whatever its size
_SPARE_CONNECTIONS = 4  # beside the fetches: listing, acts


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing. `key` is the whole key; bytes that are not UTF-8 are lone surrogates.

    Size and time are None where the service says none, or none that can be.
    """

    key: str
    size: int | None
    mtime_ns: int | None
    tag: str


@dataclass(frozen=True, slots=True)
class Version:
    """One stored version of a key, or a delete marker, which has no content."""

    id: str
    latest: bool
    marker: bool
    size: int
    tag: str
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What an answer says of an object. `size` is None where the service does not say it."""

    size: int | None
    tag: str
    mtime_ns: int | None


class Body:
    """The bytes of one answer, read piece by piece against a deadline. Close it; unread bytes end the connection."""

    def __init__(self, answer: dict[str, Any], patience: Patience) -> None:
        """Take botocore's answer."""
        self.head = _head(answer)
        self._stream = answer["Body"]
        # One receive at a time: a read of many bytes from a trickle would not come back to look at the clock.
        self._read1: Callable[[int], bytes] = getattr(self._stream, "_raw_stream", self._stream).read1
        allowed = _GRACE_S * patience.read_s / 30.0 + (self.head.size or 0) / patience.slowest_bytes_per_s
        self._deadline = time.monotonic() + allowed

    def read(self, count: int) -> bytes:
        """Return `count` bytes, fewer only at the end of the body."""
        parts: list[bytes] = []
        missing = count
        while missing > 0:
            piece = self._read1(min(missing, _PIECE_BYTES))
            if not piece:
                break
            parts.append(piece)
            missing -= len(piece)
            if time.monotonic() > self._deadline:
                raise S3Fault(Kind.AGAIN, "the body comes too slowly", "check the network")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Release the connection."""
        self._stream.close()


class Client:
    """One bucket of one service. Thread-safe. Every method raises `S3Fault`."""

    def __init__(self, address: Address, connections: int, patience: Patience) -> None:
        """Prepare the connections; none is opened yet."""
        self._bucket = address.bucket
        self._patience = patience
        self._closed = threading.Event()
        self._client = _botocore(address, connections, patience)
        self._gets = Gets(self._client, address, patience)
        self._old_listing = False
        self.ignores_start = False

    def close(self) -> None:
        """Close the connections, and end the waiting of whoever insists."""
        if not self._closed.is_set():
            self._closed.set()
            self._gets.close()
            self._client.close()

    def insist(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, repeated while its fault may pass."""
        return self._patience.insist(work, self._closed)

    def entries(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Yield the keys under `prefix` that sort after `after`, page by page."""
        token, last = "", after
        while True:
            page = self._page(prefix, token, last)
            contents = page.get("Contents") or []
            first = key_of(page, contents[0].get("Key")) if contents else ""
            if after and not token and contents and first <= after:
                self.ignores_start = True
            before = last
            for raw in contents:
                key = key_of(page, raw.get("Key"))
                # What is before the start, or was there on the last page, is a service's quirk, not another object.
                if key == last or (after and key <= after):
                    continue
                last = key
                yield _entry(key, raw)
            if not page.get("IsTruncated"):
                return
            token = self._next_token(page, token, before, last)

    def _page(self, prefix: str, token: str, last: str) -> dict[str, Any]:
        asked: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix, "EncodingType": "url"}
        if self._old_listing:
            asked |= {"Marker": last} if last else {}
            return self.ask("list_objects", **asked)
        if token:
            asked["ContinuationToken"] = token
        elif last:
            asked["StartAfter"] = last
        return self.ask("list_objects_v2", **asked)

    def _next_token(self, page: dict[str, Any], token: str, before: str, last: str) -> str:
        """Return the token of the next page, or "" where the service only knows the older listing by marker."""
        following = str(page.get("NextContinuationToken") or "")
        if following:
            if following == token:
                raise S3Fault(
                    Kind.OUTSIDE,
                    "the service lists the same page again and again",
                    "report it to fedi-safety, with the name of the service",
                )
            return following
        if last == before and self._old_listing:
            raise S3Fault(
                Kind.OUTSIDE,
                "the service lists no further than one page",
                "report it to fedi-safety, with the name of the service",
            )
        self._old_listing = True
        return ""

    def top(self, most_pages: int, prefix: str = "") -> tuple[list[str], list[Entry]] | None:
        """Return the top directories of the bucket, or of what begins with `prefix`, and the objects beside them.

        None if they are too many for that.
        """
        directories: list[str] = []
        beside: list[Entry] = []
        token = ""
        for _ in range(most_pages):
            asked = {"Bucket": self._bucket, "Delimiter": "/", "EncodingType": "url"}
            asked |= {"Prefix": prefix} if prefix else {}
            page = self.ask("list_objects_v2", **asked, **({"ContinuationToken": token} if token else {}))
            directories += [
                key_of(page, raw["Prefix"]) for raw in page.get("CommonPrefixes") or [] if raw.get("Prefix")
            ]
            beside += [_entry(key_of(page, raw.get("Key")), raw) for raw in page.get("Contents") or []]
            token = str(page.get("NextContinuationToken") or "")
            if not page.get("IsTruncated"):
                return directories, beside
            if not token:
                return None
        return None

    def first_keys(self, prefix: str, after: str, most: int) -> list[str]:
        """Return up to `most` keys from one page."""
        asked = {"Bucket": self._bucket, "Prefix": prefix, "EncodingType": "url", "MaxKeys": most}
        page = self.ask("list_objects_v2", **asked, **({"StartAfter": after} if after else {}))
        return [key_of(page, raw.get("Key")) for raw in page.get("Contents") or []]

    def get(self, key: str, version: str | None = None) -> Body:
        """Return an object's answer with its body still to be read. One try: the reader insists on the whole."""
        return Body(self._gets.get(key, version), self._patience)

    def head(self, key: str) -> Head:
        """Return what the service says of an object without its bytes."""
        return _head(self.ask("head_object", Key=key, Bucket=self._bucket))

    def versions(self, key: str) -> list[Version]:
        """Return all versions, newest first, and then all delete markers, newest first, of exactly this key."""
        found: list[Version] = []
        marks: dict[str, Any] = {}
        while True:
            page = self.ask("list_object_versions", Bucket=self._bucket, Prefix=key, EncodingType="url", **marks)
            beyond = False
            for kind in ("Versions", "DeleteMarkers"):
                for raw in page.get(kind) or []:
                    if key_of(page, raw.get("Key")) == key:
                        found.append(_version(raw, marker=kind == "DeleteMarkers"))
                    else:
                        beyond = True  # in order of keys: this one has been listed to its end
            following = {"KeyMarker": key_of(page, page.get("NextKeyMarker") or "")}
            if page.get("NextVersionIdMarker"):
                following["VersionIdMarker"] = page["NextVersionIdMarker"]
            if beyond or not page.get("IsTruncated") or following == marks or not following["KeyMarker"]:
                return found
            marks = following

    def delete(self, key: str, version: str | None = None) -> bool:
        """Delete a version, or the key as it stands. Returns whether that only put a delete marker over it."""
        chosen = {"VersionId": version} if version else {}
        answer = self.ask("delete_object", Bucket=self._bucket, Key=key, **chosen)
        return bool(answer.get("DeleteMarker")) and not version

    def ask(self, name: str, **asked: Any) -> dict[str, Any]:
        """Return the answer to a request by botocore's name for it, insisted on. It names no bucket by itself."""
        method = getattr(self._client, name)

        for part in _NAMING & asked.keys():
            asked[part] = answers.asked(asked[part])

        def answer() -> dict[str, Any]:
            got: dict[str, Any] = method(**asked)
            # botocore reads a web page that is well-formed as a listing of nothing; every real one says this word.
            if name.startswith("list_") and "IsTruncated" not in got:
                raise S3Fault(Kind.AGAIN, "the answer is not S3's", NOT_S3)
            return got

        return self.insist(answer)


def _botocore(address: Address, connections: int, patience: Patience) -> Any:
    from botocore.config import Config  # type: ignore[import-untyped]
    from botocore.session import Session  # type: ignore[import-untyped]

    # At debug level botocore writes what it signs, the key id included, into the log.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    session = Session()
    session.set_config_variable("config_file", os.devnull)
    session.set_config_variable("credentials_file", os.devnull)
    session.register_component("response_parser_factory", answers.parsers())
    client = session.create_client(
        "s3",
        region_name=address.region,
        endpoint_url=address.endpoint,
        aws_access_key_id=address.access_key_id,
        aws_secret_access_key=address.secret_access_key,
        aws_session_token=address.session_token,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": address.style},
            connect_timeout=patience.connect_s,
            read_timeout=patience.read_s,
            max_pool_connections=connections + _SPARE_CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": 1},
            # Sent unasked, these headers are what R2, B2, Ceph and older MinIO stumble over.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            ignore_configured_endpoint_urls=True,
            user_agent_appid="fedi-safety",
        ),
    )
    # botocore follows a redirect by asking for the bucket's region, which a service that always redirects turns into
    # endless recursion. `open_s3` follows one redirect itself.
    client.meta.events.register_last("before-parameter-build.s3", _do_not_redirect)
    client.meta.events.register("before-call.s3", _name_exactly)
    return client


def _do_not_redirect(context: dict[str, Any], **_: object) -> None:
    context.setdefault("s3_redirect", {})["redirected"] = True


def _name_exactly(params: dict[str, Any], **_: object) -> None:
    params["url"] = answers.in_url(params["url"])


def _entry(key: str, raw: dict[str, Any]) -> Entry:
    return Entry(key, size_of(raw.get("Size")), _time_ns(raw.get("LastModified")), _tag(raw.get("ETag")))


def _tag(etag: object) -> str:
    return str(etag or "").removeprefix("W/").strip('"')


def _version(raw: dict[str, Any], *, marker: bool) -> Version:
    size, tag = size_of(raw.get("Size")) or 0, _tag(raw.get("ETag"))
    latest, at = bool(raw.get("IsLatest")), _time_ns(raw.get("LastModified"))
    return Version(str(raw.get("VersionId") or ""), latest, marker, size, tag, at)


def _head(answer: dict[str, Any]) -> Head:
    length, modified = answer.get("ContentLength"), answer.get("LastModified")
    size = None if length is None else size_of(length)
    if length is not None and size is None:
        raise S3Fault(Kind.AGAIN, "the answer names no length that can be read", NOT_S3)
    try:
        mtime_ns = ns_of(parsedate_to_datetime(str(modified)).timestamp()) if modified else None
    except (ValueError, OverflowError):
        mtime_ns = None
    return Head(size, _tag(answer.get("ETag")), mtime_ns)


def _time_ns(text: object) -> int | None:
    """Return a listing's time as epoch nanoseconds, exactly; None where there is none, or none that can be read."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return clamped_ns((moment - _EPOCH) // _MICROSECOND * 1000)
