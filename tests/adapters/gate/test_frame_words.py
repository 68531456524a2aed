"""What workers tell of each frame: believed as far as it agrees with itself, and never too much for one request."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from fedi_safety.core.enums import MediaType, Verdict
from fedi_safety.core.frames.scores import FrameScore, FrameScores
from fedi_safety.core.policy import judge
from fedi_safety.core.types import (
    Content,
    Explanation,
    FactorHit,
    Finding,
    Found,
    Judgement,
    LeftOut,
    Look,
    RuleHit,
    Scores,
    Signal,
)
from fedi_safety.gate.worker_api import _MAX_BODY_BYTES
from fedi_safety.judging.messages import Result, ResultsRequest, result_of
from fedi_safety.judging.types import Answer, Unjudged
from fedi_safety.worker.gates import _parts
from support.fakes import red_circles

SHA = bytes(32)


def content(count: int = 2) -> Content:
    """A clip: red in its first frame, a circle in its last."""
    rows = [
        FrameScore(i, i, 0, 40 * i, f"at 0:00.{4 * i:02}", {"a.red": 0.9 - i / 10000, "b.circle": i / 10000})
        for i in range(count)
    ]
    signals = {"a.red": Signal(0.9, 0), "b.circle": Signal((count - 1) / 10000, count - 1)}
    scores = Scores(signals, {"a": "1"}, (), FrameScores.of(rows))
    return Content(SHA, 5, MediaType.MP4, 640, 480, count, scores)


def told(what: Content | None = None) -> dict[str, Any]:
    what = what or content()
    judgement = judge(red_circles(), what.scores.signals, what.scores.frames)
    answer = Answer("clear", SHA, "engine", judgement=judgement, content=what)
    return dict(json.loads(result_of("lease", answer).model_dump_json()))


def test_what_each_frame_was_given_comes_over_whole() -> None:
    answer = Result.model_validate(told()).answer(SHA, 5, "worker")
    assert answer.content == content()


FOUND = Explanation(
    (Look(0, 0, "at 0:00.00", 640, 480),),
    (Found(("nudenet",), 0, Finding("FACE_MALE", 0.8, 0.1, 0.1, 0.5, 0.5, 212, signals={"face.present": 0.8})),),
    (LeftOut("age", "why"),),
)


def test_what_a_verdict_rests_on_comes_over_whole() -> None:
    explained = replace(content(), scores=replace(content().scores, explanation=FOUND))
    assert Result.model_validate(told(explained)).answer(SHA, 5, "worker").content == explained


@pytest.mark.parametrize("words", [None, "", "nonsense", '{"v":2}', "[" * 9000])
def test_a_verdict_counts_whatever_is_told_of_what_it_rests_on(words: str | None) -> None:
    """An older worker tells nothing, a newer one perhaps otherwise."""
    said = told()
    said["content"]["explanation"] = words
    assert Result.model_validate(said).answer(SHA, 5, "worker").content == content()


def test_a_gate_of_an_older_version_understands_what_it_is_told() -> None:
    """It reads `frame_scores`, in which nothing is said of second looks, and passes by what it does not know."""
    rows = [FrameScore(i, i, 0, 40 * i, "", {"a.red": 0.5}, second=i > 1) for i in range(3)]
    what = replace(content(3), scores=Scores({"a.red": Signal(0.5)}, {}, (), FrameScores.of(rows, closed=True)))
    words = told(what)["content"]
    old = FrameScores(base64.b64decode(words["frame_scores"]))
    assert old.data[0] == 1 and old.rows() == [replace(row, second=False) for row in rows]
    assert FrameScores.checked(old.data) == old and not old.told
    assert Result.model_validate(told(what)).answer(SHA, 5, "worker").content == what


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ("no base64!", "base64"),
        (base64.b64encode(b"\1\2\3").decode(), "not a table of frames"),
        ("", None),
        (base64.b64encode(content(3).scores.frames.data).decode(), "otherwise"),  # type: ignore[union-attr]
        ("A" * 500_000, "at most"),
    ],
)
@pytest.mark.parametrize("older", [True, False])
def test_frames_that_make_no_sense_are_refused(frames: str, said: str | None, older: bool) -> None:
    words = told()
    if older:
        del words["content"]["frame_table"]
    words["content"]["frame_scores" if older else "frame_table"] = frames
    if said is None:
        Result.model_validate(words)
        return
    with pytest.raises((ValidationError, ValueError), match="(?i)" + said):
        Result.model_validate(words)


def test_frames_may_name_no_signal_that_the_content_has_not() -> None:
    words = told()
    del words["content"]["signals"]["b.circle"]
    with pytest.raises(ValidationError, match="otherwise"):
        Result.model_validate(words)


@pytest.mark.parametrize(
    ("frames", "outcome", "reason"),
    [
        ((0, 1), "unjudged", Unjudged.ENGINE_FAILED),
        ((3, 3), "block", None),
        ((3, 3 + (7 << 22)), "block", None),  # a tile of the same frame
    ],
)
def test_an_older_workers_word_counts_where_it_names_one_picture(
    frames: tuple[int, int], outcome: str, reason: Unjudged | None
) -> None:
    hits = tuple(FactorHit(f, 0.5, 0.9, s, i) for f, s, i in zip("ab", ("a.red", "b.circle"), frames, strict=True))
    block = Judgement(Verdict.BLOCK, (), (RuleHit("both", Verdict.BLOCK, None, hits),), "p@1")
    words = json.loads(
        result_of("lease", Answer("block", SHA, "engine", judgement=block, content=content(5))).model_dump_json()
    )
    del words["content"]["frame_scores"], words["content"]["frame_table"]
    answer = Result.model_validate(words).answer(SHA, 5, "worker")
    assert (answer.outcome, answer.reason) == (outcome, reason)
    assert reason is None or "one version" in answer.detail
    if answer.content is not None:
        assert answer.content.scores.frames is None, "nobody knows what each frame was given"


@pytest.mark.long
def test_answers_about_many_frames_take_several_requests() -> None:
    results = [result_of(f"{i}", Answer("clear", SHA, "e", judgement=Judgement(Verdict.CLEAR), content=content(1500)))
               for i in range(60)]  # fmt: skip
    parts = _parts(results)
    assert [r.id for part in parts for r in part] == [r.id for r in results] and len(parts) > 1
    assert all(len(ResultsRequest(worker="w", results=p).model_dump_json()) < _MAX_BODY_BYTES for p in parts)
    assert _parts([]) == [[]], "asking a gate who it is takes a request, too"


def test_a_table_that_no_message_holds_is_left_out() -> None:
    words = told(content(7500))
    assert words["content"]["frame_scores"] is words["content"]["frame_table"] is None
