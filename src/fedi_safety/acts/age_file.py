"""A file in the format of age, read by one X25519 key: https://github.com/C2SP/C2SP/blob/main/age.md

What seals is pyrage. This reads what it made, to prove it, in a third of the time and beside other threads: pyrage
holds the interpreter while it computes. It is as strict as age: whatever is cut, changed or added makes it raise.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = b"age-encryption.org/v1\n"
_MAC, _STANZA = b"--- ", b"-> "
_LINE = 64  # letters of a body's line; a shorter one ends it
_FILE_KEY_BYTES = 16
_NONCE_BYTES = 16
_TAG_BYTES = 16
_CHUNK_BYTES = (64 << 10) + _TAG_BYTES
_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"  # of Bech32, in which keys are written
_MOST_HEADER_BYTES = 1 << 20


class NotOpened(ValueError):
    """A file that this key does not open to its end."""


def secret_of(word: str) -> X25519PrivateKey:
    """Return the key that an `AGE-SECRET-KEY-1...` of 32 bytes is. Its checksum is not looked at: it was just made."""
    bits = 0
    for letter in word.lower().rpartition("1")[2][:-6]:
        bits = bits << 5 | _LETTERS.index(letter)
    return X25519PrivateKey.from_private_bytes((bits >> 4).to_bytes(32, "big"))


def clear_text(sealed: memoryview, secret: X25519PrivateKey) -> Iterator[bytes]:
    """Yield what is in a file, in order, at most 64 KiB at a time. Raises `NotOpened`, at the end at the latest."""
    file_key, at = _header(sealed, secret)
    nonce = bytes(sealed[at : at + _NONCE_BYTES])
    at += _NONCE_BYTES
    stream = ChaCha20Poly1305(_derived(file_key, nonce, b"payload"))
    if len(nonce) < _NONCE_BYTES or at == len(sealed):
        raise NotOpened("it is cut")
    for number, start in enumerate(range(at, len(sealed), _CHUNK_BYTES)):
        chunk = sealed[start : start + _CHUNK_BYTES]
        last = start + _CHUNK_BYTES >= len(sealed)
        if last and number and len(chunk) <= _TAG_BYTES:
            raise NotOpened("its last piece is empty")
        try:
            yield stream.decrypt(number.to_bytes(11, "big") + bytes([last]), chunk, None)
        except (InvalidTag, ValueError) as error:
            raise NotOpened("a piece of it is cut or changed") from error


def _header(sealed: memoryview, secret: X25519PrivateKey) -> tuple[bytes, int]:
    """Return the key of a file and where its header ends, once the header is known to be what was written."""
    head = bytes(sealed[:_MOST_HEADER_BYTES])
    if not head.startswith(_VERSION):
        raise NotOpened("it is no file of age")
    at, found = len(_VERSION), None
    while head.startswith(_STANZA, at):
        line, at = _line(head, at)
        told, body = line.split(b" ")[1:], b""
        while True:
            more, at = _line(head, at)
            body += more
            if len(more) < _LINE:
                break
        if told[0] == b"X25519" and found is None:
            found = _file_key(told[1:], body, secret)
    line, end = _line(head, at)
    if found is None or not line.startswith(_MAC):
        raise NotOpened("it was not sealed for this key")
    expected = hmac.digest(_derived(found, b"", b"header"), head[: at + len(_MAC) - 1], "sha256")
    if not hmac.compare_digest(expected, _from_base64(line[len(_MAC) :])):
        raise NotOpened("its header is changed")
    return found, end


def _file_key(told: list[bytes], body: bytes, secret: X25519PrivateKey) -> bytes | None:
    """Return a file's key, where a stanza has it for this secret."""
    share, wrapped = _from_base64(b"".join(told)), _from_base64(body)
    if len(told) != 1 or len(share) != 32 or len(wrapped) != _FILE_KEY_BYTES + _TAG_BYTES:
        raise NotOpened("its header is no header of age")
    try:
        shared = secret.exchange(X25519PublicKey.from_public_bytes(share))
        wrapping = _derived(shared, share + secret.public_key().public_bytes_raw(), b"age-encryption.org/v1/X25519")
        return ChaCha20Poly1305(wrapping).decrypt(bytes(12), wrapped, None)
    except (InvalidTag, ValueError):  # it is for another key
        return None


def _line(head: bytes, at: int) -> tuple[bytes, int]:
    """Return a line without its end, and where the next one begins."""
    end = head.find(b"\n", at)
    if end < 0:
        raise NotOpened("its header has no end")
    return head[at:end], end + 1


def _from_base64(word: bytes) -> bytes:
    """Decode unpadded base64 in the one form that there is of it."""
    try:
        found = b64decode(word + b"=" * (-len(word) % 4), validate=True)
    except NotBase64 as error:
        raise NotOpened("its header is no header of age") from error
    if b64encode(found).rstrip(b"=") != word:
        raise NotOpened("its header is no header of age")
    return found


def _derived(secret: bytes, salt: bytes, about: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, about).derive(secret)
