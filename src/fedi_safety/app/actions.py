"""Actions through the app, as the configuration switches them on, and what of it a run says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from fedi_safety.actions import by_hand, open_moderator, server_name, switched_on
from fedi_safety.config.schema import Settings, Trace
from fedi_safety.core.actions import Actions
from fedi_safety.core.errors import TraceUsageError
from fedi_safety.core.ledger.actions import ActionLedger
from fedi_safety.core.moderation import AppAction, Standing, Wanted
from fedi_safety.core.ports import Clock, Moderator
from fedi_safety.core.runs import RunReport
from fedi_safety.core.sightings import Sighting
from fedi_safety.tracing.addresses import Address, read_address


def wanted_actions(settings: Settings) -> Wanted:
    """Return the actions that are switched on. Raises `TraceUsageError` where they are set up wrongly."""
    offers = switched_on(settings.trace)
    return Wanted(offers, server_name(settings.trace, _address(settings).host)) if offers else Wanted()


class _LateModerator:
    """A moderator that is opened when it is first needed: a daemon's passes have nothing to do for days."""

    def __init__(self, access: Trace, address: Address) -> None:
        self.name = server_name(access, address.host)
        self._open = partial(open_moderator, access, address.root, address.host)
        self._opened: Moderator | None = None

    @property
    def _real(self) -> Moderator:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def standing(self, action: AppAction, *, within_s: float) -> Standing:
        return self._real.standing(action, within_s=within_s)

    def perform(self, action: AppAction, *, within_s: float) -> None:
        self._real.perform(action, within_s=within_s)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()


@contextmanager
def opened_actions(settings: Settings, store: str, ledger: ActionLedger, clock: Clock) -> Iterator[Actions | None]:
    """Give what carries out actions for a store, None where none is switched on, and close it."""
    offers = switched_on(settings.trace)
    if not offers:
        yield None
        return
    moderator = _LateModerator(settings.trace, _address(settings))
    try:
        yield Actions(
            ledger, clock, store, moderator, offers, most=settings.trace.max_actions, limit_s=settings.trace.limit_s
        )
    finally:
        moderator.close()


def act_through_app(
    actions: Actions | None,
    report: RunReport,
    keep_going: Callable[[], bool],
    *,
    resume: bool = False,
    only_due: bool = False,
) -> None:
    """Carry out what is open, as a part of a real run whose lock the caller holds, and put it into the report.

    Not while the breaker of removals holds: what it stands for is looked at first.
    """
    if actions is None:
        return
    if report.breaker is None and keep_going():
        report.interrupted |= not actions.carry_out(report.run_id, keep_going, resume=resume, only_due=only_due)
    report.actions = {
        "done": actions.done,
        "gone": actions.gone,
        "failed": len(actions.failures),
        "unconfirmed": actions.ledger.unconfirmed_actions(actions.store),
    }
    report.action_breaker = actions.tripped
    report.action_failures += [f"{failed.text}: {failed.detail}" for failed in actions.failures[:20]]


def pressed_by_hand(settings: Settings, sightings: Sequence[Sighting]) -> list[str]:
    """Return what a person is to press about these sightings, with links, where their server has no call for it."""
    address = read_address(settings.trace.url)
    return by_hand(settings.trace.server, None if address is None else address.root, sightings)


def _address(settings: Settings) -> Address:
    address = read_address(settings.trace.url)
    if address is None:
        raise TraceUsageError("trace.actions", "they go through the server's API", "set `trace.url` and `trace.token`")
    return address
