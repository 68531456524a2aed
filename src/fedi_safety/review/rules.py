"""Who may do what: roles, the rights that they give, and the right that each route asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.responses import Response

    from fedi_safety.review.visit import Visit


class Right(StrEnum):
    """What a route asks of who calls it."""

    OPEN = "open"  # nothing: signing in, and what a page needs to be drawn
    SEE = "see"  # verdicts, scores, names and figures
    DECIDE = "decide"  # dismiss, confirm, remove within the breaker
    HOLD = "hold"  # how long sealed copies are kept
    LOOK = "look"  # ask for a small grey picture of one content
    RUN = "run"  # resume what a breaker stopped


ROLES: dict[str, frozenset[Right]] = {
    "viewer": frozenset({Right.SEE}),
    "reviewer": frozenset({Right.SEE, Right.DECIDE, Right.HOLD}),
    "looker": frozenset({Right.SEE, Right.LOOK}),
    "admin": frozenset({Right.SEE, Right.DECIDE, Right.HOLD, Right.RUN}),
}
"""What each role may do. Nobody is a looker by being something else."""


def rights_of(roles: Collection[str]) -> frozenset[Right]:
    """Return all that these roles may do."""
    return frozenset({Right.OPEN}).union(*(ROLES[role] for role in roles))


@dataclass(frozen=True, slots=True)
class Rule:
    """One route: its path and method, the right that it asks for, and what answers it.

    A POST changes something: it needs the session's token and the right origin. With `proved` the password must have
    been given lately.
    """

    path: str
    method: str
    right: Right
    answer: Callable[[Visit], Response]
    proved: bool = False


def table(rules: Collection[Rule]) -> list[tuple[str, ...]]:
    """Return a row for each route: method, path, right, and for each role whether it may."""
    return [
        (
            rule.method,
            rule.path,
            rule.right.value,
            *("yes" if rule.right in rights_of([role]) else "" for role in ROLES),
        )
        for rule in rules
    ]
