"""`ledger backup`, `copy`: checked copies; `verify`: proof that events are whole; `recount`, `embeddings`."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell, write_json
from fedi_safety.core.errors import LedgerError, UsageError
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.cli.shell import Shell
    from fedi_safety.config.schema import Settings
    from fedi_safety.core.ledger.records import Copied, Verification

_TELLS_EVERY_S = 5.0
_LIKE = "ledger-backup.db"

commands = typer.Typer(help="Look after the ledger.")


@commands.callback()
def ledger_commands() -> None:
    """Look after the ledger."""


@commands.command()
def backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where the copy is written.")],
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a file that is there.")] = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Write a copy of the ledger, also while a run is on, and check it as `ledger verify` does.

    FILE is whole or not there. See docs/operations.md for getting it back.
    """
    from fedi_safety.app.ledger import real_ledger
    from fedi_safety.cli.output_file import checked_place
    from fedi_safety.cli.text.summary import ledger_line
    from fedi_safety.config.locations import ledger_path, there

    sh = shell(config, ledger, log_level, quiet, yes)
    records = ledger_path(sh.settings)
    place = checked_place(file, "", _LIKE)
    if _is_of(place, real_ledger(records)):
        raise UsageError(file, "is the ledger itself, or belongs to it", f"name another file, such as {_LIKE}")
    if there(place) and not replace:
        raise UsageError(file, "is there already", "give --replace, or name another file")
    found = _copied(sh.settings, place, file, replace)
    if found is None:
        checked = "its tables are of another version of fedi-safety, and that version alone can follow its chain"
    else:
        checked = f"its chain of {found.length:,} events is whole; head {found.head}"
    sh.say(f"{file}: written, {place.stat().st_size / 1e6:,.1f} MB; {checked}")
    sh.say(ledger_line(records))
    return 0


def _is_of(place: Path, ledger: str) -> bool:
    """Tell whether a file is a ledger, by whatever name, or one of those beside it that belong to it."""
    with suppress(OSError):
        if place.samefile(ledger):
            return True
    return str(place) in {f"{ledger}{end}" for end in ("", "-wal", "-shm", "-journal", ".lock")}


def _copied(settings: Settings, place: Path, called: str, replace: bool) -> Verification | None:
    """Write the copy beside its place, have it checked there, and give it its name; whatever fails, nothing is left."""
    from fedi_safety.app.ledger import copy_settings_ledger
    from fedi_safety.cli.output_file import put, unwritable

    beside = place.parent / f".fedi-safety-{os.urandom(8).hex()}.tmp"
    try:
        found = copy_settings_ledger(settings, beside, called)
        put(beside, place, replace=replace)
    except FileExistsError:
        raise UsageError(called, "it was made meanwhile, and is left as it is", "name another file") from None
    except OSError as error:
        raise unwritable(called, error) from error
    finally:
        with suppress(OSError):
            beside.unlink()
    return found


@commands.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The ledger: a path, or a URL.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="A file that is not there, or an empty database.")],
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Copy a ledger to another database, SQLite or PostgreSQL, while no run is on, and check every row of the copy.

    FROM is left as it is. TO is whole or empty. Nothing is switched over: name TO by --ledger or in the configuration.
    """
    from fedi_safety.app.ledger import ledger_file, real_ledger
    from fedi_safety.config.locations import ledger_name, with_password

    sh = shell(config, ledger, log_level, quiet, yes)
    if with_password(source) or with_password(target):
        sh.warn("note: everybody on this machine can read the password in FROM or TO; put it into ~/.pgpass")
    if real_ledger(source) == real_ledger(target):
        raise UsageError(ledger_name(target), "is the ledger itself", "name another file, or an empty database")
    place = ledger_file(target)
    ledger_file(source)  # what names no ledger is said before anything is made
    told = _teller(sh)
    if place is None:
        from fedi_safety.app.ledger import copy_between

        found = copy_between(source, target, told)
    else:
        found = _copied_to_file(source, place, target, told)
    sh.say(
        f"{found.rows:,} rows copied and read back; the chain of {found.length:,} events is whole; head {found.head}"
    )
    if found.later:
        sh.warn(
            f"WARNING: {ledger_name(source)} was given {found.later:,} further events meanwhile, which the copy lacks: "
            "stop what writes to it, empty the copy, and copy again"
        )
    return 0


def _copied_to_file(source: str, place: Path, called: str, told: Callable[[str, int, int], None]) -> Copied:
    """Write the copy beside its place, and give it its name once it is whole; whatever fails, nothing is left."""
    from fedi_safety.app.ledger import copy_between
    from fedi_safety.cli.output_file import checked_place, put, unwritable
    from fedi_safety.config.locations import there

    if there(place):
        raise UsageError(called, "is there already", "name another file; nothing is overwritten")
    place = checked_place(str(place), "", "ledger.db")
    beside = place.parent / f".fedi-safety-{os.urandom(8).hex()}.tmp"
    try:
        found = copy_between(source, str(beside), told)
        put(beside, place, replace=False)
    except FileExistsError:
        raise UsageError(called, "it was made meanwhile, and is left as it is", "name another file") from None
    except LedgerError as error:
        if error.thing != str(beside):
            raise
        raise type(error)(called, error.cause, error.remedy) from error
    except OSError as error:
        raise unwritable(called, error) from error
    finally:
        for end in ("", "-journal", "-wal", "-shm"):
            with suppress(OSError):
                Path(f"{beside}{end}").unlink()
    return found


def _teller(sh: Shell) -> Callable[[str, int, int], None]:
    """Return what says now and then how far a copy is."""
    last = time.monotonic()

    def told(table: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _TELLS_EVERY_S:
            last = time.monotonic()
            sh.note(f"{table}: {done:,} of {total:,} rows")

    return told


@commands.command()
def verify(
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Follow the chain of events from the first to the last and check verdicts, plans and actions against it."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.notices.telling import telling
    from fedi_safety.cli.text.summary import ledger_line

    sh = shell(config, ledger, log_level, quiet, yes)
    with telling(sh.settings, sh.note) as told:
        records = open_settings_ledger(sh.settings, readonly=True)
        gc.freeze()  # what is loaded stays to the end: looking through it took a tenth of the time
        try:
            result = records.verify()
        finally:
            records.dispose()
        told.chain(result.problem)
        if result.problem is not None:
            raise LedgerError(records.name, result.problem, "compare it with a backup; do not trust it as evidence")
        if result.miscounted is not None:
            cause = f"the chain is whole, but counters do not add up: {result.miscounted}"
            raise LedgerError(records.name, cause, f"{hint('ledger recount')} makes them anew")
    sh.say(f"the chain of {result.length:,} events is whole; head {result.head}")
    sh.say(f"not covered by it: {'; '.join(result.not_covered)}")
    sh.say(ledger_line(records.name))
    return 0


@commands.command()
def recount(
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Make the counters anew that reports and lists read, where `ledger verify` says that they do not add up."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.text.summary import ledger_line

    sh = shell(config, ledger, log_level, quiet, yes)
    records = open_settings_ledger(sh.settings)
    try:
        with records.run_lock():
            count = records.recount()
    finally:
        records.dispose()
    sh.say(f"counted anew: {count:,} object{'' if count == 1 else 's'}")
    sh.say(ledger_line(records.name))
    return 0


@commands.command()
def embeddings(
    forget: Annotated[bool, typer.Option("--forget", help="Forget every kept embedding; the scores stay.")] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Show how many embeddings are kept, by network, and what room they take; or forget them."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.text.summary import ledger_line

    sh = shell(config, ledger, log_level, quiet, yes)
    records = open_settings_ledger(sh.settings, readonly=not forget)
    try:
        kept = records.kept_embeddings()
        if forget and kept:
            frames = sum(total.frames for total in kept)
            sh.confirm(f"{frames:,} embeddings will be forgotten; new concepts then need the pictures", "give --yes")
            with records.run_lock():
                records.forget_embeddings()
    finally:
        records.dispose()
    if json_output:
        rows = [{"model": t.model, "encoding": t.encoding, "frames": t.frames, "bytes": t.bytes} for t in kept]
        write_json({"ledger": records.name, "kept": [] if forget else rows, "forgotten": rows if forget else []})
        return 0
    for total in kept:
        sh.say(f"{total.model}: {total.frames:,} frames, {total.bytes / 1e6:,.1f} MB as {total.encoding}")
    if not kept:
        sh.say("no embeddings are kept")
    elif forget:
        sh.say("forgotten; their room is used again by what is recorded later")
    sh.say(ledger_line(records.name))
    return 0
