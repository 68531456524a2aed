"""Opens a store from a URL or a path. Each kind of store lives in a file of its own; none knows another."""

from __future__ import annotations

import os
from urllib.parse import unquote_to_bytes, urlsplit

from fedi_safety.config.schema import S3, Pictrs, Ssh
from fedi_safety.core.errors import StoreUsageError
from fedi_safety.core.ports import Store

SCHEMES = ("file", "sftp", "s3", "pictrs+http", "pictrs+https")


def open_store(
    url_or_path: str, *, s3: S3 | None = None, ssh: Ssh | None = None, pictrs: Pictrs | None = None
) -> Store:
    """Return the store that `url_or_path` names: a URL of a known scheme, or anything else as a local path.

    Raises `StoreUsageError` for a scheme that does not exist, or what its kind of store cannot open.
    """
    scheme, mark, _ = url_or_path.partition("://")
    if not mark or scheme == "file":
        return _local(url_or_path if not mark else _file_path(url_or_path))
    if scheme == "s3":
        from fedi_safety.stores.s3.store import open_s3

        return open_s3(url_or_path, s3 or S3())
    if scheme == "sftp":
        from fedi_safety.stores.sftp.store import open_sftp

        return open_sftp(url_or_path, ssh or Ssh())
    if scheme in ("pictrs+http", "pictrs+https"):
        from fedi_safety.stores.pictrs import open_pictrs

        return open_pictrs(url_or_path, pictrs or Pictrs())
    raise _no_such_kind(url_or_path, scheme)


def canonical_url(url_or_path: str, *, s3: S3 | None = None) -> str:
    """Return the name that the ledger has for a store, without reaching it or needing credentials.

    A directory must still be there, or be named by its URL. Of an SFTP path the links on the server stay unresolved.
    Raises `StoreUsageError` for what can be no store.
    """
    scheme, mark, _ = url_or_path.partition("://")
    if not mark:
        store = _local(url_or_path)
        store.close()
        return store.url
    if scheme == "file":
        return url_or_path
    if scheme == "s3":
        from fedi_safety.stores.s3.address import canonical_url as canonical_s3

        return canonical_s3(url_or_path, s3 or S3())
    if scheme == "sftp":
        from fedi_safety.stores.sftp.trust import read_url

        return read_url(url_or_path).url
    if scheme in ("pictrs+http", "pictrs+https"):
        from fedi_safety.clients.pictrs import internal_url

        return f"pictrs+{internal_url(url_or_path)}"
    raise _no_such_kind(url_or_path, scheme)


def _no_such_kind(url: str, scheme: str) -> StoreUsageError:
    return StoreUsageError(url, f"there are no {scheme}:// stores", f"give a path or one of: {', '.join(SCHEMES)}://")


def _local(path: str) -> Store:
    from fedi_safety.stores.local import LocalStore

    return LocalStore(path)


def _file_path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise StoreUsageError(url, "a file:// URL names no host", "write file:///absolute/path")
    return os.fsdecode(unquote_to_bytes(parts.path))
