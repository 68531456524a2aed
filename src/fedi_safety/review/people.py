"""Who may use the pages: passwords as argon2 hashes, a limit on guessing, and the one-time key of this machine.

Whether a name is known does not show in how long an answer takes: what is unknown is held against a hash as well.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from fedi_safety.core.errors import ConfigError
from fedi_safety.core.wording.hints import hint
from fedi_safety.review.rules import Right, rights_of

if TYPE_CHECKING:
    from argon2 import PasswordHasher

    from fedi_safety.config.review import Review

_KEY_S = 600.0  # how long the one-time key of this machine can be used
_TRIES, _TRIES_OF_ADDRESS, _WITHIN_S = 5, 20, 900.0
_MOST_COUNTED = 10_000
LEAST_LETTERS = 12


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is known here. `stamp` changes with the rights and the password, and ends sessions so."""

    name: str
    rights: frozenset[Right]
    roles: tuple[str, ...]
    stamp: str
    proves: bool = True  # whether there is a password to ask for again


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _nobodys_hash() -> str:
    return _hasher().hash(secrets.token_hex(16))


def hashed(password: str) -> str:
    """Return the hash of a password, as the configuration has it."""
    return _hasher().hash(password)


def matches(password: str, hash_: str | None) -> bool:
    """Whether a password is the one that was hashed; as slow where there is no hash."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(hash_ or _nobodys_hash(), password) and hash_ is not None
    except (VerificationError, InvalidHashError):
        return False


def check(review: Review) -> None:
    """Refuse settings that would let in anybody, or nobody. Raises `ConfigError`."""
    for name, person in review.people.items():
        hash_ = None if person.password is None else person.password.get_secret_value()
        if hash_ is not None and not hash_.startswith("$argon2"):
            raise ConfigError(
                f"review.people.{name}.password", "is no hash", f"make one with {hint('review password {}', name)}"
            )
        if hash_ is None and review.user_header is None:
            cause = "has no password, and no proxy tells who somebody is"
            raise ConfigError(f"review.people.{name}", cause, f"make a hash with {hint('review password {}', name)}")
    if review.user_header is not None and not review.trusted_proxies:
        raise ConfigError("review.user_header", "nobody is believed about it", "set review.trusted_proxies")
    for section, networks in (("networks", review.networks), ("trusted_proxies", review.trusted_proxies)):
        for network in networks:
            if network.prefixlen < {4: 8, 6: 16}[network.version]:
                raise ConfigError(f"review.{section}", f"{network} is open to the world", "name your proxy's address")
    if review.enabled and not review.people:
        remedy = f"{hint('review password NAME')} makes the lines for one"
        raise ConfigError("review.people", "there is nobody who could sign in", remedy)


@dataclass(slots=True)
class People:
    """Everybody of the configuration, or whoever has the one-time key of this machine."""

    known: Mapping[str, Person]
    _hashes: Mapping[str, str | None] = field(default_factory=dict)
    key: str | None = None
    _key_until: float = 0.0
    _owner: Person | None = None
    _clock: Callable[[], float] = time.monotonic
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def configured(cls, review: Review) -> People:
        """Return who stands in the settings. Raises `ConfigError`."""
        check(review)
        known, hashes = {}, {}
        for name, person in review.people.items():
            hash_ = None if person.password is None else person.password.get_secret_value()
            told = "\0".join((name, *sorted(person.roles), hash_ or ""))
            stamp = hashlib.sha256(told.encode()).hexdigest()
            known[name] = Person(name, rights_of(person.roles), person.roles, stamp, hash_ is not None)
            hashes[name] = hash_
        return cls(known, hashes)

    @classmethod
    def of_this_machine(cls, name: str, clock: Callable[[], float] = time.monotonic) -> People:
        """Return one person, who comes in by a key that is good once; sessions end with this process."""
        roles = ("reviewer", "admin")
        owner = Person(name, rights_of(roles), roles, secrets.token_hex(16), proves=False)
        return cls({name: owner}, {}, secrets.token_urlsafe(32), clock() + _KEY_S, owner, clock)

    def with_password(self, name: str, password: str) -> Person | None:
        """Return the person with this name and password."""
        right = matches(password, self._hashes.get(name))
        return self.known.get(name) if right else None

    def with_key(self, key: str) -> Person | None:
        """Return whom the one-time key lets in; it is used up by that."""
        with self._guard:
            if self.key is None or self._clock() > self._key_until or not hmac.compare_digest(key, self.key):
                return None
            self.key = None
        return self._owner


class Attempts:
    """How often somebody failed to sign in lately: by name at an address, and by address."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody has failed yet."""
        self._clock = clock
        self._failed: OrderedDict[tuple[str, str], list[float]] = OrderedDict()
        self._guard = threading.Lock()

    def wait_s(self, name: str, address: str) -> float:
        """Return for how long this name may not be tried from this address; 0 where it may."""
        with self._guard:
            return max(self._wait((name, address), _TRIES), self._wait(("", address), _TRIES_OF_ADDRESS))

    def _wait(self, of: tuple[str, str], most: int) -> float:
        now = self._clock()
        lately = [at for at in self._failed.get(of, ()) if at > now - _WITHIN_S]
        return 0.0 if len(lately) < most else lately[-most] + _WITHIN_S - now

    def failed(self, name: str, address: str) -> None:
        """Note one more failure."""
        with self._guard:
            now = self._clock()
            for of in ((name, address), ("", address)):
                lately = [at for at in self._failed.pop(of, []) if at > now - _WITHIN_S]
                self._failed[of] = [*lately, now]
            while len(self._failed) > _MOST_COUNTED:
                self._failed.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of this name at this address."""
        with self._guard:
            self._failed.pop((name, address), None)
