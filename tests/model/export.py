"""Turns what model/train.py wrote into the model folder that is committed.

PYTHONPATH=src:tests .venv-parity/bin/python -m model.export CHECKPOINT_DIR tests/model/tiny-shapes
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from fedi_safety.models.exporting import export_tower
from fedi_safety.models.folder import CONFIG, PREPROCESS, TEXTUAL, TOKENIZER, TOKENIZER_CONFIG, VISUAL
from model.train import CONTEXT, IMAGE, MEAN, STD, network


def main(checkpoint: Path, folder: Path) -> None:
    """Write the folder anew."""
    config = json.loads((checkpoint / "config.json").read_text())
    model = network(config)
    model.load_state_dict(torch.load(checkpoint / "weights.pt"))
    shutil.rmtree(folder, ignore_errors=True)
    for file in (VISUAL, TEXTUAL):
        (folder / file).parent.mkdir(parents=True)
    preprocess = {
        "size": [IMAGE, IMAGE],
        "mode": "RGB",
        "mean": MEAN,
        "std": STD,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    (folder / PREPROCESS).write_text(json.dumps(preprocess, indent=2) + "\n")
    for name in (TOKENIZER, TOKENIZER_CONFIG):
        shutil.copyfile(checkpoint / Path(name).name, folder / name)
    export_tower(model, "encode_image", torch.zeros(2, 3, IMAGE, IMAGE), folder / VISUAL)
    export_tower(model, "encode_text", torch.ones(2, CONTEXT, dtype=torch.int64), folder / TEXTUAL)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("checkpoint", type=Path)
    arguments.add_argument("folder", type=Path)
    given = arguments.parse_args()
    main(given.checkpoint, given.folder)
