"""What a run that removes needs of a person: an act that somebody chose, and at first a dry run or a word without one.

It speaks to nobody: what is lacking is returned, and asked for by the shell (cli/).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedi_safety.app.acts import ACTS, Place
from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import NO_ACT, ActKind
from fedi_safety.core.errors import UsageError

if TYPE_CHECKING:
    from fedi_safety.app.stores import Target
    from fedi_safety.config.schema import Settings
    from fedi_safety.core.ledger.ports import Ledger


@dataclass(frozen=True, slots=True)
class Lacking:
    """What nobody has said or done yet for a store. Nothing is lacking where both are false."""

    act: bool  # nobody chose one
    dry_run: bool  # neither a complete dry run nor a complete real one is in this ledger

    def __bool__(self) -> bool:
        """Tell whether anything is."""
        return self.act or self.dry_run


def with_act(target: Target, act: ActKind | None) -> Target:
    """Return a target whose act is chosen: as it is configured, else this one."""
    if target.settings.act is not None or act is None:
        return target
    return replace(target, settings=target.settings.model_copy(update={"act": act.value}))


def remembered(target: Target, ledger: Ledger, url: str) -> Target:
    """Return a target with the act that somebody chose for it: option or configuration, else as for an earlier run.

    `settings.act` is None where nobody did.
    """
    return with_act(target, ledger.chosen_act(url)) if target.settings.act is None else target


def lacking(settings: Settings, ledger: Ledger, url: str) -> Lacking:
    """Return what a run that may remove from a store lacks; nothing where it is to leave all as it is."""
    if settings.act == NO_ACT:
        return Lacking(False, False)
    return Lacking(settings.act is None, not (ledger.was_dry_run(url) or ledger.was_real_run(url)))


def chosen_act(settings: Settings) -> str | None:
    """Return the word of the act that somebody chose, as a run records it; None where nobody did, or chose none."""
    return None if settings.act == NO_ACT else settings.act


def possible_acts(settings: Settings, place: Place) -> list[ActKind]:
    """Return the acts that can be chosen for a store as it is configured, the one that suits it best first."""
    found = []
    for kind, row in ACTS.items():
        try:
            row.check(settings, place)
        except UsageError:
            continue
        found.append(kind)
    return sorted(found, key=lambda kind: kind is not place.default_act)
