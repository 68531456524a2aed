"""Texts to tokens, by a model's own tokenizer file and the cleaning that open_clip does before it.

A text that the network would only see a part of is refused, and so is a tokenizer that does not fit the network.
"""

from __future__ import annotations

import html
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.errors import ConfigError, ModelError
from fedi_safety.models.folder import ModelFolder

Tokens = NDArray[np.int64]

_AGAIN = "fetch or import the model anew"
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Tokenizer:
    """A model's tokenizer. Thread-safe."""

    def __init__(self, folder: ModelFolder) -> None:
        """Read the tokenizer of a model. Raises `ModelError` if it cannot be used, or not with this network."""
        from tokenizers import Tokenizer as Pieces

        self._source = str(folder.tokenizer)
        text = folder.config["text_cfg"]
        self.context_length = folder.context_length
        self._vocabulary = text.get("vocab_size")
        self._clean = _cleaner(text, str(folder.path / "config.json"))
        try:
            self._pieces: Any = Pieces.from_str(folder.tokenizer.read_text("utf-8"))
        except Exception as error:  # the library raises nothing narrower
            raise ModelError(self._source, f"not a tokenizer ({_short(error)})", _AGAIN) from error
        # The file may ask for both; lengths are checked here instead, so that nothing is cut off unnoticed.
        self._pieces.no_truncation()
        self._pieces.no_padding()
        self._pad, self._pad_left = self._padding(folder)
        if len(self._ids("a")) > self.context_length:
            raise self._misfit(f"a single letter makes more tokens than the network takes, {self.context_length}")

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Return the tokens of each text, padded: (texts, context). Raises `ConfigError` for one that is too long."""
        rows = np.full((len(texts), self.context_length), self._pad, np.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = self._ids(text)
            if len(ids) > self.context_length:
                raise ConfigError(
                    f"prompt {text[:60]!r}",
                    f"it makes {len(ids)} tokens, and the model reads {self.context_length}",
                    "shorten it",
                )
            row[slice(len(row) - len(ids), None) if self._pad_left else slice(len(ids))] = ids
        return rows

    def _ids(self, text: str) -> list[int]:
        cleaned = self._clean(text)
        try:
            ids = [int(i) for i in self._pieces.encode(cleaned).ids]
        except Exception as error:  # the library raises nothing narrower
            raise self._misfit(f"it fails on {text[:60]!r} ({_short(error)})") from error
        if not ids:
            raise self._misfit(f"it makes no token of {text[:60]!r}")
        if self._vocabulary is not None and max(ids) >= self._vocabulary:
            raise self._misfit(f"it gives the token {max(ids)}, and the network knows {self._vocabulary}")
        return ids

    def _padding(self, folder: ModelFolder) -> tuple[int, bool]:
        """Return the token that fills up short texts, and whether it goes before them."""
        config = folder.tokenizer_config
        named = config.get("pad_token")
        token = named.get("content") if isinstance(named, dict) else named
        side = config.get("padding_side", "right")
        if side not in ("left", "right"):
            raise self._misfit(f"padding_side {side!r} is neither left nor right")
        pad = 0 if token is None else self._pieces.token_to_id(token)
        if pad is None:
            raise self._misfit(f"it has no pad token {token!r}, which tokenizer_config.json names")
        return int(pad), side == "left"

    def _misfit(self, cause: str) -> ModelError:
        return ModelError(self._source, f"the tokenizer does not fit the model: {cause}", _AGAIN)


def _cleaner(text: Any, source: str) -> Callable[[str], str]:
    """Return what open_clip does to a text before the tokenizer proper, by the model's configuration."""
    options = text.get("tokenizer_kwargs") or {}
    # These change tokens in ways that no known model for pictures of this kind needs.
    for key, known in (("strip_sep_token", False), ("tokenizer_mode", None)):
        if options.get(key, known) not in (known, ""):
            raise ModelError(source, f"text_cfg.tokenizer_kwargs.{key}: {options[key]!r} is not known", _AGAIN)
    # open_clip's own tokenizer lowers the case; those from elsewhere do as they were made.
    default = "whitespace" if text.get("hf_tokenizer_name") else "lower"
    kind = options.get("clean", default)
    cleaners = {"whitespace": _whitespace, "lower": _lower, "canonicalize": _canonical}
    if kind not in cleaners:
        raise ModelError(source, f"text_cfg.tokenizer_kwargs.clean: {kind!r} is not known", _AGAIN)
    return cleaners[kind]


def _whitespace(text: str) -> str:
    from ftfy import fix_text

    return " ".join(html.unescape(html.unescape(fix_text(text))).split())


def _lower(text: str) -> str:
    return _whitespace(text).lower()


def _canonical(text: str) -> str:
    return " ".join(_whitespace(text).replace("_", " ").translate(_NO_PUNCTUATION).lower().split())


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
