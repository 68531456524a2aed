"""A notice in words: a title, a few lines, and the command to look further. Pure.

It says how many, by which rules and in which store; never a key, a name that somebody chose for a file, or an address
of a medium.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from fedi_safety.core.classes import dataclass
from fedi_safety.core.notices.transitions import TEST, Condition, Transition
from fedi_safety.core.wording.hints import command


@dataclass(frozen=True, slots=True)
class Told:
    """What a message is about."""

    transition: Transition
    about: str = ""
    count: int = 1
    rules: Mapping[str, int] = field(default_factory=dict)
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """A message, ready to be sent."""

    title: str
    text: str
    further: str  # a command


_SAID: dict[Transition, tuple[str, str]] = {
    Transition.CONDEMNED: ("{} condemned", "The policy condemned {}."),
    Transition.REMOVED: ("{} removed", "Removed: {}."),
    Transition.SEALED: ("{} sealed", "Copies that only your keys open were made of {}."),
    Transition.BREAKER_TRIPPED: ("the breaker stopped removals", "Nothing more is removed until you say so."),
    Transition.BREAKER_RESET: ("the breaker is reset", "Removals go on."),
    Transition.FAILING: ("watching fails", "It is tried again and again; what was missed is looked at afterwards."),
    Transition.WELL_AGAIN: ("well again", "It is over: {}."),
    Transition.GATE_STALE: ("the gate does not keep up", "Uploads are not judged as they should be."),
    Transition.COVERAGE_LOW: ("coverage is low", "Many media have no verdict."),
    Transition.CREDENTIALS_REFUSED: ("credentials are refused", "What needs them is not done until that is corrected."),
    Transition.CHAIN_BROKEN: ("the ledger's chain is broken", "What the ledger says of the past was altered."),
    Transition.HOLD_ENDING: ("{} will end soon", "Soon to be destroyed, unless held: {}."),
    Transition.ACTION_FAILED: ("{} failed", "Through the server's API failed, and is tried again: {}."),
    Transition.LIST_TURNED: ("a list of known images is for review", "It condemns nothing any more."),
}
_COUNTED: dict[Transition, tuple[str, str]] = {
    Transition.CONDEMNED: ("content", "contents"),
    Transition.REMOVED: ("object", "objects"),
    Transition.SEALED: ("object", "objects"),
    Transition.HOLD_ENDING: ("sealed copy", "sealed copies"),
    Transition.ACTION_FAILED: ("action through the app", "actions through the app"),
}
_OVER: dict[str, str] = {
    Condition.FAILING.value: "watching failed",
    Condition.GATE_STALE.value: "the gate did not keep up",
    Condition.COVERAGE_LOW.value: "coverage was low",
    Condition.CREDENTIALS_REFUSED.value: "credentials were refused",
    Condition.CHAIN_BROKEN.value: "the ledger's chain did not hold",
}


def words(told: Told, *, number: int | None = None, again: bool = False, name: str | None = None) -> Words:
    """Return a notice in words. `again`: it may have arrived before; `name` is what the operator calls the instance."""
    title, line = _SAID[told.transition]
    detail = told.detail
    what = ""
    if told.transition.counted:
        one, several = _COUNTED[told.transition]
        what = f"{told.count:,} {one if told.count == 1 else several}"
    elif told.transition is Transition.WELL_AGAIN:
        what, detail = _OVER.get(detail, "what was told before"), ""
    lines = [f"{told.about}: {line.format(what)}" if told.about else line.format(what)]
    if detail:
        lines.append(f"Why: {detail}")
    if told.rules:
        lines += ["By:", *(f"  {count:,}  {rule}" for rule, count in told.rules.items())]
    further = _command(told)
    lines.append(f"Look further: {further}")
    if again:
        lines.append("It is sent again, this once: nobody knows whether it arrived the first time.")
    if number is not None:
        lines.append(f"(notice {number})")
    return Words(f"{'' if name is None else f'{name}: '}fedi-safety: {title.format(what)}", "\n".join(lines), further)


def _command(told: Told) -> str:
    about = told.about
    match told.transition:
        case Transition.CONDEMNED | Transition.BREAKER_TRIPPED:
            return command("list {} --verdict block", about) if about else command("list --verdict block")
        case Transition.SEALED | Transition.HOLD_ENDING:
            return command("list {} --sealed", about) if about else command("list --sealed")
        case Transition.REMOVED:
            return command("list {} --act done", about) if about else command("list --act done")
        case Transition.FAILING | Transition.CREDENTIALS_REFUSED:
            return command("doctor")
        case Transition.LIST_TURNED:
            return command("hashes show {}", about)
        case Transition.CHAIN_BROKEN:
            return command("ledger verify")
        case _:
            return command("report {}", about) if about else command("report")


def as_json(told: Told, said: Words, *, number: int | None, again: bool, name: str | None, at: float) -> dict[str, Any]:
    """Return the same for programs: what a hook gets on its standard input. `at` is when it happened."""
    return {
        "id": number,
        "at": at,
        "instance": name,
        "transition": told.transition.value,
        "about": told.about,
        "count": told.count,
        "rules": dict(told.rules),
        "detail": told.detail,
        "again": again,
        "title": said.title,
        "text": said.text,
        "command": said.further,
    }


def trial(name: str | None, at: float) -> tuple[Words, dict[str, Any]]:
    """Return the message of `notify test`, in words and for programs."""
    called = "" if name is None else f"{name}: "
    said = Words(f"{called}fedi-safety: a test", "Nothing happened. Messages arrive here.", command("notify list"))
    facts: dict[str, Any] = {
        "id": None,
        "at": at,
        "instance": name,
        "transition": TEST,
        "about": "",
        "count": 0,
        "rules": {},
    }
    facts |= {"detail": "", "again": False, "title": said.title, "text": said.text, "command": said.further}
    return said, facts
