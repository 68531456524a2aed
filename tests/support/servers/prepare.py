"""Makes the real servers of the tests ready: installs, downloads and builds what is missing, and says what it does.

`./dev test` calls it. The first time takes about 25 minutes on two cores (pict-rs is built from source); later it is
instant, because what is built is kept in the user's cache directory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from support.servers import debian, pictrs, s3, sshd


def main() -> None:
    """Prepare every server, one after the other."""
    steps: list[tuple[str, Callable[[], object]]] = [
        ("OpenSSH's sshd", lambda: debian.need(["sshd", "ssh-keygen"], "openssh-server")),
        ("PostgreSQL", lambda: debian.need(["initdb", "postgres"], "postgresql")),
        ("systemd-analyze", lambda: debian.need(["systemd-analyze"], "systemd")),
        (f"the S3 server versitygw {s3.VERSION} (built with Go)", s3.binary),
        (f"pict-rs {pictrs.VERSION} (built with cargo) and a Debian for its tools", pictrs.build),
        ("a clean Debian for the container's recipe", lambda: debian.root("bookworm")),
    ]
    for name, make in steps:
        started = time.monotonic()
        sys.stdout.write(f"preparing {name} ... ")
        sys.stdout.flush()
        make()
        sys.stdout.write(f"{time.monotonic() - started:.0f} s\n")
    sys.stdout.write(f"{sshd.version()}\n")


if __name__ == "__main__":
    main()
