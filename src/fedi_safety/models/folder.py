"""The folder that a CLIP model lives in: Immich's layout, which files belong to it, and what they hash to.

    config.json                  open_clip's architecture; may stand under `model_cfg`
    visual/model.onnx            and its data files, if the weights are kept beside the graph
    visual/preprocess_cfg.json   what is done to a picture before the network sees it
    textual/model.onnx           likewise
    textual/tokenizer.json       and tokenizer_config.json
    visual/model.fp16.onnx, visual/model.int8.onnx, variants.json    what `models optimize` made

It reads JSON and hashes files; it loads no network and does not know what a picture or a token is.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedi_safety.core.errors import ModelError
from fedi_safety.core.wording.hints import hint

CONFIG = "config.json"
VISUAL = "visual/model.onnx"
PREPROCESS = "visual/preprocess_cfg.json"
TEXTUAL = "textual/model.onnx"
TOKENIZER = "textual/tokenizer.json"
TOKENIZER_CONFIG = "textual/tokenizer_config.json"
VARIANTS = "variants.json"

REQUIRED = (CONFIG, VISUAL, PREPROCESS, TEXTUAL, TOKENIZER, TOKENIZER_CONFIG)
"""What every model folder has, relative to it."""

FULL = "fp32"
"""The precision of the files as they were published; every other one is a variant that was made here."""

_OTHER_RUNTIMES = frozenset({".armnn", ".rknn"})
_LARGEST_JSON = 64 << 20  # SigLIP 2's tokenizer, the largest known, has 34 MB


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A complete model folder. That its files are there was checked; what is in the networks was not."""

    path: Path
    name: str
    config: Mapping[str, Any]  # with `embed_dim`, `vision_cfg` and `text_cfg` at the top, wherever the file has them
    visual: Path
    textual: Path
    tokenizer: Path
    tokenizer_config: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]  # by precision, as `models optimize` recorded them

    @property
    def dim(self) -> int:
        """Return how many numbers an embedding has."""
        return int(self.config["embed_dim"])

    @property
    def context_length(self) -> int:
        """Return how many tokens the textual tower takes."""
        return int(self.config["text_cfg"].get("context_length", 77))

    def visual_file(self, precision: str) -> Path:
        """Return the visual tower's graph in a precision; bf16 has no file of its own, it is computed from fp32's."""
        file = self.variants.get(precision, {}).get("file")
        return self.path / file if file else self.visual


def open_model_folder(path: Path) -> ModelFolder:
    """Read a model folder's small files. Raises `ModelError` that names what is missing or ill-formed."""
    if not path.is_dir():
        raise ModelError(
            f"model {str(path)!r}",
            "no such folder",
            f"get it with {hint('models fetch {}', path.name)}, or {hint('models import DIR')}",
        )
    missing = [file for file in REQUIRED if not (path / file).is_file()]
    if missing:
        raise ModelError(f"model {str(path)!r}", f"{', '.join(missing)} missing", _AGAIN)
    document = read_json(path / CONFIG)
    inner = document.get("model_cfg", document)
    for key, kind in (("embed_dim", int), ("vision_cfg", dict), ("text_cfg", dict)):
        if not isinstance(inner, dict) or not isinstance(inner.get(key), kind):
            raise ModelError(str(path / CONFIG), f"{key} is missing or not {_CALLED[kind]}", _AGAIN)
    if not isinstance(inner["text_cfg"].get("context_length", 77), int):
        raise ModelError(str(path / CONFIG), "text_cfg.context_length is not a whole number", _AGAIN)
    return ModelFolder(
        path=path,
        name=path.name,
        config=inner,
        visual=path / VISUAL,
        textual=path / TEXTUAL,
        tokenizer=path / TOKENIZER,
        tokenizer_config=read_json(path / TOKENIZER_CONFIG),
        preprocess=read_json(path / PREPROCESS),
        variants=_variants(path),
    )


_AGAIN = "fetch or import the model anew"
_CALLED = {int: "a whole number", dict: "a table"}


def variant_file(precision: str) -> str:
    """Return the name of a variant's visual tower, relative to the model folder."""
    return f"visual/model.{precision}.onnx"


def _variants(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return what `models optimize` recorded, each entry with a file that is there (bf16 has none)."""
    source = path / VARIANTS
    if not source.exists():
        return {}
    remedy = f"delete it and run {hint('models optimize {}', path.name)} again"
    found = read_json(source)
    for precision, entry in found.items():
        file = entry.get("file") if isinstance(entry, dict) else ""
        if file not in (None, variant_file(precision)):
            raise ModelError(str(source), f"the entry {precision!r} does not name {variant_file(precision)}", remedy)
        if file is not None and not (path / file).is_file():
            raise ModelError(str(source), f"{file}, which it names, is missing", remedy)
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a model. Raises `ModelError`."""
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ModelError(str(path), "larger than any such file should be", _AGAIN)
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(str(path), f"cannot be read ({error.strerror})", "check its rights") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(str(path), "not JSON", _AGAIN) from error
    if not isinstance(found, dict):
        raise ModelError(str(path), "not a JSON object", _AGAIN)
    return found


def data_files(graph: Path) -> list[Path]:
    """Return the files beside a graph that hold its weights.

    They are named after it (`model.onnx.data`, `model.onnx_data`); large published models have one file without a
    suffix for every tensor instead, beside `model.onnx`.
    """
    beside = sorted(p for p in graph.parent.iterdir() if p.is_file() and p != graph)
    named = [p for p in beside if p.name.startswith(graph.name)]
    if graph.name != Path(VISUAL).name:
        return named
    known = {".json", ".onnx", ".txt", ".model", ".tmp", *_OTHER_RUNTIMES}
    return [p for p in beside if p in named or (p.suffix not in known and not _of_variant(p.name))]


def graph_files(graph: Path) -> list[Path]:
    """Return a graph and its data files."""
    return [graph, *data_files(graph)]


def _of_variant(name: str) -> bool:
    return name.startswith("model.") and ".onnx" in name and not name.startswith("model.onnx")


def is_of_model(relative: str) -> bool:
    """Whether a published file, named relative to the folder, is one that is used here.

    Other runtimes' files, subfolders of the towers (other formats again) and texts for people are not.
    """
    parts = relative.split("/")
    if relative == CONFIG:
        return True
    return (
        len(parts) == 2
        and parts[0] in ("visual", "textual")
        and not parts[1].startswith(".")
        and Path(parts[1]).suffix not in {*_OTHER_RUNTIMES, ".md"}
    )


def model_files(path: Path) -> list[str]:
    """Return the files of a model that lies in a folder, relative to it, sorted; variants made here are left out."""
    found = [p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()]
    return sorted(f for f in found if is_of_model(f) and not _of_variant(f.rsplit("/", 1)[-1]))


def weights_digest(folder: ModelFolder, precision: str = FULL) -> str:
    """Return one SHA-256 over all the files that decide an embedding or a text's, in a precision."""
    files = [*graph_files(folder.visual_file(precision)), *graph_files(folder.textual)]
    files += [folder.path / name for name in (CONFIG, PREPROCESS, TOKENIZER, TOKENIZER_CONFIG)]
    lines = [f"{file_sha256(f)}  {f.relative_to(folder.path).as_posix()}\n" for f in files]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256, computed once for as long as size and time of change stay. Raises `ModelError`."""
    try:
        seen = path.stat()
        return _sha256(path, seen.st_size, seen.st_mtime_ns)
    except FileNotFoundError:
        raise ModelError(str(path), "missing", _AGAIN) from None
    except OSError as error:
        raise ModelError(str(path), f"cannot be read ({error.strerror})", "check its rights") from error


@functools.lru_cache(maxsize=1024)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001 - they are the cache's key
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
