"""What a subscriber believes of a publisher: a log that goes on from what is known of it, signed by its key, and fresh.

Whatever is older, other, broken, of another key or out of date is refused whole; what was believed before stays so.
Nothing is fetched or kept here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Protocol

from fedi_safety.core.errors import SharingError
from fedi_safety.core.wording.hints import hint
from fedi_safety.sharing.change import MAX_LINE, Change, Entry, KeyChange, Malformed, link_of, read_change
from fedi_safety.sharing.log import PAGE
from fedi_safety.sharing.minisign import BadSignature, PublicKey, Signature, digest
from fedi_safety.sharing.signed import SignedHead, Statement, What, read_head, read_statement, same_comment

MOST_CHANGES = 1_000_000
"""The most that is read at once; who is further behind subscribes anew."""

CLOCKS_S = 26 * 3600.0
"""So much may two clocks differ: a day, which a wrong date makes, and a time zone's rest."""

_SIGNATURE_LINES = 4


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a log: its name, the key that signs, number and link of the last change that was read."""

    name: str
    key: str
    seq: int
    link: str


class Publication(Protocol):
    """A publisher's answers, each in an open file that is read once. Raise `SharingError`."""

    def head(self) -> bytes:
        """Return the head."""
        ...

    def changes(self, after: int) -> IO[bytes]:
        """Return a page of changes."""
        ...

    def snapshot(self) -> IO[bytes]:
        """Return the snapshot."""
        ...


class Following:
    """Reads on in a log. `changes` gives what is new; only when it is at its end does `known` say how far that was."""

    def __init__(self, known: Known, published: Publication, now_s: float) -> None:
        """Take what is known, and ask for the head. Raises `SharingError` where it is not believed."""
        self._published = published
        self._first = known
        self._key = PublicKey.of_text(known.key)
        self.known: Known | None = None
        with _refused(known.name):
            self._signed = read_head(published.head())
            self.head = self._signed.head
            if self._signed.signature.key_id == self._key.id:
                self._signed.check(self._key)
        _check_fresh(self.head, known.name, now_s)
        self._check_place()

    def changes(self) -> Iterator[Change]:
        """Give every change from what is known to the head, in order. Raises `SharingError`, also at the end."""
        name = self._first.name
        seq, link = self._first.seq, self._first.link
        with _refused(name):
            while seq < self.head.seq:
                wanted = min(PAGE, self.head.seq - seq)
                with self._published.changes(seq) as page:
                    for line in _lines(page, wanted):
                        change = read_change(line)
                        if change.seq != seq + 1 or change.prev != link:
                            raise self._unfit(_second_history(name, seq) if seq == self._first.seq else _broken(name))
                        if isinstance(change, KeyChange):
                            self._key = _followed(change, self._key, name)
                        yield change
                        seq, link = change.seq, link_of(line)
                        wanted -= 1
                if wanted:
                    raise Malformed("a page of changes is shorter than it should be")
            if link != self.head.link:
                raise self._unfit(_broken(name))
            if self._signed.signature.key_id != self._key.id:
                raise _of_another_key(name, self._signed, self._key)
            self._signed.check(self._key)
        self.known = replace(self._first, key=self._key.text, seq=seq, link=link)

    def _check_place(self) -> None:
        first, head = self._first, self.head
        if head.name != first.name:
            raise SharingError(
                first.name, f"its head is of another list, {head.name}", "see whether the address is right"
            )
        if head.seq < first.seq:
            cause = f"its head is older than what was read: change {head.seq:,}, and {first.seq:,} were read"
            remedy = "it was replayed, or brought back from an old copy; ask the publisher"
            raise self._unfit(SharingError(first.name, cause, remedy))
        if head.seq == first.seq and head.link != first.link:
            raise self._unfit(_second_history(first.name, head.seq))
        if head.seq - first.seq > MOST_CHANGES:
            cause = f"it is {head.seq - first.seq:,} changes ahead, more than {MOST_CHANGES:,}"
            raise SharingError(
                first.name, cause, f"leave it with {hint('hashes leave {}', first.name)}, subscribe anew"
            )

    def _unfit(self, error: SharingError) -> SharingError:
        """Return what to say of a log that does not go on: where another key signed it, that comes first."""
        if self._signed.signature.key_id == self._key.id:
            return error
        return _of_another_key(self._first.name, self._signed, self._key)


class Beginning:
    """Reads a log for the first time: the snapshot, then what came after it. Used as `Following` is."""

    def __init__(self, key: str, published: Publication, now_s: float, most_entries: int) -> None:
        """Take the key that the publisher told, and ask for the head. Raises `SharingError`."""
        self._published = published
        self._public = PublicKey.of_text(key)
        self._now_s = now_s
        self._most_entries = most_entries
        self._rest: Following | None = None
        with _refused("the publisher"):
            signed = read_head(published.head())
            if signed.signature.key_id != self._public.id:
                raise _of_another_key(signed.head.name, signed, self._public)
            self.head = signed.check(self._public)
        self.name = self.head.name
        _check_fresh(self.head, self.name, now_s)

    @property
    def known(self) -> Known | None:
        """How far was read; None before all was."""
        return None if self._rest is None else self._rest.known

    def changes(self) -> Iterator[Change]:
        """Give the entries in force, then every change after them. Raises `SharingError`, also at the end."""
        with _refused(self.name), self._published.snapshot() as file:
            reading = _Snapshot(file, self._most_entries)
            yield from reading.entries()
            stands = reading.check(self._public)
        _check_fresh(stands, self.name, self._now_s)
        known = Known(stands.name, self._public.text, stands.seq, stands.link)
        self._rest = Following(known, self._published, self._now_s)
        yield from self._rest.changes()


class _Snapshot:
    """A snapshot as it is read: its lines first, its signature when all are read."""

    def __init__(self, file: IO[bytes], most_entries: int) -> None:
        text = b"".join(_line(file) + b"\n" for _ in range(_SIGNATURE_LINES))
        self._signature = Signature.of_text(text)
        self._hashed = digest()
        self._file = file
        self.stands = read_statement(self._next(), What.SNAPSHOT)
        if self.stands.entries > most_entries:
            raise Malformed(f"it has {self.stands.entries:,} entries, more than sharing.max_entries ({most_entries:,})")

    def entries(self) -> Iterator[Entry]:
        before = 0
        for _ in range(self.stands.entries):
            change = read_change(self._next())
            if not isinstance(change, Entry) or not before < change.seq <= self.stands.seq:
                raise Malformed("a snapshot has something else than entries in order")
            before = change.seq
            yield change

    def check(self, key: PublicKey) -> Statement:
        if self._file.read(1):
            raise Malformed("a snapshot has more lines than it says")
        self._signature.check(key, self._hashed.digest())
        same_comment(self._signature, self.stands)
        return self.stands

    def _next(self) -> bytes:
        line = _line(self._file)
        self._hashed.update(line + b"\n")
        return line


def _line(file: IO[bytes]) -> bytes:
    line = file.readline(MAX_LINE + 2)
    if not line.endswith(b"\n"):
        raise Malformed("it breaks off, or a line is too long")
    return line[:-1]


def _lines(file: IO[bytes], count: int) -> Iterator[bytes]:
    """Give at most so many lines, and refuse more."""
    while line := file.readline(MAX_LINE + 2):
        if not line.endswith(b"\n"):
            raise Malformed("it breaks off, or a line is too long")
        if not count:
            raise Malformed("a page of changes is longer than it should be")
        count -= 1
        yield line[:-1]


def _check_fresh(stands: Statement, name: str, now_s: float) -> None:
    if stands.time > now_s + CLOCKS_S:
        ahead = (stands.time - now_s) / 3600
        remedy = "set this machine's clock, or tell the publisher"
        raise SharingError(name, f"it is signed {ahead:,.0f} hours from now: one of both clocks is wrong", remedy)
    if stands.expires <= now_s:
        days = (now_s - stands.expires) / 86_400
        cause = f"its head expired {days:,.1f} days ago: it was not published since, or somebody keeps back what was"
        raise SharingError(name, cause, "ask the publisher; check this machine's clock")


def _followed(change: KeyChange, key: PublicKey, name: str) -> PublicKey:
    if not change.is_signed_by(key):
        raise SharingError(name, "it names a new key that the old one did not sign", "ask the publisher what happened")
    return PublicKey.of_text(change.key)


def _second_history(name: str, seq: int) -> SharingError:
    cause = f"it has a second history: change {seq:,} is another than the one that was read"
    return SharingError(name, cause, "its log was rewritten, or two are told apart; ask the publisher")


def _broken(name: str) -> SharingError:
    return SharingError(name, "its chain is broken: a change does not follow the one before", "ask the publisher")


def _of_another_key(name: str, signed: SignedHead, key: PublicKey) -> SharingError:
    theirs = PublicKey(signed.signature.key_id, b"").number
    cause = f"its head is signed by the key {theirs}, not by {key.number}, and no change names that one"
    remedy = (
        "ask the publisher, in another way than this, whether its key was lost; if so, "
        f"{hint('hashes leave {}', name)} and subscribe with the new one"
    )
    return SharingError(name, cause, remedy)


class _refused:
    """Turns bytes that are not what they should be into a `SharingError` about the publisher."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Malformed | BadSignature):
            raise SharingError(self._name, str(error), "nothing of it was taken; ask the publisher") from error
