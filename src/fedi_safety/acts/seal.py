"""The act `seal`: keep a copy that only the operator's offline keys open, then have another act take the original.

The order is: read, seal, sync, prove, record, remove. That a sealed file opens is proved before the original goes: it
is made for one key more, which was drawn in memory for it alone, opens it once, and is forgotten; and what was read
back is the same, byte for byte. In the clear the object is in memory only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from fedi_safety.acts.sealer import LEFT, Sealer
from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.errors import FediSafetyError, printable
from fedi_safety.core.ledger.seals import SealWriter
from fedi_safety.core.ports import Act, Clock, Store
from fedi_safety.core.sealing.copies import Restorer, Seal, SealState, Vault, said_versions, versions_in
from fedi_safety.core.types import Object, Outcome, Plan
from fedi_safety.service.heap import bound_heap

if TYPE_CHECKING:
    from fedi_safety.acts.sealed_file import Recipient

log = logging.getLogger(__name__)

_MORE = "versions of its key are there that are not in the sealed copy"


class SealFirst:
    """Seals planned objects of one store, then has `then` take them out of it. The record goes through `seals`."""

    kind = ActKind.SEAL
    at_first = 4  # a person's word is heard before each removal, however many are begun together

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
        self._then = then
        self._open_vault = vault
        self._open_restorer = restorer
        self._seals = seals
        self._keep_s = keep_s
        self._opened: tuple[Vault, Restorer] | None = None
        self._sealer = Sealer(store, recipients, clock)
        self._coming: Sequence[Plan] = ()
        self._reserved: dict[int, Seal] = {}

    @property
    def removes_by(self) -> ActKind:
        """The act that takes the original."""
        return self._then.kind

    def perform(self, plan: Plan) -> Outcome:
        """Seal the plan's object, prove that the copy opens, record it, and remove the original; see the `Act` port."""
        try:
            vault, restorer = self._ready()
            seal = self._seal_of(plan, vault, restorer)
            if seal.vault == vault.url:
                free = self._free(plan, seal, vault, restorer)
            else:  # sealed by an earlier run that did not come to its end, in the vault of then
                with closing(self._open_vault(seal.vault)) as other:
                    free = self._free(plan, seal, other, restorer)
            if isinstance(free, Outcome):
                return free
        except FediSafetyError as error:
            return Outcome(plan, PlanState.FAILED, f"not sealed, so {LEFT}: {error.line()}")
        if not free:
            return Outcome(plan, PlanState.FAILED, f"a person's word came between; {LEFT}")
        return _with_seal(self._then.perform(plan), seal)

    def _ready(self) -> tuple[Vault, Restorer]:
        """Return what is opened when there is something to seal. Raises `FediSafetyError`."""
        if self._opened is None:
            bound_heap()  # before threads seal: each would keep a heap of its own, with what it let go
            self._opened = self._open_vault(None), self._open_restorer()
        return self._opened

    def foresee(self, obj: Object, sha256: bytes) -> None:
        """Seal an object into a file that has no name yet, where the vault can; see `ActAhead`."""
        try:
            self._sealer.foresee(obj, sha256, *self._ready())
        except FediSafetyError as error:  # it is said of the object when its time comes
            log.info("%s is not got ready: %s", printable(obj.key), error.line())

    @contextmanager
    def ahead(self, plans: Sequence[Plan]) -> Iterator[None]:
        """Seal the next of these beside the one in hand; see `ActAhead`. What is not removed leaves no file."""
        self._coming = plans
        try:
            yield
        finally:
            self._coming, self._reserved = (), {}
            self._sealer.drop()

    def close(self) -> None:
        """Close what was opened to seal. May be called twice."""
        self._sealer.close()
        if self._opened is not None:
            vault, restorer = self._opened
            self._opened = None
            restorer.close()
            vault.close()

    def _seal_of(self, plan: Plan, vault: Vault, restorer: Restorer) -> Seal:
        """Return the name of a plan's copy, which is reserved together with those of all that come after it."""
        if plan.id not in self._reserved:
            at = next((number for number, each in enumerate(self._coming) if each.id == plan.id), None)
            together = (plan,) if at is None else self._coming[at:]
            self._reserved = self._seals.reserve_seals(together, vault.url)
            self._coming = ()
            named = [(each, self._reserved[each.id]) for each in together]
            self._sealer.expect([(each, seal) for each, seal in named if _is_new(seal, vault)], vault, restorer)
        return self._reserved.pop(plan.id)

    def _free(self, plan: Plan, seal: Seal, vault: Vault, restorer: Restorer) -> bool | Outcome:
        """See that a copy stands in the vault and is recorded; return whether the original may go, or how it ended.

        A removal takes every version of a key: none may go that is not in the copy.
        """
        if self._stands(vault, seal):
            there, known = restorer.marks(plan.object), versions_in(seal.detail)
            if there <= known:
                return self._seals.may_go(seal)
            if not known <= there:
                return Outcome(plan, PlanState.FAILED, f"{_MORE}, and some that were are gone; {LEFT}")
            # Nothing of it has gone yet: it is sealed anew, with what came, in the place of the first copy.
        made = self._sealer.made(plan, seal, vault, restorer)
        if isinstance(made, Outcome):
            return made
        free = self._seals.record_seal(seal, made.size, made.digest, self._keep_s, said_versions(made.marks))
        if free and not restorer.marks(plan.object) <= made.marks:
            return Outcome(plan, PlanState.FAILED, f"{_MORE}; {LEFT}, and the next run tries again")
        return free

    def _stands(self, vault: Vault, seal: Seal) -> bool:
        """Whether the copy was recorded before, by an act that did not come to its end, and lies there unchanged."""
        if seal.state is not SealState.SEALED:
            return False
        from fedi_safety.acts.sealed_file import is_known

        there = vault.get(seal.name)
        return there is not None and len(there) == seal.size and is_known(there, seal.digest)


class SealUnavailable:
    """Stands for `seal` where it is not configured, so that plans of an earlier configuration fail by name."""

    kind = ActKind.SEAL

    def __init__(self, error: FediSafetyError) -> None:
        """Keep why it is not."""
        self._error = error

    def perform(self, plan: Plan) -> Outcome:
        """Fail, and say what to set."""
        return Outcome(plan, PlanState.FAILED, f"not sealed, so {LEFT}: {self._error.line()}")


def _is_new(seal: Seal, vault: Vault) -> bool:
    """Whether nothing of it is recorded but its name, in this vault."""
    return seal.state is SealState.RESERVED and seal.vault == vault.url


def _with_seal(outcome: Outcome, seal: Seal) -> Outcome:
    receipt = {**outcome.receipt, "sealed": seal.name, "vault": seal.vault}
    detail = f"sealed as {seal.name}; {outcome.detail}" if outcome.detail else f"sealed as {seal.name}"
    return replace(outcome, detail=detail, receipt=receipt)
