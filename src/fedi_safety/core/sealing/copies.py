"""What is said about sealed copies: what a copy is, where sealed files lie, and what an object has beside its bytes.

A sealed file is made for the keys of the operator, which lie elsewhere: this machine can make one and never open it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from fedi_safety.core.types import Object

Described = Mapping[str, Any]
"""What an object has beside its bytes, as plain JSON: times and modes, headers, names. Bytes are in base64."""

SECRET_MARKS = ("AGE-SECRET-KEY-", "AGE-PLUGIN-", "PRIVATE KEY")
"""What a secret key has in it, of age or ssh. Where a public one belongs it must never be, nor be repeated."""

OBJECT_NAME = "object"
MANIFEST_NAME = "manifest.json"
"""What lies in the tar inside a sealed file."""


class SealState(StrEnum):
    """The life of a sealed copy. Its row is written before its file, so that no file is made twice or forgotten."""

    RESERVED = "reserved"  # it has its name; its file may be there, in part or whole
    SEALED = "sealed"  # its file was read back and opened once; only now the original may go
    EXPIRING = "expiring"  # its file is about to be destroyed
    DESTROYED = "destroyed"  # its file is gone, read back


@dataclass(frozen=True, slots=True)
class Seal:
    """One sealed copy, as the ledger keeps it. Times are epoch seconds; `size` and `digest` are of the sealed file,
    the latter a BLAKE2b of 32 bytes.

    `expires_at` is None where it does not end by itself; `held` is why a person stopped that, None where nobody did.
    """

    id: int
    plan: int
    store: str
    key: str
    sha256: bytes
    vault: str
    name: str
    state: SealState
    size: int | None = None
    digest: bytes | None = None
    made_at: float | None = None
    expires_at: float | None = None
    held: str | None = None
    authority: str | None = None
    reference: str | None = None
    filed_at: float | None = None
    restored_at: float | None = None
    ended_at: float | None = None
    detail: str = ""


class Vault(Protocol):
    """Where sealed files lie: a place that is no store that is scanned. It sees sealed bytes alone.

    Errors: `StoreUsageError` where it was named wrongly, `StoreError` where it cannot be reached, is full, or refuses.
    """

    @property
    def url(self) -> str:
        """The canonical URL, without credentials."""
        ...

    def put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Write a file in the place of one that has this name; when this returns it is durable and whole."""
        ...

    def get(self, name: str) -> bytes | None:
        """Return a file as it lies there, past any cache of this machine; None where there is none."""
        ...

    def remove(self, name: str) -> bool:
        """Remove a file durably, with every older version; return whether there was one."""
        ...

    def close(self) -> None:
        """Release connections. May be called twice."""
        ...


class Restorer(Protocol):
    """Puts objects back into a store, and says what of them it cannot put back. Errors as for `Store`."""

    def describe(self, obj: Object, sha256: bytes) -> Described:
        """Return what an object has beside its bytes. Raises `Unscannable` where it is not there any more."""
        ...

    def lost(self, described: Described) -> Sequence[str]:
        """Return what of it will not come back, a phrase each, as far as that is known before."""
        ...

    def put_back(self, key: str, data: bytes, described: Described) -> Sequence[str]:
        """Store the object under its key, durably; return what is not as it was, a phrase each, after reading back.

        Raises `StoreUsageError` where something else stands there: it is left alone.
        """
        ...

    def close(self) -> None:
        """Release what describing and putting back opened beside the store. May be called twice."""
        ...
