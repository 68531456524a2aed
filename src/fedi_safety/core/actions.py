"""Carrying out actions through the app, once the bytes are gone: start (durable), read, do, read back, close (I3).

It condemns nothing and removes no object. What may be done, and by whose word, the ledger says as each one is started.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import field, replace

from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import FediSafetyError, ModerationDown, ModerationGone, printable
from fedi_safety.core.ledger.actions import ActionLedger
from fedi_safety.core.moderation import ActionState, AppAction, Offer, Standing, too_many
from fedi_safety.core.ports import Clock, Moderator
from fedi_safety.core.runs import ACTED_LOGGER

log = logging.getLogger(__name__)
acted = logging.getLogger(ACTED_LOGGER)

DAY_S = 86_400.0


@dataclass(slots=True)
class Actions:
    """Carries out what is planned for one store, one after another, and counts. One thread at a time.

    `most` is how many may begin within a day, `limit_s` the longest that one may take in seconds.
    """

    ledger: ActionLedger
    clock: Clock
    store: str
    moderator: Moderator
    offers: tuple[Offer, ...]
    most: int
    limit_s: float
    done: int = 0
    gone: int = 0
    failures: list[AppAction] = field(default_factory=list)
    tripped: str | None = None
    _down: bool = False  # the server answers nothing now: what is left waits

    @property
    def names(self) -> tuple[str, ...]:
        """What is switched on, each name once, in the order of doing."""
        return tuple(dict.fromkeys(offer.name for offer in self.offers))

    def carry_out(
        self, run: int, keep_going: Callable[[], bool], *, resume: bool = False, only_due: bool = False
    ) -> bool:
        """Do what is open and switched on, as long as `keep_going` says so; return whether all of it was tried.

        The action in hand is finished and its record closed before this returns. What an earlier run began waits
        again, and like everything is read from the server before it is done: twice is once. `resume` lets the breaker
        go for this once. For the holder of the run lock alone.
        """
        self.ledger.take_back_actions(run, self.store)
        if resume:
            self.ledger.set_action_breaker(run, self.store, None)
        due = self._turn(only_due=only_due)
        if not due:
            return True
        self.tripped = None if resume else self._trip(run, due)
        if self.tripped is not None:
            return True
        for action in due:
            if not keep_going():
                return False
            # Counted once more where it is started: another process may act on the same ledger.
            started = self.ledger.start_action(run, action, None if resume else self.most, self._a_day_ago())
            if started is not None:
                self._close(run, self._ended(started))
            if self._down:
                break
        return True

    def _turn(self, *, only_due: bool) -> list[AppAction]:
        """Return what is to be done now, in order; one waits with those before it, of its content, that are not due."""
        ready = self.ledger.due_actions(self.store, only_due=only_due)
        if not only_due or not ready:
            return self._in_order(ready)
        due, turn, held = {one.id for one in ready}, list[AppAction](), set[bytes]()
        for one in self._in_order(self.ledger.due_actions(self.store)):
            if one.id not in due:
                held.add(one.sha256)
            elif one.sha256 not in held:
                turn.append(one)
        return turn

    def _in_order(self, open_actions: list[AppAction]) -> list[AppAction]:
        """Return those that are switched on, content by content in the order of doing; others stay as they are."""
        places = {(offer.name, offer.target): place for place, offer in enumerate(self.offers)}
        mine = [one for one in open_actions if (one.action, one.target) in places and one.server == self.moderator.name]
        first = {one.sha256: -place for place, one in enumerate(reversed(mine))}
        return sorted(mine, key=lambda one: (first[one.sha256], places[one.action, one.target], one.id))

    def _trip(self, run: int, due: Sequence[AppAction]) -> str | None:
        held = self.ledger.action_breaker(self.store)
        if held is not None:
            return held
        since = self._a_day_ago()
        fresh = [one for one in due if one.begun_at is None or one.begun_at <= since]  # others count already
        why = too_many(self.most, self.ledger.actions_since(self.store, since), len(fresh))
        if why is not None:
            self.ledger.set_action_breaker(run, self.store, why)
        return why

    def _a_day_ago(self) -> float:
        return self.clock.now() - DAY_S

    def _ended(self, action: AppAction) -> tuple[AppAction, ActionState, str]:
        """Read, do and read back one action that was started; return how it ended."""
        until = self.clock.monotonic() + self.limit_s
        try:
            standing = self.moderator.standing(action, within_s=self.limit_s)
            if standing is Standing.GONE:
                return action, ActionState.GONE, "it is not there any more"
            if standing is Standing.SO:
                return action, *_met(action)
            self.moderator.perform(action, within_s=max(until - self.clock.monotonic(), 1e-3))
            standing = self.moderator.standing(action, within_s=max(until - self.clock.monotonic(), 1e-3))
        except ModerationGone as error:
            return action, ActionState.GONE, error.line()
        except FediSafetyError as error:
            self._down = isinstance(error, ModerationDown)
            return action, ActionState.FAILED, error.line()
        except Exception as error:
            log.debug("internal error", exc_info=error)
            return action, ActionState.FAILED, f"internal error: {type(error).__name__}: {error}"
        if standing is Standing.OPEN:
            return action, ActionState.FAILED, "the server took it, and nothing has changed"
        return action, ActionState.DONE, ""

    def _close(self, run: int, ended: tuple[AppAction, ActionState, str]) -> None:
        action, state, detail = ended
        self.ledger.close_action(run, action, state, detail)
        if state is ActionState.DONE:
            self.done += 1
            acted.warning("%s: done by %s", printable(action.text), action.server)
        elif state is ActionState.GONE:
            self.gone += 1
            log.info("%s: %s", printable(action.text), detail)
        else:
            self.failures.append(replace(action, detail=detail))
            acted.warning("%s: not done by %s: %s", printable(action.text), action.server, detail)


def _met(action: AppAction) -> tuple[ActionState, str]:
    """Return what it means that a target is as an action would make it, before it was done in this run."""
    if action.attempts > 1:  # an earlier attempt of ours was cut off, or was not answered in time
        return ActionState.DONE, "it is so after an earlier attempt"
    return ActionState.GONE, "it was so already"
