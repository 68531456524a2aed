"""The program without its imports: a process that has made them forks one for each command. For tests alone.

A start costs more than a second of a processor, which is twice what most commands do. What a process is given before
Python begins (the locale, `PYTHON...`, what a loader reads) cannot be given to a fork: each such has its own process.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import pickle
import pkgutil
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

FIXED_AT_THE_START = ("LC_", "LANG", "PYTHON", "LD_", "MALLOC_", "GLIBC_", "OMP_", "OPENBLAS_")
# What a command imports at some point. Nothing of these starts a thread, which a fork would not have.
LIBRARIES = ("sqlalchemy.dialects.sqlite", "alembic.command", "onnxruntime", "PIL.Image", "rich.progress",
             "rich.markdown", "rich._emoji_codes", "typer.rich_utils", "httpx", "starlette.applications", "uvicorn",
             "botocore.session", "asyncssh", "dlib")  # fmt: skip
_STATUS = struct.Struct("i")


def _fixed(environment: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(item for item in environment.items() if item[0].startswith(FIXED_AT_THE_START))


_asked: Counter[frozenset[tuple[str, str]]] = Counter()
_servers: dict[frozenset[tuple[str, str]], socket.socket] = {}


def worth_it(environment: Mapping[str, str]) -> bool:
    """Whether a process that forks is to be had for this environment; not for the first that begins like it."""
    fixed = _fixed(environment)
    _asked[fixed] += 1
    return sys.platform == "linux" and (fixed in _servers or _asked[fixed] > 1)


def begin(environment: Mapping[str, str]) -> None:
    """Have a process that forks make its imports from now on, for this one and for all that fork from it hereafter."""
    if sys.platform == "linux":
        _server(_fixed(environment))


def run(
    command: Sequence[str], environment: Mapping[str, str], timeout_s: float, folder: str | None = None
) -> tuple[int, bytes, bytes]:
    """Run the program as `command` would, without a terminal; return what it ended with, its output and its errors.

    It runs in `folder`, by default in that of this process.
    Raises `subprocess.TimeoutExpired`, as `subprocess.run` does; then it was killed.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pipes = [os.pipe(), os.pipe()]
    with ours, ExitStack() as reading:
        readers = [reading.enter_context(FileIO(read)) for read, _ in pipes]
        with theirs, ExitStack() as giving:
            ends = [giving.enter_context(FileIO(write, "w")).fileno() for _, write in pipes]
            request = pickle.dumps((list(command), dict(environment), folder or str(Path.cwd()), _umask()))
            socket.send_fds(_server(_fixed(environment)), [request], [*ends, theirs.fileno()])
        (pid,) = _STATUS.unpack(ours.recv(_STATUS.size))
        try:
            out, err = _read(readers, timeout_s)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(command), timeout_s) from None
        (code,) = _STATUS.unpack(ours.recv(_STATUS.size))
    return code, out, err


def _read(readers: Sequence[FileIO], timeout_s: float) -> list[bytes]:
    """Return what comes until all are at their end."""
    until = time.monotonic() + timeout_s
    texts = {reader.fileno(): bytearray() for reader in readers}
    with selectors.DefaultSelector() as waiting:
        for reader in readers:
            waiting.register(reader, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                texts[key.fd] += data
                if not data:
                    waiting.unregister(key.fileobj)
    return [bytes(text) for text in texts.values()]


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _server(fixed: frozenset[tuple[str, str]]) -> socket.socket:
    """Return the way to a process that forks, started if need be; it ends when nobody holds that way any more."""
    if fixed not in _servers:
        _servers[fixed] = _start(fixed)
    return _servers[fixed]


def _start(fixed: frozenset[tuple[str, str]]) -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**dict(os.environ.items() - _fixed(os.environ)), **dict(fixed)}
    paths = [str(Path(__file__).parents[1]), environment.get("PYTHONPATH", "")]
    with theirs:
        serving = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from support import forked; forked.main({theirs.fileno()})"],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )

    started_by = os.getpid()

    def end() -> None:
        ours.close()
        if os.getpid() == started_by:
            serving.wait(10)

    atexit.register(end)
    return ours


def main(control: int) -> None:
    """Import everything, then fork for each command; a fork goes on here as the program."""
    import fedi_safety

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    importlib.import_module("numpy")
    of_numpy = _threads()  # its OpenBLAS ends them before a fork and starts them anew
    for name in LIBRARIES:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(fedi_safety.__path__, "fedi_safety."):
        if (
            not module.name.startswith(("fedi_safety.__main__", "fedi_safety.media.decoder"))
            and "migrations" not in module.name
        ):
            try:
                importlib.import_module(module.name)
            except ImportError:
                continue  # an extra that is not installed
    _load_openvino()
    if _threads() != of_numpy:
        raise SystemExit(f"an import started {_threads() - of_numpy} threads, which no fork would have")
    _make_a_ledger()
    request = fork_each(socket.socket(fileno=control))
    if request is not None:
        _become(*request)


def _load_openvino() -> None:
    """As the program does; who imports it by its name, without the guard, has it report to its makers."""
    from fedi_safety.core.errors import ModelError
    from fedi_safety.detectors.sessions.openvino_library import load_openvino

    with suppress(ModelError):
        load_openvino()


def _make_a_ledger() -> None:
    """Let SQLAlchemy learn what it learns from the first statements."""
    from fedi_safety.app.ledger import SystemClock
    from fedi_safety.ledger.ledger import open_ledger

    with tempfile.TemporaryDirectory() as folder:
        open_ledger(Path(folder) / "ledger.db", clock=SystemClock()).dispose()


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def fork_each(control: socket.socket) -> tuple[list[str], dict[str, str], str, int] | None:
    """Fork for each request and tell how forks end. Returns the request in a fork, None when nobody asks any more.

    A request comes with what is to be the fork's output and errors, before them its input if it shall have one, and at
    last with a socket for whoever asks.
    """
    if threading.active_count() != 1:
        raise SystemExit(f"no fork would have the threads {threading.enumerate()[1:]}")
    if sys.modules.get("openvino_telemetry") is not None:
        raise SystemExit("OpenVINO was imported without the program's guard, and reports that to its makers")
    gc.collect()
    gc.freeze()
    running: dict[int, tuple[int, socket.socket]] = {}
    waiting = selectors.DefaultSelector()
    waiting.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is not control:
                pid, asking = running.pop(key.fd)
                waiting.unregister(key.fd)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with asking, suppress(BrokenPipeError):  # who asked may have waited long enough
                    asking.send(_STATUS.pack(code))
                continue
            data, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 4)
            if not data:
                return None
            *ends, theirs = descriptors
            pid = os.fork()
            if pid == 0:
                waiting.close()
                for one in [control, *(asking for _, asking in running.values())]:
                    one.close()
                os.close(theirs)
                for target, descriptor in enumerate(ends, 3 - len(ends)):
                    os.dup2(descriptor, target)
                    os.close(descriptor)
                request: Any = pickle.loads(data)
                return request  # type: ignore[no-any-return]
            for descriptor in ends:
                os.close(descriptor)
            asking = socket.socket(fileno=theirs)
            asking.send(_STATUS.pack(pid))
            watched = os.pidfd_open(pid)
            running[watched] = pid, asking
            waiting.register(watched, selectors.EVENT_READ)


def _become(command: list[str], environment: dict[str, str], folder: str, mask: int) -> None:
    """Be the program from here on."""
    enter(environment, folder, mask)
    sys.orig_argv[:] = command
    sys.argv[1:] = command[command.index("fedi_safety") + 1 :]
    with ending_as_python_does():
        runpy.run_module("fedi_safety", run_name="__main__", alter_sys=True)


def enter(environment: Mapping[str, str], folder: str, mask: int) -> None:
    """Have in a fork the surroundings of a process that was started there."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    os.umask(mask)
    for name, number in (("stdout", 1), ("stderr", 2)):
        before = getattr(sys, name)
        fresh = open(  # noqa: SIM115 - as Python opens them at its start
            number, "w", encoding=before.encoding, errors=before.errors, newline="\n", closefd=False,
            buffering=1 if name == "stderr" else -1,
        )  # fmt: skip
        setattr(sys, name, fresh)
        setattr(sys, f"__{name}__", fresh)


@contextmanager
def ending_as_python_does() -> Iterator[None]:
    """End this process behind the block, but without taking every module apart, which touches all that forks share."""
    code = 0
    try:
        yield
    except SystemExit as end:
        if not (end.code is None or isinstance(end.code, int)):
            raise
        code = end.code or 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
