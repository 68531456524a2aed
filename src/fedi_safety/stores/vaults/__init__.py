"""The kinds of vaults as a table, and opening one. A vault is no store that is scanned, and not inside one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import StoreUsageError
from fedi_safety.core.sealing.copies import Vault
from fedi_safety.stores import canonical_url, kind_of


def open_vault(url: str, settings: Settings, stores: Sequence[str]) -> Vault:
    """Return the vault that `url` names, a path or a URL, reached by `[seal]`'s own access where it has one.

    `stores` are the canonical URLs of what is scanned. Raises `StoreUsageError`, `StoreError`.
    """
    opening = VAULTS.get(kind_of(url).name)
    if opening is None:
        raise StoreUsageError(url, "a pict-rs is no vault", "give a directory, sftp://user@host/path or s3://bucket")
    vault = opening(url, access_of(settings))
    try:
        refuse_within(vault.url, stores)
    except StoreUsageError:
        vault.close()
        raise
    return vault


def access_of(settings: Settings) -> Settings:
    """Return the settings by which a vault is reached."""
    own = {name: value for name in ("s3", "ssh") if (value := getattr(settings.seal, name)) is not None}
    return settings.model_copy(update=own)


def check_vault(url: str, settings: Settings, stores: Sequence[str]) -> None:
    """Raise `StoreUsageError` for what can be no vault, as far as that shows without leaving this machine."""
    kind = kind_of(url).name
    if kind not in VAULTS:
        raise StoreUsageError(url, "a pict-rs is no vault", "give a directory, sftp://user@host/path or s3://bucket")
    if kind == "local":
        open_vault(url, settings, stores).close()
    else:
        refuse_within(canonical_url(url, access_of(settings)), stores)


def refuse_within(vault: str, stores: Sequence[str]) -> None:
    """Raise `StoreUsageError` for a vault that is a store or lies inside one. All are canonical URLs."""
    for store in stores:
        if _place(vault) == _place(store) or _lies_in(_place(vault), _place(store)):
            what = "is" if _place(vault) == _place(store) else "lies inside"
            cause = f"it {what} the store {store}, whose files are served and scanned"
            raise StoreUsageError(f"vault {vault}", cause, "give it a place of its own")


def _place(url: str) -> tuple[str, str, str]:
    """Return scheme, host and path; users of one host may see the same files."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2] if parts.scheme == "sftp" else parts.netloc
    return parts.scheme, f"{host}?{parts.query}", parts.path.rstrip("/")


def _lies_in(inner: tuple[str, str, str], outer: tuple[str, str, str]) -> bool:
    return inner[:2] == outer[:2] and inner[2].startswith(f"{outer[2]}/")


def _open_local(url: str, _settings: Settings) -> Vault:
    from fedi_safety.stores.vaults.local import LocalVault

    return LocalVault(url)


def _open_sftp(url: str, settings: Settings) -> Vault:
    from fedi_safety.stores.vaults.sftp import SftpVault

    return SftpVault(url, settings.ssh)


def _open_s3(url: str, settings: Settings) -> Vault:
    from fedi_safety.stores.vaults.s3 import S3Vault

    return S3Vault(url, settings.s3)


VAULTS: Mapping[str, Callable[[str, Settings], Vault]] = {"local": _open_local, "sftp": _open_sftp, "s3": _open_s3}
"""By the name of the kind of store that is reached in the same way."""
