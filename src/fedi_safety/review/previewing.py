"""Counts what policies would change, one after another, each in a child process; and keeps what was found for a while.

Whoever asks for another one gives up what they asked for before: a slider that is pulled leaves no queue behind it.
"""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fedi_safety.config.schema import Settings
from fedi_safety.core.ports import Clock
from fedi_safety.review.preview_child import Wanted

log = logging.getLogger(__name__)

_KEPT_S = 120.0  # for how long a count stands at least, while scans go on
_SHARE = 20.0  # and for so many times as long as it took: a twentieth of the time is the most that counting takes
_MOST_KEPT, _MOST_WAITING = 16, 8
_MODULE = "fedi_safety.review.preview_child"
_GIVEN_UP = "nobody waits for this count any more"
_ENDED = "the count ended without an answer; the log says more"


@dataclass(slots=True)
class Count:
    """How a count stands: `done` of `of` contents; then what was `found`, or the `error` that kept it from that."""

    text: str
    name: str
    asked_by: set[bytes] = field(default_factory=set)
    done: int = 0
    of: int = 0
    found: dict[str, Any] | None = None
    error: str = ""
    at: float = 0.0  # when it ended, in epoch seconds
    begun: float = 0.0  # `time.monotonic()`
    ended: threading.Event = field(default_factory=threading.Event)
    until: float = 0.0

    @property
    def share(self) -> float:
        """Return how far it is, from 0 to 1."""
        return min(self.done / self.of, 1.0) if self.of else 0.0


class Previews:
    """The counts that somebody asked for. `settings` say which ledger."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Count nothing yet."""
        self._settings, self._clock = settings, clock
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, Count] = OrderedDict()
        self._waiting: OrderedDict[str, Count] = OrderedDict()
        self._running: Count | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def ask(self, who: bytes, text: str, name: str, *, wait_s: float = 0.0) -> Count:
        """Return the count for this policy's text, begun if need be; waits so long for its end."""
        with self._guard:
            found = self._of(text) or self._queued(text, name)
            if not found.ended.is_set():
                found.asked_by.add(who)
            self._give_up(who, found)
            self._begin()
        found.ended.wait(wait_s)
        return found

    def _of(self, text: str) -> Count | None:
        kept = self._kept.get(text)
        if kept is not None and time.monotonic() < kept.until:
            return kept
        if self._running is not None and self._running.text == text and self._running.asked_by:
            return self._running
        return self._waiting.get(text)

    def _queued(self, text: str, name: str) -> Count:
        found = self._waiting[text] = Count(text, name)
        while len(self._waiting) > _MOST_WAITING:
            _, dropped = self._waiting.popitem(last=False)
            _end(dropped, self._clock.now(), error="too many others were asked for")
        return found

    def _give_up(self, who: bytes, wanted: Count) -> None:
        """Let go of what this person asked for before, where nobody else waits for it."""
        for text, count in list(self._waiting.items()):
            if count is not wanted:
                count.asked_by.discard(who)
            if not count.asked_by:
                del self._waiting[text]
                _end(count, self._clock.now(), error=_GIVEN_UP)
        if self._running is not None and self._running is not wanted:
            self._running.asked_by.discard(who)
            if not self._running.asked_by and self._child is not None:
                self._child.kill()

    def _begin(self) -> None:
        if not self._closed and self._waiting and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._run, name="review-preview", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._guard:
                if self._closed or not self._waiting:
                    self._thread = None
                    return
                _, self._running = self._waiting.popitem(last=False)
                count = self._running
                count.begun = time.monotonic()
            try:
                self._one(count)
            except Exception:
                log.exception("a policy could not be previewed")
            with self._guard:
                self._running = None
                if count.found is None and not count.error:
                    count.error = _ENDED if count.asked_by else _GIVEN_UP
                _end(count, self._clock.now())
                if count.found is not None:
                    self._kept[count.text] = count
                    while len(self._kept) > _MOST_KEPT:
                        self._kept.popitem(last=False)

    def _one(self, count: Count) -> None:
        """Run a child to its end, or until it is killed."""
        with self._guard:
            if self._closed or not count.asked_by:  # given up before there was a child to end
                return
            child = self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,  # Ctrl-C is for the parent, which ends its children itself
            )
        assert child.stdin is not None and child.stdout is not None
        try:
            with suppress(BrokenPipeError):
                pickle.dump(Wanted(self._settings, count.text, count.name), child.stdin)
                child.stdin.close()
            for line in child.stdout:
                _note(count, json.loads(line))
        finally:
            with self._guard:
                self._child = None
            child.kill()
            child.wait()
            child.stdout.close()
            with suppress(BrokenPipeError):
                child.stdin.close()

    def close(self) -> None:
        """End what is being counted."""
        with self._guard:
            self._closed = True
            thread, child = self._thread, self._child
            if child is not None:
                child.kill()
        if thread is not None:
            thread.join()
        with self._guard:
            for count in self._waiting.values():
                _end(count, self._clock.now(), error=_GIVEN_UP)
            self._waiting.clear()


def _note(count: Count, said: dict[str, Any]) -> None:
    if "found" in said:
        count.found = said["found"]
    elif "error" in said:
        count.error = said["error"]
    else:
        count.done, count.of = said["done"], said["of"]


def _end(count: Count, now: float, *, error: str = "") -> None:
    count.error = count.error or error
    ended = time.monotonic()
    took = ended - count.begun if count.begun else 0.0
    count.at, count.until = now, ended + max(_KEPT_S, _SHARE * took)
    count.ended.set()
