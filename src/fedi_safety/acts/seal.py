"""The act `seal`: keep a copy that only the operator's offline keys open, then have another act take the original.

The order is: read, seal, sync, prove, record, remove. That a sealed file opens is proved before the original goes: it
is made for one key more, which was drawn in memory for it alone, opens it once, and is forgotten; and what was read
back is the same, byte for byte. In the clear the object is in memory only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from fedi_safety.acts.sealing_ahead import LEFT, SealingAhead
from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.errors import FediSafetyError, SealError
from fedi_safety.core.ledger.seals import SealWriter
from fedi_safety.core.ports import Act, Clock, Store
from fedi_safety.core.sealing.copies import Restorer, Seal, SealState, Vault, said_versions, versions_in
from fedi_safety.core.types import Outcome, Plan

if TYPE_CHECKING:
    from fedi_safety.acts.sealed_file import Recipient

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
        self._seals = seals
        self._keep_s = keep_s
        self._sealing = SealingAhead(store, recipients, clock)
        self._hopeless = False  # the last object could not be sealed
        self._vault: Vault | None = None
        self._restorer: Restorer | None = None

    @property
    def removes_by(self) -> ActKind:
        """The act that takes the original."""
        return self._then.kind

    def ahead(self, plan: Plan) -> None:
        """Read and seal in memory, beside what else is done, an object whose plan may be performed next.

        Nothing of it is written or recorded before that.
        """
        if plan.act is not self.kind or self._hopeless:
            return
        self._sealing.tell(plan)
        if self._sealing.idle:
            with suppress(FediSafetyError):  # which the act itself will say
                self._sealing.begin(self._describing())

    def perform(self, plan: Plan) -> Outcome:
        """Seal the plan's object, prove that the copy opens, record it, and remove the original; see the `Act` port."""
        try:
            self._vault = vault = self._vault or self._open_vault(None)
            restorer = self._describing()
            seal = self._seals.reserve_seal(plan, vault.url)
            if seal.vault == vault.url:
                free = self._free(plan, seal, vault, restorer)
            else:  # sealed by an earlier run that did not come to its end, in the vault of then
                with closing(self._open_vault(seal.vault)) as other:
                    free = self._free(plan, seal, other, restorer)
            self._hopeless = False
            if isinstance(free, Outcome):
                return free
        except FediSafetyError as error:
            self._hopeless = True
            return Outcome(plan, PlanState.FAILED, f"not sealed, so {LEFT}: {error.line()}")
        if not free:
            return Outcome(plan, PlanState.FAILED, f"a person's word came between; {LEFT}")
        return _with_seal(self._then.perform(plan), seal)

    def close(self) -> None:
        """Close what was opened to seal. May be called twice."""
        self._sealing.close()
        restorer, self._restorer = self._restorer, None
        vault, self._vault = self._vault, None
        for each in (restorer, vault):
            if each is not None:
                each.close()

    def _describing(self) -> Restorer:
        """Return the restorer, opened when it is first needed."""
        self._restorer = self._restorer or self._open_restorer()
        return self._restorer

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
        made = self._made(plan, seal, vault, restorer)
        if isinstance(made, Outcome):
            return made
        size, digest, marks = made
        free = self._seals.record_seal(seal, size, digest, self._keep_s, said_versions(marks))
        if free and not restorer.marks(plan.object) <= marks:
            return Outcome(plan, PlanState.FAILED, f"{_MORE}; {LEFT}, and the next run tries again")
        return free

    def _stands(self, vault: Vault, seal: Seal) -> bool:
        """Whether the copy was recorded before, by an act that did not come to its end, and lies there unchanged."""
        if seal.state is not SealState.SEALED:
            return False
        from fedi_safety.acts.sealed_file import digest_of

        there = vault.get(seal.name)
        return there is not None and len(there) == seal.size and digest_of(there) == seal.digest

    def _made(
        self, plan: Plan, seal: Seal, vault: Vault, restorer: Restorer
    ) -> tuple[int, bytes, frozenset[str]] | Outcome:
        """Read, seal, sync and prove; return size, digest and versions of the sealed file, or how it ended before.

        It was opened, and compared with the object, in memory. What lies in the vault is the same, or there is no copy.
        """
        ready = self._sealing.ready(plan, restorer)
        if isinstance(ready, Outcome):
            return ready
        self._sealing.begin(
            restorer
        )  # now: pyrage holds the interpreter while it seals, and the vault has no need of it
        vault.put(seal.name, ready.sealed)
        if not vault.holds(seal.name, ready.sealed):
            raise SealError(f"{vault.url}: {seal.name}", "what was read back does not open", "check the vault's disk")
        return len(ready.sealed), ready.digest.result(), ready.marks


class SealUnavailable:
    """Stands for `seal` where it is not configured, so that plans of an earlier configuration fail by name."""

    kind = ActKind.SEAL

    def __init__(self, error: FediSafetyError) -> None:
        """Keep why it is not."""
        self._error = error

    def perform(self, plan: Plan) -> Outcome:
        """Fail, and say what to set."""
        return Outcome(plan, PlanState.FAILED, f"not sealed, so {LEFT}: {self._error.line()}")


def _with_seal(outcome: Outcome, seal: Seal) -> Outcome:
    receipt = {**outcome.receipt, "sealed": seal.name, "vault": seal.vault}
    detail = f"sealed as {seal.name}; {outcome.detail}" if outcome.detail else f"sealed as {seal.name}"
    return replace(outcome, detail=detail, receipt=receipt)
