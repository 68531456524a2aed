"""A ledger with a content that was condemned, traced, uploaded, sealed and removed, under names meant to harm."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from fedi_safety.core.enums import ActKind, MediaType, PlanState, Verdict
from fedi_safety.core.ledger.uploads import Told, UploadNote, UploadState
from fedi_safety.core.sightings import (
    Certainty,
    Sighting,
    SightingKind,
    SightingWay,
    Subject,
    TraceRecord,
    TraceState,
)
from fedi_safety.core.types import (
    Content,
    FactorHit,
    Hashes,
    Judged,
    Judgement,
    Match,
    Object,
    Outcome,
    PictureHash,
    RuleHit,
    Scores,
    Signal,
)
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from support.fakes import FakeClock

HOSTILE = "<script>alert(1)</script>]]><!--&\"'`\x1b[31m\u202e\n{{7*7}}"
KEY = f"{HOSTILE}/original.png"
STORE = "s3://media"
SHA256 = hashlib.sha256(b"a harmless stand-in").digest()
AT = 1_700_000_000.0
PERSON = "https://far.example/users/somebody"
POST = "https://social.example/post/7"

SIGHTING = Sighting(
    SightingKind.POST, SightingWay.DATABASE, Certainty.CERTAIN, POST, PERSON, "far.example", False, AT - 600, "media/7",
    "7", "42",
)  # fmt: skip
HIT = RuleHit(
    "red circle",
    Verdict.BLOCK,
    None,
    (FactorHit("red", 0.5, 0.93, "clip.red", 0, "upper half", (Match("list " + HOSTILE, "e1", 6),)),),
)


def judged(verdict: Verdict = Verdict.BLOCK, key: str = KEY, sha256: bytes = SHA256) -> Judged:
    """Return a judgement of the content."""
    signals = {"clip.red": Signal(0.93, 0, "upper half"), "clip.circle": Signal(0.71)}
    scores = Scores(signals, {"clip": "ViT-tiny 1, weights 0123abcd"})
    hashes = Hashes(hashlib.sha1(sha256).digest(), hashlib.md5(sha256).digest(), (PictureHash(0, 90, bytes(32)),))
    content = Content(sha256, 12_345, MediaType.PNG, 640, 480, 1, scores, hashes=hashes)
    reasons = () if verdict is Verdict.CLEAR else (replace(HIT, verdict=verdict),)
    return Judged(Object(key, 12_345, 1), content, Judgement(verdict, ("x",), reasons, "stand-in@1"))


def ledger_at(folder: Path) -> SqlLedger:
    """Open the ledger of a folder, whose clock stands still."""
    return open_ledger(folder / "ledger.db", clock=FakeClock(AT))


def condemned(ledger: SqlLedger, *, removed: bool = True, sealed: bool = True, hostile_trace: bool = True) -> int:
    """Record all that can be known of the content; return the run."""
    run = ledger.begin_run("scan", STORE, {"dry_run": False})
    item = judged()
    ledger.record(run, STORE, [item])
    subject = Subject(STORE, KEY, SHA256, aliases=(HOSTILE,), origins=("https://elsewhere.example/1.png",))
    sightings = (SIGHTING, replace(SIGHTING, person=HOSTILE, person_id=None, certainty=Certainty.POSSIBLE, url=None))
    found = sightings if hostile_trace else sightings[:1]
    ledger.record_traces(run, [TraceRecord(subject, "a server", AT, TraceState.FOUND, "", found)])
    told = Told("203.0.113.9", HOSTILE)
    note = UploadNote("u1", AT - 300, "lemmy", UploadState.REFUSED, "block", "gate", SHA256, url=None, told=told)
    ledger.record_uploads(run, [], [note])
    plans = ledger.plan(run, STORE, [(item.object, SHA256)], ActKind.SEAL if sealed else ActKind.DELETE)
    started = ledger.start(run, plans)
    if sealed:
        seal = ledger.reserve_seals([started[0]], "file:///vault")[started[0].id]
        assert ledger.record_seal(seal, 99, bytes(32), None)
    if removed:
        ledger.close(run, [Outcome(started[0], PlanState.DONE)])
    ledger.end_run(run, "done", {})
    return run
