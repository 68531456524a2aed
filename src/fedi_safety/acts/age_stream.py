"""The body of a file in the format of age, made for keys that pyrage wraps: https://github.com/C2SP/C2SP/blob/main/age.md

pyrage makes the header, for keys of every kind; what follows is as the format has it, ChaCha20-Poly1305 over pieces of
64 KiB. It takes a third of pyrage's time, and other threads come in between: pyrage holds the interpreter while it
computes. That a file opens is for pyrage to say, which reads each of them to its end before anything is removed.
"""

from __future__ import annotations

import hmac
import os
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyrage
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_VERSION = b"age-encryption.org/v1\n"
_MAC, _STANZA = b"--- ", b"-> "
_LINE = 64  # letters of a body's line; a shorter one ends it
_FILE_KEY_BYTES = 16
NONCE_BYTES = 16
TAG_BYTES = 16
PIECE_BYTES = 64 << 10
_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"  # of Bech32, in which keys are written


class NoHeader(ValueError):
    """What pyrage made is not what this knows as the header of a file of age."""


def header_for(recipients: Sequence[Any], once: Any) -> tuple[bytes, bytes]:
    """Return the header of a new file for these keys and for the identity `once`, and the file's key.

    Raises `pyrage.EncryptError`, `NoHeader`.
    """
    made = pyrage.encrypt(b"", [*recipients, once.to_public()])
    file_key, end = _read_header(made, _secret_of(str(once)))
    return made[:end], file_key


class Stream:
    """Seals the pieces of one file, in order. The nonce, which precedes them, is drawn here, and with it their key."""

    def __init__(self, file_key: bytes) -> None:
        """Begin a file. No two of them have one key."""
        self.nonce = os.urandom(NONCE_BYTES)
        self._cipher = ChaCha20Poly1305(_derived(file_key, self.nonce, b"payload"))
        self._number = 0

    def seal(self, piece: memoryview | bytearray, into: memoryview, *, last: bool) -> None:
        """Seal a piece into memory that is longer by `TAG_BYTES`. Every one but the last has `PIECE_BYTES`."""
        self._cipher.encrypt_into(self._number.to_bytes(11, "big") + bytes([last]), piece, None, into)
        self._number += 1


def pieces_of(parts: Iterable[memoryview]) -> Iterator[tuple[memoryview | bytearray, bool]]:
    """Yield bytes in pieces of 64 KiB, and whether each is the last; nothing is copied but at the seams of parts."""
    held = bytearray()  # what is not a whole piece yet
    before: memoryview | bytearray | None = None
    for part in parts:
        at = 0
        while at < len(part):
            if not held and len(part) - at >= PIECE_BYTES:
                piece: memoryview | bytearray = part[at : at + PIECE_BYTES]
                at += PIECE_BYTES
            else:
                taken = min(PIECE_BYTES - len(held), len(part) - at)
                held += part[at : at + taken]
                at += taken
                if len(held) < PIECE_BYTES:
                    continue
                piece, held = held, bytearray()
            if before is not None:
                yield before, False
            before = piece
    if held or before is None:
        if before is not None:
            yield before, False
        before = held
    yield before, True


def _secret_of(word: str) -> X25519PrivateKey:
    """Return the key that an `AGE-SECRET-KEY-1...` of 32 bytes is. Its checksum is not looked at: it was just made."""
    bits = 0
    for letter in word.lower().rpartition("1")[2][:-6]:
        bits = bits << 5 | _LETTERS.index(letter)
    return X25519PrivateKey.from_private_bytes((bits >> 4).to_bytes(32, "big"))


def _read_header(made: bytes, secret: X25519PrivateKey) -> tuple[bytes, int]:
    """Return the key of a file and where its header ends, once the header is known to be what was written."""
    if not made.startswith(_VERSION):
        raise NoHeader("it is no file of age")
    at, found = len(_VERSION), None
    while made.startswith(_STANZA, at):
        line, at = _line(made, at)
        told, body = line.split(b" ")[1:], b""
        while True:
            more, at = _line(made, at)
            body += more
            if len(more) < _LINE:
                break
        if told[0] == b"X25519" and found is None:
            found = _file_key(told[1:], body, secret)
    line, end = _line(made, at)
    if found is None or not line.startswith(_MAC):
        raise NoHeader("it is not for the key of which it was asked")
    expected = hmac.digest(_derived(found, b"", b"header"), made[: at + len(_MAC) - 1], "sha256")
    if not hmac.compare_digest(expected, _from_base64(line[len(_MAC) :])):
        raise NoHeader("its header is changed")
    return found, end


def _file_key(told: list[bytes], body: bytes, secret: X25519PrivateKey) -> bytes | None:
    """Return a file's key, where a stanza has it for this secret."""
    share, wrapped = _from_base64(b"".join(told)), _from_base64(body)
    if len(told) != 1 or len(share) != 32 or len(wrapped) != _FILE_KEY_BYTES + TAG_BYTES:
        raise NoHeader("it has a stanza of another form")
    try:
        shared = secret.exchange(X25519PublicKey.from_public_bytes(share))
        wrapping = _derived(shared, share + secret.public_key().public_bytes_raw(), b"age-encryption.org/v1/X25519")
        return ChaCha20Poly1305(wrapping).decrypt(bytes(12), wrapped, None)
    except (InvalidTag, ValueError):  # it is for another key
        return None


def _line(made: bytes, at: int) -> tuple[bytes, int]:
    """Return a line without its end, and where the next one begins."""
    end = made.find(b"\n", at)
    if end < 0:
        raise NoHeader("it has no end")
    return made[at:end], end + 1


def _from_base64(word: bytes) -> bytes:
    """Decode unpadded base64 in the one form that there is of it."""
    try:
        found = b64decode(word + b"=" * (-len(word) % 4), validate=True)
    except NotBase64 as error:
        raise NoHeader("it has a word that is no base64") from error
    if b64encode(found).rstrip(b"=") != word:
        raise NoHeader("it has a word that is no base64")
    return found


def _derived(secret: bytes, salt: bytes, about: bytes) -> bytes:
    """Return 32 bytes by HKDF with SHA-256 (RFC 5869), which are one block of it."""
    return hmac.digest(hmac.digest(salt or bytes(32), secret, "sha256"), about + b"\x01", "sha256")
