"""What passes and services say of how things are, so that the operator is told once when that changes.

A ledger that cannot be written keeps nobody from working: that is logged, and said again the next time.
"""

from __future__ import annotations

import logging

from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ledger.notices import ConditionLedger
from fedi_safety.core.notices.access import ACCESS
from fedi_safety.core.notices.transitions import Condition
from fedi_safety.core.runs import RunReport

log = logging.getLogger(__name__)

_DAY_S = 86_400.0


def say(ledger: ConditionLedger, condition: Condition, about: str, detail: str | None) -> bool:
    """Say that something is so (`detail` given), or that it is not; return whether that could be written."""
    try:
        ledger.set_condition(condition, about, detail)
    except FediSafetyError as error:
        log.warning("that it changed is not recorded: %s: %s", condition.value, error.line())
        return False
    return True


def say_heard(ledger: ConditionLedger) -> None:
    """Say whose credentials were refused, or accepted, since this was last called: tokens, keys, passwords."""
    for about, why in ACCESS.take().items():
        if not say(ledger, Condition.CREDENTIALS_REFUSED, about, why):
            ACCESS.again(about, why)


def say_error(ledger: ConditionLedger, about: str, error: FediSafetyError | None, *, failing: bool = False) -> None:
    """Say whether credentials were refused, and with `failing` else whether this fails at all; None: all is well.

    What its own server's part of the program has heard already is not said again in the name of a store.

    Of an error its kind alone is told: its words may name a file.
    """
    refused = error is not None and error.refused
    say_heard(ledger)
    if error is not None and error.heard:
        return
    say(ledger, Condition.CREDENTIALS_REFUSED, about, kind_of(error) if error is not None and refused else None)
    if error is None or (failing and not refused):
        say(ledger, Condition.FAILING, about, None if error is None else kind_of(error))


def kind_of(error: BaseException) -> str:
    """Return what an error is, without what it is about."""
    if isinstance(error, FediSafetyError):
        return (type(error).__doc__ or "").strip().partition("\n")[0].rstrip(".")
    return f"internal error: {type(error).__name__}"


def say_coverage(settings: Settings, ledger: ConditionLedger, report: RunReport) -> None:
    """Say whether a pass that met all that a store holds left too many media without a verdict."""
    least, tally = settings.notify.min_coverage, report.tally
    if not tally.media:
        return
    judged = tally.judged + tally.already_judged
    low = judged < least * tally.media
    detail = f"{judged:,} of {tally.media:,} media have a verdict, less than {100 * least:g} %"
    say(ledger, Condition.COVERAGE_LOW, report.store, detail if low else None)


def say_ending(settings: Settings, ledger: ConditionLedger) -> None:
    """Tell of sealed copies whose time is nearly over."""
    try:
        ledger.tell_ending(settings.notify.ending_days * _DAY_S)
    except FediSafetyError as error:
        log.warning("sealed copies that end soon are not told of: %s", error.line())
