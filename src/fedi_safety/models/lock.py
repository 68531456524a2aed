"""`models.lock`: what every file of a model hashed to when the operator took it in. A changed file is refused.

It lies beside the models' folders. It says nothing about whether a model is any good.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from fedi_safety.core.errors import ModelError
from fedi_safety.core.wording.hints import hint
from fedi_safety.models.folder import FULL, ModelFolder, file_sha256, graph_files, read_json

LOCK = "models.lock"
_BUSY = ".models.busy"


@dataclass(frozen=True, slots=True)
class Locked:
    """Where a model came from and the SHA-256 of each of its files, by their names in its folder."""

    source: str
    revision: str
    files: Mapping[str, str]


def read_lock(models: Path) -> dict[str, Locked]:
    """Return the entries by the models' names; none where there is no lock. Raises `ModelError`."""
    path = models / LOCK
    if not path.exists():
        return {}
    try:
        return {
            name: Locked(
                str(entry["source"]), str(entry["revision"]), {str(k): str(v) for k, v in entry["files"].items()}
            )
            for name, entry in read_json(path)["models"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        remedy = "put it back from a backup, or delete it and fetch the models anew"
        raise ModelError(str(path), "not a lock of models", remedy) from error


def write_entry(models: Path, name: str, entry: Locked | None) -> None:
    """Set or, with None, remove a model's entry. The caller is the only one who writes: see `only_writer`."""
    entries = read_lock(models)
    entries.pop(name, None)
    if entry is not None:
        entries[name] = entry
    document = {
        "models": {n: {**asdict(e), "files": dict(sorted(e.files.items()))} for n, e in sorted(entries.items())}
    }
    part = models / f"{LOCK}.tmp"
    with part.open("w") as file:
        file.write(json.dumps(document, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(models / LOCK)


@contextmanager
def only_writer(models: Path) -> Iterator[None]:
    """Be the only process that changes models in this directory. Raises `ModelError` if another one does."""
    models.mkdir(parents=True, exist_ok=True)
    with (models / _BUSY).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelError(str(models), "another command changes models here", "wait until it is done") from None
        yield


def altered(folder: Path, entry: Locked) -> list[str]:
    """Return the recorded files that are missing or hash to something else."""
    return [name for name, sha256 in entry.files.items() if not _is(folder / name, sha256)]


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def refuse_altered(folder: ModelFolder, precision: str = FULL) -> None:
    """Raise `ModelError` if a file that a precision needs is not what was recorded; a model without a record passes."""
    again = f"fetch or import it again: {hint('models fetch {}', folder.name)}"
    entry = read_lock(folder.path.parent).get(folder.name)
    needless = graph_files(folder.visual) if folder.visual_file(precision) != folder.visual else []
    for name, recorded in ({} if entry is None else entry.files).items():
        path = folder.path / name
        if path not in needless and (found := file_sha256(path)) != recorded:
            raise ModelError(str(path), f"altered: SHA-256 {found}, not {recorded} as recorded", again)
    variant = folder.variants.get(precision, {})
    if "file" in variant and file_sha256(folder.path / variant["file"]) != variant.get("sha256"):
        remedy = f"run {hint('models optimize {}', folder.name)} again"
        raise ModelError(str(folder.path / variant["file"]), "altered since it was made", remedy)
