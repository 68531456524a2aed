"""The `Decoder` port: a pool of child processes that decode untrusted bytes outside this one.

Media go to a child in a sealed memfd of their own and come back as pixels in another: memory only (I1). Nothing that
a child says is believed without a check. This module decodes nothing and imports no imaging library.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import mmap
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from fedi_safety.core.enums import Detail, MediaType, Reason
from fedi_safety.core.errors import FediSafetyError, Unscannable
from fedi_safety.core.frames.places import Place, Tile
from fedi_safety.core.frames.shown import Decoded, Frame
from fedi_safety.core.wording.hints import hint
from fedi_safety.media import protocol
from fedi_safety.media.caps import MAX_FRAME_PIXELS, Caps
from fedi_safety.media.sniff import sniff
from fedi_safety.service.priority import weigh_session

_START_SECONDS = 60.0
_END_SECONDS = 2.0
_OUT_OF_TIME = ("killed by SIGXCPU", "killed by SIGPROF")
_QUEUE_SECONDS = 1.0  # how often a waiting caller looks whether the decoder was closed meanwhile
_MEMFD_FLAGS = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
_PACKAGES = {
    "Pillow": "pillow",
    "pillow-heif": "pillow-heif",
    "pillow-jxl-plugin": "pillow-jxl-plugin",
    "imagecodecs": "imagecodecs",
    "PyAV": "av",
    "resvg_py": "resvg_py",
}
_EXTRA = {"pypdfium2": "pypdfium2"}  # decode where they are installed


class DecoderError(FediSafetyError):
    """The decoder's child process cannot be started."""


@dataclass(slots=True)
class _Received:
    """What came of one medium so far."""

    frames: list[Frame] = field(default_factory=list)
    compared: list[Frame] = field(default_factory=list)
    width: int = 0
    height: int = 0

    def decoded(self, media_type: MediaType, problem: Unscannable | None, *, more: bool, total: int) -> Decoded:
        """Return it as the answer. Raises `problem` if there is no frame at all."""
        if problem is not None and not self.frames:
            raise problem
        partly = None if problem is None else f"{problem.reason.value}: {problem.detail}"
        # They came as it suited the decoder.
        frames, compared = (tuple(sorted(f, key=lambda frame: frame.index)) for f in (self.frames, self.compared))
        return Decoded(media_type, self.width, self.height, frames, partly, more, total, compared)

    @property
    def count(self) -> int:
        """Return how many frames came."""
        return len(self.frames) + len(self.compared)


class _ChildEnded(Exception):
    """A child ended, or stopped making sense, while it had a medium in hand. Carries the reason for that medium."""

    def __init__(self, reason: Reason, detail: str, received: _Received | None = None) -> None:
        self.reason = reason
        self.detail = detail
        self.received = received or _Received()
        super().__init__(detail)


class _Child:
    """The parent's side of one child process. Used by one thread at a time; only `kill` may come from another."""

    def __init__(self, module: str, caps: Caps, spawner: ThreadPoolExecutor) -> None:
        self.served = 0
        self._caps = caps
        self._sequence = 0
        self._most_frames = caps.most_frames
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        output_fd = os.memfd_create("frame", _MEMFD_FLAGS)
        errors_fd = os.memfd_create("errors", _MEMFD_FLAGS)
        try:
            os.ftruncate(output_fd, protocol.OUTPUT_BYTES)  # takes memory only where something is written
            # A child that could shrink the memory would kill its reader with SIGBUS.
            fcntl.fcntl(output_fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self._output = mmap.mmap(output_fd, protocol.OUTPUT_BYTES)
            numbers = (
                theirs.fileno(),
                output_fd,
                os.getpid(),
                caps.max_pixels,
                caps.max_memory_bytes,
                round(caps.max_seconds * 1000),
                self._most_frames,
            )
            # The kernel ends a child with the *thread* that started it, so one lasting thread starts them all.
            self._process = spawner.submit(
                subprocess.Popen,
                [sys.executable, "-P", "-s", "-m", module, *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors_fd,
                env=_environment(),
                cwd="/",
                pass_fds=(theirs.fileno(), output_fd),
                start_new_session=True,  # Ctrl-C is for the parent, which ends its children itself
            ).result()
            theirs.close()
            weigh_session(self._process.pid)  # the session of its own keeps it off the terminal
            self.protections = self._ready(errors_fd)
        except (OSError, RuntimeError) as error:  # RuntimeError: the spawner was shut down by `close`
            self._control.close()
            raise DecoderError("decoder", f"its child process cannot be started: {error}") from error
        finally:
            theirs.close()
            os.close(output_fd)
            os.close(errors_fd)

    def _ready(self, errors_fd: int) -> int:
        """Wait for the child's first word; return its protections."""
        cause = ""
        self._control.settimeout(_START_SECONDS)
        try:
            word = self._control.recv(protocol.READY.size + 1)
            if len(word) == protocol.READY.size:
                magic, protections = protocol.READY.unpack(word)
                if magic == protocol.MAGIC:
                    return int(protections)
            cause = "it speaks another protocol" if word else ""
        except TimeoutError:
            cause = f"it was not ready within {_START_SECONDS:.0f} s"
        except OSError as error:
            cause = str(error)
        ended = self.end()
        lines = os.pread(errors_fd, 1 << 16, 0).decode("utf-8", "replace").strip().splitlines()
        cause = cause or (lines[-1] if lines else ended)
        raise DecoderError("decoder", f"its child process does not start: {cause}", f"run {hint('doctor')}")

    def decode(self, data: bytes, media_type: MediaType, detail: Detail) -> Decoded:
        """Hand one medium over and wait for the answer. `_ChildEnded` means that this child is of no more use."""
        self._sequence += 1
        self.served += 1
        received = _Received()
        until = time.monotonic() + self._caps.max_seconds
        try:
            self._control.settimeout(self._caps.max_seconds)
            self._send(data, media_type, detail)
            return self._received(received, media_type, until, detail)
        except TimeoutError:
            self.kill()
            cause = f"not decoded within {self._caps.max_seconds:g} s"
            raise _ChildEnded(Reason.TOO_SLOW, cause, received) from None
        except OSError:
            ended = self.end()
            reason = Reason.TOO_SLOW if ended in _OUT_OF_TIME else Reason.DECODER_CRASHED
            ended = ended.replace("by SIGSYS", "for a forbidden system call")
            cause = f"the decoder was {ended}" if "killed" in ended else f"the decoder {ended}"
            raise _ChildEnded(reason, cause, received) from None
        except ValueError as nonsense:  # also what is not UTF-8
            self.kill()
            cause = f"the decoder's answer is {nonsense}"
            raise _ChildEnded(Reason.DECODER_CRASHED, cause, received) from nonsense
        finally:
            used = (min(received.count, protocol.SLOTS) - 1) * protocol.SLOT_BYTES
            if used > 0 and not self._output.closed:
                # What was written stays in memory until it is given back; the first slot will be needed again.
                self._output.madvise(mmap.MADV_REMOVE, protocol.SLOT_BYTES, used)

    def _received(self, received: _Received, media_type: MediaType, until: float, detail: Detail) -> Decoded:
        """Take frames until the end comes. Raises `Unscannable`, `OSError`, or `ValueError` for what makes no sense."""
        while True:
            self._control.settimeout(max(0.001, until - time.monotonic()))
            answer = self._control.recv(protocol.MAX_ANSWER_BYTES + 1)
            if not answer:
                raise ConnectionResetError
            if answer[0] == protocol.FRAME_TAG:
                self._take(answer, received)
                continue
            problem, more, total = self._end(answer)
            if problem is None and not received.frames:
                raise ValueError("empty")
            return received.decoded(media_type, problem, more=self._more(more, detail), total=total)

    def _more(self, bits: int, detail: Detail) -> bool:
        """Whether a second pass would show what this one did not."""
        moments = bits & protocol.MORE and self._caps.more_frames > self._caps.frames
        return detail is Detail.COARSE and bool(moments or (bits & protocol.CLOSER and self._caps.more_tiles))

    def _send(self, data: bytes, media_type: MediaType, detail: Detail) -> None:
        source = os.memfd_create("medium", _MEMFD_FLAGS)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(source, view) :]
            fcntl.fcntl(
                source,
                fcntl.F_ADD_SEALS,
                fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
            )
            caps, seed = self._caps, secrets.randbits(64)
            budget = (caps.frames, caps.tiles) if detail is Detail.COARSE else (caps.more_frames, caps.more_tiles)
            kind = protocol.KINDS.index(media_type)
            request = protocol.REQUEST.pack(
                self._sequence, len(data), kind, protocol.DETAILS.index(detail), *budget, seed
            )
            socket.send_fds(self._control, [request], [source])
        finally:
            os.close(source)

    def _take(self, answer: bytes, received: _Received) -> None:
        """Add a frame to what came, believing none of its numbers. Raises `ValueError`."""
        if len(answer) != protocol.FRAME.size:
            raise ValueError("malformed")
        _, sequence, index, picture, time_ms, page, track, part, bits, bare, turned, *rest = protocol.FRAME.unpack(
            answer
        )
        *edges, width, height, frame_width, frame_height = rest
        number = received.count
        if sequence != self._sequence:
            raise ValueError("out of order")
        if number == self._most_frames:
            raise ValueError("too long")
        if part >= len(protocol.PARTS) or not protocol.NO_TIME <= time_ms <= protocol.MOST_TIME:
            raise ValueError("malformed")
        if bits > protocol.MOST_HOW or bare > 1 or turned > 3 or max(index, picture) > protocol.MOST_INDEX:
            raise ValueError("malformed")
        tile = None if tuple(edges) == protocol.WHOLE else Tile(*edges)  # refuses impossible edges
        if not 1 <= width * height <= self._caps.max_pixels:
            raise ValueError("impossible size")
        if not 1 <= frame_width * frame_height <= min(MAX_FRAME_PIXELS, width * height):
            raise ValueError("impossible frame")
        start = number % protocol.SLOTS * protocol.SLOT_BYTES
        rgb = self._output[start : start + frame_width * frame_height * 3]
        time_s = None if time_ms == protocol.NO_TIME else time_ms / 1000
        black, opaque, compared = (bool(bits & bit) for bit in (protocol.ON_BLACK, protocol.OPAQUE, protocol.COMPARED))
        place = Place(time_s, page, track, protocol.PARTS[part], black, tile, bool(bare), 90 * turned, opaque)
        part_of = None if picture == index else picture
        frame = Frame(index, frame_width, frame_height, rgb, place, part_of)
        (received.compared if compared else received.frames).append(frame)
        if received.count % protocol.FRAMES_PER_TAKEN == 0:
            with contextlib.suppress(OSError):  # whether it has ended is found out when the next word is waited for
                self._control.send(protocol.TAKEN)
        if width * height > received.width * received.height:
            received.width, received.height = width, height

    def _end(self, answer: bytes) -> tuple[Unscannable | None, int, int]:
        """Return what went wrong, bits of what more there is to look at, and how many frames there are.

        Raises `ValueError`.
        """
        if len(answer) < protocol.END.size:
            raise ValueError("too short")
        tag, sequence, status, more, total, size = protocol.END.unpack_from(answer)
        if tag != protocol.END_TAG or more > protocol.MORE | protocol.CLOSER:
            raise ValueError("malformed")
        if sequence != self._sequence:
            raise ValueError("out of order")
        if (
            status >= len(protocol.STATUSES)
            or size > protocol.MAX_DETAIL_BYTES
            or len(answer) != protocol.END.size + size
        ):
            raise ValueError("malformed")
        reason = protocol.STATUSES[status]
        detail = answer[protocol.END.size :].decode("utf-8")
        if reason is None:
            if size:
                raise ValueError("malformed")
            return None, more, total
        return Unscannable(reason, detail), more, total

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process at once, whatever it does. Its user finds the socket closed."""
        self._process.kill()

    def end(self) -> str:
        """End the process if it still runs, release everything, and say how it ended. May be called twice."""
        self._control.close()
        if not self._output.closed:
            self._output.close()
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:  # real-time signals have no name of their own
            return f"killed by signal {-code}"


class SandboxDecoder:
    """Decodes media in at most `jobs` child processes, which start when first needed.

    `child_module` is for tests: the module that a child runs.
    """

    def __init__(
        self, caps: Caps | None = None, jobs: int = 2, *, child_module: str = "fedi_safety.media.decoder.main"
    ) -> None:
        """Start nothing yet."""
        if jobs < 1:
            raise ValueError("jobs must be at least 1")
        self.caps = caps or Caps()
        self.jobs = jobs
        self._module = child_module
        self._lock = threading.Lock()
        self._closed = False
        self._children: set[_Child] = set()
        self._spawner = ThreadPoolExecutor(1, "decoder-spawner")
        # Last in, first out: what one caller needs is served by one warm child.
        self._slots: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(jobs):
            self._slots.put(None)

    @cached_property
    def version(self) -> str:
        """Names the libraries with their versions, e.g. `Pillow 12.3.0`, and the bounds they work within."""
        return f"{self.libraries}; {self.caps.text}"

    @property
    def libraries(self) -> str:
        """Names the imaging libraries and their versions, e.g. `Pillow 12.3.0, pillow-heif 1.8.0`."""
        return ", ".join(f"{name} {version}" for name, version in _versions().items())

    def protections(self) -> dict[str, bool]:
        """Start a child if none runs, and return what it gave up. Raises `DecoderError`."""
        child = self._take()
        try:
            child = self._living(child)
            return {name: bool(child.protections >> bit & 1) for bit, name in enumerate(protocol.PROTECTIONS)}
        finally:
            self._slots.put(child)

    def sniff(self, head: bytes) -> MediaType:
        """Tell the media type from the first bytes; see `Decoder.sniff`."""
        return sniff(head)

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        """Decode one medium; see `Decoder.decode`. Raises `DecoderError` if no child can be started, or when closed."""
        if media_type not in protocol.KINDS:
            raise Unscannable(Reason.UNSUPPORTED, f"{media_type.value} is not decoded")
        if media_type is MediaType.SVG and self.caps.svg != "render":
            raise Unscannable(Reason.UNSUPPORTED, "drawings are not rendered (`limits.svg`)")
        if len(data) > self.caps.max_bytes:
            raise Unscannable(Reason.TOO_LARGE, f"{len(data)} bytes, the cap is {self.caps.max_bytes}")
        child = self._take()
        intact = False  # whatever interrupts the exchange half-way, an answer that nobody took must not stay behind
        try:
            child = self._living(child)
            try:
                decoded = child.decode(data, media_type, detail)
            except Unscannable:
                intact = True
                raise
            except _ChildEnded as ended:
                self._refuse_if_closed()  # then it was `close` that ended it: no word on the medium
                problem = Unscannable(ended.reason, ended.detail)
                return ended.received.decoded(media_type, problem, more=False, total=0)
            intact = True
            return decoded
        finally:
            worn = child is not None and child.served >= self.caps.max_objects_per_child
            if child is not None and (not intact or worn or self._closed):
                self._retire(child)
                child = None
            self._slots.put(child)

    def close(self) -> None:
        """End all children, also those at work. May be called twice."""
        with self._lock:
            self._closed = True
            children = list(self._children)
        for child in children:
            child.kill()
        # Those at work are released by the threads that use them; here the idle ones.
        idle: list[_Child | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._slots.get_nowait())
        for slot in idle:
            if slot is not None:
                self._retire(slot)
            self._slots.put(None)
        self._spawner.shutdown()

    def __enter__(self) -> SandboxDecoder:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise DecoderError("decoder", "it was closed")

    def _take(self) -> _Child | None:
        """Wait for a slot. Everyone ahead holds one for at most the time cap."""
        while True:
            self._refuse_if_closed()
            with contextlib.suppress(queue.Empty):
                return self._slots.get(timeout=_QUEUE_SECONDS)

    def _living(self, child: _Child | None) -> _Child:
        """Return `child`, or a new one if there is none or it died while idle: no medium is to blame for that."""
        if child is not None:
            if child.alive:
                return child
            self._retire(child)
        self._refuse_if_closed()
        child = _Child(self._module, self.caps, self._spawner)
        with self._lock:
            self._children.add(child)
        if self._closed:
            self._retire(child)
            self._refuse_if_closed()
        return child

    def _retire(self, child: _Child) -> None:
        with self._lock:
            self._children.discard(child)
        child.end()


def _versions() -> dict[str, str]:
    """Return the imaging libraries' versions, those of extras where they are installed."""
    found = {name: importlib.metadata.version(package) for name, package in _PACKAGES.items()}
    for name, package in _EXTRA.items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(package)
    return found


def _environment() -> dict[str, str]:
    """Return the little that a child needs. It finds modules where this process finds them, and nowhere else.

    Not in the current directory, though `python -m` puts that into the path: it may be where the media are.
    """
    here = Path.cwd()
    places = [str(Path(entry).absolute()) for entry in sys.path if entry]
    places = [place for place in places if Path(place) != here or (here / "fedi_safety").is_dir()]
    wanted = {
        "PYTHONPATH": os.pathsep.join(places),
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
        "MALLOC_ARENA_MAX": "2",  # arenas of 64 MiB for every thread would eat the address space
        # Keep the memory of ordinary pictures between objects: faulting it in anew is 40 % of a small JPEG's time.
        "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
    }
    if "LD_LIBRARY_PATH" in os.environ:
        wanted["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    # What it compiles of the program it keeps where this process does, if at all: nothing later than `confine`.
    if sys.dont_write_bytecode:
        wanted["PYTHONDONTWRITEBYTECODE"] = "1"
    if sys.pycache_prefix is not None:
        wanted["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    return wanted
