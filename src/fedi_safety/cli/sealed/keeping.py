"""`hold`, `release` and `filed`: how long a sealed copy is kept, by a person's word."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.sealed.copies import CopyArgument
from fedi_safety.cli.shell import shell
from fedi_safety.core.errors import UsageError, printable

if TYPE_CHECKING:
    from fedi_safety.cli.shell import Shell
    from fedi_safety.core.ledger.ports import WholeLedger
    from fedi_safety.core.sealing.copies import Seal


def hold(
    key: CopyArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the record.")],
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Keep a sealed copy whatever its time is, until `release`."""
    sh = shell(config, ledger, log_level, quiet, yes)
    if not reason.strip():
        raise UsageError("--reason", "it says nothing", "write who asked for it, or why; it is kept with the record")
    return _each(sh, key, lambda records, seal: records.hold_seal(seal, reason))


def release(
    key: CopyArgument,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Let a sealed copy that was held end by itself again, when its time is over."""
    sh = shell(config, ledger, log_level, quiet, yes)
    return _each(sh, key, lambda records, seal: records.release_seal(seal))


def filed(
    key: CopyArgument,
    authority: Annotated[str, typer.Option("--authority", metavar="NAME", help="Whom it was reported to.")],
    reference: Annotated[str, typer.Option("--reference", metavar="TEXT", help="What they call the report.")],
    at: Annotated[
        str | None, typer.Option("--at", metavar="DATE", help="When, such as 2026-11-29; now if not given. UTC.")
    ] = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Record that a content was reported to an authority. Under `report-and-preserve` its year counts from that day."""
    from fedi_safety.core.sealing.law import keep_filed_s

    sh = shell(config, ledger, log_level, quiet, yes)
    moment = _moment(at)
    keep_s = keep_filed_s(sh.settings.law.preset, None)
    return _each(sh, key, lambda records, seal: records.file_seal(seal, authority, reference, moment, keep_s))


def _moment(text: str | None) -> float:
    """Return a date that was typed in epoch seconds. Raises `UsageError` for none, or one that is yet to come."""
    if text is None:
        return time.time()
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(f"--at {text}", "that is no date", "write it as 2026-11-29 or 2026-11-29T14:30") from error
    at = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    if at > time.time():
        raise UsageError(f"--at {text}", "that is yet to come", "give the day on which it was filed")
    return at


def _each(sh: Shell, key: str, change: Callable[[WholeLedger, Seal], Seal]) -> int:
    """Do the same to every sealed copy that was named, and say how it stands then."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.sealed.copies import copies, line
    from fedi_safety.cli.text.summary import ledger_line

    records = open_settings_ledger(sh.settings)
    try:
        changed = [change(records, seal) for seal in copies(records, key)]
    finally:
        records.dispose()
    for seal in changed:
        sh.say(printable(f"{seal.key}: {line(seal)}"))
    sh.say(ledger_line(records.name))
    return 0
