"""The program with its removals counted: each that a store of files has done is a line in the file REMOVALS names.

For those who start many of them there is a process that has made the imports and forks one for each (`Programs`).
Killed, such a fork is gone as any other process is.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedi_safety.core.enums import PlanState
from fedi_safety.core.types import Object, Removal
from fedi_safety.stores.local import LocalStore
from support import forked

_STATUS = struct.Struct("i")
# What a sweep imports at some point, and what takes long of it. None of it starts a thread.
_LIBRARIES = ("ray", "onnxruntime", "psycopg", "sqlalchemy.dialects.postgresql",
              "fedi_safety.cli.scan_cmd", "fedi_safety.app.sweep.driver", "fedi_safety.app.sweep.worker",
              "fedi_safety.detectors.clip.detector", "fedi_safety.ledger.ledger", "alembic.command")  # fmt: skip

_remove = LocalStore.remove


def _counted(store: LocalStore, obj: Object, sha256: bytes) -> Removal:
    removal = _remove(store, obj, sha256)
    if removal.state is PlanState.DONE:
        log = os.open(os.environ["REMOVALS"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.write(log, f"{obj.key}\n".encode())
        os.close(log)
    return removal


class Running:
    """A program under way, in a session of its own; its processes are those of the group `pid`."""

    def __init__(self, pid: int, ending: socket.socket) -> None:
        self.pid = pid
        self._ending = ending
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return what it ended with, None while it runs."""
        return self._code if self._code is not None else self._ended(0.0)

    def wait(self, timeout_s: float) -> int:
        """Return what it ended with. Raises `TimeoutError`."""
        code = self._code if self._code is not None else self._ended(timeout_s)
        if code is None:
            raise TimeoutError(f"the program still runs after {timeout_s:.0f} s")
        return code

    def _ended(self, timeout_s: float) -> int | None:
        self._ending.settimeout(timeout_s)
        try:
            data = self._ending.recv(_STATUS.size)
        except (BlockingIOError, TimeoutError):
            return None
        self._ending.close()
        (self._code,) = _STATUS.unpack(data)
        return self._code

    def kill(self) -> None:
        """Kill it and all that it started, at once."""
        os.killpg(self.pid, signal.SIGKILL)


class Programs:
    """Starts programs by forks of a process that has made their imports."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> Running:
        """Start one in a folder, to whose file `said` its errors are added."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with (
            theirs,
            (folder / "said").open("ab") as said,
            Path(os.devnull).open("r+b") as nothing,
        ):
            request = pickle.dumps((list(arguments), dict(environment), str(folder), 0o022))
            ends = [nothing.fileno(), nothing.fileno(), said.fileno()]
            socket.send_fds(self._control, [request], [*ends, theirs.fileno()])
        (pid,) = _STATUS.unpack(ours.recv(_STATUS.size))
        return Running(pid, ours)


@contextmanager
def programs(environment: Mapping[str, str]) -> Iterator[Programs]:
    """Have a process make the imports, and end it. All that it starts has what of this environment Python begins by."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        serving = subprocess.Popen(
            [sys.executable, "-P", "-m", "support.counted_program", "--fork", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=dict(environment),
        )
    with ours:
        yield Programs(ours)
    serving.wait(60)


def _fork(control: int) -> bool:
    """Make the imports and fork whenever somebody asks; return whether this is such a fork."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    request = forked.fork_each(socket.socket(fileno=control))
    if request is None:
        return False
    arguments, environment, folder, mask = request
    os.setsid()
    forked.enter(environment, folder, mask)
    sys.argv[1:] = arguments
    return True


def main() -> None:
    """Be the program, or fork it."""
    from fedi_safety import cli

    LocalStore.remove = _counted  # type: ignore[method-assign,assignment]
    if sys.argv[1:2] != ["--fork"]:
        cli.main()
    elif _fork(int(sys.argv[2])):
        with forked.ending_as_python_does():
            cli.main()


if __name__ == "__main__":
    main()
