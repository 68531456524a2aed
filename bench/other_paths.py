"""How long other paths take beside uploads: in turns without them, with them through the gate, and past the gate.

Run by `bench/proxy.py` as its part `beside`. In one set-up, and in each round of it in another order:

- `quiet`: nobody uploads;
- `uploads`: ten uploads a second go through the gate, as other paths do;
- `past`: the same uploads go to the server itself, which a server without a gate has as well.

In each of them other paths are asked for through the gate, and of the server directly, by 50 busy connections each way
among 200 idle ones. What counts is by how much the 99th of 100 of one half differs from that of the quiet half of its
round: the median of the rounds, with the interval of 95 % of it.

Who asks does nothing else, and takes next to nothing: one loop over epoll. An answer is there when the kernel has its
first byte (SO_TIMESTAMPNS): how long the asking process then waits for a processor is no part of it, and is told beside
it. Who uploads is on other machines in life, so it has a processor that nobody else wants. The server is nginx, and
shares the processors with the judging, as servers do; with `--server-first` it does not wait for one, so that what is
left is the gate's own.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import psutil
from bench.measure import environment, interval
from bench.proxied import ANSWER, form, get, picture, proxied
from bench.uploads import arrivals, unlike

from fedi_safety.service.priority import stand_aside

HALVES = ("quiet", "uploads", "past")
WAYS = ("direct", "through")
IDLE, BUSY, UPLOADS_S = 200, 50, 10.0
MOST_MORE = 0.1
_PAUSE_S = 0.5  # between two requests of a busy connection: a hundred a second in all, each way
_PICTURE_BYTES = 250_000
_STAMPED = getattr(socket, "SO_TIMESTAMPNS", 35)
_STAMP = struct.Struct("qq")
_SEND_BYTES = 1 << 20
_LONG_S = 60.0


def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_REALTIME)  # the clock of the kernel's stamps


def _wrong(what: str) -> NoReturn:
    raise SystemExit(f"not what was to be measured: {what}")


# --- who asks ---------------------------------------------------------------------------------------------------------
class Asking:
    """One connection that is kept, and the request that it has under way."""

    def __init__(self, port: int) -> None:
        """Connect."""
        self.socket = socket.create_connection(("127.0.0.1", port), _LONG_S)
        self.socket.setsockopt(socket.SOL_SOCKET, _STAMPED, 1)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._came = b""
        self._sent = self._there = 0

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._came, self._there = b"", 0
        self._sent = _now_ns()
        self.socket.sendall(request)

    def receive(self) -> tuple[float, float] | None:
        """Take what came; return the seconds until its first byte was there, and until this process had it.

        None until the answer is whole.
        """
        data, more, _, _ = self.socket.recvmsg(1 << 16, 64)
        if not self._there:
            self._had = _now_ns()
            self._there = next((_stamp(value) for _, kind, value in more if kind == _STAMPED), self._had)
        self._came += data
        if not data or not self._came.startswith(b"HTTP/1.1 200"[: len(self._came)]):
            _wrong(repr(self._came[:80]))
        if not self._came.endswith(b"\r\n\r\n" + ANSWER):
            return None
        return max(0, self._there - self._sent) / 1e9, max(0, self._had - self._sent) / 1e9


def _stamp(value: bytes) -> int:
    seconds, ns = _STAMP.unpack(value[: _STAMP.size])
    return int(seconds * 1_000_000_000 + ns)


def ask(busy: Sequence[Sequence[Asking]], seconds: float, seed: int) -> list[list[tuple[float, float]]]:
    """Ask each way in turns for a while; return both figures of each request, by way."""
    draw = random.Random(seed)
    gap = _PAUSE_S / BUSY / len(busy)
    request, began = get(), time.monotonic()
    free = [deque(connections) for connections in busy]
    found: list[list[tuple[float, float]]] = [[] for _ in busy]
    under_way: dict[int, tuple[int, Asking]] = {}
    poll = select.epoll()
    for way, connections in enumerate(busy):
        for one in connections:
            poll.register(one.socket, select.EPOLLIN)
            under_way[one.socket.fileno()] = way, one
    asked, count = 0, int(seconds / gap)
    due = draw.random() * gap
    while asked < count or any(len(one) < BUSY for one in free):
        left = began + due - time.monotonic() if asked < count else 1.0
        if left <= 0:
            way = asked % len(busy)
            if not free[way]:
                _wrong("all connections wait for their answers")
            free[way].popleft().send(request)
            asked += 1
            due = (asked + draw.random()) * gap
            left = 0.0
        for number, _ in poll.poll(left):
            way, one = under_way[number]
            took = one.receive()
            if took is not None:
                found[way].append(took)
                free[way].append(one)
    poll.close()
    return found


def serve_asking(ports: Sequence[int]) -> None:
    """Ask for as long as each line of standard input says, and write what was found as a line."""
    idle = [Asking(ports[-1]) for _ in range(IDLE)]
    busy = [[Asking(port) for _ in range(BUSY)] for port in ports]
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        wanted = json.loads(line)
        for one in idle:  # one that is idle for two minutes is closed
            one.send(get())
            while one.receive() is None:
                pass
        found = ask(busy, wanted["seconds"], wanted["seed"])
        print(json.dumps(dict(zip(WAYS, found, strict=True))), flush=True)


# --- who uploads ------------------------------------------------------------------------------------------------------
class Upload:
    """An upload on a connection of its own."""

    def __init__(self, port: int, body: bytes) -> None:
        """Send it."""
        self.began = time.monotonic()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)  # it goes to the kernel at once
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self._left = memoryview(body)
        self._came = b""
        self._send()

    def _send(self) -> None:
        with suppress(BlockingIOError):
            while self._left:
                self._left = self._left[self.socket.send(self._left) :]

    def go_on(self) -> float | None:
        """Send more, and take what came; return the seconds that it took when the answer is there."""
        self._send()
        with suppress(BlockingIOError):
            while data := self.socket.recv(1 << 16):
                self._came += data
        if not self._came.startswith(b"HTTP/1.1 200"[: len(self._came)]):
            _wrong(repr(self._came[:80]))
        return time.monotonic() - self.began if self._came.endswith(ANSWER) else None

    @property
    def events(self) -> int:
        """What is waited for."""
        return select.EPOLLIN | select.EPOLLOUT if self._left else select.EPOLLIN


def upload(port: int, bodies: Sequence[bytes], moments: Sequence[float]) -> list[float]:
    """Send each at its moment; return how long they took."""
    began, took = time.monotonic(), []
    coming: deque[tuple[float, bytes]] = deque(zip(moments, bodies, strict=True))
    under_way: dict[int, Upload] = {}
    poll = select.epoll()
    while coming or under_way:
        left = began + coming[0][0] - time.monotonic() if coming else _LONG_S
        if left <= 0:
            one = Upload(port, coming.popleft()[1])
            under_way[one.socket.fileno()] = one
            poll.register(one.socket, one.events)
            continue
        for number, _ in poll.poll(left):
            one = under_way[number]
            seconds = one.go_on()
            if seconds is None:
                poll.modify(number, one.events)
                continue
            took.append(seconds)
            poll.unregister(number)
            one.socket.close()
            del under_way[number]
    poll.close()
    return took


def serve_uploads() -> None:
    """Upload what each line of standard input says: a line when all is ready, and another one with what it took."""
    data = picture(_PICTURE_BYTES)
    stand_aside()
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        wanted = json.loads(line)
        moments = list(arrivals(UPLOADS_S, wanted["seconds"], seed=wanted["seed"]))
        bodies = [form(unlike(data, 0 if wanted["known"] else wanted["first"] + n)) for n in range(len(moments))]
        print("ready", flush=True)
        print(json.dumps(upload(wanted["port"], bodies, moments)), flush=True)


# --- the machine ------------------------------------------------------------------------------------------------------
def used() -> dict[str, float]:
    """Return what the processors were used for since the machine's start, and how long who answers waited for one."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    ticks = dict(zip(names, map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]), strict=True))
    found = {"all": float(sum(ticks.values())), "steal": float(ticks["steal"])}
    found["idle"] = float(ticks["idle"] + ticks["iowait"])
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, OSError):
            command = " ".join(process.cmdline())
            name = next((n for n in ("passing_process", "nginx: worker", "--ask") if n in command), None)
            if name is not None:
                waited = int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1])
                found[name] = found.get(name, 0.0) + waited / 1e9
    return found


def between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return shares of all processors, and seconds that were waited."""
    more = {name: after[name] - before.get(name, 0.0) for name in after}
    total = more.pop("all") or 1.0
    shares = {"used": 1 - (more.pop("idle") + more["steal"]) / total, "steal": more.pop("steal") / total}
    return {name: round(value, 4) for name, value in shares.items()} | {
        f"waited_s {name.removeprefix('--').removeprefix('nginx: ')}": round(value, 4) for name, value in more.items()
    }


# --- figures ----------------------------------------------------------------------------------------------------------
def ms(times: Sequence[float], percent: int) -> float:
    """Return a percentile of seconds, in milliseconds."""
    return round(1000 * statistics.quantiles(times, n=100, method="inclusive")[percent - 1], 3)


def moved(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return by what share the 99th of 100, and the middle, of each half differ from those of the half before it."""
    found: dict[str, Any] = {}
    for name, percent in (("p50", 50), ("p99", 99)):
        shares = [ms(two, percent) / ms(one, percent) - 1 for one, two in zip(before, after, strict=True)]
        low, high = interval(shares)
        found[name] = {
            "before_ms": ms([t for half in before for t in half], percent),
            "after_ms": ms([t for half in after for t in half], percent),
            "moved": round(statistics.median(shares), 4),
            "interval": [round(low, 4), round(high, 4)],
            "pairs": [round(share, 4) for share in shares],
        }
    return found


Half = dict[str, Any]


def figures(rounds: Sequence[Mapping[str, Half]]) -> dict[str, Any]:
    """Return what moved, by the half and the way; beside it as the asking process had the answers."""
    found: dict[str, Any] = {}
    for name in HALVES[1:]:
        for way in WAYS:
            for kind, title in enumerate((way, f"{way}, as had")):
                quiet, loud = ([[took[kind] for took in one[half][way]] for one in rounds] for half in ("quiet", name))
                found.setdefault(name, {})[title] = moved(quiet, loud)
    most = found["uploads"]["through"]["p99"]
    found["kept"] = bool(most["interval"][1] <= MOST_MORE)
    found["missed"] = bool(most["interval"][0] > MOST_MORE)
    return found


def told(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the figures as lines."""
    titles = {"uploads": "uploads through the gate", "past": "uploads past the gate"}
    for name, title in titles.items():
        for way, one in found[name].items():
            p50, p99 = one["p50"], one["p99"]
            low, high = p99["interval"]
            yield (
                f"{title}, other paths {way}: p50 {p50['before_ms']} -> {p50['after_ms']} ms ({100 * p50['moved']:+.0f}"
                f" %), p99 {p99['before_ms']} -> {p99['after_ms']} ms: {100 * p99['moved']:+.0f} % in the middle of "
                f"{len(p99['pairs'])} pairs, {100 * low:+.0f} to {100 * high:+.0f} %"
            )
    result = "kept" if found["kept"] else "MISSED" if found["missed"] else "not decided by these pairs"
    yield f"at most {100 * MOST_MORE:.0f} % through the gate: {result}"


# --- the part ---------------------------------------------------------------------------------------------------------
class Helper:
    """A process of this file that takes lines and gives lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Speak with it."""
        assert process.stdin is not None and process.stdout is not None
        self._to, self._from = process.stdin, process.stdout

    def say(self, **wanted: object) -> None:
        """Ask for something."""
        self._to.write(json.dumps(wanted) + "\n")
        self._to.flush()

    def hear(self) -> str:
        """Return its next line."""
        line = self._from.readline()
        if not line:
            raise SystemExit("a process of the bench has ended")
        return line


@contextmanager
def helper(*arguments: str) -> Iterator[Helper]:
    """Run one, in the session of this process."""
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Helper(process)
        finally:
            process.terminate()


def put_first(server: int) -> None:
    """Have the server's workers in the real time class: they never wait for a processor behind who judges."""
    for worker in psutil.Process(server).children():
        try:
            os.sched_setscheduler(worker.pid, os.SCHED_RR, os.sched_param(1))
        except PermissionError:
            raise SystemExit("the server cannot be put into the real time class; that needs root") from None


def beside(scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure in rounds, and print what moved."""
    rounds: list[dict[str, Half]] = []
    first = 1_000_000
    with (
        proxied(scratch, nginx=True) as running,
        helper("--ask", str(running.server), str(running.proxy)) as asking,
        helper("--upload") as uploading,
    ):
        if options.server_first:
            put_first(running.server_pid)
        targets = {"quiet": None, "uploads": running.proxy, "past": running.server}

        def half(name: str, seconds: float, seed: int) -> Half:
            nonlocal first
            port = targets[name]
            if port is not None:
                uploading.say(port=port, seconds=seconds, seed=seed, first=first, known=options.known)
                first += int(20 * seconds * UPLOADS_S)
                uploading.hear()
            before = used()
            asking.say(seconds=seconds, seed=seed)
            found: Half = json.loads(asking.hear())
            found["machine"] = between(before, used())
            found["uploads"] = [] if port is None else json.loads(uploading.hear())
            return found

        for name in HALVES:
            half(name, min(2.0, options.beside_s), 0)  # not counted
        for number in range(options.pairs):
            turn = number % len(HALVES)
            order = HALVES[turn:] + HALVES[:turn]
            order = order[::-1] if number % 2 else order
            rounds.append({name: half(name, options.beside_s, number + 1) for name in order})
            shown = {way: [ms([t for t, _ in rounds[-1][name][way]], 99) for name in HALVES] for way in WAYS}
            print(f"round {number + 1}: p99 {', '.join(HALVES)}: {shown}", flush=True)
    result = figures(rounds)
    for line in told(result):
        print(line, flush=True)
    for name in HALVES[1:]:
        took = [seconds for one in rounds for seconds in one[name]["uploads"]]
        result[f"{name} took"] = {"count": len(took), "p50_ms": ms(took, 50), "p99_ms": ms(took, 99)}
        print(f"{name}: {len(took)} in all, p50 {ms(took, 50)} ms, p99 {ms(took, 99)} ms")
    result["machine"] = {name: [one[name]["machine"] for one in rounds] for name in HALVES}
    return result


def main() -> None:
    """Be one of the processes of the part."""
    parser = argparse.ArgumentParser(description="a process of bench/proxy.py")
    parser.add_argument("--ask", type=int, nargs=2)
    parser.add_argument("--upload", action="store_true")
    options = parser.parse_args()
    if options.upload:
        serve_uploads()
    else:
        serve_asking(options.ask)


if __name__ == "__main__":
    main()
