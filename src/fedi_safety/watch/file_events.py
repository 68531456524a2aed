"""File events of a local tree: they only wake the daemon early. Reads no file; what it misses, the cycles find."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from fedi_safety.watch.inotify import Tree

log = logging.getLogger(__name__)

MOST_KEYS = 64  # more at once are one ordinary cycle
_GATHER_S = 1.0  # events that follow each other are told together, but no later than this
_QUIET_S = 0.1
_CHECK_S = 1.0
_AGAIN_S = 60.0


class TreeEvents(threading.Thread):
    """Tells which keys below a directory were made, changed or moved in, at most about once a second."""

    def __init__(self, root: str, on_keys: Callable[[frozenset[str] | None], None], stop: threading.Event) -> None:
        """Watch `root` until `stop`. `on_keys` gets the keys, or None where there were too many to name."""
        super().__init__(name="tree-events", daemon=True)
        self._root = os.path.realpath(root)
        self._on_keys = on_keys
        self._stopping = stop
        self._said = False
        self.ready = threading.Event()  # events are seen from now on

    def run(self) -> None:
        """Watch, and begin anew when another directory has taken the root's place."""
        while not self._stopping.is_set():
            try:
                self._watch()
            except OSError as error:  # no such directory, or no more inotify watches
                if not self._said:
                    why = error.strerror or error
                    log.warning("%s: no file events (%s); new objects are found by the cycles alone", self._root, why)
                self._said = True
                self._stopping.wait(_AGAIN_S)

    def _watch(self) -> None:
        identity = self._identity()
        with closing(Tree(os.fsencode(self._root), self._stopping.is_set)) as tree:
            self.ready.set()
            self._said = False
            while not self._stopping.is_set() and self._identity() == identity:
                if tree.wait(_CHECK_S):
                    self._tell(tree)

    def _tell(self, tree: Tree) -> None:
        """Tell what came, once it is quiet for a moment."""
        until = time.monotonic() + _GATHER_S
        paths: set[bytes] = set()
        lost = False
        while True:
            changes = tree.read()
            paths |= changes.paths
            lost = lost or changes.lost
            if time.monotonic() >= until or not tree.wait(_QUIET_S):
                break
        if paths or lost:
            self._on_keys(frozenset(map(os.fsdecode, paths)) if len(paths) <= MOST_KEYS and not lost else None)

    def _identity(self) -> tuple[int, int]:
        info = Path(self._root).stat()
        return info.st_dev, info.st_ino
