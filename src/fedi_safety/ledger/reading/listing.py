"""`list`: the objects that filters let through, with what is known of each, by the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedi_safety.core.enums import SKIPPED, Verdict
from fedi_safety.core.ledger.rows import Filters, Row
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact.meanings import Meanings
from fedi_safety.ledger.reading.asking import Asking, Piece, Reading
from fedi_safety.ledger.reading.candidates import Pick, candidates, prefixed
from fedi_safety.ledger.reading.rows import AWAY, ENDED, SKIPPED_STATE, TURNED, row_from, rows_where
from fedi_safety.ledger.reading.states import IMPORTED_LABEL, State

_FIRST_ROWS = 50


def _words(values: Any) -> str:
    """Return words of our own as a list in a question."""
    return f"({', '.join(repr(str(value)) for value in values)})"


_NO_MEDIA = _words(sorted(reason.value for reason in SKIPPED))
_UNSCANNED = f"objects.state = '{State.UNSCANNED}'"


def list_objects(reading: Reading, filters: Filters | None = None, limit: int | None = None) -> Iterator[Row]:
    """Yield the objects that `filters` lets through, oldest first, page by page, at most `limit`.

    An index tells which objects may be meant (`candidates`); the first page is short, so that it is soon there.
    """
    wanted = filters or Filters()
    conditions = _conditions(wanted)
    after, left, size = 0, limit, _FIRST_ROWS
    pick: Pick | None = None

    def page_behind() -> tuple[Pick, list[int], list[Row]]:
        with reading.asked() as asking:
            picking = pick or candidates(asking, wanted)
            question, values = picking(after, size)
            ids = [row["id"] for row in asking.ask(question, **values)]
            return picking, ids, _page(asking, ids, conditions, left) if ids else []

    while left is None or left > 0:
        pick, ids, page = reading.whole(page_behind)
        yield from page
        if len(ids) < size:
            return
        after, size = ids[-1], codec.BATCH_ROWS
        left = None if left is None else left - len(page)


def _page(asking: Asking, ids: list[int], conditions: list[Piece], left: int | None) -> list[Row]:
    values: dict[str, Any] = {"ids": ids}
    for _, own in conditions:
        values |= own
    ending = ""
    if left is not None:
        ending, values["most"] = " LIMIT :most", left
    question = rows_where(["objects.id IN :ids", *(condition for condition, _ in conditions)], ending)
    meanings = Meanings(asking)
    return [row_from(row, meanings) for row in asking.ask(question, **values)]


def _conditions(wanted: Filters) -> list[Piece]:
    found: list[Piece] = []
    if wanted.store is not None:
        found.append(("stores.url = :store", {"store": wanted.store}))
    if wanted.state is not None:
        found.append((_in_state(wanted.state), {}))
    if wanted.verdict is not None:
        found.append(_of_verdict(wanted.verdict))
    if wanted.label is not None:
        found.append(_labelled(wanted.label))
    if wanted.reason is not None:
        found.append((f"objects.reason = :reason AND {_UNSCANNED}", {"reason": wanted.reason.value}))
    if wanted.act is not None:
        found.append(("plans.act = :act", {"act": wanted.act.value}))
    if wanted.plan_state is not None:
        found.append(("plans.state = :plan_state", {"plan_state": wanted.plan_state.value}))
    if wanted.prefix:
        found.append(prefixed(wanted.prefix))
    if wanted.partly:
        found.append((f"contents.partly IS NOT NULL AND objects.state = '{State.JUDGED}'", {}))
    if wanted.since is not None:
        found.append((_STANDS_SINCE, {"since": wanted.since}))
    if wanted.sha256 is not None:
        found.append(("(contents.sha256 = :sha256 OR objects.sha256 = :sha256)", {"sha256": wanted.sha256}))
    return found


def _of_verdict(verdict: Verdict) -> Piece:
    judged = f"(contents.verdict = :verdict AND objects.state != '{State.UNSCANNED}')"
    values = {"verdict": verdict.value}
    if verdict is Verdict.REVIEW:
        return judged, values
    taken_over = State.HISTORY if verdict is Verdict.BLOCK else State.TRUSTED
    return f"({judged} OR objects.state = '{taken_over}')", values


def _labelled(label: str) -> Piece:
    by_import = f"objects.state IN {_words((State.HISTORY, State.TRUSTED))}"
    if label != IMPORTED_LABEL:
        by_import = f"({by_import} AND objects.detail = :label)"
    text = codec.dumps(label).replace("/", "//").replace("%", "/%").replace("_", "/_")
    values = {"labels": f"%{text}%"} | ({} if label == IMPORTED_LABEL else {"label": label})
    return f"({by_import} OR contents.labels LIKE :labels ESCAPE '/')", values


def _in_state(name: str) -> str:
    """Return the condition that an object is in a state as people know it (`records.STATES`)."""
    if name == SKIPPED_STATE:  # what is no media stands among the unscanned ones, told by its reason
        return f"({_UNSCANNED} AND objects.reason IN {_NO_MEDIA})"
    if name == State.UNSCANNED:
        return f"({_UNSCANNED} AND objects.reason NOT IN {_NO_MEDIA})"
    same = (State.JUDGED, State.TRUSTED) if name == State.JUDGED else (State(name),)
    return f"objects.state IN {_words(same)}"


# That an object stands as it does since then or later. In words of indexes; see `rows`.
_STANDS_SINCE = (
    f"((objects.state = '{State.JUDGED}' AND (objects.judged_at >= :since OR objects.content_id IN "
    f"(SELECT judgements.content_id FROM judgements WHERE judgements.at >= :since AND {TURNED}))) "
    f"OR (objects.state IN {_words(AWAY)} AND plans.state IN {_words(ENDED)} AND plans.updated_at >= :since) "
    f"OR (objects.state NOT IN {_words((State.JUDGED, *AWAY))} AND objects.first_seen >= :since))"
)
