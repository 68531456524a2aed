"""Why a rule held, in a short sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedi_safety.core.types import FactorHit, RuleHit


def reason_text(hit: RuleHit) -> str:
    """Return why a rule held: its factors with what they reached, and the signals and places that raised them."""
    factors = ", ".join(f"{f.factor} {f.value:.2f} >= {f.threshold:g} ({_source(f)})" for f in hit.factors)
    apart = ", in different frames" if hit.across_frames else ""
    late = ", seen by a second look only" if hit.second_look else ""
    return f"{hit.rule}: {factors}{apart}{late}" if factors else hit.rule


def _source(hit: FactorHit) -> str:
    return " ".join((hit.signal, *([hit.where] if hit.where else []), *(match.text for match in hit.matches)))
