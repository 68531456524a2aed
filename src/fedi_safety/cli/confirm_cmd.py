"""`confirm`: a person says that a content is what it was condemned for."""

from __future__ import annotations

from typing import Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell
from fedi_safety.core.errors import UsageError, printable


def confirm(
    key: Annotated[str, typer.Argument(metavar="KEY|SHA256", help="An object's key, its path, or a SHA-256.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the record.")] = "",
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Confirm a verdict, so that what is configured about the person behind it may be done. `dismiss` takes it back."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.text.lookup import find
    from fedi_safety.cli.text.summary import ledger_line

    sh = shell(config, ledger, log_level, quiet, yes)
    records = open_settings_ledger(sh.settings)
    try:
        found = find(records, key)
        if found.sha256 is None:
            raise UsageError(key, "it has no content on record to confirm", "only what was read and judged can be")
        allowed = records.confirm(found.sha256, reason, who())
    finally:
        records.dispose()
    sh.say(f"{found.sha256.hex()}: confirmed; to be done by the next run: {len(allowed)}")
    for action in allowed:
        sh.say(f"  {printable(action.text)}, by {action.server}")
    sh.say(ledger_line(records.name))
    return 0


def who() -> str:
    """Return the name of the account that this runs as, as far as the system has one."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
