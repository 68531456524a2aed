"""The sealed file: a plain tar with a manifest and the object, in age, so that `age -d FILE | tar x` opens it.

It makes and opens such files in memory; where they lie it does not know.
"""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from hashlib import sha256 as sha256_of
from mmap import mmap
from typing import Any, TypeAlias

from fedi_safety.core.errors import SealError, SealUsageError
from fedi_safety.core.sealing.copies import MANIFEST_NAME, OBJECT_NAME, OLDER_NAME, SECRET_MARKS, Older, SealDigest

Recipient: TypeAlias = Any
"""A public key of age or ssh, as pyrage has it: the library has no types."""

Identity: TypeAlias = Any
"""A secret key of age or ssh, as pyrage has it."""

_BLOCK = tarfile.BLOCKSIZE
_PAGE = 4096
_TOLD_BYTES = 4 << 20  # each telling wakes two threads
_PROTECTED = ("age-encryption.org/", "-----BEGIN AGE ENCRYPTED FILE-----")
_KEYS = "make one where nobody else works: age-keygen -o key.txt; its public half begins with age1"


@dataclass(frozen=True, slots=True)
class Opened:
    """What was in a sealed file. `manifest` is as `Contents` was given it; `older` versions are the oldest first."""

    manifest: Mapping[str, Any]
    data: bytes
    older: tuple[Older, ...] = ()


class Contents:
    """The tar of one object: a stream over bytes that are in memory already, and what a copy is compared with."""

    def __init__(
        self, manifest: Mapping[str, Any], data: bytes | memoryview, at: float, older: Sequence[Older] = ()
    ) -> None:
        """Take an object with its manifest, which must be plain JSON; `at` (epoch seconds) is when it is sealed.

        What is known of `older` versions of its key comes into the manifest.
        """
        if older:
            manifest = {**manifest, "format": 2, "older": [_told(each) for each in older]}
        text = json.dumps(manifest, indent=1, sort_keys=True).encode("ascii")
        self._object = memoryview(data)
        self._parts = [*_entry(MANIFEST_NAME, text, at), *_entry(OBJECT_NAME, data, at)]
        for number, each in enumerate(older, start=1):
            if each.data is not None:
                self._parts += _entry(OLDER_NAME.format(number), each.data, at)
        self._parts.append(memoryview(bytes(2 * _BLOCK)))
        self.size = sum(map(len, self._parts))

    def pieces(self) -> Iterator[memoryview]:
        """Yield the tar's bytes in order."""
        yield from self._parts

    def is_of(self, sha256: bytes) -> bool:
        """Whether the object has this hash."""
        return sha256_of(self._object).digest() == sha256

    def forget(self) -> None:
        """Let go of the bytes. Nothing is asked of it after that."""
        self._object, self._parts = memoryview(b""), []

    def seal(self, recipients: Sequence[Recipient], once: Identity, into: Growing) -> memoryview:
        """Make the sealed file for these keys and for one that was drawn for it, and return it whole.

        Raises `SealError`, also in who reads `into`.
        """
        import pyrage

        from fedi_safety.acts.age_stream import TAG_BYTES, Stream, header_for, pieces_of

        try:
            header, file_key = header_for(recipients, once)
            stream = Stream(file_key)
            into.write(header + stream.nonce)
            for piece, last in pieces_of(self.pieces()):
                into.fill(len(piece) + TAG_BYTES, partial(stream.seal, piece, last=last))
        except BaseException as error:
            into.end(failed := SealError("seal", f"age cannot seal it: {error}", "check `seal.recipients`"))
            if isinstance(error, pyrage.EncryptError | ValueError):
                raise failed from error
            raise
        return into.end()

    def room(self, recipients: int) -> int:
        """Return the bytes that a sealed file of this for so many keys has at most."""
        return self.size + self.size // 1024 + 4096 * (1 + recipients)

    def opens(self, sealed: bytes | memoryview, identity: Identity) -> bool:
        """Whether a sealed file opens by this key, and is these contents byte for byte. Nothing opened is kept."""
        import pyrage

        compared = _Comparer(self.pieces())
        try:
            pyrage.decrypt_io(_Reader(iter([memoryview(sealed)])), compared, [identity])
        except (pyrage.DecryptError, OSError):  # the latter from amid a file that does not open to its end
            return False
        return compared.same


def digest_of(pieces: Iterable[bytes | memoryview]) -> bytes:
    """Return what a sealed file is known again by, without a key: its SHA-256, as `sha256sum` tells it, as a multihash.

    See `SealDigest`.
    """
    digest = sha256_of()
    for piece in pieces:
        digest.update(piece)
    return SealDigest.SHA256.tagged(digest.digest())


def is_known(sealed: bytes, digest: bytes | None) -> bool:
    """Whether a sealed file is the one that was recorded with this digest."""
    if digest is None:
        return False
    name, value = SealDigest.told(digest)
    hashed = sha256_of(sealed) if name is SealDigest.SHA256 else blake2b(sealed, digest_size=32)
    return hashed.digest() == value


def opened(name: str, sealed: bytes, identities: Sequence[Identity]) -> Opened:
    """Return what is in a sealed file. Raises `SealUsageError` for keys that do not fit, `SealError` for a damaged one.

    Nothing of a file that is cut or changed is returned.
    """
    import pyrage

    written = io.BytesIO()
    try:
        pyrage.decrypt_io(io.BytesIO(sealed), written, list(identities))
    except (pyrage.DecryptError, OSError) as error:
        if "no matching keys" in str(error).lower():
            raise SealUsageError(name, "it was not sealed for this key", "give --identity the one that fits") from error
        raise _damaged(name) from error
    written.seek(0)
    try:
        with tarfile.open(fileobj=written, mode="r:") as tar:
            manifest = json.loads(_member(tar, MANIFEST_NAME))
            data = _member(tar, OBJECT_NAME)
            older = tuple(_older(tar, *each) for each in enumerate(manifest.get("older", ()), start=1))
        told = [manifest, *(each for each in manifest.get("older", ()) if "sha256" in each)]
        there = [data, *(each.data for each in older if each.data is not None)]
        if [sha256_of(each).hexdigest() for each in there] != [each["sha256"] for each in told]:
            raise _damaged(name)
    except (tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise SealError(name, "it opens, and is no sealed copy of ours", "`age -d FILE | tar x` unpacks it") from error
    return Opened(manifest, data, older)


def _damaged(name: str) -> SealError:
    return SealError(name, "it is cut or changed: it does not open as it was sealed", "get it from a copy of the vault")


def _told(version: Older) -> dict[str, Any]:
    if version.data is None:
        return {"deleted": True, "described": dict(version.described)}
    known = {"sha256": sha256_of(version.data).hexdigest(), "size": len(version.data)}
    return {**known, "described": dict(version.described)}


def _older(tar: tarfile.TarFile, number: int, told: Mapping[str, Any]) -> Older:
    data = None if told.get("deleted") else _member(tar, OLDER_NAME.format(number))
    return Older(told["described"], data)


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    if stream is None:
        raise KeyError(name)
    return stream.read()


def recipients_of(words: Sequence[str]) -> list[Recipient]:
    """Return the public keys that objects are sealed for. Raises `SealUsageError`; no secret is repeated."""
    import pyrage

    if not words:
        raise SealUsageError("seal.recipients", "nobody is named who could open what is sealed", _KEYS)
    found: dict[str, Recipient] = {}
    for number, word in enumerate((each.strip() for each in words), 1):
        thing = f"seal.recipients, number {number}"
        if any(mark in word.upper() for mark in SECRET_MARKS):
            raise SealUsageError(
                thing,
                "it is a secret key, which must never be on this machine",
                "put its public half there (age-keygen -y FILE), and better make a new key: this one was here",
            )
        try:
            kind = pyrage.ssh.Recipient if word.startswith("ssh-") else pyrage.x25519.Recipient
            found[word] = kind.from_str(word)
        except pyrage.RecipientError as error:
            cause = f"{_shown(word)} is no public key of age or ssh (age1..., ssh-ed25519 ..., ssh-rsa ...)"
            raise SealUsageError(thing, cause, _KEYS) from error
    return list(found.values())


def identities_of(name: str, text: bytes) -> list[Identity]:
    """Return the secret keys in a file of age's, or an ssh key. Raises `SealUsageError`; no secret is repeated."""
    import pyrage

    thing = f"identity {name}"
    if text.lstrip().startswith(tuple(mark.encode() for mark in _PROTECTED)):
        raise SealUsageError(thing, "it is protected by a passphrase", "open it by age -d, and give it as --identity -")
    try:
        if b"PRIVATE KEY" in text:
            return [pyrage.ssh.Identity.from_buffer(text)]
        lines = [line.strip() for line in text.decode().splitlines()]
        found: list[Identity] = [
            pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")
        ]
    except (pyrage.IdentityError, UnicodeDecodeError) as error:
        cause = "it holds no secret key of age or ssh that can be read without a passphrase"
        if text.strip().startswith((b"age1", b"ssh-")):
            cause = "it is a public key, which opens nothing"
        raise SealUsageError(thing, cause, "give the file that age-keygen wrote") from error
    if not found:
        raise SealUsageError(thing, "there is no key in it", "give the file that age-keygen wrote")
    return found


def _shown(word: str) -> str:
    return word if len(word) <= 24 else f"{word[:20]}..."


def _entry(name: str, data: bytes | memoryview, at: float) -> list[memoryview]:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(data), int(at), 0o600
    header = info.tobuf(tarfile.USTAR_FORMAT)
    return [memoryview(header), memoryview(data), memoryview(bytes(-len(data) % _BLOCK))]


class _Reader:
    """Reads pieces as one file, without a copy of the whole."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def read(self, count: int = -1) -> bytes:
        while not self._left:
            following = next(self._pieces, None)
            if following is None:
                return b""
            self._left = following
        taken = self._left if count < 0 else self._left[:count]
        self._left = self._left[len(taken) :]
        return bytes(taken)


class Growing:
    """A sealed file as it is made, in memory, for one who writes it and any number who read what has come so far."""

    def __init__(self, memory: bytearray | mmap) -> None:
        """Write into this memory, which must have the `room`, so that nothing is copied as it grows."""
        self._view = memoryview(memory)
        self._at = self._told = 0
        self._ended = False
        self._error: Exception | None = None
        self._more = threading.Condition()

    def write(self, data: bytes) -> None:
        """Take what comes next. Raises `ValueError` where there is no room for it."""
        self._view[self._at : self._at + len(data)] = data
        self._took(len(data))

    def fill(self, count: int, how: Callable[[memoryview], None]) -> None:
        """Have the next so many bytes written where they belong. Raises `ValueError` where there is no room."""
        how(self._view[self._at : self._at + count])
        self._took(count)

    def _took(self, count: int) -> None:
        """Readers hear of it a larger piece at a time."""
        self._at += count
        if self._at - self._told >= _TOLD_BYTES:
            with self._more:
                self._told = self._at
                self._more.notify_all()

    def end(self, error: Exception | None = None) -> memoryview:
        """Return all that came; nothing more will. With an `error` it is not whole, and readers get that."""
        with self._more:
            self._told, self._ended, self._error = self._at, True, error
            self._more.notify_all()
        return self._view[: self._at]

    def pieces(self) -> Iterator[memoryview]:
        """Yield all of it in order, as it comes; each piece but the last begins and ends where a page does."""
        at = 0
        while True:
            with self._more:
                while (self._told & -_PAGE) <= at and not self._ended:
                    self._more.wait()
                ended, error = self._ended, self._error
                until = self._told if ended else self._told & -_PAGE
            if error is not None:
                raise error
            if until > at:
                yield self._view[at:until]
                at = until
            if ended:
                return


class _Comparer:
    """A file that keeps nothing of what is written, and knows whether it is what was expected."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self._expected = _Reader(pieces)
        self._same = True

    def write(self, data: bytes) -> int:
        at = 0
        while at < len(data) and self._same:
            expected = self._expected.read(len(data) - at)
            self._same = bool(expected) and data[at : at + len(expected)] == expected
            at += len(expected)
        return len(data)

    def flush(self) -> None:
        pass

    @property
    def same(self) -> bool:
        """Whether all of it came, and nothing else."""
        return self._same and not self._expected.read(1)
