"""A drawn ledger behind the review pages: something in each of their lists, of stand-ins that a policy condemns.

Nothing in it is of a real server, and there is no picture: the pages show none.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from fedi_safety.core.enums import ActKind, MediaType, PlanState, Reason, Verdict
from fedi_safety.core.ledger.records import Watermark
from fedi_safety.core.ledger.review import DecisionKind, QueueFilter, QueueKind
from fedi_safety.core.ledger.uploads import Told, UploadNote, UploadState
from fedi_safety.core.moderation import Intended, TargetKind
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
    Explanation,
    FactorHit,
    Finding,
    Found,
    Judged,
    Judgement,
    LeftOut,
    Look,
    Match,
    Object,
    Outcome,
    RuleHit,
    Scores,
    Signal,
    Unscanned,
)
from support.reviewing import Reviewing

RED, BLUE, LISTED = "red circle", "blue square in two frames", "known drawing"
OTHER = "s3://media.example/drawings"
_DETECTORS = {"shapes": "stand-in 1, weights 0123abcd", "colours": "stand-in 3"}
_MARK = Match("drawings.example", "4711", 6, "mirrored")
_PEOPLE = ("https://far.example/users/painter", "https://near.example/users/collector", "@sketch@old.example")
_PLANNED, _REVIEW, _CLEAR = 9, 7, 24


@dataclass(frozen=True, slots=True)
class Names:
    """What tests look for: a content of each kind, by SHA-256."""

    planned: bytes
    review: bytes
    removed: bytes
    failed: bytes


def _sha(name: str) -> bytes:
    return hashlib.sha256(f"a stand-in, {name}".encode()).digest()


def _key(number: int) -> str:
    name = hashlib.sha256(f"{number}".encode()).hexdigest()[:16]
    return f"media_attachments/files/109/876/543/210/{number:03}/original/{name}.png"


def _hit(rule: str, verdict: Verdict, value: float) -> RuleHit:
    where = "upper half" if rule == RED else ""
    matches = (_MARK,) if rule == LISTED else ()
    factors = (
        FactorHit("colour", 0.6, value, "shapes.red", 0, where, matches),
        FactorHit("shape", 0.5, min(1.0, value * 0.9), "shapes.circle", 1 if rule == BLUE else 0, where),
    )
    return RuleHit(rule, verdict, None, factors, across_frames=rule == BLUE)


def judged(key: str, verdict: Verdict, rule: str, value: float) -> Judged:
    """Return an object of the drawn store with its judgement."""
    signals = {
        "shapes.red": Signal(value, 0, "upper half"),
        "shapes.circle": Signal(value * 0.9, 0, "upper half" if rule == RED else ""),
        "shapes.blue": Signal(0.02),
    }
    face = Finding("CIRCLE", 0.8, 0.1, 0.1, 0.5, 0.5, 212, {}, signals={"shapes.circle": value * 0.9})
    found = Explanation(
        (Look(0, 0, "", 640, 480),), (Found(("shapes", "colours"), 0, face),), (LeftOut("clip", "was not asked"),)
    )
    explanation = None if verdict is Verdict.CLEAR else found
    scores = Scores(signals, _DETECTORS, explanation=explanation)
    frames = 2 if rule == BLUE else 1
    content = Content(_sha(key), 12_345, MediaType.PNG, 640, 480, frames, scores, total=frames)
    hits = () if verdict is Verdict.CLEAR else (_hit(rule, verdict, value),)
    return Judged(Object(key, 12_345, 1), content, Judgement(verdict, (), hits, "shapes@1"))


def fill(here: Reviewing) -> Names:
    """Put something into everything that pages show; return where to find it."""
    ledger, store = here.ledger, here.store
    run = ledger.begin_run("scan", store, {"dry_run": True, "whole": True, "chosen_act": "delete"})
    planned = [judged(_key(n), Verdict.BLOCK, (RED, BLUE, LISTED)[n % 3], 0.74 + n / 40) for n in range(_PLANNED)]
    review = [judged(_key(100 + n), Verdict.REVIEW, (RED, BLUE)[n % 2], 0.61 + n / 60) for n in range(_REVIEW)]
    clear = [judged(_key(200 + n), Verdict.CLEAR, "", 0.02 * n) for n in range(_CLEAR)]
    lost = [Unscanned(Object(_key(300 + n), 99, 1), why, "as drawn") for n, why in enumerate(list(Reason)[:3])]
    ledger.record(run, store, [*planned, *review, *clear, *lost])
    ledger.plan(run, store, [(one.object, one.content.sha256) for one in planned], ActKind.DELETE)
    ledger.end_run(run, "done", {}, complete=True)
    now = here.pages.clock.now()
    ledger.set_watermark(store, Watermark(now - 3600, now - 7200, "drawn"))
    _traces(here, run, planned, now)
    removed, failed = _acts(here)
    _uploads(here, run, now, planned[1].content.sha256)
    ledger.confirm(planned[0].content.sha256, "it is one", "ada")
    ledger.dismiss(review[0].content.sha256, "drawing: a cartoon", by="ada")
    ledger.decide(DecisionKind.DISMISS, [review[1].content.sha256], "drawing: a cartoon", "ada", 3600.0, now)
    return Names(planned[1].content.sha256, review[-1].content.sha256, removed, failed)


def _traces(here: Reviewing, run: int, planned: list[Judged], now: float) -> None:
    sighting = Sighting(
        SightingKind.POST, SightingWay.DATABASE, Certainty.CERTAIN, "https://social.example/post/7", _PEOPLE[0],
        "far.example", False, now - 600, "media/7", "7", "42",
    )  # fmt: skip
    records, wanted = [], []
    for number, one in enumerate(planned):
        person = _PEOPLE[number % len(_PEOPLE)]
        seen = replace(sighting, person=person, instance=person.split("/")[2] if "/" in person else "old.example",
                       record=f"media/{number}", post_id=str(number))  # fmt: skip
        subject = Subject(here.store, one.object.key, one.content.sha256)
        records.append(TraceRecord(subject, "mastodon", now - 60, TraceState.FOUND, "", (seen,)))
        wanted.append(
            [Intended("remove_post", TargetKind.POST, str(number), 0, server="mastodon")] if number < 2 else []
        )
    subject = Subject(here.store, _key(100), _sha(_key(100)))
    records.append(TraceRecord(subject, "mastodon", now - 30, TraceState.FAILED, "no way was open", (), now + 600))
    here.ledger.record_traces(run, records, [*wanted, []])


def _acts(here: Reviewing) -> tuple[bytes, bytes]:
    """Seal and remove some objects of another store, fail with one, and let its breaker hold the rest back."""
    ledger = here.ledger
    run = ledger.begin_run("scan", OTHER, {"dry_run": False, "whole": True})
    found = [judged(f"drawings/{n:04}.webp", Verdict.BLOCK, RED, 0.9) for n in range(5)]
    ledger.record(run, OTHER, found)
    plans = ledger.plan(run, OTHER, [(one.object, one.content.sha256) for one in found], ActKind.SEAL)
    started = ledger.start(run, plans[:4])
    for plan in started[:3]:
        seal = ledger.reserve_seals([plan], "file:///var/lib/fedi-safety/vault")[plan.id]
        assert ledger.record_seal(seal, 12_600, bytes(32), 30 * 86_400.0)
    ended = [Outcome(plan, PlanState.DONE) for plan in started[:3]]
    ledger.close(run, [*ended, Outcome(started[3], PlanState.FAILED, "the store did not answer within 30 s")])
    ledger.hold_seal(ledger.seals(sha256=started[0].sha256)[0], "a court asked (by ada)")
    ledger.set_breaker(run, OTHER, "4 of 5 objects would be removed, more than 1 %")
    ledger.end_run(run, "breaker", {}, complete=True)
    return started[1].sha256, started[3].sha256


def _uploads(here: Reviewing, run: int, now: float, condemned: bytes) -> None:
    told = Told("203.0.113.9", "drawing.png")
    states = (UploadState.OWED, UploadState.HELD, UploadState.OWED, UploadState.REFUSED)
    for number, state in enumerate(states):
        sha256 = condemned if state is UploadState.REFUSED else _sha(f"upload {number}")
        note = UploadNote(
            f"upload-{number}", now - 300 * number, "lemmy", state, "timeout", "gate", sha256, 12_000,
            "image/png", told=told,
        )  # fmt: skip
        here.ledger.record_uploads(run, [], [note])


def newest(here: Reviewing, kind: QueueKind) -> bytes:
    """Return the content of the newest entry of a queue."""
    return here.ledger.queue(QueueFilter(kind)).entries[0].sha256
