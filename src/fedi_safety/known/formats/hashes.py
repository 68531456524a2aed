"""What a list writes for a kind of hash and for a hash, as an entry has them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from fedi_safety.core.known.types import HashKind

_MARKS = re.compile(r"[^a-z0-9]")
_NAMES = {
    "sha256": HashKind.SHA256,
    "sha1": HashKind.SHA1,
    "md5": HashKind.MD5,
    "imagemd5": HashKind.MD5,
    "videomd5": HashKind.MD5,
    "photomd5": HashKind.MD5,
    "pdq": HashKind.PDQ,
    "imagepdq": HashKind.PDQ,
    "photopdq": HashKind.PDQ,
    "hashmd5": HashKind.MD5,
    "hashsha1": HashKind.SHA1,
    "hashsha256": HashKind.SHA256,
    "hashpdq": HashKind.PDQ,
}
_UNUSABLE = {
    "pdna": "PhotoDNA",
    "photodna": "PhotoDNA",
    "hashpdna": "PhotoDNA",
    "ssvhpdna": "SSVH",
    "ssvhsaferhash": "SSVH",
    "ssvh": "SSVH",
    "tmk": "TMK",
    "tmkpdqf": "TMK",
    "videotmk": "TMK",
    "hashtmk": "TMK",
    "netclean": "NetClean",
    "videntifier": "Videntifier",
    "sha512": "SHA-512",
    "sha3": "SHA-3",
    "sha3384": "SHA-3",
    "phash": "pHash",
    "dhash": "dHash",
    "ahash": "aHash",
    "url": "URL",
    "rawtext": "text",
    "text": "text",
    "trendquery": "text",
    "unknown": "a kind unknown to its publisher",
}
_HEX = re.compile(r"[0-9a-fA-F]+")
_EARLIEST_S = -6.2e10  # what a date can be made of again
_BITS = re.compile(r"[01]{256}")


class Unusable(Exception):
    """An entry that cannot be compared here; `cause` is counted, `detail` says what is wrong with this one."""

    def __init__(self, cause: str, detail: str = "") -> None:
        """Keep both."""
        self.cause = cause
        self.detail = detail
        super().__init__(cause)


def kind_of(name: str) -> HashKind:
    """Return the kind that a list calls so. Raises `Unusable` for one that is not computed here."""
    plain = _MARKS.sub("", name.lower())
    if plain in _NAMES:
        return _NAMES[plain]
    known = _UNUSABLE.get(plain)
    raise Unusable(f"{known} hashes" if known else "an unknown kind of hash", f"kind {name[:40]!r}")


def is_kind(name: str) -> bool:
    """Whether this names a kind of hash, one that is computed here or not."""
    plain = _MARKS.sub("", name.lower())
    return plain in _NAMES or plain in _UNUSABLE


def hash_of(kind: HashKind, text: str) -> bytes:
    """Return a hash from its hexadecimal digits, or a PDQ from its 256 binary ones. Raises `Unusable`."""
    text = text.strip()
    if kind is HashKind.PDQ and len(text) == 256 and _BITS.fullmatch(text):
        return int(text, 2).to_bytes(32, "big")
    if len(text) != 2 * kind.size_bytes:
        said = f"{len(text)} characters, and {kind.value} has {2 * kind.size_bytes}"
        raise Unusable("a wrong length", said)
    if not _HEX.fullmatch(text):
        raise Unusable("no hexadecimal digits", f"{text[:20]!r}")
    return bytes.fromhex(text)


def time_of(text: str | float | None) -> float | None:
    """Return a moment, in seconds since 1970, from such a number or an ISO 8601 time; None where it is none."""
    if text is None or isinstance(text, bool) or text == "":
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(str(text).strip())
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if abs(seconds) > 1e11:  # milliseconds, as some write them
        seconds /= 1000
    return seconds if _EARLIEST_S < seconds < 1e11 else None
