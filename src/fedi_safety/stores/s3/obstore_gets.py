"""GETs of whole objects by obstore, which takes a third of the processor's time that botocore's session takes.

It is told all that it needs, and reads nothing by itself that would change a request: where its environment or the way
to the service might, it is not used. It keeps nothing on disk and repeats nothing; what it cannot do, or says to be
wrong, is asked again by botocore, whose answers are read in one place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

from fedi_safety.stores.s3.faults import Patience

if TYPE_CHECKING:
    from obstore.store import S3Credential

    from fedi_safety.stores.s3.address import Address

# obstore cleans what it takes for a path: of these keys it would ask for another one, or for none.
_NO_PATH = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f\ud800-\udfff]")
# It reads more variables than botocore, some of which cannot be overruled. These are, or say nothing to it.
_HARMLESS = re.compile(
    "AWS_(?:ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|SECURITY_TOKEN|PROFILE|DEFAULT_PROFILE|CONFIG_FILE"
    "|SHARED_CREDENTIALS_FILE|CA_BUNDLE|(?:DEFAULT_)?REGION|(?:DEFAULT_)?OUTPUT|ENDPOINT(?:_URL(?:_S3)?)?"
    "|EC2_METADATA_DISABLED|EXECUTION_ENV|PAGER|RETRY_MODE|MAX_ATTEMPTS|STS_REGIONAL_ENDPOINTS)"
)
_CA_FILES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_STATUS = "non-2xx status code"
_NEVER = "365d"  # a body's time is kept by whoever reads it


class Refused(Exception):
    """The service answered, and not with the object."""


class ObstoreGets:
    """GETs below one address, signed with one pair of lasting keys. Thread-safe."""

    def __init__(self, before_key: str, region: str, address: Address, agent: str, patience: Patience) -> None:
        """Ask for keys behind `before_key`, a URL that ends in `/`, as botocore made it for the bucket."""
        from obstore.store import S3Store

        place = before_key.removesuffix("/")

        def credentials() -> S3Credential:
            return {
                "access_key_id": address.access_key_id,
                "secret_access_key": address.secret_access_key,
                "token": None,
                "expires_at": None,
            }

        self._store = S3Store(
            address.bucket,
            # "virtual" says that the bucket is in the address already, be it in the host's name or in the path.
            config={
                "endpoint": place,
                "aws_endpoint_url_s3": place,
                "virtual_hosted_style_request": True,
                "region": region,
                "skip_signature": False,
                "unsigned_payload": False,
                "s3_express": False,
            },
            client_options={
                "allow_http": before_key.startswith("http://"),
                "allow_invalid_certificates": False,
                "user_agent": agent,
                "connect_timeout": f"{int(patience.connect_s * 1000)}ms",
                "read_timeout": f"{int(patience.read_s * 1000)}ms",
                "timeout": _NEVER,
            },
            retry_config={"max_retries": 0},
            credential_provider=credentials,
        )

    @staticmethod
    def usable(before_key: str, address: Address) -> bool:
        """Whether it asks as botocore does here.

        Another list of trusted certificates would only be added to the system's, and proxies are named in other ways.
        It follows redirects, and would send a session token on to another host.
        """
        if address.session_token or any(
            name.startswith("AWS_") and not _HARMLESS.fullmatch(name) for name in os.environ
        ):
            return False
        if any(scheme != "no" for scheme in getproxies()):
            return False
        return before_key.startswith("http://") or not any(os.environ.get(name) for name in _CA_FILES)

    @staticmethod
    def takes(key: str) -> bool:
        """Whether it asks for exactly this key."""
        return not _NO_PATH.search(key)

    def get(self, key: str) -> dict[str, Any]:
        """Return what `Gets.get` returns. Raises `Refused`, or `OSError` where no answer came."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            found = obstore.get(self._store, key)
        except (BaseError, OSError, ValueError) as error:
            # The chain is cut: the library's error has the whole request in it.
            if _STATUS in str(error) or not isinstance(error, BaseError):
                raise Refused from None
            raise _lost(error) from None
        meta = found.meta
        said: dict[str, Any] = {
            "ETag": meta["e_tag"],
            "ContentLength": meta["size"],
            "Body": _Pieces(found.stream(min_chunk_size=1)),
        }
        if not meta["e_tag"] and meta["last_modified"].timestamp():  # 0 where the answer named no time
            said["LastModified"] = format_datetime(meta["last_modified"])
        return said


class _Pieces:
    """A body, as the network brings it; nothing of it is read ahead."""

    def __init__(self, stream: Iterator[bytes]) -> None:
        self._stream: Iterator[bytes] | None = stream
        self._rest = b""

    def read1(self, count: int) -> bytes:
        """Return up to `count` bytes of one piece; none at the end. Raises `OSError` where the body breaks off."""
        from obstore.exceptions import BaseError

        if not self._rest:
            if self._stream is None:
                return b""
            try:
                self._rest = next(self._stream, b"")
            except BaseError as error:
                raise _lost(error) from None
        piece, self._rest = self._rest[:count], self._rest[count:]
        return piece

    def close(self) -> None:
        """Let go of what is unread, and of the connection with it."""
        self._stream, self._rest = None, b""


def _lost(error: Exception) -> OSError:
    """Return what broke, in the library's words but for its own settings, among which there are time-outs."""
    return OSError(re.sub(r"retry_timeout: \S+", "", str(error)))
