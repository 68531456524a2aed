"""`models export` with random weights and with a file of weights."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch

from fedi_safety.cli import run
from fedi_safety.detectors.clip.folder import ONNXRUNTIME, Plan
from fedi_safety.detectors.clip.towers import VisualTower
from fedi_safety.detectors.sessions.devices import choose_device
from fedi_safety.models.folder import open_model_folder
from fedi_safety.models.lock import read_lock
from parity import golden, reference

ARCHITECTURE = "ViT-S-32-alt"  # the smallest that open_clip has of OpenAI's kind

pytestmark = pytest.mark.timeout(1800)


def test_export_then_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--model-dir", str(tmp_path / "models")]
    name = f"{ARCHITECTURE}__random"
    assert run(["models", "export", name, "--random-weights", *where]) == 0
    assert capsys.readouterr().out == f"{name}: in {tmp_path / 'models' / name}\n"
    assert run(["models", "verify", *where]) == 0
    assert f"ok    {name}: 6 files as recorded; fp32 runs" in capsys.readouterr().out
    assert read_lock(tmp_path / "models")[name].source.endswith("random weights, seed 0")
    assert run(["models", "export", name, "--random-weights", *where]) == 2
    assert "on record; give --replace" in capsys.readouterr().err
    for graph in (tmp_path / "models" / name).rglob("*.onnx"):
        assert str(Path(__file__).parents[2]).encode() not in graph.read_bytes()  # no place in this machine's files


def test_export_of_a_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = open_clip.create_model(ARCHITECTURE, pretrained=None).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    name = f"{ARCHITECTURE}__mine"
    weights = ["--weights", str(tmp_path / "weights.pt"), "--model-dir", str(tmp_path / "models")]
    assert run(["models", "export", name, *weights]) == 0
    frames = golden.pictures()[:4]
    plan = Plan(open_model_folder(tmp_path / "models" / name), "fp32", ONNXRUNTIME, "", "test")
    ours = VisualTower(plan, choose_device("cpu"), 1).embed(frames)
    theirs = reference.image_embeddings(model, reference.prepared(model, frames))
    assert (ours * theirs).sum(axis=1).min() > 0.9999


def test_what_cannot_be_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--model-dir", str(tmp_path / "models")]
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    for arguments, words in (
        (["ViT-X-99__openai"], ("ViT-X-99", "not one of open_clip's")),
        (["ViT-B-32__nobody"], ("nobody", "open_clip has none of that name", "openai")),
        (["ViT-B-32__mine", "--weights", str(tmp_path / "none.pt")], ("none.pt", "no such file")),
        ([f"{ARCHITECTURE}__mine", "--weights", str(tmp_path / "bad.pt")], ("bad.pt", "cannot be loaded")),
    ):
        assert run(["models", "export", *arguments, *where]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and all(word in said for word in words), said
    assert not [p for p in (tmp_path / "models").iterdir() if p.is_dir()]
