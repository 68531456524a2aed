"""How contents are traced, as the configuration says: what is planned in a store, or what a person asks about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Protocol

from fedi_safety.app.actions import pressed_by_hand, wanted_actions
from fedi_safety.app.ledger import SystemClock
from fedi_safety.app.stores import Target, targets, upload_store
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import StoreError, TraceUsageError, UsageError
from fedi_safety.core.ports import Clock, FileOwner
from fedi_safety.core.sightings import Subject, TraceRecord
from fedi_safety.core.tracing import Asked, Bounded, TraceLimits, Tracing
from fedi_safety.core.types import Object
from fedi_safety.stores import canonical_url
from fedi_safety.tracing import open_tracer


class Place(Protocol):
    """A store, or the target that it would be opened from."""

    @property
    def url(self) -> str:
        """Its URL."""
        ...

    @property
    def owner(self) -> str | None:
        """See `Store`."""
        ...


@contextmanager
def opened_tracing(settings: Settings, store: Place, ledger: Asked, clock: Clock) -> Iterator[Tracing]:
    """Give what traces objects of a store, and close it. Raises `TraceUsageError` where it is set up wrongly."""
    wanted = wanted_actions(settings)
    tracer = open_tracer(settings.trace)
    try:
        yield Tracing(
            ledger,
            clock,
            store.url,
            tracer=tracer,
            owner=_owner(settings, store.owner or settings.pictrs.url),
            limits=TraceLimits(settings.trace.limit_s, settings.trace.wait_s),
            bounded=_bounded(store.url, settings.trace.server),
            actions=wanted,
            uploads=_takes_uploads(settings, store.url),
        )
    finally:
        if tracer is not None:
            tracer.close()


def _takes_uploads(settings: Settings, url: str) -> bool:
    """Whether uploads end in the store of this URL; without a store that is named anywhere, it is the only one."""
    try:
        target = upload_store(settings)
    except UsageError:  # several, and it is not said which
        return False
    return target is None or _named(target) == url


def _owner(settings: Settings, url: str | None) -> FileOwner | None:
    """Return the pict-rs that knows a file's names; None where there is none that would answer, for lack of a key."""
    if url is None or settings.pictrs.api_key is None:
        return None
    from fedi_safety.tracing.pictrs import PictrsOwner

    return PictrsOwner(url, settings.pictrs)


@cache
def _bounded(store: str, server: str | None) -> Bounded:  # noqa: ARG001 - one for each pair, for the whole process
    return Bounded()


def trace(settings: Settings, asked: Sequence[tuple[Subject, Object | None]], ledger: Asked) -> Iterator[TraceRecord]:
    """Trace what a person asks about, one after another; yield each attempt when it is on record, failed ones too.

    The object is what a subject's key names, where its size is known. Raises `TraceUsageError` where no server is
    configured for its store.
    """
    for subject, obj in asked:
        target = _target(settings, subject)
        if target.settings.trace.server is None:
            thing = subject.key or subject.url or (subject.sha256 or b"").hex()
            raise TraceUsageError(thing, "no server is configured that could be asked", "set `trace.server`")
        before = [] if subject.sha256 is None else ledger.traces_of([subject.sha256]).get(subject.sha256, [])
        earlier = [r for r in before if (r.subject.store, r.subject.key) == (subject.store, subject.key)]
        with opened_tracing(target.settings, target, ledger, SystemClock()) as tracing:
            record = tracing.trace(subject, obj, earlier)
        ledger.record_traces(None, [record], [wanted_actions(target.settings).by(record)])
        yield record


def by_hand(settings: Settings, records: Sequence[TraceRecord]) -> list[str]:
    """Return what a person is to press about what was found, with links, where its server has no call for it."""
    found: dict[str, None] = {}
    for record in records:
        found.update(dict.fromkeys(pressed_by_hand(_target(settings, record.subject).settings, record.sightings)))
    return list(found)


def _target(settings: Settings, subject: Subject) -> Target:
    """Return the configured store that has it, with its own way to trace, else the settings for all."""
    try:
        known = targets(settings, None)
    except UsageError:  # none is configured
        known = []
    for target in known:
        if subject.store is not None and _named(target) == subject.store:
            return target
    store = subject.store or ""
    if subject.store is None and settings.trace.server is None:
        traced = [target for target in known if target.settings.trace.server is not None]
        if len(traced) == 1:
            return traced[0]
    return Target(store, store, settings)


def _named(target: Target) -> str | None:
    try:
        return canonical_url(target.url, target.settings)
    except StoreError:  # a directory that is not there, say
        return None
