"""What the ledger asks of `clip` when definitions change: its signals from kept embeddings, without a picture.

Loads no network: text embeddings come from the caller, and only once they are needed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fedi_safety.concepts import PREFIX, ConceptSet, definitions_in
from fedi_safety.core.enums import LEARNED_PREFIX

if TYPE_CHECKING:
    from fedi_safety.concepts.shares import Floats, Sharer


@runtime_checkable
class ConceptSource(Protocol):
    """What `clip` is to this module, whether its network is loaded or not."""

    @property
    def concepts(self) -> ConceptSet:
        """The concepts in force."""
        ...

    @property
    def version(self) -> str:
        """The detector's version, which names the definitions of the concepts."""
        ...

    @property
    def embedding_model(self) -> str:
        """Names network, precision and weights."""
        ...

    def text_embeddings(self) -> Floats:
        """Return the embeddings of `concepts.prompts`, in their order, of unit length."""
        ...


def rescorer_of(detectors: Iterable[object]) -> ConceptRescorer | None:
    """Return what computes signals anew for the one detector among these that has concepts; None if none has."""
    return next((ConceptRescorer(each) for each in detectors if isinstance(each, ConceptSource)), None)


class ConceptRescorer:
    """The concepts in force over one network's embeddings. Thread-safe."""

    detector = "clip"

    def __init__(self, source: ConceptSource) -> None:
        """Ask for nothing yet but names."""
        self.version = source.version
        self.embedding_model = source.embedding_model
        self.signals = source.concepts.signals
        self._source = source
        self._lock = threading.Lock()
        self._sharer: Sharer | None = None

    def standing(self, version: str) -> frozenset[str]:
        """Return which signals mean in this recorded version what they mean now."""
        before = definitions_in(version)
        return frozenset(s for s, d in self._source.concepts.definitions.items() if before.get(s) == d)

    def owns(self, signal: str) -> bool:
        """Whether only this detector can have given the signal."""
        return signal.startswith((PREFIX, LEARNED_PREFIX))

    def shares(self, vectors: Floats) -> Floats:
        """Return the signals of embeddings of unit length. Raises what getting the text embeddings raises."""
        with self._lock:
            if self._sharer is None:
                self._sharer = self._source.concepts.sharer(self._source.text_embeddings())
        return self._sharer(vectors)
