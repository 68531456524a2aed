"""What the detector is held against: models with random weights in open_clip, and the same weights in transformers.

Needs torch; everything here is for `./dev parity` and for making the golden outputs of tests/golden/.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import timm
import torch
from numpy.typing import NDArray
from PIL import Image

from fedi_safety.core.types import Frame

Floats = NDArray[np.float32]

# SigLIP's epsilon of every normalisation, which transformers has as its default too.
_SIGLIP_EPS = 1e-6


def small_openai(vocabulary: int) -> tuple[Any, dict[str, Any]]:
    """Return a small model of OpenAI's architecture: ViT with class token, causal text, QuickGELU."""
    config = {
        "embed_dim": 24,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 32, "vocab_size": vocabulary, "width": 32, "heads": 2, "layers": 2},
    }
    model = open_clip.CLIP(**config)
    open_clip.model.set_model_preprocess_cfg(model, _preprocess(64, "shortest", OPENAI_MEAN, OPENAI_STD))
    return _shaken(model), config


def small_siglip(vocabulary: int) -> tuple[Any, dict[str, Any]]:
    """Return a small model of SigLIP's architecture: attention pooling, text without mask, the last token counts."""
    config: dict[str, Any] = {
        "embed_dim": 32,
        "init_logit_bias": -10,
        "vision_cfg": {"image_size": 64, "timm_model_name": "vit_base_patch16_siglip_224", "timm_proj": "none"},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "small",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "width": 32,
            "heads": 2,
            "layers": 2,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": _SIGLIP_EPS},
        },
    }
    given: dict[str, Any] = config["text_cfg"]
    text = {k: v for k, v in given.items() if k not in ("hf_tokenizer_name", "tokenizer_kwargs")}
    vision = {"image_size": 64, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    model = open_clip.CustomTextCLIP(32, vision, text)
    model.visual = open_clip.timm_model.TimmModel.__new__(open_clip.timm_model.TimmModel)
    torch.nn.Module.__init__(model.visual)
    model.visual.image_size = (64, 64)
    model.visual.trunk = timm.models.vision_transformer.VisionTransformer(
        img_size=64,
        patch_size=16,
        embed_dim=32,
        depth=2,
        num_heads=2,
        class_token=False,
        global_pool="map",
        num_classes=0,
    )
    model.visual.head = torch.nn.Sequential()
    open_clip.model.set_model_preprocess_cfg(model, _preprocess(64, "squash", (0.5,) * 3, (0.5,) * 3))
    return _shaken(model), config


OPENAI_MEAN = open_clip.constants.OPENAI_DATASET_MEAN
OPENAI_STD = open_clip.constants.OPENAI_DATASET_STD


def large(architecture: str, *, quick_gelu: bool = False, squash: bool = False) -> tuple[Any, dict[str, Any]]:
    """Return a model of a published architecture, at its full size, with the preprocessing of its published weights."""
    torch.manual_seed(0)
    half = (0.5, 0.5, 0.5)
    how = {"resize_mode": "squash", "mean": half, "std": half} if squash else {}
    model = open_clip.create_model(
        architecture,
        pretrained=None,
        force_quick_gelu=quick_gelu,
        force_preprocess_cfg={"interpolation": "bicubic", **how},
    )
    config = dict(open_clip.get_model_config(architecture))
    return model.eval(), {**config, "quick_gelu": True} if quick_gelu else config


def _preprocess(size: int, mode: str, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    return {"size": (size, size), "interpolation": "bicubic", "resize_mode": mode, "mean": mean, "std": std}


def _shaken(model: Any) -> Any:
    """Give every weight a size that makes the outputs differ, from one picture to another and between activations."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            around = 1.0 if weight.ndim == 1 and name.endswith("weight") else 0.0
            weight.copy_(around + torch.randn(weight.shape, generator=generator) * 0.2)
    return model.eval()


# --- what they answer


def image(frame: Frame) -> Image.Image:
    """Return a frame as Pillow's picture."""
    return Image.frombytes("RGB", (frame.width, frame.height), frame.rgb)


def prepared(model: Any, frames: Sequence[Frame]) -> Floats:
    """Return what open_clip's own transform makes of pictures."""
    settings = open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    transform = open_clip.transform.image_transform_v2(settings, is_train=False)
    return np.stack([transform(image(frame)).numpy() for frame in frames])


@torch.no_grad()  # type: ignore[untyped-decorator]
def image_embeddings(model: Any, pixels: Floats) -> Floats:
    """Return open_clip's embeddings of prepared pictures."""
    found: Floats = model.encode_image(torch.from_numpy(pixels), normalize=True).numpy()
    return found


@torch.no_grad()  # type: ignore[untyped-decorator]
def text_embeddings(model: Any, tokens: NDArray[np.int64]) -> Floats:
    """Return open_clip's embeddings of tokens."""
    found: Floats = model.encode_text(torch.from_numpy(tokens), normalize=True).numpy()
    return found


def openai_tokenizer(merges: Sequence[tuple[str, str]], context: int, scratch: Path) -> Any:
    """Return open_clip's own tokenizer over these merges; its code knows nothing of the `tokenizers` library."""
    path = scratch / "merges.txt.gz"
    path.write_bytes(gzip.compress(("#version\n" + "\n".join(" ".join(pair) for pair in merges)).encode()))
    return open_clip.tokenizer.SimpleTokenizer(str(path), context_length=context)


def siglip_tokenizer(folder: Path, context: int) -> Any:
    """Return open_clip's wrapper of a tokenizer of transformers, over files in a folder."""
    return open_clip.tokenizer.HFTokenizer(str(folder), context_length=context, clean="canonicalize")


# --- the same weights in transformers


def as_transformers(model: Any, config: dict[str, Any]) -> Any:
    """Return a model of transformers with the weights of an open_clip model: CLIPModel or SiglipModel."""
    return _siglip(model, config) if hasattr(model.visual, "trunk") else _clip(model, config)


def _clip(model: Any, config: dict[str, Any]) -> Any:
    import transformers

    vision, text = config["vision_cfg"], config["text_cfg"]
    activation = "quick_gelu" if config.get("quick_gelu") else "gelu"
    end = text["vocab_size"] - 1
    made = transformers.CLIPModel(
        transformers.CLIPConfig(
            projection_dim=config["embed_dim"],
            vision_config={
                "hidden_size": vision["width"],
                "intermediate_size": 4 * vision["width"],
                "num_hidden_layers": vision["layers"],
                "num_attention_heads": vision["width"] // vision.get("head_width", 64),
                "image_size": vision["image_size"],
                "patch_size": vision["patch_size"],
                "hidden_act": activation,
                "projection_dim": config["embed_dim"],
            },
            text_config={
                "hidden_size": text["width"],
                "intermediate_size": 4 * text["width"],
                "num_hidden_layers": text["layers"],
                "num_attention_heads": text["heads"],
                "vocab_size": text["vocab_size"],
                "max_position_embeddings": text["context_length"],
                "hidden_act": activation,
                "projection_dim": config["embed_dim"],
                "eos_token_id": end,
                "bos_token_id": end - 1,
                "pad_token_id": end,
            },
        )
    )
    given = model.state_dict()
    weights = {
        "logit_scale": given["logit_scale"],
        "vision_model.embeddings.class_embedding": given["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": given["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": given["visual.positional_embedding"],
        "visual_projection.weight": given["visual.proj"].T,
        "text_model.embeddings.token_embedding.weight": given["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": given["positional_embedding"],
        "text_projection.weight": given["text_projection"].T,
    }
    weights |= _norm(given, "visual.ln_pre", "vision_model.pre_layrnorm")
    weights |= _norm(given, "visual.ln_post", "vision_model.post_layernorm")
    weights |= _norm(given, "ln_final", "text_model.final_layer_norm")
    weights |= _blocks(given, "visual.transformer.resblocks", "vision_model", vision["layers"])
    weights |= _blocks(given, "transformer.resblocks", "text_model", text["layers"])
    return _loaded(made, weights)


def _siglip(model: Any, config: dict[str, Any]) -> Any:
    import transformers

    text, trunk = config["text_cfg"], model.visual.trunk
    made = transformers.SiglipModel(
        transformers.SiglipConfig(
            vision_config={
                "hidden_size": trunk.embed_dim,
                "intermediate_size": trunk.blocks[0].mlp.fc1.out_features,
                "num_hidden_layers": len(trunk.blocks),
                "num_attention_heads": trunk.blocks[0].attn.num_heads,
                "image_size": trunk.patch_embed.img_size[0],
                "patch_size": trunk.patch_embed.patch_size[0],
                "hidden_act": "gelu",  # as open_clip and timm compute it; the first SigLIP was trained with a close one
            },
            text_config={
                "hidden_size": text["width"],
                "intermediate_size": 4 * text["width"],
                "num_hidden_layers": text["layers"],
                "num_attention_heads": text["heads"],
                "vocab_size": text["vocab_size"],
                "max_position_embeddings": text["context_length"],
                "hidden_act": "gelu",
                "bos_token_id": 0,
                "eos_token_id": 1,
                "pad_token_id": 1,
            },
        )
    )
    given = model.state_dict()
    head, pool = "vision_model.head", "visual.trunk.attn_pool"
    weights = {
        "logit_scale": given["logit_scale"].reshape(1),
        "logit_bias": torch.zeros(1),
        "vision_model.embeddings.patch_embedding.weight": given["visual.trunk.patch_embed.proj.weight"],
        "vision_model.embeddings.patch_embedding.bias": given["visual.trunk.patch_embed.proj.bias"],
        "vision_model.embeddings.position_embedding.weight": given["visual.trunk.pos_embed"][0],
        f"{head}.probe": given[f"{pool}.latent"],
        f"{head}.attention.in_proj_weight": torch.cat([given[f"{pool}.q.weight"], given[f"{pool}.kv.weight"]]),
        f"{head}.attention.in_proj_bias": torch.cat([given[f"{pool}.q.bias"], given[f"{pool}.kv.bias"]]),
        "text_model.embeddings.token_embedding.weight": given["text.token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": given["text.positional_embedding"],
    }
    for theirs, ours in (("attention.out_proj", "proj"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):
        weights |= _norm(given, f"{pool}.{ours}", f"{head}.{theirs}")
    weights |= _norm(given, f"{pool}.norm", f"{head}.layernorm")
    weights |= _norm(given, "visual.trunk.norm", "vision_model.post_layernorm")
    weights |= _norm(given, "text.ln_final", "text_model.final_layer_norm")
    weights |= _norm(given, "text.text_projection", "text_model.head")
    weights |= _blocks(given, "text.transformer.resblocks", "text_model", text["layers"])
    weights |= _timm_blocks(given, len(trunk.blocks))
    return _loaded(made, weights)


def _norm(given: dict[str, Any], name: str, theirs: str) -> dict[str, Any]:
    return {f"{theirs}.{part}": given[f"{name}.{part}"] for part in ("weight", "bias")}


def _blocks(given: dict[str, Any], name: str, model: str, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for i in range(count):
        ours, theirs = f"{name}.{i}", f"{model}.encoder.layers.{i}"
        found |= _norm(given, f"{ours}.ln_1", f"{theirs}.layer_norm1") | _norm(
            given, f"{ours}.ln_2", f"{theirs}.layer_norm2"
        )
        found |= _norm(given, f"{ours}.mlp.c_fc", f"{theirs}.mlp.fc1") | _norm(
            given, f"{ours}.mlp.c_proj", f"{theirs}.mlp.fc2"
        )
        found |= _norm(given, f"{ours}.attn.out_proj", f"{theirs}.self_attn.out_proj")
        found |= _thirds(given[f"{ours}.attn.in_proj_weight"], given[f"{ours}.attn.in_proj_bias"], theirs)
    return found


def _timm_blocks(given: dict[str, Any], count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for i in range(count):
        ours, theirs = f"visual.trunk.blocks.{i}", f"vision_model.encoder.layers.{i}"
        found |= _norm(given, f"{ours}.norm1", f"{theirs}.layer_norm1") | _norm(
            given, f"{ours}.norm2", f"{theirs}.layer_norm2"
        )
        found |= _norm(given, f"{ours}.mlp.fc1", f"{theirs}.mlp.fc1") | _norm(
            given, f"{ours}.mlp.fc2", f"{theirs}.mlp.fc2"
        )
        found |= _norm(given, f"{ours}.attn.proj", f"{theirs}.self_attn.out_proj")
        found |= _thirds(given[f"{ours}.attn.qkv.weight"], given[f"{ours}.attn.qkv.bias"], theirs)
    return found


def _thirds(weight: Any, bias: Any, theirs: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for letter, w, b in zip("qkv", weight.chunk(3), bias.chunk(3), strict=True):
        found |= {f"{theirs}.self_attn.{letter}_proj.weight": w, f"{theirs}.self_attn.{letter}_proj.bias": b}
    return found


def _loaded(made: Any, weights: dict[str, Any]) -> Any:
    """Load weights. Every one of the model must be among them."""
    missing, unexpected = made.load_state_dict(weights, strict=False)
    assert not unexpected, unexpected
    assert all(name.endswith("position_ids") for name in missing), missing
    return made.eval()


@torch.no_grad()  # type: ignore[untyped-decorator]
def transformers_image_embeddings(made: Any, pixels: Floats) -> Floats:
    """Return the embeddings of prepared pictures, of unit length."""
    return _unit(made.get_image_features(pixel_values=torch.from_numpy(pixels)))


@torch.no_grad()  # type: ignore[untyped-decorator]
def transformers_text_embeddings(made: Any, tokens: NDArray[np.int64]) -> Floats:
    """Return the embeddings of tokens, of unit length."""
    return _unit(made.get_text_features(input_ids=torch.from_numpy(tokens)))


def _unit(found: Any) -> Floats:
    vectors = found if isinstance(found, torch.Tensor) else found.pooler_output
    unit: Floats = torch.nn.functional.normalize(vectors, dim=-1).numpy()
    return unit


def small_unigram(texts: Sequence[str], folder: Path, vocabulary: int = 900) -> None:
    """Write a small tokenizer built as SigLIP's is: SentencePiece's unigram model, an end token, padded with it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(
        texts,
        trainers.UnigramTrainer(
            vocab_size=vocabulary, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
        ),
    )
    end = made.token_to_id("</s>")
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    names = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "</s>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({**names, "model_max_length": 16}, indent=2) + "\n")
