"""Sending a report to NCMEC, by a person's word alone: checked against their schema, recorded before it is sent.

Nothing else of the program may call it (an import contract holds that): no scan, no daemon, no notification.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedi_safety.clients.cybertipline import (
    BASES,
    FINISHED,
    NO_REPORT,
    Answer,
    CybertipError,
    Cybertipline,
    Environment,
)
from fedi_safety.config.evidence import Ncmec
from fedi_safety.core.errors import UsageError
from fedi_safety.core.ledger.evidence import EvidenceKeeper, Submission, SubmissionState

AUTHORITY = "NCMEC"
"""What the ledger calls it."""

EXCERPT_MARK = b"urn:fedi-safety:excerpt"
"""What a schema has in it that was written for tests: it never stands for NCMEC's own."""

_EXTRA = "install fedi-safety[ncmec]"


@dataclass(frozen=True, slots=True)
class Sent:
    """A report that is filed. `resumed`: it was opened before, and finished now."""

    report: str
    resumed: bool


def environment_of(access: Ncmec, production: bool) -> Environment:
    """Return where a report goes: production where configuration and command both say so.

    Raises `UsageError` where only the command does, for whoever types it believes that the report is filed.
    """
    if not production:
        return Environment.TEST
    if access.environment != Environment.PRODUCTION.value:
        cause = "the configuration does not say production"
        raise UsageError("--production", cause, 'set evidence.ncmec.environment = "production" in its file')
    return Environment.PRODUCTION


def opened_line(access: Ncmec, environment: Environment) -> Cybertipline:
    """Return what speaks with NCMEC. Raises `UsageError` where no access is configured. Sends nothing."""
    if access.user is None or access.password is None:
        cause = "no access to NCMEC is configured"
        raise UsageError("evidence submit", cause, "set evidence.ncmec.user and evidence.ncmec.password")
    return Cybertipline(BASES[environment], access.user, access.password.get_secret_value())


def before(steps: Sequence[Submission], environment: Environment) -> Submission | None:
    """Return the last step of a report about the same content in this environment, if there was any."""
    mine = [step for step in steps if (step.authority, step.environment) == (AUTHORITY, environment.value)]
    return mine[-1] if mine else None


def refuse_twice(key: str, last: Submission | None) -> None:
    """Raise `UsageError` for what was filed already, or may have been."""
    if last is None or last.state in (SubmissionState.FAILED, SubmissionState.OPENED):
        return
    if last.state is SubmissionState.DONE:
        cause = f"it was reported already, as {last.reference}"
        raise UsageError(key, cause, "give --again to report it once more")
    cause = "a report about it was begun, and whether it arrived is not known"
    raise UsageError(key, cause, "ask NCMEC, or give --again to report it once more")


def check_schema(document: bytes, schema: bytes, environment: Environment) -> None:
    """Raise `UsageError` where a report does not fit NCMEC's schema, or there is nothing to check it by."""
    if environment is Environment.PRODUCTION and EXCERPT_MARK in schema:
        raise UsageError("the schema", "it is an excerpt for tests, not NCMEC's own", "nothing was sent")
    try:
        import xmlschema
    except ImportError as error:
        raise UsageError("evidence submit", "it needs the package xmlschema", _EXTRA) from error
    try:
        # Nothing that the schema names is fetched, and no entity is expanded.
        checker = xmlschema.XMLSchema(schema.decode("utf-8"), allow="none", defuse="always")
        found = next(checker.iter_errors(document.decode("utf-8")), None)
    except (xmlschema.XMLSchemaException, UnicodeDecodeError, SyntaxError) as error:
        cause = f"NCMEC's schema cannot be used: {str(error)[:200]}"
        raise UsageError("evidence submit", cause, "nothing was sent; a newer fedi-safety may know it") from error
    if found is not None:
        cause = f"the report does not fit NCMEC's schema at {found.path}: {str(found.reason)[:200]}"
        raise UsageError("evidence submit", cause, "nothing was sent; a newer fedi-safety may know it")


def send(
    line: Cybertipline,
    ledger: EvidenceKeeper,
    sha256: bytes,
    document: bytes,
    environment: Environment,
    steps: Sequence[Submission],
    say: Callable[[str], None],
) -> Sent:
    """Open a report and finish it, each step on record before the next. Raises `CybertipError`.

    `steps` are those on record. A report that was opened before and never finished is finished instead.
    """
    name, last = environment.value, before(steps, environment)

    known = len(steps)

    def step(state: SubmissionState, reference: str = "", answer: Answer | None = None, error: str = "") -> None:
        nonlocal known
        code, said = (None, error) if answer is None else (answer.code, answer.text)
        digest = hashlib.sha256(document).hexdigest()
        ledger.note_submission(sha256, Submission(AUTHORITY, name, state, digest, reference, code, said), known)
        known += 1

    if last is not None and last.state is SubmissionState.OPENED:
        say(f"report {last.reference} was opened before and not finished; it is finished now")
        if (done := _finished(line, last.reference, step)) is not None:
            return Sent(done, resumed=True)
        say(f"NCMEC does not have report {last.reference} any more; a new one is sent")
    step(SubmissionState.BEGUN)
    try:
        opened = line.submit(document)
    except CybertipError as error:
        if not error.unclear:
            step(SubmissionState.FAILED, error=error.line())
        raise
    step(SubmissionState.OPENED, opened.report, opened)
    done = _finished(line, opened.report, step)
    if done is None:
        raise CybertipError(f"it lost report {opened.report} that it had just opened", "try again")
    return Sent(done, resumed=False)


def _finished(line: Cybertipline, report: str, step: Callable[..., None]) -> str | None:
    """Finish a report and return its number; None where NCMEC has no such report."""
    try:
        answer = line.finish(report)
    except CybertipError as error:
        if error.code == FINISHED:
            step(SubmissionState.DONE, report, error=error.line())
            return report
        if error.code == NO_REPORT:
            step(SubmissionState.FAILED, report, error=error.line())
            return None
        remedy = f"report {report} is open and not finished: run the same command again within the hour"
        raise CybertipError(error.cause, remedy, unclear=error.unclear, code=error.code) from error
    step(SubmissionState.DONE, report, answer)
    return report
