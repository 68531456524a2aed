"""Pictures sampled from a store, as decoded frames, to compare networks on. Judges nothing.

Everything is held in memory, as in a scan; what cannot be read or decoded is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.ports import Decoder, Store
from fedi_safety.core.types import Frame, Object
from fedi_safety.evaluation.sampling import sample_objects

_SPARE = 1.3  # so many more are sampled than are wanted, in place of those that are no pictures


def sample_frames(store: Store, decoder: Decoder, count: int, *, max_bytes: int, seed: int = 0) -> Iterator[Frame]:
    """Yield the first frame of up to `count` objects, sampled from the whole listing. Raises `StoreError`."""

    def frame(obj: Object) -> Frame | None:
        return _frame(store, decoder, obj, max_bytes)

    objects = sample_objects(store.list(), round(count * _SPARE) + 20, seed).objects
    threads = max(2, min(store.concurrency, 16))
    yielded = 0
    with ThreadPoolExecutor(threads) as pool:
        for at in range(0, len(objects), 2 * threads):
            for found in pool.map(frame, objects[at : at + 2 * threads]):
                if found is not None and yielded < count:
                    yield found
                    yielded += 1
            if yielded == count:
                return


def _frame(store: Store, decoder: Decoder, obj: Object, max_bytes: int) -> Frame | None:
    kinds = []

    def accept(head: bytes) -> None:
        kinds.append(decoder.sniff(head))
        if obj.size > max_bytes:
            raise Unscannable(Reason.TOO_LARGE)

    try:
        return decoder.decode(store.fetch(obj, accept), kinds[0]).frames[0]
    except Unscannable:
        return None
