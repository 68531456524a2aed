"""The configured ledger, for as long as a command about lists needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedi_safety.cli.shell import Shell
    from fedi_safety.core.ledger.ports import WholeLedger


@contextmanager
def opened_ledger(sh: Shell) -> Iterator[WholeLedger]:
    """Give the configured ledger, and close it."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.notices.conditions import say_heard

    records = open_settings_ledger(sh.settings)
    try:
        yield records
    finally:
        say_heard(records)
        records.dispose()
