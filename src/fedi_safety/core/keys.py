"""Keys as bytes and as text: a key is the bytes that its store knows it by, whatever the locale of this process."""

from __future__ import annotations

from collections.abc import Iterable

from fedi_safety.core.classes import dataclass

OUR_NAME = "fedi-safety-test-"
"""What a name of our own begins with, which is made or deleted only to learn whether that may be done."""


def key_bytes(key: str) -> bytes:
    """Return the bytes that a store knows a key by."""
    return key.encode("utf-8", "surrogateescape")


def key_text(key: bytes) -> str:
    """Return a key as the core writes it, with lone surrogates for what is not UTF-8."""
    return key.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys behind `after` up to `until`, itself included, in the order of their bytes. None: no bound there."""

    after: bytes | None = None
    until: bytes | None = None

    @property
    def all(self) -> bool:
        """Whether every key lies within."""
        return self.after is None and self.until is None

    def holds(self, key: bytes) -> bool:
        """Whether a key lies within."""
        return (self.after is None or key > self.after) and not self.past(key)

    def past(self, key: bytes) -> bool:
        """Whether a key lies behind the end, and with it every key that follows."""
        return self.until is not None and key > self.until

    def reaches(self, directory: bytes) -> bool:
        """Whether keys that begin with `directory`, which ends in `/`, may lie within."""
        before = self.after is not None and directory < self.after and not self.after.startswith(directory)
        return not before and not self.past(directory)

    def parted(self, cuts: Iterable[bytes]) -> list[KeyRange]:
        """Return it in parts that end at these keys, ascending, and one with the rest; every key is in one of them."""
        ends = sorted({cut for cut in cuts if self.holds(cut) and cut != self.until})
        bounds = zip([self.after, *ends], [*ends, self.until], strict=True)
        return [KeyRange(after, until) for after, until in bounds]
