"""`confirm`: a person says that a content is what a rule said of it."""

from __future__ import annotations

from typing import Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell
from fedi_safety.core.errors import UsageError, printable


def confirm(
    key: Annotated[str, typer.Argument(metavar="KEY|SHA256", help="An object's key, its path, or a SHA-256.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the record.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take the word back; what it alone condemned is not.")] = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Confirm a verdict by a person's word; what was sent to review is condemned by that.

    What is configured about the person behind it may then be done.
    """
    from fedi_safety.app.confirming import plan_condemned
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.text.lookup import find
    from fedi_safety.cli.text.summary import ledger_line

    sh = shell(config, ledger, log_level, quiet, yes)
    records = open_settings_ledger(sh.settings)
    try:
        found = find(records, key)
        if found.sha256 is None:
            raise UsageError(key, "it has no content on record to confirm", "only what was read and judged can be")
        if undo:
            taken = records.unconfirm(found.sha256, reason, who())
            lines = [f"{found.sha256.hex()}: {'the word is taken back' if taken else 'nobody confirmed it'}"]
        else:
            allowed = records.confirm(found.sha256, reason, who())
            lines = [f"{found.sha256.hex()}: confirmed; to be done by the next run: {len(allowed)}"]
            lines += [f"  {printable(action.text)}, by {action.server}" for action in allowed]
            lines += [f"  {printable(one.text)}" for one in plan_condemned(sh.settings, records, found.sha256, who())]
    finally:
        records.dispose()
    for line in [*lines, ledger_line(records.name)]:
        sh.say(line)
    return 0


def who() -> str:
    """Return the name of the account that this runs as, as far as the system has one."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
