"""At full size, with random weights: the towers, the pictures and the tokens beside open_clip and transformers.

Needs torch and some minutes: `./dev parity`. What CI checks without torch is tests/contract/test_clip_golden.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
from numpy.typing import NDArray

from fedi_safety.core.types import Frame
from fedi_safety.detectors.clip.folder import ONNXRUNTIME, OPENVINO, Plan
from fedi_safety.detectors.clip.preprocess import read_preprocess
from fedi_safety.detectors.clip.tokens import Tokenizer
from fedi_safety.detectors.clip.towers import TextualTower, VisualTower
from fedi_safety.detectors.sessions.devices import choose_device
from fedi_safety.models import variants
from fedi_safety.models.exporting import openai_merges, write_folder
from fedi_safety.models.folder import FULL, ModelFolder, open_model_folder
from parity import golden, reference
from parity.strings import strings
from support.corpus import photos

pytestmark = pytest.mark.timeout(3600)

Figure = Callable[[str], None]
STRINGS = 10_000
TEXTS = 64


@dataclass(frozen=True)
class Case:
    """A published architecture: its name in open_clip, and how its published weights want it."""

    architecture: str
    quick_gelu: bool
    squash: bool


CASES = (Case("ViT-B-32", True, False), Case("ViT-L-14", True, False), Case("ViT-B-16-SigLIP", False, True))


@dataclass(frozen=True)
class Exported:
    """A model in open_clip, in transformers, and as the folder that the program exports."""

    case: Case
    model: Any
    config: dict[str, Any]
    folder: ModelFolder

    def tower(self, variant: str, runtime: str) -> VisualTower:
        plan = Plan(open_model_folder(self.folder.path), variant, runtime, "CPU" if runtime == OPENVINO else "", "test")
        return VisualTower(plan, choose_device("cpu"), 2)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.architecture)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    case: Case = request.param
    where = tmp_path_factory.mktemp(case.architecture)
    model, config = reference.large(case.architecture, quick_gelu=case.quick_gelu, squash=case.squash)
    tokenizer = None
    if (
        "hf_tokenizer_name" in config["text_cfg"]
    ):  # the published one is on the hub; another one will do for the network
        tokenizer = where / "tokenizer"
        reference.small_unigram(["".join(c for c in t.lower() if ord(c) < 0x530) for t in strings(3000)], tokenizer)
    write_folder(model, config, where / "model", tokenizer)
    yield Exported(case, model, config, open_model_folder(where / "model"))
    import shutil

    shutil.rmtree(where)


@pytest.fixture(scope="module")
def pictures() -> list[Frame]:
    return list(photos.photos(600).values())


def test_towers_for_pictures(exported: Exported, pictures: list[Frame], figure: Figure) -> None:
    pixels = reference.prepared(exported.model, pictures)
    by_open_clip = reference.image_embeddings(exported.model, pixels)
    by_transformers = reference.transformers_image_embeddings(
        reference.as_transformers(exported.model, exported.config), pixels
    )
    for runtime in (ONNXRUNTIME, OPENVINO):
        tower = exported.tower(FULL, runtime)
        ours = tower.embed(pictures)
        tower.close()
        for name, theirs in (("open_clip", by_open_clip), ("transformers", by_transformers)):
            cosine, error = compare(ours, theirs)
            figure(f"{exported.case.architecture} pictures, {runtime} fp32, {name}: least cosine {cosine:.7f}, {error}")
            assert cosine > 0.9999


def test_towers_for_texts(exported: Exported, figure: Figure) -> None:
    tokenize = Tokenizer(exported.folder)
    texts = [text for text in strings(4 * TEXTS, seed=3) if fits(tokenize, text)][:TEXTS]
    tokens = tokenize(texts)
    ours = TextualTower(exported.folder, 2).embed(texts)
    made = reference.as_transformers(exported.model, exported.config)
    for name, theirs in (
        ("open_clip", reference.text_embeddings(exported.model, tokens)),
        ("transformers", reference.transformers_text_embeddings(made, tokens)),
    ):
        cosine, error = compare(ours, theirs)
        figure(f"{exported.case.architecture} texts, {name}: least cosine {cosine:.7f}, {error}")
        assert cosine > 0.9999


def test_variants(exported: Exported, pictures: list[Frame], figure: Figure) -> None:
    tower = exported.tower(FULL, ONNXRUNTIME)
    full = tower.embed(pictures)
    tower.close()
    for variant, runtime in (("int8", ONNXRUNTIME), ("int8w", OPENVINO), ("bf16", OPENVINO)):
        variants.make(exported.folder, variant)
        tower = exported.tower(variant, runtime)
        cosine, error = compare(tower.embed(pictures), full)
        tower.close()
        beside = f"{variant} ({runtime}) beside fp32"
        figure(f"{exported.case.architecture} pictures, {beside}: least cosine {cosine:.5f}, {error}")
        assert cosine > 0.999


def test_pictures_are_prepared_as_theirs(exported: Exported, figure: Figure) -> None:
    import transformers

    side = exported.folder.preprocess["size"][0]
    ours_of = read_preprocess(exported.folder.preprocess, "test")
    frames = [frame for longest in (90, 224, 301, 768) for frame in photos.photos(longest).values()]
    ours = ours_of.batch(frames)
    worst = np.abs(ours - reference.prepared(exported.model, frames)).max()
    figure(
        f"{exported.case.architecture} pixels of {len(frames)} photographs, open_clip: largest difference {worst:.1e}"
    )
    assert worst < 1e-6
    if exported.case.squash:
        made = transformers.SiglipImageProcessorPil(size={"height": side, "width": side})
    else:
        made = transformers.CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
    made.image_mean, made.image_std = exported.folder.preprocess["mean"], exported.folder.preprocess["std"]
    made.resample = 3  # bicubic
    theirs = np.stack([made(reference.image(f), return_tensors="np")["pixel_values"][0] for f in frames])
    difference = np.abs(ours - theirs)
    step = 1 / 255 / min(exported.folder.preprocess["std"])
    equal = (difference.max(axis=(1, 2, 3)) < 1.5 * step).mean()
    figure(
        f"{exported.case.architecture} pixels, transformers: mean difference {difference.mean() / step:.3f} levels "
        f"of 256; {100 * equal:.0f} % of the photographs within one level everywhere"
    )
    assert difference.mean() < 2 * step


@pytest.mark.parametrize("seed", [0])
def test_tokens_of_openai(seed: int, tmp_path: Path, figure: Figure) -> None:
    """10,000 strings in many scripts: open_clip's own tokenizer, and transformers' with the same vocabulary."""
    import transformers

    from fedi_safety.models.bpe import clip_tokenizer, clip_tokenizer_config

    merges = openai_merges()
    described = clip_tokenizer(merges)
    folder = small_folder(tmp_path, described, clip_tokenizer_config(77))
    tokenize, theirs = Tokenizer(folder), open_clip.tokenizer.SimpleTokenizer(context_length=77)
    other = transformers.CLIPTokenizer(vocab=described["model"]["vocab"], merges=merges)
    end = theirs.eot_token_id
    different: dict[str, list[str]] = {"open_clip": [], "transformers": []}
    compared = 0
    for text in strings(4 * STRINGS, seed):
        expected = theirs.encode(text)
        if len(expected) > 75:
            assert not fits(tokenize, text)
            continue
        ours = tokenize([text])[0].tolist()
        ours = ours[1 : ours.index(end)]
        if ours != expected:
            different["open_clip"].append(text)
        if ours != other(cleaned(text)).input_ids[1:-1]:
            different["transformers"].append(text)
        compared += 1
        if compared == STRINGS:
            break
    assert compared == STRINGS
    for name, texts in different.items():
        figure(
            f"tokens of {STRINGS:,} strings, {name}: {len(texts)} differ {[t[:40] for t in texts[:3]] if texts else ''}"
        )
    assert different == {"open_clip": [], "transformers": []}


def test_tokens_of_a_unigram_model(tmp_path: Path, figure: Figure) -> None:
    """The same for a tokenizer built as SigLIP's, with open_clip's wrapper around transformers'."""
    import json

    given = tmp_path / "given"
    reference.small_unigram(["".join(c for c in t.lower() if ord(c) < 0x530) for t in strings(3000)], given)
    described, config = (json.loads((given / name).read_text()) for name in ("tokenizer.json", "tokenizer_config.json"))
    more = {"hf_tokenizer_name": "small", "tokenizer_kwargs": {"clean": "canonicalize"}, "context_length": 64}
    tokenize = Tokenizer(small_folder(tmp_path, described, config, more))
    theirs = reference.siglip_tokenizer(given, 64)
    texts = [text for text in strings(2 * STRINGS, seed=5) if fits(tokenize, text)][:STRINGS]
    assert len(texts) == STRINGS
    differ = int((tokenize(texts) != theirs(texts).numpy()).any(axis=1).sum())
    figure(f"tokens of {STRINGS:,} strings, unigram model as SigLIP's, open_clip: {differ} differ")
    assert differ == 0


@pytest.mark.parametrize("name", golden.WRITERS)
def test_golden_outputs_are_what_the_script_writes(name: str, tmp_path: Path) -> None:
    golden.WRITERS[name](tmp_path)
    committed = Path(__file__).parents[1] / "golden" / name
    assert (tmp_path / "texts.json").read_text() == (committed / "texts.json").read_text()
    with np.load(tmp_path / "answers.npz") as fresh, np.load(committed / "answers.npz") as before:
        for key in before:
            np.testing.assert_allclose(fresh[key], before[key], atol=1e-5, err_msg=key)


# --- helpers


def compare(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> tuple[float, str]:
    """Return the least cosine, and how far apart they are beside how far the vectors differ among themselves."""
    spread = np.linalg.norm(theirs - theirs.mean(axis=0), axis=1).mean()
    error = np.linalg.norm(ours - theirs, axis=1).max() / spread
    return float((ours.astype(np.float64) * theirs).sum(axis=1).min()), f"error {error:.1e} of the spread"


def fits(tokenize: Tokenizer, text: str) -> bool:
    from fedi_safety.core.errors import ConfigError

    try:
        tokenize([text])
    except ConfigError:
        return False
    return True


def cleaned(text: str) -> str:
    """Return what open_clip does to a text before its tokens; transformers leaves that to the caller."""
    cleaned_text: str = open_clip.tokenizer._clean_lower(text)
    return cleaned_text


def small_folder(
    where: Path, tokenizer: dict[str, Any], config: dict[str, Any], text: dict[str, Any] | None = None
) -> ModelFolder:
    """Return a model folder with a tokenizer and nothing else of use."""
    import json

    folder = where / "folder"
    (folder / "textual").mkdir(parents=True)
    (folder / "visual").mkdir()
    vocabulary = tokenizer["model"]["vocab"]
    text_cfg = {"context_length": 77, "vocab_size": len(vocabulary), **(text or {})}
    (folder / "config.json").write_text(json.dumps({"embed_dim": 8, "vision_cfg": {}, "text_cfg": text_cfg}))
    (folder / "textual/tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    (folder / "textual/tokenizer_config.json").write_text(json.dumps(config))
    for name in ("visual/model.onnx", "textual/model.onnx"):
        (folder / name).write_bytes(b"")
    (folder / "visual/preprocess_cfg.json").write_text("{}")
    return open_model_folder(folder)
