"""Judgements held against the events that vouch for them. Changes nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, or_, select

from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import DamagedError
from fedi_safety.ledger import codec
from fedi_safety.ledger.checks.chain import Broken, named_pages, read_payload, says
from fedi_safety.ledger.compact.vocabulary import AS_STORED, PAST, Vocabulary
from fedi_safety.ledger.events import Kind
from fedi_safety.ledger.explanations import digest as digest_of
from fedi_safety.ledger.schema import NOT_CLEAR, contents, detector_sets, events, explanations, judgements
from fedi_safety.ledger.verdicts import digest_of as judgement_digest


def check_judgements(connection: Connection, told: int) -> bool:
    """Compare the history with the events that vouch for it, of which there are so many.

    What is in force has its content's own columns. Returns whether each content stands as the last event about it says,
    and what has none stands clear; where that is not so, `_check_verdicts` tells of which.
    """
    j, e, c = judgements.c, events.c, contents.c
    later = judgements.alias("later").c
    last = select(func.max(later.event_seq)).where(later.content_id == c.id)  # each event has a row, see below
    query = (
        select(*(j[name] for name in ("id", "at", "run_id", "verdict", "policy", "event_seq", "detectors_id")))
        .add_columns(*PAST, c.sha256, detector_sets.c.body)
        .add_columns(e.kind, e.payload, last.correlate(contents).scalar_subquery().label("last"))
        .add_columns(*(c[name].label(f"own_{name}") for name in ("verdict", "policy", "detectors_id")))
        .add_columns(explanations.c.body.label("explained"))
        .join(contents, c.id == j.content_id)
        .join(detector_sets, detector_sets.c.id == j.detectors_id)
        .outerjoin(events, e.seq == j.event_seq)
        .outerjoin(explanations, explanations.c.content_id == c.id)
        .where(or_(j.event_seq.is_not(None), j.verdict != Verdict.CLEAR.value))
    )
    vocabulary = Vocabulary(connection)
    sound, vouched, standing = True, 0, 0
    for page in named_pages(connection, query, j.id):
        for row in page:
            payload = row.payload if row.kind == Kind.JUDGED else "{}"
            past = _past(vocabulary, row)
            told_as = past["labels"], past["reasons"], past["signals"]
            hashed = judgement_digest(row.sha256, row.body, row.at, row.run_id, row.verdict, row.policy, *told_as)
            about = row.sha256.hex()
            if not (says(payload, "sha256", about) and says(payload, "digest", hashed)):
                said = read_payload(payload)
                if (said.get("sha256"), said.get("digest")) != (about, hashed):
                    own_too = ", or what is in force of it," if row.reasons == AS_STORED else ""
                    raise Broken(f"judgement {row.id} of content {about}{own_too} was altered")
            vouched += 1
            if row.event_seq == row.last:
                standing += row.own_verdict != Verdict.CLEAR.value
                sound = sound and _in_force(vocabulary, row)
    # Each event has a row of its own, so that the last one about each content was among them.
    of_each = connection.execute(select(func.count(j.event_seq.distinct()))).scalar_one()
    return sound and vouched == told == int(of_each) and standing == not_clear(connection)


def _in_force(vocabulary: Vocabulary, row: Any) -> bool:
    """Whether a content stands for the judgement of this row, and as its event says; no where that is not plain."""
    if not says(row.payload, "verdict", row.own_verdict):
        return False
    if row.own_verdict == Verdict.CLEAR.value:
        return True
    if (row.own_policy, row.own_detectors_id) != (row.policy, row.detectors_id):
        return False
    alike = row.reasons == AS_STORED  # its digest is of the content's own columns
    if not alike:
        own = row.own_names_id, row.own_scores, row.own_signals, row.own_shape_id, row.own_reasons, row.own_labels
        alike = same(vocabulary, own, (row.labels, row.reasons, row.signals))
    return alike and says(row.payload, "explanation", digest_of(row.explained))


def not_clear(connection: Connection) -> int:
    """Return how many contents are not clear."""
    query = select(func.count()).select_from(contents).where(contents.c.verdict != Verdict.CLEAR.value, NOT_CLEAR)
    return int(connection.execute(query).scalar_one())


def _past(vocabulary: Vocabulary, row: Any) -> dict[str, Any]:
    """Return how a judgement was reasoned; nothing where its columns were altered so that nobody can read them."""
    try:
        return vocabulary.past(row)
    except DamagedError:
        return {"labels": None, "reasons": None, "signals": None}


def same(vocabulary: Vocabulary, own: tuple[Any, ...], told: tuple[str, str, str | None]) -> bool:
    """Whether a content's columns say what the labels, reasons and signals of a judgement do."""
    names_id, scores, further, shape_id, text, labels = own
    if told[1] == AS_STORED:  # its digest is of the content's own columns
        return True
    try:
        signals = vocabulary.signals(names_id, scores, further)
        reasons = vocabulary.reasons(shape_id, text, signals)
        read = codec.reasons_from(told[1]), codec.signals_from(told[2] or "{}")
    except DamagedError:
        return False
    return labels == told[0] and (reasons, signals) == read
