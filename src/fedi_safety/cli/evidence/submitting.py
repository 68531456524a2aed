"""`evidence submit`: one report to NCMEC, after a question, and never by anything but a person's command."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from fedi_safety.cli.evidence.gathering import content_of, gathered
from fedi_safety.core.errors import UsageError, printable
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.cli.shell import Shell
    from fedi_safety.core.enums import IncidentType
    from fedi_safety.core.ledger.ports import WholeLedger
    from fedi_safety.reports.evidence.facts import Draft, Evidence


def submit(sh: Shell, key: str, incident: IncidentType, *, production: bool, again: bool) -> int:
    """Report a content, and say what the report is called there."""
    from fedi_safety.app.cybertip import before, check_schema, environment_of, opened_line, refuse_twice, send
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.notices.conditions import say_heard
    from fedi_safety.clients.cybertipline import BASES, Environment
    from fedi_safety.core.ledger.evidence import SubmissionState
    from fedi_safety.reports.evidence.cybertip import INCIDENT_TYPES

    if production:
        _of_the_file()
    environment = environment_of(sh.settings.evidence.ncmec, production)
    records = open_settings_ledger(sh.settings)
    try:
        with closing(opened_line(sh.settings.evidence.ncmec, environment)) as line:
            sha256 = content_of(records, key)
            found = gathered(sh.settings, records, sha256, key)
            draft = _draft(key, found, incident)
            last = before(found.submissions, environment)
            if environment is Environment.PRODUCTION and last is not None and last.state is SubmissionState.DONE:
                _file(sh, records, sha256, last.reference, last.at)  # which a kill may have left open
            if not again:
                refuse_twice(key, last)
            sh.confirm(
                f"this reports {key} to NCMEC's {environment.value} environment ({BASES[environment]}) as "
                f'"{INCIDENT_TYPES[incident]}", in the name of {found.reporter.email}',
                "give --yes to answer so beforehand",
            )
            document = draft.text.encode()
            check_schema(document, line.schema(), environment)
            sent = send(line, records, sha256, document, environment, found.submissions, sh.note)
        sh.say(f"{key}: report {sent.report} is filed with NCMEC's {environment.value} environment")
        if environment is Environment.PRODUCTION:
            _file(sh, records, sha256, sent.report, time.time())
        else:
            sh.say("that was a test: nobody was told anything, and nothing counts as filed")
    finally:
        say_heard(records)
        records.dispose()
    return 0


def _of_the_file() -> None:
    """Raise `UsageError` where a variable says production: one that was left over must not file anything."""
    from fedi_safety.config.loading import variables
    from fedi_safety.config.schema import ENV_PREFIX

    name = f"{ENV_PREFIX}EVIDENCE__NCMEC__ENVIRONMENT"
    if name in variables():
        raise UsageError(name, "production is for the configuration file to say", "write it there, and unset this")


def _draft(key: str, found: Evidence, incident: IncidentType) -> Draft:
    """Return the report. Raises `UsageError` where it lacks something, or is about what does not stand condemned."""
    from fedi_safety.reports.evidence.cybertip import report

    if found.shown.dismissal is not None:
        cause = "a person dismissed it: it was judged wrongly"
        raise UsageError(key, cause, f"if that was a mistake: {hint('dismiss {} --undo', key)}")
    if not found.stands:
        cause = "it does not stand condemned under the policy in force"
        raise UsageError(
            key, cause, f"look at {hint('show {}', key)}; a draft to send yourself is in what --out writes"
        )
    draft = report(found, incident)
    if draft.missing:
        raise UsageError("evidence submit", f"the report lacks {'; '.join(draft.missing)}", "see docs/evidence.md")
    return draft


def _file(sh: Shell, records: WholeLedger, sha256: bytes, report: str, at: float) -> None:
    """Record the report with each sealed copy of the content, so that it is kept as long as the law asks."""
    from fedi_safety.app.cybertip import AUTHORITY
    from fedi_safety.cli.sealed.copies import line
    from fedi_safety.core.sealing.copies import SealState
    from fedi_safety.core.sealing.law import keep_filed_s

    keep_s = keep_filed_s(sh.settings.law.preset, None)
    copies = records.seals(sha256=sha256, states=(SealState.SEALED,))
    for seal in copies:
        if (seal.authority, seal.reference) != (AUTHORITY, report):
            filed = records.file_seal(seal, AUTHORITY, report, at, keep_s)
            sh.say(printable(f"{filed.key}: {line(filed)}"))
    if not copies:
        sh.say("no sealed copy of it is kept; what the report asks to preserve is for you to see to")
