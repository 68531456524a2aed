"""`./dev fuzz`: spoiled files through the whole media layer, and what must hold whatever they are.

Every input gets frames or a typed reason, in time; the parent neither fails nor grows. A child that ends by a signal is
counted and named with its input; one that ends by an exception of its own is a fault of this program and fails the run.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from fedi_safety.core.enums import Detail, MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import Decoded
from fedi_safety.media import Caps, SandboxDecoder, protocol
from fuzz.corpus import corpus
from fuzz.mutate import Input, Mutator

CAPS = Caps(max_pixels=4_000_000, max_seconds=2.0, max_memory_bytes=768 << 20, frames=6, more_frames=12)
SLACK_S = 3.0  # beyond the cap: starting a child anew on a busy machine
# With an arena for each thread the allocator keeps up to a look's frames in every one of them, by steps of some 20 MiB.
# `./dev fuzz` starts this with a single one, and a leak shows.
LEAK_BYTES = (16 if os.environ.get("MALLOC_ARENA_MAX") == "1" else 96) << 20
WARM = 300  # inputs before memory and descriptors are counted for the first time
_REASONS = frozenset(Reason) - {reason for reason in Reason if not reason.of_decoder}


@dataclass(slots=True)
class Figures:
    """What came of a run."""

    inputs: int = 0
    seconds: float = 0.0
    longest_s: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    crashes: dict[str, list[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    started: Held | None = None
    ended: Held | None = None

    def text(self) -> str:
        """Return the figures for people."""
        lines = [f"{self.inputs} inputs in {self.seconds:.0f} s, {self.inputs / max(self.seconds, 1e-9):.0f} a second"]
        lines += [f"  {name:<18} {count}" for name, count in self.outcomes.most_common()]
        lines.append("as: " + ", ".join(f"{name} {count}" for name, count in self.kinds.most_common()))
        lines.append(f"longest {self.longest_s:.2f} s, cap {CAPS.max_seconds:g} s")
        if self.started is not None and self.ended is not None:
            lines.append(f"parent: {self.started.text} after {WARM} inputs, {self.ended.text} at the end")
        for what, which in sorted(self.crashes.items()):
            lines.append(f"child {what}: {len(which)} times; {', '.join(which[:5])}")
        lines += [f"FAILED: {failure}" for failure in self.failures]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Held:
    """What this process holds."""

    anonymous: int  # bytes of memory of its own
    descriptors: int
    children: int

    @classmethod
    def now(cls) -> Held:
        """Count; what the allocator keeps for later is given back before."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        status = Path("/proc/self/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
        mine = psutil.Process()
        return cls(int(kilobytes) << 10, mine.num_fds(), len(mine.children(recursive=True)))

    @property
    def text(self) -> str:
        """Name it."""
        return f"{self.anonymous >> 20} MiB, {self.descriptors} descriptors, {self.children} children"


def probe(data: bytes, random: Random, decoder: SandboxDecoder) -> tuple[str, str]:
    """Decode as a scan does; return what came of it and as what it was taken. Raises where a promise is broken."""
    try:
        kind = decoder.sniff(data[:4096])
    except Unscannable as refusal:
        assert refusal.reason in (Reason.EMPTY, Reason.UNSUPPORTED, Reason.NOT_MEDIA), refusal.reason
        if random.random() < 0.9:
            return refusal.reason.value, "nothing"
        kind = random.choice(protocol.KINDS)
    if random.random() < 0.02:  # nobody does so, but the decoder promises to bear it
        kind = random.choice(protocol.KINDS)
    try:
        decoded = decoder.decode(data, kind, Detail.FINE if random.random() < 0.1 else Detail.COARSE)
    except Unscannable as refusal:
        assert refusal.reason in _REASONS, refusal.reason
        if refusal.reason is Reason.DECODER_CRASHED:
            raise Crashed(refusal.detail, kind) from None
        return refusal.reason.value, kind.value
    return check(decoded, kind), kind.value


def check(decoded: Decoded, kind: MediaType) -> str:
    """Whether an answer keeps the port's promises; return how it is counted."""
    assert decoded.media_type is kind
    assert decoded.frames
    assert 1 <= decoded.width * decoded.height <= CAPS.max_pixels
    for frame in decoded.frames:
        assert len(frame.rgb) == frame.width * frame.height * 3
        assert frame.width * frame.height <= CAPS.max_pixels
    indices = [frame.index for frame in decoded.frames]
    assert indices == sorted(set(indices)), f"indices {indices}"
    if decoded.partly is None:
        return "frames"
    reason = Reason(decoded.partly.split(":")[0])
    assert reason in _REASONS, reason
    if reason is Reason.DECODER_CRASHED:
        raise Crashed(decoded.partly, kind)
    return f"partly, {reason.value}"


class Crashed(Exception):
    """A child ended. That is borne, but somebody should know."""

    def __init__(self, detail: str, kind: MediaType) -> None:
        self.kind = kind
        super().__init__(detail)


class Fuzzing:
    """One run: `jobs` threads take numbers in turn until there are enough, or the time is up."""

    def __init__(
        self, seed: int, jobs: int, *, inputs: int | None, seconds: float | None, mutator: Mutator | None = None
    ) -> None:
        """Make the corpus; start nothing yet."""
        self.figures = Figures()
        self._seed, self._jobs, self._inputs, self._seconds = seed, jobs, inputs, seconds
        self._mutator = mutator or Mutator(corpus())
        self._lock = threading.Lock()
        self._next = 0
        self._until = float("inf")

    def run(self, tell: Callable[[str], None] = lambda _: None) -> Figures:
        """Run, and return the figures; `failures` is empty if all that was promised held."""
        start = time.monotonic()
        self._until = start + self._seconds if self._seconds is not None else self._until
        before = Held.now()
        with SandboxDecoder(CAPS, jobs=self._jobs) as decoder:
            self._rounds(decoder, WARM)
            self.figures.started = Held.now()
            while self._going:
                self._rounds(decoder, self._next + 5000)
                tell(f"{self.figures.inputs} inputs, {time.monotonic() - start:.0f} s, {Held.now().text}")
            self.figures.ended = Held.now()
        self.figures.seconds = time.monotonic() - start
        self._compare(before, Held.now())
        return self.figures

    @property
    def _going(self) -> bool:
        enough = self._inputs is not None and self._next >= self._inputs
        return not enough and time.monotonic() < self._until and len(self.figures.failures) < 20

    def _rounds(self, decoder: SandboxDecoder, up_to: int) -> None:
        """Let all threads work up to an input, and wait for them."""
        threads = [threading.Thread(target=self._work, args=(decoder, up_to)) for _ in range(self._jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, decoder: SandboxDecoder, up_to: int) -> None:
        while True:
            with self._lock:
                if self._next >= up_to or not self._going:
                    return
                number = self._next
                self._next += 1
            self._one(number, decoder)

    def _one(self, number: int, decoder: SandboxDecoder) -> None:
        try:
            spoiled = self._mutator.input(self._seed, number)
        except Exception:  # noqa: BLE001 - a thread must not end unseen
            with self._lock:
                self.figures.failures.append(f"no input {number} of seed {self._seed}: {traceback.format_exc()}")
            return
        where = f"--seed {self._seed} --only {number} ({spoiled.origin}: {' '.join(spoiled.steps)})"
        crash = failure = ""
        start = time.monotonic()
        try:
            outcome, kind = probe(spoiled.data, dice(self._seed, number), decoder)
        except Crashed as crashed:
            crash, outcome, kind = str(crashed), Reason.DECODER_CRASHED.value, crashed.kind.value
            if "exit code" in crash or "answer is" in crash:
                failure = f"{crash}: {where}"
        except Exception as error:  # noqa: BLE001 - any at all is what is looked for
            failure, outcome, kind = f"{type(error).__name__} {error}: {where}", "failed", "nothing"
        took = time.monotonic() - start
        if took > CAPS.max_seconds + SLACK_S:
            failure = failure or f"took {took:.1f} s: {where}"
        with self._lock:
            figures = self.figures
            figures.inputs += 1
            figures.longest_s = max(figures.longest_s, took)
            figures.outcomes[outcome] += 1
            figures.kinds[kind] += 1
            if crash:
                figures.crashes.setdefault(f"{kind}: {crash}", []).append(where)
            if failure:
                figures.failures.append(failure)

    def _compare(self, before: Held, after: Held) -> None:
        first, last, failures = self.figures.started, self.figures.ended, self.figures.failures
        assert first is not None and last is not None
        if last.anonymous > first.anonymous + LEAK_BYTES:
            failures.append(f"memory grew: {first.text}, then {last.text}")
        if last.descriptors > first.descriptors + 2 * self._jobs or after.descriptors > before.descriptors:
            failures.append(f"descriptors grew: {before.text}, {first.text}, {last.text}, {after.text}")
        if last.children > before.children + self._jobs or after.children > before.children:
            failures.append(f"children left: {before.text}, {last.text}, {after.text}")


def dice(seed: int, number: int) -> Random:
    """Return what decides how an input is looked at."""
    return Random(f"look {seed} {number}")


def only(seed: int, number: int, here: bool, save: Path | None) -> int:
    """Repeat one input, in a child, or in this process for the sake of a traceback."""
    spoiled: Input = Mutator(corpus()).input(seed, number)
    print(f"{spoiled.origin}: {' '.join(spoiled.steps)}, {len(spoiled.data)} bytes, {spoiled.data[:16]!r}")
    if save is not None:
        save.write_bytes(spoiled.data)
    if here:
        from fedi_safety.media.sniff import sniff
        from support.corpus.moving import shown

        frames, went = shown(
            spoiled.data, sniff(spoiled.data[:4096]), frames=CAPS.frames, max_pixels=CAPS.max_pixels, seconds=2
        )
        print(f"{len(frames)} frames, {went}")
        return 0
    with SandboxDecoder(CAPS, jobs=1) as decoder:
        try:
            print(*probe(spoiled.data, dice(seed, number), decoder))
        except (Crashed, AssertionError):
            traceback.print_exc()
            return 1
    return 0


def main(arguments: list[str]) -> int:
    """Run from the command line; 1 if something that was promised did not hold."""
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, help="how long; 60 where --inputs is not given either")
    parser.add_argument("--inputs", type=int, help="how many")
    parser.add_argument("--seed", type=int, help="the run to make; another one each time if not given")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="how many decoders at once")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="repeat this input alone")
    parser.add_argument("--here", action="store_true", help="with --only: in this process, unprotected")
    parser.add_argument("--save", type=Path, metavar="FILE", help="with --only: keep the input")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else Random().randrange(1 << 32)
    if options.only is not None:
        return only(seed, options.only, options.here, options.save)
    seconds = 60.0 if options.seconds is None and options.inputs is None else options.seconds
    print(f"seed {seed}, {options.jobs} decoders", flush=True)
    run = Fuzzing(seed, options.jobs, inputs=options.inputs, seconds=seconds)
    figures = run.run(lambda line: print(line, flush=True))
    print(figures.text())
    return 1 if figures.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
