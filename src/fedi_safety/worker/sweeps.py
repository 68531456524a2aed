"""Passes over stores beside the judging for gates: a worker's engine joins them while no gate asks.

They are the daemon's own cycles, with its right to runs, its marks and its actions. What is scarce, decoding and
scoring, waits as long as an upload is in hand; what has begun is finished first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from fedi_safety.app.engine import Engine
from fedi_safety.core.cascade import Cascade
from fedi_safety.core.enums import Detail, MediaType
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Decoder
from fedi_safety.core.types import Decoded
from fedi_safety.watch.cycles import Shared, StoreWatch
from fedi_safety.watch.daemon import Watcher

_LOOK_S = 0.02


class Turn:
    """Lets a pass go on while nobody else is busy."""

    def __init__(self, busy: Callable[[], bool]) -> None:
        """Ask `busy` in whatever thread waits."""
        self._busy = busy
        self._over = threading.Event()

    def wait(self) -> None:
        """Return once there is time, or when it is over."""
        while self._busy() and not self._over.wait(_LOOK_S):
            pass

    def end(self) -> None:
        """Let everybody go on, to their ends."""
        self._over.set()


class _PatientDecoder:
    """A decoder that begins nothing while others are busy."""

    def __init__(self, decoder: Decoder, turn: Turn) -> None:
        self._decoder = decoder
        self._turn = turn

    @property
    def version(self) -> str:
        return self._decoder.version

    def sniff(self, head: bytes) -> MediaType:
        return self._decoder.sniff(head)

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        self._turn.wait()
        return self._decoder.decode(data, media_type, detail)

    def close(self) -> None:
        self._decoder.close()


class _PatientCascade(Cascade):
    """A cascade that begins no batch while others are busy."""

    turn: Turn

    def score(self, *arguments: Any, **named: Any) -> Any:
        """See `Cascade.score`."""
        self.turn.wait()
        return super().score(*arguments, **named)


class PatientEngine(Engine):
    """An engine whose networks others use, who come first; the decoder is its own."""

    __slots__ = ("turn",)

    def __init__(self, engine: Engine, decoder: Decoder, turn: Turn) -> None:
        """Share the networks of `engine`, and decode by `decoder`, which is closed with this one alone."""
        super().__init__(
            _PatientDecoder(decoder, turn), engine.detectors, engine.device, engine.jobs, engine.content_detectors,
            engine.recognizer, engine.describer,
        )  # fmt: skip
        self.turn = turn

    def cascade(self, in_force: Policy, *, enabled: bool = True) -> Cascade:
        """See `Engine.cascade`."""
        made = _PatientCascade(
            self.detectors, in_force, enabled=enabled, content_detectors=self.content_detectors,
            recognizer=self.recognizer,
        )  # fmt: skip
        made.turn = self.turn
        return made

    def close(self) -> None:
        """End the decoder's processes; the rest is the other engine's."""
        self.decoder.close()


class Sweeps:
    """The threads of all stores that a worker goes through, from `start` to `stop`."""

    def __init__(self, watches: Sequence[StoreWatch], shared: Shared, turn: Turn) -> None:
        """Prepare; `shared.engine` waits for this turn."""
        self._shared = shared
        self._turn = turn
        self._watchers = [Watcher(watch, shared) for watch in watches]

    def start(self) -> None:
        """Begin."""
        for watcher in self._watchers:
            watcher.start()

    def take_policy(self, policy: Policy) -> None:
        """Judge by this policy from the next cycle on."""
        if policy.id != self._shared.policy.id:
            self._shared.policy = policy
            for watcher in self._watchers:
                watcher.touch(None)

    def stop(self) -> None:
        """Finish the objects in hand, and end; what is not done is the next cycle's, here or elsewhere."""
        self._shared.stop.set()
        self._turn.end()
        for watcher in self._watchers:
            while watcher.is_alive():
                watcher.wake()
                watcher.watch.halt()
                watcher.join(0.5)
            watcher.watch.close()
