"""Evidence as one HTML page and as one text, from the same sections; the list of several; and the chain's own file."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedi_safety.core.errors import printable
from fedi_safety.reports.evidence.facts import NOT_ADVICE, Evidence, moment
from fedi_safety.reports.evidence.sections import Section
from fedi_safety.reports.page import page, table
from fedi_safety.reports.plots import text

_WIDTH = 100
_WIDEST = 140  # of a row in columns: a hash and what stands beside it


def as_html(evidence: Evidence, parts: Sequence[Section]) -> str:
    """Return the page. It stands alone: no script, no network, no picture."""
    title = f"Evidence: {evidence.sha256.hex()[:16]}"
    return _html(title, evidence.sha256.hex(), parts)


def as_text(evidence: Evidence, parts: Sequence[Section]) -> str:
    """Return the same as plain text."""
    return _text(f"Evidence about the content with the SHA-256 {evidence.sha256.hex()}", parts)


@dataclass(frozen=True, slots=True)
class Listed:
    """A content in the list of several, which has a folder of its own."""

    sha256: str
    at: float
    who: str
    removed: bool

    @classmethod
    def of(cls, evidence: Evidence) -> Listed:
        """Return what the list says of a content."""
        at, _ = evidence.incident()
        person = evidence.person()
        who = "" if person is None else person.person or f"person {person.person_id}"
        return cls(evidence.sha256.hex(), at, who, evidence.removed)


def listing(run: int, contents: Sequence[Listed], made_at: float) -> list[Section]:
    """Return what a folder of several contents has: the folder of each, and what is most asked for."""
    rows = [(each.sha256, moment(each.at), each.who, "yes" if each.removed else "no") for each in contents]
    notes = (NOT_ADVICE, f"Made at {moment(made_at)}: {len(rows):,} contents of run {run}, a folder each.")
    return [
        Section("What this is", ("", ""), (), notes),
        Section("Contents", ("SHA-256, and the folder", "when (UTC)", "who", "removed"), rows),
    ]


def listing_html(run: int, parts: Sequence[Section]) -> str:
    """Return the page of several contents."""
    return _html(f"Evidence of run {run}", "", parts)


def listing_text(run: int, parts: Sequence[Section]) -> str:
    """Return the same as plain text."""
    return _text(f"Evidence about the contents of run {run}", parts)


def custody_lines(evidence: Evidence) -> str:
    """Return the content's events as the chain hashes them, one JSON object a line; last the chain's end."""
    custody = evidence.custody
    rows: list[dict[str, object]] = [
        {"seq": e.seq, "prev_hash": e.prev_hash.hex(), "hash": e.hash.hex(), "body": e.body} for e in custody.entries
    ]
    rows.append({"length": custody.length, "head": custody.head.hex()})
    return "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)


def _html(title: str, below: str, parts: Sequence[Section]) -> str:
    head = f'<header><h1>{text(title)}</h1><p class="dim"><code>{text(below)}</code></p></header>'
    return page(title, [head, *(_section(part) for part in parts)])


def _section(part: Section) -> str:
    notes = "".join(f"<p>{text(note)}</p>" for note in part.notes)
    rows = [[text(cell) for cell in row] for row in part.rows]
    return f"<section><h2>{text(part.title)}</h2>{notes}{table(part.headings, rows) if rows else ''}</section>"


def _text(title: str, parts: Sequence[Section]) -> str:
    lines = [printable(title), ""]
    for part in parts:
        lines += [part.title, "-" * len(part.title)]
        for note in part.notes:
            lines += textwrap.wrap(printable(note), _WIDTH, break_long_words=False, break_on_hyphens=False)
        lines += [*_rows(part.headings, [[printable(cell) for cell in row] for row in part.rows]), ""]
    return "\n".join(lines)


def _rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows: facts by name, columns, or, where a row is too long for a line, each cell with its heading."""
    if not any(headings):
        yield from (": ".join(row) for row in rows)
        return
    widths = [max((len(row[at]) for row in rows), default=0) for at in range(len(headings))]
    narrow = sum(widths) + 2 * len(widths) <= _WIDEST
    for row in rows:
        if narrow:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            continue
        filled = [(heading, cell) for heading, cell in zip(headings, row, strict=True) if cell]
        yield from (f"{'  ' if at else ''}{heading}: {cell}" for at, (heading, cell) in enumerate(filled))
