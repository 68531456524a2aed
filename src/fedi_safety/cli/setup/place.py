"""Where `init` writes: a file that is not there yet, in the system's place for root, else in the user's; whole or not.

It overwrites nothing, and leaves nothing half-written, whatever fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fedi_safety.cli.output_file import put
from fedi_safety.config.locations import system_config, there, user_config
from fedi_safety.core.errors import UsageError
from fedi_safety.core.wording.hints import hint

_SECRET_MODE, _OPEN_MODE = 0o600, 0o644


def new_place(named: str | None) -> Path:
    """Return where the configuration goes. Raises `UsageError` where one is already, or none can be written."""
    place = _chosen(named)
    if _taken(place):
        remedy = f"edit it, and see {hint('doctor')}; or name another file with --config"
        raise UsageError(str(place), "there is a configuration already, and it is left as it is", remedy)
    above = next(parent for parent in place.parents if there(parent))
    if not above.is_dir():
        raise UsageError(str(place), f"{above} is no directory", "name another file with --config")
    if not os.access(above, os.W_OK | os.X_OK):
        remedy = "run as root, or name a file with --config in a directory that you may write to"
        raise UsageError(str(place), f"no permission to write in {above}", remedy)
    return place


def _taken(place: Path) -> bool:
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        remedy = "run as a user who may look there, or name another file with --config"
        raise UsageError(str(place), error.strerror or "it cannot be looked at", remedy) from error
    return True


def _chosen(named: str | None) -> Path:
    if named is not None:
        return Path(os.path.abspath(named))  # noqa: PTH100 - a link stays one
    if os.geteuid() == 0:
        return system_config()
    if there(system_config()):
        remedy = "edit that as root, or name a file with --config, here and for each command"
        raise UsageError(str(system_config()), "there is a configuration for the whole machine already", remedy)
    return user_config()


def write_new(place: Path, text: str, *, secret: bool, check: Callable[[Path], None]) -> None:
    """Write the file beside its place, have it checked there, and give it its name, if nothing has that name yet.

    With a `secret` only its owner can read it. Raises `UsageError`, and what `check` raises; then nothing is left.
    """
    made = _directories(place)
    beside = place.parent / f".fedi-safety-{os.urandom(8).hex()}.toml"
    try:
        try:
            _write(beside, text, _SECRET_MODE if secret else _OPEN_MODE)
            check(beside)
            put(beside, place, replace=False)
        finally:
            with suppress(OSError):
                beside.unlink()
        made.clear()
    except FileExistsError:
        raise UsageError(str(place), "it was made meanwhile, and is left as it is", "look at it") from None
    except OSError as error:
        cause = (error.strerror or type(error).__name__).lower()
        raise UsageError(
            str(place), f"it cannot be written: {cause}", "put that right, or name another file with --config"
        ) from error
    finally:
        for directory in reversed(made):
            with suppress(OSError):
                directory.rmdir()


def _directories(place: Path) -> list[Path]:
    """Make the directories above the file; return those that were not there."""
    missing = [parent for parent in reversed(place.parents) if not there(parent)]
    made = []
    try:
        for parent in missing:
            parent.mkdir(mode=0o755)
            made.append(parent)
    except OSError as error:
        for parent in reversed(made):
            with suppress(OSError):
                parent.rmdir()
        remedy = "make the directory first, or name another file with --config"
        raise UsageError(str(place), f"{error.filename}: {error.strerror}", remedy) from error
    return made


def _write(path: Path, text: str, mode: int) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _SECRET_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
