"""What verdicts rest on, kept beside the scores of what is not plainly clear. Works in the caller's transaction.

They stay when the objects are gone: of what was removed they are all that tells a person what it was. The event of a
verdict carries their digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete

from fedi_safety.ledger import codec
from fedi_safety.ledger.database.bulk import put as put_rows
from fedi_safety.ledger.reading.kept import explanations_of
from fedi_safety.ledger.reading.through import Through
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
    return explanations_of(Through(connection), content_ids)


def digest(body: str | None) -> str | None:
    """Return what the event of a verdict says of the explanation."""
    return None if body is None else hashlib.sha256(body.encode("ascii")).hexdigest()
