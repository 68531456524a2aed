"""`dismiss`: a person says that a content was judged wrongly."""

from __future__ import annotations

from typing import Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell
from fedi_safety.core.errors import UsageError


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
    finally:
        records.dispose()
    sh.say(f"{found.sha256.hex()}: {text}")
    sh.say(ledger_line(records.name))
    return 0
