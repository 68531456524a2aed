"""Puts a complete model folder where it belongs, in one step, and records what it hashes to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fedi_safety.models.folder import VARIANTS
from fedi_safety.models.lock import Locked, write_entry


def place(part: Path, models: Path, called: str, entry: Locked, *, keep_variants: bool = False) -> None:
    """Move `part` to `models/called` and record it. The caller holds `only_writer`.

    Whatever happens on the way, either the old folder or the new one is there, and a folder that does not match the
    lock is refused when it is used: fetching or importing again mends it.
    """
    target, old = models / called, models / f".{called}.old"
    shutil.rmtree(old, ignore_errors=True)
    if keep_variants and (target / VARIANTS).exists():
        for made in [target / VARIANTS, *target.glob("visual/model.*.onnx*")]:
            if not (part / made.relative_to(target)).exists():
                os.link(made, part / made.relative_to(target))
    _sync(part)
    if target.exists():
        target.rename(old)
    part.rename(target)
    write_entry(models, called, entry)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Have the files on the disk before the folder's new name is."""
    for path in [*(p for p in folder.rglob("*") if p.is_file()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
