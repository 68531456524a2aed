"""The detector `clip`: one embedding a frame, and for each concept the share of its positive prompts.

Concepts say what is looked for, the model's own files how pictures and texts are prepared. Decides nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedi_safety.concepts import ConceptSet
from fedi_safety.core.errors import ConfigError
from fedi_safety.core.types import Evidence, Scored
from fedi_safety.detectors.clip.folder import Plan
from fedi_safety.detectors.clip.text_cache import TextCache
from fedi_safety.detectors.clip.towers import TextualTower, VisualTower
from fedi_safety.detectors.examples import Example, checks, drawn_face, flat
from fedi_safety.detectors.sessions.devices import DeviceChoice
from fedi_safety.detectors.sessions.network import Floats
from fedi_safety.models.folder import CONFIG, TOKENIZER, TOKENIZER_CONFIG, file_sha256, graph_files


class ClipConcepts:
    """What is looked for, in the words of one model: names and text embeddings. Loads no network for pictures."""

    name = "clip"

    def __init__(self, plan: Plan, concepts: ConceptSet, threads: int, cache: Path | None) -> None:
        """Take a planned model and its concepts; `cache` is a folder for text embeddings, or None.

        Raises `ConfigError` for a head that was learned from another network's embeddings.
        """
        for head in concepts.heads:
            if (head.model, len(head.weights)) != (plan.name, plan.folder.dim):
                raise ConfigError(
                    f"learned head {head.name!r}",
                    f"learned from embeddings of {head.model}, and the model in force is {plan.name}",
                    "see `clip.model` and `clip.precision`, learn it anew, or take it out of `clip.learned`",
                )
        self.plan = plan
        self.concepts = concepts
        self.signals = concepts.signals
        self.embedding_model = plan.name
        self.version = f"{plan.name} {concepts.id}"
        self._threads = threads
        self._cache = cache

    @property
    def definitions(self) -> Mapping[str, str]:
        """By signal, a digest of the words that define it."""
        return self.concepts.definitions

    def text_embeddings(self) -> Floats:
        """Return the embeddings of the concepts' prompts, in their order; from the cache where it has them.

        Raises `ConfigError` for a prompt that is too long, `ModelError` if the textual tower cannot be used.
        """
        folder = self.plan.folder
        cache = TextCache(self._cache, _textual_digest(self.plan), folder.dim)
        return cache.embeddings(self.concepts.prompts, TextualTower(folder, self._threads).embed)


class Clip(ClipConcepts):
    """The detector `clip`."""

    after: tuple[str, ...] = ()
    cost = 1000.0  # milliseconds for a frame of ViT-L-14 on one thread; always the last in the cascade

    def __init__(
        self,
        plan: Plan,
        concepts: ConceptSet,
        device: DeviceChoice,
        threads: int,
        *,
        batch: int = 0,
        unload_after_s: float = 0.0,
        cache: Path | None = None,
        text_threads: int = 1,
    ) -> None:
        """Embed the prompts, then load the tower for pictures. Raises `ModelError`, `ConfigError` or `DeviceError`.

        `threads` is how many processor threads one `score` uses, `text_threads` how many there are for the prompts.
        """
        super().__init__(plan, concepts, text_threads, cache)
        self._shares = concepts.sharer(self.text_embeddings())
        self.tower = VisualTower(plan, device, threads, batch=batch, unload_after_s=unload_after_s, cache=cache)

    @property
    def max_batch(self) -> int:
        """How many frames the network gets at once."""
        return self.tower.max_batch

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        """Give each concept's share, and the embedding itself."""
        if not batch:
            return []
        vectors = self.tower.embed([evidence.frame for evidence in batch])
        kept = vectors.astype("<f2")
        return [
            Scored(dict(zip(self.signals, map(float, row), strict=True)), embedding=vector.tobytes())
            for row, vector in zip(self._shares(vectors), kept, strict=True)
        ]

    def examples(self) -> tuple[Example, ...]:
        """Return plain pictures; that each gets its shares shows that model, texts and pictures go together.

        What the shares are follows from the operator's concepts and cannot be known here.
        """
        anything = dict.fromkeys(self.signals, (0.0, 1.0))
        return tuple(
            Example(name, build, anything)
            for name, build in (("flat grey", flat), ("checks", checks), ("drawn face", drawn_face))
        )

    def close(self) -> None:
        """Unload the network."""
        self.tower.close()


def _textual_digest(plan: Plan) -> str:
    """Return a SHA-256 over the files that decide a text's embedding."""
    folder = plan.folder
    files = [*graph_files(folder.textual), *(folder.path / name for name in (CONFIG, TOKENIZER, TOKENIZER_CONFIG))]
    return hashlib.sha256("".join(f"{file_sha256(file)} {file.name}\n" for file in files).encode()).hexdigest()


__all__ = ["Clip", "ClipConcepts"]
