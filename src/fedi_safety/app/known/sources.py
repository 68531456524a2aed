"""Sources of lists as they are configured, fetched, and what came applied to what was judged before."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fedi_safety.app.known.compared import Current, Halted
from fedi_safety.app.known.lists import OWN, apply, keep_dismissals, own_cause
from fedi_safety.config.locations import expanded
from fedi_safety.config.schema import KnownSource, Settings
from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import ConfigError, FediSafetyError, KnownUsageError
from fedi_safety.core.known.effects import LEAST_QUALITY
from fedi_safety.core.known.types import Effect, HashKind
from fedi_safety.core.wording.nearest import did_you_mean

if TYPE_CHECKING:
    from fedi_safety.app.known.backwards import Applied
    from fedi_safety.clients.list_server import ListServer
    from fedi_safety.core.ledger.ports import WholeLedger
    from fedi_safety.known.catalog import Catalog
    from fedi_safety.known.progress import SourceState
    from fedi_safety.known.sources import ListSource
    from fedi_safety.known.sources.fetching import Fetched

_MOST_CREDENTIALS = 1 << 16  # bytes


@dataclass(slots=True)
class Brought:
    """What a fetch came to: what was read and what it changed among stored contents, None where nothing was new."""

    fetched: Fetched
    applied: Applied | None = None


def sources_of(settings: Settings) -> list[ListSource]:
    """Return the configured sources, in their order. Raises `ConfigError` for what cannot be one."""
    from fedi_safety.known.sources import KINDS

    found: list[ListSource] = []
    for wanted in settings.known.sources:
        kind = KINDS[wanted.kind]
        thing = f"source {wanted.name}"
        if any(wanted.name == other.name for other in found):
            raise ConfigError(thing, "there are two of that name", "give each [[known.sources]] its own")
        if wanted.name in OWN:
            raise ConfigError(thing, own_cause(wanted.name), "give the source another name")
        if not (wanted.url or kind.url):
            raise ConfigError(thing, f"kind {kind.name} wants an url", "write where it is into [[known.sources]]")
        if kind.sends and not wanted.send_hashes:
            cause = f"kind {kind.name} tells its source hashes of stored pictures"
            raise ConfigError(thing, cause, "write send_hashes = true if you want that, or leave the source out")
        if wanted.send_hashes and not kind.sends:
            raise ConfigError(thing, f"kind {kind.name} sends nothing", "leave out send_hashes")
        if wanted.redistribute and kind.agreement:
            cause = f"what kind {kind.name} gives is had under an agreement, and not passed on"
            raise ConfigError(thing, cause, "leave out redistribute")
        found.append(_source(wanted, wanted.url or kind.url))
    return found


def _source(wanted: KnownSource, url: str) -> ListSource:
    from fedi_safety.known.sources import ListSource

    return ListSource(
        wanted.name,
        wanted.kind,
        url.rstrip("/") if wanted.kind != "url" else url,
        Effect(wanted.effect),
        wanted.distance,
        wanted.redistribute,
        wanted.every_s,
        wanted.categories,
        wanted.format,
        HashKind(wanted.hash_kind) if wanted.hash_kind else None,
        lambda: _credentials(wanted),
    )


def _credentials(wanted: KnownSource) -> str:
    """Return a source's secret, empty where none is configured. Raises `ConfigError` where it cannot be had."""
    thing = f"source {wanted.name}"
    if wanted.credentials_file:
        file = expanded(wanted.credentials_file)
        try:
            with file.open("rb") as opened:
                return opened.read(_MOST_CREDENTIALS).decode().strip()
        except OSError as error:
            raise ConfigError(thing, f"{file}: {error.strerror}", "correct credentials_file") from None
        except UnicodeDecodeError:
            raise ConfigError(thing, f"{file} is no text", "correct credentials_file") from None
    if wanted.credentials_variable:
        said = os.environ.get(wanted.credentials_variable, "").strip()
        if not said:
            cause = f"the variable {wanted.credentials_variable} is not set"
            raise ConfigError(thing, cause, "set it, or correct credentials_variable")
        return said
    return ""


def named_sources(settings: Settings, name: str | None) -> Sequence[ListSource]:
    """Return all sources, or the one of that name. Raises `KnownUsageError` where there is none."""
    found = sources_of(settings)
    if not found:
        raise KnownUsageError("hashes fetch", "no source is configured", "see [[known.sources]] in docs/config.md")
    if name is None:
        return found
    chosen = [source for source in found if source.name == name]
    if not chosen:
        names = [source.name for source in found]
        cause = f"there is no source of that name{did_you_mean(name, names)}"
        raise KnownUsageError(name, cause, f"the configuration has {', '.join(names)}")
    return chosen


def bring(
    settings: Settings,
    ledger: WholeLedger,
    catalog: Catalog,
    source: ListSource,
    *,
    keep_going: Callable[[], bool] = lambda: True,
    anew: bool = False,
    server: ListServer | None = None,
    now: Callable[[], float] = time.time,
) -> Brought:
    """Fetch a source, and apply what is new on its list to what was judged before.

    What came before a fetch broke off, or before a process was killed, is applied by the next one. Raises
    `FediSafetyError`.
    """
    from fedi_safety.clients.list_server import ListServer
    from fedi_safety.known.sources import KINDS
    from fedi_safety.known.sources.fetching import fetch

    try:
        with server or ListServer(source.name) as asked:
            fetched = fetch(
                catalog,
                source,
                KINDS[source.kind],
                asked,
                own=partial(_own, ledger),
                keep_going=keep_going,
                anew=anew,
                now=now,
            )
    except FediSafetyError:
        _apply_new(settings, ledger, catalog, source.name, keep_going)
        raise
    return Brought(fetched, _apply_new(settings, ledger, catalog, source.name, keep_going))


def _own(ledger: WholeLedger, after: str) -> Iterator[tuple[str, bytes]]:
    """Yield the hash of each stored picture that has enough to see, with the number of its content."""
    for page in ledger.picture_pages(int(after) if after.isdigit() else 0):
        enough = page.qualities >= LEAST_QUALITY
        for content, pdq in zip(page.contents[enough].tolist(), page.hashes[enough], strict=True):
            yield str(content), pdq.tobytes()


def _apply_new(
    settings: Settings, ledger: WholeLedger, catalog: Catalog, name: str, keep_going: Callable[[], bool]
) -> Applied | None:
    """Compare what came onto a source's list since it was last compared with what was judged before.

    None where nothing did, or where it was stopped: then the next fetch does it.
    """
    state = next(iter(catalog.sources(name)), None)
    if state is None or not state.pending or all(known.name != name for known in catalog.lists()):
        return None
    mark = catalog.mark()
    keep_dismissals(ledger, catalog)
    lists = Current(catalog, after=state.applied, keep_going=keep_going)
    try:
        applied = apply(settings, ledger, lists, (name,), about=name)
    except Halted:
        return None

    def compared(now: SourceState | None) -> SourceState:
        now = now or state
        return replace(now, applied=mark, pending=now.checkpoint != state.checkpoint)

    catalog.note(name, compared)
    return applied
