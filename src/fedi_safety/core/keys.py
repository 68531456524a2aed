"""Keys as bytes and as text: a key is the bytes that its store knows it by, whatever the locale of this process."""

from __future__ import annotations

OUR_NAME = "fedi-safety-test-"
"""What a name of our own begins with, which is made or deleted only to learn whether that may be done."""


def key_bytes(key: str) -> bytes:
    """Return the bytes that a store knows a key by."""
    return key.encode("utf-8", "surrogateescape")


def key_text(key: bytes) -> str:
    """Return a key as the core writes it, with lone surrogates for what is not UTF-8."""
    return key.decode("utf-8", "surrogateescape")
