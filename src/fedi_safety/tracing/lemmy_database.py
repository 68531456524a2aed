"""Who put a picture there, by Lemmy's own PostgreSQL: 0.19.4 and later, and 1.0. It only reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fedi_safety.core.errors import TraceError
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing.database import ServerDatabase
from fedi_safety.tracing.lemmy_names import UNNAMED, Question, names_of, questions
from fedi_safety.tracing.lemmy_schema import VERSIONS, By, Search, Tables
from fedi_safety.tracing.questions import MOST, Query, Questions

_AT_ONCE = 10  # texts that are searched for by one query


class LemmyDatabase:
    """Asks Lemmy's tables, by an index first; what has none is searched last, as long as there is time."""

    def __init__(self, database: ServerDatabase, root: str | None) -> None:
        """Take the database, and the server's address where it is configured; its own record adds to that."""
        self._database = database
        self._root = root

    def trace(self, subject: Subject, within_s: float) -> Traced:
        """Return where the picture is in use; see `Way.ask`."""
        names = names_of(subject)
        if not names:
            return Traced(unknown=UNNAMED)
        with self._database.session(within_s) as session:
            schema = self._database.schema(session, [tables.schema for tables in VERSIONS])
            tables = next(tables for tables in VERSIONS if tables.schema is schema)
            own = [url.rstrip("/") for (url,) in session.rows(tables.home)]
            roots = dict.fromkeys([*own, *([] if self._root is None else [self._root])])
            return _searched(Questions(session, within_s), tables, questions(names, list(roots)))


def _searched(ask: Questions, tables: Tables, asked: Sequence[Question]) -> Traced:
    found: dict[Sighting, None] = {}
    closed: list[TraceError] = []
    for search in sorted(tables.searches, key=lambda search: not search.indexed):
        if _needless(search, found):
            continue
        query = Query(search.query, "" if search.indexed else search.what)
        try:
            for certainty, params in ((q.certainty, params) for q in asked for params in searched_by(q, search.by)):
                rows = ask.rows(query, most=MOST, **params)
                found |= dict.fromkeys(sighting for row in rows for sighting in _sightings(search, certainty, row))
                if len(rows) == MOST:
                    ask.left_out.append(f"there are more {search.what} than the {MOST} that are named")
        except TraceError as error:  # what was found before it counts, and so does what others find
            closed.append(error)
    if closed and not found:
        raise closed[0]
    lines = dict.fromkeys(error.line() for error in closed)
    return Traced(tuple(found), "; ".join(dict.fromkeys(ask.left_out)), tuple(lines))


def searched_by(question: Question, by: By) -> Iterator[dict[str, Any]]:
    """Yield the parameters of the queries that a search takes; none where there is nothing to search for."""
    if by is By.TEXTS:
        for at in range(0, len(question.texts), _AT_ONCE):
            part = question.texts[at : at + _AT_ONCE]
            ends = "|".join(map(re.escape, part))
            yield {"texts": [f"%{_unlike(text)}%" for text in part], "end": f"(?:{ends}){question.end}"}
        return
    found = {By.ALIASES: question.aliases, By.ADDRESSES: question.addresses, By.ORIGINS: question.origins}[by]
    if found:
        yield {by.name.lower(): list(found)}


def _needless(search: Search, found: Iterable[Sighting]) -> bool:
    """Whether a search without an index would find again what another found by one: which post a preview is of."""
    preview = SightingKind.LINK_PREVIEW
    return not search.indexed and search.kinds == (preview,) and any(s.kind is preview and s.post_id for s in found)


def _sightings(search: Search, certainty: Certainty, row: tuple[Any, ...]) -> Iterator[Sighting]:
    record, url, at, person_id, person, local, host, post_id, *flags = row
    for kind in (kind for kind, is_it in zip(search.kinds, flags or [True], strict=True) if is_it):
        yield Sighting(
            kind=kind,
            way=SightingWay.DATABASE,
            # That it is a copy of this very origin is what the table says.
            certainty=Certainty.CERTAIN if search.by is By.ORIGINS else certainty,
            url=url,
            person=person,
            instance=host,
            local=local,
            at=at,
            record=record,
            post_id=None if post_id is None else str(post_id),
            person_id=None if person_id is None else str(person_id),
        )


def _unlike(text: str) -> str:
    """Return a text as a pattern of LIKE that stands for itself."""
    return re.sub(r"([\\%_])", r"\\\1", text)
