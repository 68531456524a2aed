"""Evidence in sections, as the page and the text have it alike: facts by name, and tables. Plain words, not escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedi_safety.core.errors import printable
from fedi_safety.core.sealing.copies import Seal, SealDigest, SealState
from fedi_safety.core.wording.reasons import reason_text
from fedi_safety.reports.evidence.facts import NOT_ADVICE, VIEWED, Draft, Evidence, hash_lines, moment, whose


@dataclass(frozen=True, slots=True)
class Section:
    """A part with a title: rows of cells below headings (which may be empty), and sentences."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


FACTS = ("", "")
"""The headings of a section that has facts by name."""

CUSTODY_FILE = "custody.jsonl"


def sections(evidence: Evidence, drafts: Sequence[Draft]) -> list[Section]:
    """Return all that is known, section by section; those without anything are left out."""
    found = [
        _head(evidence),
        _what(evidence),
        Section("Hashes", ("kind", "hash"), list(hash_lines(evidence)), _unhashed(evidence)),
        Section("When", ("when (UTC)", "what"), sorted(_moments(evidence))),
        Section("Where", FACTS, list(_where(evidence))),
        Section("Who", ("as what", "whose", "when (UTC)", "how sure"), list(_who(evidence)), _nobody(evidence)),
        Section("Uploads at the gate", ("when (UTC)", "asked from", "called", "outcome"), list(_uploads(evidence))),
        _verdict(evidence),
        Section("Scores", ("signal", "score", "where"), list(_scores(evidence))),
        Section("By which detectors", ("detector", "version and weights"), list(_detectors(evidence))),
        Section("What a person said", FACTS, list(_word(evidence))),
        Section(
            "Sealed copies",
            ("name", "state", "sealed (UTC)", "kept until (UTC)", "more"),
            [_seal(seal) for seal in evidence.seals],
        ),
        _custody(evidence),
        Section("Sent to authorities", ("when (UTC)", "to", "step", "reference"), list(_sent(evidence))),
        Section("Drafts beside this page", ("file", "for", "lacks"), [_draft(draft) for draft in drafts]),
    ]
    return [section for section in found if section.rows or section.notes]


def _head(evidence: Evidence) -> Section:
    notes = [
        NOT_ADVICE,
        f"Made at {moment(evidence.made_at)} by fedi-safety {evidence.version} from its ledger. The picture "
        "is not here, and no file here shows it.",
        "The verdict is a program's, by the rule and the scores below."
        + (" A person confirmed it." if evidence.shown.confirmation is not None else "")
        + (" The log of views knows of no person here who looked at it." if evidence.viewed_at is None else ""),
    ]
    if evidence.shown.dismissal is not None:
        notes.append(
            "A PERSON DISMISSED IT: it was judged wrongly, in that person's word. There are no drafts, and nothing is "
            "to be reported."
        )
    return Section("What this is", FACTS, (), notes)


def _what(evidence: Evidence) -> Section:
    shown = evidence.shown
    shape = f"{shown.width}x{shown.height} pixels" if shown.width else ""
    of = f" of {shown.total}" if shown.total and shown.total > 1 else ""
    rows = [
        ("kind", shown.media_type or ""),
        ("size", "" if evidence.size is None else f"{evidence.size:,} bytes"),
        ("shape", shape),
        ("frames judged", "" if shown.frames is None else f"{shown.frames}{of}"),
        ("judged in part", shown.partly or ""),
        ("on the server", "not any more" if evidence.removed else "yes, as far as the ledger knows"),
    ]
    return Section("What it is", FACTS, [row for row in rows if row[1]])


def _unhashed(evidence: Evidence) -> tuple[str, ...]:
    if evidence.hashes is not None:
        return ()
    return ("The ledger has no other hashes of it: it was judged by an older version, or by a worker.",)


def _moments(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for sighting in evidence.sightings():
        if sighting.at is not None:
            yield moment(sighting.at), f"in use as {sighting.kind.value.replace('_', ' ')}, says the server's record"
    for upload in evidence.shown.uploads:
        yield moment(upload["at"]), f"upload at the gate: {upload['state']}"
    for past in evidence.shown.judgements:
        yield moment(past.at), f"judged: {past.judgement.verdict.value}"
    done = {plan["id"]: plan["act"] for plan in evidence.shown.plans}
    for act in evidence.shown.acts:
        if act["closed_at"] is not None:
            yield moment(act["closed_at"]), f"action {done[act['plan_id']]}: {act['outcome']}"
    if (word := evidence.shown.confirmation) is not None:
        yield moment(word.at), "confirmed by a person"
    for entry in evidence.custody.entries:
        if entry.kind == VIEWED:
            yield moment(entry.at), "a person was shown a small grey still of it"


def _where(evidence: Evidence) -> Iterator[tuple[str, str]]:
    if evidence.reporter.service:
        yield "server", evidence.reporter.service
    for row in evidence.shown.rows:
        yield "object", f"{row.key} in {row.store}, {row.state}"
    for url in evidence.urls():
        yield "address", url
    for record in evidence.shown.traces:
        for origin in record.subject.origins:
            yield "copied from", origin
    for name in evidence.names():
        if name not in {printable(row.key) for row in evidence.shown.rows}:
            yield "called", name


def _who(evidence: Evidence) -> Iterator[tuple[str, str, str, str]]:
    for s in evidence.sightings():
        at = "" if s.at is None else moment(s.at)
        record = f", record {s.record}" if s.record else ""
        yield s.kind.value.replace("_", " "), whose(s), at, f"{s.certainty.value} by {s.way.value}{record}"


def _nobody(evidence: Evidence) -> tuple[str, ...]:
    if evidence.person() is not None:
        return ()
    return ("Nobody was found who put it there.",)


def _uploads(evidence: Evidence) -> Iterator[tuple[str, str, str, str]]:
    for upload in evidence.shown.uploads:
        told = upload["told"]
        asked = f"{told.get('address') or ''} ({upload['sender']})".strip()
        outcome = ", ".join(filter(None, (upload["state"], upload["reason"], upload["detail"])))
        yield moment(upload["at"]), asked, told.get("file_name") or "", outcome


def _verdict(evidence: Evidence) -> Section:
    past = evidence.judgement
    if past is None:
        return Section("Which rule", FACTS, ())
    said = past.judgement
    rows = [("verdict", said.verdict.value), ("policy", said.policy), ("labels", ", ".join(said.labels))]
    rows += [("rule", reason_text(hit)) for hit in said.reasons]
    return Section("Which rule", FACTS, [row for row in rows if row[1]])


def _scores(evidence: Evidence) -> Iterator[tuple[str, str, str]]:
    past = evidence.judgement
    for name, signal in sorted((past.signals or {}).items() if past is not None else ()):
        matches = "; ".join(match.text for match in signal.matches)
        where = signal.where or f"frame {signal.frame}"
        yield name, f"{signal.value:.4f}", f"{where}{f', {matches}' if matches else ''}"


def _detectors(evidence: Evidence) -> Iterator[tuple[str, str]]:
    past = evidence.judgement
    yield from sorted(past.detectors.items() if past is not None else ())


def _word(evidence: Evidence) -> Iterator[tuple[str, str]]:
    shown = evidence.shown
    if (word := shown.confirmation) is not None:
        yield "confirmed", f"by {word.by} at {moment(word.at)}{f': {word.reason}' if word.reason else ''}"
    if shown.dismissal is not None:
        yield "dismissed", shown.dismissal or "no reason given"
    for action in shown.actions:
        yield "through the app", f"{action.text}, {action.state.value}, at {moment(action.at)}"


def _seal(seal: Seal) -> tuple[str, str, str, str, str]:
    more = [f"held: {seal.held or 'no reason given'}"] if seal.held is not None else []
    if seal.filed_at is not None:
        more.append(f"filed with {seal.authority}, reference {seal.reference}, at {moment(seal.filed_at)}")
    if seal.digest is not None:
        name, value = SealDigest.told(seal.digest)
        more.append(f"{name} of the sealed file {value.hex()}")
    until = "" if seal.state is not SealState.SEALED else "no end of its own"
    if seal.state is SealState.SEALED and seal.expires_at is not None:
        until = moment(seal.expires_at)
    made = "" if seal.made_at is None else moment(seal.made_at)
    return f"{seal.name} in {seal.vault}", seal.state.value, made, until, "; ".join(more)


def _custody(evidence: Evidence) -> Section:
    custody = evidence.custody
    rows = [(f"{e.seq}", moment(e.at), e.kind, e.hash.hex()) for e in custody.entries]
    notes = [
        f"Every event of the ledger carries the hash of the one before it. The chain had {custody.length:,} events "
        f"when this was written; the hash of the last is {custody.head.hex()}. Note both down: only "
        "who knew them then can show later that nothing was changed.",
        f"{CUSTODY_FILE} has each event of this content as it is hashed: `hash` is the SHA-256 of `prev_hash` (as "
        "bytes) followed by `body`. That nothing beside it was changed the whole ledger shows, on the server.",
    ]
    if altered := [str(e.seq) for e in custody.entries if not e.intact]:
        notes.append(f"NOT INTACT: event {', '.join(altered)} does not have the hash that it should have.")
    return Section("Chain of custody", ("event", "when (UTC)", "what", "hash"), rows, notes)


def _sent(evidence: Evidence) -> Iterator[tuple[str, str, str, str]]:
    for step in evidence.submissions:
        yield moment(step.at), f"{step.authority} ({step.environment})", step.state.value, step.reference


def _draft(draft: Draft) -> tuple[str, str, str]:
    return draft.name, draft.recipient, "; ".join(draft.missing) or "nothing that it must have"
