"""Writes what a scan found: contents, judgements, objects and failures. Works in the caller's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, select, update

from fedi_safety.core.enums import PlanState, Verdict
from fedi_safety.core.errors import printable
from fedi_safety.core.explained.text import text_of
from fedi_safety.core.policy import PERSONS_WORD, by_a_person, dismissal
from fedi_safety.core.types import Judged, Judgement, Object, Unscanned
from fedi_safety.ledger import codec, embeddings, explanations, planning, verdicts
from fedi_safety.ledger.compact.vocabulary import REASONS, SCORES, Vocabulary
from fedi_safety.ledger.counts import groups, sources, tallies
from fedi_safety.ledger.counts.tallies import Tally, What
from fedi_safety.ledger.database.bulk import numbers, parts, put
from fedi_safety.ledger.embeddings import Keep
from fedi_safety.ledger.known import hashes
from fedi_safety.ledger.schema import State, contents, objects, plans
from fedi_safety.ledger.schema import explanations as explained

RETRY_FIRST_S = 60.0
RETRY_MOST_S = 24 * 3600.0

_SHAPE = (
    *("size", "media_type", "width", "height", "frames", "total", "partly", "decoder"),
    *("scored_at", "detectors_id", "names_id", "scores", "signals", "frame_scores"),
)
_RESCORE = update(contents).where(contents.c.id == bindparam("row")).values({n: bindparam(n) for n in _SHAPE})

_FOUND = (
    *("size", "mtime_ns", "tag", "state", "content_id", "sha256"),
    *("reason", "detail", "decoder", "attempts", "retry_at"),
)
_REFIND = (
    update(objects)
    .where(objects.c.id == bindparam("row"))
    .values({name: bindparam(name) for name in (*_FOUND, "judged_at", "group_id")})
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
    group_id: int | None


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
    found = _Contents(connection, at, run, list(judged.values()))
    found.change()
    put = _Objects(connection, at, store_id, {r.object.key: r for r in results}, found)
    found.add()
    put.write()
    found.tell(keep)
    put.part(run)


def record_contents(
    connection: Connection, at: float, run: int, judged: Sequence[Judged], keep: Keep = Keep.NO
) -> None:
    """Bring the contents up to date, embeddings included where they are kept."""
    found = _Contents(connection, at, run, judged)
    found.change()
    found.add()
    found.tell(keep)


@dataclass(frozen=True, slots=True)
class _Found:
    """A judged content on its way into the ledger; `judgement` is a person's word where there is one."""

    item: Judged
    judgement: Judgement
    dismissed: bool
    columns: dict[str, Any]  # of its scores (`vocabulary.SCORES`)
    detectors_id: int
    explanation: str | None

    @property
    def sha256(self) -> bytes:
        """Return the content's hash."""
        return self.item.content.sha256

    def explains_anew(self, row: _Row) -> bool:
        """Whether what is kept of what it rests on is another now. Who tells nothing takes nothing of it back."""
        same = self.same_scores(row)
        return self.item.fresh and self.explanation != row.body and not (self.explanation is None and same)

    def same_scores(self, row: _Row) -> bool:
        """Whether the ledger has these scores of it, by these detectors."""
        own = (*(self.columns[name] for name in SCORES), self.detectors_id)
        return own == (row.names_id, row.scores, row.signals, row.detectors_id)

    def says_new(self, row: _Row, vocabulary: Vocabulary) -> bool:
        """Whether the judgement belongs into the history.

        One that was read from the ledger says nothing new unless another policy gave it.
        """
        if not self.item.fresh:
            return self.judgement.policy != str(row.policy)
        if not self.same_scores(row):
            return True
        if self.explains_anew(row) and self.judgement.verdict is not Verdict.CLEAR:
            return True  # so that an event vouches for it
        return self.judgement != vocabulary.judgement(row, self.item.content.scores.signals)

    def write(self, content_id: int, before: Verdict, *, as_stored: bool = True) -> verdicts.VerdictWrite:
        """Return the judgement as it is to be written."""
        signals = self.item.content.scores.signals
        return verdicts.VerdictWrite(
            content_id, self.sha256, self.judgement, signals, self.detectors_id, before, as_stored
        )


class Standing(NamedTuple):
    """What of a content decides in which group its objects are."""

    verdict: str | None
    labels: str | None
    partly: bool


class _Contents:
    """The contents of a batch. Made, all that is needed of the ledger is read, and nothing is written yet.

    What is written goes from what is known already over what is new to what is told of both: a database at the other
    end of a line writes the new ones while the objects that have them are made ready.
    """

    def __init__(self, connection: Connection, at: float, run: int, judged: Sequence[Judged]) -> None:
        """Read what is known of them; take numbers for those that are not."""
        self._connection, self._at, self._run, self._judged = connection, at, run, judged
        self._vocabulary = Vocabulary(connection)
        known = _known_contents(connection, [item.content.sha256 for item in judged])
        found, self._detectors = _found(connection, judged, known, self._vocabulary)
        self._new = [f for f in found if f.sha256 not in known]
        self._met = [(f, known[f.sha256]) for f in found if f.sha256 in known]
        self._history, self._in_force = _verdict_writes(self._met, self._vocabulary)
        own = zip(self._new, numbers(connection, contents, len(self._new)), strict=True)
        self.ids = {sha256: row.id for sha256, row in known.items()} | {f.sha256: number for f, number in own}
        self.met = {row.id for row in known.values()}
        self.standing: dict[int, Standing] = {}
        """How those stand that are new, by their row, when they are added."""
        condemned = [f.sha256 for f in self._new if f.judgement.verdict is Verdict.BLOCK]
        self._traced = sources.traced(connection, condemned)

    def change(self) -> None:
        """Write scores and verdicts of those that are known, where they are others now."""
        rescored = list(_rescored(self._at, self._met))
        changed = [columns["row"] for columns in rescored]
        verdicts.keep_earlier(self._connection, [w.content_id for w in self._history] + changed)
        if rescored:
            self._connection.execute(_RESCORE, rescored)
            groups.restate(self._connection, contents_of=changed)
        verdicts.put_in_force(self._connection, self._in_force)

    def add(self) -> None:
        """Write those that are new, with the judgement in force."""
        with sources.counted(self._connection, self._traced):
            for part in parts(self._connection, self._new):
                rows = [self._row(f) for f in part]
                put(self._connection, contents, rows)
                for row in rows:
                    self.standing[row["id"]] = Standing(row["verdict"], row["labels"], row["partly"] is not None)

    def _row(self, found: _Found) -> dict[str, Any]:
        """Return the row of a new content, with the judgement in force."""
        row = _content_columns(found, self._at)
        row |= _verdict_columns(found, self._at if found.dismissed else None, self._vocabulary)
        row |= {"run_id": self._run, "id": self.ids[found.sha256]}
        return row

    def tell(self, keep: Keep) -> None:
        """Write the history and what the judgements rest on; close plans of what is not condemned any more."""
        connection, at, run, ids = self._connection, self._at, self._run, self.ids
        new = {ids[f.sha256]: f.explanation for f in self._new if f.explanation is not None}
        anew = {r.id: f.explanation for f, r in self._met if f.explains_anew(r)}
        explanations.put(connection, new, new=True)
        explanations.put(connection, anew, new=False)
        kept = {r.id: r.body for _, r in self._met} | anew | new
        rested = verdicts.Rested(self._detectors, {row: body for row, body in kept.items() if body is not None})
        # A first verdict that is clear stands in its content alone.
        told = [f for f in self._new if f.judgement.verdict is not Verdict.CLEAR or f.dismissed]
        if len(told) < len(self._new):
            tallies.add_verdicts(connection, run, {Verdict.CLEAR.value: len(self._new) - len(told)})
        history = self._history + [f.write(ids[f.sha256], Verdict.CLEAR) for f in told]
        verdicts.write_judgements(connection, at, run, history, rested)
        before = [w for w in self._in_force if w.before is Verdict.BLOCK]
        freed = [w.content_id for w in before if w.judgement.verdict is not Verdict.BLOCK]
        for part in codec.chunks(freed):
            planning.close_waiting(connection, at, run, plans.c.content_id.in_(part), PlanState.SUPERSEDED)
        hashed = {ids[i.content.sha256]: i.content.hashes for i in self._judged if i.content.hashes is not None}
        hashes.put(connection, hashed)
        if keep is not Keep.NO:
            made = ((ids[i.content.sha256], i.content.scores.embeddings) for i in self._judged)
            embeddings.keep(connection, keep, made)


def _found(
    connection: Connection, judged: Sequence[Judged], known: Mapping[bytes, _Row], vocabulary: Vocabulary
) -> tuple[list[_Found], dict[int, str]]:
    """Return the contents as they are to be written, and which sets of detectors gave their scores, by row."""
    dismissed = verdicts.dismissed_among(connection, [item.content.sha256 for item in judged])
    bodies = [codec.dumps(dict(item.content.scores.detectors)) for item in judged]
    sets = verdicts.detectors_ids(connection, bodies)
    found = []
    for item, body in zip(judged, bodies, strict=True):
        gone = item.content.sha256 in dismissed
        judgement = dismissal(item.judgement.policy) if gone else item.judgement
        row = known.get(item.content.sha256)
        if row is not None and not gone and row.policy == PERSONS_WORD:
            stands = vocabulary.judgement(row)
            judgement = stands if by_a_person(stands) else judgement
        scores = item.content.scores
        explanation = None if scores.explanation is None else text_of(scores.explanation)
        found.append(_Found(item, judgement, gone, vocabulary.columns(scores.signals), sets[body], explanation))
    return found, {row: body for body, row in sets.items()}


def _rescored(at: float, met: Sequence[tuple[_Found, _Row]]) -> Iterator[dict[str, Any]]:
    """Yield the columns of contents that this run scored, where anything in them is another than it was."""
    for found, row in met:
        columns = _content_columns(found, at)
        if found.item.fresh and any(getattr(row, name) != columns[name] for name in (*_SEEN, *SCORES, "detectors_id")):
            yield columns | {"row": row.id}


def _verdict_writes(
    met: Sequence[tuple[_Found, _Row]], vocabulary: Vocabulary
) -> tuple[list[verdicts.VerdictWrite], list[verdicts.VerdictWrite]]:
    """Return of contents that were known what belongs into the history, and what comes into force.

    What a person dismissed stays as it is.
    """
    history: list[verdicts.VerdictWrite] = []
    in_force: list[verdicts.VerdictWrite] = []
    for found, row in met:
        if found.dismissed:
            continue
        as_stored = found.item.fresh or found.same_scores(row)
        write = found.write(row.id, codec.verdict_from(row.verdict), as_stored=as_stored)
        says_new = found.says_new(row, vocabulary)
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
        **found.columns,
        "frame_scores": codec.frames_column(content.frames, content.scores),
    }


def _verdict_columns(found: _Found, dismissed_at: float | None, vocabulary: Vocabulary) -> dict[str, Any]:
    judgement = found.judgement
    return {
        "verdict": judgement.verdict.value,
        "policy": judgement.policy,
        "labels": codec.dumps(judgement.labels),
        **vocabulary.reason_columns(judgement.reasons, found.item.content.scores.signals),
        "decided": True,
        "dismissed_at": dismissed_at,
    }


def _known_contents(connection: Connection, sha256s: Sequence[bytes]) -> dict[bytes, _Row]:
    c, x = contents.c, explained.c
    found: dict[bytes, _Row] = {}
    seen = (c[name] for name in _SEEN)
    judgement = (c[name] for name in ("verdict", "policy", "labels", *REASONS, "decided"))
    columns = (c.sha256, c.id, *judgement, *(c[name] for name in SCORES), c.detectors_id, *seen)
    query = select(*columns, x.body).outerjoin(explained, x.content_id == c.id)
    for part in codec.chunks(sha256s):
        found.update((row.sha256, row) for row in connection.execute(query.where(c.sha256.in_(part))))
    return found


class _Objects:
    """The objects of a batch. Made, all that is needed of the ledger is read, and nothing is written yet."""

    def __init__(
        self,
        connection: Connection,
        at: float,
        store_id: int,
        results: dict[str, Judged | Unscanned],
        found: _Contents,
    ) -> None:
        """Read what is known of them, and how the contents stand that they have or get."""
        self._connection, self._at, self._store_id, self._results = connection, at, store_id, results
        self._ids = found.ids
        self._stored = _stored_objects(connection, store_id, list(results))
        known = {before.content_id for before in self._stored.values() if before.content_id is not None}
        self._counted = _Counted(connection, store_id, known | found.met, found.standing)
        self._relinked: list[int] = []
        self._left: list[int] = []  # contents that lose an object

    def write(self) -> None:
        """Write them, counted."""
        refound: list[dict[str, Any]] = []
        for part in parts(self._connection, list(self._results.items())):
            put(self._connection, objects, self._rows(part, refound))
        if refound:
            self._connection.execute(_REFIND, refound)
        self._counted.write()

    def _rows(
        self, results: Sequence[tuple[str, Judged | Unscanned]], refound: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the rows of those that are new, and put what becomes of the others to `refound`."""
        added: list[dict[str, Any]] = []
        for key, result in results:
            before = self._stored.get(key)
            if isinstance(result, Judged):
                columns = _judged_columns(result, self._at, self._ids)
            else:
                columns = _unscanned_columns(result, self._at, before)
            columns["group_id"] = self._counted.group(before, columns)
            if before is None:
                columns |= {"store_id": self._store_id, "key": codec.key_bytes(key), "first_seen": self._at}
                added.append(columns)
                continue
            refound.append(columns | {"row": before.id})
            if before.content_id is not None and columns["content_id"] != before.content_id:
                self._relinked.append(before.id)
                self._left.append(before.content_id)
        return added

    def part(self, run: int) -> None:
        """Close the plans that were made for what does not stand there any more, and let go of what nothing has."""
        for part in codec.chunks(self._relinked):
            where = plans.c.object_id.in_(part)
            planning.close_waiting(self._connection, self._at, run, where, PlanState.SUPERSEDED)
        embeddings.forget_orphans(self._connection, self._left)


class _Counted:
    """Counts the objects of a batch as they are written."""

    def __init__(
        self, connection: Connection, store_id: int, content_ids: set[int], new: Mapping[int, Standing]
    ) -> None:
        """Read how these contents stand; how those do that are new is known by the time when objects are counted."""
        self._connection = connection
        self._store_id = store_id
        self._groups = groups.Groups(connection)
        self._days: Counter[Tally] = Counter()
        self._contents: dict[int | None, Standing] = {None: Standing(None, None, False)}
        self._new = new
        c = contents.c
        query = select(c.id, c.verdict, c.labels, c.partly.is_not(None))
        for part in codec.chunks(sorted(content_ids)):
            found = connection.execute(query.where(c.id.in_(part)))
            self._contents.update((row, Standing(*standing)) for row, *standing in found)

    def group(self, before: _Stored | None, columns: Mapping[str, Any]) -> int:
        """Return the group of an object with these columns, and count it."""
        content_id = columns["content_id"]
        told = self._new.get(content_id) or self._contents[content_id]
        group = groups.group_of(self._store_id, columns["state"], columns["reason"], None, *told)
        number = self._groups.number(group)
        self._groups.move(None if before is None else before.group_id, number)
        for at, more in ((None if before is None else before.judged_at, -1), (columns["judged_at"], 1)):
            if at is not None:
                self._days[Tally(What.JUDGED, self._store_id, "", tallies.day_of(at))] += more
        return number

    def write(self) -> None:
        self._groups.write()
        tallies.add(self._connection, self._days)


def _judged_columns(result: Judged, at: float, content_ids: Mapping[bytes, int]) -> dict[str, Any]:
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
        o.group_id,
    )
    for part in codec.chunks(keys):
        wanted = [codec.key_bytes(key) for key in part]
        query = (
            select(*columns)
            .outerjoin(contents, contents.c.id == o.content_id)
            .where(o.store_id == store_id, o.key.in_(wanted))
        )
        for row_id, raw, size, mtime_ns, tag, *further in connection.execute(query):
            key = codec.key_text(raw)
            found[key] = _Stored(row_id, Object(key, size, mtime_ns, tag), *further)
    return found
