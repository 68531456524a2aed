"""What this instance publishes: what was removed here, by its own judgement and on a person's word. Nothing is sent.

What a list led to is never published: else one word would come back as many. What was published before a list had it
stays.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from fedi_safety.app.engine import measurable
from fedi_safety.app.known.lists import open_catalog
from fedi_safety.app.replay import Rejudge
from fedi_safety.config.locations import sharing_folder
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import SharingUsageError
from fedi_safety.core.frames.shown import VIEW_BITS
from fedi_safety.core.known.effects import FEWEST_FRAMES, LEAST_QUALITY, MATCH
from fedi_safety.core.known.types import HashKind
from fedi_safety.known.records import FEWEST_BITS
from fedi_safety.policies import load_policy
from fedi_safety.sharing.change import Kind, Word
from fedi_safety.sharing.log import Log, LogState, Published, Wanted

if TYPE_CHECKING:
    from fedi_safety.core.ledger.ports import WholeLedger
    from fedi_safety.core.ledger.removals import Removal
    from fedi_safety.core.types import Content, Hashes, Judgement, PictureHash

T = TypeVar("T")
Known = tuple["Content", "Judgement", bool]
_AT_ONCE = 500
_DAY_S = 86_400
_UNFIT = re.compile(r"[^a-z0-9._]+")
_CATEGORY_CHARACTERS = 64


@dataclass(slots=True)
class Publication:
    """What publishing came to. `contents` counts those with an entry, by word; `left_out` the others, by cause."""

    log: LogState
    done: Published
    contents: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def open_log(settings: Settings) -> Log:
    """Return this instance's log; there may be none yet."""
    return Log(sharing_folder(settings), now=time.time)


def begun(settings: Settings, log: Log) -> LogState:
    """Return how the log stands, begun now where there is none. Raises `SharingUsageError` where it has no name."""
    state = log.state()
    if state is not None:
        if settings.sharing.name not in (None, state.name):
            cause = f"is {settings.sharing.name}, and the list is published as {state.name}"
            raise SharingUsageError("sharing.name", cause, "set it back: subscribers know the list by its name")
        return state
    if settings.sharing.name is None:
        remedy = "set `name` in [sharing], usually this instance's domain"
        raise SharingUsageError("sharing.name", "is not set, and a list needs a name", remedy)
    return log.create(settings.sharing.name)


def publish(settings: Settings, ledger: WholeLedger, *, dry_run: bool = False) -> Publication:
    """Bring the log in step with what was removed and said here, and sign it anew, for another fortnight."""
    log = open_log(settings)
    begun(settings, log)
    counted: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    wanted = _Wanting(settings, ledger, log, *counted)
    done = log.publish(wanted.all(), dry_run=dry_run)
    state = log.state()
    assert state is not None
    return Publication(state, done, *counted)


class _Wanting:
    """Says which entries ought to be in force."""

    def __init__(
        self, settings: Settings, ledger: WholeLedger, log: Log, contents: Counter[str], left_out: Counter[str]
    ) -> None:
        self._ledger = ledger
        self._log = log
        self._contents = contents
        self._left_out = left_out
        with open_catalog(settings) as catalog:
            self._subscribed = {each.name for each in catalog.lists() if each.group}
        self._second: Rejudge | None = None
        if settings.sharing.unconfirmed is not None:
            measured = measurable(settings)
            policy = load_policy(settings.sharing.unconfirmed)
            self._second = Rejudge(measured.in_force(policy), measured.signals)

    def all(self) -> Iterator[Wanted]:
        """Yield the entries: what is condemned first, so that where both are one entry that counts."""
        for some in pages(self._ledger.removals()):
            sha256s = [each.sha256 for each in some]
            known, hashes = self._ledger.contents(sha256s), self._ledger.hashes_of(sha256s)
            before = self._log.published(sha256s)
            for removal in some:
                yield from self._removed(removal, known, hashes.get(removal.sha256), removal.sha256 in before)
        for cleared in pages(self._ledger.cleared()):
            sha256s = [each.sha256 for each in cleared]
            known, hashes = self._ledger.contents(sha256s), self._ledger.hashes_of(sha256s)
            for each in cleared:
                if each.sha256 in known and self._meets_a_publisher(known[each.sha256][0]):
                    self._contents[Word.HARMLESS.value] += 1
                    told = Kind.RECOMMENDATION, Word.HARMLESS, "", each.dismissed_at, each.dismissed_at
                    yield from entries_of(each.sha256, hashes.get(each.sha256), *told)

    def _removed(
        self, removal: Removal, known: Mapping[bytes, Known], hashes: Hashes | None, before: bool
    ) -> Iterator[Wanted]:
        if removal.sha256 not in known:
            return
        content, judgement, _ = known[removal.sha256]
        kind = Kind.RECOMMENDATION if removal.confirmed_at is not None else Kind.ADVISORY
        if meets_a_list(content) and not before:
            self._left_out["a list has it, so that it is not this instance's own word"] += 1
        elif kind is Kind.ADVISORY and not self._condemned_twice(removal.sha256, content):
            self._left_out["no person confirmed it"] += 1
        else:
            self._contents[kind.value] += 1
            since = removal.removed_at if removal.confirmed_at is None else removal.confirmed_at
            told = kind, Word.CONDEMNED, category_of(judgement), removal.removed_at, since
            yield from entries_of(removal.sha256, hashes, *told)

    def _condemned_twice(self, sha256: bytes, content: Content) -> bool:
        if self._second is None:
            return False
        judged = self._second(sha256, content.scores)
        return judged is not None and judged.verdict is Verdict.BLOCK

    def _meets_a_publisher(self, content: Content) -> bool:
        matches = (match for signal in content.scores.signals.values() for match in signal.matches)
        return any(match.list in self._subscribed for match in matches)


def meets_a_list(content: Content) -> bool:
    """Whether a list condemns a content, or sends it to review."""
    signal = content.scores.signals.get(MATCH)
    return signal is not None and bool(signal.matches)


def category_of(judgement: Judgement) -> str:
    """Return by which rules a content is condemned, as the format wants it."""
    rules = "_".join(hit.rule.lower() for hit in judgement.reasons if hit.verdict is Verdict.BLOCK)
    return _UNFIT.sub("-", rules).strip("-")[:_CATEGORY_CHARACTERS]


def entries_of(
    sha256: bytes, hashes: Hashes | None, kind: Kind, word: Word, category: str, seen_s: float, since_s: float
) -> Iterator[Wanted]:
    """Yield what a content is found again by: its bytes, and its pictures as far as they show enough.

    What moves is listed as a clip, whose single frames condemn nothing; one with few frames by its bytes alone.
    """
    seen, since = int(seen_s) // _DAY_S * _DAY_S, int(since_s)

    def wanted(hash_kind: HashKind, value: bytes, clip: str = "", quality: int = 0) -> Wanted:
        told = hash_kind.value, value.hex(), clip, sha256, kind, word, category
        return Wanted(*told, quality, seen, since)

    yield wanted(HashKind.SHA256, sha256)
    if hashes is None:
        return
    telling = [each for each in hashes.pictures if tells_enough(each)]
    moments = {each.index & ((1 << VIEW_BITS) - 1) for each in hashes.pictures}
    if len(moments) <= 1:
        for each in telling:
            yield wanted(HashKind.PDQ, each.pdq, quality=each.quality)
        return
    yield wanted(HashKind.MD5, hashes.md5)
    frames = {each.pdq: each for each in telling if not each.attached}
    if len(frames) >= FEWEST_FRAMES:
        for each in frames.values():
            yield wanted(HashKind.PDQ, each.pdq, sha256.hex(), each.quality)


def tells_enough(picture: PictureHash) -> bool:
    """Whether a picture's hash is of a picture with enough to see to be condemned by."""
    return picture.quality >= LEAST_QUALITY and int.from_bytes(picture.pdq, "big").bit_count() >= FEWEST_BITS


def pages(items: Iterable[T], size: int = _AT_ONCE) -> Iterator[Sequence[T]]:
    """Yield items a few at a time."""
    given = iter(items)
    while page := list(islice(given, size)):
        yield page
