"""The folder of a copy descriptor: a network that makes nearly the same of a picture and of what was cut from it.

    config.json          {"copy_descriptor": {"size": 288, "input": "float32", "layout": "NCHW", "mean": [...], ...}}
    visual/model.onnx    gives 512 numbers for each picture, whose signs are kept

`input` is `uint8`, then pixels are given as they are, or `float32`, then `mean` is taken away from shares of white and
what is left divided by `std`. A picture is squeezed to `size` by `size` pixels. It reads JSON and hashes files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedi_safety.core.errors import ModelError
from fedi_safety.models.folder import CONFIG, VISUAL, file_sha256, graph_files, read_json
from fedi_safety.models.lock import altered, read_lock

_KEY = "copy_descriptor"
_MOST_PIXELS = 1024  # a side
_AGAIN = "import it anew; docs/known.md has the layout of its folder"


@dataclass(frozen=True, slots=True)
class DescriptorFolder:
    """A complete folder of a copy descriptor. What is in the network was not looked at.

    Pictures are given as `floats` or as bytes, colours first or last; `mean` and `std` are for floats.
    """

    path: Path
    size: int
    floats: bool
    colours_first: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def graph(self) -> Path:
        """Return the network's file."""
        return self.path / VISUAL

    @property
    def name(self) -> str:
        """Return what the model is called, with a digest of all files that decide a descriptor."""
        files = [*graph_files(self.graph), self.path / CONFIG]
        lines = [f"{file_sha256(file)}  {file.relative_to(self.path).as_posix()}\n" for file in files]
        return f"{self.path.name} sha256:{hashlib.sha256(''.join(sorted(lines)).encode()).hexdigest()[:16]}"


def is_descriptor(path: Path) -> bool:
    """Whether a folder says of itself that it is a copy descriptor's."""
    try:
        return _KEY in read_json(path / CONFIG)
    except ModelError:
        return False


def open_descriptor_folder(path: Path) -> DescriptorFolder:
    """Read a folder's small file, and hold its files to the record. Raises `ModelError` that names what is wrong."""
    if not path.is_dir():
        raise ModelError(f"model {str(path)!r}", "no such folder", _AGAIN)
    if not (path / VISUAL).is_file():
        raise ModelError(f"model {str(path)!r}", f"{VISUAL} missing", _AGAIN)
    told = read_json(path / CONFIG).get(_KEY)
    if not isinstance(told, dict):
        raise ModelError(str(path / CONFIG), f"it does not say {_KEY}, so it is no copy descriptor", _AGAIN)
    size = told.get("size")
    if not isinstance(size, int) or not 32 <= size <= _MOST_PIXELS:
        raise ModelError(str(path / CONFIG), f"size is not a whole number from 32 to {_MOST_PIXELS}", _AGAIN)
    kind, layout = told.get("input", "float32"), told.get("layout", "NCHW")
    if kind not in ("float32", "uint8") or layout not in ("NCHW", "NHWC"):
        raise ModelError(str(path / CONFIG), "input is not float32 or uint8, or layout not NCHW or NHWC", _AGAIN)
    entry = read_lock(path.parent).get(path.name)
    if entry is not None and (wrong := altered(path, entry)):
        raise ModelError(str(path / wrong[0]), "missing, or altered since it was recorded", _AGAIN)
    mean, std = (_three(path, told, word, usual) for word, usual in (("mean", 0.0), ("std", 1.0)))
    return DescriptorFolder(path, size, kind == "float32", layout == "NCHW", mean, std)


def _three(path: Path, told: dict[str, Any], word: str, usual: float) -> tuple[float, float, float]:
    given = told.get(word, [usual] * 3)
    if not isinstance(given, list) or len(given) != 3 or not all(type(each) in (int, float) for each in given):
        raise ModelError(str(path / CONFIG), f"{word} is not a list of three numbers", _AGAIN)
    if word == "std" and not all(each > 0 for each in given):
        raise ModelError(str(path / CONFIG), "std is not above 0", _AGAIN)
    red, green, blue = map(float, given)
    return red, green, blue
