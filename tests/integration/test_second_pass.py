"""Second passes, parts, and what another decoder may do better: whole passes over a real ledger, with fake media."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedi_safety.core.enums import Detail, MediaType, Reason, Recheck
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.places import Place
from fedi_safety.core.policy import nearly
from fedi_safety.core.types import Decoded, Signal
from support.fakes import FakeDecoder, FakeDetector, FakeStore, red_circles, text_frame
from support.passes import Bench


class Clips(FakeDecoder):
    """Shows `first pass ## second pass` of a medium; what goes wrong, and the version, can be set."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[Detail] = []
        self.partly: str | None = None
        self.failing: Unscannable | None = None

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        self.passes.append(detail)
        decoded = super().decode(data, media_type)
        texts = data.split(b"##")
        first = texts[0].split(b"|")
        shown = first if detail is Detail.COARSE else [*first[:1], *texts[-1].split(b"|")]
        if detail is Detail.FINE and self.failing is not None:
            raise self.failing
        frames = tuple(
            replace(text_frame(self._index(detail, i), text), place=Place(time_s=i + 0.5), part_of=_part_of(text))
            for i, text in enumerate(shown)
        )
        more = detail is Detail.COARSE and len(texts) > 1
        return replace(decoded, frames=frames, more=more, partly=self.partly, total=99)

    @staticmethod
    def _index(detail: Detail, i: int) -> int:
        """Both passes begin with the same frame and have no other in common."""
        return i if detail is Detail.COARSE or i == 0 else 10 + i


def _part_of(text: bytes) -> int | None:
    """Return which frame a text ending with `of N` is a view of."""
    _, found, number = text.rpartition(b" of ")
    return int(number) if found else None


@pytest.fixture
def clips() -> Clips:
    return Clips()


@pytest.fixture
def bench(tmp_path: Path, clips: Clips) -> Iterator[Bench]:
    made = Bench(tmp_path / "ledger.db", FakeStore(), decoder=clips)
    yield made
    made.close()


def put(bench: Bench, text: bytes, key: str = "clip") -> None:
    assert isinstance(bench.store, FakeStore)
    bench.store.put(key, text)


# --- the second pass


def test_a_first_look_near_a_rule_is_followed_by_a_second(bench: Bench, clips: Clips) -> None:
    """What the first pass came near to, the second one finds; the reason names the place."""
    put(bench, b"pic red=0.6 circle=0.3|pic##pic red=0.7|pic red=0.9 circle=0.8")
    tally, _ = bench.scan(dry_run=True)
    assert clips.passes == [Detail.COARSE, Detail.FINE]
    assert (tally.block, tally.planned) == (1, 1)
    assert tally.frames == 4, "the first frame of both passes is the same one"
    (reason,) = [hit for hit in bench.row("clip").reasons if hit.rule == "red circle"]
    assert [(factor.factor, factor.where) for factor in reason.factors] == [
        ("red", "at 0:02.50"),
        ("circle", "at 0:02.50"),
    ]


def test_it_is_on_record_what_only_the_second_look_saw(bench: Bench) -> None:
    """I7: whoever will not look learns that the verdict came from a closer look, and on what it rests."""
    put(bench, b"pic red=0.6 circle=0.3|pic##pic red=0.7|pic red=0.9 circle=0.8")
    put(bench, b"pic red=0.6 circle=0.3##pic red=0.6 circle=0.3", "near")
    put(bench, b"pic red=0.1##pic red=1 circle=1", "far")
    bench.scan(dry_run=True)
    found = {key: shown.explanation for key in ("clip", "near", "far") if (shown := bench.ledger.show(key)) is not None}
    assert found["clip"] is not None and found["near"] is not None
    assert {look.frame: look.second for look in found["clip"].looks} == {0: False, 1: False, 11: True, 12: True}
    best = {one.detectors: one.finding.score for one in found["clip"].found if one.frame == 12}
    assert best == {("a",): 0.9, ("b",): 0.8}
    assert found["near"].found, "a stricter policy would condemn this first"
    assert found["far"] is None, "plainly clear: nothing to explain"


@pytest.mark.parametrize(
    "text",
    [
        b"pic red=0.2 circle=0.2##pic red=1 circle=1",  # far from every rule
        b"pic red=0.9 circle=0##pic red=1 circle=1",  # one factor is missing altogether
        b"pic red=0.9 circle=0.9##pic red=1 circle=1",  # condemned already
        b"pic red=0.4 circle=0.4",  # there is no more to see
    ],
)
def test_other_media_are_looked_at_once(bench: Bench, clips: Clips, text: bytes) -> None:
    put(bench, text)
    bench.scan(dry_run=True)
    assert clips.passes == [Detail.COARSE]


def test_factors_from_both_looks_count_together_where_they_show_one_picture(bench: Bench, clips: Clips) -> None:
    """Red in the one, a circle in a tile of the same frame; of another frame it would be another picture."""
    put(bench, b"pic|pic red=0.9 circle=0.3##pic red=0.7 circle=0.9 of 1")
    put(bench, b"pic|pic red=0.9 circle=0.3##pic circle=0.9", "apart")
    tally, _ = bench.scan(dry_run=True)
    assert (tally.block, tally.clear) == (1, 1)
    hit = bench.row("clip").reasons[0]
    assert {factor.factor: factor.frame for factor in hit.factors} == {"red": 1, "circle": 11}
    assert bench.row("apart").verdict == "clear"


def test_a_second_look_that_fails_leaves_the_first(bench: Bench, clips: Clips) -> None:
    """It is said that only a part was judged."""
    clips.failing = Unscannable(Reason.TOO_SLOW, "not decoded within 1 s")
    put(bench, b"pic red=0.6 circle=0.3##pic red=1 circle=1")
    tally, _ = bench.scan(dry_run=True)
    assert (tally.clear, tally.partly) == (1, 1)
    assert bench.row("clip").partly == "too_slow: the second pass failed: not decoded within 1 s"


def test_a_second_look_that_a_detector_fails_on(bench: Bench, clips: Clips) -> None:
    put(bench, b"pic red=0.6 circle=0.3##pic poison")
    tally, _ = bench.scan(dry_run=True)
    assert (tally.clear, tally.partly) == (1, 1)
    assert (bench.row("clip").partly or "").startswith("detector_failed: the second pass failed")


def test_many_large_clips_go_through(tmp_path: Path) -> None:
    """More frames and more bytes than may be held at once: they take turns, and nothing waits for ever."""
    from fedi_safety.core.cascade import Cascade
    from fedi_safety.core.pipeline import Options, Pipeline

    made = Bench(tmp_path / "ledger.db", FakeStore(), decoder=Clips())
    for index in range(60):
        put(made, b"pic red=0.6 circle=0.3 %03d" % index + b"##pic red=1 circle=1", f"clip{index}")
    options = Options(max_bytes=100, held_bytes=100, held_frame_bytes=60)
    pipeline = Pipeline(
        store=made.store,
        decoder=made.decoder,
        cascade=Cascade(made.detectors, made.policy),
        ledger=made.ledger,
        policy=made.policy,
        options=options,
        clock=made.clock,
    )
    assert sum(len(results) for results in pipeline.results()) == 60
    assert pipeline._budget.taken_bytes == 0
    assert pipeline._frame_budget.taken_bytes == 0
    made.close()


def test_near_is_half_of_every_threshold() -> None:
    policy = red_circles()

    def near(red: float, circle: float) -> bool:
        return nearly(policy, {"a.red": Signal(red), "b.circle": Signal(circle)})

    assert near(0.25, 0.25)
    assert near(0.9, 0.25)
    assert not near(0.24, 0.9)
    assert not near(0.5, 0.5)
    assert not near(0.0, 0.0)
    assert not nearly(policy, {"a.red": Signal(0.89)}), "a label is no verdict"


# --- parts


def test_a_part_is_said_to_be_one(bench: Bench, clips: Clips) -> None:
    """The object, the run's figures and the store's figures say so."""
    clips.partly = "truncated: there is nothing after 3.0 s"
    put(bench, b"pic red=0.1|pic")
    put(bench, b"bad corrupt", "broken")
    tally, _ = bench.scan(dry_run=True)
    assert (tally.clear, tally.partly, tally.unscanned) == (1, 1, {"corrupt": 1})
    assert bench.row("clip").partly == clips.partly
    assert [row.key for row in bench.rows(partly=True)] == ["clip"]
    shown = bench.ledger.show("clip")
    assert shown is not None
    assert (shown.partly, shown.frames, shown.total) == (clips.partly, 2, 99)
    again, _ = bench.scan(dry_run=True)
    assert (again.already_judged, again.partly) == (1, 1)


def test_a_part_is_judged_again_by_another_decoder(bench: Bench, clips: Clips) -> None:
    """Not before: the same decoder would come to the same end."""
    clips.partly = "unsupported: a track in a coding that is not decoded"
    put(bench, b"pic red=0.1")
    bench.scan(dry_run=True)
    bench.scan(dry_run=True)
    assert len(clips.passes) == 1
    clips.partly = None
    clips.version = "fake 2"
    kept, _ = bench.scan(dry_run=True, recheck=Recheck.NEVER)
    assert (len(clips.passes), kept.partly) == (1, 1)
    tally, _ = bench.scan(dry_run=True)
    assert len(clips.passes) == 2
    assert (tally.judged, tally.partly) == (1, 0)
    assert bench.row("clip").partly is None
    bench.scan(dry_run=True)
    assert len(clips.passes) == 2


# --- failures


@pytest.mark.sampled(3)
@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.of_decoder])
def test_failures_are_tried_again_by_another_decoder(bench: Bench, clips: Clips, reason: Reason) -> None:
    """An upgrade, or another limit, may do better; the same decoder is not asked again before its time."""
    assert isinstance(bench.store, FakeStore)
    put(bench, b"bad " + reason.value.encode())
    bench.scan(dry_run=True)
    fetched = len(bench.store.fetched)
    bench.scan(dry_run=True)
    assert len(bench.store.fetched) == fetched
    clips.version = "fake 2"
    tally, _ = bench.scan(dry_run=True)
    assert len(bench.store.fetched) == fetched + 1
    assert tally.unscanned | tally.skipped == {reason.value: 1}
    bench.scan(dry_run=True)
    assert len(bench.store.fetched) == fetched + 1


def test_other_failures_are_not_the_decoders(bench: Bench, clips: Clips) -> None:
    """What the store could not give is tried again at its own time."""
    assert isinstance(bench.store, FakeStore)
    put(bench, b"pic")
    bench.store.failing["clip"] = Reason.UNREADABLE
    bench.scan(dry_run=True)
    clips.version = "fake 2"
    bench.scan(dry_run=True)
    assert len(bench.store.fetched) == 1


def test_the_detectors_see_what_they_may(bench: Bench) -> None:
    """Batches stay within what a detector takes, however many frames a clip has."""
    put(bench, b"|".join(b"pic red=0.6 circle=0.6 n=%d" % i for i in range(40)))
    bench.scan(dry_run=True)
    for detector in bench.detectors:
        assert isinstance(detector, FakeDetector)
        assert max(detector.batches, default=0) <= detector.max_batch
