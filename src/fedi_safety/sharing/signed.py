"""What a publisher signs: the head of its log, and a snapshot of what is in force. Pure.

Both are a signature file of minisign's, four lines, followed by exactly the bytes that it signs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from fedi_safety.sharing.change import Malformed, canonical, read_count, read_digest, read_object
from fedi_safety.sharing.minisign import BadSignature, PublicKey, SecretKey, Signature, digest_of

MAX_HEAD = 4096
"""Bytes of a head with its signature, at most."""

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
"""What a publisher may be called: usually its domain."""

_SIGNATURE_LINES = 4


class What(StrEnum):
    """Which of the two it is."""

    HEAD = "head"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class Statement:
    """How a log stands: after `seq` changes its last link is `link`, and so many `entries` are in force.

    Its line is all of a head, and the first of a snapshot. After `expires` it says nothing any more; times are whole
    seconds since 1970 in UTC.
    """

    what: What
    name: str
    seq: int
    link: str
    entries: int
    time: int
    expires: int

    @property
    def line(self) -> bytes:
        """Return its canonical line, without the end of line."""
        told = {
            "entries": self.entries,
            "expires": self.expires,
            "link": self.link,
            "name": self.name,
            "seq": self.seq,
            "time": self.time,
            "type": self.what.value,
        }
        return canonical(told)

    @property
    def comment(self) -> str:
        """Return the trusted comment that goes with it."""
        return f"shared list {self.what.value} name={self.name} seq={self.seq} expires={self.expires}"


def read_statement(line: bytes, what: What) -> Statement:
    """Return the statement of a line, the end of line not included. Raises `Malformed`."""
    told = read_object(line)
    if told.keys() != {"entries", "expires", "link", "name", "seq", "time", "type"} or told["type"] != what.value:
        raise Malformed(f"it is no {what.value}")
    if type(told["name"]) is not str or not NAME.fullmatch(told["name"]):
        raise Malformed("a publisher's name is no name")
    counts = {name: read_count(told[name], name) for name in ("seq", "entries", "time", "expires")}
    return Statement(what, told["name"], link=read_digest(told["link"], "link"), **counts)


def signed_head(head: Statement, key: SecretKey) -> bytes:
    """Return a head as it is handed out."""
    body = head.line + b"\n"
    return key.signature(digest_of(body), head.comment).encode() + body


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head as it came: read, and not believed before `check`."""

    head: Statement
    signature: Signature
    hashed: bytes

    def check(self, key: PublicKey) -> Statement:
        """Return the head, if this key signed it. Raises `BadSignature`."""
        self.signature.check(key, self.hashed)
        same_comment(self.signature, self.head)
        return self.head


def read_head(data: bytes) -> SignedHead:
    """Read a head. Raises `Malformed`, `BadSignature`."""
    if len(data) > MAX_HEAD:
        raise Malformed(f"a head has more than {MAX_HEAD} bytes")
    text, body = split(data)
    if body.count(b"\n") != 1 or not body.endswith(b"\n"):
        raise Malformed("a head is not one line")
    return SignedHead(read_statement(body[:-1], What.HEAD), Signature.of_text(text), digest_of(body))


def split(data: bytes) -> tuple[bytes, bytes]:
    """Return a signature file and what follows it. Raises `Malformed`."""
    lines = data.split(b"\n", _SIGNATURE_LINES)
    if len(lines) != _SIGNATURE_LINES + 1:
        raise Malformed("there is no signature in front of it")
    return b"\n".join(lines[:_SIGNATURE_LINES]) + b"\n", lines[-1]


def same_comment(signature: Signature, statement: Statement) -> None:
    """Hold the trusted comment against what it is about. Raises `BadSignature`."""
    if signature.comment != statement.comment:
        raise BadSignature("the trusted comment says something else than what it is about")
