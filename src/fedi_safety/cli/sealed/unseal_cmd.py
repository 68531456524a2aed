"""`unseal`: open a sealed copy into a file, and put nothing back."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.sealed.copies import IdentityOption
from fedi_safety.cli.shell import shell
from fedi_safety.core.errors import UsageError, printable

if TYPE_CHECKING:
    from fedi_safety.acts.sealed_file import Identity, Opened
    from fedi_safety.cli.shell import Shell


def unseal(
    key: Annotated[
        str, typer.Argument(metavar="KEY|FILE", help="An object's key, its path, a SHA-256, or a sealed file.")
    ],
    identity: IdentityOption,
    out: Annotated[str, typer.Option("--out", metavar="FILE|-", help="Where it is written; must not be there yet.")],
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Open a sealed copy into a file, in the clear, for whoever may have it. The ledger remembers that it was opened.

    A sealed file that is named by its path needs no ledger.
    """
    from fedi_safety.cli.sealed.copies import identities

    sh = shell(config, ledger, log_level, quiet, yes)
    keys = identities(identity)
    opened = _of_file(key, keys) if key.endswith(".age") and Path(key).is_file() else _of_ledger(sh, key, keys)
    _write(out, opened.data)
    told, where = opened.manifest, "on standard output" if out == "-" else f"in {out}"
    sh.note(printable(f"{told['store']} {told['key']}: {told['size']:,} bytes, SHA-256 {told['sha256']}, {where}"))
    if opened.older:
        sh.note(
            f"older versions of its key are in the copy as well: {len(opened.older)}; `age -d FILE | tar x` unpacks"
        )
    return 0


def _of_file(file: str, keys: list[Identity]) -> Opened:
    from fedi_safety.acts.sealed_file import opened

    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise UsageError(file, f"cannot be read: {error.strerror or error}", "see to its rights") from error
    return opened(file, data, keys)


def _of_ledger(sh: Shell, key: str, keys: list[Identity]) -> Opened:
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.restoring import opened_copy
    from fedi_safety.cli.sealed.copies import copies

    records = open_settings_ledger(sh.settings)
    try:
        seal = copies(records, key)[-1]
        opened = opened_copy(sh.settings, seal, keys)
        # Written first: what was opened and not recorded would be nobody's.
        records.note_opened(seal, "unsealed", "")
    finally:
        records.dispose()
    return opened


def _write(out: str, data: bytes) -> None:
    """Write what was opened, readable for this user alone."""
    if out == "-" and sys.stdout.isatty():
        raise UsageError("--out -", "standard output is a terminal, which would show it", "pipe it, or name a file")
    if out == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
    except OSError as error:
        remedy = "name a file that is not there yet"
        raise UsageError(out, f"cannot be written: {error.strerror or error}", remedy) from error
