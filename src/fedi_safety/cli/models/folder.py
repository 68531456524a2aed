"""Where the commands find models, and what they say when that disk fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fedi_safety.cli.shell import Shell
from fedi_safety.core.errors import UsageError

ModelDirOption = Annotated[
    str | None,
    typer.Option("--model-dir", metavar="DIR", help="Where models are kept; left out, the configured place."),
]


def directory(sh: Shell, given: str | None) -> Path:
    """Return the models directory that was given, else the configured one; it need not exist."""
    from fedi_safety.config.locations import expanded, model_dir

    return expanded(given).absolute() if given else model_dir(sh.settings.clip).absolute()


@contextmanager
def disk_errors(models: Path) -> Iterator[None]:
    """Say in one line what a disk refuses."""
    try:
        yield
    except OSError as error:
        where = str(error.filename) if error.filename else str(models)
        raise UsageError(
            where, (error.strerror or type(error).__name__).lower(), "check its rights and room"
        ) from error
