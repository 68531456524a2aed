"""Where configuration, ledger and models lie when nobody names them: in the system's one place, else in the user's.

Every command prefers the system's place where it exists, so that the daemon's user and a person's shell have the same
configuration and the same ledger. What cannot be looked at counts as existing: whoever opens it then says why not, and
nothing is taken from a second place instead.
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fedi_safety.core.errors import ConfigError

if TYPE_CHECKING:
    from fedi_safety.config.schema import Clip, Settings

ROOT_VARIABLE = "FEDI_SAFETY_ROOT"
"""The variable for a directory below which the system's place is looked for; `/` where it is not set."""

_LEDGER = "ledger.db"
_TOLD = ("service", "host", "port", "user", "dbname")  # of a URL's parameters those that name a place


def expanded(path: str) -> Path:
    """Return a path that somebody wrote, with `~` as home. Raises `ConfigError` where nobody knows that home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        remedy = "set HOME, or write the whole path"
        raise ConfigError(path, "whose home directory that is nobody knows here", remedy) from None


def system_config() -> Path:
    """Return where the system's configuration would lie."""
    return _root() / "etc/fedi-safety/config.toml"


def system_data() -> Path:
    """Return the directory of the system's ledger and models; it may not exist."""
    return _root() / "var/lib/fedi-safety"


def user_config() -> Path:
    """Return where the user's configuration would lie."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or expanded("~/.config")) / "fedi-safety" / "config.toml"


def user_data() -> Path:
    """Return the user's data directory for this program; it may not exist."""
    return Path(os.environ.get("XDG_DATA_HOME") or expanded("~/.local/share")) / "fedi-safety"


def config_file() -> Path:
    """Return where the configuration is looked for when no file is named."""
    return system_config() if there(system_config()) else user_config()


def data_dir() -> Path:
    """Return the directory that ledger and models lie in when none is named; it may not exist yet."""
    return system_data() if there(system_data()) else user_data()


def model_dir(clip: Clip) -> Path:
    """Return the directory that models are kept in; it may not exist yet."""
    return expanded(clip.model_dir) if clip.model_dir else data_dir() / "models"


def learned_dir() -> Path:
    """Return the directory of what `concepts learn` wrote; it may not exist yet."""
    return data_dir() / "learned"


def default_vault() -> Path:
    """Return the directory of sealed copies that `init` makes where none is named."""
    return data_dir() / "vault"


def ledger_path(settings: Settings) -> str:
    """Return the ledger's path or URL."""
    return settings.ledger or str(data_dir() / _LEDGER)


def ledger_name(url_or_path: str) -> str:
    """Return a ledger's path or URL as people may see it: without a password, nor what could hold one."""
    scheme, found, rest = url_or_path.partition("://")
    if not found or scheme == "sqlite":
        return url_or_path
    before, _, query = rest.partition("?")
    login, at, place = before.rpartition("@")
    told = [each for each in query.split("&") if each.partition("=")[0] in _TOLD]
    return f"{scheme}://{login.partition(':')[0]}{at}{place}{'?' if told else ''}{'&'.join(told)}"


def known_folder(settings: Settings) -> Path:
    """Return the directory of the lists of known images; it may not exist yet."""
    if settings.known.folder:
        return expanded(settings.known.folder)
    path = ledger_path(settings).removeprefix("sqlite:///")
    return (data_dir() if "://" in path else expanded(path).parent) / "known"


def sharing_folder(settings: Settings) -> Path:
    """Return the directory of what is shared with other instances; it may not exist yet."""
    return known_folder(settings) / "shared"


def default_ledgers() -> list[Path]:
    """Return every ledger that a command without `--ledger` and `ledger` could take here, for whatever user.

    Under sudo that is also the one of the person who called it. None of them need exist.
    """
    found = [system_data() / _LEDGER, user_data() / _LEDGER]
    if caller := os.environ.get("SUDO_USER"):
        with suppress(KeyError):
            found.append(Path(pwd.getpwnam(caller).pw_dir) / ".local/share/fedi-safety" / _LEDGER)
    return found


def there(path: Path) -> bool:
    """Tell whether something has this name; what cannot be looked at, and a link that leads nowhere, count as well."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _root() -> Path:
    return Path(os.environ.get(ROOT_VARIABLE) or "/")
