"""The daemon: a thread for each store, woken by time and by file events; signals, watchdog and health file.

What a cycle does is in watching/cycles.py. It judges and removes nothing itself.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.policy import Policy
from fedi_safety.service.systemd import Notifier
from fedi_safety.watch import health
from fedi_safety.watch.cycles import Shared, StoreWatch
from fedi_safety.watch.file_events import MOST_KEYS, TreeEvents
from fedi_safety.watch.lists import ListWatch, ListWatcher

log = logging.getLogger(__name__)

_HEARTBEAT_S = 10.0
_SETTLE_S = 1.0  # rest between two cycles that file events ask for


class Watcher(threading.Thread):
    """The thread of one store. Cycles never overlap: a long one delays the next."""

    def __init__(self, watch: StoreWatch, shared: Shared) -> None:
        """Prepare the thread."""
        super().__init__(name=f"watch-{watch.target.name}", daemon=True)
        self.watch = watch
        self._shared = shared
        self._wake = threading.Condition()
        self._touched: set[str] = set()
        self._soon = False

    def touch(self, keys: frozenset[str] | None) -> None:
        """Ask for a cycle over these keys, or with None for an ordinary one, as soon as may be."""
        prefixes = self._shared.wanted.prefixes
        with self._wake:
            wanted = [key for key in keys or () if not prefixes or key.startswith(prefixes)]
            self._touched.update(wanted)
            if keys is None or len(self._touched) > MOST_KEYS:
                self._touched.clear()
                self._soon = True
            self._wake.notify()

    def wake(self) -> None:
        """Look whether there is something to do, such as stopping."""
        with self._wake:
            self._wake.notify()

    def run(self) -> None:
        """Make cycles until the daemon stops."""
        now = self._shared.clock.monotonic
        due = quiet = now()
        while not self._shared.stop.is_set():
            with self._wake:
                asked = (self._soon or bool(self._touched)) and not self.watch.failing
                if now() < due and not (asked and now() >= quiet):
                    self._wake.wait(max(0.0, (min(due, quiet) if asked else due) - now()))
                    continue
                ordinary = self._soon or now() >= due
                touched = [] if ordinary else sorted(self._touched)
                self._touched.clear()  # an ordinary cycle finds them as well
                self._soon = False
            began = now()
            rest = self.watch.step(touched)
            took = now() - began
            quiet = now() + max(_SETTLE_S, min(self._shared.rhythm.every_s, 3 * took))
            if ordinary or self.watch.failing:
                due = now() + rest


class Daemon:
    """Runs the watchers until a signal comes."""

    def __init__(
        self,
        watches: Sequence[StoreWatch],
        shared: Shared,
        *,
        reload: Callable[[], Policy],
        health_file: Path | None = None,
        notifier: Notifier | None = None,
        lists: ListWatch | None = None,
    ) -> None:
        """Prepare; `reload` reads the policy again and raises `FediSafetyError` if it is not valid.

        `lists` are the sources that are fetched meanwhile.
        """
        self._watches = watches
        self._shared = shared
        self._reload = reload
        self._health_file = health_file
        self._notifier = notifier or Notifier()
        self._watchers = [Watcher(watch, shared) for watch in watches]
        self._lists = lists
        self._lister = None if lists is None else ListWatcher(lists, shared.stop)
        self._event = threading.Event()
        self._hung_up = False
        self._error: str | None = None
        shared.changed = self._event.set

    def run(self) -> bool:
        """Watch until SIGTERM or SIGINT; return whether a cycle was cut short. A second signal does not wait."""
        with self._signals():
            for watcher in self._watchers:
                watcher.start()
            if self._lister is not None:
                self._lister.start()
            self._listen()
            self._notifier.send("READY=1", f"STATUS={self._status()}")
            while not self._shared.stop.is_set():
                self._tick()
                if not self._shared.stop.is_set():  # the tick may have cleared the signal's event
                    self._event.wait(min(_HEARTBEAT_S, (self._notifier.watchdog_s or 60.0) / 3))
            self._notifier.send("STOPPING=1", "STATUS=finishing the objects in hand")
            self._write_health()
            while any(watcher.is_alive() for watcher in self._watchers):
                for watcher in self._watchers:
                    watcher.wake()
                    watcher.watch.halt()
                    watcher.join(0.5)
                self._notifier.send("WATCHDOG=1")
            while self._lister is not None and self._lister.is_alive():
                self._lister.join(0.5)
                self._notifier.send("WATCHDOG=1")
        for watch in self._watches:
            watch.close()
        self._write_health()
        return any(watch.cut_short for watch in self._watches)

    def stop(self) -> None:
        """Stop in order. A second call raises `KeyboardInterrupt`."""
        if self._shared.stop.is_set():
            raise KeyboardInterrupt
        self._shared.stop.set()
        self._event.set()
        for watch in self._watches:
            watch.halt()

    def hang_up(self) -> None:
        """Have the policy read again."""
        self._hung_up = True
        self._event.set()

    def _tick(self) -> None:
        self._event.clear()
        if self._hung_up:
            self._hung_up = False
            self._take_policy()
        if all(watcher.is_alive() for watcher in self._watchers):
            self._notifier.send("WATCHDOG=1", f"STATUS={self._status()}")
        self._write_health()

    def _take_policy(self) -> None:
        try:
            policy = self._reload()
        except FediSafetyError as error:
            self._error = error.line()
            log.error("the policy stays as it was: %s", self._error)
            return
        self._error = None
        log.warning("policy reloaded: %s", policy.id)
        if policy.id != self._shared.policy.id:
            self._shared.policy = policy
            for watcher in self._watchers:
                watcher.touch(None)

    def _listen(self) -> None:
        """Have file events wake the watchers of local trees."""
        for watcher in self._watchers:
            root = watcher.watch.target.local_root
            if root is not None:
                TreeEvents(str(root), watcher.touch, self._shared.stop).start()

    def _status(self) -> str:
        return "; ".join(f"{w.target.name}: {w.health.error or w.health.state}" for w in self._watches)

    def _write_health(self) -> None:
        if self._health_file is None:
            return
        states = () if self._lists is None else self._lists.states
        said = health.snapshot(self._watches, self._shared.clock.now(), self._shared.policy.id, self._error, states)
        try:
            health.write(self._health_file, said)
        except OSError as error:
            log.warning("%s: cannot be written: %s", self._health_file, error.strerror or error)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        def hang_up(_number: int, _frame: FrameType | None) -> None:
            self.hang_up()

        handlers = {signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGHUP: hang_up}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)
