"""Makes a model folder from open_clip weights. Needs torch and open_clip (the extra `export`), which load slowly.

Weights that open_clip knows by a tag are fetched by open_clip itself, from where it likes; a file stays on the machine.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedi_safety.core.errors import ModelError
from fedi_safety.models.bpe import clip_tokenizer, clip_tokenizer_config
from fedi_safety.models.folder import (
    CONFIG,
    PREPROCESS,
    TEXTUAL,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VISUAL,
    open_model_folder,
)
from fedi_safety.models.importing import digests_of
from fedi_safety.models.lock import Locked, only_writer, read_lock
from fedi_safety.models.names import folder_name
from fedi_safety.models.placing import place

OPSET = 18
_LARGEST_FILE = 1_800_000_000  # an ONNX file ends at 2 GB; what is larger keeps its weights beside it


@dataclass(frozen=True, slots=True)
class Weights:
    """Where weights come from: a tag of open_clip's, a file, or a seed for weights that know nothing."""

    tag: str | None = None
    file: Path | None = None
    seed: int | None = None

    @property
    def called(self) -> str:
        """Return how to name them in the record."""
        if self.file is not None:
            return str(self.file)
        return self.tag if self.seed is None and self.tag else f"random weights, seed {self.seed}"


def export(
    architecture: str,
    weights: Weights,
    models: Path,
    name: str,
    tokenizer: Path | None = None,
    *,
    replace: bool = False,
) -> Path:
    """Export both towers of a model into the models directory, record it, and return where it is.

    `tokenizer` is a folder with tokenizer.json and tokenizer_config.json; left out, OpenAI's is written down and any
    other is fetched by `transformers`. Raises `ModelError`.
    """
    called = folder_name(name)
    with only_writer(models):
        if called in read_lock(models) and not replace:
            raise ModelError(f"model {called!r}", "one of that name is on record", "give --replace, or --name NAME")
        libraries = _libraries()
        model, config = _create(libraries, architecture, weights)
        part = models / f".{called}.export.part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            write_folder(model, config, part, tokenizer)
            source = f"export open_clip {libraries.open_clip.__version__} {architecture} {weights.called}"
            place(part, models, called, Locked(source, "", digests_of(part)))
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return models / called


def write_folder(model: Any, config: dict[str, Any], folder: Path, tokenizer: Path | None) -> None:
    """Write an open_clip model, whose configuration is `config`, as a model folder."""
    for place_ in ("visual", "textual"):
        (folder / place_).mkdir(parents=True, exist_ok=True)
    size, context = _square(model.visual.image_size), int(config["text_cfg"].get("context_length", 77))
    _write_json(folder / CONFIG, config)
    import open_clip

    _write_json(folder / PREPROCESS, open_clip.get_model_preprocess_cfg(model))
    _write_tokenizer(config, folder, tokenizer)
    import torch

    export_tower(model, "encode_image", torch.zeros(2, 3, size, size), folder / VISUAL)
    export_tower(model, "encode_text", torch.ones(2, context, dtype=torch.int64), folder / TEXTUAL)
    open_model_folder(folder)


def export_tower(model: Any, method: str, example: Any, path: Path) -> None:
    """Write one tower as ONNX, for any number of pictures or texts at once, with embeddings of unit length."""
    import torch

    class Tower(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, given: Any) -> Any:
            return getattr(self.model, method)(given, normalize=True)

    model.eval()
    size = sum(p.numel() * p.element_size() for p in model.visual.parameters())
    if method == "encode_text":
        size = sum(p.numel() * p.element_size() for p in model.parameters()) - size
    torch.backends.mha.set_fastpath_enabled(False)  # it cannot be exported
    with _quietly(), torch.no_grad():
        torch.onnx.export(
            Tower(),
            (example,),
            str(path),
            input_names=["image" if method == "encode_image" else "text"],
            output_names=["unit_embedding"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("count", min=1, max=4096)},),
            external_data=size > _LARGEST_FILE,
            verbose=False,
        )
    _strip(path)


def _strip(path: Path) -> None:
    """Take out of a graph what the exporter noted for its own debugging: places in this machine's files, above all."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, path)


# --- what open_clip has to give


@dataclass(frozen=True, slots=True)
class _Libraries:
    torch: Any
    open_clip: Any


def _libraries() -> _Libraries:
    try:
        import onnxscript  # noqa: F401 - the exporter needs it
        import open_clip
        import torch
    except ImportError as error:
        raise ModelError(
            "models export", f"needs torch and open_clip ({error.name} is missing)", "install fedi-safety[export]"
        ) from error
    return _Libraries(torch, open_clip)


def _create(libraries: _Libraries, architecture: str, weights: Weights) -> tuple[Any, dict[str, Any]]:
    """Return the model and its configuration. Raises `ModelError` for what open_clip does not know or cannot load."""
    open_clip = libraries.open_clip
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise ModelError(
            f"architecture {architecture!r}",
            "not one of open_clip's",
            "see https://github.com/mlfoundations/open_clip, or name one as in ViT-L-14__openai",
        )
    known = {tag.replace("_", "-"): tag for tag in open_clip.list_pretrained_tags_by_model(architecture)}
    tag = known.get((weights.tag or "").replace("_", "-"))  # Immich writes dashes
    if tag is None and weights.file is None and weights.seed is None:
        raise ModelError(
            f"weights {weights.tag!r}",
            f"open_clip has none of that name for {architecture}",
            f"it has {', '.join(known.values()) or 'none'}; or give --weights FILE",
        )
    if weights.file is not None and not weights.file.is_file():
        raise ModelError(str(weights.file), "no such file of weights", "check --weights")
    settings = open_clip.get_pretrained_cfg(architecture, tag) if tag else {}
    quick = bool(settings.get("quick_gelu", config.get("quick_gelu", False)))
    if weights.seed is not None:
        libraries.torch.manual_seed(weights.seed)
    try:
        with _quietly():
            model = open_clip.create_model(
                architecture,
                pretrained=None if weights.seed is not None else str(weights.file or tag),
                force_quick_gelu=quick,
                force_preprocess_cfg={k: settings[k] for k in _PREPROCESSING if k in settings},
            )
    except Exception as error:  # torch, pickle and safetensors have no common root
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{architecture} {weights.called}", f"cannot be loaded: {first[:300]}", "check the weights"
        ) from error
    return model, {**config, "quick_gelu": True} if quick else config


_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


def _write_tokenizer(config: dict[str, Any], folder: Path, given: Path | None) -> None:
    published = config["text_cfg"].get("hf_tokenizer_name")
    if given is not None:
        for name in (TOKENIZER, TOKENIZER_CONFIG):
            source = given / Path(name).name
            if not source.is_file():
                raise ModelError(str(source), "missing", "give --tokenizer a folder that has it")
            shutil.copyfile(source, folder / name)
        return
    if published is None:
        _write_json(folder / TOKENIZER, clip_tokenizer(openai_merges()), indent=None)
        _write_json(folder / TOKENIZER_CONFIG, clip_tokenizer_config(int(config["text_cfg"].get("context_length", 77))))
        return
    try:
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(published).save_pretrained(folder / "textual")
    except (ImportError, OSError, ValueError) as error:
        raise ModelError(
            f"tokenizer {published!r}",
            "transformers cannot get it",
            "give --tokenizer a folder with tokenizer.json and tokenizer_config.json",
        ) from error


def openai_merges() -> list[tuple[str, str]]:
    """Return the merges of OpenAI's tokenizer, from the vocabulary that open_clip carries."""
    import gzip

    from open_clip.tokenizer import default_bpe

    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")
    pairs = (line.split() for line in lines[1 : 49152 - 256 - 2 + 1])
    return [(first, second) for first, second in pairs]


def _square(size: Any) -> int:
    return int(size[0] if isinstance(size, tuple | list) else size)


def _write_json(path: Path, value: dict[str, Any], indent: int | None = 2) -> None:
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", "utf-8")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the libraries' own remarks from the operator's terminal."""
    levels = {name: logging.getLogger(name).level for name in ("", "torch", "onnxscript")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
