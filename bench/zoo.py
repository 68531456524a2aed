"""In how many files of each format the stand-in subject is found: the corpus's zoo through the sandbox."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fedi_safety.media import Caps, SandboxDecoder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.corpus.zoo.recall import measure, zoo


def main() -> int:
    """Print the table; 1 if something was missed that must not be."""
    start = time.monotonic()
    with SandboxDecoder(Caps(), jobs=1) as decoder:
        recall = measure(decoder, zoo())
    print(recall.text())
    print(f"\n{time.monotonic() - start:.0f} s")
    for line in recall.wrong:
        print("WRONG:", line)
    return 1 if recall.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
