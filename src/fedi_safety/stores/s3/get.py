"""GETs of whole objects without what botocore does around every request, which costs more than the request itself.

A listing that botocore made is the pattern: the address, the headers, the region that it signed for. obstore makes the
requests where it makes the same ones (`obstore_gets.py`). Where it does not, or has failed a moment ago, botocore's
HTTP session sends them, so TLS, proxies, time-outs and pooled connections are what they are for every other request.
The signature is made here then, and used only after it has been found to be botocore's own. Nothing is repeated, or
read but error answers.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from fedi_safety.core.keys import key_bytes
from fedi_safety.stores.s3 import answers
from fedi_safety.stores.s3.address import Address
from fedi_safety.stores.s3.faults import Patience
from fedi_safety.stores.s3.obstore_gets import ObstoreGets, Refused

# What a signature of botocore's must say for ours to be of the same kind; S3 Express, for instance, has another.
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^,]*/\d{8}/(?P<region>[^/,]+)/s3/aws4_request, SignedHeaders=[^,]+, Signature=.+"
)
_OF_ONE_REQUEST = ("authorization", "x-amz-", "amz-sdk-")
_NO_BODY = hashlib.sha256(b"").hexdigest()
_READ = {"ETag": "ETag", "ContentLength": "Content-Length", "LastModified": "Last-Modified"}
_ERROR_BYTES = 1 << 16  # of an error's body; more is cut off
_REST_S = 10.0  # after a failure, botocore says for so long what is wrong


class Gets:
    """GETs of one bucket through one botocore client. Thread-safe; raises what botocore raises."""

    def __init__(self, client: Any, address: Address, patience: Patience) -> None:
        """Ask through `client`, which stays the caller's to close. The first listing of the bucket is the pattern."""
        self._client = client
        self._address = address
        self._patience = patience
        self._pattern: _Pattern | None = None
        self._obstore: ObstoreGets | None = None
        self._resting_until = 0.0
        # Not a promise of botocore's; where a release moves it, every GET goes the long way.
        self._session: Any = getattr(getattr(client, "_endpoint", None), "http_session", None)
        if self._session is not None:
            client.meta.events.register("before-send.s3.ListObjectsV2", self._note)

    def close(self) -> None:
        """Let go of the connections that are not the client's."""
        self._obstore = None

    def get(self, key: str, version: str | None = None) -> dict[str, Any]:
        """Return the answer's unread Body, and its ETag, ContentLength and LastModified where it has them."""
        if version is None and self._pattern is not None:
            return self._by_obstore(key) or self._short(self._pattern, key)
        chosen = {"VersionId": version} if version else {}
        answer: dict[str, Any] = self._client.get_object(Bucket=self._address.bucket, Key=answers.asked(key), **chosen)
        return answer

    def _note(self, request: Any, **_: object) -> None:
        if self._pattern is None:
            self._pattern = pattern = _pattern(request, self._address)
            if pattern is not None and ObstoreGets.usable(pattern.before_key, self._address):
                agent = pattern.usual.get("User-Agent", "fedi-safety")
                self._obstore = ObstoreGets(
                    pattern.before_key, pattern.signer.region, self._address, agent, self._patience
                )

    def _by_obstore(self, key: str) -> dict[str, Any] | None:
        """Return obstore's answer; None where botocore is to be asked, which says what is wrong."""
        obstore = self._obstore
        if obstore is None or not ObstoreGets.takes(key) or time.monotonic() < self._resting_until:
            return None
        try:
            return obstore.get(key)
        except Refused:
            self._resting_until = time.monotonic() + _REST_S
            return None
        except OSError:
            self._resting_until = time.monotonic() + _REST_S
            raise

    def _short(self, pattern: _Pattern, key: str) -> dict[str, Any]:
        from botocore.awsrequest import AWSPreparedRequest  # type: ignore[import-untyped]

        url = pattern.url(key)
        answer = self._session.send(AWSPreparedRequest("GET", url, pattern.headers(url), None, True))
        if answer.status_code >= 300:
            raise _refusal(answer)
        found = {name: answer.headers[header] for name, header in _READ.items() if header in answer.headers}
        return found | {"Body": answer.raw}


class _Signer:
    """AWS Signature Version 4 for GETs that have no query and no body, in one region of S3."""

    def __init__(self, address: Address, region: str) -> None:
        self._address = address
        self.region = region
        self._key = ("", b"")  # a day, and the key made for it

    def headers(self, url: str, moment: str) -> dict[str, str]:
        """Return the headers that sign a GET of `url` at `moment` (YYYYMMDDThhmmssZ, UTC)."""
        parts = urlsplit(url)
        signed = {"Host": parts.netloc, "X-Amz-Content-SHA256": _NO_BODY, "X-Amz-Date": moment}
        if self._address.session_token:
            signed["X-Amz-Security-Token"] = self._address.session_token
        lines = "".join(f"{name.lower()}:{value}\n" for name, value in signed.items())
        names = ";".join(signed).lower()
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        asked = hashlib.sha256(f"GET\n{parts.path}\n\n{lines}\n{names}\n{_NO_BODY}".encode()).hexdigest()
        signature = _hmac(self._key_of(moment[:8]), f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{asked}").hex()
        credential = f"{self._address.access_key_id}/{scope}"
        said = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return signed | {"Authorization": said}

    def _key_of(self, day: str) -> bytes:
        known, key = self._key
        if known != day:
            key = f"AWS4{self._address.secret_access_key}".encode()
            for part in (day, self.region, "s3", "aws4_request"):
                key = _hmac(key, part)
            self._key = day, key
        return key


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What all requests for objects of the bucket have in common."""

    before_key: str
    usual: dict[str, str]
    signer: _Signer

    def url(self, key: str) -> str:
        """Return the object's URL, with the same characters encoded as botocore encodes."""
        return self.before_key + quote(key_bytes(key), safe="/~")

    def headers(self, url: str) -> dict[str, str]:
        """Return all headers of a GET that is made now."""
        return self.usual | self.signer.headers(url, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))


def _pattern(listing: Any, address: Address) -> _Pattern | None:
    """Return what a request for a listing shows of every other; None where ours would not be signed as botocore's."""
    signed = _SIGNED.fullmatch(_text(listing.headers.get("Authorization", "")))
    if signed is None:
        return None
    usual = {n: _text(v) for n, v in listing.headers.items() if not n.lower().startswith(_OF_ONE_REQUEST)}
    before_key = listing.url.partition("?")[0].rstrip("/") + "/"
    pattern = _Pattern(before_key, usual, _Signer(address, signed["region"]))
    return pattern if _is_botocores(pattern, address, signed["region"]) else None


def _is_botocores(pattern: _Pattern, address: Address, region: str) -> bool:
    """Whether botocore would sign a GET just so."""
    from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials  # type: ignore[import-untyped]

    keys = Credentials(address.access_key_id, address.secret_access_key, address.session_token)
    theirs = AWSRequest("GET", pattern.url("a/b c~é'"), pattern.usual)
    S3SigV4Auth(keys, "s3", region).add_auth(theirs)
    ours = pattern.signer.headers(theirs.url, theirs.headers["X-Amz-Date"])
    return all(theirs.headers[name] == value for name, value in ours.items() if name != "Host")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _refusal(answer: Any) -> Exception:
    """Return the error that botocore would make of this answer."""
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]
    from botocore.parsers import create_parser  # type: ignore[import-untyped]

    try:
        body = answer.raw.read(_ERROR_BYTES)
    finally:
        answer.raw.close()
    said = {"status_code": answer.status_code, "headers": answer.headers, "body": body}
    return ClientError(create_parser("rest-xml").parse(said, None), "GetObject")  # type: ignore[no-any-return]
