"""The act `delete`: take an object out of its store, after the store has checked that it is the one that was judged."""

from __future__ import annotations

from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.errors import StoreError
from fedi_safety.core.ports import Store
from fedi_safety.core.types import Outcome, Plan, Removal


class Remove:
    """Deletes planned objects from one store. It does not decide what is deleted, and keeps no record."""

    kind = ActKind.DELETE

    def __init__(self, store: Store) -> None:
        """Act on `store`."""
        self._store = store

    def perform(self, plan: Plan) -> Outcome:
        """Remove the plan's object and read back; see the `Act` port."""
        try:
            removal = self._store.remove(plan.object, plan.sha256)
        except StoreError as error:
            removal = Removal(PlanState.FAILED, error.line())
        return Outcome(plan, removal.state, removal.detail, removal.receipt)
