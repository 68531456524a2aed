"""Ports with less behind them: a memory that knows nothing, a store of which only some objects are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedi_safety.core.keys import key_bytes
from fedi_safety.core.ledger.census import Census
from fedi_safety.core.ports import ReadableStore
from fedi_safety.core.types import Content, Judgement, Known, Object, Unscanned


class NoMemory:
    """Remembers nothing, so that everything is judged."""

    def lookup(
        self,
        store: str,  # noqa: ARG002
        objects: Sequence[Object],
        policy: str | None,  # noqa: ARG002
        census: Census | None = None,  # noqa: ARG002
    ) -> list[Known | None]:
        """Know none of the objects."""
        return [None] * len(objects)

    def contents(self, sha256s: Sequence[bytes]) -> dict[bytes, tuple[Content, Judgement, bool]]:  # noqa: ARG002
        """Know none of the contents."""
        return {}

    def dismissed(self, sha256s: Sequence[bytes]) -> set[bytes]:  # noqa: ARG002
        """Know of no dismissal."""
        return set()


class ReadableSubset:
    """Some objects of a store, which can be read and nothing else."""

    def __init__(self, store: ReadableStore, objects: Sequence[Object]) -> None:
        """Show these objects alone, in the order of their keys' bytes."""
        self.url = store.url
        self.fetch = store.fetch
        self._objects = sorted(objects, key=lambda o: key_bytes(o.key))

    def list(self, prefixes: Sequence[str] = (), since: float | None = None) -> Iterator[Object | Unscanned]:
        """Yield those of them that are asked for, as a store's own listing does."""
        wanted = tuple(prefixes)
        for obj in self._objects:
            if (not wanted or obj.key.startswith(wanted)) and (since is None or obj.mtime_ns >= since * 1e9):
                yield obj
