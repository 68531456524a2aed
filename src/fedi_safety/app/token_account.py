"""The token by which a server is asked and acted upon, tried: whose it is, and what rights it lacks."""

from __future__ import annotations

from dataclasses import dataclass

from fedi_safety.actions import kind_of, server_name
from fedi_safety.config.schema import Trace
from fedi_safety.core.errors import ApiError, TraceUsageError
from fedi_safety.tracing.addresses import read_address

_REFUSED = 401


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """What a server says of a token. `ok` is None where it says nothing of what is needed."""

    ok: bool | None
    detail: str


def check_token(access: Trace) -> TokenCheck | None:
    """Ask the configured server whose the token is; None where no token is set, or there is nothing that takes one.

    Raises `TraceUsageError` for a token that is refused, `ApiError` where the server cannot be asked.
    """
    kind, address = kind_of(access.server), read_address(access.url)
    if access.token is None or kind is None or address is None:
        return None
    try:
        found = kind.account(address.root, access.token.get_secret_value(), access.actions, access.limit_s)
    except ApiError as error:
        if error.status == _REFUSED:
            remedy = f"make a new one for an account that may moderate {address.host}, and set it"
            raise TraceUsageError("trace.token", f"{kind.name} at {address.host} does not accept it", remedy) from None
        raise
    server = server_name(access, address.host)
    whose = f"{server} takes it as {found.name}'s" if found.name else f"{server} takes it, and does not say whose it is"
    need = f"`trace.actions` ({', '.join(access.actions)})" if access.actions else "tracing by its API"
    if found.lacks:
        remedy = "give the account that role, or make a token that has it, by an account that may moderate"
        return TokenCheck(False, f"{whose}; for {need} it lacks {', '.join(found.lacks)}: {remedy}")
    if found.untold:
        return TokenCheck(True if found.name else None, f"{whose}; whether it has {', '.join(found.untold)}, which "
                          f"{need} needs, the server does not tell")  # fmt: skip
    return TokenCheck(True, f"{whose}, which has what {need} needs")
