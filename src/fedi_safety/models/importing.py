"""Takes a model from a folder, for machines without a network."""

from __future__ import annotations

import shutil
from pathlib import Path

from fedi_safety.core.errors import ModelError
from fedi_safety.models.descriptor import is_descriptor, open_descriptor_folder
from fedi_safety.models.folder import file_sha256, model_files, open_model_folder
from fedi_safety.models.lock import Locked, only_writer, read_lock, write_entry
from fedi_safety.models.names import folder_name
from fedi_safety.models.placing import place
from fedi_safety.models.variants import forget


def import_folder(source: Path, models: Path, name: str | None = None, *, replace: bool = False) -> Path:
    """Copy a model folder into the models directory, record its files' digests, and return where it is.

    Raises `ModelError`, also where another model of that name is there and `replace` is not given.
    """
    source = source.absolute()
    called = folder_name(name or source.name)
    _check(source)
    if source.parent == models.absolute():
        return _record(source, models, called, replace)
    with only_writer(models):
        _refuse_another(models, called, source, replace)
        part = models / f".{called}.import.part"
        shutil.rmtree(part, ignore_errors=True)
        digests: dict[str, str] = {}
        try:
            for file in model_files(source):
                (part / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / file, part / file)
                digests[file] = file_sha256(part / file)
                if digests[file] != file_sha256(source / file):
                    raise ModelError(str(source / file), "it was not copied as it is", "check the disks")
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        place(part, models, called, Locked(f"import {source}", "", digests))
    return models / called


def _record(folder: Path, models: Path, called: str, replace: bool) -> Path:
    """Record a folder that was put into the models directory by hand."""
    if called != folder.name:
        raise ModelError(f"model {called!r}", f"the folder is called {folder.name}", "rename it, or leave --name out")
    with only_writer(models):
        _refuse_another(models, called, folder, replace)
        digests = digests_of(folder)
        known = read_lock(models).get(called)
        if known is not None and dict(known.files) != digests and not is_descriptor(folder):
            for variant in open_model_folder(folder).variants:  # they were made of what is no more
                forget(folder, variant)
        write_entry(models, called, Locked(f"import {folder}", "", digests))
    return folder


def _check(folder: Path) -> None:
    if is_descriptor(folder):
        open_descriptor_folder(folder)
    else:
        open_model_folder(folder)


def digests_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a model that lies in a folder."""
    return {file: file_sha256(folder / file) for file in model_files(folder)}


def _refuse_another(models: Path, called: str, source: Path, replace: bool) -> None:
    known = read_lock(models).get(called)
    if known is not None and not replace and dict(known.files) != digests_of(source):
        raise ModelError(f"model {called!r}", "another one of that name is on record", "give --replace, or --name NAME")
