"""Concepts: what the detector `clip` looks for, in words. Each is a signal: the share of its positive prompts.

Beside them a set has the heads that an operator's dismissals taught, which are signals of the same embeddings.
Loads no network and turns no word into numbers: text embeddings come from the caller. What a share means is the
policy's to say.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fedi_safety.concepts.learned import Head
from fedi_safety.core.enums import LEARNED_PREFIX

if TYPE_CHECKING:
    from fedi_safety.concepts.shares import Floats, Sharer

PREFIX = "clip."
"""What the names of concepts' signals begin with."""

PLACE = "{}"
"""Where a template takes the prompt."""


@dataclass(frozen=True)
class Concept:
    """One thing to look for. Its signal is the softmax share of the positive prompts among all of its prompts.

    Every prompt stands for the mean of its templates (a prompt ensemble). `temperature` divides the cosines: 0.01 is
    the logit scale 100 that CLIP was trained to.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    templates: tuple[str, ...] = (PLACE,)
    temperature: float = 0.01

    @property
    def signal(self) -> str:
        """Return the name of its signal."""
        return PREFIX + self.name

    @property
    def prompts(self) -> tuple[tuple[str, ...], ...]:
        """Return each prompt as its templates write it, the positive prompts first."""
        return tuple(
            tuple(dict.fromkeys(template.replace(PLACE, prompt) for template in self.templates))
            for prompt in (*self.positive, *self.negative)
        )

    @cached_property
    def definition(self) -> str:
        """Return a digest of all that decides its signal: other words are another definition, its name is not."""
        body = [sorted(self.positive), sorted(self.negative), sorted(self.templates), self.temperature]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class ConceptSet:
    """The concepts of one file, and the learned heads beside them."""

    name: str
    concepts: tuple[Concept, ...]
    heads: tuple[Head, ...] = ()

    @property
    def _all(self) -> tuple[Concept | Head, ...]:
        return (*self.concepts, *self.heads)

    @cached_property
    def signals(self) -> tuple[str, ...]:
        """Return the signals, in the order of the file; those of the heads last."""
        return tuple(each.signal for each in self._all)

    @cached_property
    def definitions(self) -> Mapping[str, str]:
        """Return by signal the digest of what defines it."""
        return {each.signal: each.definition for each in self._all}

    @cached_property
    def id(self) -> str:
        """Return the definitions as words that stand in the detector's version; see `definitions_in`."""
        words = [_word("concepts", self.concepts)]
        if self.heads:
            words.append(_word("learned", self.heads))
        return " ".join(words)

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """Return every text whose embedding is needed, once each, in a fixed order."""
        texts = (text for concept in self.concepts for texts in concept.prompts for text in texts)
        return tuple(dict.fromkeys(texts))

    def sharer(self, texts: Floats) -> Sharer:
        """Return what computes shares fast, given the embeddings of `prompts` (prompts, dim)."""
        from fedi_safety.concepts.shares import Sharer

        return Sharer(self, texts)

    def shares(self, embeddings: Floats, texts: Floats) -> Floats:
        """Return the share of each signal for each embedding: (frames, signals), every one from 0 to 1.

        `embeddings` (frames, dim) and `texts` (prompts, dim; in the order of `prompts`) are of unit length.
        """
        return self.sharer(texts)(embeddings)


def definitions_in(version: str) -> dict[str, str]:
    """Return by signal the definitions that a detector's version names; empty where it names none."""
    definitions: dict[str, str] = {}
    for word, prefix in (("concepts", PREFIX), ("learned", LEARNED_PREFIX)):
        found = re.search(rf"\b{word}\(([^)]*)\)", version)
        pairs = (pair.partition(":") for pair in (found[1] if found else "").split(",") if pair)
        definitions |= {prefix + name: definition for name, _, definition in pairs}
    return definitions


def _word(word: str, of: Sequence[Concept | Head]) -> str:
    return f"{word}({','.join(f'{each.name}:{each.definition}' for each in of)})"


__all__ = ["PLACE", "PREFIX", "Concept", "ConceptSet", "definitions_in"]
