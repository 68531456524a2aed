"""What `show` tells of a verdict, in words, within the width of a terminal: so that nobody has to look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedi_safety.cli.show_cmd import _lines
from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger.records import PastJudgement, Shown
from fedi_safety.core.types import (
    Explanation,
    FactorHit,
    Finding,
    Found,
    Judgement,
    LeftOut,
    Look,
    Match,
    RuleHit,
)
from fedi_safety.judging.messages import bare_judgement
from fedi_safety.reports.findings import (
    WIDTH,
    basis_lines,
    basis_text,
    explanation_json,
    finding_text,
    thing,
    unexplained,
)

TILE = 1 << 22
FACE = Finding(
    "FACE_FEMALE",
    0.83,
    0.38,
    0.1,
    0.24,
    0.31,
    212,
    {"dlib under 18": 0.31, "dlib under 25": 0.62},
    signals={"face.present": 0.83, "face.minor": 0.31, "face.young": 0.62},
)
SMALL = Finding("FACE_MALE", 0.52, 0.8, 0.1, 0.02, 0.02, 6, {}, False, "too small for an age: below 8 px")
BELLY = Finding("BELLY_COVERED", 0.44, 0.3, 0.5, 0.3, 0.25, 120, counted=False, why="nothing is made of this class")
EXPLANATION = Explanation(
    (
        Look(0, 0, "", 640, 427),
        Look(TILE, 0, "tile 3 of 9, 0-33 % x 20-60 %", 512, 512, True),
        Look(2 * TILE, 0, "tile 4 of 9, 33-67 % x 20-60 %", 512, 512, True),
    ),
    (
        Found(("nudenet", "age"), 0, FACE),
        Found(("nudenet", "age"), TILE, replace(SMALL, signals={"face.present": 0.52})),
        Found(("nudenet",), 0, BELLY),
    ),
    (LeftOut("clip", "minor 0.05 < 0.6; nsfw.open_nsfw 0.01 < 0.02 rules sexual out"),),
    more_found=2,
)
MINOR = FactorHit("minor", 0.2, 0.31, "face.minor", 0)
SEXUAL = FactorHit("sexual", 0.35, 0.61, "nsfw.open_nsfw", TILE, "tile 3 of 9, 0-33 % x 20-60 %")
BLOCK = Judgement(
    Verdict.BLOCK, (), (RuleHit("a stand-in", Verdict.BLOCK, None, (MINOR, SEXUAL)),), "balanced@0123456789ab"
)


def shown(judgement: Judgement, explanation: Explanation | None) -> Shown:
    past = PastJudgement(1.8e9, 1, judgement, None, {"age": "1"})
    return Shown([], bytes(32), "image/jpeg", 640, 427, 3, judgements=[past], explanation=explanation)


GOLDEN = """\
sha256 0000000000000000000000000000000000000000000000000000000000000000
image/jpeg, 640x427, frames judged 3
2027-01-15T08:00:00+00:00  block under balanced@0123456789ab
    a stand-in: minor 0.31 >= 0.2 (face.minor), sexual 0.61 >= 0.35 (nsfw.open_nsfw tile 3 of 9, 0-33 % x 20-60 %)
        minor: face, 212 px, certain 0.83; age models: dlib under 18 with 0.31,
          dlib under 25 with 0.62
        sexual: tile 3 of 9, 0-33 % x 20-60 % as a whole; no single region; seen
          by the second pass alone
    by age: 1
what was found (how certain, shorter side, where in the frame):
  the whole picture (640x427)
    face           0.83    212 px  38-62 % x 10-41 %
      age models: dlib under 18 0.31, dlib under 25 0.62
    covered belly  0.44    120 px  30-60 % x 50-75 %
      nothing is made of this class
  tile 3 of 9, 0-33 % x 20-60 % (512x512, second pass)
    face  0.52      6 px  80-82 % x 10-12 %
      too small for an age: below 8 px
  and 2 more, which nothing rests on
no region was named in: tile 4 of 9, 33-67 % x 20-60 % (512x512, second pass)
2 of these frames are of the second pass
clip was left out: minor 0.05 < 0.6; nsfw.open_nsfw 0.01 < 0.02 rules sexual out"""


def test_show_tells_it_frame_by_frame_in_the_width_of_a_terminal() -> None:
    lines = _lines(shown(BLOCK, EXPLANATION))
    assert "\n".join(lines) == GOLDEN
    assert max(len(line) for line in lines if not line.startswith("    a stand-in: ")) <= WIDTH


def test_factors_that_rest_on_one_thing_say_it_once() -> None:
    face = FactorHit("face", 0.5, 0.83, "face.present", 0)
    assert basis_lines((face, MINOR, SEXUAL), EXPLANATION)[:2] == [
        "        face and minor: face, 212 px, certain 0.83; age models: dlib under 18",
        "          with 0.31, dlib under 25 with 0.62",
    ]


def test_its_json_has_the_same_as_data() -> None:
    found = explanation_json(shown(BLOCK, EXPLANATION))
    assert found is not None
    assert [(r["factor"], r["finding"]) for r in found["rests_on"]] == [("minor", 0), ("sexual", None)]
    assert found["rests_on"][0]["words"] == finding_text(FACE)
    first = found["findings"][0]
    assert (first["what"], first["label"], first["detectors"]) == ("face", "FACE_FEMALE", ["nudenet", "age"])
    assert first["ages"] == FACE.ages and first["counted"] and found["findings"][1]["why"] == SMALL.why
    assert [look["second"] for look in found["frames"]] == [False, True, True]
    assert found["left_out"][0]["detector"] == "clip" and (found["more_frames"], found["more_findings"]) == (0, 2)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("FACE_MALE", "face"),
        ("FEMALE_BREAST_EXPOSED", "exposed female breast"),
        ("FEET_COVERED", "covered feet"),
        ("pistol", "pistol"),
        ("", ""),
    ],
)
def test_classes_are_said_as_people_say_them(label: str, said: str) -> None:
    assert thing(label) == said


def test_what_comes_from_no_region_says_from_where() -> None:
    known = FactorHit("known", 1, 1, "known.match", 0, "", (Match("list.txt", "4711"),))
    card = FactorHit("test card", 1, 1, "testcard.match", 0)
    assert basis_text(known, EXPLANATION) == "its bytes, or what it looks like: entry 4711 of list.txt"
    assert basis_text(card, None) == "the harmless test card of this program"
    assert basis_text(SEXUAL, None) == "not on record"
    assert basis_text(replace(SEXUAL, frame=99), EXPLANATION) == "not on record"


def test_where_nothing_is_on_record_it_says_why() -> None:
    assert "older" not in str(unexplained(shown(BLOCK, EXPLANATION)))
    assert unexplained(Shown([])) is None
    assert "no more than its verdict" in str(unexplained(shown(bare_judgement(block=True, nsfw=False), None)))
    assert "plainly clear" in str(unexplained(shown(Judgement(Verdict.CLEAR), None)))
    assert "`fedi-safety scan --recheck all`" in str(unexplained(shown(BLOCK, None)))
