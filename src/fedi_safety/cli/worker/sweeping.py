"""`worker --sweep`: the stores that a worker goes through while no gate asks, opened and settled as `watch` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fedi_safety.cli.consent import Given, settled
from fedi_safety.cli.shell import Shell
from fedi_safety.core.errors import UsageError
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.app.engine import Engine
    from fedi_safety.app.stores import Target
    from fedi_safety.core.ledger.ports import WholeLedger
    from fedi_safety.core.policy import Policy
    from fedi_safety.core.ports import Store
    from fedi_safety.worker.sweeps import Sweeps


class Opened:
    """The ledger and the stores, before the engine is there."""

    def __init__(self, sh: Shell, ledger: WholeLedger, stores: Sequence[tuple[Target, Store]]) -> None:
        """Take over what is open."""
        self._sh, self.ledger, self._stores = sh, ledger, stores

    @property
    def names(self) -> str:
        """Return the stores as a person named them."""
        return ", ".join(target.name for target, _ in self._stores)

    @contextmanager
    def sweeping(self, engine: Engine, policy: Policy, busy: Callable[[], bool]) -> Iterator[Sweeps]:
        """Go through the stores while the block runs, as long as `busy` says that no gate asks."""
        from fedi_safety.app.engine import open_decoder
        from fedi_safety.app.ledger import SharedRunLock, SystemClock
        from fedi_safety.watch.cycles import Shared, StoreWatch
        from fedi_safety.worker.sweeps import PatientEngine, Sweeps, Turn

        turn = Turn(busy)
        patient = PatientEngine(engine, open_decoder(self._sh.settings, engine.jobs), turn)
        try:
            shared = Shared(
                self.ledger, patient, engine.in_force(policy), SharedRunLock(self.ledger), SystemClock(),
                beside=len(self._stores) + 1,
            )  # fmt: skip
            sweeps = Sweeps([StoreWatch(target, shared, store) for target, store in self._stores], shared, turn)
            sweeps.start()
            try:
                yield sweeps
            finally:
                sweeps.stop()
        finally:
            patient.close()


@contextmanager
def opened(sh: Shell, named: Sequence[str]) -> Iterator[Opened | None]:
    """Open the stores that are named, and the ledger that is shared; give None where none is named.

    Raises what opening a store raises, and `UsageError` where a real run of it lacks a person's word.
    """
    if not named:
        yield None
        return
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.stores import targets

    chosen = [target for name in named for target in targets(sh.settings, name)]
    if len({target.url for target in chosen}) < len(chosen):
        raise UsageError("--sweep", "a store is named twice", "name it once")
    ledger = open_settings_ledger(sh.settings)
    try:
        stores = []
        for target in chosen:
            store = target.open()
            _refuse_unsettled(ledger, target, store)
            stores.append((settled(sh, ledger, target, store, dry_run=False, given=Given.NOTHING, ask=False), store))
        yield Opened(sh, ledger, stores)
    finally:
        ledger.dispose()


def _refuse_unsettled(ledger: WholeLedger, target: Target, store: Store) -> None:
    """Refuse a store of which a person has not said yet what a real run needs; a worker has no option for it."""
    from fedi_safety.app.consent import lacking, remembered

    lacks = lacking(remembered(target, ledger, store.url).settings, ledger, store.url)
    if not lacks:
        return
    causes = [
        *([f"there is no complete dry run of it in the ledger {ledger.name}"] if lacks.dry_run else []),
        *(["nobody has chosen what is done about condemned objects"] if lacks.act else []),
    ]
    first = f"see what would be removed with {hint('scan {} --dry-run', target.name)}, and set `act`"
    raise UsageError(store.url, " and ".join(causes), f'{first}; `act = "report"` leaves everything as it is')
