"""What the commands about sealed copies share: finding them, reading keys, and telling of them."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.core.errors import UsageError
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
    cause = f"its sealed copy is gone: {gone[-1].detail or 'destroyed'}" if gone else "there is no sealed copy of it"
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


def line(seal: Seal) -> str:
    """Return a copy in one line: where, until when, held or filed, or what became of it."""
    from fedi_safety.cli.text.lookup import iso_time
    from fedi_safety.core.sealing.copies import SealState

    parts = [f"sealed copy {seal.name} in {seal.vault}"]
    if seal.state is SealState.SEALED:
        if seal.held is not None:
            parts.append(f"held: {seal.held or 'no reason given'}")
        elif seal.expires_at is None:
            parts.append("kept until a person says otherwise")
        else:
            parts.append(f"kept until {iso_time(seal.expires_at)}")
    else:
        ended = "" if seal.ended_at is None else f" at {iso_time(seal.ended_at)}"
        parts.append(f"{seal.state.value}{ended}{f': {seal.detail}' if seal.detail else ''}")
    if seal.filed_at is not None:
        parts.append(f"filed at {iso_time(seal.filed_at)} with {seal.authority}, reference {seal.reference}")
    if seal.restored_at is not None:
        parts.append(f"restored at {iso_time(seal.restored_at)}")
    return "; ".join(parts)
