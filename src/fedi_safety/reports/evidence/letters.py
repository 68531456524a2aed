"""Drafts of letters, in English and German: to the NCA, an INHOPE hotline, the BKA, and by Article 18 of the DSA.

What a letter says is what the ledger knows; what it must have and has not stands at its head, and in its place.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fedi_safety.core.errors import printable
from fedi_safety.core.sightings import Certainty
from fedi_safety.core.wording.reasons import reason_text
from fedi_safety.reports.evidence.facts import Draft, Evidence, Known, hash_lines, moment, whose

_WIDTH = 100
_MOST_HASHES = 20


@dataclass(frozen=True, slots=True)
class _Need:
    """Something that a letter must have: its names in English and German, whether it is there, and in which part."""

    english: str
    german: str
    there: Callable[[Evidence], object]
    part: str = "from"


_ORGANIZATION = _Need(
    "who runs the server (evidence.organization)",
    "wer den Server betreibt (evidence.organization)",
    lambda e: e.reporter.organization,
)
_CONTACT = _Need(
    "an e-mail address or telephone number (evidence.email, evidence.phone)",
    "eine E-Mail-Adresse oder Telefonnummer (evidence.email, evidence.phone)",
    lambda e: e.reporter.email or e.reporter.phone,
)
_PERSON = _Need(
    "the name of the person who reports (evidence.first_name, evidence.last_name)",
    "der Name der meldenden Person (evidence.first_name, evidence.last_name)",
    lambda e: e.reporter.person,
)
_SERVICE = _Need(
    "the address of the server (evidence.service)",
    "die Adresse des Servers (evidence.service)",
    lambda e: e.reporter.service,
    "where",
)
_PLACE = _Need(
    "the address at which it was shown", "die Adresse, unter der es zu sehen war", lambda e: e.urls(), "where"
)
_WHO = _Need("who put it there", "wer es eingestellt hat", lambda e: e.person(), "who")


@dataclass(frozen=True, slots=True)
class _Kind:
    """A letter: its file's name, to whom, about what, why it is written, and what it must have."""

    name: str
    to: tuple[str, str]
    subject: tuple[str, str]
    why: tuple[str, str]
    needs: tuple[_Need, ...]


KINDS = (
    _Kind(
        "nca",
        ("National Crime Agency (United Kingdom)", "National Crime Agency (Vereinigtes Königreich)"),
        (
            "Report of suspected child sexual exploitation and abuse content",
            "Meldung von mutmaßlichen Darstellungen sexuellen Kindesmissbrauchs",
        ),
        (
            "We report this with regard to section 66 of the Online Safety Act 2023 and the CSEA Content Reporting "
            "Regulations 2026 (SI 2026/268). Please tell us where the regulations ask for more than is said here.",
            "Wir melden dies im Hinblick auf Abschnitt 66 des Online Safety Act 2023 und die CSEA Content Reporting "
            "Regulations 2026 (SI 2026/268). Bitte teilen Sie uns mit, wo diese mehr verlangen, als hier steht.",
        ),
        (_ORGANIZATION, _PERSON, _CONTACT, _SERVICE, _WHO),
    ),
    _Kind(
        "inhope",
        ("INHOPE hotline of your country", "INHOPE-Meldestelle Ihres Landes"),
        ("Report of suspected child sexual abuse material", "Meldung mutmaßlicher Missbrauchsdarstellungen"),
        (
            "The content was on our own server. We report it so that it can be recognised and removed elsewhere.",
            "Der Inhalt lag auf unserem eigenen Server. Wir melden ihn, damit er anderswo erkannt und entfernt werden "
            "kann.",
        ),
        (_PLACE,),
    ),
    _Kind(
        "bka",
        ("Bundeskriminalamt (Germany)", "Bundeskriminalamt, 65173 Wiesbaden"),
        (
            "Report of a suspected depiction of child sexual abuse (section 184b StGB)",
            "Hinweis auf eine mutmaßliche kinderpornographische Darstellung (§ 184b StGB)",
        ),
        (
            "We found the content on our server by a program. Nothing is attached to this letter.",
            "Wir haben den Inhalt durch ein Programm auf unserem Server gefunden. Diesem Schreiben ist nichts "
            "beigefügt.",
        ),
        (_ORGANIZATION, _PERSON, _CONTACT, _SERVICE),
    ),
    _Kind(
        "dsa-article-18",
        (
            "Law enforcement or judicial authority of the member state concerned; where it is unclear which, of one's "
            "own, or Europol",
            "Strafverfolgungs- oder Justizbehörde des betroffenen Mitgliedstaats; wo unklar ist, welche: des eigenen, "
            "oder Europol",
        ),
        (
            "Notification of a suspicion under Article 18 of Regulation (EU) 2022/2065",
            "Meldung eines Verdachts nach Artikel 18 der Verordnung (EU) 2022/2065",
        ),
        (
            "As a provider of hosting services we became aware of information that gives rise to a suspicion that a "
            "criminal offence involving a threat to the life or safety of a person has taken place. This is all "
            "relevant information that is available to us; the content itself we give to you alone, on your request.",
            "Als Anbieter von Hostingdiensten haben wir Kenntnis von Informationen erhalten, die den Verdacht "
            "begründen, dass eine Straftat begangen wurde, die das Leben oder die Sicherheit einer Person gefährdet. "
            "Dies sind alle einschlägigen Informationen, die uns vorliegen; den Inhalt selbst geben wir nur "
            "Ihnen und auf Ihr Verlangen.",
        ),
        (_ORGANIZATION, _CONTACT, _SERVICE, _WHO),
    ),
)
LANGUAGES = ("en", "de")

_MISSING = ("[MISSING: {}]", "[FEHLT: {}]")
_TITLES = {
    "draft": (
        "DRAFT. Read it, complete it, and send it yourself.",
        "ENTWURF. Bitte lesen, ergänzen und selbst absenden.",
    ),
    "advice": (
        "This is not legal advice. Nobody who wrote this program is your lawyer.",
        "Dies ist keine Rechtsberatung. Niemand, der dieses Programm geschrieben hat, vertritt Sie.",
    ),
    "lacks": ("It lacks what it must have:", "Es fehlt, was darin stehen muss:"),
    "to": ("To", "An"),
    "subject": ("Subject", "Betreff"),
    "from": ("Who reports", "Wer meldet"),
    "what": ("What", "Was"),
    "when": ("When", "Wann"),
    "where": ("Where", "Wo"),
    "who": ("Who put it there", "Wer es eingestellt hat"),
    "suspicion": ("Why we suspect it", "Warum wir das vermuten"),
    "hashes": ("By what it is recognised", "Woran es erkannt wird"),
    "done": ("What we did", "Was wir getan haben"),
    "custody": ("What our records can prove", "Was unsere Aufzeichnungen belegen"),
}
_SURE = {Certainty.CERTAIN: "sicher", Certainty.LIKELY: "wahrscheinlich", Certainty.POSSIBLE: "möglich"}
_KNOWN = {
    Known.IN_USE: "Damals war es zuerst auf dem Server in Gebrauch, nach den Aufzeichnungen des Servers selbst.",
    Known.ASKED: "Damals wurde dieser Server zuerst gebeten, es aufzunehmen.",
    Known.EXAMINED: "Damals wurde es hier zuerst untersucht; wann es hochgeladen wurde, ist nicht bekannt.",
    Known.WRITTEN: "Damals wurde dies geschrieben; mehr ist nicht bekannt.",
}


def letters(evidence: Evidence) -> Iterator[Draft]:
    """Yield every letter in every language."""
    for kind in KINDS:
        lacking = [need for need in kind.needs if not need.there(evidence)]
        missing = tuple(need.english for need in lacking)
        for language, code in enumerate(LANGUAGES):
            text = "\n".join(_lines(evidence, kind, language, lacking)) + "\n"
            yield Draft(f"{kind.name}.{code}.txt", kind.to[0], text, missing)


def _lines(evidence: Evidence, kind: _Kind, lang: int, lacking: list[_Need]) -> Iterator[str]:
    def title(name: str) -> str:
        return _TITLES[name][lang]

    yield title("draft")
    yield from _wrapped(title("advice"))
    if lacking:
        yield title("lacks")
        yield from (f"- {(need.english, need.german)[lang]}" for need in lacking)
    yield ""
    yield from _wrapped(f"{title('to')}: {kind.to[lang]}")
    yield from _wrapped(f"{title('subject')}: {kind.subject[lang]}")
    yield ""
    yield from _wrapped(kind.why[lang])
    for name, of in (
        ("from", _reporter),
        ("what", _what),
        ("when", _when),
        ("where", _where),
        ("who", _who),
        ("suspicion", _suspicion),
        ("hashes", _hashes),
        ("done", _done),
        ("custody", _custody),
    ):
        lines = list(of(evidence, lang))
        # What must be there and is not is named where it should stand, too.
        lines += [_MISSING[lang].format((need.english, need.german)[lang]) for need in lacking if need.part == name]
        if lines:
            yield from ("", title(name), *(part for line in lines for part in _wrapped(line, "  ")))


def _reporter(evidence: Evidence, lang: int) -> Iterator[str]:
    del lang  # names are no words
    reporter = evidence.reporter
    for part in (reporter.organization, reporter.person, reporter.address, reporter.email, reporter.phone):
        if part:
            yield part


def _what(evidence: Evidence, lang: int) -> Iterator[str]:
    shown = evidence.shown
    size = "" if evidence.size is None else f", {evidence.size} {('bytes', 'Byte')[lang]}"
    shape = f", {shown.width}x{shown.height} {('pixels', 'Pixel')[lang]}" if shown.width else ""
    yield f"{shown.media_type or ('a file', 'eine Datei')[lang]}{size}{shape}"
    yield (
        "The file is not attached. To send it may be an offence; ask your authority how to hand it over.",
        "Die Datei ist nicht beigefügt. Sie zu versenden kann strafbar sein; fragen Sie die Behörde nach dem Weg.",
    )[lang]


def _when(evidence: Evidence, lang: int) -> Iterator[str]:
    at, how = evidence.incident()
    yield f"{moment(at)}. {(how.value, _KNOWN[how])[lang]}"


def _where(evidence: Evidence, lang: int) -> Iterator[str]:
    if evidence.reporter.service:
        yield f"{('server', 'Server')[lang]}: {evidence.reporter.service}"
    yield from evidence.urls()
    for row in evidence.shown.rows:
        yield f"{('stored as', 'gespeichert als')[lang]}: {row.key}"


def _who(evidence: Evidence, lang: int) -> Iterator[str]:
    for s in evidence.sightings():
        if said := whose(s, german=lang == 1):
            at = f", {moment(s.at)}" if s.at is not None else ""
            yield f"{said}{at} ({('how sure', 'wie sicher')[lang]}: {(s.certainty.value, _SURE[s.certainty])[lang]})"
    for upload in evidence.shown.uploads:
        if address := upload["told"].get("address"):
            yield (
                f"came from {address} at {moment(upload['at'])}, which may be our own proxy",
                f"kam von {address} am {moment(upload['at'])}; das kann unser eigener Proxy sein",
            )[lang]


def _suspicion(evidence: Evidence, lang: int) -> Iterator[str]:
    past = evidence.judgement
    yield (
        "A program judged the content by these rules, with these scores:",
        "Ein Programm hat den Inhalt nach diesen Regeln und mit diesen Werten beurteilt:",
    )[lang]
    yield from (reason_text(hit) for hit in (past.judgement.reasons if past is not None else ()))
    if (word := evidence.shown.confirmation) is not None:
        yield (
            f"A person here confirmed it at {moment(word.at)}.",
            f"Eine Person bei uns hat es am {moment(word.at)} bestätigt.",
        )[lang]
    if evidence.viewed_at is None:
        yield (
            "Our log of views knows of no person here who looked at it.",
            "Unser Protokoll der Ansichten kennt keine Person bei uns, die es angesehen hat.",
        )[lang]
    else:
        yield (
            f"A person here last looked at a small grey still of it at {moment(evidence.viewed_at)}.",
            f"Eine Person bei uns sah zuletzt am {moment(evidence.viewed_at)} ein kleines graues Standbild davon.",
        )[lang]


def _hashes(evidence: Evidence, lang: int) -> Iterator[str]:
    lines = [f"{kind}: {value}" for kind, value in hash_lines(evidence)]
    yield from lines[:_MOST_HASHES]
    if (more := len(lines) - _MOST_HASHES) > 0:
        yield (f"and {more} more", f"und {more} weitere")[lang]


def _done(evidence: Evidence, lang: int) -> Iterator[str]:
    yield (
        ("It was removed from the server.", "Der Inhalt wurde vom Server entfernt.")
        if evidence.removed
        else ("It is still on the server.", "Der Inhalt liegt noch auf dem Server.")
    )[lang]
    if any(seal.state.value == "sealed" for seal in evidence.seals):
        yield (
            "A copy is kept, encrypted to keys that are not on the server. We can open it for you.",
            "Eine Kopie ist aufbewahrt, verschlüsselt für Schlüssel, die nicht auf dem Server liegen. Wir können sie "
            "für Sie öffnen.",
        )[lang]
    else:
        yield ("No copy is kept by this program.", "Dieses Programm bewahrt keine Kopie auf.")[lang]


def _custody(evidence: Evidence, lang: int) -> Iterator[str]:
    custody = evidence.custody
    yield (
        f"An append-only chain of {custody.length} events; its last hash (SHA-256) is {custody.head.hex()}.",
        f"Eine fortlaufende Kette von {custody.length} Ereignissen; ihr letzter Hash (SHA-256): {custody.head.hex()}.",
    )[lang]


def _wrapped(said: str, indent: str = "") -> list[str]:
    plain = printable(said)
    return textwrap.wrap(
        plain, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
