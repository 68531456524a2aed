"""What the commands about sealed copies share: finding them, reading keys, and telling of them."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.shell import write_json
from fedi_safety.core.errors import UsageError, printable
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.acts.sealed_file import Identity
    from fedi_safety.core.ledger.ports import LedgerReader
    from fedi_safety.core.sealing.copies import Seal

IdentityOption = Annotated[
    str,
    typer.Option(
        "--identity",
        metavar="FILE|-",
        help="The secret key, of age or ssh; - reads it from standard input.",
    ),
]
CopyArgument = Annotated[str, typer.Argument(metavar="KEY", help="An object's key, its path, or a SHA-256.")]
_MOST_KEY_BYTES = 1 << 20


def copies(ledger: LedgerReader, target: str, *, every: bool = False) -> list[Seal]:
    """Return the sealed copies of an object or a content. Raises `UsageError` where there is none.

    With `every` the ones that are gone or not complete count too, if there is no other.
    """
    from fedi_safety.cli.text.lookup import find
    from fedi_safety.core.sealing.copies import SealState

    found = find(ledger, target)
    known = [] if found.sha256 is None else ledger.seals(sha256=found.sha256)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", target):  # a key: of the same content under other keys nothing was said
        places = {(row.store, row.key) for row in found.rows}
        known = [seal for seal in known if (seal.store, seal.key) in places]
    there = [seal for seal in known if seal.state is SealState.SEALED]
    if there or (every and known):
        return there or known
    gone = [seal for seal in known if seal.state in (SealState.EXPIRING, SealState.DESTROYED)]
    cause = f"its sealed copy is gone: {_end(gone[-1]) or 'destroyed'}" if gone else "there is no sealed copy of it"
    raise UsageError(target, cause, f"see {hint('show {}', target)}")


def identities(name: str) -> list[Identity]:
    """Return the secret keys in a file, or on standard input. Raises `UsageError`, `SealUsageError`."""
    from fedi_safety.acts.sealed_file import identities_of
    from fedi_safety.config.locations import expanded

    try:
        if name == "-":
            text = sys.stdin.buffer.read(_MOST_KEY_BYTES)
        else:
            with expanded(name).open("rb") as stream:
                text = stream.read(_MOST_KEY_BYTES)
    except OSError as error:
        cause = f"cannot be read: {error.strerror or error}"
        raise UsageError(f"identity {name}", cause, "name the file of the secret key") from error
    return identities_of(name, text)


def list_copies(
    records: LedgerReader, store: str | None, prefix: str | None, limit: int | None, *, json_output: bool
) -> None:
    """Print the copies that are kept, the oldest first: when made, the object's key, how long, and its store."""
    from fedi_safety.cli.text.lookup import iso_time
    from fedi_safety.core.sealing.copies import SealState

    kept = records.seals(states=[SealState.SEALED])
    wanted = [seal for seal in kept if store in (None, seal.store) and seal.key.startswith(prefix or "")]
    for seal in wanted[:limit]:
        if json_output:
            write_json(as_json(seal))
            continue
        made = "-" if seal.made_at is None else iso_time(seal.made_at)
        sys.stdout.write("\t".join(map(printable, (made, seal.key, line(seal), seal.store))) + "\n")


def as_json(seal: Seal) -> dict[str, object]:
    """Return a copy as `show --json` and `list --sealed --json` tell it."""
    from fedi_safety.cli.text.lookup import iso_time

    plain = ("store", "key", "vault", "name", "size", "held", "authority", "reference", "detail")
    times = ("made_at", "expires_at", "filed_at", "restored_at", "ended_at")
    shown = {name: None if (at := getattr(seal, name)) is None else iso_time(at) for name in times}
    return {name: getattr(seal, name) for name in plain} | shown | {"state": seal.state.value}


def _end(seal: Seal) -> str:
    """Return what is said of a copy's end; before it the same place has which versions are in it."""
    from fedi_safety.core.sealing.copies import versions_in

    return "" if versions_in(seal.detail) else seal.detail


def line(seal: Seal) -> str:
    """Return a copy in one line: where, until when, held or filed, or what became of it."""
    from fedi_safety.cli.text.lookup import iso_time
    from fedi_safety.core.sealing.copies import SealState, versions_in

    parts = [f"sealed copy {seal.name} in {seal.vault}"]
    if seal.state is SealState.SEALED:
        if seal.held is not None:
            parts.append(f"held: {seal.held or 'no reason given'}")
        elif seal.expires_at is None:
            parts.append("kept until a person says otherwise")
        else:
            parts.append(f"kept until {iso_time(seal.expires_at)}")
        if older := len(versions_in(seal.detail)) - 1 if seal.detail else 0:
            parts.append(f"with older versions of its key: {older}")
    else:
        ended = "" if seal.ended_at is None else f" at {iso_time(seal.ended_at)}"
        parts.append(f"{seal.state.value}{ended}{f': {_end(seal)}' if _end(seal) else ''}")
    if seal.filed_at is not None:
        parts.append(f"filed at {iso_time(seal.filed_at)} with {seal.authority}, reference {seal.reference}")
    if seal.restored_at is not None:
        parts.append(f"restored at {iso_time(seal.restored_at)}")
    return "; ".join(parts)
