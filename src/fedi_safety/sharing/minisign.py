"""Signatures as minisign makes and checks them: Ed25519 over the BLAKE2b of what is signed, with a trusted comment.

Older ones, without BLAKE2b, are not taken. Keys are kept in minisign's own format, without a password.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_LEGACY, _PREHASHED = b"Ed", b"ED"
_ID_BYTES = 8
_MAX_TEXT = 2048
_COMMENT = re.compile(r"[ -~]{1,512}")
_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "
_KDF_NONE, _CHECKSUM = b"\0\0", b"B2"
_KDF_BYTES = 32 + 8 + 8  # salt and limits, which nothing uses without a password


class BadSignature(ValueError):
    """A signature that is none, or not of this key. The text says which."""


class Digest(Protocol):
    """A running BLAKE2b of 64 bytes."""

    def update(self, data: bytes, /) -> None:
        """Add to what is signed."""
        ...

    def digest(self) -> bytes:
        """Return the hash so far."""
        ...


def digest() -> Digest:
    """Begin the hash of what is signed."""
    return hashlib.blake2b(digest_size=64)


def digest_of(data: bytes) -> bytes:
    """Return the hash of what is signed."""
    return hashlib.blake2b(data, digest_size=64).digest()


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key to check with: `id` is eight bytes by which minisign tells keys apart, no proof of anything."""

    id: bytes
    raw: bytes

    @classmethod
    def of_text(cls, text: str) -> PublicKey:
        """Read the line that minisign prints (`RW...`). Raises `ValueError`."""
        try:
            data = _decoded(text)
        except ValueError:
            data = b""
        if len(data) != len(_LEGACY) + _ID_BYTES + 32 or not data.startswith(_LEGACY):
            raise ValueError("it is no minisign public key: 56 characters that begin with RW")
        return cls(data[2:10], data[10:])

    @property
    def text(self) -> str:
        """Return it as minisign prints it."""
        return base64.b64encode(_LEGACY + self.id + self.raw).decode()

    @property
    def number(self) -> str:
        """Return the key's id as minisign prints it."""
        return self.id[::-1].hex().upper()

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether these 64 bytes are this key's signature of the data."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


class SecretKey:
    """A key to sign with. It is never printed, and only its file has it."""

    def __init__(self, seed: bytes, key_id: bytes | None = None) -> None:
        """Take the 32 secret bytes; the id is that of minisign's file, or made from the public half."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._seed = seed
        self._key: Ed25519PrivateKey = Ed25519PrivateKey.from_private_bytes(seed)
        raw = self._key.public_key().public_bytes_raw()
        self.public = PublicKey(key_id or hashlib.sha256(raw).digest()[:_ID_BYTES], raw)

    def signed(self, data: bytes) -> bytes:
        """Return the bare signature of some bytes, 64 bytes."""
        return self._key.sign(data)

    def signature(self, hashed: bytes, comment: str) -> str:
        """Return minisign's file for what has this hash (`digest`), its trusted comment signed as well."""
        own = self.signed(hashed)
        whole = self.signed(own + comment.encode())
        return (
            f"{_UNTRUSTED}signature by fedi-safety\n{base64.b64encode(_PREHASHED + self.public.id + own).decode()}\n"
            f"{_TRUSTED}{comment}\n{base64.b64encode(whole).decode()}\n"
        )

    @property
    def text(self) -> str:
        """Return minisign's file of the secret key, without a password."""
        secret = self.public.id + self._seed + self.public.raw
        checksum = hashlib.blake2b(_LEGACY + secret, digest_size=32).digest()
        data = _LEGACY + _KDF_NONE + _CHECKSUM + bytes(_KDF_BYTES) + secret + checksum
        return f"{_UNTRUSTED}secret key of a shared list\n{base64.b64encode(data).decode()}\n"

    @classmethod
    def of_text(cls, text: str) -> SecretKey:
        """Read such a file. Raises `ValueError`; the text says what is wrong with it."""
        lines = text.splitlines()
        data = _decoded(lines[1]) if len(lines) == 2 else b""
        if len(data) != 6 + _KDF_BYTES + _ID_BYTES + 64 + 32 or data[:2] != _LEGACY or data[4:6] != _CHECKSUM:
            raise ValueError("it is no minisign secret key")
        if data[2:4] != _KDF_NONE:
            raise ValueError("it has a password; `minisign -C -W` takes it off")
        key_id, secret = data[54:62], data[62:126]
        key = cls(secret[:32], key_id)
        if key.public.raw != secret[32:]:
            raise ValueError("its halves do not fit together")
        return key


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature file that was read and not checked yet; `key_id` says by which key it claims to be."""

    key_id: bytes
    own: bytes
    comment: str
    whole: bytes

    @classmethod
    def of_text(cls, text: bytes) -> Signature:
        """Read the four lines of minisign's file. Raises `BadSignature`."""
        try:
            lines = text.decode("ascii").split("\n") if len(text) <= _MAX_TEXT else []
            untrusted, own, trusted, whole, end = lines
            first, last = _decoded(own), _decoded(whole)
        except ValueError:
            raise BadSignature("it is no minisign signature") from None
        comment = trusted.removeprefix(_TRUSTED)
        shaped = untrusted.startswith(_UNTRUSTED) and trusted.startswith(_TRUSTED) and not end
        if not shaped or len(first) != 74 or len(last) != 64 or not _COMMENT.fullmatch(comment):
            raise BadSignature("it is no minisign signature")
        if first[:2] != _PREHASHED:
            raise BadSignature("it is a minisign signature of the old kind, without BLAKE2b")
        return cls(first[2:10], first[10:], comment, last)

    def check(self, key: PublicKey, hashed: bytes) -> None:
        """Hold it against a key, and what is signed, by its hash. Raises `BadSignature`."""
        if self.key_id != key.id:
            raise BadSignature(f"it is signed by the key {self.key_id[::-1].hex().upper()}, not by {key.number}")
        if not key.verifies(self.own, hashed) or not key.verifies(self.whole, self.own + self.comment.encode()):
            raise BadSignature("the signature does not fit what it should be of")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error
