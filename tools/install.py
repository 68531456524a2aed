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
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

EVERY_S = 10.0
"""How often a line is written where no terminal is."""
_DRAWN_S = 0.25
_MOST_AT_ONCE = 4
_LEAST_EACH = 20  # packages, for which one more start of pip is worth it
_PINNED = re.compile(r"^[A-Za-z0-9][\w.-]*(\[.*\])?==", re.MULTILINE)
_COLLECTING = re.compile(r"Collecting ([A-Za-z0-9][\w.-]*)==")
_HAD = "Requirement already satisfied: "
_SIZE = re.compile(r"\s+Downloading \S+ \((.+)\)")


class Progress:
    """What pip has done so far, or several together, read off what they print and of what lies in the environment."""

    def __init__(self, pinned: int, pips: int = 1) -> None:
        """Begin with nothing done of so many, by so many pips."""
        self._lock = threading.Lock()
        self._total = pinned
        self._fetched = 0
        self._had = 0
        self._name = ""
        self._size = ""
        self._began = time.time()
        self._fetching = pips

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
                self._fetching -= 1

    def follow(self, lines: Iterable[str]) -> None:
        """Take all that a pip says."""
        for line in lines:
            self.read(line.rstrip("\n"))

    def text(self) -> str:
        """Return how far it is, in a few words."""
        with self._lock:
            total = self._total - self._had
            if self._fetching <= 0:
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
    """Run pip with `command` and say how far it is; return what it ended with.

    Of a long lock several pips install a share each: most of their time is a processor's, and each takes one.
    """
    text = lock.read_text("utf-8")
    pinned = len(_PINNED.findall(text))
    shares = split(text, max(1, min(_MOST_AT_ONCE, len(os.sched_getaffinity(0)), pinned // _LEAST_EACH)))
    progress, line, over = Progress(pinned, len(shares)), Line(), threading.Event()

    def draw() -> None:
        while not over.wait(line.every_s):
            line.show(progress.text())

    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        pips = []
        for number, share in enumerate(shares):
            (place := Path(folder) / str(number) / lock.name).parent.mkdir()
            place.write_text(share, "utf-8")
            mine = [str(place) if word == str(lock) else word for word in command]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            begun = subprocess.Popen([*mine, "--progress-bar", "off"], text=True, errors="replace", **pipes)
            pips.append(running.enter_context(begun))
        reading = [threading.Thread(target=progress.follow, args=(pip.stdout,), daemon=True) for pip in pips]
        reading += [threading.Thread(target=_pass_on, args=(pip.stderr, line, over), daemon=True) for pip in pips]
        drawing = threading.Thread(target=draw, daemon=True)
        for thread in (*reading, drawing):
            thread.start()
        try:
            for thread in reading:
                thread.join()
            code = next(filter(None, [pip.wait() for pip in pips]), 0)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            over.set()
            for pip in pips:
                pip.terminate()
            code = 130
        over.set()
        for thread in (*reading, drawing):
            thread.join()
    line.say()
    return code


def split(lock: str, count: int) -> list[str]:
    """Deal what a lock pins, each with its hashes, into so many locks; whatever is no pin is in all of them."""
    shares, pins = [""] * count, 0
    for entry in re.split(r"(?m)^(?=\S)", lock):
        if _PINNED.match(entry):
            shares[pins % count] += entry
            pins += 1
        else:
            shares = [share + entry for share in shares]
    return shares


def _pass_on(faults: Iterable[str], line: Line, over: threading.Event) -> None:
    for text in faults:
        if not over.is_set():
            line.say(text)


if __name__ == "__main__":
    sys.exit(install(Path(sys.argv[1]), sys.argv[2:]))
