"""One batch through every door: a scan, the daemon, the gate, its workers. All say the same of it, and no more.

The media are texts; what they exercise is real: the content's own word, decoding with one more try, the cascade, the
second pass, a person's dismissal, a detector that fails.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SharedRunLock
from fedi_safety.app.replay import Rejudge
from fedi_safety.app.scan import scan
from fedi_safety.app.stores import Target
from fedi_safety.config.loading import load_settings
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import Detail, MediaType, Reason, Verdict
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.ledger.ports import Verdicts
from fedi_safety.core.nulls import NoMemory
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.ports import Store
from fedi_safety.core.runs import ScanRequest
from fedi_safety.core.testcard import draw_test_card
from fedi_safety.core.types import Content, Decoded, Fingerprints, Judged, Judgement, Match, Scored, Scores, Unscanned
from fedi_safety.judging.engine import EngineJudge
from fedi_safety.judging.messages import Result, result_of
from fedi_safety.judging.metrics import Metrics
from fedi_safety.judging.remembered import LedgerFirst
from fedi_safety.judging.types import Answer, Judge, Unjudged, Upload
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.watch.cycles import Rhythm, Shared, StoreWatch, Wanted
from support.fakes import FakeClock, FakeDecoder, FakeStore, detectors, red_circles, text_frame

BATCH = {
    "clear": b"pic red=0.1 circle=0.2",
    "labelled": b"pic red=0.95",
    "condemned": b"pic red=0.9 circle=0.8",
    "dismissed": b"pic red=0.9 circle=0.9 harmless",
    "near a rule": b"pic red=0.6 circle=0.3##pic red=0.9 circle=0.9",
    "near, and dismissed": b"pic red=0.6 circle=0.3 harmless##pic red=0.9 circle=0.9",
    "not near": b"pic red=0.1##pic red=0.9 circle=0.9",
    "near, but for a cheap factor": b"pic red=0.4 circle=0.9##pic red=0.9 circle=0.9",
    "apart": b"pic red=0.8|pic circle=0.9|pic red=0.6 circle=0.4",
    "apart, and together": b"pic red=0.8|pic circle=0.9|pic red=0.6 circle=0.7",
    "apart, near together": b"pic red=0.8|pic circle=0.9|pic red=0.6 circle=0.4##pic red=0.9 circle=0.9",
    "in part": b"pic part red=0.9 circle=0.9",
    "test card": draw_test_card(),
    "crashes once": b"pic once red=0.6 circle=0.6",
    "crashes always": b"bad decoder_crashed",
    "corrupt": b"bad corrupt",
    "poisoned": b"pic poison",
    "listed": b"pic red=0.1 listed",
    "listed, and corrupt": b"bad corrupt listed",
    "listed, and dismissed": b"pic red=0.1 listed harmless",
}
KEYS = {hashlib.sha256(data).digest(): key for key, data in BATCH.items()}
DISMISSED = [hashlib.sha256(data).digest() for data in BATCH.values() if b"harmless" in data]


class Media(FakeDecoder):
    """Texts with a second pass behind `##`; one that dies of the first try, and the test card."""

    def __init__(self) -> None:
        super().__init__()
        self.crashed: set[bytes] = set()
        self.second_passes: list[bytes] = []

    def sniff(self, head: bytes) -> MediaType:
        return MediaType.PNG if head.startswith(b"\x89PNG") else super().sniff(head)

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        if data.startswith(b"\x89PNG"):
            return Decoded(media_type, 480, 270, (text_frame(0, b"card"),))
        if b"once" in data and data not in self.crashed:
            self.crashed.add(data)
            raise Unscannable(Reason.DECODER_CRASHED, "killed")
        first, *second = data.split(b"##")
        decoded = super().decode(first, media_type, detail)
        if detail is Detail.COARSE:
            return replace(decoded, more=bool(second))
        self.second_passes.append(data)
        return replace(decoded, frames=(replace(text_frame(0, second[0]), index=7),))


class Listed:
    """A content detector that knows, by their SHA-1, the contents that say `listed`."""

    name = "lists"
    version = "lists 1 sha256:00"
    signals = ("known.block",)

    def __init__(self) -> None:
        self._entries = {hashlib.sha1(d).digest(): str(i) for i, d in enumerate(BATCH.values()) if b"listed" in d}

    def score_content(self, fingerprints: Fingerprints) -> Scored:
        entry = self._entries.get(fingerprints.sha1)
        if entry is None:
            return Scored({"known.block": 0.0})
        return Scored({"known.block": 1.0}, matches={"known.block": (Match("test list", entry),)})


def policy() -> Policy:
    """Red circles, and what a list knows."""
    own = red_circles()
    known = Rule("known image", {"known": 1.0}, Verdict.BLOCK)
    return replace(own, factors={**own.factors, "known": ("known.block",)}, rules=(known, *own.rules))


def engine(media: Media) -> Engine:
    return Engine(media, list(detectors()), "fake", 2, [Listed()])


def opened(path: Path) -> SqlLedger:
    """Return a ledger in which a person has dismissed some contents, long ago and under another policy."""
    ledger = open_ledger(path, clock=FakeClock())
    run = ledger.begin_run("scan", "fake://elsewhere", {})
    store = FakeStore({KEYS[sha256]: BATCH[KEYS[sha256]] for sha256 in DISMISSED})
    old = Judgement(Verdict.BLOCK, (), (), "old@0")
    bare = [Content(s, len(BATCH[KEYS[s]]), MediaType.PNG, 1, 1, 1, Scores({}, {})) for s in DISMISSED]
    results = [Judged(store.describe(KEYS[c.sha256]), c, old) for c in bare]
    ledger.record(run, "fake://elsewhere", results)
    for sha256 in DISMISSED:
        ledger.dismiss(sha256, "harmless")
    return ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    made = opened(tmp_path / "ledger.db")
    yield made
    made.dispose()


@dataclass(frozen=True)
class Word:
    """What a door says of a medium: content and judgement, or why there is none, in the gate's words."""

    content: Content | None = None
    judgement: Judgement | None = None
    reason: Unjudged | None = None


def word(found: Judged | Unscanned | Answer) -> Word:
    if isinstance(found, Judged):
        return Word(found.content, found.judgement)
    if isinstance(found, Unscanned):
        engine_failed = found.reason is Reason.DETECTOR_FAILED
        return Word(reason=Unjudged.ENGINE_FAILED if engine_failed else Unjudged.DECODER_FAILED)
    return Word(found.content, found.judgement, found.reason)


Door = Callable[[SqlLedger, Media, pytest.MonkeyPatch], dict[str, Word]]


def recorded(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> dict[str, Word]:
    """Note what is given to the ledger for a store's objects."""
    words: dict[str, Word] = {}
    inner = ledger.record

    def record(run: int, store: str, results: Sequence[Judged | Unscanned]) -> None:
        words.update({result.object.key: word(result) for result in results})
        inner(run, store, results)

    monkeypatch.setattr(ledger, "record", record)
    return words


def by_scan(ledger: SqlLedger, media: Media, monkeypatch: pytest.MonkeyPatch) -> dict[str, Word]:
    words = recorded(ledger, monkeypatch)
    store = FakeStore(dict(BATCH))
    request = ScanRequest(store.url, dry_run=True)
    scan(
        load_settings(),
        request,
        ledger=ledger,
        store=store,
        engine=engine(media),
        policy=policy(),
        clock=FakeClock(),
    )
    return words


@dataclass(frozen=True)
class Place:
    """A watched store."""

    store: FakeStore
    settings: Settings
    name: str = "fake"
    url: str = "fake://store"

    def open(self) -> Store:
        return self.store


def by_watch(ledger: SqlLedger, media: Media, monkeypatch: pytest.MonkeyPatch) -> dict[str, Word]:
    words = recorded(ledger, monkeypatch)
    lock = SharedRunLock(ledger)
    shared = Shared(ledger, engine(media), policy(), lock, FakeClock(), Rhythm(), Wanted(dry_run=True))
    watch = StoreWatch(cast("Target", Place(FakeStore(dict(BATCH)), load_settings())), shared)
    watch.step(())
    watch.close()
    return words


def by_gate(ledger: SqlLedger, media: Media, _monkeypatch: pytest.MonkeyPatch) -> dict[str, Word]:
    return uploaded(lambda judge: judge, ledger, media)


class OverTheWire:
    """Brings a judge's answers as a worker brings them to its gate."""

    def __init__(self, inner: Judge) -> None:
        self._inner = inner
        self.ready, self.start, self.stop = inner.ready, inner.start, inner.stop

    async def judge(self, upload: Upload) -> Answer:
        told = result_of("lease", await self._inner.judge(upload)).model_dump_json()
        return Result.model_validate_json(told).answer(upload.sha256, len(upload.data), "worker")


def by_worker(ledger: SqlLedger, media: Media, _monkeypatch: pytest.MonkeyPatch) -> dict[str, Word]:
    """A worker remembers nothing; the gate that it answers has the ledger."""
    return uploaded(lambda judge: LedgerFirst(OverTheWire(judge), ledger, policy), NoMemory(), media)


def uploaded(door: Callable[[Judge], Judge], memory: Verdicts, media: Media) -> dict[str, Word]:
    """Give all of the batch to a judge at once, as a gate does."""

    async def ask() -> dict[str, Word]:
        judge = EngineJudge(lambda: engine(media), policy(), memory, lambda *_verdict: None, Metrics())
        asked = door(judge)
        await judge.start()
        assert judge.loaded is not None
        await judge.loaded
        now = time.monotonic()
        uploads = [
            Upload(key, "test", data, None, hashlib.sha256(data).digest(), now, now + 30) for key, data in BATCH.items()
        ]
        answers = await asyncio.gather(*(asked.judge(upload) for upload in uploads))
        await judge.stop()
        return {upload.id: word(answer) for upload, answer in zip(uploads, answers, strict=True)}

    return asyncio.run(ask())


DOORS: dict[str, Door] = {"scan": by_scan, "watch": by_watch, "gate": by_gate, "worker": by_worker}


def said(words: dict[str, Word]) -> dict[str, tuple[str, tuple[str, ...]] | str]:
    """Return verdicts with the rules that held, and reasons."""
    found: dict[str, tuple[str, tuple[str, ...]] | str] = {}
    for key, one in words.items():
        if one.judgement is None:
            found[key] = str(one.reason)
        else:
            found[key] = one.judgement.verdict.value, tuple(hit.rule for hit in one.judgement.reasons)
    return found


EXPECTED: dict[str, tuple[str, tuple[str, ...]] | str] = {
    "clear": ("clear", ()),
    "labelled": ("clear", ("very red",)),
    "condemned": ("block", ("red circle", "very red")),
    "dismissed": ("clear", ("dismissed by a person",)),
    "near a rule": ("block", ("red circle", "very red")),
    "near, and dismissed": ("clear", ("dismissed by a person",)),
    "not near": ("clear", ()),
    "near, but for a cheap factor": ("block", ("red circle", "very red")),
    "apart": ("clear", ()),
    "apart, and together": ("block", ("red circle",)),
    "apart, near together": ("block", ("red circle", "very red")),
    "in part": ("block", ("red circle", "very red")),
    "test card": ("block", ("test card",)),
    "crashes once": ("block", ("red circle",)),
    "crashes always": "decoder_failed",
    "corrupt": "decoder_failed",
    "poisoned": "engine_failed",
    "listed": ("block", ("known image",)),
    "listed, and corrupt": ("block", ("known image",)),
    "listed, and dismissed": ("clear", ("dismissed by a person",)),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_says_the_same(door: str, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    media = Media()
    words = DOORS[door](ledger, media, monkeypatch)
    assert said(words) == EXPECTED
    near = ("near a rule", "near, but for a cheap factor", "apart, near together")
    assert sorted(media.second_passes) == sorted(BATCH[key] for key in near), "a person's word needs no second pass"
    listed = words["listed, and corrupt"].content
    assert listed is not None and listed.frames == 0 and (listed.partly or "").startswith("corrupt: ")
    judgement = words["listed"].judgement
    assert judgement is not None
    assert [hit.matches for hit in judgement.reasons[0].factors] == [(Match("test list", entry_of("listed")),)]


def entry_of(key: str) -> str:
    return str(list(BATCH).index(key))


def test_contents_and_judgements_are_equal_at_every_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what a person dismissed: the gate does not examine that again."""
    found: dict[str, dict[str, Word]] = {}
    for name, door in DOORS.items():
        with monkeypatch.context() as patch, ExitStack() as stack:
            ledger = opened(tmp_path / f"{name}.db")
            stack.callback(ledger.dispose)
            found[name] = door(ledger, Media(), patch)
    examined = [key for key, data in BATCH.items() if b"harmless" not in data]
    for name in DOORS:
        assert {key: found[name][key] for key in examined} == {key: found["scan"][key] for key in examined}, name


def reviewing() -> Policy:
    """The same policy; what only different frames hold together is for a person to see."""
    own = policy()
    across = [replace(rule, across_frames=Verdict.REVIEW) if rule.name == "red circle" else rule for rule in own.rules]
    return replace(own, rules=tuple(across))


@pytest.mark.parametrize("door", DOORS)
def test_what_different_frames_hold_together_goes_to_review_at_every_door(
    door: str, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {"apart": ("review", ("red circle",))}
    asked = reviewing()
    monkeypatch.setattr(f"{__name__}.policy", lambda: asked)
    words = DOORS[door](ledger, Media(), monkeypatch)
    assert said(words) == EXPECTED | changed
    for key in ("apart", "apart, and together"):
        judgement = words[key].judgement
        assert judgement is not None
        hit = judgement.reasons[0]
        assert (hit.across_frames, {factor.frame for factor in hit.factors}) == (
            (True, {0, 1}) if key == "apart" else (False, {2})
        )


def test_an_older_worker_condemns_no_clip(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """It joins all frames, and does not tell what each was given: its word counts where it names one picture."""
    inner = result_of

    def older(lease: str, answer: Answer) -> Result:
        told = inner(lease, answer).model_dump(mode="json")
        if told["content"] is not None:
            del told["content"]["frame_scores"], told["content"]["frame_table"]
        if answer.content is not None and answer.content.sha256 == hashlib.sha256(BATCH["apart"]).digest():
            told["judgement"]["verdict"] = "block"
            told["judgement"]["reasons"][0] |= {"verdict": "block"}
            del told["judgement"]["reasons"][0]["across_frames"]
        return Result.model_validate(told)

    asked = reviewing()
    monkeypatch.setattr(f"{__name__}.policy", lambda: asked)
    monkeypatch.setattr(f"{__name__}.result_of", older)
    words = by_worker(ledger, Media(), monkeypatch)
    assert said(words) == EXPECTED | {"apart": "engine_failed"}
    assert [key for key, one in words.items() if one.content is not None and one.content.scores.frames is None] == [
        "near a rule",
        "near, but for a cheap factor",
        "apart, and together",
        "apart, near together",
    ]


def test_matches_are_remembered_with_the_verdict(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """I7: what the ledger gives back names list and entry, and a new policy over stored scores does as well."""
    by_scan(ledger, Media(), monkeypatch)
    sha256 = hashlib.sha256(BATCH["listed"]).digest()
    content, judgement, _ = ledger.contents([sha256])[sha256]
    match = (Match("test list", entry_of("listed")),)
    assert content.scores.signals["known.block"].matches == match
    assert judgement.reasons[0].factors[0].matches == match
    other = replace(policy(), name="other")
    run = ledger.begin_run("scan", "fake://store", {})
    ledger.redecide(run, other.id, Rejudge(other, frozenset(engine(Media()).signals)))
    _, again, _ = ledger.contents([sha256])[sha256]
    assert again.policy == other.id and again.reasons[0].factors[0].matches == match
