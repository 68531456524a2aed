"""The act `purge` for files that belong to a pict-rs: have pict-rs remove the picture, then see the file gone.

Unlinking the file would leave its aliases, thumbnails and a record onto which pict-rs maps the next upload of the same
file. It never unlinks: what pict-rs does not own stays, and the outcome says so.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

from fedi_safety.acts.delete import Remove
from fedi_safety.config.schema import Pictrs
from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import ActKind, PlanState, Reason
from fedi_safety.core.errors import StoreError, StoreUsageError, Unscannable
from fedi_safety.core.ports import Store
from fedi_safety.core.types import Object, Outcome, Plan, Removal

if TYPE_CHECKING:  # what speaks HTTP takes a start 0.1 s, and most runs purge nothing
    from fedi_safety.clients.pictrs import PictrsClient, Picture
    from fedi_safety.clients.pictrs_database import PictrsDatabase

log = logging.getLogger(__name__)

_FILE_GONE_S = 30.0
_PAUSE_S = 0.1
_EARLIER = (
    "what pict-rs had removed by itself before, such as a second upload of the same picture, stays readable as a "
    "version until the bucket expires noncurrent versions"
)
_UNNAMED = "so may its thumbnails, which only `pictrs.database` can name"


@dataclass(frozen=True, slots=True)
class _File:
    """A file that goes with a picture. `sha256` is None where it could not be read."""

    object: Object
    sha256: bytes | None


class RemovePurging(Remove):
    """Purges where the store is a pict-rs itself, whose removal is a purge."""

    kind = ActKind.PURGE


class Purge:
    """Purges objects of a file or S3 store through the pict-rs that wrote them. It keeps no record."""

    kind = ActKind.PURGE

    def __init__(
        self,
        store: Store,
        connect: Callable[[], PictrsClient],
        database: PictrsDatabase | None = None,
        *,
        file_gone_s: float = _FILE_GONE_S,
    ) -> None:
        """Act on `store`, whose objects belong to the pict-rs that `connect` reaches; `database` finds variants too."""
        self._store = store
        self._connect = connect
        self._database = database
        self._file_gone_s = file_gone_s

    def perform(self, plan: Plan) -> Outcome:
        """Purge the picture that the plan's object belongs to, and read back; see the `Act` port."""
        try:
            # A client for each act: acts are rare, and nothing closes an act when a run is over.
            with closing(self._connect()) as client:
                removal = self._perform(plan, client)
        except StoreError as error:
            removal = Removal(PlanState.FAILED, error.line())
        return Outcome(plan, removal.state, removal.detail, removal.receipt)

    def _perform(self, plan: Plan, client: PictrsClient) -> Removal:
        from fedi_safety.clients.pictrs_purging import find_picture, purge_picture

        there = True
        try:
            data = self._store.fetch(plan.object, _anything)
        except Unscannable as error:
            if error.reason is Reason.CHANGED:
                return Removal(PlanState.CHANGED, error.detail)
            if error.reason is not Reason.VANISHED:
                return Removal(PlanState.FAILED, f"it cannot be read again: {error.detail}")
            # A purge that was interrupted after the file went, or a file removed behind pict-rs' back: the record and
            # the thumbnails of the judged content must go all the same.
            there = False
        else:
            if hashlib.sha256(data).digest() != plan.sha256:
                return Removal(PlanState.CHANGED, "the content differs from what was judged")
        picture, owner = find_picture(client, self._database, plan.object, plan.sha256)
        if picture is None:
            if there:
                return Removal(PlanState.FAILED, self._unowned())
            gone = Removal(PlanState.GONE, "the file is gone, and pict-rs does not know its content")
            return self._cleared([_File(plan.object, plan.sha256)], gone, complete=False)
        files = [_File(plan.object, plan.sha256), *self._beside(plan.object.key, picture)]
        removal = purge_picture(client, picture, self._database)
        if owner is not None and owner.kind != "original":
            removal = replace(removal, detail=f"it is a {owner.kind} of {owner.hash[:64]}; {removal.detail}")
        if removal.state is PlanState.FAILED:
            return removal
        return self._cleared(files, removal, complete=self._database is not None)

    def _beside(self, key: str, picture: Picture) -> Iterator[_File]:
        """Yield the picture's other files in this store, as they stand: once it is purged nobody knows them any more.

        Only pict-rs' database names them.
        """
        if self._database is None:
            return
        for beside in keys_beside(key, self._database.files(picture.hash)):
            for item in self._store.list((beside,)):
                if isinstance(item, Object) and item.key == beside:
                    try:
                        yield _File(item, hashlib.sha256(self._store.fetch(item, _anything)).digest())
                    except Unscannable as error:
                        if error.reason is not Reason.VANISHED:
                            yield _File(item, None)

    def _cleared(self, files: Sequence[_File], purged: Removal, *, complete: bool) -> Removal:
        """Wait until pict-rs has removed the files, and have the store remove what it kept of them.

        `complete`: these are all files of the picture.
        """
        detail = purged.detail
        until = time.monotonic() + self._file_gone_s
        kept = 0
        troubles: list[str] = []
        for file in files:
            if not self._gone(file.object, until):
                troubles.append(f"{file.object.key} is still in the store, so pict-rs keeps its files elsewhere")
            elif file.sha256 is None:
                complete = False
            else:
                # pict-rs removes the current version; a store that keeps older ones has to be told.
                removal = self._store.remove(file.object, file.sha256)
                if removal.state is PlanState.FAILED:
                    troubles.append(f"older versions of {file.object.key} may be left in the store: {removal.detail}")
                kept += removal.state is PlanState.DONE
        if troubles:
            return replace(purged, state=PlanState.FAILED, detail=f"{'; '.join(troubles)}; {detail}")
        beside = f", with {len(files) - 1} thumbnails or variants," if len(files) > 1 else ""
        detail = f"{detail}; its file{beside} is gone from the store"
        if not kept:
            return replace(purged, detail=detail)
        left = _EARLIER if complete else f"{_EARLIER}; {_UNNAMED}"
        _warn_of_versions(self._store.url, left)
        return replace(purged, state=PlanState.DONE, detail=f"{detail}, older versions of {kept} included; {left}")

    def _unowned(self) -> str:
        if self._database is not None:
            return "pict-rs does not know this file: it is an orphan; `--act delete` removes it"
        return (
            "no picture of pict-rs' has this content: it is a thumbnail or other variant, which goes when its original "
            "is purged, or an orphan; set `pictrs.database` to find variants, or remove it with `--act delete`"
        )

    def _gone(self, obj: Object, until: float) -> bool:
        """Wait until the store does not have the object any more: pict-rs removes the file after its records."""
        while True:
            try:
                self._store.fetch(obj, _refuse)
            except Unscannable as error:
                if error.reason in (Reason.VANISHED, Reason.CHANGED):
                    return True
            if time.monotonic() >= until:
                return False
            time.sleep(_PAUSE_S)


class PurgeUnavailable:
    """Stands for `purge` where no pict-rs is configured, so that plans of an earlier configuration fail by name."""

    kind = ActKind.PURGE

    def perform(self, plan: Plan) -> Outcome:
        """Fail, and say what to set."""
        return Outcome(plan, PlanState.FAILED, "no pict-rs is configured; set `pictrs.url` and `pictrs.api_key`")


def open_purge(store: Store, access: Pictrs) -> Purge:
    """Return the act for a store whose pict-rs is configured. Raises `StoreUsageError` if it cannot be."""
    from fedi_safety.clients.pictrs import PictrsClient
    from fedi_safety.clients.pictrs_database import PictrsDatabase

    if access.url is None:
        raise StoreUsageError("purge", "no pict-rs is configured", "set `pictrs.url` and `pictrs.api_key`")
    key = access.api_key.get_secret_value() if access.api_key is not None else ""
    database = PictrsDatabase(access.database.get_secret_value()) if access.database is not None else None
    connect = partial(PictrsClient, access.url, key)
    connect().close()  # a wrong URL or a missing key shows now
    return Purge(store, connect, database)


def keys_beside(key: str, identifiers: Sequence[str]) -> list[str]:
    """Return the keys of pict-rs' other files where one of them has this key: the store's root may lie above or below.

    Files outside the store have none.
    """
    for own in identifiers:
        if key == own or key.endswith(f"/{own}"):
            return [key.removesuffix(own) + other for other in identifiers if other != own]
        if own.endswith(f"/{key}"):
            root = own.removesuffix(key)
            return [other.removeprefix(root) for other in identifiers if other != own and other.startswith(root)]
    return []


@cache
def _warn_of_versions(store_url: str, left: str) -> None:
    """Say once per process what no purge reaches in a bucket that keeps versions."""
    log.warning("%s: the bucket keeps versions: %s", store_url, left)


def _anything(head: bytes) -> None:
    """Accept every object."""


def _refuse(head: bytes) -> None:  # noqa: ARG001 - the port gives it
    """Read no further: that the object is there is enough."""
    raise Unscannable(Reason.UNSUPPORTED, "still there")
