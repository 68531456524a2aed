"""The keys in `~/.aws/credentials`, by profile, as Amazon's own tools keep them. Plain keys only: it asks no service.

A profile that leads to keys by a role, a sign-on or a program is refused, not followed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fedi_safety.config.locations import expanded
from fedi_safety.core.errors import StoreUsageError

USUAL_FILE = "~/.aws/credentials"
USUAL_PROFILE = "default"


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key, its secret, and what else a profile says of how they are used."""

    id: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    region: str | None = None


def keys_of(profile: str | None, file: str | None) -> Keys | None:
    """Return a profile's keys; None where neither profile nor file was named, and there are none.

    Raises `StoreUsageError` where what was named is not there, or the file cannot be read.
    """
    from botocore.configloader import raw_config_parse  # type: ignore[import-untyped]
    from botocore.exceptions import ConfigNotFound, ConfigParseError  # type: ignore[import-untyped]

    place = expanded(file or USUAL_FILE)
    name = profile or USUAL_PROFILE
    asked = bool(profile or file)
    try:
        found = raw_config_parse(str(place)).get(name)
    except ConfigNotFound:
        if not asked and not place.exists():
            return None
        why = "cannot be read" if place.exists() else "is not there"
        raise StoreUsageError(str(place), f"the file of keys {why}", "check its name and rights") from None
    except (ConfigParseError, OSError):
        raise StoreUsageError(str(place), "the file of keys cannot be read", "check its lines and rights") from None
    if found is None and not asked:
        return None
    said = {str(key): str(value).strip() for key, value in (found or {}).items()}
    if not said.get("aws_access_key_id") or not said.get("aws_secret_access_key"):
        cause = f"there is no profile {name!r}" if found is None else f"the profile {name!r} has no pair of plain keys"
        raise StoreUsageError(str(place), cause, "write aws_access_key_id and aws_secret_access_key below its name")
    token, region = said.get("aws_session_token") or None, said.get("region") or None
    return Keys(said["aws_access_key_id"], said["aws_secret_access_key"], token, region)
