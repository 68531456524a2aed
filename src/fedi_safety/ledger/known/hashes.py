"""The hashes of contents in the ledger: keeping them, and reading them by the page as arrays.

The pictures of a content are one value (`core.known.packing`): ten million values are read several times as quickly
as ten million rows. What keeps them works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select

from fedi_safety.core.known.packing import DESCRIPTOR, ROW, packed, packed_descriptors, unpacked, unpacked_descriptors
from fedi_safety.core.ledger.hashes import BytesPage, DescriptorPage, HashCounts, PicturePage
from fedi_safety.core.types import Descriptors, Hashes
from fedi_safety.ledger import codec
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.schema import contents, hashes

_PAGE_CONTENTS = 50_000

_h, _c = hashes.c, contents.c
_FORGET = delete(hashes).where(_h.content_id == bindparam("row"))
_PICTURES = (
    select(_h.content_id, _h.pictures)
    .where(_h.content_id > bindparam("after"))
    .order_by(_h.content_id)
    .limit(_PAGE_CONTENTS)
)
_DESCRIPTORS = (
    select(_h.content_id, _h.descriptors)
    .where(_h.content_id > bindparam("after"), _h.descriptor_model == bindparam("model"))
    .order_by(_h.content_id)
    .limit(_PAGE_CONTENTS)
)
_BYTES = (
    select(_c.id, _c.sha256, _h.sha1, _h.md5)
    .outerjoin(hashes, _h.content_id == _c.id)
    .where(_c.id > bindparam("after"))
    .order_by(_c.id)
    .limit(_PAGE_CONTENTS)
)


def put(connection: Connection, found: Mapping[int, Hashes]) -> None:
    """Keep these hashes, by their content's row, in place of earlier ones."""
    if not found:
        return
    connection.execute(_FORGET, [{"row": row} for row in found])
    rows = [
        {
            "content_id": row,
            "sha1": each.sha1,
            "md5": each.md5,
            "pictures": packed(each.pictures),
            "descriptor_model": None if each.descriptors is None else each.descriptors.model,
            "descriptors": None if each.descriptors is None else packed_descriptors(each.descriptors),
        }
        for row, each in found.items()
    ]
    connection.execute(insert(hashes), rows)


def _descriptors(model: str | None, rows: bytes | None) -> Descriptors | None:
    """Return what was kept; what is no whole number of them is none."""
    with suppress(ValueError):
        return unpacked_descriptors(model, rows) if model and rows is not None else None
    return None


def picture_page(rows: Sequence[Any]) -> PicturePage:
    """Return rows of contents and their pictures as arrays; what is no whole number of pictures is left out."""
    import numpy as np

    kept = [row for row in rows if row[1] and len(row[1]) % ROW.size == 0]
    owners = np.fromiter((row[0] for row in kept), np.int64, len(kept))
    counts = np.fromiter((len(row[1]) // ROW.size for row in kept), np.int64, len(kept))
    dtype = np.dtype([("frame", "<i4"), ("quality", "u1"), ("hash", "u1", (32,))])
    table = np.frombuffer(b"".join([row[1] for row in kept]), dtype)
    return PicturePage(
        np.repeat(owners, counts), table["frame"].copy(), table["quality"].copy(), np.ascontiguousarray(table["hash"])
    )


def descriptor_page(rows: Sequence[Any]) -> DescriptorPage:
    """Return rows of contents and their descriptors as arrays; what is no whole number of them is left out."""
    import numpy as np

    kept = [row for row in rows if row[1] and len(row[1]) % DESCRIPTOR.size == 0]
    owners = np.fromiter((row[0] for row in kept), np.int64, len(kept))
    counts = np.fromiter((len(row[1]) // DESCRIPTOR.size for row in kept), np.int64, len(kept))
    table = np.frombuffer(b"".join([row[1] for row in kept]), [("frame", "<i4"), ("bits", "u1", (64,))])
    return DescriptorPage(np.repeat(owners, counts), np.ascontiguousarray(table["bits"]))


def bytes_page(rows: Sequence[Any]) -> BytesPage:
    """Return rows of contents and the hashes of their bytes as arrays."""
    import numpy as np

    def joined(values: Sequence[bytes | None], size: int) -> Any:
        whole = b"".join([value if value is not None and len(value) == size else bytes(size) for value in values])
        return np.frombuffer(whole, np.uint8).reshape(-1, size)

    numbers, sha256s, sha1s, md5s = zip(*rows, strict=True)
    hashed = np.fromiter((value is not None for value in sha1s), bool, len(rows))
    return BytesPage(np.array(numbers, np.int64), hashed, joined(sha256s, 32), joined(sha1s, 20), joined(md5s, 16))


class HashSide:
    """The side of a ledger that tells what contents are found again by; see the port `HashReader`."""

    database: Database

    def picture_pages(self, after: int = 0) -> Iterator[PicturePage]:
        """Yield the hashes of all pictures of contents whose number is above `after`."""
        for rows in self._pages(_PICTURES, after):
            page = picture_page(rows)
            if len(page.contents):
                yield page

    def descriptor_pages(self, model: str, after: int = 0) -> Iterator[DescriptorPage]:
        """Yield what this model made of all pictures of contents whose number is above `after`."""
        for rows in self._pages(_DESCRIPTORS, after, model=model):
            yield descriptor_page(rows)

    def bytes_pages(self, after: int = 0) -> Iterator[BytesPage]:
        """Yield the hashes of the bytes of all contents whose number is above `after`, hashed or not."""
        for rows in self._pages(_BYTES, after):
            yield bytes_page(rows)

    def _pages(self, query: Any, after: int, **asked: str) -> Iterator[Sequence[Any]]:
        while True:
            with self.database.read() as connection:
                rows = connection.execute(query, {"after": after, **asked}).all()
            if not rows:
                return
            yield rows
            after = rows[-1][0]

    def numbered(self, contents: Sequence[int]) -> dict[int, bytes]:
        """Return the SHA-256 of the contents with these numbers."""
        found: dict[int, bytes] = {}
        with self.database.read() as connection:
            for part in codec.chunks(sorted(set(contents))):
                rows = connection.execute(select(_c.id, _c.sha256).where(_c.id.in_(part)))
                found.update((number, sha256) for number, sha256 in rows)
        return found

    def hashes_of(self, sha256s: Sequence[bytes]) -> dict[bytes, Hashes]:
        """Return the hashes of those of these contents that were hashed."""
        columns = _h.sha1, _h.md5, _h.pictures, _h.descriptor_model, _h.descriptors
        query = select(_c.sha256, *columns).join(hashes, _h.content_id == _c.id)
        found: dict[bytes, Hashes] = {}
        with self.database.read() as connection:
            for part in codec.chunks(sha256s):
                for sha256, sha1, md5, pictures, model, rows in connection.execute(query.where(_c.sha256.in_(part))):
                    found[sha256] = Hashes(sha1, md5, unpacked(pictures), _descriptors(model, rows))
        return found

    def hashed_among(self, sha256s: Sequence[bytes], model: str = "") -> set[bytes]:
        """Return which of these contents were hashed; with a `model`, which it described too as far as it can."""
        query = select(_c.sha256).join(hashes, _h.content_id == _c.id)
        if model:
            query = query.where(or_(_h.descriptor_model == model, _h.pictures == b""))
        found: set[bytes] = set()
        with self.database.read() as connection:
            for part in codec.chunks(sha256s):
                found.update(connection.execute(query.where(_c.sha256.in_(part))).scalars())
        return found

    def hash_counts(self) -> HashCounts:
        """Count the contents, and those that were hashed."""
        with self.database.read() as connection:
            counts = [connection.execute(select(func.count()).select_from(table)) for table in (contents, hashes)]
            return HashCounts(*(int(count.scalar_one()) for count in counts))
