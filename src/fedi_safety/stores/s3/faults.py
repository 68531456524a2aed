"""What can go wrong between here and an S3 service, read from the many ways of saying it, and how long to insist.

It decides nothing about objects: the store does. No error text carries a credential or a signature.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

from fedi_safety.core.errors import StoreError, StoreUsageError

T = TypeVar("T")


class Kind(Enum):
    """What a fault means for whoever asked."""

    AGAIN = auto()  # may pass by itself
    GONE = auto()  # there is no such object or version
    DENIED = auto()  # the key is known, but may not do this
    UNSUPPORTED = auto()  # the service does not offer this
    REFUSED = auto()  # this request is refused as it stands; another, for another object, need not be
    OUTSIDE = auto()  # nothing works until someone mends something outside the configuration
    USAGE = auto()  # nothing works as it is configured


class S3Fault(Exception):
    """A request failed; never shown as it is."""

    def __init__(
        self, kind: Kind, cause: str, remedy: str = "", code: str = "", region: str = "", *, marker: bool = False
    ) -> None:
        """Keep the cause and the remedy as short phrases; `region` is the one that the service names instead.

        `marker`: what is gone is only hidden by a delete marker, and still stored beneath it.
        """
        super().__init__(cause)
        self.kind = kind
        self.cause = cause
        self.remedy = remedy
        self.code = code
        self.region = region
        self.marker = marker

    @property
    def phrase(self) -> str:
        """Cause and remedy."""
        return f"{self.cause}; {self.remedy}" if self.remedy else self.cause

    def as_store_error(self, url: str) -> StoreError:
        """Return the error that the whole store has."""
        kind = (
            StoreUsageError
            if self.kind in (Kind.USAGE, Kind.DENIED, Kind.GONE, Kind.UNSUPPORTED, Kind.REFUSED)
            else StoreError
        )
        error = kind(url, self.cause, self.remedy)
        return error.as_refused() if self.refuses else error

    @property
    def refuses(self) -> bool:
        """Whether it is the credentials that are refused, or their rights."""
        return self.code in _REFUSED_CODES or self.kind is Kind.DENIED


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request is insisted on. Seconds, except where the name says otherwise."""

    tries: int = 5
    first_wait_s: float = 0.25
    longest_wait_s: float = 8.0
    total_s: float = 180.0
    connect_s: float = 10.0
    read_s: float = 30.0
    slowest_bytes_per_s: int = 20_000  # slower than this for long is a fault: a trickle would hold a thread for ever

    def insist(self, work: Callable[[], T], stop: threading.Event) -> T:
        """Return what `work` returns; repeat it, with growing random waits, while its fault may pass by itself.

        Raises the last `S3Fault`. Whatever is not a fault of the service passes through at once.
        """
        deadline = time.monotonic() + self.total_s
        for turn in range(1, self.tries + 1):
            try:
                return guarded(work)
            except S3Fault as fault:
                wait = min(self.longest_wait_s, self.first_wait_s * 2 ** (turn - 1)) * random.uniform(0.5, 1.0)
                if fault.kind is not Kind.AGAIN or turn == self.tries or time.monotonic() + wait > deadline:
                    raise
                if stop.wait(wait):
                    raise
        raise AssertionError("a loop of at least one turn ends inside")


def guarded(work: Callable[[], T]) -> T:
    """Return what `work` returns, with what the client library raises turned into an `S3Fault`."""
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
    from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
    from urllib3.exceptions import HTTPError

    try:
        return work()
    except ClientError as error:
        # The chain is cut: the library's error carries what was signed, and the key id.
        raise _answered(error.response) from None
    except ResponseParserError:
        raise S3Fault(Kind.AGAIN, "the answer is not S3's", NOT_S3) from None
    except (BotoCoreError, HTTPError, OSError) as error:
        raise _not_answered(error) from None


NOT_S3 = "check that the endpoint is the S3 port, not a console or a web page"
_CHECK_KEYS = "check the access key id and the secret key"
_SETUP: dict[str, tuple[Kind, str, str]] = {
    "InvalidAccessKeyId": (Kind.USAGE, "the access key id is unknown there", _CHECK_KEYS),
    "SignatureDoesNotMatch": (Kind.USAGE, "the secret key is wrong", _CHECK_KEYS + " (and the region)"),
    "Unauthorized": (Kind.USAGE, "the service refuses the credentials", _CHECK_KEYS + " and the endpoint"),
    "UnauthorizedAccess": (Kind.USAGE, "the service refuses the credentials", _CHECK_KEYS),
    "InvalidToken": (Kind.USAGE, "the session token is not valid", "renew the credentials"),
    "InvalidClientTokenId": (Kind.USAGE, "the access key id is unknown there", _CHECK_KEYS),
    "ExpiredToken": (Kind.OUTSIDE, "the credentials have expired", "renew them"),
    "TokenRefreshRequired": (Kind.OUTSIDE, "the credentials have expired", "renew them"),
    "AccountProblem": (Kind.OUTSIDE, "the account is blocked", "ask the provider"),
    "NotSignedUp": (Kind.OUTSIDE, "the account is not active", "ask the provider"),
    "NoSuchBucket": (Kind.USAGE, "there is no such bucket", "check the bucket's name, the endpoint and the region"),
    "InvalidBucketName": (Kind.USAGE, "the service does not accept this bucket name", "check the bucket's name"),
    "PermanentRedirect": (Kind.USAGE, "the bucket is elsewhere", "set region and endpoint to the bucket's own"),
    "AuthorizationHeaderMalformed": (Kind.USAGE, "the region is wrong", "set region to the bucket's own"),
    "IllegalLocationConstraintException": (Kind.USAGE, "the region is wrong", "set region to the bucket's own"),
    "InvalidRegion": (Kind.USAGE, "the region is wrong", "set region to the bucket's own"),
    "RequestTimeTooSkewed": (
        Kind.OUTSIDE,
        "the clock of this machine and that of the service differ too much",
        "set this machine's clock (NTP)",
    ),
    "InvalidObjectState": (Kind.DENIED, "the object is archived (cold storage)", "restore it to read it"),
}
_REFUSED_CODES = frozenset(
    {
        "InvalidAccessKeyId", "SignatureDoesNotMatch", "Unauthorized", "UnauthorizedAccess", "InvalidToken",
        "InvalidClientTokenId", "ExpiredToken", "TokenRefreshRequired", "401",
    }
)  # fmt: skip
_GONE_CODES = frozenset({"NoSuchKey", "NoSuchVersion", "NotFound", "404"})
_AGAIN_CODES = frozenset(
    {
        "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "TooManyRequests",
        "RequestLimitExceeded", "BandwidthLimitExceeded", "RequestTimeout", "RequestTimeoutException",
        "InternalError", "ServiceUnavailable", "Busy", "PriorRequestNotComplete", "OperationAborted",
    }
)  # fmt: skip
_UNSUPPORTED_CODES = frozenset({"NotImplemented", "MethodNotAllowed", "UnsupportedOperation"})
_LOCK_WORDS = ("object lock", "worm", "retention", "legal hold", "legalhold")


def _answered(response: dict[str, Any]) -> S3Fault:
    """Read an error answer: its code where the service gives one, else its HTTP status."""
    error, meta = response.get("Error") or {}, response.get("ResponseMetadata") or {}
    code, message = str(error.get("Code") or ""), str(error.get("Message") or "")
    status = int(meta.get("HTTPStatusCode") or 0)
    region = str(error.get("Region") or meta.get("HTTPHeaders", {}).get("x-amz-bucket-region") or "")
    if code in _SETUP:
        kind, cause, remedy = _SETUP[code]
        if region and "region" in remedy:
            remedy = f"set region={region}"
        return S3Fault(kind, cause, remedy, code, region)
    if code in _GONE_CODES:
        marker = meta.get("HTTPHeaders", {}).get("x-amz-delete-marker") == "true"
        return S3Fault(Kind.GONE, "it is not there any more", "", code, marker=marker)
    if code in _UNSUPPORTED_CODES or status in (405, 501):
        return S3Fault(Kind.UNSUPPORTED, f"the service does not offer this ({code or status})", "", code)
    if code in _AGAIN_CODES or status >= 500 or status in (408, 409, 425, 429):
        return S3Fault(Kind.AGAIN, f"the service answers {status} {code}".rstrip(), "try again later", code)
    if status in (301, 302, 307, 308):
        cause, remedy = "the service sends us elsewhere", "check endpoint and region"
        return S3Fault(Kind.USAGE, cause, f"set region={region}" if region else remedy, code, region)
    if status == 401:
        return S3Fault(Kind.USAGE, "the service refuses the credentials", _CHECK_KEYS, code or "401")
    if status == 403:
        return _denied(code, message)
    if status == 404:
        return S3Fault(Kind.GONE, "it is not there", "", code)
    return S3Fault(Kind.REFUSED, f"the service refuses the request: {status} {code} {message[:200]}".rstrip(), "", code)


def _denied(code: str, message: str) -> S3Fault:
    said = f"{code} {message}".casefold()
    if any(word in said for word in _LOCK_WORDS):
        return S3Fault(Kind.DENIED, "object lock protects it", "end its retention or legal hold, then run again", code)
    if "mfa" in said:
        return S3Fault(Kind.DENIED, "the bucket demands MFA for deletion", "switch MFA delete off", code)
    return S3Fault(Kind.DENIED, "access denied", "", code)


def _not_answered(error: Exception) -> S3Fault:
    """Read a failure of the way there: names, connections, TLS, bodies cut short."""
    beneath = getattr(error, "kwargs", {}).get("error", "")  # botocore's own text often names only the URL
    name, text = type(error).__name__, f"{error} {beneath}"
    if any(words in text for words in _UNTRUSTED):
        remedy = "install the service's CA certificate, or name the host that it was issued for"
        return S3Fault(Kind.USAGE, "the TLS certificate is not trusted", remedy, name)
    if "WRONG_VERSION_NUMBER" in text or "wrong version number" in text:
        return S3Fault(Kind.USAGE, "the endpoint does not speak TLS", "write endpoint=http://...", name)
    if name in (
        "ParamValidationError",
        "InvalidRegionError",
        "InvalidEndpointConfigurationError",
        "LocationParseError",
    ):
        return S3Fault(Kind.USAGE, "bucket, region or endpoint cannot be used", "check their spelling", name)
    for words, cause in _CAUSES:
        if any(word in text for word in words):
            return S3Fault(Kind.AGAIN, cause, "check the endpoint, and that the service runs", name)
    return S3Fault(Kind.AGAIN, f"the connection failed ({name})", "check the endpoint and the network", name)


_UNTRUSTED = ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed", "invalid peer certificate")
_CAUSES = (
    (("Connection refused", "[Errno 111]"), "the connection is refused"),
    (("Name or service not known", "NameResolutionError", "Failed to resolve", "nodename nor"), "no such host"),
    (("timed out", "Timeout", "timeout"), "the service is too slow"),
    (("Connection reset", "Connection was closed", "Connection aborted", "closed before"), "the connection broke off"),
    (("IncompleteRead", "bytes read", "Connection broken", "IncompleteBody", "UnexpectedEof"), "the body is cut short"),
)
