"""Instances that publish and subscribe, each with a ledger, lists and a log of its own. All hashes are random ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from fedi_safety.app.sharing.publishing import Publication, publish
from fedi_safety.core.enums import ActKind, MediaType, PlanState, Verdict
from fedi_safety.core.frames.scores import FrameScore, FrameScores
from fedi_safety.core.types import (
    Content,
    FactorHit,
    Hashes,
    Judged,
    Judgement,
    Object,
    Outcome,
    PictureHash,
    RuleHit,
    Scores,
    Signal,
)
from support.judged_before import World, md5, sha


class Instance(World):
    """An instance by its name, which is its list's as well."""

    def __init__(self, folder: Path, name: str, **sharing: object) -> None:
        folder.mkdir()
        super().__init__(folder)
        values = {"name": name, **sharing}
        made = type(self.settings.sharing)(**values)
        self.settings = self.settings.model_copy(update={"sharing": made})
        self.name = name

    def condemned(
        self, key: str, pictures: Sequence[bytes] = (), *, moves: bool = False, red: float = 1.0, quality: int = 90
    ) -> bytes:
        """Judge something by its own rules; return its SHA-256."""
        made = tuple(PictureHash(i if moves else i << 22, quality, each) for i, each in enumerate(pictures))
        hashes = Hashes(hashlib.sha1(key.encode()).digest(), md5(key), made)
        frames = FrameScores.of([FrameScore(0, 0, signals={"pixels.red": red})], closed=True)
        scores = Scores({"pixels.red": Signal(red)}, {"pixels": "1"}, frames=frames)
        content = Content(sha(key), 9, MediaType.PNG, 640, 480, 1, scores, hashes=hashes)
        factor = FactorHit("red", 0.5, red, "pixels.red", 0)
        reason = RuleHit("Red circle!", Verdict.BLOCK, None, (factor,))
        item = Judged(Object(key, 9, 1), content, Judgement(Verdict.BLOCK, (), (reason,), "before"))
        self.ledger.record(self.ledger.begin_run("scan", self.url, {}), self.url, [item])
        return sha(key)

    def removed(self, key: str, pictures: Sequence[bytes] = (), *, confirmed: bool = True, **how: object) -> bytes:
        """Condemn something, remove it, and confirm it."""
        sha256 = self.condemned(key, pictures, **how)  # type: ignore[arg-type]
        run = self.ledger.begin_run("apply", self.url, {})
        plans = self.ledger.plan(run, self.url, [(Object(key, 9, 1), sha256)], ActKind.DELETE)
        started = self.ledger.start(run, plans)
        self.ledger.close(run, [Outcome(plan, PlanState.DONE) for plan in started])
        if confirmed:
            self.ledger.confirm(sha256, "", "a person")
        return sha256

    def publish(self, **how: bool) -> Publication:
        """Bring its log in step."""
        return publish(self.settings, self.ledger, **how)

    def end(self) -> None:
        """Close what is open."""
        self.catalog.close()
        self.ledger.dispose()
