"""Requests without a file in a process of their own, and how it hands over the connections on which a file comes.

Judging computes in threads of the gate's process, and the event loop stands behind them again and again. What only
passes is therefore answered by another process (`passing_process`), which accepts the connections of these ports. Where
the head of a request says that files may come, the connection itself moves to the gate (`moving`): nothing of an upload
goes through two processes, and what is held in memory is counted in one place.

The gate's end is here, and what both say to each other. The process ends with who started it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fedi_safety.config.schema import Gate
from fedi_safety.gate.moving import receive
from fedi_safety.gate.proxy.passing import Figures

log = logging.getLogger(__name__)

_MODULE = "fedi_safety.gate.proxy.passing_process"
_FIGURES = b"f"
_TIMES = 1000  # how long servers took, in one message
_TELL_S = 0.2
_END_S = 11.0  # a little longer than its server takes to end what it has in hand


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the process is told: whose ports it has, by their descriptors, and how it writes the log."""

    gate: Gate
    listeners: Mapping[int, str]
    control: int
    level: int
    answers_level: int


@dataclass(slots=True)
class Told:
    """The other process' `Figures`: they are kept a moment, and told together."""

    control: socket.socket
    _requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    _errors: Counter[str] = field(default_factory=Counter)
    _seconds: list[tuple[str, float]] = field(default_factory=list)
    _timer: asyncio.TimerHandle | None = None

    def became(self, upstream: str, outcome: str) -> None:
        """Count a request to a server by what became of it."""
        self._requests[upstream, outcome] += 1
        self._soon()

    def answered(self, upstream: str, seconds: float) -> None:
        """Measure how long a server took to begin its answer."""
        self._seconds.append((upstream, round(seconds, 4)))
        if len(self._seconds) >= _TIMES:
            self.tell()

    def failed(self, code: str) -> None:
        """Count an error by its code."""
        self._errors[code] += 1
        self._soon()

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TELL_S, self.tell)

    def tell(self) -> None:
        """Tell what is known now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        requests = [[*key, count] for key, count in self._requests.items()]
        said = {"requests": requests, "errors": dict(self._errors), "seconds": self._seconds[:_TIMES]}
        try:
            self.control.send(_FIGURES + json.dumps(said, separators=(",", ":")).encode())
        except BlockingIOError:  # it is busy; these figures can wait
            del self._seconds[_TIMES:]
            self._soon()
            return
        except OSError:
            return
        self._requests.clear()
        self._errors.clear()
        self._seconds.clear()


class PassingProcess:
    """The process that has these ports, as the gate sees it. It belongs to one event loop.

    `adopt` takes a connection and what was read of it; `lost` is called when the process ends without being told to.
    """

    def __init__(
        self,
        gate: Gate,
        listeners: Mapping[str, socket.socket],
        figures: Figures,
        adopt: Any,
        lost: Any,
        *,
        own_session: bool = False,
    ):
        """Start it, in the gate's session or in one of its own: that is for where the gate's weighs less."""
        self._figures, self._adopt, self._lost = figures, adopt, lost
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False
        self._ended = asyncio.Event()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fds = {listener.fileno(): name for name, listener in listeners.items()}
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE],
                stdin=subprocess.PIPE,
                pass_fds=(theirs.fileno(), *fds),
                process_group=None if own_session else 0,  # Ctrl-C is for the gate, which ends it in its order
                start_new_session=own_session,
            )
            levels = logging.getLogger().level, logging.getLogger("fedi_safety.gate.access").level
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):
                pickle.dump(Wanted(gate, fds, theirs.fileno(), *levels), self._process.stdin)
                self._process.stdin.close()
        self._control.setblocking(False)
        asyncio.get_running_loop().add_reader(self._control, self._read)

    def _read(self) -> None:
        try:
            came = receive(self._control)
        except BlockingIOError:
            return
        if came.connection is not None:
            task = asyncio.get_running_loop().create_task(self._adopt(came.connection, came.first))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif came.said.startswith(_FIGURES):
            self._count(json.loads(came.said[1:]))
        elif not came.said:
            self._over()

    def _count(self, said: dict[str, Any]) -> None:
        for upstream, outcome, count in said["requests"]:
            for _ in range(count):
                self._figures.became(upstream, outcome)
        for code, count in said["errors"].items():
            for _ in range(count):
                self._figures.failed(code)
        for upstream, seconds in said["seconds"]:
            self._figures.answered(upstream, seconds)

    def _over(self) -> None:
        asyncio.get_running_loop().remove_reader(self._control)
        self._ended.set()
        if not self._ending:
            self._process.kill()
            self._process.wait()
            self._control.close()
            self._lost()

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once, whatever it has in hand."""
        self._ending = True
        self._process.kill()

    async def end(self) -> None:
        """Let it answer what it has in hand, and end."""
        self._ending = True
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._ended.wait()
        if not self._ended.is_set():
            asyncio.get_running_loop().remove_reader(self._control)
            self._process.kill()
        await asyncio.to_thread(self._process.wait)
        self._control.close()
