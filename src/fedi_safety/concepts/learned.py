"""Heads that an operator's own dismissals taught: one direction in a network's embeddings, in a file of numbers.

The signal of a head is 1 for a picture that looks like those whose verdict stood, condemned or clear, and 0 for one
that looks like those that a person dismissed. A file holds no picture and no embedding; how one is learned is not known
here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fedi_safety.config.locations import expanded
from fedi_safety.core.enums import LEARNED_PREFIX
from fedi_safety.core.errors import ConfigError
from fedi_safety.core.wording.hints import hint

KIND = "fedi-safety learned head"
_FORMAT = 1
_SUFFIX = ".json"
_NAME = re.compile(r"[a-z0-9_]{1,40}")
_MAX_BYTES = 4_000_000
_MAX_DIM = 65_536


def _again() -> str:
    return f"learn it anew with {hint('concepts learn')}"


@dataclass(frozen=True)
class Head:
    """What was learned from the embeddings of one network. Its signal is the logistic of a sum over an embedding."""

    name: str
    model: str
    """Network, number format and weights, as kept embeddings name them; it says nothing of any other's."""
    weights: tuple[float, ...]
    bias: float
    learned_on: str = ""  # a day, in UTC
    contents: Mapping[str, int] = field(default_factory=dict)
    """Of how many contents it was learned, by kind."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What cross-validation came to."""

    @property
    def signal(self) -> str:
        """Return the name of its signal."""
        return LEARNED_PREFIX + self.name

    @cached_property
    def definition(self) -> str:
        """Return a digest of all that decides its signal."""
        numbers = struct.pack(f"<{len(self.weights) + 1}f", self.bias, *self.weights)
        return hashlib.sha256(self.model.encode() + b"\0" + numbers).hexdigest()[:10]


def check_name(name: str) -> str:
    """Return a name that a head can have. Raises `ConfigError`."""
    if not _NAME.fullmatch(name):
        cause = f"no name for a signal {LEARNED_PREFIX}NAME"
        raise ConfigError(f"learned head {name[:60]!r}", cause, "use a to z, 0 to 9 and _, at most 40 of them")
    return name


def head_path(named: str, folder: Path) -> Path:
    """Return where a head lies: in `folder` under its name, or where a path says."""
    if "/" in named or named.endswith(_SUFFIX):
        return expanded(named)
    return folder / f"{check_name(named)}{_SUFFIX}"


def load_heads(named: Sequence[str], folder: Path) -> tuple[Head, ...]:
    """Return the heads of these names or files. Raises `ConfigError`."""
    heads: dict[str, Head] = {}
    for each in named:
        head = read_head(head_path(each, folder))
        if head.name in heads:
            raise ConfigError(
                f"learned head {head.name!r}", "it is named twice", "take one of the two out of `clip.learned`"
            )
        heads[head.name] = head
    return tuple(heads.values())


def write_head(path: Path, head: Head) -> None:
    """Write a head's file, whole or not at all. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with part.open("w", encoding="ascii") as file:
            body = _body(head)
            json.dump({**body, "sha256": _digest(body)}, file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_head(path: Path) -> Head:
    """Return the head of a file. Raises `ConfigError` for what is none, or was altered."""
    thing = f"learned head {path}"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(thing, "there is no such file", f"take it out of `clip.learned`, or {_again()}") from error
    except (OSError, ValueError) as error:
        cause = f"it cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(thing, cause, "check its rights") from error
    try:
        document = json.loads(data) if len(data) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("kind") != KIND or document.get("format") != _FORMAT:
        raise ConfigError(thing, "it is no learned head that this version reads", _again())
    digest = document.pop("sha256", None)
    if digest != _digest(document):
        raise ConfigError(thing, "it was altered or cut: its digest is another one", _again())
    head = _head(document)
    if head is None:
        raise ConfigError(thing, "it is damaged", _again())
    return head


def _body(head: Head) -> dict[str, Any]:
    return {
        "kind": KIND,
        "format": _FORMAT,
        "name": head.name,
        "signal": head.signal,
        "model": head.model,
        "learned_on": head.learned_on,
        "contents": dict(head.contents),
        "cross_validation": dict(head.figures),
        "bias": head.bias,
        "weights": list(head.weights),
    }


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def _head(document: Mapping[str, Any]) -> Head | None:
    """Return the head of a file whose digest is right; None where its parts are not what they should be."""
    name, model, weights, bias = (document.get(key) for key in ("name", "model", "weights", "bias"))
    if not (isinstance(name, str) and _NAME.fullmatch(name) and isinstance(model, str) and model):
        return None
    if not isinstance(weights, list) or not 0 < len(weights) <= _MAX_DIM or not all(map(_number, [bias, *weights])):
        return None
    contents, figures = document.get("contents"), document.get("cross_validation")
    if not isinstance(contents, dict) or not isinstance(figures, dict):
        return None
    numbers = tuple(float(weight) for weight in weights)
    return Head(name, model, numbers, float(str(bias)), str(document.get("learned_on", "")), contents, figures)


def _number(value: object) -> bool:
    # Not more than float32 holds, in which signals are computed.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e30
