"""Arachnid Shield: the one that is told something. PDQs of stored pictures are sent, and nothing else of them.

It answers which of them it knows, and these make the list. Each is asked about once. No picture, name or address is
sent, but a PDQ can leak what a picture coarsely shows: so nothing is, unless the configuration says so.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from fedi_safety.core.known.types import Entry, HashKind
from fedi_safety.known.formats.items import Flaw, Item
from fedi_safety.known.sources.kinds import Asking, Page

URL = "https://shield.projectarachnid.com"
AT_ONCE = 64
_MOST_BYTES = 8 << 20
_KNOWN = ("csam", "harmful-abusive-material")
_NOTHING = "no-known-match"
_TEST = "test"


def fetch_arachnid(asking: Asking) -> Iterator[Page]:
    """Ask about the pictures that came after the checkpoint, and give those that are known."""
    batch: list[bytes] = []
    mark = asking.checkpoint
    for content, pictures in groupby(asking.own(mark), key=lambda own: own[0]):
        batch += [pdq for _, pdq in pictures]
        mark = content
        if len(batch) >= AT_ONCE:
            yield Page(_answers(asking, batch), mark)
            batch = []
    if batch:
        yield Page(_answers(asking, batch), mark)


def _answers(asking: Asking, pdqs: list[bytes]) -> list[Item]:
    """Return what is known of these pictures. Raises `KnownError` where not all of them are answered."""
    items: list[Item] = []
    asked = list(dict.fromkeys(pdqs))
    for first in range(0, len(asked), AT_ONCE):
        named = {b64encode(pdq).decode(): pdq for pdq in asked[first : first + AT_ONCE]}
        asking.told(len(named))
        asking.server.ask(
            f"{asking.source.url}/v1/pdq/",
            asking.answer,
            body={"hashes": list(named)},
            secret=asking.basic(),
            redirects=True,
            most_bytes=_MOST_BYTES,
        )
        said = asking.values().get("scanned_hashes")
        if not isinstance(said, dict) or not named.keys() <= said.keys():
            raise asking.strange("it does not answer about every hash that it was asked about")
        items += [item for name, pdq in named.items() if (item := _item(asking, pdq, said[name])) is not None]
    return items


def _item(asking: Asking, pdq: bytes, said: Any) -> Item | None:
    word = said.get("classification") if isinstance(said, Mapping) else said
    if word in (None, _NOTHING):
        return None
    if word in _KNOWN:
        return Entry(HashKind.PDQ, pdq, id=pdq.hex(), category=word, seen_s=asking.now_s)
    return Flaw(f"hash {pdq.hex()}", "an entry that is there for tests" if word == _TEST else "an unknown class")
