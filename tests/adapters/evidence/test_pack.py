"""Evidence of one content: complete, harmless whatever names it has, and honest about what it lacks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema

from fedi_safety.cli.evidence.gathering import gathered
from fedi_safety.config.evidence import Evidence as Section
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import IncidentType, Verdict
from fedi_safety.core.errors import UsageError
from fedi_safety.core.ledger.evidence import ChainEntry
from fedi_safety.core.ledger.views import View
from fedi_safety.core.sightings import Certainty
from fedi_safety.ledger.events import Kind
from fedi_safety.ledger.ledger import SqlLedger
from fedi_safety.reports.evidence.cybertip import INCIDENT_TYPES, file_details, report
from fedi_safety.reports.evidence.facts import VIEWED, Evidence, Known
from fedi_safety.reports.evidence.letters import KINDS, LANGUAGES
from fedi_safety.reports.evidence.pack import drafts, pack
from support import reported
from support.servers.ncmec import EXCERPT

WHO = Section(
    organization="An & Co <b>",
    service="https://social.example",
    first_name="Ada",
    last_name="L",
    email="ada@social.example",
)
FILES = ["cybertip-file.xml", "cybertip.xml", "custody.jsonl", "evidence.html", "evidence.txt"]
FILES += [f"{kind.name}.{language}.txt" for kind in KINDS for language in LANGUAGES]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    made = reported.ledger_at(tmp_path)
    yield made
    made.dispose()


def evidence(ledger: SqlLedger, who: Section = WHO) -> Evidence:
    return gathered(Settings(evidence=who), ledger, reported.SHA256, "the key")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Made once; nobody changes it."""
    made = reported.ledger_at(tmp_path_factory.mktemp("found"))
    try:
        reported.condemned(made)
        return evidence(made)
    finally:
        made.dispose()


@cache
def excerpt() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(EXCERPT.read_text("utf-8"))


class Tags(HTMLParser):
    """Every tag and attribute of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen |= {tag, *(f"{tag}.{name}" for name, _ in attrs)}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_and_text_say_what_when_where_who_which_rule_and_which_scores(found: Evidence) -> None:
    files = pack(found, drafts(found))
    assert sorted(files) == sorted(FILES)
    assert str(Path.cwd()) not in "".join(files.values()) and "ledger.db" not in "".join(files.values()), (
        "no places here"
    )
    page = Tags()
    page.feed(files["evidence.html"])
    ElementTree.fromstring(files["evidence.html"].removeprefix("<!DOCTYPE html>"))  # no escape is forgotten
    assert not page.seen & {"script", "img", "iframe", "a", "form", "link", "object"}
    assert not [name for name in page.seen if ".on" in name or name.endswith((".src", ".href"))]
    hashes = found.hashes
    assert hashes is not None
    for said in (page.text, files["evidence.txt"]):
        for fact in (
            "2023-11-14 22:03:20 UTC",  # when it was posted
            "2023-11-14 22:08:20 UTC",  # when it came to the gate
            reported.POST,
            reported.PERSON,
            "id 42",
            "another server's account",
            "203.0.113.9",
            "https://elsewhere.example/1.png",
            "red circle: red 0.93 >= 0.5 (clip.red upper half entry e1 of list",
            "0.9300",
            "ViT-tiny 1, weights 0123abcd",
            reported.SHA256.hex(),
            hashes.sha1.hex(),
            hashes.md5.hex(),
            "00" * 32 + ", quality 90 of 100",
            "sealed",
            "seal.made",
            found.custody.head.hex(),
            "not legal advice",
            "The picture is not here",
            "not any more",
        ):
            assert fact.replace(" ", "") in said.replace(" ", "").replace("\n", ""), fact
        assert "\x1b" not in said and "\u202e" not in said


def test_no_name_does_harm_in_any_file(found: Evidence) -> None:
    for name, text in pack(found, drafts(found)).items():
        assert not re.search(r"[^\n\t -~\u00a0-\u1fff]", text), f"{name}: what ends a line or turns text around"
        assert "<script" not in text or not name.endswith(("html", "xml")), name
        if name.endswith("xml"):
            ElementTree.fromstring(text)


def test_the_chain_of_custody_can_be_recomputed_by_whoever_has_the_file(ledger: SqlLedger) -> None:
    reported.condemned(ledger)
    found = evidence(ledger)
    *entries, last = map(json.loads, pack(found, ())["custody.jsonl"].splitlines())
    assert [json.loads(entry["body"])["kind"] for entry in entries] == [
        "judged", "traced", "planned", "act.started", "seal.reserved", "seal.made", "act.closed",
    ]  # fmt: skip
    for entry in entries:
        own = hashlib.sha256(bytes.fromhex(entry["prev_hash"]) + entry["body"].encode("ascii")).hexdigest()
        assert own == entry["hash"]
    told = ledger.verify()
    assert told.problem is None and (last["length"], last["head"]) == (told.length, told.head)
    assert "NOT INTACT" not in pack(found, ())["evidence.txt"]
    spoilt = replace(found.custody.entries[1], intact=False)
    custody = replace(found.custody, entries=(found.custody.entries[0], spoilt))
    assert f"NOT INTACT: event {spoilt.seq}" in pack(replace(found, custody=custody), ())["evidence.txt"]


def test_altered_events_are_seen(ledger: SqlLedger, tmp_path: Path) -> None:
    import sqlite3

    reported.condemned(ledger)
    with sqlite3.connect(tmp_path / "ledger.db") as database:
        database.execute("UPDATE events SET payload = replace(payload, 'block', 'clear') WHERE kind = 'judged'")
    assert [entry.kind for entry in evidence(ledger).custody.entries if not entry.intact] == ["judged"]


# --- drafts


def test_the_report_stands_in_the_documented_order(found: Evidence) -> None:
    draft = report(found)
    assert draft.missing == ()
    excerpt().validate(draft.text)
    root = ElementTree.fromstring(draft.text)
    names = ["incidentSummary", "internetDetails", "reporter", "personOrUserReported", "additionalInfo"]
    assert [child.tag for child in root] == names
    assert root.findtext("incidentSummary/incidentDateTime") == "2023-11-14T22:03:20Z"
    assert root.findtext("incidentSummary/incidentType") == INCIDENT_TYPES[IncidentType.CSAM]
    assert root.findtext("internetDetails/webPageIncident/url") == reported.POST
    assert root.findtext("reporter/reportingPerson/email") == WHO.email
    assert root.findtext("personOrUserReported/espIdentifier") == "42"
    assert root.findtext("personOrUserReported/profileUrl") == reported.PERSON
    more = root.findtext("additionalInfo") or ""
    assert found.hashes is not None and found.hashes.md5.hex() in more and reported.SHA256.hex() in more
    assert "which may be this server's own proxy" in more and root.find(".//ipCaptureEvent") is None


def test_every_type_of_incident_is_one_of_theirs(found: Evidence) -> None:
    assert set(INCIDENT_TYPES) == set(IncidentType)
    for incident in IncidentType:
        excerpt().validate(report(found, incident).text)


def test_nobody_is_said_to_have_viewed_it_but_by_the_log_of_views(found: Evidence, ledger: SqlLedger) -> None:
    assert "fileViewedByEsp" not in "".join(draft.text for draft in drafts(found))
    text = " ".join(pack(found, ())["evidence.txt"].split())
    assert "The log of views knows of no person here who looked at it." in text
    assert Kind.VIEWED == VIEWED
    for pixels, whole, all_of_it in ((32, True, None), (256, False, None), (256, True, "true")):
        assert ledger.note_view(View(reported.SHA256, "ada", pixels, 0, whole), 9)
        seen = replace(found, custody=ledger.custody(reported.SHA256))
        root = ElementTree.fromstring(file_details(seen).text)
        assert root.findtext("fileViewedByEsp") == all_of_it, "a still at 256 pixels alone is seen as a whole"
        told = "".join(pack(seen, drafts(seen)).values())
        assert "no person" not in told and "a small grey still of it" in told
    view = ChainEntry(99, reported.AT, VIEWED, "{}", b"", b"", True)
    unsealed = replace(view, kind="seal.unsealed")  # somebody opened it into a file: whether they looked nobody knows
    opened = replace(found, custody=replace(found.custody, entries=(unsealed,)))
    assert ElementTree.fromstring(file_details(opened).text).find("fileViewedByEsp") is None


def test_what_goes_with_a_file_is_a_draft_whatever_is_known(found: Evidence) -> None:
    draft = file_details(found)
    assert draft.missing and "lacks: reportId and fileId" in draft.text
    whole = draft.text.replace("<fileDetails>", "<fileDetails><reportId>1</reportId><fileId>f</fileId>")
    excerpt().validate(whole)
    kinds = [element.get("hashType") for element in ElementTree.fromstring(draft.text).iter("originalFileHash")]
    assert kinds == ["SHA256", "SHA1", "MD5", "PDQ"]


def test_each_draft_names_what_it_lacks_at_its_head_and_on_the_page(ledger: SqlLedger) -> None:
    reported.condemned(ledger, hostile_trace=False)
    nobody = replace(evidence(ledger, Section()), shown=replace(evidence(ledger).shown, traces=[], uploads=[]))
    written = {draft.name: draft for draft in drafts(nobody)}
    assert written["cybertip.xml"].missing and "lacks: the e-mail address" in written["cybertip.xml"].text
    ElementTree.fromstring(written["cybertip.xml"].text)
    for kind in KINDS:
        for language in LANGUAGES:
            draft = written[f"{kind.name}.{language}.txt"]
            assert len(draft.missing) == len(kind.needs), draft.name
            head = draft.text[: draft.text.index("\n\n")]
            for need in kind.needs:
                assert (need.english if language == "en" else need.german) in head, (draft.name, need)
    assert "[FEHLT: wer es eingestellt hat]" in written["nca.de.txt"].text
    assert "[MISSING: the address at which it was shown]" in written["inhope.en.txt"].text
    page = " ".join(pack(nobody, list(written.values()))["evidence.txt"].split())
    assert "lacks: the e-mail address of the person who reports (evidence.email)" in page


def test_letters_are_in_their_language_and_say_the_same_facts(found: Evidence) -> None:
    written = {draft.name: draft for draft in drafts(found)}
    assert not [name for name, draft in written.items() if draft.missing and name != "cybertip-file.xml"]
    for kind in KINDS:
        english, german = (written[f"{kind.name}.{language}.txt"].text for language in LANGUAGES)
        assert english.startswith("DRAFT") and german.startswith("ENTWURF")
        assert "This is not legal advice" in english and "Dies ist keine Rechtsberatung" in german
        for text in (english, german):
            for fact in (reported.SHA256.hex(), reported.POST, "2023-11-14 22:03:20 UTC", WHO.email, "red circle: red"):
                assert str(fact) in text, (kind.name, fact)
        assert "Fehlt" not in english and "MISSING" not in german
    assert "Article 18 of Regulation (EU) 2022/2065" in written["dsa-article-18.en.txt"].text
    assert "Bundeskriminalamt, 65173 Wiesbaden" in written["bka.de.txt"].text


# --- what is not known, and what must not be reported


def test_when_it_happened_is_as_sure_as_it_is_said(ledger: SqlLedger) -> None:
    reported.condemned(ledger, hostile_trace=False)
    found = evidence(ledger)
    assert found.incident() == (reported.AT - 600, Known.IN_USE)
    unsure = replace(reported.SIGHTING, certainty=Certainty.POSSIBLE)
    shown = replace(found.shown, traces=[replace(found.shown.traces[0], sightings=(unsure,))])
    assert replace(found, shown=shown).incident() == (reported.AT - 300, Known.ASKED)
    bare = replace(shown, traces=[], uploads=[])
    assert replace(found, shown=bare).incident() == (reported.AT, Known.EXAMINED)
    assert replace(found, shown=replace(bare, judgements=[]), made_at=5.0).incident() == (5.0, Known.WRITTEN)
    assert replace(found, made_at=reported.AT - 999).incident()[0] == reported.AT - 999, "never yet to come"


def test_what_a_person_dismissed_has_no_drafts_and_says_so(ledger: SqlLedger) -> None:
    reported.condemned(ledger, removed=False, sealed=False)
    ledger.dismiss(reported.SHA256, "a tomato")
    found = evidence(ledger)
    assert drafts(found) == () and not found.stands
    files = pack(found, drafts(found))
    assert sorted(files) == ["custody.jsonl", "evidence.html", "evidence.txt"]
    assert "A PERSON DISMISSED IT" in files["evidence.txt"] and "a tomato" in files["evidence.txt"]


def test_only_what_stands_condemned_may_be_reported_and_what_is_fine_has_no_evidence(ledger: SqlLedger) -> None:
    run = ledger.begin_run("scan", reported.STORE, {})
    ledger.record(run, reported.STORE, [reported.judged(Verdict.REVIEW)])
    assert not evidence(ledger).stands and drafts(evidence(ledger))
    ledger.record(run, reported.STORE, [reported.judged(Verdict.BLOCK)])
    assert evidence(ledger).stands
    other = hashlib.sha256(b"other").digest()
    ledger.record(run, reported.STORE, [reported.judged(Verdict.CLEAR, "fine", other)])
    with pytest.raises(UsageError, match="nothing is wrong with it"):
        gathered(Settings(), ledger, other, "fine")
