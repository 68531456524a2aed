"""Verdicts on contents: writing them, and those that rest on a person's word.

Works inside the caller's transaction. Does not decide: a policy's word comes from the caller.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import printable
from fedi_safety.core.policy import PERSONS_WORD, condemnation, dismissal
from fedi_safety.core.types import Judgement, Signal
from fedi_safety.ledger import codec, explanations
from fedi_safety.ledger.compact.vocabulary import AS_STORED, PAST, REASONS, SCORES, Vocabulary
from fedi_safety.ledger.counts import groups, sources, tallies
from fedi_safety.ledger.database.bulk import put
from fedi_safety.ledger.events import Event, Kind, append
from fedi_safety.ledger.schema import contents, detector_sets, dismissals, judgements

_CONTENT_UPDATE = (
    update(contents)
    .where(contents.c.id == bindparam("row"))
    .values({name: bindparam(name) for name in ("verdict", "policy", "labels", *REASONS)} | {"decided": True})
)
# A scan asks it of each picture that comes near to a rule.
_DISMISSED = select(dismissals.c.sha256).where(
    dismissals.c.sha256.in_(bindparam("sha256s", expanding=True)), dismissals.c.undone_at.is_(None)
)


@dataclass(frozen=True, slots=True)
class VerdictWrite:
    """A judgement to be written for a content; `before` is the verdict it replaces.

    `as_stored` says that its content's row has, or gets, just these signals.
    """

    content_id: int
    sha256: bytes
    judgement: Judgement
    signals: Mapping[str, Signal]
    detectors_id: int
    before: Verdict
    as_stored: bool = True

    @property
    def told(self) -> dict[str, Any]:
        """Return labels, reasons and signals as the history has them where they are written out."""
        judgement = self.judgement
        return {
            "labels": codec.dumps(judgement.labels),
            "reasons": codec.reasons_text(judgement.reasons),
            # Kept unless the verdict is clear: that one is explained by the content's own.
            "signals": None if judgement.verdict is Verdict.CLEAR else codec.signals_text(self.signals),
        }

    @property
    def in_content(self) -> bool:
        """Whether its content's row tells all of that as long as it is in force. What a person said never changes."""
        return self.as_stored and self.judgement.reasons != dismissal("").reasons

    @property
    def evented(self) -> bool:
        """Whether the chain must vouch for it."""
        return self.judgement.verdict is not Verdict.CLEAR or self.before is not Verdict.CLEAR


def digest(row: RowMapping | dict[str, Any], sha256: bytes, detectors: str) -> str:
    """Return the hash of a judgement row's columns, which its event carries."""
    return digest_of(sha256, detectors, *[row[name] for name in DIGESTED])


DIGESTED = ("at", "run_id", "verdict", "policy", "labels", "reasons", "signals")
"""The columns that a judgement's digest is of, in their order."""


def digest_of(sha256: bytes, detectors: str, *cells: Any) -> str:
    """Return the same of the columns `DIGESTED`."""
    body = codec.dumps_flat([sha256.hex(), detectors, *cells])
    return hashlib.sha256(body.encode("ascii")).hexdigest()


def detectors_ids(connection: Connection, bodies: Iterable[str]) -> dict[str, int]:
    """Return the row of each set of detector versions, added where it is new."""
    wanted = sorted(set(bodies))
    found = _detector_rows(connection, wanted)
    missing = [body for body in wanted if body not in found]
    if missing:
        connection.execute(insert(detector_sets), [{"body": body} for body in missing])
        found = _detector_rows(connection, wanted)
    return found


def _detector_rows(connection: Connection, bodies: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in codec.chunks(bodies):
        query = select(detector_sets.c.body, detector_sets.c.id).where(detector_sets.c.body.in_(part))
        found.update((body, row) for body, row in connection.execute(query))
    return found


@dataclass(frozen=True, slots=True)
class Rested:
    """What judgements rest on, as the ledger has it: detectors by their row, explanations by their content's."""

    detectors: Mapping[int, str]
    explanations: Mapping[int, str]


def _rested(connection: Connection, writes: Sequence[VerdictWrite]) -> Rested:
    bodies: dict[int, str] = {}
    for part in codec.chunks(sorted({r.detectors_id for r in writes if r.evented})):
        query = select(detector_sets.c.id, detector_sets.c.body).where(detector_sets.c.id.in_(part))
        bodies.update((row, body) for row, body in connection.execute(query))
    return Rested(bodies, explanations.bodies_of(connection, [write.content_id for write in writes if write.evented]))


def write_judgements(
    connection: Connection, at: float, run: int | None, writes: Sequence[VerdictWrite], rested: Rested | None = None
) -> None:
    """Append to the history, with the events that vouch for it, and for what is kept now of what it rests on.

    The contents' own columns are the caller's. Who knows what the judgements rest on says so, else it is read.
    """
    if not writes:
        return
    rested = rested or _rested(connection, writes)
    rows: list[dict[str, Any]] = []
    new: list[Event] = []
    owners: list[dict[str, Any]] = []
    for write in writes:
        judgement = write.judgement
        row: dict[str, Any] = {
            "content_id": write.content_id,
            "run_id": run,
            "at": at,
            "verdict": judgement.verdict.value,
            "policy": judgement.policy,
            "detectors_id": write.detectors_id,
            "event_seq": None,
        }
        told = write.told if write.evented or not write.in_content else {}
        rows.append(row | (_AS_STORED[judgement.verdict is Verdict.CLEAR] if write.in_content else told))
        if write.evented:
            payload = {
                "run": run,
                "verdict": judgement.verdict.value,
                "before": write.before.value,
                "policy": judgement.policy,
                "rules": [reason.rule for reason in judgement.reasons],
                "digest": digest(row | told, write.sha256, rested.detectors[write.detectors_id]),
            }
            if write.content_id in rested.explanations:
                payload["explanation"] = explanations.digest(rested.explanations[write.content_id])
            condemning = tuple(hit.rule for hit in judgement.reasons if hit.verdict is Verdict.BLOCK)
            new.append(Event(Kind.JUDGED, payload, write.sha256, condemning=condemning))
            owners.append(rows[-1])
    tallies.add_verdicts(connection, run, Counter(row["verdict"] for row in rows))
    for row, seq in zip(owners, append(connection, at, new), strict=True):
        row["event_seq"] = seq
    put(connection, judgements, rows)


_AS_STORED = (
    {"labels": AS_STORED, "reasons": AS_STORED, "signals": AS_STORED},
    {"labels": AS_STORED, "reasons": AS_STORED, "signals": None},
)
"""What the history has of a judgement that its content's row tells, by whether it is clear."""


def keep_earlier(connection: Connection, content_ids: Sequence[int]) -> None:
    """Write down in the history what is in force of these contents, before another judgement takes its place.

    Until then their own rows tell it. To be called before labels, reasons or signals of a content change.
    """
    vocabulary = Vocabulary(connection)
    for part in codec.chunks(sorted(set(content_ids))):
        _write_out(connection, vocabulary, part)
        _write_first(connection, vocabulary, part)


def _write_out(connection: Connection, vocabulary: Vocabulary, content_ids: Sequence[int]) -> None:
    j = judgements.c
    query = select(j.id, *PAST).join(contents, contents.c.id == j.content_id)
    found = connection.execute(query.where(j.content_id.in_(content_ids), j.reasons == AS_STORED)).all()
    rows = [{"row": row.id} | vocabulary.past(row) for row in found]
    if rows:
        told: dict[str, Any] = {name: bindparam(name) for name in ("labels", "reasons", "signals")}
        connection.execute(update(judgements).where(j.id == bindparam("row")).values(told), rows)


def _write_first(connection: Connection, vocabulary: Vocabulary, content_ids: Sequence[int]) -> None:
    """Begin the history of contents that have none: with the clear verdict that they had first."""
    c, j = contents.c, judgements.c
    own = ("verdict", "policy", "labels", *REASONS, *SCORES, "scored_at", "run_id", "detectors_id")
    query = select(c.id, *(c[name] for name in own)).where(c.id.in_(content_ids))
    none = ~select(j.id).where(j.content_id == c.id).exists()
    rows = [
        {
            "content_id": row.id,
            "run_id": row.run_id,
            "at": row.scored_at,
            "verdict": row.verdict,
            "policy": row.policy,
            "labels": row.labels,
            "reasons": codec.reasons_text(vocabulary.judgement(row).reasons),
            "signals": None,
            "detectors_id": row.detectors_id,
            "event_seq": None,
        }
        for row in connection.execute(query.where(none).order_by(c.id))
    ]
    if rows:
        connection.execute(insert(judgements), rows)


def put_in_force(connection: Connection, writes: Sequence[VerdictWrite]) -> None:
    """Make these judgements the ones in force for their contents, which count as decided from then on."""
    vocabulary = Vocabulary(connection)
    rows = [
        {
            "row": write.content_id,
            "verdict": write.judgement.verdict.value,
            "policy": write.judgement.policy,
            "labels": codec.dumps(write.judgement.labels),
        }
        | vocabulary.reason_columns(write.judgement.reasons, write.signals)
        for write in writes
    ]
    if rows:
        turned = [w.sha256 for w in writes if (w.before is Verdict.BLOCK) != (w.judgement.verdict is Verdict.BLOCK)]
        with sources.counted(connection, turned):
            connection.execute(_CONTENT_UPDATE, rows)
        groups.restate(connection, contents_of=[write.content_id for write in writes])


def content_row(connection: Connection, sha256: bytes) -> RowMapping | None:
    """Return what a person's word needs to know of a content, or None if there is none."""
    c = contents.c
    names = ("id", "verdict", "policy", "labels", *REASONS, *SCORES, "detectors_id", "dismissed_at")
    query = select(*(c[name] for name in names)).where(c.sha256 == sha256)
    return connection.execute(query).mappings().one_or_none()


def dismiss(
    connection: Connection,
    at: float,
    run: int | None,
    sha256: bytes,
    reason: str,
    row: RowMapping,
    by: str | None = None,
) -> None:
    """Make a content clear on a person's word, for good. Its plans are the caller's to close."""
    append(connection, at, [Event(Kind.DISMISSED, _said(run, reason, by), sha256)])
    known = connection.execute(select(dismissals.c.id).where(dismissals.c.sha256 == sha256)).scalar_one_or_none()
    values = {"at": at, "reason": reason, "undone_at": None}
    if known is None:
        connection.execute(insert(dismissals).values(sha256=sha256, **values))
    else:
        connection.execute(update(dismissals).where(dismissals.c.id == known).values(values))
    _mark(connection, sha256, at)
    policy = row["policy"]
    if policy == PERSONS_WORD and (earlier := _before_words(connection, row["id"])) is not None:
        policy = earlier.policy
    _put_on_record(connection, at, run, sha256, row, dismissal(policy))


def restore(
    connection: Connection,
    at: float,
    run: int | None,
    sha256: bytes,
    reason: str,
    row: RowMapping,
    by: str | None = None,
) -> None:
    """Undo a dismissal: the judgement before it is in force again, and the next scan judges the content anew."""
    append(connection, at, [Event(Kind.RESTORED, _said(run, reason, by), sha256)])
    connection.execute(update(dismissals).where(dismissals.c.sha256 == sha256).values(undone_at=at))
    _as_before_words(connection, at, run, sha256, row)
    _mark(connection, sha256, None)


def _mark(connection: Connection, sha256: bytes, dismissed_at: float | None) -> None:
    with sources.counted(connection, [sha256]):
        connection.execute(update(contents).where(contents.c.sha256 == sha256).values(dismissed_at=dismissed_at))


def condemn(connection: Connection, at: float, sha256: bytes, row: RowMapping) -> None:
    """Condemn on a person's word what was sent to review. The event of that word is the caller's to append."""
    vocabulary = Vocabulary(connection)
    signals = vocabulary.signals(*(row[name] for name in SCORES))
    reasons = vocabulary.reasons(row["shape_id"], row["reasons"], signals)
    sent = Judgement(codec.verdict_from(row["verdict"]), codec.labels_from(row["labels"]), reasons, row["policy"])
    _put_on_record(connection, at, None, sha256, row, condemnation(sent))


def uncondemn(connection: Connection, at: float, sha256: bytes, row: RowMapping) -> None:
    """Undo `condemn`: the judgement before it is in force again, and the next scan judges the content anew.

    Its plans are the caller's to close.
    """
    _as_before_words(connection, at, None, sha256, row)


def _as_before_words(connection: Connection, at: float, run: int | None, sha256: bytes, row: RowMapping) -> None:
    """Put in force what was judged before a person spoke, until it is judged anew: scores may be others by now."""
    earlier = _before_words(connection, row["id"])
    if earlier is not None:
        _put_on_record(connection, at, run, sha256, row, earlier)
    connection.execute(update(contents).where(contents.c.id == row["id"]).values(decided=False))


def _before_words(connection: Connection, content_id: int) -> Judgement | None:
    """Return the last judgement of a content that a policy gave, not a person."""
    j = judgements.c
    dismissed = codec.reasons_text(dismissal("").reasons)
    query = (
        select(j.verdict, j.policy, j.labels, j.reasons)
        .where(j.content_id == content_id, j.reasons != dismissed, j.policy != PERSONS_WORD)
        .order_by(j.id.desc())
        .limit(1)
    )
    earlier = connection.execute(query).one_or_none()
    return None if earlier is None else codec.judgement_from(*earlier)


def _said(run: int | None, reason: str, by: str | None) -> dict[str, Any]:
    """Return what an event of a person's word says; `by` only where that is known, as in all earlier ones it is not."""
    return {"run": run, "reason": reason} | ({} if by is None else {"by": printable(by)})


def _put_on_record(
    connection: Connection, at: float, run: int | None, sha256: bytes, row: RowMapping, judgement: Judgement
) -> None:
    before = codec.verdict_from(row["verdict"])
    signals = Vocabulary(connection).signals(*(row[name] for name in SCORES))
    write = VerdictWrite(row["id"], sha256, judgement, signals, row["detectors_id"], before)
    keep_earlier(connection, [write.content_id])
    write_judgements(connection, at, run, [write])
    put_in_force(connection, [write])


def dismissed_among(connection: Connection, sha256s: Sequence[bytes]) -> set[bytes]:
    """Return which contents stand dismissed now."""
    found: set[bytes] = set()
    for part in codec.chunks(sha256s):
        found.update(connection.execute(_DISMISSED, {"sha256s": part}).scalars())
    return found
