"""Text embeddings on disk, by model and text, so that the textual tower runs once for each prompt and never again.

Holds hashes of texts and numbers; no text, no pixel. A file that is damaged is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fedi_safety.detectors.sessions.network import Floats

log = logging.getLogger(__name__)

Embed = Callable[[Sequence[str]], Floats]


class TextCache:
    """The text embeddings of one model: a file of SHA-256s and float32 rows."""

    def __init__(self, folder: Path | None, digest: str, dim: int) -> None:
        """Keep them in `folder`, in a file that `digest` names; with None they are kept nowhere."""
        self._path = None if folder is None else folder / f"texts-{digest[:32]}.npz"
        self._dim = dim

    def embeddings(self, texts: Sequence[str], embed: Embed) -> Floats:
        """Return the embeddings of the texts in their order, computing with `embed` only those that are not kept."""
        known = self._read()
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
        missing = [text for text, key in zip(texts, keys, strict=True) if key not in known]
        if missing:
            fresh = dict(zip((k for k in keys if k not in known), embed(missing), strict=True))
            known = {**known, **fresh}
            self._write(known)
        return np.stack([known[key] for key in keys])

    def _read(self) -> dict[str, Floats]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            with np.load(io.BytesIO(self._path.read_bytes()), allow_pickle=False) as kept:
                keys, rows, checksum = kept["keys"], kept["rows"].astype(np.float32), str(kept["checksum"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("%s: cannot be read (%s); the texts are embedded anew", self._path, error)
            return {}
        if rows.shape != (len(keys), self._dim) or checksum != _checksum(rows) or not np.isfinite(rows).all():
            log.warning("%s: damaged; the texts are embedded anew", self._path)
            return {}
        return {str(key): row for key, row in zip(keys, rows, strict=True)}

    def _write(self, known: dict[str, Floats]) -> None:
        """Keep them all. A disk that is full or closed costs time at the next start, nothing else."""
        if self._path is None:
            return
        rows = np.stack(list(known.values()))
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.savez(file, keys=np.array(list(known)), rows=rows, checksum=np.array(_checksum(rows)))
            part.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            log.warning("%s: text embeddings cannot be kept (%s)", self._path, error.strerror)


def _checksum(rows: Floats) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows, np.float32).tobytes()).hexdigest()
