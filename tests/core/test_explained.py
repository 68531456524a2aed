"""What verdicts rest on: gathered while detectors look, one finding a region, with the frame that it was made in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedi_safety.core.cascade import Cascade
from fedi_safety.core.explained.account import MAX_OF_A_FRAME, Account
from fedi_safety.core.frames.places import Place
from fedi_safety.core.pipeline import Stages
from fedi_safety.core.types import NO_SCORES, Evidence, Finding, Look, Scored, Scores
from support.fakes import FakeClock, FakeDetector, red_circles, text_frame

FACE = Finding("FACE_MALE", 0.8, 0.1, 0.1, 0.5, 0.5, 40, signals={"face.present": 0.8})


class _Finder(FakeDetector):
    """Finds one thing in every frame: as strong as its signal."""

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        found = super().score(batch)
        return [
            replace(one, findings=(Finding(self.name, max(one.signals.values()), 0, 0, 1, 1, 1, signals=one.signals),))
            for one in found
        ]


def test_what_detectors_found_passes_through_the_cascade_with_its_frame() -> None:
    frames = [text_frame(0, b"red=0.1"), text_frame(1, b"red=0.7 circle=0.9")]
    turned = text_frame(1 << 22 | 1, b"red=0.6 circle=0.8")
    frames.append(replace(turned, part_of=1, place=Place(turned=90)))
    detectors = [_Finder("a", ("a.red",), cost=1), _Finder("b", ("b.circle",), cost=2)]
    (scores,) = Cascade(detectors, red_circles()).score([frames], [NO_SCORES], Stages(), FakeClock())
    assert isinstance(scores, Scores) and scores.explanation is not None
    assert [(f.detectors, f.frame, f.finding.score) for f in scores.explanation.found] == [
        (("a",), 0, 0.1),
        (("a",), 1, 0.7),
        (("a",), 1 << 22 | 1, 0.6),
        (("b",), 1, 0.9),
        (("b",), 1 << 22 | 1, 0.8),
    ]
    assert scores.explanation.looks[2] == Look(1 << 22 | 1, 1, "turned by 90°", turned.width, 1)


def test_a_region_that_two_detectors_speak_of_is_one_finding() -> None:
    """A face says how certain it is one and how old, in one place; the later detector says whether it counted."""
    account = Account([text_frame(0, b"pic")])
    other = replace(FACE, x=0.3)
    account.add("finder", text_frame(0, b"pic"), [FACE, other])
    told = replace(FACE, ages={"under 18": 0.3}, signals={"face.minor": 0.3}, counted=False, why="too small")
    account.add("reader", text_frame(0, b"pic"), [told])
    first, second = account.explanation().found
    assert (first.detectors, second.detectors) == (("finder", "reader"), ("finder",))
    assert first.finding.signals == {"face.present": 0.8, "face.minor": 0.3}
    assert (first.finding.ages, first.finding.counted, first.finding.why) == ({"under 18": 0.3}, False, "too small")
    assert second.finding == other


def test_of_a_crowd_the_strongest_are_kept_and_whoever_gave_the_signal() -> None:
    crowd = [replace(FACE, x=i / 1000, score=i / 1000, signals={"face.minor": 0.1}) for i in range(900)]
    youngest = replace(FACE, x=0.95, score=0.01, signals={"face.minor": 0.9})
    account = Account([text_frame(0, b"pic")])
    account.add("reader", text_frame(0, b"pic"), [*crowd, youngest])
    found = [f.finding for f in account.explanation().found]
    assert len(found) == MAX_OF_A_FRAME and found[0] == youngest and found[1].score == 0.899
