"""What a verdict rests on, in words for people who will not look: regions, faces, frames, and who was not asked."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fedi_safety.core.enums import Verdict
from fedi_safety.core.frames.signals import BARE_POLICY
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedi_safety.core.ledger.records import Shown
    from fedi_safety.core.types import Explanation, FactorHit, Finding, Found, Judgement, Look

WIDTH = 80
"""Of a terminal; longer lines are broken."""

_STATES = ("exposed", "covered")
_WHOLE = "the whole picture"


def thing(label: str) -> str:
    """Return a class of a detector as a person would say it, e.g. `exposed female breast` of FEMALE_BREAST_EXPOSED."""
    words = label.replace("_", " ").lower().split()
    if words and words[0] == "face":
        return "face"  # its sex is a guess that nothing rests on
    if words and words[-1] in _STATES:
        words = [words[-1], *words[:-1]]
    return " ".join(words)


def finding_text(one: Finding) -> str:
    """Return a finding in one sentence, e.g. `face, 212 px, certain 0.83; age models: dlib under 18 with 0.31`."""
    ages = ", ".join(f"{name} with {chance:.2f}" for name, chance in one.ages.items())
    parts = [f"{thing(one.label)}, {one.size_px} px, certain {one.score:.2f}"]
    parts += [f"age models: {ages}"] if ages else []
    parts += [one.why] if one.why else []
    return "; ".join(parts)


def basis_text(hit: FactorHit, found: Explanation | None) -> str:
    """Return what a factor rests on: a region, a frame as a whole, or an entry of a list."""
    from fedi_safety.core.explained.account import basis_of
    from fedi_safety.core.policy import TEST_CARD_SIGNAL

    if hit.signal == TEST_CARD_SIGNAL:
        return "the harmless test card of this program"
    if hit.matches:
        return f"its bytes, or what it looks like: {', '.join(match.text for match in hit.matches)}"
    if found is None:
        return "not on record"
    look = next((look for look in found.looks if look.frame == hit.frame), None)
    basis = basis_of(hit, found.found)
    if basis is not None:
        said = finding_text(basis.finding)
    elif look is not None:
        said = f"{look.where or 'the picture'} as a whole; no single region"
    else:
        return "not on record"
    return said + ("; seen by the second pass alone" if look is not None and look.second else "")


def basis_lines(hits: tuple[FactorHit, ...], found: Explanation | None) -> list[str]:
    """Return what the factors of a rule rest on, for people; those that rest on one thing together."""
    factors: dict[str, list[str]] = {}
    for hit in hits:
        factors.setdefault(basis_text(hit, found), []).append(hit.factor)
    return [line for basis, names in factors.items() for line in _wrapped(f"{' and '.join(names)}: {basis}", 8)]


def unexplained(shown: Shown) -> str | None:
    """Return why it is not on record what a content's verdict rests on; None where it is, or there is no verdict."""
    if shown.explanation is not None or not shown.judgements:
        return None
    last = shown.judgements[-1].judgement
    if last.policy == BARE_POLICY:
        return "a worker said no more than its verdict: what it found is not known"
    if last.verdict is Verdict.CLEAR and not last.reasons:
        return "plainly clear: of such only the scores are kept"
    return (
        "what was found is not on record: it was judged by a version or a worker that does not tell, or decided from "
        f"the scores of what had been plainly clear; {hint('scan --recheck all')} puts it on record"
    )


def explanation_lines(shown: Shown) -> list[str]:
    """Return everything that was found, frame by frame, and which detectors were not asked; or why that is not told."""
    if (why := unexplained(shown)) is not None:
        return _wrapped(why, 0)
    return [] if shown.explanation is None else found_lines(shown.explanation)


def found_lines(found: Explanation) -> list[str]:
    """Return everything that was found, frame by frame, and which detectors were not asked."""
    second = sum(look.second for look in found.looks)
    lines = ["what was found (how certain, shorter side, where in the frame):"] if found.found else []
    bare: list[str] = []
    for look in sorted(found.looks, key=lambda look: (look.picture, look.frame)):
        here = [one for one in found.found if one.frame == look.frame]
        if here:
            lines += [f"  {_look_text(look)}", *_table(here)]
        else:
            bare.append(_look_text(look))
    if found.more_found:
        lines.append(f"  and {found.more_found:,} more, which nothing rests on")
    if bare:
        more = f", and {found.more_looks:,} more frames" if found.more_looks else ""
        lines += _wrapped(f"no region was named in: {'; '.join(bare)}{more}", 0)
    elif found.more_looks:
        lines.append(f"{found.more_looks:,} more frames were judged")
    if second:
        lines.append(f"{second:,} of these frames are of the second pass")
    for out in found.left_out:
        of = f" (of {out.pictures:,} pictures)" if out.pictures > 1 else ""
        lines += _wrapped(f"{out.detector} was left out{of}: {out.why}", 0)
    return lines


def explanation_json(shown: Shown) -> dict[str, Any] | None:
    """Return the same as data."""
    last = shown.judgements[-1].judgement if shown.judgements else None
    return None if shown.explanation is None else found_json(shown.explanation, last)


def found_json(found: Explanation, judgement: Judgement | None) -> dict[str, Any]:
    """Return what was found as data; what the factors of the judgement rest on is `rests_on`."""
    from fedi_safety.core.explained.account import basis_of

    rests_on = []
    for reason in () if judgement is None else judgement.reasons:
        for hit in reason.factors:
            basis = basis_of(hit, found.found)
            at = None if basis is None else next(i for i, one in enumerate(found.found) if one is basis)
            rests_on.append({"rule": reason.rule, "factor": hit.factor, "finding": at, "words": basis_text(hit, found)})
    return {
        "frames": [asdict(look) for look in found.looks],
        "findings": [
            {"detectors": list(one.detectors), "frame": one.frame, "what": thing(one.finding.label)}
            | asdict(one.finding)
            for one in found.found
        ],
        "left_out": [asdict(out) for out in found.left_out],
        "more_frames": found.more_looks,
        "more_findings": found.more_found,
        "rests_on": rests_on,
    }


def _look_text(look: Look) -> str:
    second = ", second pass" if look.second else ""
    return f"{look.where or _WHOLE} ({look.width}x{look.height}{second})"


def _table(found: list[Found]) -> Iterator[str]:
    """Yield the findings of a frame in columns; what further is said of one stands below it."""
    widest = max(len(thing(one.finding.label)) for one in found)
    for one in found:
        it = one.finding
        across, down = (
            f"{100 * start:.0f}-{100 * (start + size):.0f} %" for start, size in ((it.x, it.width), (it.y, it.height))
        )
        yield f"    {thing(it.label):<{widest}}  {it.score:.2f}  {it.size_px:>5} px  {across} x {down}"
        ages = ", ".join(f"{name} {chance:.2f}" for name, chance in it.ages.items())
        for said in (f"age models: {ages}" if ages else "", it.why):
            if said:
                yield from _wrapped(said, 6)


def _wrapped(said: str, indent: int) -> list[str]:
    first, rest = " " * indent, " " * (indent + 2)
    return textwrap.wrap(said, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
