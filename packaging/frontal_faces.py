"""Makes the file of dlib's finder of frontal faces that ships in the wheel: the one in the library, saved by itself.

    .venv/bin/python packaging/frontal_faces.py            # writes the file that the detector `age` loads
    .venv/bin/python packaging/frontal_faces.py --check    # ends with 1 unless that file is what this makes

The library unpacks its finder from text each time a process asks for it, which takes 0.7 s of a processor; read from
this file it takes 3 ms. It is the same finder: nothing is trained or changed. Needs the pinned dlib, and nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

import dlib

MADE = Path(__file__).resolve().parents[1] / "src/fedi_safety/detectors/embedded/frontal_faces.svm"


def made() -> bytes:
    """Return what the file should hold."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MADE.name
        dlib.get_frontal_face_detector().save(str(path))
        return path.read_bytes()


def main() -> int:
    """Write the file, or check it."""
    parser = argparse.ArgumentParser(description="dlib's finder of frontal faces as a file.")
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if the file differs")
    options = parser.parse_args()
    data = made()
    if options.check:
        return 0 if MADE.read_bytes() == data else 1
    MADE.write_bytes(data)
    sys.stdout.write(f"{MADE.name}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
