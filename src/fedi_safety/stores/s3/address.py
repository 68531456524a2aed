"""Where an S3 store is and with which keys: the URL, the configuration and a profile's keys made into one address.

It opens no connection. Credentials never become part of the URL, the representation or an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from fedi_safety.config.schema import S3
from fedi_safety.core.errors import StoreUsageError
from fedi_safety.stores.s3.profiles import Keys, keys_of

Style = Literal["path", "virtual", "auto"]
_SHAPE = "s3://bucket/prefix?endpoint=https://host&region=name&style=path"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_REGION_IN_HOST = re.compile(
    r"s3[.-](?:dualstack\.)?([a-z0-9-]+)\.[a-z0-9-]+\..+|([a-z]{3}\d)\.digitaloceanspaces\.com"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """A bucket, the prefix that is the store's root ("" or ending in `/`), the service, and the keys to it."""

    bucket: str
    root: str
    endpoint: str | None
    region: str
    style: Style
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)

    @property
    def url(self) -> str:
        """The canonical URL. The endpoint is part of it: two services may both have a bucket of this name.

        Region and style are not: they say how to reach the bucket, not which one it is.
        """
        return _url(self.bucket, self.root, self.endpoint)

    def in_region(self, region: str) -> Address:
        """Return the same bucket, spoken to in another region's name."""
        return replace(self, region=region)


@dataclass(frozen=True, slots=True)
class _Named:
    """What a URL names, as far as no credentials are needed to tell."""

    shown: str
    bucket: str
    root: str
    endpoint: str | None
    options: Mapping[str, str]


def read_address(url: str, access: S3) -> Address:
    """Return the address that `url` names; what it leaves out comes from `access`, the keys last from a profile."""
    named = _read(url, access)
    keys = _credentials(named.shown, access)
    return Address(
        bucket=named.bucket,
        root=named.root,
        endpoint=named.endpoint,
        region=named.options.get("region") or access.region or keys.region or _region(named.endpoint),
        style=_style(named.shown, named.options.get("style") or access.style, named.endpoint),
        access_key_id=keys.id,
        secret_access_key=keys.secret,
        session_token=keys.token,
    )


def canonical_url(url: str, access: S3) -> str:
    """Return the URL under which the ledger knows the store that `url` names. Needs no credentials."""
    named = _read(url, access)
    return _url(named.bucket, named.root, named.endpoint)


def _url(bucket: str, root: str, endpoint: str | None) -> str:
    path = quote(root.rstrip("/"), safe="/~")
    query = f"?endpoint={quote(endpoint, safe=':/[]')}" if endpoint else ""
    return f"s3://{bucket}{'/' + path if path else ''}{query}"


def _read(url: str, access: S3) -> _Named:
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        path = unquote(parts.path, errors="strict")
    except ValueError as error:
        raise StoreUsageError("s3://", "the URL cannot be read", f"write {_SHAPE}") from error
    if "@" in parts.netloc:
        raise StoreUsageError(
            "s3://", "the URL holds credentials", "put them into the configuration or $AWS_ACCESS_KEY_ID and its secret"
        )
    shown = f"s3://{parts.netloc}{parts.path}"
    if not _BUCKET.fullmatch(parts.netloc):
        raise StoreUsageError(shown, "it names no bucket", f"write {_SHAPE}")
    unknown = sorted(set(options) - {"endpoint", "region", "style"})
    if unknown or parts.fragment:
        odd = ", ".join(unknown) or "#"
        raise StoreUsageError(shown, f"the URL has an unknown part: {odd}", f"write {_SHAPE}")
    root = path.strip("/")
    endpoint = _endpoint(shown, options.get("endpoint") or access.endpoint or "")
    return _Named(shown, parts.netloc, f"{root}/" if root else "", endpoint, options)


def _endpoint(shown: str, text: str) -> str | None:
    """Return the endpoint in one spelling; None is Amazon's own."""
    text = text.strip()
    if not text:
        return None
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in _DEFAULT_PORTS or "@" in parts.netloc or parts.query or parts.fragment:
        raise StoreUsageError(shown, "the endpoint is not a plain http or https URL", "write endpoint=https://host")
    name = f"[{host}]" if ":" in host else host
    suffix = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{name}{suffix}{parts.path.rstrip('/')}"


def _credentials(shown: str, access: S3) -> Keys:
    """Return the keys that are configured; where there is neither half of a pair, those of a profile."""
    given, token = access.secret_access_key, access.session_token
    keys = Keys(
        (access.access_key_id or "").strip(),
        given.get_secret_value().strip() if given else "",
        token.get_secret_value() or None if token else None,
    )
    if not keys.id and not keys.secret:
        keys = keys_of(access.profile, access.credentials_file) or keys
    if not keys.id or not keys.secret:
        missing = "access key id" if not keys.id else "secret access key"
        raise StoreUsageError(
            shown,
            f"there is no {missing}",
            "set access_key_id and secret_access_key under [s3], or $AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY, or "
            "write them to ~/.aws/credentials",
        )
    return keys


def _region(endpoint: str | None) -> str:
    host = (urlsplit(endpoint).hostname or "") if endpoint else ""
    if host.endswith(".r2.cloudflarestorage.com"):
        return "auto"
    found = _REGION_IN_HOST.fullmatch(host)
    return (found.group(1) or found.group(2)) if found else "us-east-1"


def _style(shown: str, style: str | None, endpoint: str | None) -> Style:
    """Return how the bucket is addressed. Self-hosted services rarely have a DNS name for every bucket."""
    if style in ("path", "virtual"):
        return "path" if style == "path" else "virtual"
    if style:
        raise StoreUsageError(shown, f"there is no style {style!r}", "write style=path or style=virtual")
    return "path" if endpoint else "auto"
