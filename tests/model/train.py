"""Trains the test model: a small CLIP that understands pictures of coloured shapes, and nothing else.

Run it from the repository's root with a Python that has torch and open_clip (`./dev parity` makes one):

    PYTHONPATH=src:tests .venv-parity/bin/python -m model.train CHECKPOINT_DIR --minutes 22 --pictures 48000

That is how the committed one was made, on one core of a busy machine: 4,700 steps. It draws its pictures itself
(tests/shapes.py), learns its own tokenizer, and writes weights, architecture and tokenizer; model/export.py turns those
into the folder that is committed. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from fedi_safety.models.bpe import clip_tokenizer, clip_tokenizer_config
from support.corpus import shapes

IMAGE = 64
CONTEXT = 77  # as the large models have, so that the same prompts fit
MEAN = STD = (0.5, 0.5, 0.5)


def architecture(vocabulary: int) -> dict[str, Any]:
    """Return open_clip's configuration. The text transformer is that of OpenAI's CLIP, small."""
    return {
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {"image_size": IMAGE, "layers": 2, "width": 128, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": vocabulary, "width": 96, "heads": 4, "layers": 2},
    }


class Visual(torch.nn.Module):  # type: ignore[misc]
    """A ViT whose patches come from four convolutions: it learns shapes in minutes, where a plain one takes hours."""

    def __init__(self, dim: int, width: int, layers: int) -> None:
        """Make a tower for pictures of 64 pixels: 16 patches."""
        super().__init__()
        channels = (3, 16, 32, 64, width)
        self.stem = torch.nn.Sequential(
            *(
                module
                for before, after in pairwise(channels)
                for module in (torch.nn.Conv2d(before, after, 3, 2, 1), torch.nn.BatchNorm2d(after), torch.nn.ReLU())
            )
        )
        self.places = torch.nn.Parameter(torch.randn(16, width) * 0.02)
        self.transformer = open_clip.transformer.Transformer(
            width, layers, width // 32, act_layer=open_clip.transformer.QuickGELU
        )
        self.ln_post = torch.nn.LayerNorm(width)
        self.project = torch.nn.Linear(width, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the embeddings, not normalised."""
        x = self.stem(x).flatten(2).transpose(1, 2) + self.places
        embedded: torch.Tensor = self.project(self.ln_post(self.transformer(x)).mean(1))
        return embedded


def network(config: dict[str, Any]) -> Any:
    """Return the untrained model."""
    model = open_clip.CLIP(**config)
    vision = config["vision_cfg"]
    model.visual = Visual(config["embed_dim"], vision["width"], vision["layers"])
    model.logit_bias = torch.nn.Parameter(torch.tensor(-10.0))
    return model


# --- sentences

Claim = tuple[frozenset[shapes.Thing], str, str]


def sentence(what: shapes.Scene, rng: Random) -> tuple[str, Claim]:
    """Return a true sentence and what it claims: the things, and size and background where it speaks of them."""
    things = list(what.shapes)
    rng.shuffle(things)
    size = things[0].size if len(things) == 1 and rng.random() < 0.3 else ""
    background = what.background if rng.random() < 0.3 else ""
    words = " and ".join(f"a {size + ' ' if size else ''}{s.colour} {s.kind}" for s in things)
    text = rng.choice(shapes.TEMPLATES).format(words) + (f" on a {background} background" if background else "")
    return text, (what.things, size, background)


def truths(claims: list[Claim], scenes: list[shapes.Scene]) -> NDArray[np.float32]:
    """Return for each scene (row) which claims (columns) are true of it."""

    def holds(claim: Claim, what: shapes.Scene) -> bool:
        things, size, background = claim
        return things == what.things and size in ("", what.shapes[0].size) and background in ("", what.background)

    return np.array([[holds(claim, what) for claim in claims] for what in scenes], np.float32)


def tokenizer() -> dict[str, Any]:
    """Return a tokenizer built as CLIP's, with merges learnt from the sentences."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{L}+"), "removed", invert=True), pre_tokenizers.ByteLevel(False)]
    )
    rng = Random("tokenizer")
    texts = [sentence(shapes.scene(seed), rng)[0] for seed in range(4000)]
    learner.train_from_iterator(texts, trainers.BpeTrainer(end_of_word_suffix="</w>", show_progress=False))
    merges = json.loads(learner.to_str())["model"]["merges"]
    return clip_tokenizer([tuple(pair) for pair in merges])


# --- pictures


def pixels(seed: int, things: tuple[shapes.Thing, ...] | None) -> NDArray[np.uint8]:
    """Draw a scene at some size and scale it as the preprocessing does."""
    image = shapes.draw(shapes.scene(seed, things), 64 + seed % 5 * 24)
    return np.asarray(image.resize((IMAGE, IMAGE), Image.Resampling.BICUBIC))


def pool(count: int) -> tuple[list[shapes.Scene], NDArray[np.uint8]]:
    """Draw the training's pictures: half of them at random, half in twins that differ in who has which colour."""
    wanted: list[tuple[int, tuple[shapes.Thing, ...] | None]] = []
    for seed in range(0, count, 4):
        wanted += [(seed, None), (seed + 1, None)]
        rng = Random(f"twins {seed}")
        (colour, kind), (other_colour, other_kind) = rng.sample(shapes.THINGS, 2)
        for twin in (((colour, kind), (other_colour, other_kind)), ((colour, other_kind), (other_colour, kind))):
            wanted.append(
                (seed + 2 + (twin[0][1] != kind), twin[: rng.choice((1, 2, 2))] if kind != other_kind else twin)
            )
    with multiprocessing.Pool(2) as threads:
        drawn = threads.starmap(pixels, wanted, chunksize=256)
    return [shapes.scene(*w) for w in wanted], np.stack(drawn)


# --- training


def train(where: Path, minutes: float, pictures: int, batch: int) -> None:
    """Train for so many minutes, then write what came of it."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # on a busy machine two wait for each other
    words = tokenizer()
    encode = Tokenizer.from_str(json.dumps(words)).encode
    config = architecture(len(words["model"]["vocab"]))
    model = network(config)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, vocabulary {config['text_cfg']['vocab_size']}")

    scenes, drawn = pool(pictures)
    print(f"{len(scenes):,} pictures drawn")
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}], lr=1e-3, betas=(0.9, 0.98)
    )
    rng = Random("training")
    began, step, shown = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-6
        chosen = [4 * rng.randrange(len(scenes) // 4) for _ in range(batch // 4)]
        numbers = [c + i for c in chosen for i in range(4)]
        batch_scenes = [scenes[n] for n in numbers]
        told = [sentence(what, rng) for what in batch_scenes]
        true = torch.from_numpy(truths([claim for _, claim in told], batch_scenes))
        ids = token_ids(encode, [text for text, _ in told])
        seen = torch.from_numpy(drawn[numbers]).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        image, text_ = model.encode_image(seen, normalize=True), encode_text(model, ids)
        # As SigLIP's loss: every pair of picture and sentence is asked for itself, for we know what is true.
        logits = model.logit_scale.exp() * image @ text_.T + model.logit_bias
        loss = -torch.nn.functional.logsigmoid((2 * true - 1) * logits).sum() / len(told)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if done > shown:
            shown += 0.05
            print(
                f"{100 * done:3.0f} % step {step:5d} loss {loss.item():.4f} scale {model.logit_scale.exp().item():.1f}",
                flush=True,
            )
    where.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), where / "weights.pt")
    (where / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (where / "tokenizer.json").write_text(json.dumps(words, ensure_ascii=False) + "\n")
    (where / "tokenizer_config.json").write_text(json.dumps(clip_tokenizer_config(CONTEXT), indent=2) + "\n")
    judge(model.eval(), encode)


def token_ids(encode: Any, texts: list[str]) -> torch.Tensor:
    """Return the tokens, as many as the longest sentence has."""
    tokens = [torch.tensor(encode(text).ids) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)


def encode_text(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return the sentences' embeddings; shorter than the context, which spares the time for what is not looked at."""
    x = model.token_embedding(ids) + model.positional_embedding[: ids.shape[1]]
    x = model.transformer(x, attn_mask=model.attn_mask[: ids.shape[1], : ids.shape[1]])
    x = model.ln_final(x)[torch.arange(len(ids)), ids.argmax(dim=-1)] @ model.text_projection
    return torch.nn.functional.normalize(x, dim=-1)


@torch.no_grad()  # type: ignore[untyped-decorator]
def judge(model: Any, encode: Any, count: int = 1000) -> None:
    """Print how well the stand-in concepts tell held-out pictures apart, at a logit scale of 100."""
    held = {}
    scenes = [shapes.scene(w.seed, tuple(s.thing for s in w.shapes)) for w in shapes.held_out(count, 20_000_000)]
    drawn = np.stack([pixels(w.seed, tuple(s.thing for s in w.shapes)) for w in scenes])
    images = torch.cat(
        [
            model.encode_image(torch.from_numpy(part).permute(0, 3, 1, 2).float().div(127.5).sub(1), normalize=True)
            for part in np.array_split(drawn, 10)
        ]
    )
    for concept, prompts in shapes.stand_in_concepts().items():
        texts = prompts["positive"] + prompts["negative"]
        shares = (100 * images @ encode_text(model, token_ids(encode, texts)).T).softmax(-1)
        held[concept] = shares[:, : len(prompts["positive"])].sum(-1).numpy()
    found = np.minimum(held["red"], held["circle"])
    true = np.array([w.condemned for w in scenes])
    for bound in (0.2, 0.35, 0.5, 0.65, 0.8):
        hit = found >= bound
        print(
            f"from {bound}: recall {(hit & true).sum() / true.sum():.4f} precision {(hit & true).sum() / hit.sum():.4f}"
        )


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("where", type=Path)
    arguments.add_argument("--minutes", type=float, default=22)
    arguments.add_argument("--pictures", type=int, default=48_000)
    arguments.add_argument("--batch", type=int, default=128)
    given = arguments.parse_args()
    train(given.where, given.minutes, given.pictures, given.batch)
