"""Installs what a lock file pins, by pip, and says how far it is. Started by tools/venv.sh in the new environment.

`python install.py LOCK PIP-COMMAND...`: on a terminal one line that changes, elsewhere a line every ten seconds. What
pip says of faults goes through. Ends as pip does, and with 130 where somebody interrupts it. No package is needed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable
from pathlib import Path

EVERY_S = 10.0
"""How often a line is written where no terminal is."""
_DRAWN_S = 0.25
_PINNED = re.compile(r"^[A-Za-z0-9][\w.-]*==", re.MULTILINE)
_COLLECTING = re.compile(r"Collecting ([A-Za-z0-9][\w.-]*)==")
_HAD = "Requirement already satisfied: "
_SIZE = re.compile(r"\s+Downloading \S+ \((.+)\)")


class Progress:
    """What pip has done so far, read off what it prints and of what lies in the environment."""

    def __init__(self, pinned: int) -> None:
        """Begin with nothing done of so many."""
        self._lock = threading.Lock()
        self._total = pinned
        self._fetched = 0
        self._had = 0
        self._name = ""
        self._size = ""
        self._began = time.time()
        self._installing = False

    def read(self, line: str) -> None:
        """Take a line of pip's."""
        with self._lock:
            if line.startswith("Ignoring "):
                self._total -= 1
            elif found := _COLLECTING.match(line):
                self._fetched += 1
                self._name, self._size = found[1], ""
            elif line.startswith(_HAD):
                self._had += 1
            elif found := _SIZE.match(line):
                self._size = f", {found[1]}"
            elif line.startswith("Installing collected packages"):
                self._installing = True

    def text(self) -> str:
        """Return how far it is, in a few words."""
        with self._lock:
            total = self._total - self._had
            if self._installing:
                return f"installing: {min(self._installed(), total)} of {total} packages"
            now = f" ({self._name}{self._size})" if self._name else ""
            return f"fetching: {self._fetched} of {total} packages{now}"

    def _installed(self) -> int:
        """Count the packages whose last file was written since this began."""
        places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
        records = (record for place in places for record in Path(place).glob("*.dist-info/RECORD"))
        return sum(1 for record in records if record.stat().st_mtime >= self._began)


class Line:
    """Where it is said: one line of a terminal that changes, or lines from time to time."""

    def __init__(self) -> None:
        """Find out what standard error is."""
        self._lock = threading.Lock()
        self._changes = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._there = ""
        self.every_s = _DRAWN_S if self._changes else EVERY_S

    def show(self, text: str) -> None:
        """Show how far it is."""
        with self._lock:
            said = f"fedi-safety: {text}"
            if self._changes and said != self._there:
                width = shutil.get_terminal_size().columns - 1
                sys.stderr.write(f"\r{said[:width]}\x1b[K")
                self._there = said
            elif not self._changes:
                sys.stderr.write(f"{said}\n")
            sys.stderr.flush()

    def say(self, text: str = "") -> None:
        """Say something that stays, and leave the next line to whoever comes."""
        with self._lock:
            sys.stderr.write(("\r\x1b[K" if self._changes else "") + text)
            sys.stderr.flush()
            self._there = ""


def install(lock: Path, command: list[str]) -> int:
    """Run pip with `command` and say how far it is; return what it ended with."""
    progress, line, over = Progress(len(_PINNED.findall(lock.read_text("utf-8")))), Line(), threading.Event()

    def draw() -> None:
        while not over.wait(line.every_s):
            line.show(progress.text())

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--progress-bar", "off"], text=True, errors="replace", **pipes) as pip:
        faults = threading.Thread(target=_pass_on, args=(pip.stderr, line, over), daemon=True)
        drawing = threading.Thread(target=draw, daemon=True)
        faults.start()
        drawing.start()
        try:
            for text in pip.stdout or ():
                progress.read(text.rstrip("\n"))
            faults.join()
            code = pip.wait()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            over.set()
            pip.terminate()
            code = 130
        over.set()
        for thread in (faults, drawing):
            thread.join()
    line.say()
    return code


def _pass_on(faults: Iterable[str], line: Line, over: threading.Event) -> None:
    for text in faults:
        if not over.is_set():
            line.say(text)


if __name__ == "__main__":
    sys.exit(install(Path(sys.argv[1]), sys.argv[2:]))
