"""What is proved of a content by the chain alone: its own events with their hashes, and reports to authorities."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, select, union

from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import LedgerUsageError, printable
from fedi_safety.core.ledger.evidence import ChainEntry, Custody, Submission, SubmissionState
from fedi_safety.core.ports import Clock
from fedi_safety.ledger import codec
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Event, Kind, append, entry_body, entry_hash
from fedi_safety.ledger.schema import acts, chain, contents, events, judgements, plans, runs

_KINDS = {
    SubmissionState.BEGUN: Kind.SUBMISSION_BEGUN,
    SubmissionState.OPENED: Kind.SUBMISSION_OPENED,
    SubmissionState.DONE: Kind.SUBMISSION_DONE,
    SubmissionState.FAILED: Kind.SUBMISSION_FAILED,
}
_STATES = {kind.value: state for state, kind in _KINDS.items()}
_MOST_DETAIL = 2000  # characters of what an authority answered


def custody(connection: Connection, sha256: bytes) -> Custody:
    """See `EvidenceReader.custody`."""
    e = events.c
    length, head = connection.execute(select(chain.c.length, chain.c.head)).one()
    mine = select(plans.c.id).join(contents, contents.c.id == plans.c.content_id).where(contents.c.sha256 == sha256)
    query = select(e.seq, e.at, e.kind, e.payload, e.prev_hash, e.hash).order_by(e.seq)
    # Joined by `or`, the two would have PostgreSQL go through all events.
    own = union(select(e.seq).where(e.sha256 == sha256), select(e.seq).where(e.plan_id.in_(mine)))
    query = query.where(e.seq.in_(own))
    entries = tuple(
        ChainEntry(
            seq,
            at,
            kind,
            entry_body(seq, at, kind, payload),
            prev_hash,
            own,
            own == entry_hash(prev_hash, seq, at, kind, payload),
        )
        for seq, at, kind, payload, prev_hash, own in connection.execute(query)
    )
    return Custody(length, head, entries)


def contents_of_run(connection: Connection, run: int) -> list[bytes] | None:
    """See `EvidenceReader.contents_of_run`."""
    if connection.execute(select(runs.c.id).where(runs.c.id == run)).first() is None:
        return None
    j, p, a = judgements.c, plans.c, acts.c
    condemned = select(j.content_id).where(j.run_id == run, j.verdict == Verdict.BLOCK.value)
    begun = select(p.content_id).join(acts, a.plan_id == p.id).where(a.run_id == run)
    planned = select(p.content_id).where(p.run_id == run)
    c = contents.c
    query = select(c.sha256).where(c.id.in_(union(condemned, planned, begun))).order_by(c.id)
    return list(connection.execute(query).scalars())


def submissions(connection: Connection, sha256: bytes) -> list[Submission]:
    """See `EvidenceReader.submissions`."""
    e = events.c
    query = select(e.at, e.kind, e.payload).where(e.sha256 == sha256, e.kind.in_(_STATES)).order_by(e.seq)
    found = []
    for at, kind, payload in connection.execute(query):
        said = codec.said_from(payload)
        words = {name: said[name] for name in ("authority", "environment", "document", "reference", "code", "detail")}
        found.append(Submission(**words, state=_STATES[kind], at=at))
    return found


def note(connection: Connection, at: float, sha256: bytes, step: Submission) -> None:
    """See `EvidenceKeeper.note_submission`."""
    said = asdict(step)
    del said["state"], said["at"]
    said["detail"] = printable(step.detail)[:_MOST_DETAIL]
    said["reference"] = printable(step.reference)
    append(connection, at, [Event(_KINDS[step.state], said, sha256)])


class EvidenceSide:
    """The side of a ledger that proves; see the ports in `core.ledger.evidence`."""

    database: Database
    clock: Clock

    def custody(self, sha256: bytes) -> Custody:
        """Return the events of a content, those of its plans and objects among them."""
        with self.database.read() as connection:
            return custody(connection, sha256)

    def contents_of_run(self, run: int) -> list[bytes] | None:
        """Return the contents that a run condemned, or planned or began to remove; None where there is no such run."""
        with self.database.read() as connection:
            return contents_of_run(connection, run)

    def submissions(self, sha256: bytes) -> list[Submission]:
        """Return the steps of all reports about a content, oldest first."""
        with self.database.read() as connection:
            return submissions(connection, sha256)

    def note_submission(self, sha256: bytes, step: Submission, known: int) -> None:
        """Record a step, durably when this returns, where there are just `known` steps."""
        with self.database.write() as connection:
            if len(submissions(connection, sha256)) != known:
                cause = "somebody else is reporting it at the same time"
                raise LedgerUsageError(sha256.hex(), cause, "see what became of that")
            note(connection, self.clock.now(), sha256, step)
