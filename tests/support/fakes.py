"""Hand-written fakes of the outside world: a store, a decoder and detectors that obey the ports, without any media.

A fake medium is text: `pic red=0.9 circle=1` decodes to one frame whose signals are what it says.
"""

from __future__ import annotations

import hashlib
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fedi_safety.core.enums import ActKind, Detail, MediaType, PlanState, Reason, Verdict
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.types import Box, Decoded, Evidence, Finding, Frame, Object, Removal, Right, Scored, Unscanned


class FakeClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return time.monotonic()

    def advance(self, seconds: float) -> None:
        self._now += seconds


class TickingClock(FakeClock):
    """Both clocks stand still until they are moved; the wall clock can be set by itself."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        super().__init__(now)
        self.ticks = 0.0

    def monotonic(self) -> float:
        return self.ticks

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self.ticks += seconds

    def set_back(self, seconds: float) -> None:
        super().advance(-seconds)


class FakeStore:
    """Objects in a dict. `gone_on_fetch` and `failing` let single objects misbehave."""

    url = "fake://store"
    concurrency = 2
    default_act = ActKind.DELETE
    local_root: Path | None = None
    identity: str | None = None
    owner: str | None = None

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        self.objects = dict(objects or {})
        self.fetched: list[str] = []
        self.removed: list[str] = []
        self.failing: dict[str, Reason] = {}
        self.refusing: set[str] = set()
        self.before_fetch: Callable[[str], None] = lambda _key: None

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def describe(self, key: str) -> Object:
        data = self.objects[key]
        return Object(key, len(data), 1, hashlib.sha256(data).hexdigest()[:8])

    def list(self, prefixes: Sequence[str] = (), since: float | None = None) -> Iterator[Object | Unscanned]:
        for key in sorted(self.objects):
            if not prefixes or key.startswith(tuple(prefixes)):
                yield self.describe(key)

    def fetch(self, obj: Object, accept: Callable[[bytes], object]) -> bytes:
        self.before_fetch(obj.key)
        self.fetched.append(obj.key)
        if obj.key in self.failing:
            raise Unscannable(self.failing[obj.key], "the fake was told to fail")
        if obj.key not in self.objects:
            raise Unscannable(Reason.VANISHED, "gone")
        data = self.objects[obj.key]
        accept(data[:4096])
        return data

    def remove(self, obj: Object, sha256: bytes) -> Removal:
        if obj.key in self.refusing:
            return Removal(PlanState.FAILED, "refused")
        if obj.key not in self.objects:
            return Removal(PlanState.GONE, "not there")
        if hashlib.sha256(self.objects[obj.key]).digest() != sha256:
            return Removal(PlanState.CHANGED, "another content")
        del self.objects[obj.key]
        self.removed.append(obj.key)
        return Removal(PlanState.DONE, "gone")

    def may_remove(self, sample: Sequence[Object]) -> Right:
        return Right(not self.refusing.intersection(obj.key for obj in sample), "the fake was told to refuse")

    def close(self) -> None:
        pass


class FakeDecoder:
    """Decodes `pic ...` texts, `pic part ...` in part; `crash`, `slow` and the like raise what a real decoder would."""

    version = "fake 1"

    def __init__(self) -> None:
        self.decoded: list[bytes] = []

    def sniff(self, head: bytes) -> MediaType:
        if not head.startswith((b"pic", b"bad")):
            raise Unscannable(Reason.NOT_MEDIA)
        return MediaType.PNG

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        if data.startswith(b"bad"):
            raise Unscannable(Reason(data.split()[1].decode()), "the fake was told to fail")
        self.decoded.append(data)
        frames = tuple(text_frame(i, part) for i, part in enumerate(data.split(b"|")))
        return Decoded(media_type, 100, 50, frames, "truncated: cut" if data.startswith(b"pic part ") else None)

    def close(self) -> None:
        pass


def text_frame(index: int, text: bytes) -> Frame:
    """Hide a text in a frame of one row."""
    padded = text.ljust(-(-len(text) // 3) * 3)
    return Frame(index, len(padded) // 3, 1, padded)


class FakeDetector:
    """Reads its signals from the frame's text. Counts the frames it was shown."""

    def __init__(
        self, name: str, signals: tuple[str, ...], *, cost: float = 1.0, after: tuple[str, ...] = (), max_batch: int = 4
    ) -> None:
        self.name = name
        self.version = f"{name} 1 sha256:00"
        self.signals = signals
        self.cost = cost
        self.after = after
        self.max_batch = max_batch
        self.seen: list[str] = []
        self.batches: list[int] = []
        self.with_boxes = 0
        self._lock = threading.Lock()

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        assert 1 <= len(batch) <= self.max_batch
        with self._lock:
            self.batches.append(len(batch))
            results = []
            for evidence in batch:
                words = bytes(evidence.frame.rgb).decode().split()
                if "poison" in words:
                    raise Unscannable(Reason.DETECTOR_FAILED, "poisoned")
                self.seen.append(" ".join(words))
                self.with_boxes += bool(evidence.boxes)
                values = dict(word.split("=") for word in words if "=" in word)
                found = {s: float(values.get(s.split(".")[-1], 0)) for s in self.signals}
                finding = Finding(self.name, max(found.values()), 0, 0, 1, 1, 1, signals=found)
                results.append(Scored(found, (Box(self.name, 1.0, 0, 0, 1, 1),), findings=(finding,)))
            return results


class FakeEmbedder(FakeDetector):
    """Also gives an embedding: the numbers that a frame's word `e=1,0,0` has, as they are."""

    embedding_model = "fake network fp32"

    def __init__(self, name: str, signals: tuple[str, ...], *, definitions: dict[str, str], cost: float = 9.0) -> None:
        super().__init__(name, signals, cost=cost)
        self.definitions = definitions

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        found = []
        for evidence in batch:
            words = bytes(evidence.frame.rgb).decode().split()
            numbers = next((w[2:].split(",") for w in words if w.startswith("e=")), ["1"])
            data = struct.pack(f"<{len(numbers)}e", *map(float, numbers))
            found.append(Scored(dict.fromkeys(self.signals, float(numbers[0])), embedding=data))
        with self._lock:
            self.seen += ["frame"] * len(batch)
        return found


def red_circles(cascade: bool = False) -> Policy:
    """The stand-in policy: condemns pictures in which red and circle hold together, and neither alone."""
    from fedi_safety.core.policy import ClearingBound

    return Policy(
        "red-circles",
        {"red": ("a.red",), "circle": ("b.circle", "c.round")},
        (
            Rule("red circle", {"red": 0.5, "circle": 0.5}, Verdict.BLOCK),
            Rule("very red", {"red": 0.9}, None, "red"),
        ),
        {"circle": (ClearingBound(0.1, ("b.circle",)),)} if cascade else {},
    )


def detectors() -> list[FakeDetector]:
    """Three detectors: `a` is cheap, `b` dearer, `c` needs what `b` found."""
    return [
        FakeDetector("c", ("c.round",), cost=0.5, after=("b",)),
        FakeDetector("b", ("b.circle",), cost=5),
        FakeDetector("a", ("a.red",), cost=1),
    ]
