"""Says by its exit code whether `watch` or the gate is well, for container health checks; needs nothing but Python.

Usage: healthy.py FILE MAX_AGE_S: the health file of `watch` is fresh and does not say `failing`.
       healthy.py URL: the gate answers there.
"""

import json
import sys
import time
import urllib.request
from pathlib import Path


def main(where: str, max_age_s: str = "0") -> str | None:
    """Return what is wrong, or None."""
    return answers(where) if where.startswith("http://") else fresh(where, float(max_age_s))


def answers(url: str) -> str | None:
    """Return what is wrong with the gate."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return None if response.status == 200 else f"{url}: {response.status}"
    except OSError as error:
        return f"{url}: {error}"


def fresh(file: str, max_age_s: float) -> str | None:
    """Return what is wrong with the daemon's health file."""
    path = Path(file)
    try:
        age_s = time.time() - path.stat().st_mtime
        state = json.loads(path.read_text("utf-8")).get("state")
    except (OSError, ValueError) as error:
        return f"{file}: {error}"
    if age_s > max_age_s:
        return f"{file}: {age_s:.0f} s old"
    return f"{file}: {state}" if state == "failing" else None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
