"""I8: queues have limits and memory does not grow with the store: a stuck engine stops the listing soon."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fedi_safety.core.enums import MediaType
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import Evidence, Object, Scored, Unscanned
from fedi_safety.media import Caps, SandboxDecoder
from support.fakes import FakeDetector, FakeStore
from support.passes import Bench


class EndlessStore(FakeStore):
    """Lists for ever, and counts how far it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = 0

    def list(self, prefixes: Sequence[str] = (), since: float | None = None) -> Iterator[Object | Unscanned]:
        while True:
            self.listed += 1
            yield Object(f"{self.listed:012d}", 10, 1)

    def fetch(self, obj: Object, accept: Callable[[bytes], object]) -> bytes:
        self.fetched.append(obj.key)
        data = b"pic n=" + obj.key.encode()
        accept(data)
        return data


class StuckDetector(FakeDetector):
    """Does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__("a", ("a.red", "b.circle", "c.round"))
        self.stuck = threading.Event()
        self.free = threading.Event()

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        self.stuck.set()
        assert self.free.wait(30)
        return super().score(batch)


def test_a_stuck_engine_stops_listing_and_fetching(tmp_path: Path) -> None:
    store, detector = EndlessStore(), StuckDetector()
    bench = Bench(tmp_path / "ledger.db", store, detectors=[detector])
    seen: dict[str, int] = {}

    def on_start(pipeline: object) -> None:
        def watch() -> None:
            assert detector.stuck.wait(30)
            before = -1
            while before != store.listed + len(store.fetched):
                before = store.listed + len(store.fetched)
                threading.Event().wait(0.5)
            seen["listed"], seen["fetched"] = store.listed, len(store.fetched)
            pipeline.halt()  # type: ignore[attr-defined]
            detector.free.set()

        threading.Thread(target=watch).start()

    tally, _ = bench.scan(dry_run=True, on_start=on_start)
    assert 0 < seen["fetched"] <= 60
    assert seen["listed"] <= 1024  # two chunks of the listing at most
    assert tally.accounted
    bench.close()


@pytest.mark.long
def test_a_childs_shared_memory_counts_towards_its_cap() -> None:
    """What a decoder maps, and what it can write for its parent without mapping it, are within the cap together."""
    caps = Caps(max_memory_bytes=512 << 20)
    with SandboxDecoder(caps, jobs=1, child_module="support.hostile.child") as decoder:
        with pytest.raises(Unscannable) as told:
            decoder.decode(b"room", MediaType.PNG)
        mapped, shared = map(int, told.value.detail.split())
        assert shared > 0
        assert mapped + shared <= caps.max_memory_bytes
        decoded = decoder.decode(b"large:100", MediaType.PNG)  # many times what the shared memory holds at once
    colours = [(at * 5 % 256, at * 50 % 256, at) for at in range(100)]
    assert [tuple(frame.rgb[:3]) for frame in decoded.frames] == colours
    assert decoded.partly is None
