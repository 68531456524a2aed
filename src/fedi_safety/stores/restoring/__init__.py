"""What puts objects back into stores, one kind of store a file. None of them overwrites what stands there."""

from __future__ import annotations

from fedi_safety.core.errors import StoreUsageError
from fedi_safety.core.ports import Store
from fedi_safety.core.sealing.copies import Restorer


def restorer_of(store: Store) -> Restorer:
    """Return what describes the objects of an open store and puts them back. Raises `StoreUsageError`."""
    from fedi_safety.stores.local import LocalStore

    if isinstance(store, LocalStore):
        from fedi_safety.stores.restoring.local import LocalRestorer

        return LocalRestorer(store)
    scheme = store.url.partition("://")[0]
    if scheme == "sftp":
        from fedi_safety.stores.restoring.sftp import SftpRestorer
        from fedi_safety.stores.sftp.store import SftpStore

        if isinstance(store, SftpStore):
            return SftpRestorer(store)
    if scheme == "s3":
        from fedi_safety.stores.restoring.s3 import S3Restorer
        from fedi_safety.stores.s3.store import S3Store

        if isinstance(store, S3Store):
            return S3Restorer(store)
    if store.owner is not None:
        from fedi_safety.stores.pictrs import PictrsStore
        from fedi_safety.stores.restoring.pictrs import PictrsRestorer

        if isinstance(store, PictrsStore):
            return PictrsRestorer(store.client, store.database)
    raise StoreUsageError(store.url, "nothing can be put back into a store of this kind", "choose another action")
