"""Writes notices with what they tell of: events, and conditions. Works in the caller's transaction."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select, update

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import PlanState, Verdict
from fedi_safety.core.errors import printable
from fedi_safety.core.ledger.notices import Channel, NoticeState
from fedi_safety.core.moderation import ActionState
from fedi_safety.core.notices.transitions import Condition, Transition
from fedi_safety.core.sealing.copies import SealState
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact.vocabulary import REASONS, Vocabulary
from fedi_safety.ledger.events import Event, Kind
from fedi_safety.ledger.notices.tables import conditions, notices
from fedi_safety.ledger.schema import app_actions, contents, runs, seals, stores

MOST_RULES = 10
_DETAIL = 500
_ENDING = Transition.HOLD_ENDING.value
_n = notices.c


@dataclass(slots=True)
class Told:
    """Something to tell: how many, of what, by which rules; and what was said of it."""

    transition: Transition
    about: str
    count: int = 1
    rules: Counter[str] = field(default_factory=Counter)
    detail: str = ""


class Outbox:
    """What is to be told, and to whom. One of a ledger, used inside its writing transactions."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        """Take the channels that are configured."""
        self.channels = tuple(channels)
        self._wanted = frozenset[Transition]().union(*(channel.on for channel in channels))
        self._run_stores: dict[int, str] = {}
        self._gathering: dict[tuple[str, str, str], tuple[int, int, str]] = {}  # as they were when last written here

    def wants(self, transition: Transition) -> bool:
        """Whether anybody is told of this."""
        return transition in self._wanted

    def hear(self, connection: Connection, at: float, new: Sequence[Event]) -> None:
        """Write what is to be told of these events, with them."""
        found: dict[tuple[Transition, str], Told] = {}
        for told in self._told(connection, new):
            known = found.setdefault((told.transition, told.about), told)
            if known is not told:
                known.count += told.count
                known.rules += told.rules
                known.detail = told.detail or known.detail
        for told in found.values():
            self.write(connection, at, told)

    def _told(self, connection: Connection, new: Sequence[Event]) -> Iterator[Told]:
        removed: list[Event] = []
        for event in new:
            said = event.payload
            if event.kind is Kind.JUDGED and self.wants(Transition.CONDEMNED):
                # A dismissal that is taken back condemns again, by a person's hand and without a run.
                if said["verdict"] == Verdict.BLOCK.value != said["before"] and said["run"] is not None:
                    about = self._store_of(connection, said["run"])
                    yield Told(Transition.CONDEMNED, about, rules=Counter(event.condemning))
            elif event.kind is Kind.ACT_CLOSED and self.wants(Transition.REMOVED):
                if said["state"] == PlanState.DONE.value:
                    removed.append(event)
            elif event.kind is Kind.SEAL_MADE and self.wants(Transition.SEALED):
                yield Told(Transition.SEALED, _store(connection, seals.c.store_id, seals.c.id, said["about"]))
            elif event.kind in (Kind.BREAKER_TRIPPED, Kind.ACTION_BREAKER_TRIPPED):
                yield Told(Transition.BREAKER_TRIPPED, said["store"], detail=_held(event.kind, said["why"]))
            elif event.kind in (Kind.BREAKER_RESET, Kind.ACTION_BREAKER_RESET):
                yield Told(Transition.BREAKER_RESET, said["store"], detail=_held(event.kind, None))
            elif event.kind is Kind.LIST_TURNED:
                why = f"{said['dismissed']:,} of its {said['contents']:,} hits were dismissed"
                yield Told(Transition.LIST_TURNED, said["list"], detail=why)
            elif event.kind is Kind.ACTION_CLOSED and said["state"] == ActionState.FAILED.value:
                about = _store(connection, app_actions.c.store_id, app_actions.c.id, said["about"])
                yield Told(Transition.ACTION_FAILED, about, rules=Counter([f"{said['action']} at {said['server']}"]))
        if removed:
            rules = _rules_of(connection, [event.sha256 for event in removed if event.sha256 is not None])
            for event in removed:
                about = self._store_of(connection, event.payload["run"])
                yield Told(Transition.REMOVED, about, rules=Counter(rules.get(event.sha256 or b"", ())))

    def _store_of(self, connection: Connection, run: int) -> str:
        if run not in self._run_stores:
            found = connection.execute(select(runs.c.store).where(runs.c.id == run)).scalar_one_or_none()
            self._run_stores = {run: found or ""}  # a process has one run at a time, or a few
        return self._run_stores[run]

    def write(self, connection: Connection, at: float, told: Told) -> None:
        """Write something to tell for each channel that wants it; counted changes join those that are gathered."""
        for channel in self.channels:
            if told.transition in channel.on:
                self._write_for(connection, at, told, channel)

    def _write_for(self, connection: Connection, at: float, told: Told, channel: Channel) -> None:
        if told.transition.counted and self._gathered(connection, told, channel):
            return
        row = {
            "channel": channel.name,
            "transition": told.transition.value,
            "about": printable(told.about),
            "count": told.count,
            "rules": codec.dumps(most(told.rules)),
            "detail": printable(told.detail)[:_DETAIL],
            "state": NoticeState.WAITING.value,
            "created_at": at,
            "due_at": at + (channel.digest_s if told.transition.counted else 0.0),
            "attempts": 0,
            "lost": 0,
            "error": "",
        }
        connection.execute(insert(notices), row)

    def _gathered(self, connection: Connection, told: Told, channel: Channel) -> bool:
        """Add to the notice that is still gathered; return whether there is one.

        A pass that removes much adds to the same one each time: if it is as it was left, one statement does.
        """
        place = channel.name, told.transition.value, told.about
        known = self._gathering.get(place)
        if known is not None and self._added(connection, told, place, known):
            return True
        gathering = (
            select(_n.id, _n.count, _n.rules)
            .where(_n.channel == channel.name, _n.state == NoticeState.WAITING.value, _n.attempts == 0)
            .where(_n.transition == told.transition.value, _n.about == told.about)
            .order_by(_n.id.desc())
            .limit(1)
            .with_for_update()
        )
        found = connection.execute(gathering).one_or_none()
        return found is not None and self._added(connection, told, place, tuple(found))

    def _added(
        self, connection: Connection, told: Told, place: tuple[str, str, str], known: tuple[int, int, str]
    ) -> bool:
        """Add to a notice that is as it is `known` to be, and not taken by a sender; return whether it is so."""
        number, count, rules = known
        count_now, rules_now = count + told.count, codec.dumps(most(Counter(json.loads(rules)) + told.rules))
        more = {"count": count_now, "rules": rules_now}
        same = and_(_n.id == number, _n.count == count, _n.rules == rules)
        free = and_(_n.state == NoticeState.WAITING.value, _n.attempts == 0)
        done = connection.execute(update(notices).where(same, free).values(more)).rowcount == 1
        if done:
            self._gathering[place] = number, count_now, rules_now
        else:
            self._gathering.pop(place, None)
        return done

    def stands(self, connection: Connection, condition: Condition, about: str) -> bool:
        """Whether a condition is held as being so."""
        c = conditions.c
        query = select(c.id).where(c.name == condition.value, c.about == printable(about))
        return connection.execute(query).first() is not None

    def set_condition(
        self, connection: Connection, at: float, condition: Condition, about: str, detail: str | None
    ) -> bool:
        """See `ConditionLedger.set_condition`."""
        if self.stands(connection, condition, about) == (detail is not None):
            return False
        if detail is None:
            c = conditions.c
            connection.execute(delete(conditions).where(c.name == condition.value, c.about == printable(about)))
            self.write(connection, at, Told(Transition.WELL_AGAIN, about, detail=condition.value))
            return True
        row = {"name": condition.value, "about": printable(about), "since": at, "detail": printable(detail)[:_DETAIL]}
        connection.execute(insert(conditions), row)
        self.write(connection, at, Told(Transition(condition.value), about, detail=detail))
        return True

    def ending(self, connection: Connection, now: float, within_s: float) -> list[tuple[str, str]]:
        """Return the sealed copies, each with its store, that end so soon and of which that was not told yet."""
        s, c = seals.c, conditions.c
        # What was told before it got a later end is told again.
        told = select(c.id).where(c.name == _ENDING, c.about == s.name, c.since >= s.expires_at - within_s).exists()
        query = (
            select(s.name, stores.c.url)
            .join(stores, stores.c.id == s.store_id)
            .where(s.state == SealState.SEALED.value, s.held.is_(None), s.expires_at <= now + within_s, ~told)
            .order_by(s.id)
        )
        return [(name, url) for name, url in connection.execute(query)]

    def tell_ending(self, connection: Connection, at: float, within_s: float) -> int:
        """See `ConditionLedger.tell_ending`."""
        found = self.ending(connection, at, within_s)
        if found:
            c = conditions.c
            connection.execute(delete(conditions).where(c.name == _ENDING, c.about.in_([name for name, _ in found])))
            rows = [{"name": _ENDING, "about": name, "since": at, "detail": ""} for name, _ in found]
            connection.execute(insert(conditions), rows)
        for url, count in Counter(url for _, url in found).items():
            self.write(connection, at, Told(Transition.HOLD_ENDING, url, count))
        return len(found)


def _held(kind: Kind, why: str | None) -> str:
    """Return what a breaker says, with the word of which one it is where it is that of actions through the app."""
    of_actions = kind in (Kind.ACTION_BREAKER_TRIPPED, Kind.ACTION_BREAKER_RESET)
    return ": ".join(part for part in ("actions through the app" if of_actions else "", why or "") if part)


def _store(connection: Connection, column: Any, key: Any, row: int) -> str:
    query = select(stores.c.url).where(stores.c.id.in_(select(column).where(key == row)))
    return connection.execute(query).scalar_one_or_none() or ""


def _rules_of(connection: Connection, sha256s: Sequence[bytes]) -> dict[bytes, set[str]]:
    """Return the rules that condemn these contents."""
    found: dict[bytes, set[str]] = {}
    vocabulary = Vocabulary(connection)
    for part in codec.chunks(sha256s):
        columns = (contents.c[name] for name in ("sha256", *REASONS))
        for sha256, *reasons in connection.execute(select(*columns).where(contents.c.sha256.in_(part))).all():
            found[sha256] = {rule for rule, verdict in vocabulary.said(*reasons) if verdict is Verdict.BLOCK}
    return found


def most(rules: Mapping[str, int]) -> dict[str, int]:
    """Return the rules that were met most often; of the rest the sum, as `others`."""
    kept = Counter(rules)
    others = kept.pop("others", 0)
    most = kept.most_common(MOST_RULES)
    others += kept.total() - sum(count for _, count in most)
    return dict(most) | ({"others": others} if others else {})
