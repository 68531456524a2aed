"""What verdicts rest on, kept beside the scores of what is not plainly clear. Works in the caller's transaction.

They stay when the objects are gone: of what was removed they are all that tells a person what it was. The event of a
verdict carries their digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, select

from fedi_safety.core.explained.text import explanation_from
from fedi_safety.core.types import Explanation
from fedi_safety.ledger import codec
from fedi_safety.ledger.database.base import put as put_rows
from fedi_safety.ledger.schema import explanations

_x = explanations.c


def put(connection: Connection, bodies: Mapping[int, str | None], *, new: bool) -> None:
    """Keep these explanations, by their content's row, in place of earlier ones; None takes one away.

    With `new` nothing was kept of these contents before.
    """
    if not new:
        for part in codec.chunks(sorted(bodies)):
            connection.execute(delete(explanations).where(_x.content_id.in_(part)))
    rows = [{"content_id": row, "body": body} for row, body in bodies.items() if body is not None]
    put_rows(connection, explanations, rows)


def bodies_of(connection: Connection, content_ids: Sequence[int]) -> dict[int, str]:
    """Return what is kept of these contents, by their row."""
    found: dict[int, str] = {}
    for part in codec.chunks(content_ids):
        query = select(_x.content_id, _x.body).where(_x.content_id.in_(part))
        found.update((row, body) for row, body in connection.execute(query))
    return found


def of_content(connection: Connection, content_id: int) -> Explanation | None:
    """Return what is kept of one content; None where that is nothing, or nothing that can be read here."""
    body = bodies_of(connection, [content_id]).get(content_id)
    try:
        return None if body is None else explanation_from(body)
    except ValueError:
        return None


def digest(body: str | None) -> str | None:
    """Return what the event of a verdict says of the explanation."""
    return None if body is None else hashlib.sha256(body.encode("ascii")).hexdigest()
