"""The kinds of stores as a table, and opening one from a URL or a path. No kind knows another."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from fedi_safety.config.schema import Settings
from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import ActKind
from fedi_safety.core.errors import StoreUsageError
from fedi_safety.core.ports import Store
from fedi_safety.core.wording.nearest import did_you_mean


@dataclass(frozen=True, slots=True)
class StoreKind:
    """One kind of store, and what can be told of such a store by its URL alone, without opening it."""

    name: str
    schemes: tuple[str, ...]
    open: Callable[[str, Settings], Store]
    canonical: Callable[[str, Settings], str]
    section: str | None = None  # of the settings: how to reach it
    default_act: ActKind = ActKind.DELETE
    local_root: Callable[[str], Path | None] = lambda _url_or_path: None
    owner: Callable[[str], str | None] = lambda _url: None


def open_store(url_or_path: str, settings: Settings | None = None) -> Store:
    """Return the store that `url_or_path` names: a URL of a known scheme, or anything else as a local path.

    Raises `StoreUsageError` for a scheme that does not exist, or what its kind of store cannot open.
    """
    return kind_of(url_or_path).open(url_or_path, settings or Settings())


def canonical_url(url_or_path: str, settings: Settings | None = None) -> str:
    """Return the name that the ledger has for a store, without reaching it or needing credentials.

    A directory must still be there, or be named by its URL. Of an SFTP path the links on the server stay unresolved.
    Raises `StoreUsageError` for what can be no store.
    """
    return kind_of(url_or_path).canonical(url_or_path, settings or Settings())


def kind_of(url_or_path: str) -> StoreKind:
    """Return the kind of a store by its URL or path. Raises `StoreUsageError` for a scheme that does not exist."""
    kind = _kind_of(url_or_path)
    if kind is None:
        scheme = url_or_path.partition("://")[0]
        known = [scheme for kind in KINDS for scheme in kind.schemes]
        near = did_you_mean(scheme, known)
        remedy = f"give a path or one of: {', '.join(known)}://{near}"
        raise StoreUsageError(url_or_path, f"there are no {scheme}:// stores", remedy)
    return kind


def access_sections() -> list[str]:
    """Return the sections of the settings that tell how to reach stores; a named store may have its own of each."""
    return [kind.section for kind in KINDS if kind.section is not None]


def local_root(url_or_path: str) -> Path | None:
    """Return the directory of this machine that a store is; None for every other, of a known kind or not."""
    kind = _kind_of(url_or_path)
    return None if kind is None else kind.local_root(url_or_path)


def _kind_of(url_or_path: str) -> StoreKind | None:
    scheme, mark, _ = url_or_path.partition("://")
    return next((kind for kind in KINDS if (scheme if mark else "file") in kind.schemes), None)


def _open_local(url_or_path: str, _settings: Settings) -> Store:
    from fedi_safety.stores.local import LocalStore

    if "://" in url_or_path and urlsplit(url_or_path).netloc not in ("", "localhost"):
        raise StoreUsageError(url_or_path, "a file:// URL names no host", "write file:///absolute/path")
    return LocalStore(_path(url_or_path))


def _canonical_local(url_or_path: str, settings: Settings) -> str:
    if "://" in url_or_path:
        return url_or_path
    store = _open_local(url_or_path, settings)
    store.close()
    return store.url


def _path(url_or_path: str) -> str:
    return os.fsdecode(unquote_to_bytes(urlsplit(url_or_path).path)) if "://" in url_or_path else url_or_path


def _open_sftp(url: str, settings: Settings) -> Store:
    from fedi_safety.stores.sftp.store import open_sftp

    return open_sftp(url, settings.ssh)


def _canonical_sftp(url: str, _settings: Settings) -> str:
    from fedi_safety.stores.sftp.trust import read_url

    return read_url(url).url


def _open_s3(url: str, settings: Settings) -> Store:
    from fedi_safety.stores.s3.store import open_s3

    return open_s3(url, settings.s3)


def _canonical_s3(url: str, settings: Settings) -> str:
    from fedi_safety.stores.s3.address import canonical_url as canonical

    return canonical(url, settings.s3)


def _open_pictrs(url: str, settings: Settings) -> Store:
    from fedi_safety.stores.pictrs import open_pictrs

    return open_pictrs(url, settings.pictrs)


def _canonical_pictrs(url: str, _settings: Settings) -> str:
    from fedi_safety.clients.pictrs import internal_url

    return f"pictrs+{internal_url(url)}"


def _owner_pictrs(url: str) -> str:
    return _canonical_pictrs(url, Settings()).removeprefix("pictrs+")


KINDS: tuple[StoreKind, ...] = (
    StoreKind("local", ("file",), _open_local, _canonical_local, local_root=lambda place: Path(_path(place))),
    StoreKind("sftp", ("sftp",), _open_sftp, _canonical_sftp, "ssh"),
    StoreKind("s3", ("s3",), _open_s3, _canonical_s3, "s3"),
    StoreKind(
        "pictrs",
        ("pictrs+http", "pictrs+https"),
        _open_pictrs,
        _canonical_pictrs,
        "pictrs",
        default_act=ActKind.PURGE,
        owner=_owner_pictrs,
    ),
)
"""Every kind of store. A row here, its section of the settings (there and in `NamedStore`), and a harness in
tests/contract/test_every_store.py are what a new kind needs besides its own file."""
