"""The act `seal`: keep a copy that only the operator's offline keys open, then have another act take the original.

The order is: read, seal, sync, prove, record, remove. That a sealed file opens is proved before the original goes: it
is made for one key more, which was drawn in memory for it alone, opens it once, and is forgotten; and what was read
back is the same, byte for byte. In the clear the object is in memory only.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fedi_safety import __version__
from fedi_safety.core.enums import ActKind, PlanState, Reason
from fedi_safety.core.errors import FediSafetyError, SealError, Unscannable
from fedi_safety.core.ledger.seals import SealWriter
from fedi_safety.core.ports import Act, Clock, Store
from fedi_safety.core.sealing.copies import Restorer, Seal, SealState, Vault, said_versions, versions_in
from fedi_safety.core.types import Outcome, Plan

if TYPE_CHECKING:
    from fedi_safety.acts.sealed_file import Contents, Growing, Recipient

_LEFT = "it is left where it is"
_KEPT_BYTES = 32 << 20
_MORE = "versions of its key are there that are not in the sealed copy"


class SealFirst:
    """Seals planned objects of one store, then has `then` take them out of it. The record goes through `seals`."""

    kind = ActKind.SEAL

    def __init__(
        self,
        store: Store,
        then: Act,
        vault: Callable[[str | None], Vault],
        restorer: Callable[[], Restorer],
        recipients: Sequence[Recipient],
        seals: SealWriter,
        clock: Clock,
        *,
        keep_s: float | None = None,
    ) -> None:
        """Seal for `recipients`; the copy ends after `keep_s` seconds, or not by itself.

        `vault` opens the configured vault, or the one at a URL that an earlier run has sealed to. Vault and restorer
        are opened when the first object is sealed: most runs seal nothing.
        """
        self._store = store
        self._then = then
        self._open_vault = vault
        self._open_restorer = restorer
        self._recipients = recipients
        self._seals = seals
        self._clock = clock
        self._keep_s = keep_s
        self._opened: tuple[Vault, Restorer] | None = None
        self._memory = bytearray()  # of the sealed file before: new memory costs more than what is written to it
        self._beside = ThreadPoolExecutor(3, "seal")  # starts threads when there is something to do

    @property
    def removes_by(self) -> ActKind:
        """The act that takes the original."""
        return self._then.kind

    def perform(self, plan: Plan) -> Outcome:
        """Seal the plan's object, prove that the copy opens, record it, and remove the original; see the `Act` port."""
        try:
            if self._opened is None:
                self._opened = self._open_vault(None), self._open_restorer()
            vault, restorer = self._opened
            seal = self._seals.reserve_seal(plan, vault.url)
            if seal.vault == vault.url:
                free = self._free(plan, seal, vault, restorer)
            else:  # sealed by an earlier run that did not come to its end, in the vault of then
                with closing(self._open_vault(seal.vault)) as other:
                    free = self._free(plan, seal, other, restorer)
            if isinstance(free, Outcome):
                return free
        except FediSafetyError as error:
            return Outcome(plan, PlanState.FAILED, f"not sealed, so {_LEFT}: {error.line()}")
        if not free:
            return Outcome(plan, PlanState.FAILED, f"a person's word came between; {_LEFT}")
        return _with_seal(self._then.perform(plan), seal)

    def close(self) -> None:
        """Close what was opened to seal. May be called twice."""
        if self._opened is not None:
            vault, restorer = self._opened
            self._opened = None
            restorer.close()
            vault.close()
        self._memory = bytearray()
        self._beside.shutdown()
        self._beside = ThreadPoolExecutor(3, "seal")

    def _free(self, plan: Plan, seal: Seal, vault: Vault, restorer: Restorer) -> bool | Outcome:
        """See that a copy stands in the vault and is recorded; return whether the original may go, or how it ended.

        A removal takes every version of a key: none may go that is not in the copy.
        """
        if self._stands(vault, seal):
            there, known = restorer.marks(plan.object), versions_in(seal.detail)
            if there <= known:
                return self._seals.may_go(seal)
            if not known <= there:
                return Outcome(plan, PlanState.FAILED, f"{_MORE}, and some that were are gone; {_LEFT}")
            # Nothing of it has gone yet: it is sealed anew, with what came, in the place of the first copy.
        made = self._made(plan, seal, vault, restorer)
        if isinstance(made, Outcome):
            return made
        size, digest, marks = made
        free = self._seals.record_seal(seal, size, digest, self._keep_s, said_versions(marks))
        if free and not restorer.marks(plan.object) <= marks:
            return Outcome(plan, PlanState.FAILED, f"{_MORE}; {_LEFT}, and the next run tries again")
        return free

    def _stands(self, vault: Vault, seal: Seal) -> bool:
        """Whether the copy was recorded before, by an act that did not come to its end, and lies there unchanged."""
        if seal.state is not SealState.SEALED:
            return False
        from fedi_safety.acts.sealed_file import is_known

        there = vault.get(seal.name)
        return there is not None and len(there) == seal.size and is_known(there, seal.digest)

    def _made(
        self, plan: Plan, seal: Seal, vault: Vault, restorer: Restorer
    ) -> tuple[int, bytes, frozenset[str]] | Outcome:
        """Read, seal, sync and prove; return size, digest and versions of the sealed file, or how it ended before."""
        from fedi_safety.acts.sealed_file import Contents

        try:
            marks = restorer.marks(plan.object)
            data = self._store.fetch(plan.object, _anything)
            described = restorer.describe(plan.object, plan.sha256)
            older = restorer.older(plan.object) if len(marks) > 1 else ()
        except Unscannable as error:
            return _unread(plan, error)
        at = self._clock.now()
        contents = Contents(_manifest(self._store.url, plan, described, at), data, at, older)
        proved = self._proved(contents, lambda: hashlib.sha256(data).digest() == plan.sha256, seal, vault)
        if proved is None:
            return Outcome(plan, PlanState.CHANGED, "the content differs from what was judged")
        return *proved, marks

    def _room(self, count: int) -> bytearray:
        """Return memory for so many bytes of a sealed file, that of the one before where it does."""
        if len(self._memory) >= count:
            return self._memory
        self._memory = bytearray()
        found = bytearray(count)
        if count <= _KEPT_BYTES:
            self._memory = found
        return found

    def _proved(
        self, contents: Contents, is_judged: Callable[[], bool], seal: Seal, vault: Vault
    ) -> tuple[int, bytes] | None:
        """Write the sealed file, open it, and hold what was read back against what was opened.

        None, and nothing left there, for what was not judged. It is written and hashed while it is sealed, and opened
        where it was made while it is read back. What lies in the vault is these bytes, or there is no copy.
        """
        import pyrage

        from fedi_safety.acts.sealed_file import Growing, digest_of

        once = pyrage.x25519.Identity.generate()
        keys = [*self._recipients, once.to_public()]
        sealed = Growing(self._room(contents.room(len(keys))))
        with _SHORT_TURNS:
            opens = self._beside.submit(lambda: contents.opens(contents.seal(keys, sealed), once))
            judged = self._beside.submit(is_judged)
            digest = self._beside.submit(digest_of, sealed.pieces())
            try:
                vault.put(seal.name, _once_judged(sealed, judged))
                whole = sealed.end()
                there = vault.holds(seal.name, whole)
                if not opens.result() or not there:
                    cause = "what was read back does not open"
                    raise SealError(f"{vault.url}: {seal.name}", cause, "check the vault's disk")
                return len(whole), digest.result()
            except _NotJudged:
                return None
            finally:
                for each in (opens, judged, digest):  # they use what is let go now
                    each.exception()


class _NotJudged(Exception):
    """What was read is not what was judged."""


def _once_judged(sealed: Growing, judged: Future[bool]) -> Iterator[memoryview]:
    """Yield a sealed file as it comes; it has an end only where it is of what was judged."""
    yield from sealed.pieces()
    if not judged.result():
        raise _NotJudged


class _ShortTurns:
    """While somebody seals, a thread that comes back from the disk waits half a millisecond for one that computes.

    Usually it is five, each time, and pyrage computes for thirty. It holds for all of the process.
    """

    _TURN_S = 0.0005

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._count, self._before = 0, 0.0

    def __enter__(self) -> None:
        with self._guard:
            self._count += 1
            if self._count == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, self._TURN_S))

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._count -= 1
            if not self._count:
                sys.setswitchinterval(self._before)


_SHORT_TURNS = _ShortTurns()


class SealUnavailable:
    """Stands for `seal` where it is not configured, so that plans of an earlier configuration fail by name."""

    kind = ActKind.SEAL

    def __init__(self, error: FediSafetyError) -> None:
        """Keep why it is not."""
        self._error = error

    def perform(self, plan: Plan) -> Outcome:
        """Fail, and say what to set."""
        return Outcome(plan, PlanState.FAILED, f"not sealed, so {_LEFT}: {self._error.line()}")


def _manifest(store: str, plan: Plan, described: Mapping[str, Any], at: float) -> dict[str, Any]:
    """Return what must be known to put an object back. It lies inside the sealed file, and nowhere else."""
    obj = plan.object
    return {
        "format": 1,
        "made_by": f"fedi-safety {__version__}",
        "sealed_at": at,
        "store": store,
        "key": obj.key,
        "sha256": plan.sha256.hex(),
        "size": obj.size,
        "mtime_ns": obj.mtime_ns,
        "tag": obj.tag,
        "described": dict(described),
    }


def _unread(plan: Plan, error: Unscannable) -> Outcome:
    if error.reason is Reason.CHANGED:
        return Outcome(plan, PlanState.CHANGED, error.detail)
    if error.reason is Reason.VANISHED:
        return Outcome(plan, PlanState.GONE, "it was not there any more, so there was nothing to seal")
    return Outcome(plan, PlanState.FAILED, f"it cannot be read again: {error.detail}; {_LEFT}")


def _with_seal(outcome: Outcome, seal: Seal) -> Outcome:
    receipt = {**outcome.receipt, "sealed": seal.name, "vault": seal.vault}
    detail = f"sealed as {seal.name}; {outcome.detail}" if outcome.detail else f"sealed as {seal.name}"
    return replace(outcome, detail=detail, receipt=receipt)


def _anything(head: bytes) -> None:
    """Accept every object."""
