"""What follows where a person condemns what was sent to review: its objects are planned, as a scan would have done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedi_safety.app.acts import act_for
from fedi_safety.app.consent import chosen_act, remembered
from fedi_safety.app.stores import known_target
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import ActKind
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.policy import by_a_person
from fedi_safety.core.types import Object

RUN = "confirm"
"""The kind of the runs that plan on a person's word. They remove nothing."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What was planned in one store. `waits` is whether a person must ask for it, as for what a dry run planned.

    `act` is None where the store is left as it is, or where `problem` says why nothing could be planned.
    """

    store: str
    objects: int
    act: ActKind | None
    waits: bool = False
    problem: str = ""

    @property
    def text(self) -> str:
        """Return it in words."""
        if self.problem:
            return f"not planned in {self.store}: {self.problem}"
        if self.act is None:
            return f"{self.store} is left as it is"
        when = "when somebody asks for it" if self.waits else "by the next run"
        return f"planned in {self.store}: {self.act.value} {self.objects}, {when}"


def plan_condemned(settings: Settings, ledger: WholeLedger, sha256: bytes, by: str) -> list[Planned]:
    """Plan what is done about a content that stands condemned by a person, in every store that has it.

    By the act in force there: as a dry run would where nobody chose one, or where the store had no real run yet, so
    that it waits for `apply` or the review pages; else as a real run, so that the next one carries it out. Nothing is
    planned, and nothing returned, where a policy condemns it: then a scan has planned it.
    """
    found = ledger.contents([sha256]).get(sha256)
    if found is None or not by_a_person(found[1]):
        return []
    by_store: dict[str, list[Object]] = {}
    for url, obj, _ in ledger.objects_of([sha256]):
        by_store.setdefault(url, []).append(obj)
    return [_plan(settings, ledger, url, objects, sha256, by) for url, objects in by_store.items()]


def _plan(
    settings: Settings, ledger: WholeLedger, url: str, objects: Sequence[Object], sha256: bytes, by: str
) -> Planned:
    try:
        target = remembered(known_target(settings, url), ledger, url)
        act = act_for(target.settings, target)
    except FediSafetyError as error:  # the word stands; a scan of the store plans it once that is mended
        return Planned(url, 0, None, problem=error.line())
    if act is None:
        return Planned(url, 0, None)
    chosen = chosen_act(target.settings)
    waits = chosen is None or not ledger.was_real_run(url)
    run = ledger.begin_run(RUN, url, {"dry_run": waits, "whole": False, "chosen_act": chosen, "by": by})
    plans = ledger.plan(run, url, [(obj, sha256) for obj in objects], act)
    ledger.end_run(run, "done", {"planned": len(plans)})
    return Planned(url, len(plans), act, waits)
