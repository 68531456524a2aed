"""For a gate without an engine: what the ledger knows needs no worker, and a person's word stands above theirs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from fedi_safety.core.errors import LedgerError
from fedi_safety.core.ledger.ports import Verdicts
from fedi_safety.core.policy import Policy, dismissal
from fedi_safety.judging.engine import judged
from fedi_safety.judging.types import Answer, Judge, Upload

log = logging.getLogger(__name__)


class LedgerFirst:
    """Asks the ledger, and then another judge. A ledger that cannot be read is left out."""

    def __init__(self, judge: Judge, ledger: Verdicts, policy: Callable[[], Policy]) -> None:
        """Ask `judge` for what was not decided under `policy`, which may be another one each time."""
        self._judge = judge
        self._ledger = ledger
        self._policy = policy

    async def judge(self, upload: Upload) -> Answer:
        """Answer as remembered, else as the judge does."""
        known = await asyncio.to_thread(self._look_up, upload.sha256)
        return known or await self._judge.judge(upload)

    def _look_up(self, sha256: bytes) -> Answer | None:
        policy = self._policy()
        try:
            remembered = self._ledger.contents([sha256]).get(sha256)
            if remembered is None:
                return None
            content, judgement, decided = remembered
            if self._ledger.dismissed([sha256]):
                return judged(dismissal(policy.id), content, "ledger")
        except LedgerError as error:
            log.debug("not looked up: %s", error.line())
            return None
        return judged(judgement, content, "ledger") if decided and judgement.policy == policy.id else None

    def ready(self) -> str | None:
        """Return what the judge says."""
        return self._judge.ready()

    async def start(self) -> None:
        """Start the judge."""
        await self._judge.start()

    async def stop(self) -> None:
        """Stop the judge."""
        await self._judge.stop()
