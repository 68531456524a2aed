"""xdist's workers without their imports: one process makes the tests' modules, and forks one for each worker.

To collect the tests costs a processor 13 seconds, and 40 where nothing is compiled yet; most of it are imports. Workers
would do that all at the same time, each for itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def forked_workers(
    options: Sequence[str], jobs: int, environment: Mapping[str, str] | None = None
) -> Iterator[list[str]]:
    """Give pytest's options for so many workers; `options` choose the tests."""
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "forks")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
            control.bind(place)
            command = [sys.executable, "-c", f"from support import workers; workers.serve({control.fileno()})"]
            serving = subprocess.Popen(
                [*command, *options], env=environment, cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL,
                pass_fds=[control.fileno()],
            )  # fmt: skip
        python = shlex.join([sys.executable, "-S", "-c", f"from support import workers; workers.join({place!r})"])
        try:
            yield ["--tx", f"{jobs}*popen//python={python}"]
        finally:
            serving.kill()
            serving.wait()


def join(place: str) -> None:
    """Be what xdist starts in the place of Python: have the worker forked, and end as it ends.

    Without a process that forks, the worker is started as ever.
    """
    arguments = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a worker ends with what it is told on its input
    with contextlib.suppress(OSError):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = pickle.dumps((arguments, dict(os.environ), str(Path.cwd()), 0o022))
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            asking.connect(place)
            socket.send_fds(asking, [request], [0, 1, 2, theirs.fileno()])
        if ours.recv(4):
            sys.exit(int.from_bytes(ours.recv(4), sys.byteorder, signed=True) & 0xFF)
    os.execv(sys.executable, [sys.executable, *arguments])


def serve(control: int) -> None:
    """Make the modules of the tests that the options choose, then fork for each worker; it goes on here."""
    import pytest
    from hypothesis import strategies

    from support import forked, program

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    forked.begin({**os.environ, **program.ENVIRONMENT})  # meanwhile, on another core
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        pytest.main(["-p", "no:xdist", "--collect-only", "-q", *sys.argv[1:]])
    strategies.characters().validate()  # seconds, of what its tables are not written down yet
    request = forked.fork_each(socket.socket(fileno=control))
    if request is not None:
        arguments, environment, folder, mask = request
        forked.enter(environment, folder, mask)
        sys.stdin = open(0)  # noqa: SIM115 - as Python opens it at its start
        sys.argv[:] = ["-c"]
        with forked.ending_as_python_does():
            exec(arguments[-1], {"__name__": "__main__"})  # as `python -c` would
