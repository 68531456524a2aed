"""What the benchmarks make of their measurements: medians, agreement of verdicts, differences of signals, growth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))
from bench import clip, gemm, measure, memory, scan

from fedi_safety.models.folder import ModelFolder
from fedi_safety.policies import load_policy


def test_a_spread_shows_the_middle_and_both_ends() -> None:
    spread = measure.Spread((3.0, 1.0, 2.0, 10.0))
    assert spread.text() == "2.50 [1.00-10.00]"
    assert spread.as_json() == {"median": 2.5, "min": 1.0, "max": 10.0, "values": [3.0, 1.0, 2.0, 10.0]}


def test_agreement_counts_common_keys_and_names_the_others() -> None:
    found = scan.agreement({"a": "clear", "b": "block", "c": "clear"}, {"a": "clear", "b": "clear", "d": "block"})
    assert found == {"files": 2, "same": 1, "differ": ["b: block / clear"], "blocked": [1, 0]}


def test_signals_are_compared_where_both_were_measured() -> None:
    one = {"a": {"nsfw.open_nsfw": 0.5, "face.present": 0.9}, "b": {"nsfw.open_nsfw": 0.25}}
    other = {"a": {"nsfw.open_nsfw": 0.25}, "b": {"nsfw.open_nsfw": 0.25}}
    found = scan.differences(one, other)
    assert set(found) == {"nsfw.open_nsfw"}
    assert (found["nsfw.open_nsfw"]["max"], found["nsfw.open_nsfw"]["mean"]) == (0.25, 0.125)
    assert scan.shares(one) == {"face.present": 0.5, "nsfw.open_nsfw": 1.0}


def test_the_loops_signals_are_judged_by_the_same_policy() -> None:
    sexual = {"nsfw.open_nsfw": 0.9, "nudity.exposed": 0.5}
    faces = {"x": sexual, "y": {"nsfw.open_nsfw": 0.01}, "z": {"nsfw.open_nsfw": 0.9}}
    signals = {key: found | {"face.under_20": 1.0} for key, found in faces.items()}
    assert scan.judged(load_policy("balanced"), signals) == {"x": "block", "y": "clear", "z": "review"}
    assert scan.judged(scan.STAND_IN, {"x": {"face.present": 0.4, "nsfw.open_nsfw": 0.02}}) == {"x": "block"}


def test_growth_compares_the_highest_peaks() -> None:
    found = {2: [{"mb": 100.0}, {"mb": 80.0}], 200: [{"mb": 105.0}, {"mb": 110.0}]}
    assert round(memory.growth(found, argparse.Namespace(few=2, files=200), "mb"), 6) == 0.1


def test_operations_of_a_vision_transformer_are_those_of_its_paper_size() -> None:
    """ViT-L-14 and ViT-B-32 at 224 pixels: 81.0 and 4.41 thousand million multiplications a picture."""
    for width, layers, patch, dim, expected in ((1024, 24, 14, 768, 81.0), (768, 12, 32, 512, 4.41)):
        vision = {"width": width, "layers": layers, "patch_size": patch, "image_size": 224}
        folder = cast("ModelFolder", SimpleNamespace(dim=dim, config={"vision_cfg": vision}))
        assert gemm.tower_flops(folder) / 2e9 == pytest.approx(expected, rel=0.005)


def test_embeddings_are_compared_by_content() -> None:
    a, b = np.array([1, 0], "<f2").tobytes(), np.array([0, 2], "<f2").tobytes()
    found = clip.cosines({b"x": a, b"y": b, b"z": a}, {b"y": b, b"x": b})
    assert (found["pictures"], found["lowest"], found["mean"]) == (2, 0.0, 0.5)


def test_multiplications_are_measured_with_the_operations_they_take() -> None:
    from fedi_safety.detectors.sessions.devices import choose_device

    data, flops = gemm.chain(64, 32, "fp32")
    assert flops == 2 * 12 * 64 * 32 * 128
    run = gemm._bare(choose_device("cpu"), 1, data, np.ones((64, 32), np.float32))
    result = cast("list[Any]", run())[0]
    assert result.shape == (64, 32) and np.isfinite(result).all()
    assert gemm.rate(run, flops, 0.01) > 0.01


def test_the_operators_own_settings_do_not_reach_a_measured_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDI_SAFETY_POLICY", "strict")
    assert "FEDI_SAFETY_POLICY" not in measure.environment()


def test_memory_of_children_counts(tmp_path: Path) -> None:
    child = "import time; held = b'x' * (90 << 20); time.sleep(1)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    finished = measure.run([sys.executable, "-c", code], cwd=tmp_path, watch=True, codes=(0,))
    assert finished.memory is not None
    assert finished.memory.rss_mb > 90 > finished.memory.main_rss_mb
