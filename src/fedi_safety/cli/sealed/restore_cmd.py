"""`restore`: put a removed object back from its sealed copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.sealed.copies import CopyArgument, IdentityOption
from fedi_safety.cli.shell import shell
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.acts.sealed_file import Identity
    from fedi_safety.cli.shell import Shell
    from fedi_safety.core.ledger.ports import WholeLedger
    from fedi_safety.core.sealing.copies import Seal


def restore(
    key: CopyArgument,
    identity: IdentityOption,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the dismissal.")
    ] = "restored from its sealed copy",
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Put a removed object back as it was, and dismiss its verdict. To be run where the secret key is.

    What cannot come back is named before and after. Nothing that stands in its place is overwritten.
    """
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.sealed.copies import copies, identities
    from fedi_safety.cli.text.summary import ledger_line

    sh = shell(config, ledger, log_level, quiet, yes)
    keys = identities(identity)
    records = open_settings_ledger(sh.settings)
    try:
        for seal in copies(records, key):
            _restored(sh, records, seal, keys, reason)
    finally:
        records.dispose()
    sh.say(ledger_line(records.name))
    return 0


def _restored(sh: Shell, records: WholeLedger, seal: Seal, keys: list[Identity], reason: str) -> None:
    from contextlib import closing

    from fedi_safety.app.known.lists import remember_dismissal
    from fedi_safety.app.restoring import Restoring, opened_copy
    from fedi_safety.core.errors import KnownError, printable

    copy = opened_copy(sh.settings, seal, keys)
    place = printable(f"{seal.store} {seal.key}")
    with closing(Restoring(sh.settings, seal, copy)) as restoring:
        sh.say(f"{place}: what will not come back:")
        for line in restoring.lost:
            sh.say(f"  {printable(line)}")
        sh.confirm(
            f"it is put back ({len(copy.data):,} bytes), and its verdict dismissed everywhere, so that it stays",
            "give --yes, or answer yes",
        )
        # First: a scan, or a gate that is asked by pict-rs, would else condemn it at once.
        records.dismiss(seal.sha256, reason)
        try:
            remember_dismissal(sh.settings, records)
        except KnownError as error:
            sh.warn(error.line())
        try:
            done = restoring.put_back(records)
        except FediSafetyError:
            sh.warn(
                f"nothing was put back; its verdict is dismissed: {hint('dismiss {} --undo', seal.key)} undoes that"
            )
            raise
    if done.already:
        sh.say(f"{place}: it is there already, with the same content; nothing was written")
        return
    sh.say(f"{place}: restored" + (", and this is not as it was:" if done.differs else ", as it was"))
    for line in done.differs:
        sh.say(f"  {printable(line)}")
