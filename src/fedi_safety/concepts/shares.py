"""Shares from embeddings: cosines to every prompt, a softmax for each concept, the sum over its positive prompts.

That of a learned head is a logistic: the softmax of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fedi_safety.concepts import ConceptSet

Floats = NDArray[np.float32]


class Sharer:
    """The concepts of a set over one model's text embeddings. Thread-safe: nothing changes after it was made."""

    def __init__(self, concepts: ConceptSet, texts: Floats) -> None:
        """Take the embeddings of `concepts.prompts`, in their order, of unit length. Raises `ValueError` otherwise."""
        if texts.ndim != 2 or len(texts) != len(concepts.prompts):
            raise ValueError(f"text embeddings of shape {texts.shape} for {len(concepts.prompts)} prompts")
        self.dim = texts.shape[1]
        rows = {text: i for i, text in enumerate(concepts.prompts)}
        directions: list[Floats] = []
        self._parts: list[tuple[slice, int]] = []  # of each concept: its columns, and how many of them are positive
        at = 0
        for concept in concepts.concepts:
            # A prompt stands for the mean of its templates, made as long as one again, as in CLIP's own ensembles.
            means = np.stack([texts[[rows[text] for text in prompt]].mean(axis=0) for prompt in concept.prompts])
            means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
            directions.append((means / concept.temperature).astype(np.float32))
            self._parts.append((slice(at, at + len(means)), len(concept.positive)))
            at += len(means)
        for head in concepts.heads:
            if len(head.weights) != self.dim:
                raise ValueError(f"{head.signal} of {len(head.weights)} numbers for texts of {self.dim}")
        self._heads: Floats = np.array([head.weights for head in concepts.heads], np.float32).reshape(-1, self.dim).T
        self._biases: Floats = np.array([head.bias for head in concepts.heads], np.float32)
        self._directions: Floats = np.ascontiguousarray(np.concatenate(directions).T, dtype=np.float32)

    def __call__(self, embeddings: Floats) -> Floats:
        """Return the share of each signal for each embedding of unit length: (frames, signals)."""
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim:
            raise ValueError(f"embeddings of shape {embeddings.shape} for texts of {self.dim} numbers")
        logits = embeddings @ self._directions
        shares = np.empty((len(embeddings), len(self._parts) + len(self._biases)), np.float32)
        for column, (part, positive) in enumerate(self._parts):
            own = logits[:, part]
            weights = np.exp(own - own.max(axis=1, keepdims=True))
            shares[:, column] = weights[:, :positive].sum(axis=1) / weights.sum(axis=1)
        # Half a hyperbolic tangent is the same as a logistic, and does not overflow.
        shares[:, len(self._parts) :] = 0.5 + 0.5 * np.tanh((embeddings @ self._heads + self._biases) / 2)
        return shares.clip(0.0, 1.0)
