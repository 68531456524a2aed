"""Opens a store from a URL or a path. Each kind of store lives in a file of its own; none knows another."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes, urlsplit

from fedi_safety.core.errors import StoreUsageError
from fedi_safety.core.ports import Store

SCHEMES = ("file",)


def open_store(url_or_path: str) -> Store:
    """Return the store that `url_or_path` names: a `file://` URL, or anything else as a local path.

    Raises `StoreUsageError` for a scheme that does not exist here, or a path that is not a readable directory.
    """
    import os

    from fedi_safety.stores.local import LocalStore

    scheme, mark, _ = url_or_path.partition("://")
    if not mark:
        return LocalStore(url_or_path)
    if scheme != "file":
        raise StoreUsageError(
            url_or_path, f"{scheme}:// stores are not built yet", f"give a path or one of: {', '.join(SCHEMES)}://"
        )
    parts = urlsplit(url_or_path)
    if parts.netloc not in ("", "localhost"):
        raise StoreUsageError(url_or_path, "a file:// URL names no host", "write file:///absolute/path")
    return LocalStore(os.fsdecode(unquote_to_bytes(parts.path)))
