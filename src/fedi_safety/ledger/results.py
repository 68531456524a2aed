"""Writes what a scan found: contents, judgements, objects and failures. Works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from fedi_safety.core.enums import PlanState, Verdict
from fedi_safety.core.errors import printable
from fedi_safety.core.explained.text import text_of
from fedi_safety.core.policy import by_a_person, dismissal
from fedi_safety.core.types import Judged, Judgement, Object, Unscanned
from fedi_safety.ledger import codec, embeddings, explanations, planning, verdicts
from fedi_safety.ledger.embeddings import Keep
from fedi_safety.ledger.known import hashes
from fedi_safety.ledger.schema import State, contents, objects, plans
from fedi_safety.ledger.schema import explanations as explained

RETRY_FIRST_S = 60.0
RETRY_MOST_S = 24 * 3600.0

_SHAPE = (
    *("size", "media_type", "width", "height", "frames", "total", "partly", "decoder"),
    *("scored_at", "detectors_id", "signals", "frame_scores"),
)
_RESCORE = update(contents).where(contents.c.id == bindparam("row")).values({n: bindparam(n) for n in _SHAPE})

_FOUND = (
    *("size", "mtime_ns", "tag", "state", "content_id", "sha256"),
    *("reason", "detail", "decoder", "attempts", "retry_at"),
)
_REFIND = (
    update(objects)
    .where(objects.c.id == bindparam("row"))
    .values({name: bindparam(name) for name in (*_FOUND, "judged_at")})
)


_SEEN = (
    "frames",
    "total",
    "partly",
    "decoder",
    "frame_scores",
)  # what another look may change although the scores are the same

_Row = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the ledger has of an object before this batch."""

    id: int
    object: Object
    state: str
    content_id: int | None
    content_sha256: bytes | None
    attempts: int
    judged_at: float | None


def record(
    connection: Connection,
    at: float,
    run: int,
    store_id: int,
    results: Sequence[Judged | Unscanned],
    keep: Keep = Keep.NO,
) -> None:
    """See `Ledger.record`. The last word counts where a batch names an object or a content twice."""
    judged = {r.content.sha256: r for r in results if isinstance(r, Judged) and not r.fresh}
    judged |= {r.content.sha256: r for r in results if isinstance(r, Judged) and r.fresh}
    content_ids = record_contents(connection, at, run, list(judged.values()), keep)
    _record_objects(connection, at, run, store_id, {r.object.key: r for r in results}, content_ids)


@dataclass(frozen=True, slots=True)
class _Found:
    """A judged content on its way into the ledger; `judgement` is a person's word where there is one."""

    item: Judged
    judgement: Judgement
    dismissed: bool
    signals: str
    detectors_id: int
    explanation: str | None

    @property
    def sha256(self) -> bytes:
        """Return the content's hash."""
        return self.item.content.sha256

    def explains_anew(self, row: _Row) -> bool:
        """Whether what is kept of what it rests on is another now. Who tells nothing takes nothing of it back."""
        same_scores = (self.signals, self.detectors_id) == (row.signals, row.detectors_id)
        return self.item.fresh and self.explanation != row.body and not (self.explanation is None and same_scores)

    def says_new(self, row: _Row) -> bool:
        """Whether the judgement belongs into the history.

        One that was read from the ledger says nothing new unless another policy gave it.
        """
        if not self.item.fresh:
            return self.judgement.policy != str(row.policy)
        if (self.signals, self.detectors_id) != (row.signals, row.detectors_id):
            return True
        if self.explains_anew(row) and self.judgement.verdict is not Verdict.CLEAR:
            return True  # so that an event vouches for it
        return self.judgement != _in_force(row)

    def write(self, content_id: int, before: Verdict) -> verdicts.VerdictWrite:
        """Return the judgement as it is to be written."""
        return verdicts.VerdictWrite(content_id, self.sha256, self.judgement, self.signals, self.detectors_id, before)


def record_contents(
    connection: Connection, at: float, run: int, judged: Sequence[Judged], keep: Keep = Keep.NO
) -> dict[bytes, int]:
    """Bring the contents up to date, embeddings included where they are kept, and return their rows."""
    if not judged:
        return {}
    known = _known_contents(connection, [item.content.sha256 for item in judged])
    found = _found(connection, judged, known)
    new = [f for f in found if f.sha256 not in known]
    met = [(f, known[f.sha256]) for f in found if f.sha256 in known]
    ids = {sha256: row.id for sha256, row in known.items()} | _add_contents(connection, at, new)
    if rescored := list(_rescored(at, met)):
        connection.execute(_RESCORE, rescored)
    explanations.put(connection, {ids[f.sha256]: f.explanation for f in new if f.explanation is not None}, new=True)
    explanations.put(connection, {row.id: f.explanation for f, row in met if f.explains_anew(row)}, new=False)
    history, in_force = _verdict_writes(met)
    history += [f.write(ids[f.sha256], Verdict.CLEAR) for f in new]
    verdicts.write_judgements(connection, at, run, history)
    verdicts.put_in_force(connection, in_force)
    freed = [w.content_id for w in in_force if w.before is Verdict.BLOCK and w.judgement.verdict is not Verdict.BLOCK]
    for part in codec.chunks(freed):
        planning.close_waiting(connection, at, run, plans.c.content_id.in_(part), PlanState.SUPERSEDED)
    hashes.put(connection, {ids[i.content.sha256]: i.content.hashes for i in judged if i.content.hashes is not None})
    if keep is not Keep.NO:
        embeddings.keep(connection, keep, ((ids[i.content.sha256], i.content.scores.embeddings) for i in judged))
    return ids


def _in_force(row: _Row) -> Judgement:
    return codec.judgement_from(row.verdict, row.policy, row.labels, row.reasons)


def _found(connection: Connection, judged: Sequence[Judged], known: Mapping[bytes, _Row]) -> list[_Found]:
    dismissed = verdicts.dismissed_among(connection, [item.content.sha256 for item in judged])
    bodies = [codec.dumps(dict(item.content.scores.detectors)) for item in judged]
    sets = verdicts.detectors_ids(connection, bodies)
    found = []
    for item, body in zip(judged, bodies, strict=True):
        gone = item.content.sha256 in dismissed
        judgement = dismissal(item.judgement.policy) if gone else item.judgement
        row = known.get(item.content.sha256)
        if row is not None and not gone and by_a_person(stands := _in_force(row)):
            judgement = stands
        scores = item.content.scores
        explanation = None if scores.explanation is None else text_of(scores.explanation)
        found.append(_Found(item, judgement, gone, codec.signals_text(scores.signals), sets[body], explanation))
    return found


def _add_contents(connection: Connection, at: float, new: Sequence[_Found]) -> dict[bytes, int]:
    """Write contents that the ledger did not know, with the judgement in force; return their rows."""
    rows = [_content_columns(f, at) | _verdict_columns(f.judgement, at if f.dismissed else None) for f in new]
    for part in codec.chunks(rows):
        connection.execute(insert(contents), part)
    return _content_ids(connection, [f.sha256 for f in new])


def _rescored(at: float, met: Sequence[tuple[_Found, _Row]]) -> Iterator[dict[str, Any]]:
    """Yield the columns of contents that this run scored, where anything in them is another than it was."""
    for found, row in met:
        columns = _content_columns(found, at)
        if found.item.fresh and any(
            getattr(row, name) != columns[name] for name in (*_SEEN, "signals", "detectors_id")
        ):
            yield columns | {"row": row.id}


def _verdict_writes(
    met: Sequence[tuple[_Found, _Row]],
) -> tuple[list[verdicts.VerdictWrite], list[verdicts.VerdictWrite]]:
    """Return of contents that were known what belongs into the history, and what comes into force.

    What a person dismissed stays as it is.
    """
    history: list[verdicts.VerdictWrite] = []
    in_force: list[verdicts.VerdictWrite] = []
    for found, row in met:
        if found.dismissed:
            continue
        write = found.write(row.id, Verdict(row.verdict))
        says_new = found.says_new(row)
        if says_new:
            history.append(write)
        if says_new or (found.item.fresh and not row.decided):
            in_force.append(write)
    return history, in_force


def _content_columns(found: _Found, at: float) -> dict[str, Any]:
    content = found.item.content
    return {
        "sha256": content.sha256,
        "size": content.size,
        "media_type": content.media_type.value,
        "width": content.width,
        "height": content.height,
        "frames": content.frames,
        "total": content.total or None,
        "partly": None if content.partly is None else printable(content.partly),
        "decoder": content.decoder or None,
        "scored_at": at,
        "detectors_id": found.detectors_id,
        "signals": found.signals,
        "frame_scores": codec.frames_column(content.frames, content.scores),
    }


def _verdict_columns(judgement: Judgement, dismissed_at: float | None) -> dict[str, Any]:
    return {
        "verdict": judgement.verdict.value,
        "policy": judgement.policy,
        "labels": codec.dumps(judgement.labels),
        "reasons": codec.reasons_text(judgement.reasons),
        "decided": True,
        "dismissed_at": dismissed_at,
    }


def _known_contents(connection: Connection, sha256s: Sequence[bytes]) -> dict[bytes, _Row]:
    c, x = contents.c, explained.c
    found: dict[bytes, _Row] = {}
    seen = (c[name] for name in _SEEN)
    columns = (c.sha256, c.id, c.verdict, c.policy, c.labels, c.reasons, c.signals, c.detectors_id, c.decided, *seen)
    query = select(*columns, x.body).outerjoin(explained, x.content_id == c.id)
    for part in codec.chunks(sha256s):
        found.update((row.sha256, row) for row in connection.execute(query.where(c.sha256.in_(part))))
    return found


def _content_ids(connection: Connection, sha256s: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for part in codec.chunks(sha256s):
        query = select(contents.c.sha256, contents.c.id).where(contents.c.sha256.in_(part))
        found.update((sha256, row) for sha256, row in connection.execute(query))
    return found


def _record_objects(
    connection: Connection,
    at: float,
    run: int,
    store_id: int,
    results: dict[str, Judged | Unscanned],
    content_ids: dict[bytes, int],
) -> None:
    stored = _stored_objects(connection, store_id, list(results))
    added: list[dict[str, Any]] = []
    refound: list[dict[str, Any]] = []
    relinked: list[int] = []
    left: list[int] = []  # contents that lose an object
    for key, result in results.items():
        before = stored.get(key)
        if isinstance(result, Judged):
            columns = _judged_columns(result, at, content_ids)
        else:
            columns = _unscanned_columns(result, at, before)
        if before is None:
            added.append(columns | {"store_id": store_id, "key": codec.key_bytes(key), "first_seen": at})
            continue
        refound.append(columns | {"row": before.id})
        if before.content_id is not None and columns["content_id"] != before.content_id:
            relinked.append(before.id)
            left.append(before.content_id)
    for part in codec.chunks(added):
        connection.execute(insert(objects), part)
    if refound:
        connection.execute(_REFIND, refound)
    for relinked_part in codec.chunks(relinked):
        # What these plans were made for does not stand there any more.
        planning.close_waiting(connection, at, run, plans.c.object_id.in_(relinked_part), PlanState.SUPERSEDED)
    embeddings.forget_orphans(connection, left)


def _judged_columns(result: Judged, at: float, content_ids: dict[bytes, int]) -> dict[str, Any]:
    return {
        "size": result.object.size,
        "mtime_ns": result.object.mtime_ns,
        "tag": result.object.tag,
        "state": State.JUDGED.value,
        "content_id": content_ids[result.content.sha256],
        "sha256": None,
        "reason": None,
        "detail": None,
        "decoder": None,
        "attempts": 0,
        "retry_at": None,
        "judged_at": at,
    }


def _unscanned_columns(result: Unscanned, at: float, before: _Stored | None) -> dict[str, Any]:
    obj = result.object
    attempts, content_id, judged_at = 1, None, None
    if before is not None and before.object == obj:
        if before.state == State.UNSCANNED:
            attempts = before.attempts + 1
        # A failure to read it again takes nothing back, unless these are known to be other bytes.
        if result.sha256 is None or result.sha256 == before.content_sha256:
            content_id, judged_at = before.content_id, before.judged_at
    retry_at = None
    if result.reason.transient:
        retry_at = at + min(RETRY_MOST_S, RETRY_FIRST_S * 2.0 ** min(attempts - 1, 30))
    return {
        "size": obj.size,
        "mtime_ns": obj.mtime_ns,
        "tag": obj.tag,
        "state": State.UNSCANNED.value,
        "content_id": content_id,
        "sha256": result.sha256 if content_id is None else None,
        "reason": result.reason.value,
        "detail": printable(result.detail),
        "decoder": result.decoder or None,
        "attempts": attempts,
        "retry_at": retry_at,
        "judged_at": judged_at,
    }


def _stored_objects(connection: Connection, store_id: int, keys: Sequence[str]) -> dict[str, _Stored]:
    o = objects.c
    found: dict[str, _Stored] = {}
    columns = (
        o.id,
        o.key,
        o.size,
        o.mtime_ns,
        o.tag,
        o.state,
        o.content_id,
        contents.c.sha256,
        o.attempts,
        o.judged_at,
    )
    for part in codec.chunks(keys):
        wanted = [codec.key_bytes(key) for key in part]
        query = (
            select(*columns)
            .outerjoin(contents, contents.c.id == o.content_id)
            .where(o.store_id == store_id, o.key.in_(wanted))
        )
        for row_id, raw, size, mtime_ns, tag, state, content_id, sha256, attempts, judged_at in connection.execute(
            query
        ):
            key = codec.key_text(raw)
            obj = Object(key, size, mtime_ns, tag)
            found[key] = _Stored(row_id, obj, state, content_id, sha256, attempts, judged_at)
    return found
