"""Lists of known images, part by part: `./dev bench known PART [options]`; `PART --help` has its options.

near   copy descriptors: a look-up among removals, new removals against all that is stored
index  the catalog and the index alone: recall, size, look-ups, changes, a list against all that is stored
scan   what hashing and comparing adds to a picture, with an empty list and with long ones
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import known_index, known_near, known_scan

PARTS: dict[str, Callable[[Sequence[str]], None]] = {
    "index": known_index.main,
    "near": known_near.main,
    "scan": known_scan.main,
}


def main() -> None:
    """Run the part that is named."""
    part, *arguments = sys.argv[1:] or ["--help"]
    if part not in PARTS:
        print(__doc__)
        raise SystemExit(0 if part in ("-h", "--help") else 2)
    PARTS[part](arguments)


if __name__ == "__main__":
    main()
