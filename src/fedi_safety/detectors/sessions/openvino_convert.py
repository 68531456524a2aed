"""Turns an ONNX graph into OpenVINO's own format, whose weights are mapped instead of read. Run as a child process.

Reading an ONNX file of 1.2 GB takes 2.4 GB of memory for a moment and keeps half of it; the mapped file takes none that
the kernel could not have back. So it is converted once, in a process that then ends, and kept beside the text
embeddings. What is kept is loaded only if its SHA-256 is still the recorded one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fedi_safety
from fedi_safety.core.errors import ModelError

log = logging.getLogger(__name__)

SMALLEST = 64 << 20
"""Graphs of fewer bytes are read as they are."""

_TIMEOUT_S = 1800
_EVERY_S = 0.05
_GRAPH, _WEIGHTS, _RECORD = "graph.xml", "graph.bin", "record.json"


@dataclass(frozen=True, slots=True)
class Converted:
    """A graph in OpenVINO's format: its description, and its weights mapped from the file."""

    xml: str
    weights: mmap.mmap

    def array(self) -> Any:
        """Return the weights as bytes that a tensor can share."""
        return np.frombuffer(self.weights, np.uint8)

    def release(self) -> None:
        """Give the pages back that were read so far. They come from the file again if they are needed again."""
        if hasattr(self.weights, "madvise"):
            self.weights.madvise(mmap.MADV_DONTNEED)

    @contextmanager
    def kept_small(self) -> Iterator[None]:
        """Give pages back all the time while somebody reads through the weights."""
        done = threading.Event()

        def give_back() -> None:
            while not done.wait(_EVERY_S):
                self.release()

        thread = threading.Thread(target=give_back, name="release", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.release()


def converted(source: Path, key: str, folder: Path) -> Converted | None:
    """Return a graph in OpenVINO's format, converting it first where `folder` does not hold it yet.

    `key` names the source's content and the version of OpenVINO. None where it cannot be converted or kept: the caller
    then reads the source itself, which says what is wrong with it, if anything is.
    """
    place = folder / hashlib.sha256(key.encode()).hexdigest()[:32]
    found = _open(place)
    if found is not None:
        return found
    log.info("converting %s for OpenVINO, once", source)
    command = [sys.executable, "-P", "-m", "fedi_safety.detectors.sessions.openvino_convert", str(source), str(place)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("%s: could not be converted for OpenVINO (%s); it takes more memory so", source, error)
        return None
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        log.warning("%s: could not be converted for OpenVINO (%s); it takes more memory so", source, why)
        return None
    for other in folder.iterdir():
        if other != place:
            shutil.rmtree(other, ignore_errors=True)
    return _open(place)


def _environment() -> dict[str, str]:
    """Let the child find this package where this process has it from."""
    here = str(Path(fedi_safety.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", ""))))}


def _open(place: Path) -> Converted | None:
    """Map what lies there if it is whole and what was recorded; otherwise remove it."""
    try:
        recorded = json.loads((place / _RECORD).read_text())
        xml = (place / _GRAPH).read_text()
        with (place / _WEIGHTS).open("rb") as file:
            # Private and writable, because a tensor can only share what it could write. Nothing writes to it.
            weights = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s: cannot be used (%s)", place, error)
        return None
    found = Converted(xml, weights)
    if recorded != {"xml": hashlib.sha256(xml.encode()).hexdigest(), "weights": hashlib.sha256(weights).hexdigest()}:
        log.warning("%s: altered; made anew", place)
        shutil.rmtree(place, ignore_errors=True)
        return None
    found.release()
    return found


def _convert(source: Path, place: Path) -> None:
    from fedi_safety.detectors.sessions.openvino_library import load_openvino

    openvino = load_openvino()
    part = Path(tempfile.mkdtemp(prefix="part-", dir=place.parent))
    try:
        openvino.save_model(openvino.Core().read_model(source), part / _GRAPH, compress_to_fp16=False)
        record = {}
        for name, file in (("xml", _GRAPH), ("weights", _WEIGHTS)):
            with (part / file).open("rb") as stream:
                record[name] = hashlib.file_digest(stream, "sha256").hexdigest()
        (part / _RECORD).write_text(json.dumps(record))
        shutil.rmtree(place, ignore_errors=True)
        part.replace(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


if __name__ == "__main__":
    try:
        _convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except (OSError, RuntimeError, MemoryError, ModelError) as error:
        sys.exit(str(error).strip() or type(error).__name__)
