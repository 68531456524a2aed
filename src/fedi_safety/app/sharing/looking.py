"""Entries of publishers held against what is known to be harmless here: who lists that is wrong, or wants harm.

An entry that meets many contents that were judged clear, something that a person dismissed, or a picture of the
harmless benchmark is held: it does nothing until a person lets it go. Nothing is opened but stored hashes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import Verdict
from fedi_safety.core.known.effects import FEWEST_FRAMES, LEAST_QUALITY
from fedi_safety.core.known.types import Entry, HashKind, KnownList
from fedi_safety.sharing.publishers import Received

if TYPE_CHECKING:
    from fedi_safety.core.ledger.ports import WholeLedger
    from fedi_safety.known.catalog import Catalog

_NAME = "looked at"
_AT_ONCE = 500
_PDQ_BYTES = 32
_EXACT = (HashKind.SHA256, HashKind.SHA1, HashKind.MD5)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Why an entry is held."""

    entry: str
    why: str


def harmless_pictures() -> bytes:
    """Return the PDQs of the pictures of the harmless benchmark, 32 bytes each."""
    return files("fedi_safety.sharing").joinpath("harmless.pdq").read_bytes()


def suspicions(settings: Settings, ledger: WholeLedger, entries: Sequence[Received]) -> list[Suspicion]:
    """Return which of these entries meet what is harmless."""
    if not entries:
        return []
    from fedi_safety.known.catalog import Catalog as Opened

    looking = _Looking(settings, ledger, entries)
    with TemporaryDirectory(prefix="fedi-safety-looked-") as folder, Opened(Path(folder)) as beside:
        beside.put(KnownList(_NAME), (_entry(each) for each in entries if each.kind == HashKind.PDQ))
        looking.at_the_benchmark(beside)
        looking.at_pictures(beside)
    looking.at_bytes()
    return looking.found()


class _Looking:
    """Counts by entry, or by clip, the clear contents that it meets; a clip is met by three of its frames."""

    def __init__(self, settings: Settings, ledger: WholeLedger, entries: Sequence[Received]) -> None:
        self._most_clear = settings.sharing.max_clear
        self._ledger = ledger
        self._entries = entries
        self._named = {each.id: each.clip or each.id for each in entries}
        self._clear: Counter[str] = Counter()
        self._why: dict[str, str] = {}

    def found(self) -> list[Suspicion]:
        """Return what is held: every frame of a clip that is."""
        return [
            Suspicion(each.id, self._why[name]) for each in self._entries if (name := self._named[each.id]) in self._why
        ]

    def at_the_benchmark(self, beside: Catalog) -> None:
        """Hold what looks like a picture of the benchmark; single frames of clips may."""
        import numpy as np

        harmless = np.frombuffer(harmless_pictures(), np.uint8).reshape(-1, _PDQ_BYTES)
        for _, _, hit in beside.join(lambda: [(None, harmless)], name=_NAME):
            if not hit.clip:
                self._why[hit.entry] = "it is near to a picture of the harmless benchmark"

    def at_pictures(self, beside: Catalog) -> None:
        """Hold what looks like something that was dismissed, or like too much that was judged clear."""
        here: Any = None
        met: defaultdict[int, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))

        def pages() -> Iterator[tuple[Any, Any]]:
            for page in self._ledger.picture_pages():
                enough = page.qualities >= LEAST_QUALITY
                yield page.contents[enough], page.hashes[enough]

        for contents, position, hit in beside.join(pages, name=_NAME):
            if contents is not here:
                self._count(met)
                met.clear()
                here = contents
            name = hit.clip or hit.entry
            if name not in self._why:
                met[int(contents[position])][name].add(position)
        self._count(met)

    def at_bytes(self) -> None:
        """The same by the bytes: a hash of these is of one content."""
        import numpy as np

        wanted = {(each.kind, bytes.fromhex(each.hash)): each.id for each in self._entries if each.kind in set(_EXACT)}
        if not wanted:
            return
        listed = {
            kind: np.unique(np.frombuffer(b"".join(value[:8] for of, value in wanted if of == kind), np.uint64))
            for kind in _EXACT
        }
        for page in self._ledger.bytes_pages():
            rows = {HashKind.SHA256: page.sha256, HashKind.SHA1: page.sha1, HashKind.MD5: page.md5}
            met: defaultdict[int, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
            for kind, column in rows.items():
                begins = np.ascontiguousarray(column[:, :8]).view(np.uint64)[:, 0]
                for at in np.flatnonzero(np.isin(begins, listed[kind])).tolist():
                    entry = wanted.get((kind, column[at].tobytes()))
                    if entry is not None:
                        met[int(page.contents[at])][entry].add(at)
            self._count(met)

    def _count(self, met: dict[int, defaultdict[str, set[int]]]) -> None:
        """Ask the ledger what was said of these contents."""
        numbers = sorted(met)
        for first in range(0, len(numbers), _AT_ONCE):
            sha256s = self._ledger.numbered(numbers[first : first + _AT_ONCE])
            asked = list(sha256s.values())
            dismissed = self._ledger.dismissed(asked)
            known = self._ledger.contents(asked)
            for number, sha256 in sha256s.items():
                clear = sha256 in known and known[sha256][1].verdict is Verdict.CLEAR and known[sha256][2]
                for name, positions in met[number].items():
                    if len(positions) < (FEWEST_FRAMES if self._is_clip(name) else 1):
                        continue
                    if sha256 in dismissed:
                        self._why[name] = "it meets what a person dismissed here"
                    elif clear:
                        self._clear[name] += 1
                        if self._clear[name] > self._most_clear:
                            self._why.setdefault(
                                name, f"it meets more than {self._most_clear} contents judged clear here"
                            )

    def _is_clip(self, name: str) -> bool:
        return name not in self._named


def _entry(each: Received) -> Entry:
    return Entry(HashKind.PDQ, bytes.fromhex(each.hash), each.id, quality=each.quality, clip=each.clip)
