"""`import-ledger`: take over a predecessor's database."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell, write_json

if TYPE_CHECKING:
    from fedi_safety.core.ledger.records import Imported


def import_ledger(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE", help="The predecessor's database; left out, $SQLITE_FILENAME or lemmy_safety.db."
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="STORE", help="The store that it was about; else the configured one."),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Take its clean files as clear instead of judging them again.")
    ] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Take over a predecessor's database: what it condemned becomes visible history, the rest is judged again."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.stores import named_store
    from fedi_safety.cli.text.summary import ledger_line
    from fedi_safety.config.loading import predecessor_ledger

    path = Path(file or predecessor_ledger())
    sh = shell(config, ledger, log_level, quiet, yes)
    opened = named_store(sh.settings, store)
    opened.close()
    records = open_settings_ledger(sh.settings)
    try:
        with records.run_lock(opened.url):
            run = records.begin_run("import", opened.url, {"file": path.name, "trust": trust})
            try:
                counts = records.import_predecessor(run, path, opened.url, trust=trust)
            except BaseException as error:
                records.end_run(run, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", {})
                raise
            records.end_run(run, "done", asdict(counts))
    finally:
        records.dispose()
    if json_output:
        write_json(asdict(counts) | {"ledger": records.name})
    else:
        sh.say(_told(counts))
        sh.say(ledger_line(records.name))
    return 0


def _told(counts: Imported) -> str:
    return (
        f"{counts.rows:,} rows: {counts.condemned:,} condemned (now history), {counts.trusted:,} trusted as clear, "
        f"{counts.to_judge:,} to be judged again, {counts.failures:,} that it never judged, "
        f"{counts.already_known:,} known already, {counts.outside:,} outside the store"
    )
