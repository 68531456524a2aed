"""`dismiss`: a person says that a content was judged wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell
from fedi_safety.core.errors import UsageError
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.cli.shell import Shell
    from fedi_safety.core.ledger.ports import WholeLedger


def dismiss(
    key: Annotated[str, typer.Argument(help="An object's key, its path, or a content's SHA-256.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the record.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take a dismissal back; the next scan decides anew.")] = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Clear a content by its hash: everywhere, for good, whatever a policy says. Its waiting plans are dropped."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.text.lookup import find
    from fedi_safety.cli.text.summary import ledger_line

    sh = shell(config, ledger, log_level, quiet, yes)
    records = open_settings_ledger(sh.settings)
    try:
        found = find(records, key)
        if found.sha256 is None:
            raise UsageError(key, "it has no content on record to dismiss", "only what was read and judged can be")
        if undo:
            done = records.restore(found.sha256, reason)
            text = "the dismissal is taken back" if done else "it was not dismissed"
        else:
            dropped = records.dismiss(found.sha256, reason)
            text = f"cleared everywhere, for good; waiting plans dropped: {dropped}"
        led_to = _remembered(sh, records, undo=undo)
    finally:
        records.dispose()
    sh.say(f"{found.sha256.hex()}: {text}")
    for line in led_to:
        sh.say(line)
    sh.say(ledger_line(records.name))
    return 0


def _remembered(sh: Shell, records: WholeLedger, *, undo: bool) -> list[str]:
    """Have the lists of known images hold by a person's word; that itself stands whether or not they can."""
    from fedi_safety.app.known.lists import remember_dismissal
    from fedi_safety.core.errors import KnownError

    try:
        return remember_dismissal(sh.settings, records, undo=undo)
    except KnownError as error:
        sh.warn(f"{error.line()}; so lists do not know of it yet: {hint('hashes match')} tells them")
        return []
