"""The predecessor's four script names with their options and variables; they call `scan` (--all), `watch` and `worker`.

Where its behaviour was a defect the new one holds, see docs/migrating.md. It keeps nothing of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import quote

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import Shell, shell
from fedi_safety.config.predecessor import (
    ENDPOINT,
    SAFETY_URL,
    SSH_HOST,
    SSH_PORT,
    SSH_STORE,
    SSH_USER,
    STORE,
    bucket_url,
)
from fedi_safety.core.errors import UsageError
from fedi_safety.core.wording.hints import hint
from fedi_safety.service.cpus import cpu_count

LOCAL = "fedi_safety_local_storage"
OBJECT = "fedi_safety_object_storage"
REMOTE = "fedi_safety_remote_storage"
PICTRS = "lemmy_safety_pictrs"

AllOption = Annotated[bool, typer.Option("--all", help="One pass over everything, instead of running until stopped.")]
ThreadsOption = Annotated[
    int, typer.Option("-t", "--threads", min=0, help="As `--jobs` of `scan`, but never more than one per core.")
]
MinutesOption = Annotated[int, typer.Option("-m", "--minutes", min=1, help="Without --all: as `--minutes` of `watch`.")]
DryRunOption = Annotated[bool, typer.Option("--dry_run", "--dry-run", help="Judge and plan, but do nothing.")]
SkipOption = Annotated[
    bool, typer.Option("--skip_unreadable", help="Without effect: what cannot be read is never removed here.")
]
PrefixOption = Annotated[
    list[str] | None, typer.Option("--prefix", metavar="KEY", help="Only objects whose key begins like this.")
]


def local_storage(
    everything: AllOption = False,
    threads: ThreadsOption = 0,
    minutes: MinutesOption = 20,
    dry_run: DryRunOption = False,
    skip_unreadable: SkipOption = False,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Look after PICTRS_FILES_DIRECTORY: for ever, or with --all once."""
    sh = _shell(config, ledger, log_level, quiet, yes, threads)
    if sh.settings.store is None:
        _needed({}, STORE)
    return _run(sh, sh.settings.store, everything, minutes, dry_run, skip_unreadable, prefix)


def object_storage(
    everything: AllOption = False,
    threads: ThreadsOption = 0,
    minutes: MinutesOption = 20,
    dry_run: DryRunOption = False,
    skip_unreadable: SkipOption = False,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Look after PICTRS_BUCKET (`pictrs`) at OBJECT_STORAGE_ENDPOINT: for ever, or with --all once."""
    sh = _shell(config, ledger, log_level, quiet, yes, threads)
    variables = _variables()
    endpoint = sh.settings.s3.endpoint  # ours, or its name for it
    store = bucket_url(variables if endpoint is None else {ENDPOINT: endpoint, **variables})
    if store is None:
        _needed(variables, ENDPOINT)
    return _run(sh, store, everything, minutes, dry_run, skip_unreadable, prefix)


def remote_storage(
    everything: AllOption = False,
    threads: ThreadsOption = 0,
    minutes: MinutesOption = 20,
    dry_run: DryRunOption = False,
    skip_unreadable: SkipOption = False,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Look after a directory on SSH_HOSTNAME: for ever, or with --all once."""
    sh = _shell(config, ledger, log_level, quiet, yes, threads)
    return _run(sh, remote_url(_variables()), everything, minutes, dry_run, skip_unreadable, prefix)


def pictrs_worker(
    threads: ThreadsOption = 0,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Judge for the pictrs-safety, or gate, at PICTRS_SAFETY_URL with PICTRS_SAFETY_APIKEY."""
    from fedi_safety.cli.worker.commands import run_worker

    sh = _shell(config, ledger, log_level, quiet, yes, threads)
    if not sh.settings.worker.gates:
        raise UsageError(SAFETY_URL, "is not set", f"set it in `.env`, or name a gate to {hint('worker')}")
    return run_worker(sh, [])


def remote_url(variables: Mapping[str, str]) -> str:
    """Return the sftp:// URL that the predecessor's variables name. Raises `UsageError`."""
    host = _needed(variables, SSH_HOST)
    user = variables.get(SSH_USER)
    directory = variables.get(STORE) or variables.get(SSH_STORE) or _needed(variables, STORE)
    port = variables.get(SSH_PORT) or "22"
    login = f"{quote(user, safe='')}@" if user else ""
    host = f"[{host}]" if ":" in host else host
    return f"sftp://{login}{host}:{port}/{quote(directory.lstrip('/'))}"


def _shell(
    config: str | None, ledger: str | None, log_level: str | None, quiet: bool, yes: bool, threads: int
) -> Shell:
    """Return the command's shell. The predecessor's threads waited for one GPU; each of these is a process."""
    cores = cpu_count()
    sh = shell(config, ledger, log_level, quiet, yes, jobs=min(threads, cores) or None)
    if threads > cores:
        sh.note(f"note: -t {threads}: one process per core is enough, and each takes memory; there will be {cores}")
    return sh


def _run(
    sh: Shell,
    store: str | None,
    everything: bool,
    minutes: int,
    dry_run: bool,
    skip_unreadable: bool,
    prefix: list[str] | None,
) -> int:
    from fedi_safety.cli.consent import Given
    from fedi_safety.cli.scan_cmd import run_scan
    from fedi_safety.cli.watch_cmd import run_watch
    from fedi_safety.watch.cycles import Rhythm, Wanted

    if skip_unreadable:
        sh.note("note: --skip_unreadable has no effect; what cannot be read is never removed")
    prefixes = tuple(prefix or ())
    if everything:
        return run_scan(sh, store, {"dry_run": dry_run, "prefixes": prefixes}, given=Given.ALL)
    rhythm, wanted = Rhythm(overlap_s=60.0 * minutes), Wanted(dry_run, prefixes=prefixes)
    return run_watch(sh, store, rhythm, wanted, given=Given.ALL)


def _variables() -> dict[str, str]:
    """Return what is set of `.env` and the environment; the settings read only what they know."""
    from fedi_safety.config.loading import variables

    return {name: value for name, value in variables().items() if value}


def _needed(variables: Mapping[str, str], name: str) -> str:
    value = variables.get(name)
    if not value:
        raise UsageError(
            name, "is not set", f"set it in `.env`, or name a store to {hint('scan STORE')} or {hint('watch STORE')}"
        )
    return value
