"""How the reasons of a verdict are told: in words, in JSON, and as they stand in the ledger."""

from __future__ import annotations

from fedi_safety.cli.text.lookup import reason_json
from fedi_safety.core.enums import Verdict
from fedi_safety.core.types import FactorHit, RuleHit
from fedi_safety.core.wording.reasons import reason_text
from fedi_safety.ledger import codec

HIT = RuleHit(
    "both", Verdict.BLOCK, None,
    (FactorHit("red", 0.5, 0.9, "a.red", 3, "at 0:01.50"), FactorHit("circle", 0.5, 0.75, "b.circle", 3, "at 0:01.50")),
)  # fmt: skip
APART = RuleHit(
    "both", Verdict.REVIEW, None,
    (FactorHit("red", 0.5, 0.9, "a.red", 3, "at 0:01.50"), FactorHit("circle", 0.5, 0.75, "b.circle", 8, "at 0:04.00")),
    across_frames=True,
)  # fmt: skip


def test_the_frame_is_named_and_that_there_are_several() -> None:
    one = "both: red 0.90 >= 0.5 (a.red at 0:01.50), circle 0.75 >= 0.5 (b.circle at 0:01.50)"
    several = "both: red 0.90 >= 0.5 (a.red at 0:01.50), circle 0.75 >= 0.5 (b.circle at 0:04.00), in different frames"
    assert (reason_text(HIT), reason_text(APART)) == (one, several)
    assert [reason_json(hit)["across_frames"] for hit in (HIT, APART)] == [False, True]
    assert [factor["frame"] for factor in reason_json(APART)["factors"]] == [3, 8]


def test_the_ledger_gives_reasons_back_and_writes_older_ones_as_before() -> None:
    text = codec.reasons_text((HIT, APART))
    assert codec.reasons_from(text) == (HIT, APART)
    assert "across_frames" not in codec.reasons_text((HIT,)), "digests of earlier rows stay what they were"
