"""What the act `seal` does in memory: read an object, seal it, and see that it opens; of the next object beside it.

While the vault writes, syncs and reads back, the processor has nothing else to do. No more than one object is sealed
ahead, so that with the one in hand at most four times the size of the larger is held: of the one in hand the sealed
file, and what was read back where that is not done a piece at a time; of the next the object and its sealed file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fedi_safety import __version__
from fedi_safety.core.enums import PlanState, Reason
from fedi_safety.core.errors import SealError, Unscannable
from fedi_safety.core.ports import Clock, Store
from fedi_safety.core.sealing.copies import Older, Restorer
from fedi_safety.core.types import Outcome, Plan

if TYPE_CHECKING:
    from fedi_safety.acts.sealed_file import Contents, Recipient

LEFT = "it is left where it is"
_AHEAD_BYTES = 32 << 20  # what is larger waits for its turn


@dataclass(frozen=True, slots=True)
class Ready:
    """A sealed file in memory that was opened and is the object. `marks` are the versions of its key that are in it."""

    sealed: bytearray
    digest: Future[bytes]
    marks: frozenset[str]


class SealingAhead:
    """Seals objects of one store in memory, at most one before it is asked for. It writes and records nothing."""

    def __init__(self, store: Store, recipients: Sequence[Recipient], clock: Clock) -> None:
        """Seal for `recipients`, and for one key more of each object."""
        self._store = store
        self._recipients = recipients
        self._clock = clock
        self._hands: tuple[ThreadPoolExecutor, ThreadPoolExecutor] | None = None
        self._next: Plan | None = None
        self._begun: tuple[Plan, Future[Ready | Outcome | None]] | None = None

    def tell(self, plan: Plan) -> None:
        """Remember which object will be asked for next, unless it is large."""
        if plan.object.size <= _AHEAD_BYTES and not (self._begun and _same(self._begun[0], plan)):
            self._next = plan

    def begin(self, restorer: Restorer) -> None:
        """Begin with the object that will be asked for next, if there is one."""
        plan, self._next = self._next, None
        if plan is not None:
            self._begun = None  # what it holds goes before more comes
            self._begun = plan, self._sealing(plan, restorer, alone=False)

    @property
    def idle(self) -> bool:
        """Whether nothing is begun that was not asked for yet."""
        return self._begun is None

    def ready(self, plan: Plan, restorer: Restorer) -> Ready | Outcome:
        """Return an object's sealed file, or how its act ended before. Raises `FediSafetyError`."""
        begun, self._begun = self._begun, None
        found = begun[1].result() if begun is not None and _same(begun[0], plan) else None
        if found is None:
            found = self._sealing(plan, restorer, alone=True).result()
        assert found is not None
        # What is begun earlier is told of the plan before it was started.
        return replace(found, plan=plan) if isinstance(found, Outcome) else found

    def close(self) -> None:
        """Let go of what was sealed ahead, and end what is begun. May be called twice."""
        self._next = self._begun = None
        hands, self._hands = self._hands, None
        for each in hands or ():
            each.shutdown(cancel_futures=True)

    def _sealing(self, plan: Plan, restorer: Restorer, *, alone: bool) -> Future[Ready | Outcome | None]:
        if self._hands is None:  # one that seals, so that there is one object at once, and one that hashes beside it
            self._hands = ThreadPoolExecutor(1, "seal"), ThreadPoolExecutor(1, "hash")
        return self._hands[0].submit(self._made, plan, restorer, self._hands[1], alone=alone)

    def _made(
        self, plan: Plan, restorer: Restorer, beside: ThreadPoolExecutor, *, alone: bool
    ) -> Ready | Outcome | None:
        """Read, seal and open; None for what is not to be sealed while another one is in hand."""
        from fedi_safety.acts.sealed_file import Contents

        try:
            marks = restorer.marks(plan.object)
            if len(marks) > 1 and not alone:
                return None
            data = self._store.fetch(plan.object, _anything)
            described = restorer.describe(plan.object, plan.sha256)
            older: Sequence[Older] = restorer.older(plan.object) if len(marks) > 1 else ()
        except Unscannable as error:
            return _unread(plan, error)
        judged = beside.submit(lambda: hashlib.sha256(data).digest() == plan.sha256)
        at = self._clock.now()
        contents = Contents(_manifest(self._store.url, plan, described, at), data, at, older)
        return self._opened(contents, judged, plan, beside, marks)

    def _opened(
        self,
        contents: Contents,
        judged: Future[bool],
        plan: Plan,
        beside: ThreadPoolExecutor,
        marks: frozenset[str],
    ) -> Ready | Outcome:
        """Seal for one key more, which is drawn here, opens the sealed file once, and is forgotten."""
        import pyrage

        from fedi_safety.acts.sealed_file import digest_of

        once = pyrage.x25519.Identity.generate()
        sealed = contents.sealed([*self._recipients, once.to_public()])
        if not judged.result():
            return Outcome(plan, PlanState.CHANGED, "the content differs from what was judged")
        digest = beside.submit(digest_of, sealed)
        if not contents.opens(sealed, once):
            raise SealError("seal", "what was sealed does not open", "check this machine's memory")
        return Ready(sealed, digest, marks)


def _same(one: Plan, other: Plan) -> bool:
    return (one.id, one.object, one.sha256) == (other.id, other.object, other.sha256)


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
    return Outcome(plan, PlanState.FAILED, f"it cannot be read again: {error.detail}; {LEFT}")


def _anything(head: bytes) -> None:
    """Accept every object."""
