"""A ledger with contents that were judged before any list, and lists beside it. All hashes are random ones."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fedi_safety.app.known.backwards import Applied
from fedi_safety.app.known.lists import open_catalog, take_in
from fedi_safety.app.ledger import open_settings_ledger
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import MediaType, Verdict
from fedi_safety.core.frames.scores import FrameScore, FrameScores
from fedi_safety.core.known.types import Effect, Entry, KnownList
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.types import Content, Hashes, Judged, Judgement, Object, PictureHash, Scores, Signal
from fedi_safety.known.catalog import Catalog
from fedi_safety.known.formats import read
from fedi_safety.known.formats.writing import Writing

RANDOM = random.Random(1616)
POLICY = """\
[factors]
red = ["pixels.red"]
known = ["known.block"]
perhaps = ["known.review"]

[[rules]]
name = "known image"
when = { known = 1.0 }
verdict = "block"

[[rules]]
name = "perhaps known"
when = { perhaps = 1.0 }
verdict = "review"
"""


def pdq() -> bytes:
    """A hash with 128 bits set, as photographs have."""
    bits = RANDOM.sample(range(256), 128)
    return sum(1 << bit for bit in bits).to_bytes(32, "big")


def flipped(digest: bytes, bits: int) -> bytes:
    number = int.from_bytes(digest, "big")
    for bit in range(bits):
        number ^= 1 << (5 * bit)
    return number.to_bytes(32, "big")


def sha(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def md5(key: str) -> bytes:
    return hashlib.md5(key.encode()).digest()


class World:
    """A ledger, lists and a store with contents that were judged clear without any list."""

    def __init__(self, folder: Path) -> None:
        (folder / "policy.toml").write_text(POLICY)
        (folder / "store").mkdir()
        self.folder = folder
        self.settings = Settings(
            ledger=str(folder / "ledger.db"), policy=str(folder / "policy.toml"), store=str(folder / "store")
        )
        self.url = f"file://{folder / 'store'}"
        self.ledger: WholeLedger = open_settings_ledger(self.settings)
        self.catalog: Catalog = open_catalog(self.settings)

    def judged(
        self,
        key: str,
        pictures: Sequence[bytes] = (),
        *,
        hashed: bool = True,
        quality: int = 90,
        cover: bytes | None = None,
    ) -> None:
        made = tuple(PictureHash(i, quality, each) for i, each in enumerate(pictures))
        if cover is not None:
            made = (PictureHash(~(2 * len(pictures)), quality, cover), *made)
        hashes = Hashes(hashlib.sha1(key.encode()).digest(), md5(key), made) if hashed else None
        rows = [FrameScore(i, i, signals={"pixels.red": 0.0}) for i in range(len(pictures))]
        frames = FrameScores.of(rows, closed=True)
        scores = Scores({"pixels.red": Signal(0.0)}, {"pixels": "1"}, frames=frames)
        content = Content(sha(key), 9, MediaType.PNG, 640, 480, max(1, len(pictures)), scores, hashes=hashes)
        item = Judged(Object(key, 9, 1), content, Judgement(Verdict.CLEAR, (), (), "before"))
        self.ledger.record(self.ledger.begin_run("scan", self.url, {}), self.url, [item])

    def take(self, known: KnownList, *entries: Entry, dry_run: bool = False) -> Applied:
        path = self.folder / "list.csv"
        path.write_text("".join(Writing(replace(known, redistribute=True, effect=Effect.BLOCK), entries, "csv")))
        taken = take_in(self.settings, self.ledger, self.catalog, known, read(path), dry_run=dry_run)
        assert taken.applied is not None
        return taken.applied

    def verdict(self, key: str) -> tuple[Verdict, bool]:
        _, judgement, decided = self.ledger.contents([sha(key)])[sha(key)]
        return judgement.verdict, decided

    def planned(self) -> list[str]:
        return sorted(plan.object.key for plan in self.ledger.open_plans(self.url))

    def whole(self) -> None:
        assert self.ledger.verify().problem is None
