"""Notices among the gate's figures, and the gate's own word: that it does not keep up, or does again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from fedi_safety.app.notices.conditions import say, say_heard
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ledger.ports import UploadLedger
from fedi_safety.core.notices.transitions import Condition
from fedi_safety.judging.metrics import Metrics

log = logging.getLogger(__name__)

_EVERY_S = 10.0
_STALE_LOOKS = 6  # for a minute it may be unready without that being told: it starts, or a worker is away


class NoticeGauges:
    """What waits to be told, and whether the gate keeps up; looked at every ten seconds beside the serving."""

    def __init__(
        self, m: Metrics, ledger: UploadLedger, unready: Callable[[], bool], overdue: Callable[[], bool]
    ) -> None:
        """Register the figures. `unready`: nobody judges; `overdue`: an upload waits for longer than it may."""
        self._ledger = ledger
        self._unready, self._overdue = unready, overdue
        self._looks = 0
        self.waiting = self.given_up = self.unconfirmed = 0
        self.failing = False
        m.gauge("notices_waiting", "Messages to the operator that wait to be sent.", lambda: float(self.waiting))
        m.gauge(
            "notices_given_up",
            "Messages to the operator that could not be sent for a day, within a month.",
            lambda: float(self.given_up),
        )
        m.gauge(
            "notices_unconfirmed",
            "Messages to the operator that were sent twice without an answer, within a month.",
            lambda: float(self.unconfirmed),
        )

    @property
    def late(self) -> bool:
        """Whether the operator is not told of everything."""
        return self.failing or self.given_up > 0 or self.unconfirmed > 0

    async def run(self) -> None:
        """Look, again and again, until cancelled."""
        while True:
            unready, overdue = self._unready(), self._overdue()
            self._looks = self._looks + 1 if unready else 0
            await asyncio.to_thread(self.look, self._looks >= _STALE_LOOKS, overdue)
            await asyncio.sleep(_EVERY_S)

    def look(self, unready: bool, overdue: bool) -> None:
        """Say whether the gate keeps up, and read how the telling goes."""
        why = "nobody judges uploads" if unready else "an upload waits for its verdict for too long"
        say_heard(self._ledger)
        say(self._ledger, Condition.GATE_STALE, "", why if unready or overdue else None)
        try:
            found = self._ledger.notice_figures()
        except FediSafetyError as error:
            log.warning("figures of notices: %s", error.line())
            return
        self.waiting = sum(each.waiting for each in found)
        self.given_up = sum(each.given_up for each in found)
        self.unconfirmed = sum(each.unconfirmed for each in found)
        self.failing = any(each.failing_since is not None and each.waiting for each in found)
