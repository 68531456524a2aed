"""Who sends which notice, and how that ended. Works in the caller's transaction.

A sender takes a channel by compare-and-set, for a while; what a dead one had taken is waiting again after that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update

from fedi_safety.core.errors import printable
from fedi_safety.core.ledger.notices import KEPT_S, MOST_LOST, ChannelFigures, Notice, NoticeState, Sent
from fedi_safety.core.notices.transitions import Condition, Transition
from fedi_safety.core.ports import Clock
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.notices.outbox import Outbox
from fedi_safety.ledger.notices.tables import notice_channels, notices

HELD_S = 120.0
"""How long a sender has a channel without another word; longer than any sending may take."""

GIVE_UP_S = 86_400.0
_FIRST_REST_S = 30.0  # of what was not accepted
_FIRST_CHANNEL_REST_S = 2.0  # of the others that wait: one that fails half the time must keep up with what comes
_LONGEST_REST_S = 3600.0
_LOST_REST_S = 300.0  # of what got no answer: it has one try more, which had better meet a receiver that is well again
_n, _c = notices.c, notice_channels.c
_ENDED = (NoticeState.SENT.value, NoticeState.GIVEN_UP.value, NoticeState.UNCONFIRMED.value)


def _rest_s(failures: int, first_s: float) -> float:
    """Return how long a channel or a notice rests after so many failures in a row."""
    return float(min(_LONGEST_REST_S, first_s * 2.0 ** min(failures - 1, 20)))


def take(connection: Connection, now: float, channel: str, holder: str, *, at_once: bool) -> Notice | None:
    """See `NoticeLedger.take_notice`."""
    if not _hold(connection, now, channel, holder):
        return None
    # Whoever had taken these is gone, or gave up waiting for an answer: nobody knows whether they arrived.
    left = update(notices).where(_n.channel == channel, _n.state == NoticeState.SENDING.value)
    over = {"state": NoticeState.UNCONFIRMED.value, "ended_at": now, "error": "its sender ended before the answer"}
    connection.execute(left.where(_n.lost >= MOST_LOST - 1).values(lost=_n.lost + 1, **over))
    connection.execute(left.values(lost=_n.lost + 1, state=NoticeState.WAITING.value))
    rests = connection.execute(select(_c.retry_at).where(_c.name == channel)).scalar_one()
    if rests is not None and now < rests <= now + _LONGEST_REST_S:  # later: the clock was set back
        return None
    due = _n.due_at <= now
    if at_once:
        due = or_(due, _n.attempts == 0)
    query = (
        select(notices)
        .where(_n.channel == channel, _n.state == NoticeState.WAITING.value, due)
        .order_by(_n.due_at, _n.id)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    values = {"state": NoticeState.SENDING.value, "attempts": row.attempts + 1, "tried_at": row.tried_at or now}
    connection.execute(update(notices).where(_n.id == row.id).values(values))
    return _notice(row, attempts=row.attempts + 1, state=NoticeState.SENDING)


def _hold(connection: Connection, now: float, channel: str, holder: str) -> bool:
    """Take a channel, or keep it; False where another sender has it."""
    mine = {"holder": holder, "held_until": now + HELD_S}
    # Held for longer than anybody holds one: the clock was set back.
    free = or_(_c.holder.is_(None), _c.holder == holder, _c.held_until <= now, _c.held_until > now + HELD_S)
    taken = update(notice_channels).where(_c.name == channel, free).values(mine).returning(_c.name)
    if connection.execute(taken).first() is not None:
        return True
    if connection.execute(select(_c.name).where(_c.name == channel)).first() is not None:
        return False
    connection.execute(insert(notice_channels).values(name=channel, failures=0, error="", **mine))
    return True


def close(connection: Connection, now: float, notice: Notice, holder: str, sent: Sent) -> bool:
    """See `NoticeLedger.close_notice`."""
    error = printable(sent.error)[:200]
    ended: dict[str, Any] = {"error": error}
    lost = notice.lost + int(sent.lost)
    if sent.ok:
        ended |= {"state": NoticeState.SENT.value, "ended_at": now}
    elif sent.lost and lost >= MOST_LOST:
        ended |= {"state": NoticeState.UNCONFIRMED.value, "ended_at": now, "lost": lost}
    else:
        ended |= {"state": NoticeState.WAITING.value, "lost": lost}
    taken = and_(_n.id == notice.id, _n.state == NoticeState.SENDING.value, _n.attempts == notice.attempts)
    if connection.execute(update(notices).where(taken).values(ended).returning(_n.id)).first() is None:
        return False
    own = connection.execute(
        select(notice_channels).where(_c.name == notice.channel, _c.holder == holder)
    ).one_or_none()
    if own is None:
        return True
    if sent.ok:
        well = {"failures": 0, "failing_since": None, "retry_at": None, "error": ""}
        connection.execute(update(notice_channels).where(_c.name == notice.channel).values(well))
        return True
    _failed(connection, now, notice, own, replace(sent, error=error))
    return True


def _failed(connection: Connection, now: float, notice: Notice, own: Row[Any], sent: Sent) -> None:
    """Let the channel rest, this notice longest, and give up what could not be sent for a day."""
    since = now if own.failing_since is None else own.failing_since
    rest = _rest_s(own.failures + 1, _FIRST_CHANNEL_REST_S)
    failing = {"failures": own.failures + 1, "failing_since": since, "retry_at": now + rest, "error": sent.error}
    connection.execute(update(notice_channels).where(_c.name == notice.channel).values(failing))
    rest = max(_rest_s(notice.attempts, _FIRST_REST_S), _LOST_REST_S if sent.lost else 0.0)
    connection.execute(update(notices).where(_n.id == notice.id).values(due_at=now + rest))
    over = _n.tried_at <= now - GIVE_UP_S
    if since <= now - GIVE_UP_S:  # what waits behind it would fare no better
        over = or_(over, _n.created_at <= now - GIVE_UP_S)
    given_up = {"state": NoticeState.GIVEN_UP.value, "ended_at": now, "error": sent.error}
    waits = and_(_n.channel == notice.channel, _n.state == NoticeState.WAITING.value)
    connection.execute(update(notices).where(waits, over).values(given_up))


def tend(connection: Connection, now: float, channels: Sequence[str]) -> None:
    """See `NoticeLedger.tend_notices`."""
    connection.execute(delete(notices).where(_n.state.in_(_ENDED), _n.ended_at <= now - KEPT_S))
    stray = and_(_n.channel.not_in(channels), _n.state.not_in(_ENDED), _n.created_at <= now - GIVE_UP_S)
    why = {"state": NoticeState.GIVEN_UP.value, "ended_at": now, "error": "it is not configured any more"}
    connection.execute(update(notices).where(stray).values(why))


def next_at(connection: Connection, now: float, channel: str) -> float | None:
    """See `NoticeLedger.next_notice`."""
    open_states = NoticeState.WAITING.value, NoticeState.SENDING.value
    query = select(func.min(_n.due_at)).where(_n.channel == channel, _n.state.in_(open_states))
    due = connection.execute(query).scalar_one_or_none()
    if due is None:
        return None
    own = connection.execute(select(_c.retry_at, _c.holder, _c.held_until).where(_c.name == channel)).one_or_none()
    rests = None if own is None else own.retry_at
    return float(due if rests is None or rests > now + _LONGEST_REST_S else max(due, rests))


def figures(connection: Connection) -> list[ChannelFigures]:
    """See `NoticeReader.notice_figures`."""
    waits = _n.state.in_((NoticeState.WAITING.value, NoticeState.SENDING.value))
    counts = select(
        _n.channel,
        func.count().filter(waits).label("waiting"),
        func.count().filter(_n.state == NoticeState.GIVEN_UP.value).label("given_up"),
        func.count().filter(_n.state == NoticeState.UNCONFIRMED.value).label("unconfirmed"),
        func.min(_n.created_at).filter(waits).label("oldest"),
    ).group_by(_n.channel)
    found = {row.channel: row for row in connection.execute(counts)}
    channels = {row.name: row for row in connection.execute(select(notice_channels))}
    made = []
    for name in sorted(found.keys() | channels.keys()):
        row, own = found.get(name), channels.get(name)
        counted = (0, 0, 0, None) if row is None else (row.waiting, row.given_up, row.unconfirmed, row.oldest)
        made.append(ChannelFigures(name, *counted, *((None, "") if own is None else (own.failing_since, own.error))))
    return made


def _notice(row: Row[Any], **changed: Any) -> Notice:
    cells = row._mapping
    fields: dict[str, Any] = {name: cells[name] for name in _PLAIN} | {
        "transition": Transition(row.transition),
        "rules": json.loads(row.rules),
        "state": NoticeState(row.state),
    }
    return Notice(**(fields | changed))


_PLAIN = ("id", "channel", "about", "count", "detail", "created_at", "due_at", "attempts", "lost", "error")


class NoticeSide:
    """The side of a ledger that keeps notices; see the ports in `core.ledger.notices`."""

    database: Database
    clock: Clock
    outbox: Outbox

    def set_condition(self, condition: Condition, about: str, detail: str | None) -> bool:
        """Note that something is so (`detail` given) or is not; return whether that is a change, which is told."""
        if not (self.outbox.wants(Transition(condition.value)) or self.outbox.wants(Transition.WELL_AGAIN)):
            return False
        with self.database.read() as connection:
            if self.outbox.stands(connection, condition, about) == (detail is not None):
                return False
        with self.database.write() as connection:
            return self.outbox.set_condition(connection, self.clock.now(), condition, about, detail)

    def tell_ending(self, within_s: float) -> int:
        """Tell of sealed copies that end by themselves within so many seconds, each once; return how many."""
        if not self.outbox.wants(Transition.HOLD_ENDING):
            return 0
        with self.database.read() as connection:
            if not self.outbox.ending(connection, self.clock.now(), within_s):
                return 0
        with self.database.write() as connection:
            return self.outbox.tell_ending(connection, self.clock.now(), within_s)

    def take_notice(self, channel: str, holder: str, *, at_once: bool = False) -> Notice | None:
        """Commit that this sender is about to send a notice, and return it; None where there is nothing to send now."""
        with self.database.write() as connection:
            return take(connection, self.clock.now(), channel, holder, at_once=at_once)

    def close_notice(self, notice: Notice, holder: str, sent: Sent) -> bool:
        """Commit how the sending ended; return False where another sender has taken the notice over meanwhile."""
        with self.database.write() as connection:
            return close(connection, self.clock.now(), notice, holder, sent)

    def let_go(self, channel: str, holder: str) -> None:
        """Leave a channel to others."""
        with self.database.write() as connection:
            own = update(notice_channels).where(_c.name == channel, _c.holder == holder)
            connection.execute(own.values(holder=None, held_until=None))

    def next_notice(self, channel: str) -> float | None:
        """Return when the next notice of a channel may be sent, epoch seconds; None where none waits."""
        with self.database.read() as connection:
            return next_at(connection, self.clock.now(), channel)

    def hurry_notices(self) -> None:
        """Let nothing that failed before wait for its time."""
        now = self.clock.now()
        with self.database.write() as connection:
            connection.execute(update(notice_channels).values(retry_at=None))
            later = and_(_n.state == NoticeState.WAITING.value, _n.due_at > now)
            connection.execute(update(notices).where(later).values(due_at=now))

    def tend_notices(self, channels: Sequence[str]) -> None:
        """Forget what was told long ago, and give up what waits for a channel that is not configured any more."""
        with self.database.write() as connection:
            tend(connection, self.clock.now(), channels)

    def notices(self, states: Sequence[NoticeState], limit: int) -> list[Notice]:
        """Return notices in these states, oldest first."""
        query = select(notices).where(_n.state.in_([state.value for state in states])).order_by(_n.id).limit(limit)
        with self.database.read() as connection:
            return [_notice(row) for row in connection.execute(query)]

    def notice_figures(self) -> list[ChannelFigures]:
        """Return how the telling goes at each channel that has, or lately had, something to be told."""
        with self.database.read() as connection:
            return figures(connection)
