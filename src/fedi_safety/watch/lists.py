"""Sources of lists, each fetched as often as it says, in one thread beside the stores'; and the index kept quick.

The own list of removals, where copies of these are looked for, is kept up here as well.
Publishers that are subscribed to are read on every hour. A source that fails is asked again later and later, at the
latest after its own time; no store waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fedi_safety.app.known.lists import apply_ended, check_there, keep_removals, open_catalog
from fedi_safety.app.known.sources import bring, sources_of
from fedi_safety.app.notices.conditions import say_heard
from fedi_safety.app.sharing.subscribing import fetch as read_on
from fedi_safety.app.sharing.subscribing import open_publishers
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ports import Clock
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.app.known.backwards import Applied
    from fedi_safety.core.ledger.ports import WholeLedger
    from fedi_safety.known.catalog import Catalog
    from fedi_safety.known.progress import SourceState
    from fedi_safety.known.sources import ListSource

log = logging.getLogger(__name__)

_PUBLISHERS_S = 3600.0
_SOON_S = 60.0  # after a first failure; doubled with each
_LOOK_S = 600.0  # so often it is looked whether somebody else fetched, and whether the index wants merging
_BACK_S = 1.0  # a time further ahead than this means that the clock was set back


class ListWatch:
    """Fetches the configured sources when they are due. Used by one thread."""

    def __init__(
        self,
        settings: Settings,
        ledger: WholeLedger,
        clock: Clock,
        *,
        keep_going: Callable[[], bool] = lambda: True,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the configuration; nothing is asked yet. Raises `ConfigError` for a source that cannot be one."""
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._keep_going = keep_going
        self._changed = changed
        self._later: dict[str, float] = {}  # by source, until when it asked not to be asked
        self.sources: Sequence[ListSource] = sources_of(settings)
        self.states: tuple[SourceState, ...] = ()

    def step(self) -> float:
        """Fetch what is due, and return the seconds to rest. No error gets out: it is logged, and kept in `states`."""
        try:
            with open_catalog(self._settings) as catalog:
                check_there(self._settings, self._ledger, catalog)
                self._end()
                for source in self.sources:
                    if self._keep_going() and self._due(catalog, source) <= 0:
                        self._fetch(catalog, source)
                self._read_on(catalog)
                keep_removals(self._settings, self._ledger)
                if self._keep_going() and catalog.lists():
                    catalog.merge()
                self.states = catalog.sources()
                ends_s = catalog.next_end()
                rests = [] if ends_s is None else [ends_s - time.time()]
                return max(1.0, min([_LOOK_S, *rests, *(self._due(catalog, source) for source in self.sources)]))
        except FediSafetyError as error:
            log.warning("lists of known images: %s", error.line())
        except Exception as error:  # a bug in one fetch must not end the watch: it is said
            log.debug("internal error", exc_info=error)
            log.warning("lists of known images: internal error: %s: %s", type(error).__name__, error)
        finally:
            say_heard(self._ledger)
            self._changed()
        return _LOOK_S

    def _fetch(self, catalog: Catalog, source: ListSource) -> None:
        self._later.pop(source.name, None)
        try:
            brought = bring(
                self._settings, self._ledger, catalog, source, keep_going=self._keep_going, now=self._clock.now
            )
        except FediSafetyError as error:
            log.warning("%s", error.line())
            # Not all of what may be wrong is kept beside the lists.
            self._later[source.name] = self._clock.now() + max(_SOON_S, getattr(error, "retry_s", 0.0))
            return
        done = brought.fetched.imported
        if brought.fetched.changed:
            numbers = (source.name, done.added, done.replaced, done.removed)
            log.info("list %s: %d new, %d replaced, %d removed", *numbers)
        _tell_planned(source.name, brought.applied)

    def _end(self) -> None:
        """Decide anew what rests on lists and entries whose time is over."""
        applied = apply_ended(self._settings, self._ledger)
        if applied is not None:
            log.info("entries ended; contents decided anew for it: %d", applied.changed)
            _tell_planned("of what ended", applied)

    def _read_on(self, catalog: Catalog) -> None:
        """Read on in the logs of publishers whose time has come. Each keeps itself why it could not be read."""
        for publisher in open_publishers(self._settings, self._clock.now).all():
            now = self._clock.now()
            tried = publisher.tried_s
            if not self._keep_going() or (tried is not None and now - _PUBLISHERS_S < tried <= now + _BACK_S):
                continue
            try:
                brought = read_on(self._settings, self._ledger, catalog, publisher.name, now=self._clock.now)
            except FediSafetyError as error:
                log.warning("%s", error.line())
                continue
            read = brought.read
            if read.added or read.renewed or read.retracted:
                numbers = (publisher.name, read.added, read.renewed, read.retracted, brought.in_force, brought.waits)
                log.info("publisher %s: %d new, %d renewed, %d retracted; %d in force, of which %d wait", *numbers)
            if brought.held:
                why, _ = Counter(each.why for each in brought.held).most_common(1)[0]
                shown = hint("hashes publishers {}", publisher.name)
                log.warning("publisher %s: held: %d (%s); see %s", publisher.name, len(brought.held), why, shown)
            _tell_planned(publisher.name, brought.applied)

    def _due(self, catalog: Catalog, source: ListSource) -> float:
        """Return in how many seconds a source is to be fetched; nothing or less: now."""
        state = next(iter(catalog.sources(source.name)), None)
        now = self._clock.now()
        later = self._later.get(source.name, 0.0) - now
        if state is None or state.tried_s is None or state.tried_s > now + _BACK_S:
            return later
        rest = source.every_s
        if state.failures:
            rest = min(rest, _SOON_S * 2.0 ** min(state.failures - 1, 20))
        elif state.place != source.place or state.terms != source.terms:
            rest = 0.0
        return max(later, state.tried_s + rest - now)


def _tell_planned(name: str, applied: Applied | None) -> None:
    if applied is not None and applied.planned:
        log.warning("list %s: planned for %d objects", name, applied.planned)


class ListWatcher(threading.Thread):
    """The thread of the sources."""

    def __init__(self, lists: ListWatch, stop: threading.Event) -> None:
        """Prepare the thread."""
        super().__init__(name="watch-lists", daemon=True)
        self._lists = lists
        self._stop_event = stop

    def run(self) -> None:
        """Fetch what is due until the daemon stops."""
        while not self._stop_event.is_set():
            self._stop_event.wait(self._lists.step())
