"""A sweep as a discrete model: shards are listed, looked up, fetched, decoded, judged, recorded, acted on.

Every worker process is a pipeline as `core.pipeline` has it, with an interpreter that one thread uses at a time, on a
machine whose processors all share; the store, the network, a GPU and the ledger's server are shared as well. What goes
through it are lots of objects: with `LOTS` of them a sweep takes the same time to a percent, however many objects are
in one. Lots differ in what they take, always in the same order, so that stages do not run in step. It draws no chance
and measures nothing; what things cost is told to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from bench.scale_events import Loop, Pool, Process, Queue

LOTS = 4000
_LOOKUP_OBJECTS = 512  # of one look-up, and of one transaction at most (`core.pipeline`, `core.enforcement`)
_RECORD_S = 1.0  # the longest that a result waits for its record
_FULL = 0.85  # of the time
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class Costs:
    """What one object takes, in seconds of one processor of the machine that it was measured on."""

    start: float  # once: until the first object is listed, and from the last one to the end
    list: float
    look_up: float
    known: float  # of what the ledger knows already: counted, and nothing else
    fetch: float  # reading, hashing, and whether the content is known
    hand_over: float  # to the decoder's process and back
    decode: float  # in that process
    judge: float  # asking detectors, policy, queues
    score: float  # the networks, outside of the interpreter
    record: float
    act: float  # planning, starting and closing it, in the ledger
    commit: float  # waiting for the disk, a transaction
    start_known: float | None = None  # once, where nothing is new, and so no decoder is begun; None: as `start`
    turn: float = 0.0  # a decoder's thread until it has the interpreter again, beyond an even share of it

    def scaled(self, speed: float) -> Costs:
        """Return them on a machine of which a processor has this speed; waiting for a disk stays as it is."""
        taken = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "commit"}
        return replace(self, **{name: cost / speed for name, cost in taken.items() if cost is not None})


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that sweeps, of which there may be several. `processes` are workers on it, each with `jobs`."""

    cores: float
    processes: int = 1
    jobs: int = 1
    speed: float = 1.0
    score_gpu_s: float | None = None  # a picture, on its GPU
    bytes_a_s: float = 1e9
    count: int = 1


@dataclass(frozen=True, slots=True)
class Store:
    """How long it takes to answer, and how many objects a process fetches at once."""

    page: int = 1000
    page_s: float = 0.0
    get_s: float = 0.0
    remove_s: float = 0.0
    fetchers: int = 2


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where verdicts are recorded. With a server its processors are `cores`; None is a file of the process's own."""

    cores: float | None = None
    look_up_s: float = 0.0  # an object, on the server
    record_s: float = 0.0  # an object, on the server
    serial: bool = False  # one process writes at a time, from the beginning of its transaction to the end
    trip_s: float = 0.0  # a statement's way there and back
    statements: float = 20.0  # of a transaction that records
    object_bytes: float = 400.0
    memory_bytes: float = 1e15  # what of its indexes is kept in memory
    index_bytes: float = 120.0  # an object, of those indexes that are read at a random place
    read_s: float = 1e-4  # such a read, where it is not in memory
    known_objects: float = 0.0  # what it holds before


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is there. `copies` have the bytes of another object; `condemned` is of what is new."""

    objects: int
    new: float = 1.0
    copies: float = 0.0
    condemned: float = 0.0
    bytes: float = 0.0
    shards: int = 1
    acts: bool = False


@dataclass(frozen=True, slots=True)
class Swept:
    """What came of it. `in_use` and `occupied`: shares of the time, of what is shared and of each stage's threads."""

    seconds: float
    counts: dict[str, float]
    in_use: dict[str, float]
    occupied: dict[str, float]
    cpu_s: float
    ledger_bytes: float

    @property
    def bend(self) -> str:
        """Return what holds it up: what is in use nearly all of the time, or the stage whose threads are.

        The first such, for who waits for it has taken what comes after it: the ledger's lock is held meanwhile.
        """
        for name, used in self.in_use.items():
            if used >= _FULL:
                return name
        return max(self.occupied, key=lambda name: self.occupied[name])


class _Shared:
    """What all processes use."""

    def __init__(self, loop: Loop, ledger: Ledger, machine: Machine) -> None:
        self.machines = [Pool(loop, machine.cores, machine.processes) for _ in range(machine.count)]
        self.networks = [Pool(loop, 1) for _ in range(machine.count)]
        self.gpus = [Pool(loop, 1) for _ in range(machine.count)]
        self.ledger = Pool(loop, ledger.cores or 1)
        self.lock = Queue(loop, 1, 1)
        self.counts: dict[str, float] = defaultdict(float)
        self.occupied: dict[str, float] = defaultdict(float)


def sweep(costs: Costs, machine: Machine, store: Store, ledger: Ledger, work: Sweep, lots: int = LOTS) -> Swept:
    """Let a sweep happen."""
    loop = Loop()
    shared = _Shared(loop, ledger, machine)
    shards = max(1, work.shards)
    lots_each = max(1, round(min(lots, work.objects) / shards))
    lot = work.objects / shards / lots_each
    to_do = Queue(loop, shards, 1)

    def cut() -> Process:
        yield shared.lock.put("free")
        for _ in range(shards):
            yield to_do.put(lots_each)
        to_do.finish()

    loop.begin(cut())
    for number in range(machine.count):
        for process in range(machine.processes):
            place = _Place(loop, shared, number, process, machine, store, ledger)
            _Worker(place, costs.scaled(machine.speed), work).begin(to_do, lot)
    seconds = loop.run()
    return _told(seconds, shared, machine, ledger, max(store.fetchers, machine.jobs))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a process runs, and what it speaks to."""

    loop: Loop
    shared: _Shared
    number: int
    process: int
    machine: Machine
    store: Store
    ledger: Ledger


class _Worker:
    """One process: a pipeline of threads with one interpreter."""

    def __init__(self, place: _Place, costs: Costs, work: Sweep) -> None:
        loop, shared, machine, store = place.loop, place.shared, place.machine, place.store
        self._loop, self._shared, self._machine, self._store, self._ledger = loop, shared, machine, store, place.ledger
        self._costs, self._work = costs, work
        self._cpu, self._lane = shared.machines[place.number], place.process + 1
        self._network, self._gpu = shared.networks[place.number], shared.gpus[place.number]
        jobs, fetchers = machine.jobs, max(store.fetchers, machine.jobs)
        self._to_fetch = Queue(loop, 8 * fetchers, 1)
        self._to_decode = Queue(loop, 2 * jobs, fetchers)
        self._to_score = Queue(loop, 24, jobs)
        self._out = Queue(loop, 64, 1 + fetchers + 2 * jobs)
        self._fetchers = fetchers
        self._turns = place.process + place.number

    def begin(self, shards: Queue, lot: float) -> None:
        """Begin all its threads."""
        self._loop.begin(self._list(shards, lot))
        for stage, threads in (
            (self._fetch, self._fetchers),
            (self._decode, self._machine.jobs),
            (self._score, self._machine.jobs),
            (self._record, 1),
        ):
            for _ in range(threads):
                self._loop.begin(stage())

    # --- what threads use

    def _thread(self, work: float) -> Any:
        return self._cpu.use(work, self._lane)

    def _uneven(self) -> float:
        """Return by how much the next lot takes more or less than the mean: from a half to one and a half."""
        self._turns += 1
        return 0.5 + self._turns * _GOLDEN % 1.0

    @contextmanager
    def _within(self, stage: str) -> Iterator[None]:
        began = self._loop.now
        yield
        self._shared.occupied[stage] += self._loop.now - began

    def _server(self, objects: float, server_s: float, statements: float) -> Process:
        """Let the ledger's server work for some objects, where there is one."""
        if self._ledger.cores is not None:
            yield self._shared.ledger.use(server_s * objects)
            yield self._loop.wait(self._ledger.trip_s * statements)

    def _read_wait(self, objects: float) -> float:
        """Return how long the disk is waited for where indexes are larger than memory."""
        rows = self._ledger.known_objects + self._shared.counts["recorded"]
        size = rows * self._ledger.index_bytes
        missing = max(0.0, 1 - self._ledger.memory_bytes / size) if size else 0.0
        return objects * missing * self._ledger.read_s

    # --- stages

    def _list(self, shards: Queue, lot: float) -> Process:
        costs, counts = self._costs, self._shared.counts
        known_start = costs.start if costs.start_known is None else costs.start_known
        yield self._thread(costs.start if self._work.new > 0 else known_start)
        while taken := (yield shards.take()):
            for _ in range(taken[0]):
                with self._within("list"):
                    counts["pages"] += lot / self._store.page
                    yield self._loop.wait(self._store.page_s * lot / self._store.page)
                    yield self._thread(costs.list * lot)
                with self._within("look up"):
                    yield self._thread(costs.look_up * lot)
                    yield from self._server(lot, self._ledger.look_up_s, lot / _LOOKUP_OBJECTS)
                counts["listed"] += lot
                if self._work.new < 1:
                    yield self._out.put((0.0, lot * (1 - self._work.new)))
                if self._work.new > 0:
                    yield self._to_fetch.put(lot * self._work.new)
        self._to_fetch.finish()
        self._out.finish()

    def _fetch(self) -> Process:
        counts, work = self._shared.counts, self._work
        while taken := (yield self._to_fetch.take()):
            (lot,) = taken
            with self._within("fetch"):
                yield self._loop.wait(self._store.get_s * lot)
                yield self._network.use(work.bytes * lot / self._machine.bytes_a_s)
                yield self._thread(self._costs.fetch * lot * self._uneven())
                yield from self._server(lot, self._ledger.look_up_s, lot)
                yield self._loop.wait(self._read_wait(lot))
            counts["fetched"] += lot
            counts["bytes"] += lot * work.bytes
            if work.copies:
                yield self._out.put((lot * work.copies, 0.0))
            if work.copies < 1:
                yield self._to_decode.put(lot * (1 - work.copies))
        self._to_decode.finish()
        self._out.finish()

    def _decode(self) -> Process:
        while taken := (yield self._to_decode.take()):
            (lot,) = taken
            with self._within("decode"):
                yield self._thread(self._costs.hand_over * lot)
                yield self._loop.wait(self._costs.turn * lot)
                yield self._cpu.use(self._costs.decode * lot * self._uneven())
            self._shared.counts["decoded"] += lot
            yield self._to_score.put(lot)
        self._to_score.finish()
        self._out.finish()

    def _score(self) -> Process:
        gpu_s = self._machine.score_gpu_s
        while taken := (yield self._to_score.take()):
            (lot,) = taken
            with self._within("score"):
                yield self._thread(self._costs.judge * lot)
                if gpu_s is None:
                    yield self._cpu.use(self._costs.score * lot * self._uneven())
                else:
                    yield self._gpu.use(gpu_s * lot * self._uneven())
            yield self._out.put((lot, 0.0))
        self._out.finish()

    def _record(self) -> Process:
        since = self._loop.now
        while taken := (yield self._out.take()):
            for fresh, known in taken:
                began = self._loop.now
                with self._within("record"):
                    yield self._thread(self._costs.known * known)
                    if fresh:
                        yield from self._recorded(fresh, began - since)
                        since = self._loop.now
                self._shared.counts["known"] += known

    def _recorded(self, fresh: float, passed_s: float) -> Process:
        costs, ledger = self._costs, self._ledger
        commits = max(fresh / _LOOKUP_OBJECTS, min(fresh, passed_s / _RECORD_S))
        if ledger.serial:
            yield self._shared.lock.take()
        with self._within("write"):
            yield self._thread(costs.record * fresh)
            yield from self._server(fresh, ledger.record_s, ledger.statements * commits)
            yield self._loop.wait(costs.commit * commits + self._read_wait(fresh))
        if ledger.serial:
            yield self._shared.lock.put("free")
        self._shared.counts["recorded"] += fresh
        self._shared.counts["commits"] += commits
        condemned = fresh * self._work.condemned
        if condemned and self._work.acts:
            yield self._thread(costs.act * condemned)
            yield self._loop.wait(self._store.remove_s * condemned)
            self._shared.counts["acts"] += condemned


def _told(seconds: float, shared: _Shared, machine: Machine, ledger: Ledger, fetchers: int) -> Swept:
    """Return what came of a sweep that is over."""
    processes = machine.count * machine.processes
    cpu_s = sum(sum(pool.worked) for pool in shared.machines)
    in_use = {
        "processors": cpu_s / (machine.cores * machine.count),
        "interpreter": sum(sum(pool.worked[1:]) for pool in shared.machines) / processes,
        "network": sum(sum(pool.worked) for pool in shared.networks) / machine.count,
        "GPU": sum(sum(pool.worked) for pool in shared.gpus) / machine.count,
        "ledger's server": sum(shared.ledger.worked) / (ledger.cores or 1),
        "ledger's lock": shared.occupied.pop("write", 0.0) if ledger.serial else 0.0,
    }
    taken = dict(shared.occupied)
    taken["list"] = taken.get("list", 0.0) + taken.get("look up", 0.0)
    threads = {"list": 1, "fetch": fetchers, "decode": machine.jobs, "score": machine.jobs, "record": 1}
    stages = {name: taken.get(name, 0.0) / processes / n for name, n in threads.items()}
    rows = ledger.known_objects + shared.counts["recorded"]
    return Swept(
        seconds,
        dict(shared.counts),
        {name: round(used / seconds, 4) for name, used in in_use.items()},
        {name: round(used / seconds, 4) for name, used in stages.items()},
        cpu_s,
        rows * ledger.object_bytes,
    )
