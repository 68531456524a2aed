"""Makes `src/fedi_safety/sharing/harmless.pdq` anew: the PDQ of every picture of `./dev bench benign`.

What a publisher lists and is near to one of them is held (docs/sharing.md). Drawings in SVG, and pictures with too
little to see for a hash to mean something, are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bench.benign_corpora import gather, read_manifest
from bench.corpus import default_work
from bench.measure import ROOT
from PIL import Image

from fedi_safety.core.known.effects import LEAST_QUALITY
from fedi_safety.detectors.known.pdq import upright
from fedi_safety.known.records import FEWEST_BITS

FILE = ROOT / "src/fedi_safety/sharing/harmless.pdq"
_SIDE = 768


def hash_of(path: Path) -> bytes | None:
    """Return a picture's PDQ as a scan has it, None where it shows too little."""
    with Image.open(path) as image:
        image.draft("RGB", (_SIDE, _SIDE))
        shown = image.convert("RGBA")
    white = Image.new("RGBA", shown.size, "white")
    picture = Image.alpha_composite(white, shown).convert("RGB")
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    found, quality = upright(picture.tobytes(), picture.width, picture.height)
    enough = quality >= LEAST_QUALITY and int(np.unpackbits(found).sum()) >= FEWEST_BITS
    return found.tobytes() if enough else None


def hashes() -> Iterator[bytes]:
    """Yield the hash of every picture that has one."""
    gathered = gather(read_manifest(), default_work())
    for package, why in gathered.left_out.items():
        sys.stderr.write(f"left out: {package}, {why}\n")
    for corpus, files in gathered.files.items():
        found = [each for _, path in files if path.suffix.lower() != ".svg" and (each := hash_of(path)) is not None]
        sys.stderr.write(f"{corpus}: {len(found)} of {len(files)}\n")
        yield from found


def main() -> None:
    """Write the file."""
    made = sorted(set(hashes()))
    FILE.write_bytes(b"".join(made))
    sys.stdout.write(f"{FILE.name}: {len(made)} hashes\n")


if __name__ == "__main__":
    main()
