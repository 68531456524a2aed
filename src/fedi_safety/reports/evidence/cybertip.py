"""Drafts for NCMEC's CyberTipline: a report, and what would go with a file. Elements stand in the documented order.

From report.cybertip.org/ispws/documentation, read in November 2026; of a report NCMEC itself requires no more than the
type and the time of the incident, and the person who reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

from fedi_safety.core.enums import IncidentType
from fedi_safety.core.errors import printable
from fedi_safety.core.wording.reasons import reason_text
from fedi_safety.reports.evidence.facts import Draft, Evidence, hash_lines, moment, timestamp, whose

REPORT = "cybertip.xml"
FILE_DETAILS = "cybertip-file.xml"
_FOR = "NCMEC, CyberTipline (United States)"
_EMAIL = "the e-mail address of the person who reports (evidence.email)"
_MOST_URLS = 100
_MOST_TEXT = 3000
_MOST_URL = 2083


INCIDENT_TYPES: Mapping[IncidentType, str] = {
    IncidentType.CSAM: "Child Pornography (possession, manufacture, and distribution)",
    IncidentType.TRAFFICKING: "Child Sex Trafficking",
    IncidentType.TOURISM: "Child Sex Tourism",
    IncidentType.MOLESTATION: "Child Sexual Molestation",
    IncidentType.ENTICEMENT: "Online Enticement of Children for Sexual Acts",
    IncidentType.OBSCENE_TO_CHILD: "Unsolicited Obscene Material Sent to a Child",
    IncidentType.MISLEADING_WORDS: "Misleading Words or Digital Images on the Internet",
}


def report(evidence: Evidence, incident: IncidentType = IncidentType.CSAM) -> Draft:
    """Return the report as `submit` would send it; a draft with something missing is never sent."""
    root = ElementTree.Element("report")
    missing = () if evidence.reporter.email else (_EMAIL,)
    _incident(_in(root, "incidentSummary"), evidence, incident)
    page = _in(_in(root, "internetDetails"), "webPageIncident")
    for url in evidence.urls()[:_MOST_URLS]:
        _in(page, "url", url, _MOST_URL)
    _in(page, "additionalInfo", _where(evidence), _MOST_TEXT)
    _person(_in(_in(root, "reporter"), "reportingPerson"), evidence)
    _reported(root, evidence)
    _in(root, "additionalInfo", _more(evidence), _MOST_TEXT)
    return Draft(REPORT, _FOR, _written(root, missing), missing)


def file_details(evidence: Evidence) -> Draft:
    """Return what would go with the file, for somebody who uploads it by hand where the law asks for that.

    This program never does. That a person viewed it is said only where the log of views says that one saw all of it.
    """
    missing = ("reportId and fileId, which NCMEC gives to a report and to a file that was uploaded",)
    root = ElementTree.Element("fileDetails")
    for name in evidence.names()[:1]:
        _in(root, "originalFileName", name, 2048)
    for url in evidence.urls()[:1]:
        _in(root, "locationOfFile", url, _MOST_URL)
    if evidence.viewed_whole:
        _in(root, "fileViewedByEsp", "true")
    _in(root, "fileRelevance", "Reported")
    for kind, value in hash_lines(evidence):
        digest = value.partition(",")[0]
        _in(root, "originalFileHash", digest, 64).set("hashType", kind.partition(" ")[0].replace("-", ""))
    return Draft(FILE_DETAILS, f"{_FOR}, only with a file", _written(root, missing), missing)


def _incident(summary: ElementTree.Element, evidence: Evidence, incident: IncidentType) -> None:
    at, how = evidence.incident()
    _in(summary, "incidentType", INCIDENT_TYPES[incident])
    _in(summary, "platform", evidence.reporter.service, 256)
    _in(summary, "incidentDateTime", timestamp(at))
    _in(summary, "incidentDateTimeDescription", how.value, _MOST_TEXT)


def _person(person: ElementTree.Element, evidence: Evidence) -> None:
    reporter = evidence.reporter
    for name, value in (
        ("firstName", reporter.first_name),
        ("lastName", reporter.last_name),
        ("phone", reporter.phone),
        ("email", reporter.email),
    ):
        _in(person, name, value, 255)


def _reported(root: ElementTree.Element, evidence: Evidence) -> None:
    sighting = evidence.person()
    if sighting is None:
        return
    reported = _in(root, "personOrUserReported")
    _in(reported, "espIdentifier", sighting.person_id or sighting.person or "", 255)
    _in(reported, "espService", evidence.reporter.service, 100)
    _in(reported, "screenName", sighting.person or "", 256)
    if sighting.person and sighting.person.startswith(("https://", "http://")):
        _in(reported, "profileUrl", sighting.person, _MOST_URL)
    sure = f"{sighting.certainty.value} by {sighting.way.value}"
    _in(reported, "additionalInfo", f"{whose(sighting)}; how sure: {sure}", _MOST_TEXT)


def _where(evidence: Evidence) -> str:
    lines = [f"Stored as {row.key}." for row in evidence.shown.rows]
    if more := len(evidence.urls()) - _MOST_URLS:
        lines += [f"And {more} more addresses."] if more > 0 else []
    lines.append("It is not there any more." if evidence.removed else "It is still there.")
    return " ".join(lines)


def _more(evidence: Evidence) -> str:
    """Return what has no element of its own: hashes, how it was found, and what is kept."""
    lines = [f"{kind} {value}." for kind, value in list(hash_lines(evidence))[:10]]
    past = evidence.judgement
    if past is not None:
        rules = "; ".join(reason_text(hit) for hit in past.judgement.reasons)
        lines.append(f"Found by a program (fedi-safety {evidence.version}), by: {rules}.")
    if evidence.shown.confirmation is not None:
        lines.append("A person here confirmed it.")
    if evidence.viewed_at is None:
        lines.append("The log of views here knows of no person who looked at the file.")
    else:
        lines.append(f"A person here last looked at a small grey still of it at {moment(evidence.viewed_at)}.")
    if any(seal.state.value == "sealed" for seal in evidence.seals):
        lines.append("A copy is kept, sealed; the server cannot open it.")
    for upload in evidence.shown.uploads[:10]:
        if address := upload["told"].get("address"):
            lines.append(f"At {moment(upload['at'])} it came from {address}, which may be this server's own proxy.")
    others = [whose(s) for s in evidence.sightings() if (s.person or s.person_id) and s != evidence.person()]
    lines += [f"Also in use by: {who}." for who in others[:10]]
    return " ".join(lines)


def _in(
    parent: ElementTree.Element, name: str, value: str | None = None, most: int | None = None
) -> ElementTree.Element:
    """Add an element; one that would be empty is left out, and stands for itself alone."""
    if value == "":
        return ElementTree.Element(name)
    element = ElementTree.SubElement(parent, name)
    if value is not None:
        element.text = printable(value)[:most]
    return element


def _written(root: ElementTree.Element, missing: tuple[str, ...]) -> str:
    ElementTree.indent(root)
    said = [f"lacks: {name}" for name in missing]
    notes = "".join(f"<!-- DRAFT {line.replace('--', '- -')} -->\n" for line in said)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{notes}{ElementTree.tostring(root, encoding="unicode")}\n'
