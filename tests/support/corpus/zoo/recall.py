"""Sends the zoo through the sandbox and counts, by format, in how many files the subject is found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.ports import Decoder
from support.corpus.zoo.many_in_one import hiding_places, pages
from support.corpus.zoo.moving_things import animations, clips, damaged, odd_clips
from support.corpus.zoo.stills import stills
from support.corpus.zoo.subject import Item, seen

MAKERS: tuple[Callable[[], Iterator[Item]], ...] = (
    stills,
    animations,
    clips,
    odd_clips,
    pages,
    hiding_places,
    damaged,
)
"""Whoever adds a generator adds it here."""


@dataclass(slots=True)
class Row:
    """What came of the files of one format: found and all, undamaged ones within and beyond the budget, and damaged."""

    within: list[int] = field(default_factory=lambda: [0, 0])
    beyond: list[int] = field(default_factory=lambda: [0, 0])
    damaged: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass(slots=True)
class Recall:
    """Rows by format, and what is wrong: subjects missed, and damage that passed for a full verdict of nothing."""

    rows: dict[str, Row] = field(default_factory=lambda: defaultdict(Row))
    wrong: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the table as docs/media.md has it."""
        lines = ["| format | within the budget | beyond it | damaged |", "|---|---|---|---|"]
        for form, row in self.rows.items():
            hurt = ", ".join(f"{count} {what}" for what, count in sorted(row.damaged.items()))
            lines.append(f"| {form} | {_share(row.within)} | {_share(row.beyond)} | {hurt or '-'} |")
        within = [sum(row.within[at] for row in self.rows.values()) for at in (0, 1)]
        beyond = [sum(row.beyond[at] for row in self.rows.values()) for at in (0, 1)]
        lines.append(f"| all | {_share(within)} | {_share(beyond)} | |")
        return "\n".join(lines)


def _share(counts: list[int]) -> str:
    found, there = counts
    return f"{found} of {there}, {100 * found / there:.0f} %" if there else "-"


def zoo() -> Iterator[Item]:
    """Yield every file."""
    for maker in MAKERS:
        yield from maker()


def measure(decoder: Decoder, items: Iterable[Item]) -> Recall:
    """Decode every file as a first pass does, and look for the subject."""
    recall = Recall()
    for item in items:
        row = recall.rows[item.form]
        found, partly, reason = _looked(decoder, item)
        if item.damaged:
            if reason is None and not partly and not found:
                recall.wrong.append(f"{item.name}: nothing found, and not called damaged")
            row.damaged["found" if found else "judged in part" if reason is None else "with a reason"] += 1
            continue
        counts = row.within if item.budget else row.beyond
        counts[0] += found
        counts[1] += 1
        if reason is not None or partly:
            recall.wrong.append(f"{item.name}: {reason or partly}")
        elif item.budget and not found:
            recall.wrong.append(f"{item.name}: not found")
    return recall


def _looked(decoder: Decoder, item: Item) -> tuple[bool, str | None, Reason | None]:
    try:
        kind = decoder.sniff(item.data[:4096])
        assert kind is item.kind, f"{item.name} is taken for {kind}"
        decoded = decoder.decode(item.data, kind)
    except Unscannable as refusal:
        return False, None, refusal.reason
    return seen(item, decoded), decoded.partly, None
