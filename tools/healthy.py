"""Says by its exit code whether `watch` is well: its health file is fresh and does not say `failing`.

For container health checks; needs nothing but Python. Usage: healthy.py FILE MAX_AGE_S
"""

import json
import sys
import time
from pathlib import Path


def main(file: str, max_age_s: str) -> str | None:
    """Return what is wrong, or None."""
    path = Path(file)
    try:
        age_s = time.time() - path.stat().st_mtime
        state = json.loads(path.read_text("utf-8")).get("state")
    except (OSError, ValueError) as error:
        return f"{file}: {error}"
    if age_s > float(max_age_s):
        return f"{file}: {age_s:.0f} s old"
    return f"{file}: {state}" if state == "failing" else None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
