"""What may be done to a store as it is configured: listed, read, removed from. Touches nobody's objects."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

from fedi_safety.app.acts import act_for
from fedi_safety.app.sealing import act_after_seal
from fedi_safety.config.schema import Pictrs, Settings
from fedi_safety.core.enums import NO_ACT, ActKind, Reason
from fedi_safety.core.errors import StoreError, Unscannable
from fedi_safety.core.ports import Store
from fedi_safety.core.types import Object, Right, Unscanned

_LOOKED_AT = 1000  # objects at the beginning of the listing
_LOOK_S = 5.0
_READ = 3  # of them, until one could be read


@dataclass(frozen=True, slots=True)
class StoreRights:
    """What was learnt of one store by a look at the beginning of its listing. `act` is what would be done there."""

    url: str
    empty: bool
    read: Right
    removed: Right
    act: ActKind | None

    @property
    def problem(self) -> str:
        """What is wrong, in words with a remedy; empty where all is well as far as it was tried."""
        found = [self.read.detail] if self.read.held is False else []
        if self.removed.held is False:
            found.append(f"{self.removed.detail}; or set `act` to {NO_ACT}, which removes nothing")
        return "; ".join(found)

    @property
    def able(self) -> str:
        """Return what can be done, in words."""
        able = ["listed", *(["read"] if self.read.held else []), *(["removed from"] if self.removed.held else [])]
        words = able[0] if len(able) == 1 else f"{', '.join(able[:-1])} and {able[-1]}"
        return f"{self.url}: can be {words}" + (", but is empty" if self.empty else "")

    @property
    def text(self) -> str:
        """Return all of it in one line."""
        named = (("read", self.read), ("removed from", self.removed))
        if self.problem:
            unable = " or ".join(name for name, right in named if right.held is False)
            return f"{self.able}; NOT {unable}: {self.problem}"
        untried = [right.detail for _, right in named if right.held is None and right.detail]
        return "; ".join((self.able, *untried))


class _Enough(Exception):
    """The first bytes of an object are there; no more of it is read."""


@dataclass(slots=True)
class _Look:
    """The beginning of a listing."""

    objects: list[Object] = field(default_factory=list)
    closed: list[Unscanned] = field(default_factory=list)  # what cannot even be looked at


def store_rights(store: Store, settings: Settings) -> StoreRights:
    """Return what may be done to an open store, and by its act where that removes.

    Raises `StoreError` where it cannot be listed, `UsageError` for an act that cannot be had there.
    """
    act = act_for(settings, store)
    look = _look(store)
    removed = Right(None, "action report: whether it can be removed from was not tried")
    removes_by = act_after_seal(settings, store.default_act) if act is ActKind.SEAL else act
    if removes_by is ActKind.PURGE and store.owner is None:
        removed = _through_pictrs(settings.pictrs)
    elif act is not None:
        removed = store.may_remove(look.objects)
    return StoreRights(store.url, not (look.objects or look.closed), _readable(store, look), removed, act)


def _look(store: Store) -> _Look:
    look, until = _Look(), time.monotonic() + _LOOK_S
    for item in islice(store.list(), _LOOKED_AT):
        if isinstance(item, Object):
            look.objects.append(item)
        elif item.reason is Reason.UNREADABLE:
            look.closed.append(item)
        if time.monotonic() > until:
            break
    return look


def _readable(store: Store, look: _Look) -> Right:
    if look.closed:
        first = look.closed[0]
        return Right(
            False,
            f"{len(look.closed):,} of the first {len(look.closed) + len(look.objects):,} cannot be looked at, such as "
            f"{first.object.key} ({first.detail}); run as the user that owns the files, or grant read access",
        )
    return _read(store, look.objects)


def _read(store: Store, objects: Sequence[Object]) -> Right:
    """Read the beginning of one object; those that are gone or changed meanwhile say nothing."""
    for obj in islice((obj for obj in objects if obj.size), _READ):
        try:
            store.fetch(obj, _enough)
        except _Enough:
            return Right(True)
        except Unscannable as error:
            if error.reason not in (Reason.VANISHED, Reason.CHANGED):
                remedy = "run as a user that may read it, or grant read access"
                return Right(False, f"{obj.key}: {error.detail or error.reason.value}; {remedy}")
    return Right(None, "")


def _enough(_head: bytes) -> None:
    raise _Enough


def _through_pictrs(access: Pictrs) -> Right:
    """Ask the pict-rs that owns a store's files whether it takes the key by which it would be told to purge."""
    from fedi_safety.clients.pictrs import PictrsClient

    key = "" if access.api_key is None else access.api_key.get_secret_value()
    try:
        with closing(PictrsClient(access.url or "", key)) as client:
            client.has_pictures()
    except StoreError as error:
        return Right(False, f"purging goes through pict-rs: {error.line()}")
    return Right(True)
