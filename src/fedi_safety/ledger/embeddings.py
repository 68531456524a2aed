"""Embeddings in the ledger: keeping them, reading them by the page, letting them go. Works in the caller's transaction.

They are numbers that a network made of a frame, not pixels; still they say what the picture shows, so nothing is kept
that was not asked for, and what belongs to a removed content goes with it. What they mean is `rescoring`'s to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select

from fedi_safety.core.classes import dataclass
from fedi_safety.core.ledger.records import KeptEmbeddings
from fedi_safety.core.types import Embedding
from fedi_safety.ledger import codec
from fedi_safety.ledger.schema import State, embedding_models, embeddings, objects

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_FRAMES = 64
"""A content with more frames keeps none: all of them or nothing is what signals can be computed from."""

_AWAY = (State.REMOVED.value, State.GONE.value)
_e = embeddings.c
_PAGE = (
    select(_e.content_id, _e.frame, _e.encoding, _e.data)
    .where(_e.content_id >= bindparam("first"), _e.content_id <= bindparam("last"), _e.model_id == bindparam("model"))
    .order_by(_e.content_id, _e.frame)
)
_FORGET = delete(embeddings).where(_e.content_id == bindparam("row"))


class Keep(StrEnum):
    """Whether embeddings are kept, and how: 2 bytes a number, or 1."""

    NO = "no"
    FLOAT16 = "float16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class Kept:
    """Embeddings of some contents, one row a frame, in order of content and frame; every row is of unit length."""

    content_ids: NDArray[np.int64]
    frames: NDArray[np.int32]
    vectors: NDArray[np.float32]


def keep(connection: Connection, how: Keep, found: Iterable[tuple[int, Sequence[Embedding]]]) -> None:
    """Keep the embeddings of these contents in place of whatever was kept of them before."""
    rows: list[dict[str, Any]] = []
    models: dict[str, int] = {}
    stale: list[dict[str, Any]] = []
    for content_id, frames in found:
        if not 0 < len(frames) <= MAX_FRAMES:
            continue
        stale.append({"row": content_id})
        for embedding in frames:
            if embedding.model not in models:
                models[embedding.model] = _model_id(connection, embedding.model)
            rows.append(
                {
                    "content_id": content_id,
                    "model_id": models[embedding.model],
                    "frame": embedding.frame,
                    "encoding": how.value,
                    "data": embedding.data if how is Keep.FLOAT16 else _int8(embedding.data),
                }
            )
    if rows:
        connection.execute(_FORGET, stale)
        connection.execute(insert(embeddings), rows)


def _model_id(connection: Connection, name: str) -> int:
    known = find_model(connection, name)
    if known is None:
        query = insert(embedding_models).values(name=name).returning(embedding_models.c.id)
        known = int(connection.execute(query).scalar_one())
    return known


def find_model(connection: Connection, name: str) -> int | None:
    """Return the row of a network, None if no embedding of it was ever kept."""
    query = select(embedding_models.c.id).where(embedding_models.c.name == name)
    return connection.execute(query).scalar_one_or_none()


def page(connection: Connection, model: int, first: int, last: int) -> Kept | None:
    """Return what is kept of the contents numbered `first` to `last`; None where that is nothing.

    A content of which some frame cannot be read is left out as a whole.
    """
    return _kept(connection.execute(_PAGE, {"first": first, "last": last, "model": model}).all())


def of_contents(connection: Connection, model: int, content_ids: Sequence[int]) -> Kept | None:
    """Return what is kept of these contents, as `page` does."""
    query = select(_e.content_id, _e.frame, _e.encoding, _e.data).where(_e.model_id == model)
    rows = [
        row
        for part in codec.chunks(sorted(content_ids))
        for row in connection.execute(query.where(_e.content_id.in_(part)).order_by(_e.content_id, _e.frame))
    ]
    return _kept(rows)


def _kept(rows: Sequence[Any]) -> Kept | None:
    import numpy as np

    if not rows:
        return None
    owners, numbers, encodings, data = zip(*rows, strict=True)
    sorts: dict[tuple[str, int], list[int]] = {}
    for i, sort in enumerate(zip(encodings, map(len, data), strict=True)):
        sorts.setdefault(sort, []).append(i)
    parts: list[tuple[list[int], NDArray[np.float32]]] = []
    for (encoding, size), at in sorts.items():
        decoded = _decoded(encoding, size, b"".join([data[i] for i in at]))
        if decoded is not None:
            parts.append((at, decoded))
    if not parts:
        return None
    # A network has one number of dimensions; whatever is of another length was not written by `keep`.
    dim = max(parts, key=lambda part: len(part[0]))[1].shape[1]
    vectors = np.zeros((len(rows), dim), np.float32)
    readable = np.zeros(len(rows), bool)
    for at, decoded in parts:
        if decoded.shape[1] == dim:
            vectors[at], readable[at] = decoded, True
    ids, frames = np.array(owners, np.int64), np.array(numbers, np.int32)
    sound = ~np.isin(ids, ids[~readable])
    return Kept(ids[sound], frames[sound], vectors[sound])


def _decoded(encoding: str, size: int, data: bytes) -> NDArray[np.float32] | None:
    """Return rows of unit length, or None for an encoding that is not known here."""
    import numpy as np

    if encoding == Keep.FLOAT16 and size and size % 2 == 0:
        vectors = np.frombuffer(data, "<f2").reshape(-1, size // 2).astype(np.float32)
    elif encoding == Keep.INT8 and size:
        steps = np.frombuffer(data, np.int8).reshape(-1, size).astype(np.float32)
        vectors = steps * np.abs(steps)
    else:
        return None
    vectors /= np.maximum(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), 1e-12)[:, None]
    return vectors


def _int8(data: bytes) -> bytes:
    """Return float16 numbers as one byte each, whose square, but for a common factor, is the number.

    The steps of squares are fine for small numbers and coarse for large ones: networks have a few numbers that are ten
    times the others, and even steps would leave the others three or four of them. The factor drops out, as what is read
    is made one long.
    """
    import numpy as np

    values = np.frombuffer(data, "<f2").astype(np.float32)
    shares = np.abs(values) / max(float(np.abs(values).max(initial=0.0)), 1e-12)
    steps: NDArray[np.int8] = np.rint(np.sign(values) * np.sqrt(shares) * 127).astype(np.int8)
    return steps.tobytes()


def forget_orphans(connection: Connection, content_ids: Iterable[int]) -> None:
    """Let go of what is kept of those among these contents that no object has any more."""
    present = exists().where(objects.c.content_id == _e.content_id, objects.c.state.not_in(_AWAY))
    for part in codec.chunks(sorted(set(content_ids))):
        connection.execute(delete(embeddings).where(_e.content_id.in_(part), ~present))


def forget_all(connection: Connection) -> int:
    """Let go of everything; return how many frames it was."""
    count = connection.execute(select(func.count()).select_from(embeddings)).scalar_one()
    connection.execute(delete(embeddings))
    connection.execute(delete(embedding_models))
    return int(count)


def totals(connection: Connection) -> list[KeptEmbeddings]:
    """Return how much is kept, by network and encoding."""
    query = (
        select(embedding_models.c.name, _e.encoding, func.count(), func.sum(func.length(_e.data)))
        .join(embedding_models, embedding_models.c.id == _e.model_id)
        .group_by(embedding_models.c.name, _e.encoding)
        .order_by(embedding_models.c.name, _e.encoding)
    )
    return [KeptEmbeddings(*row) for row in connection.execute(query)]
