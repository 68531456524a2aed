"""A ledger's side of stored scores: by the page, and as what can be learned from. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, TextClause, exists, func, select

from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger.records import Stand, Standing
from fedi_safety.core.ledger.stored_scores import WHOLE, Rescorer, Share
from fedi_safety.core.testcard import TEST_CARD_SHA256
from fedi_safety.ledger import embeddings
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.schema import NOT_CLEAR, contents
from fedi_safety.ledger.schema import embeddings as rows

if TYPE_CHECKING:
    from fedi_safety.ledger.score_pages import Page

_c = contents.c
_OURS = (_c.dismissed_at.is_(None), _c.decided.is_(True))
_STANDS: dict[Stand, tuple[ColumnElement[bool] | TextClause, ...]] = {
    Stand.DISMISSED: (_c.dismissed_at.is_not(None),),
    Stand.CONDEMNED: (_c.verdict == Verdict.BLOCK.value, NOT_CLEAR, *_OURS),
    Stand.CLEAR: (_c.verdict == Verdict.CLEAR.value, *_OURS),
}


class ScoreSide:
    """A ledger's side of stored scores, which changes none of them: `LedgerReader`."""

    database: Database

    def score_pages(
        self, policy: str | None = None, rescorer: Rescorer | None = None, share: Share = WHOLE, *, named: bool = True
    ) -> Iterator[Page]:
        """Yield every content that nobody dismissed, by the page; signals are computed anew where `rescorer` can."""
        from fedi_safety.ledger.score_pages import pages

        return pages(self.database, policy, rescorer, share, named=named)

    def score_shares(self) -> int:
        """Return into how many shares its pages are worth being cut, each for a process of this machine."""
        from fedi_safety.ledger.score_pages import shares

        return shares(self.database)

    def standings(self, model: str, most: int) -> dict[Stand, Standing]:
        """Return how contents stand, with this network's embeddings of at most `most` of each kind."""
        with self.database.read() as connection:
            return standings(connection, model, most)


def standings(connection: Connection, model: str, most: int) -> dict[Stand, Standing]:
    """See `LedgerReader.standings`."""
    number = embeddings.find_model(connection, model)
    return {stand: _standing(connection, where, number, most) for stand, where in _STANDS.items()}


def _standing(
    connection: Connection, where: tuple[ColumnElement[bool] | TextClause, ...], model: int | None, most: int
) -> Standing:
    those = (*where, _c.sha256 != TEST_CARD_SHA256)
    count = select(func.count()).select_from(contents)
    known = connection.execute(count.where(*those)).scalar_one()
    if model is None:
        return Standing(known, 0)
    embedded = exists().where(rows.c.content_id == _c.id, rows.c.model_id == model)
    kept = connection.execute(count.where(*those, embedded)).scalar_one()
    # In the order of their hashes, which is none that means something: a sample, and the same one every time.
    query = select(_c.id, _c.sha256).where(*those, embedded).order_by(_c.sha256).limit(most)
    names: dict[int, bytes] = {row.id: row.sha256 for row in connection.execute(query)}
    found = embeddings.of_contents(connection, model, list(names))
    return Standing(known, kept, _by_content(names, found))


def _by_content(names: dict[int, bytes], found: embeddings.Kept | None) -> list[tuple[bytes, Any]]:
    """Return each content's rows by its hash, in the order of these."""
    import numpy as np

    if found is None:
        return []
    owners, starts = np.unique(found.content_ids, return_index=True)
    parts = np.split(found.vectors, starts[1:])
    return sorted(((names[int(o)], part) for o, part in zip(owners, parts, strict=True)), key=lambda each: each[0])
