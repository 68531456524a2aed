"""The detector `clip` on meaning: the real detector with the committed model, on pictures that it never saw."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedi_safety.app.ledger import SystemClock
from fedi_safety.config.schema import Clip as ClipSettings
from fedi_safety.core.cascade import Cascade
from fedi_safety.core.enums import Verdict
from fedi_safety.core.pipeline import Stages
from fedi_safety.core.policy import Policy, judge
from fedi_safety.core.ports import Detector
from fedi_safety.core.types import NO_SCORES, Evidence, Scores
from fedi_safety.detectors.clip.detector import Clip
from fedi_safety.policies import parse_policy
from support import stand_in
from support.corpus import shapes
from support.detectors import opened
from support.program import program

HELD_OUT = 2000


@dataclass(frozen=True)
class Judged:
    """One picture's verdict and the detectors that saw it."""

    verdict: Verdict
    ran: frozenset[str]


def run(
    detectors: Sequence[Detector], policy: Policy, evidence: list[Evidence], *, cascade: bool = True
) -> list[Judged]:
    """Run a cascade over single frames."""
    media = [[each.frame] for each in evidence]
    judged = []
    for scores in Cascade(detectors, policy, enabled=cascade).score(
        media, [NO_SCORES] * len(media), Stages(), SystemClock()
    ):
        assert isinstance(scores, Scores)
        judged.append(Judged(judge(policy, scores.signals).verdict, frozenset(scores.detectors)))
    return judged


@pytest.fixture(scope="module")
def scenes() -> list[shapes.Scene]:
    return list(shapes.held_out(HELD_OUT))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clip]:
    folder = tmp_path_factory.mktemp("clip")
    (folder / "concepts.toml").write_text(stand_in.concepts())
    settings = ClipSettings(
        model=stand_in.MODEL_NAME,
        model_dir=str(stand_in.MODEL.parent),
        concepts=str(folder / "concepts.toml"),
        precision="fp32",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder))
        (detector,) = opened("clip", clip=settings)
    assert isinstance(detector, Clip)
    yield detector
    detector.close()


@pytest.fixture(scope="module")
def evidence(scenes: list[shapes.Scene]) -> list[Evidence]:
    return [Evidence(shapes.frame(what)) for what in scenes]


@pytest.fixture(scope="module")
def scores(clip: Clip, evidence: list[Evidence]) -> list[dict[str, float]]:
    return [dict(scored.signals) for scored in clip.score(evidence)]


@pytest.mark.long
def test_recall_and_precision_on_held_out_pictures(
    scenes: list[shapes.Scene], clip: Clip, evidence: list[Evidence]
) -> None:
    policy = parse_policy(stand_in.POLICY, source="stand-in", name="stand-in")
    condemned = [found.verdict is Verdict.BLOCK for found in run([clip], policy, evidence)]
    right = sum(c and what.condemned for c, what in zip(condemned, scenes, strict=True))
    assert sum(what.condemned for what in scenes) > 600
    assert right / sum(what.condemned for what in scenes) > 0.98  # recall
    assert right / sum(condemned) > 0.98  # precision


@pytest.mark.long
def test_neither_alone_condemns(scenes: list[shapes.Scene], scores: list[dict[str, float]]) -> None:
    """What is only red, or only a circle, reaches one of the two factors; both, in two different things, neither."""
    groups: dict[str, list[tuple[float, float]]] = {"red": [], "circle": [], "apart": [], "other": []}
    for what, found in zip(scenes, scores, strict=True):
        if what.condemned:
            continue
        red = any(colour == "red" for colour, _ in what.things)
        circle = any(kind == "circle" for _, kind in what.things)
        name = "apart" if red and circle else "red" if red else "circle" if circle else "other"
        groups[name].append((found["clip.red"], found["clip.circle"]))
    expected = {"red": (True, False), "circle": (False, True), "apart": (False, False), "other": (False, False)}
    for name, values in groups.items():
        assert len(values) > 100, name
        as_expected = sum((red >= 0.5, circle >= 0.5) == expected[name] for red, circle in values)
        assert as_expected / len(values) > 0.98, name


@pytest.mark.long
def test_the_cascade_agrees_with_the_full_run(clip: Clip, evidence: list[Evidence]) -> None:
    policy = parse_policy(stand_in.CASCADE, source="stand-in", name="stand-in")
    detectors: list[Detector] = [stand_in.RedPixels(), clip]
    quick, full = (run(detectors, policy, evidence, cascade=on) for on in (True, False))
    assert all("clip" in whole.ran for whole in full)
    assert sum(q.verdict is f.verdict for q, f in zip(quick, full, strict=True)) / len(evidence) > 0.999
    assert sum("clip" not in q.ran for q in quick) > len(evidence) / 4  # the dear model was spared


@pytest.mark.long
def test_the_whole_program_condemns_red_circles(tmp_path: Path) -> None:
    """From files to the plan: decoder processes, pipeline, detector, policy, ledger."""
    store = tmp_path / "store"
    store.mkdir()
    condemned = set()
    for what in shapes.held_out(120, 30_000_000):
        (store / f"{what.seed}.png").write_bytes(shapes.png_bytes(what, 160))
        if what.condemned:
            condemned.add(f"{what.seed}.png")
    config = str(stand_in.write_config(tmp_path, store))
    done = program("scan", "--dry-run", "--config", config, "--json")
    assert done.code == 0, done.err
    assert done.json["judged"] == 120
    listed = program("list", "--config", config, "--verdict", "block", "--json")
    found = {json.loads(line)["key"] for line in listed.out.splitlines()}
    assert len(found ^ condemned) <= 2
