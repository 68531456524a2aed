"""What the commands about lists say: a list in a line, what a file had that cannot be used, what lists changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fedi_safety.core.known.types import Effect
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from collections import Counter

    from fedi_safety.app.known.backwards import Applied
    from fedi_safety.app.known.lists import Taken
    from fedi_safety.app.known.sources import Brought
    from fedi_safety.core.known.types import KnownList
    from fedi_safety.core.ledger.matches import ListHits
    from fedi_safety.known.formats import Flaw, Reading
    from fedi_safety.known.records import Imported, ListStatistics

_FEW = 10


def terms(known: KnownList) -> str:
    """Return what a list does, in words."""
    from fedi_safety.app.known.lists import REMOVED

    how = "by descriptors of 512 bits" if known.name == REMOVED else f"within {known.distance} bits"
    parts = [f"{known.effect.value} {how}"]
    if known.expires_s is not None:
        ended = "expired" if known.expires_s <= time.time() else "until"
        parts.append(f"{ended} {day(known.expires_s)}")
    if known.origin:
        parts.append(f"from {known.origin}")
    if known.licence:
        parts.append(f"licence {known.licence}")
    parts.append("may be passed on" if known.redistribute else "not to be passed on")
    return ", ".join(parts)


def day(at_s: float) -> str:
    """Return a moment's day, in UTC."""
    try:
        return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):
        return "a day out of reach"


def number_of(count: int, thing: str, things: str = "") -> str:
    """Return `1 hit`, `2,000 hits`; `things` is the plural where it does not end in s alone."""
    return f"{count:,} {thing if count == 1 else things or f'{thing}s'}"


def counts(numbers: Mapping[str, int]) -> str:
    """Return counts by name, the most first."""
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    said = ", ".join(f"{number:,} {name or 'without one'}" for name, number in ordered[:_FEW])
    return said + (", ..." if len(ordered) > _FEW else "") if said else "none"


def read_lines(reading: Reading, taken: Taken) -> Iterator[str]:
    """Yield what a file had: what was read, and what of it cannot be used, with the place where that was first met."""
    yield f"{reading.source.path}: {reading.format.about}; read {counts(taken.kinds)}"
    if any(taken.categories):
        yield f"by category: {counts(taken.categories)}"
    if taken.left_out:
        yield f"left out for their category: {taken.left_out:,}"
    if taken.imported is not None and taken.imported.withdrawn:
        yield f"taken back by the file itself: {taken.imported.withdrawn:,}"
    yield from unusable_lines(reading.flaws, reading.first, taken.imported)


def fetched_lines(brought: Brought) -> Iterator[str]:
    """Yield what a fetch came to, in words."""
    fetched, done = brought.fetched, brought.fetched.imported
    what = f"{done.added:,} new, {done.replaced:,} replaced, {done.removed:,} removed"
    ended = "" if fetched.complete else "; stopped before its end, and the next fetch goes on there"
    yield f"{fetched.source.name} ({fetched.source.kind}): {what if fetched.changed else 'nothing new'}{ended}"
    if fetched.kinds:
        yield f"read {counts(fetched.kinds)}"
    if fetched.sent:
        yield f"hashes sent: {fetched.sent:,}"
    if fetched.withdrawn:
        yield f"taken back by its source: {fetched.withdrawn:,}"
    if fetched.left_out:
        yield f"left out for their category: {fetched.left_out:,}"
    yield from unusable_lines(fetched.flaws, fetched.first, done)
    if brought.applied is not None:
        yield from applied_lines(brought.applied, dry_run=False)


def unusable_lines(flaws: Counter[str], first: Mapping[str, Flaw], imported: Imported | None) -> Iterator[str]:
    """Yield what could not be used, with the place where it was first met, and what was refused."""
    for cause, number in flaws.most_common():
        flaw = first[cause]
        detail = f" ({flaw.detail})" if flaw.detail else ""
        yield f"not usable here: {number:,} with {cause}, first {flaw.place}{detail}"
    for refusal, number in sorted(imported.refused.items()) if imported is not None else ():
        yield f"refused: {number:,}, {refusal.value}"


def applied_lines(applied: Applied, *, dry_run: bool) -> Iterator[str]:
    """Yield what lists changed among stored contents, or would."""
    would = "would be " if dry_run else ""
    if applied.contents > applied.hashed:
        missing = applied.contents - applied.hashed
        yield (
            f"compared by what they show: {applied.hashed:,} of {applied.contents:,} contents; by SHA-256 alone, as "
            f"they were judged before they were hashed: {missing:,}"
        )
    yield f"contents that meet a list: {applied.hits:,}"
    for (before, then), number in sorted(applied.moves.items()):
        objects = applied.objects[before, then]
        yield f"{would}{then} instead of {before}: {number_of(number, 'content')} in {number_of(objects, 'object')}"
    for key in applied.named:
        yield f"  {key}"
    if applied.dismissed:
        few = ", ".join(sha256.hex() for sha256 in applied.dismissed[:3])
        more = ", ..." if len(applied.dismissed) > 3 else ""
        yield f"dismissed by a person, and stay clear: {len(applied.dismissed):,} ({few}{more})"
    if not dry_run and applied.planned:
        yield f"planned: {number_of(applied.planned, 'object')}; {hint('apply')} names them and carries it out"
    if not dry_run and applied.unplanned:
        unplanned = number_of(applied.unplanned, "object")
        yield f"not planned, for what is configured cannot be done there: {unplanned}"


def list_json(found: ListStatistics, hits: ListHits | None) -> dict[str, Any]:
    """Return a list, how much is on it, and what came of it."""
    known = found.list
    return {
        "name": known.name,
        "effect": known.effect.value,
        "distance": known.distance,
        "share": known.share,
        "origin": known.origin,
        "licence": known.licence,
        "redistribute": known.redistribute,
        "expires": None if known.expires_s is None else iso(known.expires_s),
        "changed": iso(found.changed_s),
        "entries": {kind.value: number for kind, number in sorted(found.entries.items())},
        "exact_only": found.exact_only,
        "expired": found.expired,
        "hits": 0 if hits is None else hits.contents,
        "confirmed": 0 if hits is None else hits.confirmed,
        "dismissed": 0 if hits is None else hits.dismissed,
        "turned": None if hits is None or hits.turned is None else iso(hits.turned.at),
    }


def iso(at_s: float) -> str:
    """Return a moment as programs read it, in UTC."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")


def turned_line(known: KnownList, hits: ListHits) -> str:
    """Return that a list for review turned to that by itself; empty where it did not, or was set to something since."""
    turned = hits.turned
    if turned is None or known.effect is not Effect.REVIEW:
        return ""
    counts = f"{turned.dismissed:,} of its {number_of(turned.contents, 'hit')} dismissed"
    return f"turned to review by itself on {day(turned.at)}, with {counts}"
