"""The whole pack of one content: the files of its folder by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedi_safety.reports.evidence.cybertip import file_details, report
from fedi_safety.reports.evidence.facts import Draft, Evidence
from fedi_safety.reports.evidence.letters import letters
from fedi_safety.reports.evidence.page import as_html, as_text, custody_lines
from fedi_safety.reports.evidence.sections import CUSTODY_FILE, sections


def drafts(evidence: Evidence) -> Sequence[Draft]:
    """Return the drafts for authorities; none of what a person dismissed."""
    if evidence.shown.dismissal is not None:
        return ()
    return report(evidence), file_details(evidence), *letters(evidence)


def pack(evidence: Evidence, written: Sequence[Draft]) -> Mapping[str, str]:
    """Return the files by name, with the drafts that were written."""
    parts = sections(evidence, written)
    files = {"evidence.html": as_html(evidence, parts), "evidence.txt": as_text(evidence, parts)}
    files[CUSTODY_FILE] = custody_lines(evidence)
    return files | {draft.name: draft.text for draft in written}
