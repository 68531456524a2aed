"""Judging: signals in, a verdict with its reasons out. Pure; reads no file (see `fedi_safety.policies` for that).

Also answers which signals may still matter, which is what makes the cascade of detectors safe: a detector is left out
only when no rule can change by it.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedi_safety.core.enums import KNOWN_PREFIX, Verdict
from fedi_safety.core.frames.scores import ONE_PICTURE, FrameScores
from fedi_safety.core.pictures import passes
from fedi_safety.core.policy.rules import MAX_WITHIN_S as MAX_WITHIN_S
from fedi_safety.core.policy.rules import NEAR_SHARE as NEAR_SHARE
from fedi_safety.core.policy.rules import TEST_CARD_RULE as TEST_CARD_RULE
from fedi_safety.core.policy.rules import TEST_CARD_SIGNAL as TEST_CARD_SIGNAL
from fedi_safety.core.policy.rules import ClearingBound as ClearingBound
from fedi_safety.core.policy.rules import Policy as Policy
from fedi_safety.core.policy.rules import Rule as Rule
from fedi_safety.core.policy.word import Word
from fedi_safety.core.testcard import TEST_CARD_SHA256
from fedi_safety.core.types import Judgement, RuleHit, Signal

DISMISSED_RULE = "dismissed by a person"
CONDEMNED_RULE = "condemned by a person"
PERSONS_WORD = "a person's word"
"""Under what a content stands that a person condemned, in the place of a policy: no policy decides it anew."""


def open_signals(
    policy: Policy,
    known: Mapping[str, Signal],
    available: frozenset[str],
    frames: FrameScores | None = ONE_PICTURE,
    *,
    cascade: bool = True,
) -> frozenset[str]:
    """Return the signals, among those `available`, that could still change what some rule says.

    Empty means settled: `judge` is final, but for a second look that may still come. With `cascade=False` clearing
    bounds that only save work are ignored and every available signal that any rule uses is asked for. Of a content of
    which only the highest values were kept also those are open whose frames a rule would have to know.
    """
    wanted = Word(policy, passes(known, frames), available, cascade=cascade).wanted(near=False)
    return frozenset().union(*wanted.values())


def judge(policy: Policy, known: Mapping[str, Signal], frames: FrameScores | None = ONE_PICTURE) -> Judgement:
    """Apply every rule to the measured signals; one that was not measured counts as 0.

    The factors of a rule must hold in one picture. Whether the word is final is `decide`'s to say. The verdict is the
    most severe among the rules that hold. What a second look showed counts where the first one came near to a rule.
    """
    return Word(policy, passes(known, frames)).judgement()


def nearly(
    policy: Policy,
    known: Mapping[str, Signal],
    frames: FrameScores | None = ONE_PICTURE,
    available: frozenset[str] = frozenset(),
) -> bool:
    """Whether a second look might change the verdict: a severer rule does not hold, but each of its factors is near.

    Of an `available` signal that was not measured anything is possible. A factor about which signals must agree is near
    where one of them is: the others may yet see it closer.
    """
    return Word(policy, passes(known, frames), available).near()


def decide(
    policy: Policy,
    known: Mapping[str, Signal],
    available: frozenset[str],
    frames: FrameScores | None = ONE_PICTURE,
    *,
    cascade: bool = True,
) -> Judgement | None:
    """Return what a scan would say; None where these scores cannot tell.

    They cannot where the cascade left out what this policy needs, and where this policy would look a second time and
    that was not done. What lists condemn is shown to no detector.
    """
    if condemned_by_lists(policy, known):
        return judge(policy, known, frames)
    return Word(policy, passes(known, frames), available, cascade=cascade).final()


def condemned_by_lists(policy: Policy, known: Mapping[str, Signal]) -> bool:
    """Whether what lists of known images say of a content condemns it alone, whatever detectors would say."""
    said = {name: signal for name, signal in known.items() if name.startswith(KNOWN_PREFIX)}
    return bool(said) and judge(policy, said).verdict is Verdict.BLOCK


def marks(sha256: bytes) -> dict[str, Signal]:
    """Return the signals that a content has by its hash alone, whatever detectors there are: the test card's."""
    return {TEST_CARD_SIGNAL: Signal(1.0)} if sha256 == TEST_CARD_SHA256 else {}


def dismissal(policy: str) -> Judgement:
    """Return the judgement of a content that a person dismissed: clear, under the policy of this id."""
    return Judgement(Verdict.CLEAR, (), (RuleHit(DISMISSED_RULE, Verdict.CLEAR, None, ()),), policy)


def condemnation(sent: Judgement) -> Judgement:
    """Return the judgement of a content that a person condemned; what had sent it to them is told as well."""
    by_word = RuleHit(CONDEMNED_RULE, Verdict.BLOCK, None, ())
    return Judgement(Verdict.BLOCK, sent.labels, (by_word, *sent.reasons), PERSONS_WORD)


def by_a_person(judgement: Judgement) -> bool:
    """Whether a content is condemned by a person's word, which stands until it is taken back."""
    return judgement.policy == PERSONS_WORD and judgement.verdict is Verdict.BLOCK
