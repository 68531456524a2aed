"""Writes tests/golden/: small models of the true architectures, and what open_clip answers with them.

./dev parity -k golden                                                       compares with what is committed
PYTHONPATH=src:tests .venv-parity/bin/python -m parity.golden tests/golden   writes it anew
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fedi_safety.core.types import Frame
from fedi_safety.models.bpe import clip_tokenizer, clip_tokenizer_config
from fedi_safety.models.exporting import openai_merges, write_folder
from parity import reference
from parity.strings import strings
from support.corpus import photos

COMMITTED = Path(__file__).parents[1] / "golden"
MERGES = 400
STRINGS = 400
PICTURES = (("astronaut", 600), ("chelsea", 300), ("china", 200), ("coffee", 90), ("rocket", 60), ("camera", 500))
ODD = (
    Frame(0, 1, 1, b"\x10\x80\xf0"),
    Frame(0, 65, 64, bytes(65 * 64 * 3)),
    Frame(0, 9, 70, bytes(range(210)) * 9),
    Frame(0, 3, 70, bytes(range(210)) * 3),
)


def pictures() -> list[Frame]:
    """Return photographs of several sizes and shapes, and frames that hardly are any."""
    return [*(photos.to_frame(photos.picture(name, longest)) for name, longest in PICTURES), *ODD]


def write_openai(folder: Path) -> None:
    """Write the small model of OpenAI's architecture and its answers."""
    merges = openai_merges()[:MERGES]
    tokenizer = clip_tokenizer(merges)
    model, config = reference.small_openai(len(tokenizer["model"]["vocab"]))
    context = config["text_cfg"]["context_length"]
    with tempfile.TemporaryDirectory() as scratch:
        given = Path(scratch)
        (given / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
        (given / "tokenizer_config.json").write_text(json.dumps(clip_tokenizer_config(context)))
        write_folder(model, config, folder, given)
        tokenize = reference.openai_tokenizer(merges, context, given)
    fitting = [text for text in strings(4 * STRINGS) if len(tokenize.encode(text)) + 2 <= context][:STRINGS]
    _write_answers(folder, model, fitting, tokenize(fitting).numpy())


def write_siglip(folder: Path) -> None:
    """Write the small model of SigLIP's architecture and its answers.

    The tokenizer is the committed one, if there is one: learning a unigram model gives another one every time.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given = COMMITTED / "small-siglip/textual"
        if not given.exists():
            given = Path(scratch)
            known = ["".join(c for c in text.lower() if ord(c) < 0x530) for text in strings(3000, seed=1)]
            reference.small_unigram(known, given)
        vocabulary = len(json.loads((given / "tokenizer.json").read_text())["model"]["vocab"])
        model, config = reference.small_siglip(vocabulary)
        context = config["text_cfg"]["context_length"]
        tokenize = reference.siglip_tokenizer(given, context)
        candidates = list(strings(4 * STRINGS))
        long = [len(tokenize.tokenizer(tokenize.clean_fn(text)).input_ids) > context for text in candidates]
        fitting = [text for text, too_long in zip(candidates, long, strict=True) if not too_long][:STRINGS]
        write_folder(model, config, folder, given)
        _write_answers(folder, model, fitting, tokenize(fitting).numpy())


def _write_answers(folder: Path, model: Any, texts: list[str], tokens: Any) -> None:
    pixels = reference.prepared(model, pictures())
    (folder / "texts.json").write_text(json.dumps(texts, ensure_ascii=True, indent=0) + "\n")
    np.savez_compressed(
        folder / "answers.npz",
        pixels=pixels.astype(np.float32),
        images=reference.image_embeddings(model, pixels),
        tokens=tokens.astype(np.int32),
        texts=reference.text_embeddings(model, tokens),
    )


WRITERS = {"small-openai": write_openai, "small-siglip": write_siglip}


if __name__ == "__main__":
    for name, write in WRITERS.items():
        write(Path(sys.argv[1]) / name)
