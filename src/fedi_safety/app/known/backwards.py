"""Changed lists applied to what was judged before, by stored hashes: no object is opened, no network is loaded.

Contents that meet an entry, and contents whose hit went away, are decided anew and planned. What stored scores do not
tell stands undecided, and the next scan reads it. What is compared does not depend on what was compared before, so that
after a process was killed between a change and this, doing it again finds everything.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from fedi_safety.app.acts import act_for
from fedi_safety.app.consent import remembered
from fedi_safety.app.engine import measurable
from fedi_safety.app.known.compared import Lists
from fedi_safety.app.replay import UNDECIDED, Rejudge
from fedi_safety.app.stores import Target, targets
from fedi_safety.config.schema import Settings
from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import ActKind, Verdict
from fedi_safety.core.errors import StoreUsageError, UsageError
from fedi_safety.core.known.effects import (
    BLOCK,
    LEAST_QUALITY,
    MATCH,
    NEAR,
    SIGNALS,
    counted,
    effects,
    of_others,
    signals,
)
from fedi_safety.core.known.types import PDQ_BYTES, TURNS, Effect, HashKind, Hit
from fedi_safety.core.ledger.matches import Rematch
from fedi_safety.core.policy import Policy, by_a_person
from fedi_safety.core.types import Content, Fingerprints, Hashes, Judgement, Match, PictureHash, Scores, Signal
from fedi_safety.stores import canonical_url

if TYPE_CHECKING:
    from fedi_safety.core.ledger.ports import WholeLedger

log = logging.getLogger(__name__)

_AT_ONCE = 500
_PICTURES_AT_ONCE = 1024
_DESCRIPTORS_AT_ONCE = 100_000
_MOST_NAMED = 20
_EXACT = (HashKind.SHA256, HashKind.SHA1, HashKind.MD5)


@dataclass(slots=True)
class Applied:
    """What the lists change among stored contents; in a dry run, what they would.

    `moves` count contents by verdict before and then (`undecided` where stored scores do not tell), `objects` those
    that have them in a store. `named` says the keys of objects that are condemned now, a few of them; `dismissed` are
    contents that meet a list and that a person dismissed: they stay clear. `hashed` of `contents` could be compared by
    what they show, all others by their SHA-256 alone; where only those were looked at that met a list, that is all.
    `planned` are objects, `unplanned` such for which no act can be had as it is configured. `changed` are contents of
    which lists say something else, whatever their verdict.
    """

    contents: int = 0
    hashed: int = 0
    hits: int = 0
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    objects: Counter[tuple[str, str]] = field(default_factory=Counter)
    dismissed: list[bytes] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    planned: int = 0
    unplanned: int = 0
    changed: int = 0

    @property
    def condemned(self) -> int:
        """Return how many contents are condemned that were not."""
        return sum(n for (_, then), n in self.moves.items() if then == Verdict.BLOCK.value)

    def as_json(self) -> dict[str, Any]:
        """Return it as programs read it."""
        moves = [
            {"before": before, "then": then, "contents": count, "objects": self.objects[before, then]}
            for (before, then), count in sorted(self.moves.items())
        ]
        return {
            "contents": self.contents,
            "hashed": self.hashed,
            "hits": self.hits,
            "moves": moves,
            "dismissed": [sha256.hex() for sha256 in self.dismissed],
            "planned": self.planned,
            "unplanned": self.unplanned,
        }


def apply_lists(
    settings: Settings, policy: Policy, ledger: WholeLedger, lists: Lists, *, run: int | None, names: Collection[str]
) -> Applied:
    """Decide anew what meets other entries than it did: of contents that met any list, and of all that meet these.

    Without a `run` nothing is written: a dry run. What a list of harmless ones holds back has met another one before,
    so that such a list need not be among `names`. Raises `Unscannable` where the lists cannot be read.
    """
    measured = measurable(settings)
    decide = Rejudge(measured.in_force(policy), measured.signals)
    counts = ledger.hash_counts()
    applied = Applied(counts.contents, counts.hashed if names else counts.contents)
    changing = _Changing(ledger, lists, decide, settings.known.near_distance)
    acts = _acts(settings, ledger)
    met = (
        _by_bytes(ledger, lists, names),
        _by_pictures(ledger, lists, names),
        _by_descriptors(ledger, lists, names, settings.known.near_distance),
    )
    numbers = _each_once(chain(ledger.matched(), *met))
    while some := list(islice(numbers, _AT_ONCE)):
        found, standing = changing.of(list(ledger.numbered(some).values()), applied)
        _count(ledger, found, applied)
        if run is not None:
            ledger.rematch(run, [rematch for rematch, _ in found])
            _plan(ledger, run, acts, [*standing, *_condemned(found)], applied)
    return applied


def _condemned(found: Sequence[tuple[Rematch, str]]) -> list[bytes]:
    return [r.sha256 for r, _ in found if r.judgement is not None and r.judgement.verdict is Verdict.BLOCK]


def _count(ledger: WholeLedger, found: Sequence[tuple[Rematch, str]], applied: Applied) -> None:
    applied.changed += len(found)
    moved: dict[bytes, tuple[str, str]] = {}
    for rematch, before in found:
        then = UNDECIDED if rematch.judgement is None else rematch.judgement.verdict.value
        if then != before:
            moved[rematch.sha256] = before, then
    applied.moves.update(moved.values())
    for _, obj, sha256 in ledger.objects_of(list(moved)):
        applied.objects[moved[sha256]] += 1
        if moved[sha256][1] == Verdict.BLOCK.value and len(applied.named) < _MOST_NAMED:
            applied.named.append(obj.key)


def _acts(settings: Settings, ledger: WholeLedger) -> Mapping[str, ActKind | None]:
    """Return what is done about condemned objects of each store that the ledger knows, by its name of it."""
    configured: list[Target] = targets(settings, None) if settings.stores or settings.store else []
    of_url = {canonical_url(target.url, target.settings): target for target in configured}
    found: dict[str, ActKind | None] = {}
    for url in ledger.store_urls():
        target = of_url.get(url) or Target(url, url, settings)
        try:
            found[url] = act_for(remembered(target, ledger, url).settings, target)
        except (UsageError, StoreUsageError) as error:
            log.warning("%s", error.line())
    return found


def _plan(
    ledger: WholeLedger, run: int, acts: Mapping[str, ActKind | None], condemned: Sequence[bytes], applied: Applied
) -> None:
    """See that each of their objects has its plan; one that a process left without is found so as well."""
    wanted: defaultdict[str, list[Any]] = defaultdict(list)
    for url, obj, sha256 in ledger.objects_of(condemned):
        if url in acts:
            wanted[url].append((obj, sha256))
        else:
            applied.unplanned += 1
    for url, objects in wanted.items():
        act = acts[url]
        if act is not None:
            applied.planned += len(ledger.plan(run, url, objects, act))


class _Changing:
    """Says of contents what the lists make of them."""

    def __init__(self, ledger: WholeLedger, lists: Lists, decide: Rejudge, near_distance: int) -> None:
        self._ledger = ledger
        self._near_distance = near_distance
        self._images = lists.images
        self._lists = lists
        self._now_s = time.time()
        self._named = {name: each for name, each in lists.named().items() if self._holds(each.expires_s)}
        self._decide = decide

    def of(self, sha256s: Sequence[bytes], applied: Applied) -> tuple[list[tuple[Rematch, str]], list[bytes]]:
        """Return what is another than it was, with the verdict before; and what stands condemned by a list."""
        known = self._ledger.contents(sha256s)
        hashes = self._ledger.hashes_of(sha256s)
        dismissed = self._ledger.dismissed(sha256s)
        near = self._near(hashes)
        kept, untold = self._kept(known)
        untold |= self._perhaps_harmless(hashes, near)
        found: list[tuple[Rematch, str]] = []
        standing: list[bytes] = []
        for sha256, (content, judgement, decided) in known.items():
            hits = near.get(sha256, {}), kept.get(sha256, [])
            told = self._signals(content, hashes.get(sha256), *hits, spoken=sha256 in dismissed)
            if MATCH in told or NEAR in told:
                applied.hits += 1
                if sha256 in dismissed:
                    applied.dismissed.append(sha256)
            condemned = decided and judgement.verdict is Verdict.BLOCK
            before, then = _said(content.scores.signals), _said(told)
            if before == then:
                if condemned and BLOCK in told:
                    standing.append(sha256)
                continue
            if condemned and NEAR in then and _besides_near(before) == _besides_near(then):
                continue  # it is like something else that was removed, which says nothing new of it
            scores = _with(content.scores, told)
            if sha256 in dismissed or by_a_person(judgement):
                anew: Judgement | None = judgement
            else:
                anew = None if sha256 in untold else self._decide(sha256, scores)
            stood = judgement.verdict.value if decided else UNDECIDED
            found.append((Rematch(sha256, scores, anew), stood))
        return found, standing

    def _near(self, hashes: Mapping[bytes, Hashes]) -> dict[bytes, dict[int, Sequence[Hit]]]:
        """Return by content and frame what each picture meets, turned as far as the bits of its hash tell."""
        pictures = [
            (sha256, picture)
            for sha256, each in hashes.items()
            for picture in each.pictures
            if picture.quality >= LEAST_QUALITY
        ]
        alike = self._alike(hashes)
        found: defaultdict[bytes, list[tuple[PictureHash, Sequence[Hit]]]] = defaultdict(list)
        for first in range(0, len(pictures), _PICTURES_AT_ONCE):
            some = pictures[first : first + _PICTURES_AT_ONCE]
            for (sha256, picture), hits in zip(some, self._in_every_turn([p for _, p in some]), strict=True):
                found[sha256].append((picture, [*hits, *alike.get((sha256, picture.frame), ())]))
        return {sha256: counted(of_content) for sha256, of_content in found.items()}

    def _in_every_turn(self, pictures: Sequence[PictureHash]) -> list[list[Hit]]:
        """Return what each picture meets, of each entry the nearest way."""
        import numpy as np

        from fedi_safety.known.index.turned import turned

        asked = np.frombuffer(b"".join(picture.pdq for picture in pictures), np.uint8).reshape(-1, PDQ_BYTES)
        found = iter(self._images.near(np.concatenate(turned(asked))))
        best: list[dict[tuple[str, str, str], Hit]] = [{} for _ in pictures]
        for turn in TURNS:
            for of_picture in best:
                for hit in next(found):
                    named = hit.list, hit.clip, hit.entry
                    if named not in of_picture or hit.distance < of_picture[named].distance:
                        of_picture[named] = replace(hit, turn=turn)
        return [list(of_picture.values()) for of_picture in best]

    def _perhaps_harmless(
        self, hashes: Mapping[bytes, Hashes], near: Mapping[bytes, Mapping[int, Sequence[Hit]]]
    ) -> set[bytes]:
        """Return contents with an accused picture that may be a copy of a harmless one by its surest bits.

        Which these are is not stored: only reading the picture again tells.
        """
        import numpy as np

        accused = [
            (sha256, picture.pdq)
            for sha256, of_content in near.items()
            for picture in hashes[sha256].pictures
            if _accusing(of_content.get(picture.frame, ()))
        ]
        if not accused or not any(each.effect is Effect.NEGATIVE for each in self._named.values()):
            return set()
        asked = np.frombuffer(b"".join(pdq for _, pdq in accused), np.uint8).reshape(-1, PDQ_BYTES)
        found = zip(accused, self._images.near(asked, np.zeros_like(asked)), strict=True)
        return {
            sha256 for (sha256, _), hits in found
            if any(hit.effect is Effect.NEGATIVE and hit.turn and not hit.group for hit in hits)
        }  # fmt: skip

    def _alike(self, hashes: Mapping[bytes, Hashes]) -> dict[tuple[bytes, int], Sequence[Hit]]:
        """Return by content and frame what each picture meets by its descriptor."""
        import numpy as np

        found: dict[tuple[bytes, int], Sequence[Hit]] = {}
        for sha256, each in hashes.items():
            if (made := each.descriptors) is not None:
                asked = np.frombuffer(b"".join(bits for _, bits in made.of), np.uint8).reshape(-1, 64)
                hits = self._images.alike(asked, made.model, self._near_distance)
                found |= {
                    (sha256, frame): of_others(sha256, met) for (frame, _), met in zip(made.of, hits, strict=True)
                }
        return found

    def _kept(
        self, known: Mapping[bytes, tuple[Content, Any, bool]]
    ) -> tuple[dict[bytes, list[tuple[int, Hit]]], set[bytes]]:
        """Return the hits on record by a turned picture or its surest bits, whose entry is still there, by content.

        With their frame. Of a picture one hash is stored, upright, and not which bits are the surest: what met an entry
        otherwise may not meet it by that, nor a harmless one. Where an entry is near to one that is called harmless,
        only reading the picture again tells: the second part are contents of which that is so.
        """
        on_record = {
            sha256: {
                (match.list, match.entry): (signal.frame, match)
                for name in SIGNALS
                if (signal := content.scores.signals.get(name)) is not None
                for match in signal.matches
                if match.turn and match.list in self._named and match.distance <= self._named[match.list].distance
            }
            for sha256, (content, _, _) in known.items()
        }
        asked: defaultdict[str, set[str]] = defaultdict(set)
        for matches in on_record.values():
            for name, entry in matches:
                asked[name].add(entry)
        there = {(name, entry): digest for name, wanted in asked.items() for entry, digest in self._there(name, wanted)}
        refuted = self._refuted(there)
        kept = {
            sha256: [
                (frame, self._hit(match))
                for named, (frame, match) in matches.items()
                if named in there and named not in refuted
            ]
            for sha256, matches in on_record.items()
        }
        return kept, {sha256 for sha256, matches in on_record.items() if refuted & matches.keys()}

    def _refuted(self, there: Mapping[tuple[str, str], bytes]) -> set[tuple[str, str]]:
        """Return which of these entries are near to a harmless one."""
        import numpy as np

        accusing = [each for each in there if self._named[each[0]].effect is not Effect.NEGATIVE]
        if not accusing:
            return set()
        asked = np.frombuffer(b"".join(there[each] for each in accusing), np.uint8).reshape(-1, 32)
        found = zip(accusing, self._images.near(asked), strict=True)
        return {each for each, hits in found if any(hit.effect is Effect.NEGATIVE and not hit.group for hit in hits)}

    def _hit(self, match: Match) -> Hit:
        known = self._named[match.list]
        return Hit(
            match.list, known.effect, match.entry, HashKind.PDQ, match.distance, match.turn, group=known.group,
            agreeing=known.agreeing, waiting=known.waiting,
        )  # fmt: skip

    def _there(self, name: str, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        for entry in self._lists.called(name, sorted(wanted)):
            if self._holds(entry.expires_s):
                yield entry.clip or entry.id or entry.hash.hex(), entry.hash

    def _holds(self, expires_s: float | None) -> bool:
        return expires_s is None or expires_s > self._now_s

    def _signals(
        self,
        content: Content,
        hashes: Hashes | None,
        near: Mapping[int, Sequence[Hit]],
        kept: Sequence[tuple[int, Hit]],
        *,
        spoken: bool,
    ) -> dict[str, Signal]:
        """Return what the lists say. Of what a person has `spoken` harmless it counts which lists say otherwise."""
        sha1, md5 = (hashes.sha1, hashes.md5) if hashes is not None else (b"", b"")
        exact = self._images.exact(Fingerprints(content.sha256, sha1, md5, content.size))
        pictures = {frame: list(hits) for frame, hits in near.items()}
        met = {(hit.list, hit.entry) for hits in pictures.values() for hit in hits}
        for frame, hit in kept:
            if (hit.list, hit.entry) not in met:
                pictures.setdefault(~frame if ~frame in pictures else frame, []).append(hit)  # of a cover: ~frame
        if spoken:
            exact, pictures = _accusing(exact), {frame: _accusing(hits) for frame, hits in pictures.items()}
        rows = content.scores.frames.rows() if content.scores.frames is not None else ()
        return signals(effects(exact, pictures), {row.frame: row.where for row in rows})


def _accusing(hits: Sequence[Hit]) -> list[Hit]:
    return [hit for hit in hits if hit.effect is not Effect.NEGATIVE]


def _said(told: Mapping[str, Signal]) -> dict[str, tuple[float, frozenset[tuple[str, str]]]]:
    """Return what lists say of a content: how much, and by which entries."""
    return {
        name: (signal.value, frozenset((match.list, match.entry) for match in signal.matches))
        for name in SIGNALS
        if (signal := told.get(name)) is not None
    }


def _besides_near(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in said.items() if name != NEAR}


def _with(scores: Scores, told: Mapping[str, Signal]) -> Scores:
    """Return scores with what lists say now in place of what they said; it holds for every picture."""
    return replace(scores, signals={n: s for n, s in scores.signals.items() if n not in SIGNALS} | dict(told))


def _each_once(numbers: Iterable[int]) -> Iterator[int]:
    """Yield each of these numbers of contents once; a bit for each content is held, however many meet a list."""
    seen = bytearray()
    for number in numbers:
        place, bit = number >> 3, 1 << (number & 7)
        if place >= len(seen):
            seen.extend(bytes(max(place + 1 - len(seen), len(seen))))
        if not seen[place] & bit:
            seen[place] |= bit
            yield number


def _by_pictures(ledger: WholeLedger, lists: Lists, names: Collection[str]) -> Iterator[int]:
    """Yield contents of which a picture meets an entry of these lists."""

    def pages() -> Iterator[tuple[Any, Any]]:
        for page in ledger.picture_pages():
            enough = page.qualities >= LEAST_QUALITY
            yield page.contents[enough], page.hashes[enough]

    for name in names:
        for contents, position, _ in lists.join(name, pages):
            yield int(contents[position])


def _by_descriptors(ledger: WholeLedger, lists: Lists, names: Collection[str], distance: int) -> Iterator[int]:
    """Yield contents of which a picture is alike to an entry of these lists, by the model that made both.

    All that is stored streams past a part of the entries at a time.
    """
    import numpy as np

    from fedi_safety.known.index.descriptors import meet, rows_of

    entries = (entry for name in names for entry in lists.added(name, HashKind.NEAR))
    while some := list(islice(entries, _DESCRIPTORS_AT_ONCE)):
        made: defaultdict[str, list[bytes]] = defaultdict(list)
        for entry in some:
            made[entry.category].append(entry.hash)
        for model, hashes in made.items():
            asked = rows_of(b"".join(hashes))
            for page in ledger.descriptor_pages(model):
                for _, places, _ in meet(asked, page.descriptors, distance):
                    yield from np.unique(page.contents[places]).tolist()


def _by_bytes(ledger: WholeLedger, lists: Lists, names: Collection[str]) -> Iterator[int]:
    """Yield contents whose hashes begin as an entry's do; eight bytes of ten million entries are held at once."""
    import numpy as np

    listed = {kind: found for kind in _EXACT if len(found := _beginnings(lists, names, kind))}
    for page in ledger.bytes_pages() if listed else ():
        meets = np.zeros(len(page.contents), bool)
        for kind, rows in ((HashKind.SHA256, page.sha256), (HashKind.SHA1, page.sha1), (HashKind.MD5, page.md5)):
            if kind in listed:
                begins = np.ascontiguousarray(rows[:, :8]).view(np.uint64)[:, 0]
                meets |= np.isin(begins, listed[kind]) & (page.hashed if kind is not HashKind.SHA256 else True)
        yield from page.contents[meets].tolist()


def _beginnings(lists: Lists, names: Collection[str], kind: HashKind) -> Any:
    import numpy as np

    entries = (entry for name in names for entry in lists.added(name, kind))
    return np.unique(np.frombuffer(b"".join(entry.hash[:8] for entry in entries), np.uint64))
