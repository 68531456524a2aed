"""Contents that meet lists of known images: found by what their scores name, written anew where the lists change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, TextClause, and_, bindparam, func, select, text, update

from fedi_safety.core.decide import lists_behind
from fedi_safety.core.enums import PlanState, Verdict
from fedi_safety.core.errors import printable
from fedi_safety.core.ledger.matches import TURNED, ListHits, Rematch, Turned
from fedi_safety.core.policy import by_a_person
from fedi_safety.core.ports import Clock
from fedi_safety.core.types import Object
from fedi_safety.ledger import codec, planning, verdicts
from fedi_safety.ledger.compact.vocabulary import PAST, REASONS, SCORES, Vocabulary
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Event, Kind, append
from fedi_safety.ledger.schema import (
    NAMES_AN_ENTRY,
    State,
    acts,
    confirmations,
    contents,
    dismissals,
    judgements,
    objects,
    plans,
    runs,
    stores,
)
from fedi_safety.ledger.statistics import let_go
from fedi_safety.ledger.verdicts import VerdictWrite

_PAGE = 2_000
_c, _o = contents.c, objects.c
_SCORES = (
    update(contents)
    .where(_c.id == bindparam("row"))
    .values({name: bindparam(name) for name in (*SCORES, "frame_scores")})
)
_UNDECIDED = update(contents).where(_c.id == bindparam("row")).values(decided=False)


def names_an_entry() -> TextClause:
    """Return the condition that a content meets a list, in the words of the index of those that do."""
    return text(f"contents.{NAMES_AN_ENTRY}")


@codec.stored("matches of a content")
def _lists_in(text: str) -> set[str]:
    """Return which lists a content meets, from what its signals say beyond numbers."""
    return {match[0] for cell in codec.said_from(text).values() if len(cell) > 1 for match in cell[1]}


def rematch(connection: Connection, at: float, run: int, found: Sequence[Rematch]) -> None:
    """See `MatchLedger.rematch`."""
    rows = _rows(connection, [each.sha256 for each in found])
    verdicts.keep_earlier(connection, [row.id for row in rows.values()])
    vocabulary = Vocabulary(connection)
    scores: list[dict[str, Any]] = []
    writes: list[VerdictWrite] = []
    undecided: list[dict[str, Any]] = []
    for each in found:
        row = rows.get(each.sha256)
        if row is None:
            continue
        signals = each.scores.signals
        frames = codec.frames_column(row.frames, each.scores)
        scores.append({"row": row.id, "frame_scores": frames} | vocabulary.columns(signals))
        if row.dismissed_at is not None:
            continue
        stands = vocabulary.judgement(row)
        judgement = stands if by_a_person(stands) else each.judgement
        if judgement is None:  # the old one stands until it is read again, and is vouched for with the scores of now
            judgement = stands
            undecided.append({"row": row.id})
        before = codec.verdict_from(row.verdict)
        writes.append(VerdictWrite(row.id, each.sha256, judgement, signals, row.detectors_id, before))
    if scores:
        connection.execute(_SCORES, scores)
    verdicts.write_judgements(connection, at, run, writes)
    verdicts.put_in_force(connection, writes)
    if undecided:
        connection.execute(_UNDECIDED, undecided)
    freed = [write.content_id for write in writes if write.judgement.verdict is not Verdict.BLOCK]
    for part in codec.chunks(freed):
        planning.close_waiting(connection, at, run, plans.c.content_id.in_(part), PlanState.SUPERSEDED)


def _rows(connection: Connection, sha256s: Sequence[bytes]) -> dict[bytes, Any]:
    judgement = (_c[name] for name in ("verdict", "policy", "labels", *REASONS, *SCORES))
    query = select(_c.sha256, _c.id, *judgement, _c.detectors_id, _c.dismissed_at, _c.frames)
    found: dict[bytes, Any] = {}
    for part in codec.chunks(sha256s):
        found.update((row.sha256, row) for row in connection.execute(query.where(_c.sha256.in_(part))))
    return found


class MatchSide:
    """The side of a ledger that knows which contents meet lists; see the port `MatchLedger`."""

    database: Database
    clock: Clock

    def matched(self) -> Iterator[int]:
        """Yield the contents, by their numbers, whose scores name an entry of a list."""
        for row in self._numbered_rows(select(_c.id).where(names_an_entry()), _c.id):
            yield row.id

    def had_lists(self) -> bool:
        """Whether what was judged was ever compared with a list, or met one."""
        of_a_list = runs.c.settings.like('%"list":"%'), runs.c.settings.not_like('%"list":""%')
        compared = select(runs.c.id).where(runs.c.kind == "hashes", *of_a_list).limit(1)
        met = select(_c.id).where(names_an_entry()).limit(1)
        with self.database.read() as connection:
            return any(connection.execute(query).first() is not None for query in (met, compared))

    def hits_by_list(self) -> dict[str, ListHits]:
        """Count the contents that meet entries, by list."""
        n = confirmations.c
        query = (
            select(_c.id, _c.signals, _c.dismissed_at, n.id.label("confirmation"))
            .outerjoin(confirmations, and_(n.sha256 == _c.sha256, n.undone_at.is_(None)))
            .where(names_an_entry())
        )
        totals, confirmed, dismissed = Counter[str](), Counter[str](), Counter[str]()
        for row in self._numbered_rows(query, _c.id):
            named = _lists_in(row.signals)
            totals.update(named)
            confirmed.update(named if row.confirmation is not None else ())
            dismissed.update(named if row.dismissed_at is not None else ())
        turned = self._turned()
        return {
            name: ListHits(totals[name], confirmed[name], dismissed[name], turned.get(name))
            for name in totals.keys() | turned.keys()
        }

    def _turned(self) -> dict[str, Turned]:
        """Return when lists last turned to review by themselves, by list. Runs are few, events are not."""
        r = runs.c
        query = select(r.started_at, r.settings).where(r.kind == "hashes", r.settings.like(f'%"{TURNED}":%'))
        found = {}
        with self.database.read() as connection:
            for at, settings in connection.execute(query.order_by(r.id)):
                said = codec.said_from(settings)
                if isinstance(counts := said.get(TURNED), dict):  # and is not how somebody called a list
                    found[said["list"]] = Turned(at, counts["contents"], counts["dismissed"])
        return found

    def turn_list(self, run: int, name: str, hits: ListHits) -> None:
        """Record that a list turns to review by itself."""
        said = {"run": run, "list": printable(name), "contents": hits.contents, "dismissed": hits.dismissed}
        with self.database.write() as connection:
            append(connection, self.clock.now(), [Event(Kind.LIST_TURNED, said)])

    def dismissals(self) -> Iterator[bytes]:
        """Yield every content, by its SHA-256, that stands dismissed by a person."""
        d = dismissals.c
        for row in self._numbered_rows(select(d.id, d.sha256).where(d.undone_at.is_(None)), d.id):
            yield row.sha256

    def objects_of(self, sha256s: Sequence[bytes]) -> Iterator[tuple[str, Object, bytes]]:
        """Yield the judged objects that have these contents: their store's URL, themselves, their content."""
        query = (
            select(stores.c.url, _o.key, _o.size, _o.mtime_ns, _o.tag, _c.sha256)
            .join(stores, stores.c.id == _o.store_id)
            .join(contents, _c.id == _o.content_id)
            .where(_o.state == State.JUDGED.value)
            .order_by(_o.id)
        )
        for part in codec.chunks(sha256s):
            with self.database.read() as connection:
                rows = connection.execute(query.where(_c.sha256.in_(part))).all()
            for url, key, size, mtime_ns, tag, sha256 in rows:
                yield url, Object(codec.key_text(key), size, mtime_ns, tag), sha256

    def removed_by_list(self, store: str, within_s: float) -> dict[str, int]:
        """Count what was removed so lately, or since a person last let the breaker go, for a list alone, by list."""
        counted = Counter[str]()
        j = judgements.c
        # Of each act the judgement that it rested on: what a list has said of the content since does not count.
        e = judgements.alias("earlier").c
        before = (
            select(func.max(e.id))
            .where(e.content_id == plans.c.content_id, e.verdict == Verdict.BLOCK.value, e.at <= acts.c.closed_at)
            .scalar_subquery()
        )
        with self.database.read() as connection:
            since = let_go(connection, store, self.clock.now() - within_s)
            query = (
                select(j.verdict, j.policy, *PAST)
                .select_from(acts)
                .join(plans, plans.c.id == acts.c.plan_id)
                .join(objects, _o.id == plans.c.object_id)
                .join(stores, stores.c.id == _o.store_id)
                .join(judgements, j.id == before)
                .join(contents, _c.id == j.content_id)
                .where(stores.c.url == store, acts.c.outcome == PlanState.DONE.value, acts.c.closed_at > since)
            )
            vocabulary = Vocabulary(connection)
            for row in connection.execute(query).all():
                told = vocabulary.past(row)
                judgement = codec.judgement_from(row.verdict, row.policy, told["labels"], told["reasons"])
                counted.update(lists_behind(judgement))
        return dict(counted)

    def rematch(self, run: int, found: Sequence[Rematch]) -> None:
        """Put these scores and judgements in force, in one transaction."""
        if not found:
            return
        now = self.clock.now()
        with self.database.write() as connection:
            rematch(connection, now, run, found)

    def _numbered_rows(self, query: Any, number: Any) -> Iterator[Any]:
        """Yield rows in order of their number; nothing is held open while one is looked at."""
        after = 0
        while True:
            with self.database.read() as connection:
                rows = connection.execute(query.where(number > after).order_by(number).limit(_PAGE)).all()
            if not rows:
                return
            yield from rows
            after = rows[-1].id
