"""What is said to the ledger about notices to the operator, and what it answers; a part of its ports.

A notice is written in the transaction of the change that it tells of, once for each channel that wants it. One process
at a time sends a channel's notices. What it took and never closed, and what got no answer, is sent once more and then
never again: nobody can know whether it arrived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Protocol

from fedi_safety.core.classes import dataclass
from fedi_safety.core.notices.transitions import Condition, Transition

KEPT_S = 30 * 86_400.0
"""How long notices are kept that were sent, given up or stayed unconfirmed."""

MOST_LOST = 2
"""After so many attempts whose answer was lost a notice is not sent again."""


class NoticeState(StrEnum):
    """How a notice stands; the values of `notices.state`."""

    WAITING = "waiting"
    SENDING = "sending"  # somebody has taken it
    SENT = "sent"
    GIVEN_UP = "given_up"
    UNCONFIRMED = "unconfirmed"  # sent `MOST_LOST` times, and each time the answer was lost


@dataclass(frozen=True, slots=True)
class Channel:
    """Somebody or something that is told: its name says where it is, and never a secret."""

    name: str
    on: frozenset[Transition]
    digest_s: float = 0.0  # how long counted changes are gathered before they are told


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell to one channel. `count` is of contents, objects or sealed copies; no key and no name of one."""

    id: int
    channel: str
    transition: Transition
    about: str  # a store's URL, or what else it concerns, or empty
    count: int
    rules: Mapping[str, int] = field(default_factory=dict)
    detail: str = ""
    state: NoticeState = NoticeState.WAITING
    created_at: float = 0.0
    due_at: float = 0.0
    attempts: int = 0
    lost: int = 0  # attempts of which nobody knows whether they arrived
    error: str = ""


@dataclass(frozen=True, slots=True)
class ChannelFigures:
    """How the telling goes at one channel. Times are epoch seconds."""

    name: str
    waiting: int = 0
    given_up: int = 0  # within `KEPT_S`
    unconfirmed: int = 0  # within `KEPT_S`
    oldest: float | None = None  # when the longest waiting one was written
    failing_since: float | None = None
    error: str = ""

    @property
    def late(self) -> bool:
        """Whether not everything is told that should be, as far as anybody can know."""
        return self.given_up > 0 or self.unconfirmed > 0 or (self.waiting > 0 and self.failing_since is not None)

    def line(self) -> str:
        """Return it in words."""
        said = [f"{self.waiting:,} {'waits' if self.waiting == 1 else 'wait'}"]
        if self.given_up:
            said.append(f"{self.given_up:,} {'was' if self.given_up == 1 else 'were'} given up after a day")
        if self.unconfirmed:
            said.append(
                f"{self.unconfirmed:,} {'was' if self.unconfirmed == 1 else 'were'} sent twice without an answer"
            )
        if self.failing_since is not None and self.error:
            said.append(f"the last failure: {self.error}")
        return f"messages to {self.name}: {'; '.join(said)}"


@dataclass(frozen=True, slots=True)
class Sent:
    """How an attempt ended. `lost`: something was sent and no answer came, so that nobody knows whether it arrived."""

    ok: bool
    error: str = ""
    lost: bool = False


class NoticeReader(Protocol):
    """What people look at of notices; reads only."""

    def notices(self, states: Sequence[NoticeState], limit: int) -> list[Notice]:
        """Return notices in these states, oldest first."""
        ...

    def notice_figures(self) -> list[ChannelFigures]:
        """Return how the telling goes at each channel that has, or lately had, something to be told."""
        ...


class ConditionLedger(Protocol):
    """What passes and services say of how things are. See `Ledger`."""

    def set_condition(self, condition: Condition, about: str, detail: str | None) -> bool:
        """Note that something is so (`detail` given) or is not; return whether that is a change, which is told.

        With no channel that wants to know, nothing is remembered.
        """
        ...

    def tell_ending(self, within_s: float) -> int:
        """Tell of sealed copies that end by themselves within so many seconds, each once; return how many."""
        ...


class NoticeLedger(NoticeReader, Protocol):
    """What those ask who send notices. `holder` names one sender of one process, and no other ever."""

    def take_notice(self, channel: str, holder: str, *, at_once: bool = False) -> Notice | None:
        """Commit that this sender is about to send a notice, and return it; None where there is nothing to send now.

        So it is where another sender has the channel, and while the channel rests after a failure. `at_once`: what is
        still gathered is sent as it is.
        """
        ...

    def close_notice(self, notice: Notice, holder: str, sent: Sent) -> bool:
        """Commit how the sending ended; return False where another sender has taken the notice over meanwhile.

        What failed is tried again, later and later; what could not be sent for a day is given up. What got no answer is
        tried once more, and after that it is unconfirmed.
        """
        ...

    def let_go(self, channel: str, holder: str) -> None:
        """Leave a channel to others."""
        ...

    def next_notice(self, channel: str) -> float | None:
        """Return when the next notice of a channel may be sent, epoch seconds; None where none waits."""
        ...

    def hurry_notices(self) -> None:
        """Let nothing that failed before wait for its time."""
        ...

    def tend_notices(self, channels: Sequence[str]) -> None:
        """Forget what was told long ago, and give up what waits for a channel that is not configured any more."""
        ...
