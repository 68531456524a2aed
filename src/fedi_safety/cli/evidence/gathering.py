"""Gathering what evidence is made of: from the ledger, and who reports from the configuration."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fedi_safety.core.errors import UsageError
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.config.schema import Settings
    from fedi_safety.core.ledger.ports import LedgerReader
    from fedi_safety.reports.evidence.facts import Evidence, Reporter


def content_of(ledger: LedgerReader, key: str) -> bytes:
    """Return the content that a key, a path or a SHA-256 names. Raises `UsageError` for one that was never judged."""
    from fedi_safety.cli.text.lookup import find

    found = find(ledger, key)
    if found.sha256 is None or not (found.judgements or found.uploads):
        raise UsageError(key, "it was never judged", f"see {hint('show {}', key)}")
    return found.sha256


def gathered(settings: Settings, ledger: LedgerReader, sha256: bytes, key: str) -> Evidence:
    """Return everything that is known of a content. Raises `UsageError` for one that nothing was ever wrong with."""
    from fedi_safety import __version__
    from fedi_safety.reports.evidence.facts import Evidence

    shown = ledger.show(sha256)
    if shown is None:  # between two looks
        raise UsageError(key, "the ledger does not know it any more", f"see {hint('list')}")
    found = Evidence(
        sha256,
        shown,
        ledger.hashes_of([sha256]).get(sha256),
        ledger.seals(sha256=sha256),
        ledger.custody(sha256),
        ledger.submissions(sha256),
        reporter_of(settings),
        time.time(),
        __version__,
    )
    if found.judgement is None:
        cause = "nothing is wrong with it: it was never condemned, nor sent to review"
        raise UsageError(key, cause, f"see {hint('show {}', key)}")
    return found


def reporter_of(settings: Settings) -> Reporter:
    """Return who reports, as configured."""
    from fedi_safety.reports.evidence.facts import Reporter

    said = settings.evidence
    service = said.service or settings.trace.url or next((s.trace.url for s in settings.stores if s.trace), None)
    names = ("organization", "first_name", "last_name", "email", "phone", "address")
    return Reporter(service=service or "", **{name: getattr(said, name) or "" for name in names})
