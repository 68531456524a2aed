"""I2, I5 and I7 for lists of known images: what they say is exact and explained, and what cannot be read says nothing.

A list is never taken for empty because it is damaged; bytes are compared although nothing decodes; a negative entry
stands above what looks alike; what lists condemn is shown to no detector; lists change no policy's id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedi_safety.app.engine import Engine
from fedi_safety.app.scan import scan
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import ActKind, Detail, MediaType, Reason, Verdict
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.known.types import Effect, Entry, HashKind
from fedi_safety.core.ledger.hashes import HashCounts
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.runs import RunReport, ScanRequest
from fedi_safety.core.types import Decoded, Evidence, Frame, Match, Scored
from fedi_safety.detectors.known.recognizer import Known
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.policies import PRESETS, load_policy, warnings
from support.fakes import FakeClock, FakeDecoder, FakeDetector, FakeStore
from support.stand_in_lists import Pixels, StandInLists, drawn, listed, pdq_of, picture_entry

LISTED, OTHER = b"pic 1", b"pic 2"
BROKEN, UNKNOWN = b"bad corrupt 3", b"nothing that is known"


class Pictures(FakeDecoder):
    """`pic SEED...` decodes to drawn pictures, at whole seconds where there are several."""

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        if not data.startswith(b"pic"):
            return super().decode(data, media_type, detail)
        frames = tuple(self._frame(i, drawn(int(word))) for i, word in enumerate(data.split()[1:]))
        return Decoded(media_type, 96, 64, frames[:1], compared=frames if len(frames) > 1 else ())

    @staticmethod
    def _frame(index: int, pixels: Pixels) -> Frame:
        return Frame(index, pixels.shape[1], pixels.shape[0], pixels.tobytes())


class Sharp(FakeDetector):
    """A detector of pictures, which counts those that it is shown."""

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        self.batches.append(len(batch))
        return [Scored({"a.red": 0.1}) for _ in batch]


POLICY = Policy(
    "known",
    {"known": ("known.block",), "listed": ("known.review",), "red": ("a.red",)},
    (
        Rule("known image", {"known": 1.0}, Verdict.BLOCK),
        Rule("image listed for review", {"listed": 1.0}, Verdict.REVIEW),
        Rule("red", {"red": 0.5}, Verdict.BLOCK),
    ),
)


class Place:
    """A store, a ledger, lists."""

    def __init__(self, path: Path) -> None:
        self.ledger: SqlLedger = open_ledger(path, clock=FakeClock())
        self.lists = StandInLists()
        self.store = FakeStore({"listed": LISTED, "other": OTHER, "broken": BROKEN, "unknown": UNKNOWN})
        self.detector = Sharp("a", ("a.red",))
        self.recognizer: Known | None = Known(self.lists)

    def scan(self, *, hashes_only: bool = False) -> RunReport:
        engine = Engine(Pictures(), [self.detector], "fake", 1, recognizer=self.recognizer)
        request = ScanRequest(self.store.url, act=ActKind.DELETE, dry_run=True, hashes_only=hashes_only)
        return scan(Settings(), request, ledger=self.ledger, store=self.store, engine=engine, policy=POLICY)

    def verdict(self, data: bytes) -> Verdict | None:
        found = self.ledger.contents([hashlib.sha256(data).digest()])
        return next((judgement.verdict for _, judgement, _ in found.values()), None)

    def matches(self, data: bytes, signal: str = "known.block") -> tuple[Match, ...]:
        ((content, _, _),) = self.ledger.contents([hashlib.sha256(data).digest()]).values()
        return content.scores.signals[signal].matches


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "ledger.db")
    yield made
    made.ledger.dispose()


def test_a_listed_picture_is_condemned_with_its_reason_and_shown_to_no_detector(place: Place) -> None:
    place.lists.lists = [listed("b", Effect.BLOCK, picture_entry(drawn(1)[:, ::-1], "4711"))]
    place.scan()
    assert (place.verdict(LISTED), place.verdict(OTHER)) == (Verdict.BLOCK, Verdict.CLEAR)
    assert place.matches(LISTED) == (Match("b", "4711", 0, "mirrored"),)
    assert sum(place.detector.batches) == 1  # the other one
    assert place.ledger.verify().problem is None


def test_a_list_for_review_plans_nothing(place: Place) -> None:
    place.lists.lists = [listed("r", Effect.REVIEW, picture_entry(drawn(1), "1"))]
    report = place.scan()
    assert place.verdict(LISTED) is Verdict.REVIEW and report.tally.planned == 0
    assert sum(place.detector.batches) == 2


@pytest.mark.parametrize("kind", [HashKind.MD5, HashKind.SHA1, HashKind.SHA256])
def test_bytes_are_compared_although_nothing_decodes(place: Place, kind: HashKind) -> None:
    entries = [Entry(kind, hashlib.new(kind.value, data).digest(), data.hex()) for data in (BROKEN, UNKNOWN)]
    place.lists.lists = [listed("b", Effect.BLOCK, *entries)]
    report = place.scan()
    assert (place.verdict(BROKEN), place.verdict(UNKNOWN)) == (Verdict.BLOCK, Verdict.BLOCK)
    assert place.matches(UNKNOWN) == (Match("b", UNKNOWN.hex()),)
    assert report.tally.partly == 2 and report.tally.accounted


def test_what_is_on_no_list_is_unscanned_or_skipped_as_ever(place: Place) -> None:
    place.lists.lists = [listed("b", Effect.BLOCK, picture_entry(drawn(9), "9"))]
    report = place.scan()
    assert report.tally.unscanned == {"corrupt": 1} and report.tally.skipped == {"not_media": 1}
    assert place.verdict(BROKEN) is None and place.verdict(UNKNOWN) is None


def test_lists_that_cannot_be_read_leave_everything_unscanned(place: Place) -> None:
    place.lists.lists = [listed("b", Effect.BLOCK, picture_entry(drawn(1), "1"))]
    place.lists.broken = True
    report = place.scan()
    assert report.tally.judged == 0 and report.tally.unscanned["detector_failed"] >= 2
    assert not place.detector.batches
    place.lists.broken = False
    place.ledger.clock.advance(3600)  # type: ignore[attr-defined]
    place.scan()
    assert place.verdict(LISTED) is Verdict.BLOCK


def test_negative_stands_above_what_looks_alike_and_shows(place: Place) -> None:
    negative = listed("n", Effect.NEGATIVE, picture_entry(drawn(1), "harmless"), distance=15)
    place.lists.lists = [listed("b", Effect.BLOCK, picture_entry(drawn(1), "1")), negative]
    place.scan()
    assert place.verdict(LISTED) is Verdict.CLEAR
    assert place.matches(LISTED) == (Match("n", "harmless"),)


def test_a_clip_is_met_by_its_share_and_a_single_picture_is_not(place: Place) -> None:
    entries = [picture_entry(drawn(i), f"c@{i}", clip="c") for i in range(10, 15)]
    place.lists.lists = [listed("b", Effect.BLOCK, *entries)]
    whole, part, one = b"pic 10 11 12 13 14", b"pic 10 11 12 20 21", b"pic 10"
    still = b"pic 10 10 10 10 10"  # neighbours that are alike count once
    place.store = FakeStore({"whole": whole, "part": part, "one": one, "still": still})
    place.scan()
    assert [place.verdict(data) for data in (whole, part, one, still)] == [Verdict.BLOCK] + 3 * [Verdict.CLEAR]


def test_lists_that_come_change_no_policy_and_unsettle_nothing(place: Place) -> None:
    place.recognizer = None
    before = place.scan()
    assert place.ledger.hash_counts() == HashCounts(2, 0)
    place.recognizer = Known(place.lists)
    place.lists.lists = [listed("b", Effect.BLOCK, picture_entry(drawn(1), "1"))]
    after = place.scan()
    assert after.policy == before.policy and after.tally.judged == 0
    for name in PRESETS:
        preset = load_policy(name)
        assert preset.among(frozenset({"known.block", "known.review"})).id == preset.among(frozenset()).id


def test_what_was_judged_before_is_hashed_without_a_detector_and_only_once(place: Place) -> None:
    place.recognizer = None
    place.scan()
    shown = sum(place.detector.batches)
    place.recognizer = Known(place.lists)
    place.lists.lists = [listed("b", Effect.BLOCK, picture_entry(drawn(1), "1"))]
    place.store.put("new", b"pic 5")
    report = place.scan(hashes_only=True)
    assert place.ledger.hash_counts() == HashCounts(2, 2)
    assert place.ledger.hashes_of([hashlib.sha256(OTHER).digest()])[hashlib.sha256(OTHER).digest()].pictures[
        0
    ].pdq == pdq_of(drawn(2))
    assert (place.verdict(LISTED), place.verdict(OTHER)) == (Verdict.BLOCK, Verdict.CLEAR)
    assert place.matches(LISTED) == (Match("b", "1"),)
    assert sum(place.detector.batches) == shown and place.verdict(b"pic 5") is None
    assert report.tally.judged == 2 and report.tally.accounted
    place.store.fetched.clear()
    place.scan(hashes_only=True)
    assert place.store.fetched == []
    assert place.ledger.verify().problem is None


def test_what_does_not_decode_any_more_is_hashed_by_its_bytes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.recognizer = None
    place.scan()
    place.recognizer = Known(place.lists)

    def fails(*_: object) -> Decoded:
        raise Unscannable(Reason.CORRUPT, "told to")

    monkeypatch.setattr(Pictures, "decode", fails)
    place.scan(hashes_only=True)
    hashes = place.ledger.hashes_of([hashlib.sha256(LISTED).digest()])[hashlib.sha256(LISTED).digest()]
    assert hashes.md5 == hashlib.md5(LISTED).digest() and hashes.pictures == ()
    assert place.verdict(LISTED) is Verdict.CLEAR


@pytest.mark.parametrize("what", ["the decoder dies", "the index is damaged"])
def test_what_failed_for_a_moment_does_not_count_as_hashed(
    place: Place, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.recognizer = None
    place.scan()
    place.recognizer = Known(place.lists)
    place.lists.lists = [listed("b", Effect.BLOCK, picture_entry(drawn(1), "1"))]

    def fails(*_: object) -> Decoded:
        reason = Reason.DECODER_CRASHED if what == "the decoder dies" else Reason.DETECTOR_FAILED
        raise Unscannable(reason, "told to")

    with monkeypatch.context() as patch:
        if what == "the decoder dies":
            patch.setattr(Pictures, "decode", fails)
        else:  # bytes are compared without the index
            patch.setattr(StandInLists, "near", fails)
        report = place.scan(hashes_only=True)
    assert place.ledger.hash_counts() == HashCounts(2, 0)
    assert sum(report.tally.unscanned.values()) >= 2
    place.ledger.clock.advance(3600)  # type: ignore[attr-defined]
    place.scan()
    place.scan(hashes_only=True)
    assert place.verdict(LISTED) is Verdict.BLOCK


def test_every_scan_hashes_what_it_judges_whether_there_are_lists_or_not(place: Place) -> None:
    place.scan()
    found = place.ledger.hashes_of([hashlib.sha256(LISTED).digest()])
    (picture,) = found[hashlib.sha256(LISTED).digest()].pictures
    assert np.frombuffer(picture.pdq, np.uint8).tolist() == np.frombuffer(pdq_of(drawn(1)), np.uint8).tolist()
    assert (
        "known" not in next(iter(place.ledger.contents([hashlib.sha256(LISTED).digest()]).values()))[0].scores.detectors
    )


def test_a_policy_about_lists_is_not_told_that_nothing_measures_them() -> None:
    assert not any("known." in warning or "listed" in warning for warning in warnings(POLICY, frozenset({"a.red"})))
    odd = replace(POLICY, factors={**POLICY.factors, "known": ("known.blokc",)})
    assert any("known.blokc" in warning for warning in warnings(odd, frozenset({"a.red"})))


def test_a_preset_condemns_what_blocks_and_asks_about_what_is_for_review() -> None:
    for name in PRESETS:
        rules = {rule.name: rule for rule in load_policy(name).rules}
        policy = load_policy(name)
        known, review = rules["known image"], rules["image listed for review"]
        assert {s for f in known.when for s in policy.factors[f]} == {"known.block"}
        assert {s for f in review.when for s in policy.factors[f]} == {"known.review", "known.near"}
        assert (known.verdict, review.verdict) == (Verdict.BLOCK, Verdict.REVIEW)
        assert not any("known.match" in signals for signals in policy.factors.values())
