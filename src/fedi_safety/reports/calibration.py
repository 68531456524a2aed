"""The page of `calibrate --html`: what each threshold condemns of pictures that are believed clean. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedi_safety.core.errors import printable
from fedi_safety.reports import plots
from fedi_safety.reports.facts import percent
from fedi_safety.reports.page import page, table
from fedi_safety.reports.plots import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedi_safety.evaluation.thresholds import Calibrated, Calibration, Curve, Point, Share

BINS = 20
ROWS = tuple(round(i / 20, 2) for i in range(1, 20))
"""The thresholds that a table shows, beside the one in force and the proposed one."""


def share_text(share: Share) -> str:
    """Return `3 (0.3 %, below 0.8 %)`."""
    return f"{share.count:,} ({percent(share.share)}, below {percent(share.bound)})"


def shown_points(curve: Curve) -> list[Point]:
    """Return the points that a table shows: some on the way, without those that say the same as the one before."""
    marked = {curve.threshold, curve.proposed}
    shown: list[Point] = []
    for point in curve.points:
        same = shown and (shown[-1].reached, shown[-1].holds) == (point.reached, point.holds)
        if point.threshold in marked or (point.threshold in ROWS and not same):
            shown.append(point)
    return shown


def proposals(rule: Calibrated, share: float) -> list[str]:
    """Return in words what would keep a rule below the wanted share."""
    wanted = percent(share)
    if rule.kept(share):
        lower = ", ".join(
            f"{c.factor} {c.proposed:g}" for c in rule.curves if c.proposed is not None and c.proposed < c.threshold
        )
        more = f"; it would still do with one of: {lower}" if lower else ""
        return [f"stays below {wanted} as it is{more}"]
    found = [
        f"{curve.factor} {curve.proposed:g} instead of {curve.threshold:g} would keep it below {wanted}"
        for curve in rule.curves
        if curve.proposed is not None
    ]
    if rule.together is not None and len(rule.curves) > 1:
        both = ", ".join(f"{factor} {value:g}" for factor, value in rule.together.items())
        found.append(f"raised together: {both}")
    return found or [f"no threshold up to 1 keeps it below {wanted} on so few pictures"]


def conclusion(found: Calibration) -> str:
    """Return what the sample says of all rules that block."""
    certain = f"with {percent(found.confidence)} confidence"
    said = (
        f"{found.condemned.count:,} of {found.pictures:,} pictures are condemned: {percent(found.condemned.share)}, "
        f"{certain} below {percent(found.condemned.bound)} of all."
    )
    if found.pictures < found.needed:
        said += f" To show less than {percent(found.share)} it takes at least {found.needed:,} pictures."
    return said


def render(found: Calibration, store: str, drawn: str) -> str:
    """Return the whole page. `drawn` says how the sample came to be."""
    title = "fedi-safety calibration"
    body = [
        f'<header><h1>{text(title)}: {text(store)}</h1><p class="dim">{text(found.policy)}; {text(drawn)}</p></header>',
        f"<section><h2>Condemned</h2><p>{text(conclusion(found))}</p><p class='dim'>The store is believed clean, so "
        "each of these is taken for a mistake. A bound holds for a threshold that was fixed beforehand; one that was "
        "chosen because of these very pictures is a little worse on others.</p></section>",
        *(_rule(rule, found, i) for i, rule in enumerate(found.rules)),
    ]
    if found.unmeasured:
        body.append(
            f"<section><p>Cannot hold, as nothing measures it: {text(', '.join(found.unmeasured))}.</p></section>"
        )
    body.append("<footer>Made from scores alone; no picture was kept, and nothing was written to the store.</footer>")
    return page(title, body)


def _rule(rule: Calibrated, found: Calibration, number: int) -> str:
    advice = "".join(f"<li>{text(line)}</li>" for line in proposals(rule, found.share))
    named = ", ".join(f"<code>{text(printable(key))}</code>" for key in rule.examples)
    which = f'<p class="dim">Holds for, among others: {named}</p>' if named else ""
    curves = "".join(_curve(rule, curve, found, f"r{number}f{i}") for i, curve in enumerate(rule.curves))
    return (
        f"<section><h2>{text(rule.rule)} ({text(rule.effect)})</h2><p>Holds for {text(share_text(rule.holds))}.</p>"
        f'<ul class="marks">{advice}</ul>{which}{curves}</section>'
    )


def _curve(rule: Calibrated, curve: Curve, found: Calibration, name: str) -> str:
    counts: Sequence[int] = np.histogram(curve.values.clip(0, 1), BINS, (0.0, 1.0))[0].tolist()
    lines = {curve.threshold: "the threshold in force"}
    if curve.proposed is not None and curve.proposed != curve.threshold:
        lines[curve.proposed] = f"keeps the rule below {percent(found.share)}"
    description = f"{found.pictures:,} pictures in {BINS} equal bins from 0 to 1"
    plot = plots.histogram(name, f"{rule.rule}: {curve.factor}", description, counts, lines)
    legend = "".join(f"<li>{value:g}: {text(why)}</li>" for value, why in sorted(lines.items()))
    rows = [[f"{p.threshold:g}", f"{p.reached:,}", text(share_text(p.holds))] for p in shown_points(curve)]
    listed = table(("from#", "reached by#", "the rule then holds for"), rows)
    return (
        f'<h3>{text(curve.factor)}</h3><div class="pair"><figure>{plot}</figure><div><ul class="marks">{legend}</ul>'
        f"<details><summary>as a table</summary>{listed}</details></div></div>"
    )
