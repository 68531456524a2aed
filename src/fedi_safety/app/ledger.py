"""The configured ledger, and what several scans of one process share of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from fedi_safety.config.locations import default_ledgers, expanded, ledger_path
from fedi_safety.core.errors import LedgerUsageError

if TYPE_CHECKING:  # `list` and `show` are done before these are loaded
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fedi_safety.config.schema import Settings
    from fedi_safety.core.ledger.objects import ObjectReader
    from fedi_safety.core.ledger.ports import Ledger, WholeLedger
    from fedi_safety.core.ledger.records import Copied, Verification

_UPLOAD_BUSY_S = 1.5  # how long a write waits for another program's: somebody waits for the answer


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        """Return seconds since the Unix epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


def open_settings_ledger(settings: Settings, *, readonly: bool = False) -> WholeLedger:
    """Open the configured ledger. Raises `LedgerError` or `LedgerUsageError`."""
    from fedi_safety.app.notices.channels import channels
    from fedi_safety.ledger.embeddings import Keep
    from fedi_safety.ledger.ledger import open_ledger

    keep = Keep(settings.clip.keep_embeddings)
    return open_ledger(
        ledger_path(settings), clock=SystemClock(), readonly=readonly, keep=keep, channels=channels(settings)
    )


def open_settings_objects(settings: Settings) -> ObjectReader:
    """Open the configured ledger for a command that asks a little and ends: of a file by SQLite's driver alone.

    Loading SQLAlchemy takes longer than all that such a command does. Raises `LedgerError` or `LedgerUsageError`.
    """
    from fedi_safety.ledger.reading.reader import open_plain

    return open_plain(ledger_path(settings)) or open_settings_ledger(settings, readonly=True)


def copy_settings_ledger(settings: Settings, file: Path, called: str) -> Verification | None:
    """Copy the configured ledger to a new file, and check the copy; None where its version can only be copied.

    `called` is what a person knows the file by. Raises `LedgerError` or `LedgerUsageError`.
    """
    from fedi_safety.ledger.others.backup import copy_ledger

    return copy_ledger(ledger_path(settings), file, called)


def ledger_file(ledger: str) -> Path | None:
    """Return the file that a ledger lies in, None for one on a server. Raises `LedgerUsageError` for neither."""
    from fedi_safety.ledger.database import file_named

    return file_named(ledger)


def copy_between(source: str, target: str, told: Callable[[str, int, int], None]) -> Copied:
    """Copy a ledger into an empty database, while no run is on; see `ledger.others.copying`.

    `told` gets the table in hand, the rows that are done, and how many there are.
    """
    from fedi_safety.ledger.others.copying import copy_ledger_to

    return copy_ledger_to(source, target, told)


def known_stores(settings: Settings) -> list[str]:
    """Return the URLs of the stores that the configured ledger knows; none where none can be read."""
    try:
        ledger = open_settings_ledger(settings, readonly=True)
    except LedgerUsageError:
        return []
    try:
        return ledger.store_urls()
    finally:
        ledger.dispose()


def open_upload_ledger(settings: Settings) -> WholeLedger:
    """Open the configured ledger for the gate. Raises `LedgerError` or `LedgerUsageError`.

    Embeddings are not kept: they would go with the last object that has a content, and an upload has none yet.
    """
    from fedi_safety.app.notices.channels import channels
    from fedi_safety.ledger.ledger import open_ledger

    told = channels(settings)
    return open_ledger(ledger_path(settings), clock=SystemClock(), busy_timeout_s=_UPLOAD_BUSY_S, channels=told)


def other_ledgers(settings: Settings, store_url: str, configured: str | None = None) -> list[str]:
    """Return the other ledgers that know a store: of those in the default places, and the `configured` one.

    Looking at them changes nothing; one that cannot be read is not known to.
    """
    from fedi_safety.ledger.others.elsewhere import holds_store

    seen = {real_ledger(ledger_path(settings))}
    found = []
    for place in [*([configured] if configured else []), *map(str, default_ledgers())]:
        if (real := real_ledger(place)) not in seen:
            seen.add(real)
            if holds_store(place, store_url):
                found.append(place)
    return found


def real_ledger(ledger: str) -> str:
    """Return a ledger's name with every link followed, so that one ledger has one."""
    path = ledger.removeprefix("sqlite:///")
    return ledger if "://" in path else str(expanded(path).resolve())


class SharedRunLock:
    """The ledger's run lock for several scans of one process: the first takes it, the last gives it back.

    Where the ledger's database knows the right to run on one store, each store has its own.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Hold nothing yet."""
        self._ledger = ledger
        self._mutex = threading.Lock()
        self._held: dict[str | None, AbstractContextManager[None]] = {}
        self._holders: Counter[str | None] = Counter()

    @contextmanager
    def on(self, store: str) -> Iterator[None]:
        """Take the lock for a store, or a share of it. Raises `LedgerError` if another process has it."""
        key = store if self._ledger.runs_by_store else None
        with self._mutex:
            if not self._holders[key]:
                held = self._ledger.run_lock(key)
                held.__enter__()
                self._held[key] = held
            self._holders[key] += 1
        try:
            yield
        finally:
            with self._mutex:
                self._holders[key] -= 1
                if not self._holders[key]:
                    self._held.pop(key).__exit__(None, None, None)
