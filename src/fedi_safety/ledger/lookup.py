"""The hot reads of a scan: what the ledger remembers of stores, listed objects and contents.

Writes only what it adopts, and a store's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from fedi_safety.core.enums import MediaType, Reason, Verdict
from fedi_safety.core.ledger.census import Census
from fedi_safety.core.policy import PERSONS_WORD
from fedi_safety.core.types import Content, Judgement, Known, Object, Scores
from fedi_safety.ledger import codec
from fedi_safety.ledger.census import meet
from fedi_safety.ledger.compact.vocabulary import REASONS, SCORES, Vocabulary
from fedi_safety.ledger.schema import State, contents, detector_sets, objects, stores

_VERDICTS = {verdict.value: verdict for verdict in Verdict}
_REASONS = {reason.value: reason for reason in Reason}
_JUDGED, _UNSCANNED, _TRUSTED = State.JUDGED.value, State.UNSCANNED.value, State.TRUSTED.value

_o, _c = objects.c, contents.c
_LOOKUP = (
    select(
        _o.key, _o.size, _o.mtime_ns, _o.tag, _o.state, _c.sha256, _c.verdict, _c.policy, _c.decided, _c.dismissed_at,
        _c.partly, _c.decoder.label("shown_by"),
        _o.id, _o.reason, _o.retry_at, _o.attempts, _o.sha256.label("bytes_sha256"), _o.decoder,
    )
    .outerjoin(contents, _c.id == _o.content_id)
    .where(_o.store_id == bindparam("store_id"), _o.key.in_(bindparam("keys", expanding=True)))
)  # fmt: skip
# A scan asks it of every new content by itself: to build it takes longer than to answer it.
_CONTENTS = (
    select(
        _c.sha256, _c.size, _c.media_type, _c.width, _c.height, _c.frames, _c.frame_scores,
        *(_c[name] for name in (*SCORES, *REASONS)), detector_sets.c.body,
        _c.verdict, _c.policy, _c.labels, _c.decided, _c.partly, _c.total, _c.decoder,
    )
    .join(detector_sets, detector_sets.c.id == _c.detectors_id)
    .where(_c.sha256.in_(bindparam("sha256s", expanding=True)))
)  # fmt: skip
_ADOPT = (
    update(objects)
    .where(_o.id == bindparam("row"), _o.state == _TRUSTED, _o.size < 0)
    .values({name: bindparam(name) for name in ("size", "mtime_ns", "tag")})
)


def find_store(connection: Connection, url: str) -> int | None:
    """Return a store's row, or None if nothing of it was ever recorded."""
    return connection.execute(select(stores.c.id).where(stores.c.url == url)).scalar_one_or_none()


def store_row(connection: Connection, url: str) -> int:
    """Return a store's row, made if need be."""
    known = find_store(connection, url)
    if known is None:
        known = int(connection.execute(insert(stores).returning(stores.c.id), {"url": url}).scalar_one())
    return known


def lookup(
    connection: Connection, store_id: int, wanted: Sequence[Object], policy: str | None, census: Census | None = None
) -> tuple[list[Known | None], list[tuple[int, Object]]]:
    """See `Ledger.lookup`. Also returns the trusted rows, with no version of their own yet, that these objects met."""
    rows: dict[bytes, Any] = {}
    keys = [codec.key_bytes(obj.key) for obj in wanted]
    for part in codec.chunks(keys, 2 * codec.BATCH_ROWS):
        # Plain tuples: this is the inner loop of every later scan.
        result = connection.execute(_LOOKUP, {"store_id": store_id, "keys": part})
        rows.update((row[0], row) for row in result)
    if census is not None:
        meet(census, [(row[12], row[4]) for row in rows.values()])  # id and state
    found: list[Known | None] = []
    adopted: list[tuple[int, Object]] = []
    for obj, key in zip(wanted, keys, strict=True):
        row = rows.get(key)
        if row is None:
            found.append(None)
            continue
        _, size, mtime_ns, tag, state, sha256, verdict, given_by, decided, dismissed_at, partly, shown_by, *rest = row
        if size != obj.size or mtime_ns != obj.mtime_ns or tag != obj.tag:
            if state == _TRUSTED and size < 0:
                adopted.append((rest[0], obj))
                found.append(Known(None, Verdict.CLEAR))
            else:
                found.append(None)
        elif state == _JUDGED:
            spoken = dismissed_at is not None or given_by == PERSONS_WORD
            settled = spoken or (bool(decided) and (policy is None or policy == given_by))
            other = None if partly is None or spoken else shown_by or ""
            known = Known(sha256, _VERDICTS[verdict], None, None, settled, decoder=other, partly=partly is not None)
            found.append(known)
        elif state == _UNSCANNED:
            _, name, retry_at, attempts, own, decoder = rest
            reason = _REASONS[name]
            other = (decoder or "") if reason.of_decoder else None
            found.append(Known(sha256 or own, None, reason, retry_at, True, attempts, other))
        elif state == _TRUSTED:
            found.append(Known(None, Verdict.CLEAR))
        else:
            found.append(None)
    return found, adopted


def adopt(connection: Connection, rows: Sequence[tuple[int, Object]]) -> None:
    """Give trusted rows the version of the object that they were met with, so that a later change is noticed."""
    values = [{"row": row, "size": o.size, "mtime_ns": o.mtime_ns, "tag": o.tag} for row, o in rows]
    connection.execute(_ADOPT, values)


def contents_of(connection: Connection, sha256s: Sequence[bytes]) -> dict[bytes, tuple[Content, Judgement, bool]]:
    """See `Ledger.contents`."""
    found: dict[bytes, tuple[Content, Judgement, bool]] = {}
    vocabulary: Vocabulary | None = None
    for row in connection.execute(_CONTENTS, {"sha256s": sha256s}).all():
        vocabulary = vocabulary or Vocabulary(connection)
        found[row.sha256] = _content(row, vocabulary)
    return found


@codec.stored("a content")
def _content(row: Any, vocabulary: Vocabulary) -> tuple[Content, Judgement, bool]:
    signals = vocabulary.signals(row.names_id, row.scores, row.signals)
    frames = codec.frames_from(row.frames, row.frame_scores)
    scores = Scores(signals, codec.detectors_from(row.body), frames=frames)
    shape = (row.size, MediaType(row.media_type), row.width, row.height, row.frames)
    content = Content(row.sha256, *shape, scores, row.partly, row.total or 0, row.decoder or "")
    return content, vocabulary.judgement(row, signals), row.decided
