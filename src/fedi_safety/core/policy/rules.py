"""What a policy says: factors over signals, rules over factors, and what rules a factor out. Pure; judges nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, field, replace
from functools import cached_property

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import KNOWN_PREFIX, Verdict

TEST_CARD_SIGNAL = "testcard.match"
"""The one signal that needs no detector: the content is the project's own harmless test card."""

MAX_WITHIN_S = 1.0
"""How far apart frames of a clip may be that a rule joins."""

NEAR_SHARE = 0.5
"""From this share of every threshold on a rule is so near that a second look is worth its price."""


_LATER_KEYS = ("within_s", "across_frames", "second_look", "review_if")


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds when every factor in `when` reaches its threshold in the same picture.

    With `within_s` also in pictures of a clip that follow each other within so many seconds. What holds only in
    different pictures of a medium gets the verdict `across_frames`, if there is one, and no label. What holds only by
    further views of a picture, which a second look showed, gets `second_look`, where that says something, and no label.
    Where a factor of `review_if` reaches its threshold as well, in each of the same pictures, a block is a review.
    """

    name: str
    when: Mapping[str, float]
    verdict: Verdict | None = None
    label: str | None = None
    within_s: float | None = None
    across_frames: Verdict | None = None
    second_look: Verdict | None = None
    review_if: Mapping[str, float] = field(default_factory=dict)

    @property
    def may_relent(self) -> bool:
        """Whether there is anything that makes its verdict milder."""
        return self.verdict is Verdict.BLOCK and bool(self.review_if)

    def body(self) -> dict[str, object]:
        """Return it as plain data; what it does not say is left out, so that older policies keep their ids."""
        own = asdict(self) | {"when": dict(self.when), "review_if": dict(self.review_if) or None}
        return {k: v for k, v in own.items() if v is not None or k not in _LATER_KEYS}


@dataclass(frozen=True, slots=True)
class ClearingBound:
    """When each signal in `by` was measured and stays below `below`, the factor counts as ruled out (0).

    A factor may have several: each of them is enough. One that holds `always` is a part of what the factor means: it
    rules the factor out whatever else was measured, so that nothing depends on what was. Any other saves work alone,
    and says nothing where the cascade is off or more was measured all the same.
    """

    below: float
    by: tuple[str, ...]
    always: bool = False

    def body(self) -> dict[str, object]:
        """Return it as plain data; what older policies do not say is left out."""
        return {k: v for k, v in asdict(self).items() if v is not False}


TEST_CARD_RULE = Rule("test card", {"test card": 1.0}, Verdict.BLOCK, "test-card")


@dataclass(frozen=True)
class Policy:
    """Rules over factors. The rule that condemns the test card is part of every policy.

    A factor is its highest signal, or what so many of its signals reach as `agree` says.
    """

    name: str
    factors: Mapping[str, tuple[str, ...]]
    rules: tuple[Rule, ...]
    cascade: Mapping[str, tuple[ClearingBound, ...]] = field(default_factory=dict)
    available: frozenset[str] | None = None
    definitions: Mapping[str, str] = field(default_factory=dict)
    agree: Mapping[str, int] = field(default_factory=dict)

    def among(self, available: frozenset[str], definitions: Mapping[str, str] | None = None) -> Policy:
        """Return the policy as it judges where only these signals are measured; it has an id of its own.

        So a verdict that was given with fewer detectors counts as given under another policy, and is decided anew. The
        same goes for `definitions`: by signal, a digest of what the operator made it mean. What lists of known images
        give is left out: a list that comes or changes is compared with stored hashes instead (`app.known`).
        """
        used = frozenset(s for s in available & self.signals if not s.startswith(KNOWN_PREFIX))
        return replace(self, available=used, definitions={s: d for s, d in (definitions or {}).items() if s in used})

    def dead_factors(self, rule: Rule, available: frozenset[str]) -> list[str]:
        """Return the factors of a rule of which fewer signals are measured than must agree, so that it never holds."""
        return [f for f in rule.when if len(available.intersection(self.factors[f])) < self.agree.get(f, 1)]

    @cached_property
    def id(self) -> str:
        """Return the name with a digest of the content; policies that differ in wording alone have the same digest."""
        body: dict[str, object] = {
            "factors": {k: sorted(v) for k, v in self.factors.items()},
            "rules": [rule.body() for rule in self.rules],
            "cascade": {k: v[0].body() if len(v) == 1 else [b.body() for b in v] for k, v in self.cascade.items()},
            "available": None if self.available is None else sorted(self.available),
        }
        # Not named otherwise, so that policies without them keep their ids.
        if self.definitions:
            body["definitions"] = dict(self.definitions)
        if self.agree:
            body["agree"] = dict(self.agree)
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        return f"{self.name}@{digest[:12]}"

    @cached_property
    def signals(self) -> frozenset[str]:
        """Return every signal that some rule can depend on."""
        used = {f for rule in self.rules for f in (*rule.when, *rule.review_if)}
        return frozenset(s for f in used for s in self.factors.get(f, ()))
