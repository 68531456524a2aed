"""File events of a local tree: they only wake the daemon early. Reads no file; what it misses, the cycles find."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

MOST_KEYS = 64  # more at once are one ordinary cycle
_DEBOUNCE_MS = 1000
_STEP_MS = 100
_CHECK_MS = 1000
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
            except (OSError, RuntimeError) as error:  # no such directory, or no more inotify watches
                if not self._said:
                    log.warning("%s: no file events (%s); new objects are found by the cycles alone", self._root, error)
                self._said = True
                self._stopping.wait(_AGAIN_S)

    def _watch(self) -> None:
        from watchfiles import Change, watch

        identity = self._identity()
        batches = watch(
            self._root,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=self._stopping,
            rust_timeout=_CHECK_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            force_polling=False,
            ignore_permission_denied=True,
        )
        for changes in batches:
            if not self.ready.is_set():
                self.ready.set()
                self._said = False
            if self._identity() != identity:
                return
            paths = {path for change, path in changes if change is not Change.deleted}
            if paths:
                self._on_keys(self._keys(paths))

    def _keys(self, paths: set[str]) -> frozenset[str] | None:
        below = self._root.rstrip("/") + "/"
        keys = {path.removeprefix(below) for path in paths if path.startswith(below)}
        return frozenset(keys) if len(keys) == len(paths) and len(keys) <= MOST_KEYS else None

    def _identity(self) -> tuple[int, int]:
        info = Path(self._root).stat()
        return info.st_dev, info.st_ino
