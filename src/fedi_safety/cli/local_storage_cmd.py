"""The predecessor's `fedi_safety_local_storage.py` under its old name and options; it calls `scan`."""

from __future__ import annotations

import sys
import time
from typing import Annotated, NoReturn

import typer

from fedi_safety.cli.shell import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption, shell

NAME = "fedi_safety_local_storage"


def local_storage(
    everything: Annotated[bool, typer.Option("--all", help="Scan everything, not only what is new.")] = False,
    threads: Annotated[int, typer.Option("-t", "--threads", min=0, help="As `--jobs` of `scan`.")] = 0,
    minutes: Annotated[
        int, typer.Option("-m", "--minutes", min=1, help="Without --all: how far to look back, in minutes.")
    ] = 20,
    dry_run: Annotated[bool, typer.Option("--dry_run", "--dry-run", help="Judge and plan, but do nothing.")] = False,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip_unreadable", help="Without effect: what cannot be read is never removed here.")
    ] = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Scan PICTRS_FILES_DIRECTORY, as the predecessor's script did; without --all one pass over what is new."""
    from fedi_safety.cli.scan_cmd import run_scan

    sh = shell(config, ledger, log_level, quiet, yes, jobs=threads or None)
    if skip_unreadable:
        sh.note("note: --skip_unreadable has no effect; what cannot be read is never removed")
    since = None if everything else time.time() - 60 * minutes
    return run_scan(sh, None, {"dry_run": dry_run, "since": since}, json_output=False).exit_code


def main() -> NoReturn:
    """Run the old script name."""
    from fedi_safety.cli import main as program

    program([NAME, *sys.argv[1:]])
