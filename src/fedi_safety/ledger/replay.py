"""Applies a policy to stored scores, page by page. Works in the caller's transaction.

Does not decide: a policy's word comes from the caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, update

from fedi_safety.core.enums import PlanState, Verdict
from fedi_safety.core.ledger.stored_scores import UNDECIDED, OutcomesFn, RedecideFn, Rescorer
from fedi_safety.core.ports import Clock
from fedi_safety.core.types import Judgement
from fedi_safety.ledger import codec, planning, verdicts
from fedi_safety.ledger.compact.vocabulary import SCORES, Vocabulary
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Event, Kind, append_alone
from fedi_safety.ledger.schema import contents, plans
from fedi_safety.ledger.score_pages import Page, read_page, rescored
from fedi_safety.ledger.verdicts import VerdictWrite

_row = contents.c.id == bindparam("row")
_UNDECIDED = update(contents).where(_row).values(decided=False)
_SCORES = (
    update(contents).where(_row).values({name: bindparam(name) for name in (*SCORES, "detectors_id", "frame_scores")})
)
_SCORES_STILL_CLEAR = _SCORES.values(policy=bindparam("policy"), decided=True)


@dataclass(slots=True)
class Redecided:
    """What applying a policy to stored scores has come to; `unblocked` are contents of the last page."""

    last_id: int = 0
    decided: int = 0
    undecided: int = 0
    computed: int = 0
    unblocked: list[int] = field(default_factory=list)
    moves: Counter[str] = field(default_factory=Counter)


def redecide(
    database: Database,
    clock: Clock,
    run: int,
    policy: str,
    judge: RedecideFn,
    outcomes: OutcomesFn | None,
    rescorer: Rescorer | None,
) -> int:
    """See `Ledger.redecide`. Each page is a transaction of its own."""
    total = Redecided()
    more = True

    def page(so_far: Redecided) -> tuple[bool, Redecided]:
        counted = deepcopy(so_far)  # of a page that comes to nothing nothing is counted
        with database.write() as connection:
            now = clock.now()
            further = redecide_page(connection, now, run, policy, judge, counted, outcomes, rescorer)
            for part in codec.chunks(counted.unblocked if further else []):
                planning.close_waiting(connection, now, run, plans.c.content_id.in_(part), PlanState.SUPERSEDED)
        return further, counted

    while more:
        more, total = database.whole(partial(page, total))
    figures: dict[str, Any] = {"decided": total.decided, "undecided": total.undecided, "moves": dict(total.moves)}
    if total.computed:
        figures["computed"] = total.computed
    if total.decided or total.undecided:
        told = Event(Kind.REDECIDED, {"run": run, "policy": policy} | figures)
        database.whole(partial(append_alone, database, clock.now(), told))
    return total.decided


def redecide_page(
    connection: Connection,
    at: float,
    run: int,
    policy: str,
    judge: RedecideFn,
    total: Redecided,
    outcomes: OutcomesFn | None = None,
    rescorer: Rescorer | None = None,
) -> bool:
    """Decide the next page of contents anew; return False when there was none left.

    `judge` is asked about what has reasons, and what `outcomes` leaves to it; what stays clear without one leaves no
    trace.
    """
    page = read_page(connection, total.last_id, policy)
    if page is None:
        return False
    if rescorer is not None:
        page = rescored(connection, page, rescorer)
        total.computed += page.computed
    nothing_holds, unknown = np.zeros(len(page), bool), np.zeros(len(page), bool)
    if outcomes is not None:
        found = outcomes(page)
        nothing_holds = (found.words == Verdict.CLEAR.rank) & ~found.reasoned
        unknown = found.words == UNDECIDED
    clear = Judgement(Verdict.CLEAR, (), (), policy)
    still_clear: list[int] = []
    undecided: list[int] = []
    decided: dict[int, Judgement] = {}
    cells = page.cells
    told = zip(nothing_holds.tolist(), unknown.tolist(), page.was_clear, strict=True)
    for i, (no_rule, not_known, was_clear) in enumerate(told):
        if no_rule and was_clear:
            still_clear.append(i)
            continue
        judgement = clear if no_rule else None if not_known else judge(cells["sha256"][i], page.scores(i))
        if judgement is not None:
            decided[i] = judgement
        else:
            total.undecided += 1
            if cells["decided"][i]:
                undecided.append(cells["id"][i])
    total.last_id = cells["id"][-1]
    total.decided += len(still_clear) + len(decided)
    altered = [i for i in (*still_clear, *decided) if page.altered[i]]
    verdicts.keep_earlier(connection, [cells["id"][i] for i in {*altered, *decided}])
    columns = _columns(connection, page, altered)
    _keep_clear(connection, page, still_clear, columns, policy)
    _execute(
        connection, _SCORES, [{"row": cells["id"][i]} | _scores(page, i, columns[i]) for i in decided if i in columns]
    )
    _execute(connection, _UNDECIDED, [{"row": row} for row in undecided])
    writes = {i: _verdict_write(page, i, judgement, columns.get(i, {})) for i, judgement in decided.items()}
    # Scores that explain what is not clear are vouched for as well, where they alone are new.
    said_anew = [
        write
        for i, write in writes.items()
        if write.judgement != page.judgement(i) or (i in columns and write.judgement.verdict is not Verdict.CLEAR)
    ]
    verdicts.write_judgements(connection, at, run, said_anew)
    verdicts.put_in_force(connection, list(writes.values()))
    total.unblocked = [r.content_id for r in writes.values() if r.judgement.verdict is not Verdict.BLOCK]
    for write in writes.values():
        if write.judgement.verdict is not write.before:
            total.moves[f"{write.before.value} to {write.judgement.verdict.value}"] += 1
    return True


def _keep_clear(
    connection: Connection, page: Page, places: Sequence[int], columns: Mapping[int, dict[str, Any]], policy: str
) -> None:
    """Put the policy's name on contents that stay clear, and their scores where these are new."""
    ids = page.cells["id"]
    same = [ids[i] for i in places if i not in columns]
    for part in codec.chunks(same):
        connection.execute(update(contents).where(contents.c.id.in_(part)).values(policy=policy, decided=True))
    rows = [{"row": ids[i], "policy": policy} | _scores(page, i, columns[i]) for i in places if i in columns]
    _execute(connection, _SCORES_STILL_CLEAR, rows)


def _scores(page: Page, at: int, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of scores that were computed anew."""
    kept = page.frame_scores(at)
    data = page.cells["frame_scores"][at]
    return {**columns, "frame_scores": None if data is None or kept is None else kept.data}


def _columns(connection: Connection, page: Page, places: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return signals and detectors' row, as they are to be written, by place."""
    if not places:
        return {}
    vocabulary = Vocabulary(connection)
    bodies = {i: codec.dumps(dict(page.detectors[i])) for i in places}
    sets = verdicts.detectors_ids(connection, set(bodies.values()))
    return {i: vocabulary.columns(page.scores(i).signals) | {"detectors_id": sets[body]} for i, body in bodies.items()}


def _verdict_write(page: Page, at: int, judgement: Judgement, columns: Mapping[str, Any]) -> VerdictWrite:
    cells = page.cells
    needed = judgement.verdict is not Verdict.CLEAR or judgement.reasons
    return VerdictWrite(
        cells["id"][at],
        cells["sha256"][at],
        judgement,
        page.scores(at).signals if needed else {},
        columns.get("detectors_id", cells["detectors_id"][at]),
        codec.verdict_from(cells["verdict"][at]),
    )


def _execute(connection: Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, rows)
