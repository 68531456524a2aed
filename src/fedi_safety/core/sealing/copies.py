"""What is said about sealed copies: what a copy is, where sealed files lie, and what an object has beside its bytes.

A sealed file is made for the keys of the operator, which lie elsewhere: this machine can make one and never open it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fedi_safety.core.types import Object

Described = Mapping[str, Any]
"""What an object has beside its bytes, as plain JSON: times and modes, headers, names. Bytes are in base64."""

SECRET_MARKS = ("AGE-SECRET-KEY-", "AGE-PLUGIN-", "PRIVATE KEY")
"""What a secret key has in it, of age or ssh. Where a public one belongs it must never be, nor be repeated."""

OBJECT_NAME = "object"
MANIFEST_NAME = "manifest.json"
OLDER_NAME = "older-{}"
"""What lies in the tar inside a sealed file; the last once for each older version of the object's key, from 1 on."""


_VERSIONS = "versions: "


class SealState(StrEnum):
    """The life of a sealed copy. Its row is written before its file, so that no file is made twice or forgotten."""

    RESERVED = "reserved"  # it has its name; its file may be there, in part or whole
    SEALED = "sealed"  # its file was read back and opened once; only now the original may go
    EXPIRING = "expiring"  # its file is about to be destroyed
    DESTROYED = "destroyed"  # its file is gone, read back


class SealDigest(StrEnum):
    """By which hash the ledger knows a sealed file again; the value is what it is called.

    SHA-256 is kept as a multihash (https://multiformats.io/multihash/), two bytes before it; 32 bytes without them are
    of copies from before that.
    """

    SHA256 = "SHA-256"
    BLAKE2B = "BLAKE2b"

    def tagged(self, value: bytes) -> bytes:
        """Return a hash as it is kept."""
        return _MULTIHASH_SHA256 + value if self is SealDigest.SHA256 else value

    @staticmethod
    def told(kept: bytes) -> tuple[SealDigest, bytes]:
        """Return which hash was kept, and the hash itself."""
        if len(kept) == len(_MULTIHASH_SHA256) + 32 and kept.startswith(_MULTIHASH_SHA256):
            return SealDigest.SHA256, kept[len(_MULTIHASH_SHA256) :]
        return SealDigest.BLAKE2B, kept


_MULTIHASH_SHA256 = b"\x12\x20"  # its number there, and 32 bytes


@dataclass(frozen=True, slots=True)
class Seal:
    """One sealed copy, as the ledger keeps it. Times are epoch seconds; `size` and `digest` are of the sealed file,
    the latter as in `SealDigest`.

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


def said_versions(marks: frozenset[str]) -> str:
    """Return what the ledger keeps of the versions in a copy; nothing where the store keeps none."""
    return f"{_VERSIONS}{' '.join(sorted(marks))}" if marks else ""


def versions_in(detail: str) -> frozenset[str]:
    """Return the marks of the versions that a copy is recorded with; see `Restorer.marks`."""
    return frozenset(detail.removeprefix(_VERSIONS).split()) if detail.startswith(_VERSIONS) else frozenset()


def is_whole(found: bytes | None, data: bytes | memoryview) -> bool:
    """Whether what was read back is this. A view is not compared by `==`, which takes its bytes one by one."""
    return found is not None and len(found) == len(data) and found.startswith(data)


@dataclass(frozen=True, slots=True)
class Older:
    """An older version of an object's key, which a removal takes with it. `data` is None for a mark of deletion."""

    described: Described
    data: bytes | None


class Vault(Protocol):
    """Where sealed files lie: a place that is no store that is scanned. It sees sealed bytes alone.

    Its methods may be called from several threads at once, for files of different names.

    Errors: `StoreUsageError` where it was named wrongly, `StoreError` where it cannot be reached, is full, or refuses.
    """

    @property
    def url(self) -> str:
        """The canonical URL, without credentials."""
        ...

    @property
    def takes_whole(self) -> bool:
        """Whether a file is in memory once more while it is written or read back, and not a piece at a time."""
        ...

    def put(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Write a file in the place of one that has this name; when this returns it is durable and whole.

        `pieces` may come while others are written. What they raise passes through, and no such file is left then.
        """
        ...

    def draft(self) -> Draft | None:
        """Begin a file without a name; None where the place knows no such thing, or where it `takes_whole`."""
        ...

    def get(self, name: str) -> bytes | None:
        """Return a file as it lies there, past any cache of this machine; None where there is none."""
        ...

    def holds(self, name: str, data: bytes | memoryview) -> bool:
        """Whether a file lies there and is these bytes, read as by `get`; where it can be, a piece at a time."""
        ...

    def remove(self, name: str) -> bool:
        """Remove a file durably, with every older version; return whether there was one."""
        ...

    def close(self) -> None:
        """Release connections. May be called twice."""
        ...


class Draft(Protocol):
    """A file in a vault that has no name yet. It is gone when it is closed before it got one, or the process ends."""

    def put(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write it, once; when this returns its bytes are durable and whole. What `pieces` raise passes through."""
        ...

    def holds(self, data: bytes | memoryview) -> bool:
        """Whether it is these bytes; see `Vault.holds`."""
        ...

    def named(self, name: str) -> bool:
        """Give it its name, durably, in the place of a file that has it; return whether it lies there under it.

        Raises `StoreError`.
        """
        ...

    def close(self) -> None:
        """Let go of it. May be called twice."""
        ...


class Restorer(Protocol):
    """Puts objects back into a store, and says what of them it cannot put back. Errors as for `Store`."""

    def describe(self, obj: Object, sha256: bytes) -> Described:
        """Return what an object has beside its bytes. Raises `Unscannable` where it is not there any more."""
        ...

    def older(self, obj: Object) -> Sequence[Older]:
        """Return the older versions of its key, the oldest first; none where the store keeps none.

        Raises `SealError` where they are more than can be sealed in one piece.
        """
        ...

    def marks(self, obj: Object) -> frozenset[str]:
        """Return a mark for each version of its key that a removal would take, the one that stands there included.

        Empty where the store keeps no versions, or does not let this login see, and so remove, them.
        """
        ...

    def lost(self, described: Described, older: int = 0) -> Sequence[str]:
        """Return what of it will not come back, a phrase each, as far as that is known before.

        `older` is how many older versions are in the copy.
        """
        ...

    def put_back(self, key: str, data: bytes, described: Described, older: Sequence[Older] = ()) -> Sequence[str]:
        """Store the object under its key, durably, older versions first and in order; return what is not as it was, a
        phrase each, after reading back.

        Raises `StoreUsageError` where something else stands there: it is left alone. What an interrupted putting back
        has stored is gone on from.
        """
        ...

    def close(self) -> None:
        """Release what describing and putting back opened beside the store. May be called twice."""
        ...
