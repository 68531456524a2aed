"""Asks for what a run that removes needs of a person, and says where another ledger knows the same store."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from fedi_safety.core.enums import NO_ACT, ActKind
from fedi_safety.core.errors import FediSafetyError, UsageError
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.app.acts import Place
    from fedi_safety.app.consent import Lacking
    from fedi_safety.app.stores import Target
    from fedi_safety.cli.shell import Shell
    from fedi_safety.core.ledger.ports import Ledger

_ACTS = {
    ActKind.DELETE: "remove it from the store, for good",
    ActKind.PURGE: "remove it through pict-rs, for good",
    ActKind.SEAL: "remove it, and keep a copy that your offline key alone opens",
}
_LEAVE = "leave everything as it is, and record it"


class Given(Enum):
    """What the command that was typed says by itself about a first real run."""

    NOTHING = "nothing"
    NO_DRY_RUN = "--without-dry-run"
    PLANS = "apply"  # the dry run is what it carries out
    ALL = "a predecessor's script name"  # what its users know: it removes, by the act that suits the store


def settled(
    sh: Shell, ledger: Ledger, target: Target, place: Place, *, dry_run: bool, given: Given, ask: bool = True
) -> Target:
    """Return a target whose act holds for this run, once a person has said what a real run needs.

    Asks on a terminal, whatever `--yes` says, unless `ask` is false. Raises `UsageError` where nobody can answer, or
    the answer is no. A dry run needs nothing; then `settings.act` of the target is None where nobody chose an act.
    """
    from fedi_safety.app.acts import act_for
    from fedi_safety.app.consent import Lacking, lacking, remembered, with_act

    tell_others(sh, place.url)
    target = remembered(target, ledger, place.url)
    act_for(target.settings, place)  # says what is wrong with a chosen one
    if dry_run:
        return target
    if given is Given.ALL:
        return with_act(target, place.default_act)
    lacks = lacking(target.settings, ledger, place.url)
    if given is not Given.NOTHING:
        lacks = Lacking(lacks.act, False)
    if lacks and not (ask and sh.can_ask):
        raise UsageError(place.url, *_told(lacks, ledger, target, place, given))
    if lacks.act:
        target = _ask_act(sh, target, place, given)
    if lacks.dry_run and target.settings.act != NO_ACT:
        _ask_dry_run(sh, ledger, target, place)
    return target


def _told(lacks: Lacking, ledger: Ledger, target: Target, place: Place, given: Given) -> tuple[str, str]:
    """Return cause and remedy for somebody who cannot be asked."""
    causes, remedies = [], []
    if lacks.dry_run:
        causes.append(f"there is no complete dry run of it in the ledger {ledger.name}")
        remedies.append(f"make one with {hint('scan {} --dry-run', target.name)}, or give --without-dry-run")
    if lacks.act:
        act = place.default_act.value
        causes.append("nobody has chosen what is done about condemned objects")
        others = "" if given is Given.PLANS else f", or --act {NO_ACT} to leave them"
        remedies.append(f"give --act {act}, or set `act`{others}")
    return " and ".join(causes), "; ".join(remedies)


def _ask_act(sh: Shell, target: Target, place: Place, given: Given) -> Target:
    from fedi_safety.app.consent import possible_acts

    acts = {kind.value: _ACTS[kind] for kind in possible_acts(target.settings, place)}
    if given is not Given.PLANS:
        acts[NO_ACT] = _LEAVE
    sh.warn(f"{place.url}: what shall be done with what the policy condemns?")
    for word, meaning in acts.items():
        sh.warn(f"  {word:<7} {meaning}")
    word = sh.answer("Your choice (Enter: do nothing now):")
    if word not in acts:
        why = "nothing was chosen, and nothing was done" if not word else f"{word} is none of these; nothing was done"
        raise UsageError(place.url, why, "give --act, or set `act` in the configuration")
    return replace(target, settings=target.settings.model_copy(update={"act": word}))


def _ask_dry_run(sh: Shell, ledger: Ledger, target: Target, place: Place) -> None:
    sh.warn(f"{place.url}: there is no complete dry run of it in the ledger {ledger.name}, so nobody has seen what "
            "would be removed.")  # fmt: skip
    if not sh.agreed("Remove without a dry run?"):
        remedy = f"make a dry run: {hint('scan {} --dry-run', target.name)}"
        raise UsageError(place.url, "nothing was done", remedy)


def tell_others(sh: Shell, store_url: str) -> None:
    """Say which other ledgers know a store: what was dismissed or removed there is not known here."""
    from fedi_safety.app.ledger import other_ledgers
    from fedi_safety.config.loading import load_settings
    from fedi_safety.config.locations import ledger_name, ledger_path

    try:
        configured = load_settings(sh.config).ledger
    except FediSafetyError:  # what the options set was wrong there, and is not now
        configured = None
    for other in other_ledgers(sh.settings, store_url, configured):
        sh.warn(
            f"note: {store_url} is in another ledger too: {ledger_name(other)}; what was dismissed there is not known "
            f"to the one in use, {ledger_name(ledger_path(sh.settings))}. If it is not needed, move it away; to use "
            "it, give --ledger."
        )
