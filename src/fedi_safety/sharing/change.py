"""One change of a shared list: its canonical bytes, and the chain that binds each to the one before (docs/sharing.md).

Pure. What is no canonical line is no change: there is one way to write each, so that signatures and links mean one
thing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from fedi_safety.core.known.types import EXCHANGED, HashKind

MAX_LINE = 1024
"""Bytes of a line at most, without its end."""

LIFE_S = 2 * 365 * 86_400
"""How long an entry holds unless it is confirmed again: two years."""

GENESIS = b"shared list, format 1\n"

_MOST = 1 << 53  # whole numbers that every reader of JSON holds exactly
_HEX = re.compile(r"[0-9a-f]+")
_CATEGORY = re.compile(r"[a-z0-9._-]{0,64}")
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_KEY = re.compile(r"[A-Za-z0-9+/]{56}")
_SIGNATURE = re.compile(r"[A-Za-z0-9+/]{86}==")


class Malformed(ValueError):
    """Bytes that are not what this format says. The text says what is wrong, and repeats nothing of them."""


class Signer(Protocol):
    """A key to sign with."""

    def signed(self, data: bytes) -> bytes:
        """Return the signature of some bytes, 64 bytes."""
        ...


class Checker(Protocol):
    """A key to check with."""

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether these 64 bytes are its signature of the data."""
        ...


class Kind(StrEnum):
    """What a change does."""

    RECOMMENDATION = "recommendation"  # a person at the publisher's looked
    ADVISORY = "advisory"  # a rule of the publisher's alone
    RETRACTION = "retraction"  # takes an entry of the same publisher back
    KEY = "key"  # the publisher signs with another key from now on


class Word(StrEnum):
    """What an entry says of its picture."""

    CONDEMNED = "condemned"
    HARMLESS = "harmless"


@dataclass(frozen=True, slots=True)
class Entry:
    """A recommendation or an advisory. Times are whole seconds since 1970 in UTC; `prev` is the link before.

    `clip` is the SHA-256 of the clip that this PDQ is a frame of, empty for a picture. `quality` is a PDQ's, else 0.
    """

    basis: str
    category: str
    clip: str
    expires: int
    hash: str
    id: str
    kind: str
    prev: str
    quality: int
    seen: int
    seq: int
    time: int
    type: str
    verdict: str

    @property
    def named(self) -> tuple[str, str, str]:
        """Return what an entry is known by: a publisher has one of each."""
        return self.kind, self.hash, self.clip


@dataclass(frozen=True, slots=True)
class Retraction:
    """Takes back the publisher's own entry with this kind, hash and clip."""

    clip: str
    hash: str
    id: str
    kind: str
    prev: str
    seq: int
    time: int
    type: str = Kind.RETRACTION.value

    @property
    def named(self) -> tuple[str, str, str]:
        """Return what the entry is known by."""
        return self.kind, self.hash, self.clip


@dataclass(frozen=True, slots=True)
class KeyChange:
    """Names the key that signs from now on; `signature` is the old key's, over the line without it."""

    id: str
    key: str
    prev: str
    seq: int
    signature: str
    time: int
    type: str = Kind.KEY.value

    @property
    def signed(self) -> bytes:
        """Return the bytes that the old key signs."""
        told = _told(self)
        del told["signature"]
        return canonical(told)

    def signed_by(self, old: Signer) -> KeyChange:
        """Return it with the old key's signature."""
        return replace(self, signature=base64.b64encode(old.signed(self.signed)).decode())

    def is_signed_by(self, old: Checker) -> bool:
        """Whether it has the old key's signature."""
        return old.verifies(base64.b64decode(self.signature), self.signed)


Change = Entry | Retraction | KeyChange
_KINDS: dict[str, type[Change]] = {
    Kind.RECOMMENDATION: Entry,
    Kind.ADVISORY: Entry,
    Kind.RETRACTION: Retraction,
    Kind.KEY: KeyChange,
}


def canonical(told: dict[str, Any]) -> bytes:
    """Return an object of texts and whole numbers as its one line: keys in order, no blanks, ASCII, no end of line."""
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def line_of(change: Change) -> bytes:
    """Return a change's line."""
    return canonical(_told(change))


def link_of(line: bytes) -> str:
    """Return what the next change names as the one before: the SHA-256 of this one's line, in hexadecimal digits."""
    return hashlib.sha256(line).hexdigest()


def genesis(name: str, key: str) -> str:
    """Return what the first change of a log names as the one before it."""
    return hashlib.sha256(GENESIS + f"{name}\n{key}\n".encode()).hexdigest()


def read_object(line: bytes) -> dict[str, Any]:
    """Return the object of a canonical line. Raises `Malformed`."""
    if len(line) > MAX_LINE:
        raise Malformed(f"a line has more than {MAX_LINE} bytes")
    if line.count(b"{") != 1 or b"[" in line:  # before it is parsed: nothing nests
        raise Malformed("a line is not one flat object")
    try:
        told = json.loads(line)
    except ValueError:
        raise Malformed("a line is not JSON") from None
    if not isinstance(told, dict) or not all(type(value) in (str, int) for value in told.values()):
        raise Malformed("a line is not an object of texts and whole numbers")
    if canonical(told) != line:
        raise Malformed("a line is not in canonical form")
    return told


def read_change(line: bytes) -> Change:
    """Return the change of a line. Raises `Malformed`."""
    told = read_object(line)
    made = _KINDS.get(told.get("type", ""))
    if made is None:
        raise Malformed("a change is of no type that is known here")
    if told.keys() != {field.name for field in fields(made)}:
        raise Malformed(f"a {told['type']} has other keys than it should")
    change: Change = made(**told)
    _check(change)
    return change


def read_count(value: object, name: str) -> int:
    """Return a whole number from 0 on. Raises `Malformed`."""
    if type(value) is not int or not 0 <= value < _MOST:
        raise Malformed(f"{name} is no whole number from 0 on")
    return value


def read_digest(value: object, name: str, size_bytes: int = 32) -> str:
    """Return a hash in lower-case hexadecimal digits. Raises `Malformed`."""
    if type(value) is not str or len(value) != 2 * size_bytes or not _HEX.fullmatch(value):
        raise Malformed(f"{name} is no hash of {size_bytes} bytes in small hexadecimal digits")
    return value


def uuid7(time_s: int, random: bytes) -> str:
    """Return a UUID, version 7, of a moment in seconds and ten random bytes."""
    number = (time_s * 1000) << 80 | int.from_bytes(random, "big")
    number = number & ~(0xF << 76) | 7 << 76
    return str(UUID(int=number & ~(3 << 62) | 2 << 62))


def _told(change: Change) -> dict[str, Any]:
    return {field.name: getattr(change, field.name) for field in fields(change)}


def _check(change: Change) -> None:
    for name in ("seq", "time"):
        read_count(getattr(change, name), name)
    read_digest(change.prev, "prev")
    _check_id(change.id)
    if isinstance(change, KeyChange):
        if type(change.key) is not str or not _KEY.fullmatch(change.key):
            raise Malformed("a new key is no minisign public key")
        if type(change.signature) is not str or not _SIGNATURE.fullmatch(change.signature):
            raise Malformed("the signature of a new key is no base64 of 64 bytes")
        return
    if change.kind not in EXCHANGED:
        raise Malformed("a hash is of no kind that is known here")
    read_digest(change.hash, "hash", HashKind(change.kind).size_bytes)
    if change.clip != "":
        read_digest(change.clip, "clip")
        if change.kind != HashKind.PDQ:
            raise Malformed("a clip's frame is no PDQ")
    if isinstance(change, Entry):
        _check_entry(change)


def _check_entry(entry: Entry) -> None:
    for name in ("expires", "seen", "quality"):
        read_count(getattr(entry, name), name)
    if entry.basis != "own":
        raise Malformed("an entry's basis is not `own`")
    if type(entry.category) is not str or not _CATEGORY.fullmatch(entry.category):
        raise Malformed("a category is not of at most 64 small letters, digits, dots and dashes")
    if entry.verdict not in set(Word):
        raise Malformed("an entry says neither `condemned` nor `harmless`")
    if entry.type == Kind.ADVISORY and entry.verdict == Word.HARMLESS:
        raise Malformed("an advisory says `harmless`, which only a person may")
    if entry.quality > 100 or (entry.quality and entry.kind != HashKind.PDQ):
        raise Malformed("quality is not from 0 to 100, or of another hash than a PDQ")
    if not entry.time < entry.expires <= entry.time + LIFE_S:
        raise Malformed("an entry expires before it begins, or after more than two years")


def _check_id(value: object) -> None:
    if type(value) is not str or not _UUID7.fullmatch(value):
        raise Malformed("an id is no UUID of version 7 in small letters")
