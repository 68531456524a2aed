"""The pool of decoding children: what goes wrong in a child stays there, is named, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from fedi_safety.core.enums import Detail, MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import Decoded
from fedi_safety.media import Caps, DecoderError, SandboxDecoder, protocol
from fedi_safety.media.caps import MAX_FRAME_PIXELS, MIB
from fedi_safety.media.decoder.confine import landlock
from fedi_safety.media.pool import _Child
from support.file_descriptors import open_descriptors
from support.hostile.child import _FATAL, _FORBIDDEN, _READING, left

CAPS = Caps(max_memory_bytes=512 * MIB, max_seconds=5.0)


class Others:
    """Child processes of this one that were there before a test: servers of other suites."""

    def __init__(self) -> None:
        """Remember them."""
        self._before = {process.pid for process in psutil.Process().children()}

    def children(self) -> list[psutil.Process]:
        """Return the children that came since, zombies too."""
        return [process for process in psutil.Process().children() if process.pid not in self._before]


@pytest.fixture
def others() -> Others:
    """Give the children that are not this test's."""
    return Others()


@pytest.fixture
def hostile() -> Iterator[SandboxDecoder]:
    """Give a pool of one child that does what its medium says."""
    with SandboxDecoder(CAPS, jobs=1, child_module="support.hostile.child") as decoder:
        yield decoder


def do(decoder: SandboxDecoder, deed: str) -> Decoded:
    """Let a child do something."""
    return decoder.decode(deed.encode(), MediaType.PNG)


def refusal(decoder: SandboxDecoder, deed: str) -> tuple[Reason, str]:
    """Let a child do something that must not end well."""
    with pytest.raises(Unscannable) as caught:
        do(decoder, deed)
    return caught.value.reason, caught.value.detail


def assert_works(decoder: SandboxDecoder) -> None:
    """The next medium is decoded as if nothing had been."""
    assert do(decoder, "grey").frames[0].rgb == b"\x80" * 6


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("deed", "detail"),
    [
        ("segfault", "SIGSEGV"),
        ("abort", "SIG"),  # which signal is left to abort() depends on the C library
        ("leave:3", "exit code 3"),
        ("leave:0", "exit code 0"),
        ("raise", "exit code 1"),
        ("hang up", "SIGKILL"),
    ],
)
def test_a_crash_is_named_and_mended(hostile: SandboxDecoder, deed: str, detail: str) -> None:
    """The medium in hand is unscanned with the cause; the next one gets a fresh child."""
    reason, text = refusal(hostile, deed)
    assert reason is Reason.DECODER_CRASHED
    assert detail in text
    assert_works(hostile)


def test_too_slow() -> None:
    """A child that hangs is ended at the time cap."""
    with SandboxDecoder(Caps(max_seconds=1.0), jobs=1, child_module="support.hostile.child") as decoder:
        assert_works(decoder)
        start = time.monotonic()
        assert refusal(decoder, "sleep")[0] is Reason.TOO_SLOW
        assert time.monotonic() - start < 20.0  # and not at the end of what it would do
        assert_works(decoder)


@pytest.mark.long
def test_the_processor_limit_is_a_backstop(hostile: SandboxDecoder) -> None:
    """A child that outlives its parent's attention ends by itself."""
    reason, detail = refusal(hostile, "spin")
    assert reason is Reason.TOO_SLOW
    assert "SIGXCPU" in detail


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("deed", "seconds", "reasons"),
    [
        ("burn", 1.0, {Reason.TOO_SLOW}),
        # The time that half a gigabyte takes is the machine's to say, and what else runs there.
        ("allocate without end", 60.0, {Reason.TOO_LARGE}),
        # Likewise which of them comes first: there is no more memory, or no more time.
        ("start threads without end", 1.0, {Reason.TOO_LARGE, Reason.TOO_SLOW, Reason.DECODER_CRASHED}),
    ],
)
def test_without_end(deed: str, seconds: float, reasons: set[Reason]) -> None:
    """What grows or runs without end is ended at a cap, and the next medium is decoded."""
    caps = Caps(max_memory_bytes=512 * MIB, max_seconds=seconds)
    with SandboxDecoder(caps, jobs=1, child_module="support.hostile.child") as decoder:
        assert_works(decoder)
        start = time.monotonic()
        assert refusal(decoder, deed)[0] in reasons
        assert time.monotonic() - start < seconds + 20.0
        assert_works(decoder)


def test_too_much_memory(hostile: SandboxDecoder) -> None:
    """Running into the memory cap is `too_large`, and the child lives on."""
    before = refusal(hostile, "pid")
    reason, detail = refusal(hostile, "allocate:1024")
    assert reason is Reason.TOO_LARGE
    assert "memory" in detail
    assert refusal(hostile, "pid") == before


def end(sequence: int = 1, status: int = 0, size: int = 0, text: bytes = b"", more: int = 0) -> str:
    """Return the last word of an answer."""
    return (protocol.END.pack(protocol.END_TAG, sequence, status, more, 1, size) + text).hex()


def frame(
    sequence: int = 1,
    time_ms: int = -1,
    index: int = 0,
    picture: int = 0,
    part: int = 0,
    how: tuple[int, ...] = (0, 0, 0),
    tile: tuple[int, ...] = protocol.WHOLE,
) -> str:
    """Return the words about a frame of two pixels; `how` is bits of HOW, without its border, quarters of a turn."""
    return protocol.FRAME.pack(
        protocol.FRAME_TAG, sequence, index, picture, time_ms, 0, 1, part, *how, *tile, 2, 1, 2, 1
    ).hex()


@pytest.mark.long
@pytest.mark.parametrize(
    ("deed", "detail"),
    [
        ("say:00", "too short"),
        (f"say:{bytes(protocol.MAX_ANSWER_BYTES + 1).hex()}", "malformed"),
        (f"say:{end(sequence=7, status=2)}", "out of order"),
        (f"say:{end(status=99)}", "malformed"),
        (f"say:{end(status=2, size=5)}", "malformed"),
        (f"say:{end(status=2, size=401, text=b'a' * 401)}", "malformed"),
        (f"say:{end(status=2, size=2, text=bytes([255, 255]))}", "utf-8"),
        (f"say:{end()}61", "malformed"),
        (f"say:{end()}", "empty"),
        (f"say:{frame(sequence=7)}", "out of order"),
        (f"say:{frame()}61", "malformed"),
        (f"say:{frame(time_ms=-2)}", "malformed"),
        (f"say:{frame(time_ms=1 << 60)}", "malformed"),
        (f"say:{frame(part=99)}", "malformed"),
        (f"say:{end(more=4)}", "malformed"),
        (f"say:{frame(index=1 << 31)}", "malformed"),
        (f"say:{frame(picture=1 << 31)}", "malformed"),
        (f"say:{frame(how=(8, 0, 0))}", "malformed"),
        (f"say:{frame(how=(0, 2, 0))}", "malformed"),
        (f"say:{frame(how=(0, 0, 4))}", "malformed"),
        (f"say:{frame(tile=(1, 0, 0, 0, 500, 500))}", "no such tile"),
        (f"say:{frame(tile=(0, 9, 0, 0, 500, 500))}", "no such tile"),
        (f"say:{frame(tile=(1, 9, 500, 0, 500, 500))}", "no such tile"),
        (f"say:{frame(tile=(1, 9, 0, 0, 500, 1001))}", "no such tile"),
        ("claim:0,0,0,0", "impossible size"),
        ("claim:4294967295,4294967295,1,1", "impossible size"),
        ("claim:9,9,0,9", "impossible frame"),
        ("claim:9,9,10,9", "impossible frame"),
        (f"claim:9000,9000,{MAX_FRAME_PIXELS + 1},1", "impossible frame"),
    ],
)
def test_lies_are_not_believed(hostile: SandboxDecoder, deed: str, detail: str) -> None:
    """A child that makes no sense is ended; its medium is unscanned."""
    reason, text = refusal(hostile, deed)
    assert reason is Reason.DECODER_CRASHED
    assert detail in text
    assert_works(hostile)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("deed", "partly"),
    [
        ("tell:the rest is garbled", "corrupt: the rest is garbled"),
        ("segfault", "decoder_crashed: the decoder was killed by SIGSEGV"),
        ("sleep", "too_slow: not decoded within 2 s"),
        ("say:00", "decoder_crashed: the decoder's answer is too short"),
        ("allocate:1024", "too_large: decoding it needs more memory than the cap allows"),
    ],
)
def test_what_came_before_the_end_is_judged(deed: str, partly: str) -> None:
    """A frame that came is worth a verdict, whatever becomes of the rest, and it is said that this is a part."""
    caps = Caps(max_memory_bytes=512 * MIB, max_seconds=2.0 if deed == "sleep" else 60.0)
    with SandboxDecoder(caps, jobs=1, child_module="support.hostile.child") as pool:
        decoded = do(pool, f"grey then {deed}")
        assert decoded.partly == partly
        assert [(f.rgb, f.place.time_s) for f in decoded.frames] == [(b"\x80" * 6, 1.5)]
        assert_works(pool)


@pytest.mark.long
def test_too_many_frames_are_not_believed(hostile: SandboxDecoder) -> None:
    """A child cannot fill the parent's memory."""
    most = hostile.caps.most_frames
    decoded = do(hostile, f"flood:{most + 1}")
    assert len(decoded.frames) == most
    assert decoded.partly == "decoder_crashed: the decoder's answer is too long"
    assert_works(hostile)


@pytest.mark.parametrize(
    ("bits", "caps", "more"),
    [
        (0, Caps(), False),
        (protocol.MORE, Caps(), True),
        (protocol.MORE, Caps(more_frames=16), False),
        (protocol.CLOSER, Caps(more_frames=16), True),
        (protocol.CLOSER, Caps(more_tiles=0), False),
    ],
)
def test_there_is_more_to_see_only_if_a_second_look_would_show_it(bits: int, caps: Caps, more: bool) -> None:
    child = _Child.__new__(_Child)
    child._caps = caps
    assert child._more(bits, Detail.COARSE) is more
    assert child._more(bits, Detail.FINE) is False


@pytest.mark.long
def test_memory_of_many_frames_is_given_back(hostile: SandboxDecoder) -> None:
    """What a clip's frames took is not held until the next clip."""
    assert len(do(hostile, "large:100").frames) == 100
    mapped = Path("/proc/self/smaps").read_text().split("memfd:frame")[1:]
    (held,) = (part.split("Rss:")[1].split()[0] for part in mapped)
    assert 0 < int(held) * 1024 <= protocol.SLOT_BYTES


def test_details_are_bounded_and_printable(hostile: SandboxDecoder) -> None:
    """What a child says is text on one line."""
    reason, detail = refusal(hostile, "tell:" + "a\n\x1b[31m" + "ä" * 1000)
    assert reason is Reason.CORRUPT
    assert detail.isprintable()
    assert len(detail) <= 500


def test_a_medium_is_sealed() -> None:
    """A child gets memory that neither it nor anyone else can change any more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        child = _Child.__new__(_Child)
        child._control, child._sequence, child._caps = ours, 1, CAPS
        child._send(b"medium", MediaType.PNG, Detail.FINE)
        request, (source,), _, _ = socket.recv_fds(theirs, 100, 1)
        try:
            *asked, seed = protocol.REQUEST.unpack(request)
            assert asked == [1, 6, protocol.KINDS.index(MediaType.PNG), protocol.DETAILS.index(Detail.FINE), 64, 48]
            assert seed != 0
            assert os.pread(source, 100, 0) == b"medium"
            for change in (lambda: os.pwrite(source, b"x", 0), lambda: os.ftruncate(source, 0)):
                with pytest.raises(PermissionError):
                    change()
        finally:
            os.close(source)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("what", _FATAL)
def test_who_tries_this_is_killed(hostile: SandboxDecoder, what: str) -> None:
    """No process, no network, no file: the attempt is the child's last act, and the next medium gets a fresh one."""
    before = refusal(hostile, "pid")[1]
    assert refusal(hostile, f"try:{what}") == (
        Reason.DECODER_CRASHED,
        "the decoder was killed for a forbidden system call",
    )
    assert refusal(hostile, "pid")[1] != before
    assert not left(os.getpid()).exists()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("what", _FORBIDDEN)
def test_what_a_child_cannot_do(hostile: SandboxDecoder, what: str) -> None:
    """Each attempt fails."""
    reason, detail = refusal(hostile, f"try:{what}")
    assert reason is Reason.CORRUPT  # the deed's way of telling
    assert detail in ("PermissionError", "OSError", "ValueError"), detail


@pytest.mark.sampled(2)
@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
@pytest.mark.parametrize("what", _READING)
def test_what_a_child_cannot_read(hostile: SandboxDecoder, what: str) -> None:
    """Nothing but the program's own libraries."""
    assert refusal(hostile, f"try:{what}") == (Reason.CORRUPT, "PermissionError")


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
def test_a_secret_of_its_own_user_is_out_of_reach(hostile: SandboxDecoder, tmp_path: Path) -> None:
    """Nor is the folder that the program runs in, though Python is fond of it."""
    secret = tmp_path / "credentials.toml"
    secret.write_text("hunter2")
    secret.chmod(0o644)
    assert refusal(hostile, f"read:{secret}") == (Reason.CORRUPT, "PermissionError")
    link = tmp_path / "link"
    link.symlink_to(secret)
    assert refusal(hostile, f"read:{link}") == (Reason.CORRUPT, "PermissionError")
    assert refusal(hostile, f"read:/proc/self/root{secret}") == (Reason.CORRUPT, "PermissionError")


def test_without_landlock_the_rest_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older kernel: the child works, says what it lacks, and is still kept from all else."""
    (tmp_path / "old_kernel_child.py").write_text(
        "import sys\n"
        "from support.hostile import child as hostile_child\n"
        "from fedi_safety.media.decoder import main\n"
        "from fedi_safety.media.decoder.confine import landlock\n"
        "landlock.version = lambda: 0\n"
        "main.serve(sys.argv[1:], hostile_child.decode)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with SandboxDecoder(CAPS, jobs=1, child_module="old_kernel_child") as decoder:
        lacking = [name for name, active in decoder.protections().items() if not active]
        assert lacking == ["no file opened but its libraries"]
        assert refusal(decoder, "try:a file of the system")[1] == "it worked"
        assert refusal(decoder, "try:create a file")[0] is Reason.DECODER_CRASHED
        assert_works(decoder)


def test_protections_are_told(hostile: SandboxDecoder) -> None:
    """`doctor` shows what holds; here all of it must, as far as the kernel has it."""
    expected = dict.fromkeys(protocol.PROTECTIONS, True)
    expected["no file opened but its libraries"] = landlock.version() > 0
    assert hostile.protections() == expected


def test_a_child_has_little_around_it(hostile: SandboxDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C does not reach it, and secrets in the environment do not either."""
    monkeypatch.setenv("FEDI_SAFETY_SECRET", "hunter2")
    _, detail = refusal(hostile, "state")
    assert detail.startswith("True ")
    assert "SECRET" not in detail


def test_a_child_that_cannot_start_is_an_error_of_the_program(others: Others) -> None:
    """It is told with its cause, for each call, and is not blamed on the medium."""
    with SandboxDecoder(jobs=2, child_module="no_such_module") as decoder:
        for _ in range(3):
            with pytest.raises(DecoderError, match="No module named no_such_module"):
                do(decoder, "grey")
        with pytest.raises(DecoderError):
            decoder.protections()
    assert not others.children()


def test_a_child_that_starts_as_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that ends at once is told by its exit code."""
    (tmp_path / "silent_child.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with (
        SandboxDecoder(jobs=1, child_module="silent_child") as decoder,
        pytest.raises(DecoderError, match="exit code 0"),
    ):
        do(decoder, "grey")


def test_too_many_bytes_never_reach_a_child() -> None:
    """The byte cap needs no child at all."""
    with SandboxDecoder(Caps(max_bytes=10), jobs=1, child_module="no_such_module") as decoder:
        assert refusal(decoder, "tell:far too long")[0] is Reason.TOO_LARGE


def test_a_fresh_child_after_some_objects() -> None:
    """What a child may have kept of other media goes with it."""
    caps = Caps(max_objects_per_child=3)
    with SandboxDecoder(caps, jobs=1, child_module="support.hostile.child") as decoder:
        pids = [refusal(decoder, "pid")[1] for _ in range(7)]
    assert len(set(pids[:3])) == len(set(pids[3:6])) == 1
    assert len(set(pids)) == 3


def test_a_child_that_died_idle_is_replaced(hostile: SandboxDecoder) -> None:
    """No medium is blamed for what happened before it came."""
    pid = int(refusal(hostile, "pid")[1])
    process = psutil.Process(pid)
    process.kill()
    deadline = time.monotonic() + 5
    while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert_works(hostile)


def test_a_child_outlives_the_thread_that_asked_for_it(hostile: SandboxDecoder) -> None:
    """The kernel's parent-death signal follows threads; workers of the pipeline come and go."""
    pids: list[str] = []
    thread = threading.Thread(target=lambda: pids.append(refusal(hostile, "pid")[1]))
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert refusal(hostile, "pid")[1] == pids[0]


def test_children_start_when_needed_and_no_more_than_allowed(others: Others) -> None:
    """One caller is served by one child; many callers by `jobs` of them."""
    with SandboxDecoder(CAPS, jobs=2, child_module="support.hostile.child") as decoder:
        assert not others.children()
        for _ in range(5):
            assert_works(decoder)
        assert len(others.children()) == 1
        with ThreadPoolExecutor(6) as pool:
            pids = {refused[1] for refused in pool.map(lambda _: refusal(decoder, "pid"), range(60))}
        assert 1 <= len(pids) <= 2
    assert not others.children()


def test_close_ends_work_in_progress(others: Others, hostile: SandboxDecoder) -> None:
    """Who waits for a hanging child is released, and its medium is not blamed."""
    assert_works(hostile)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(do, hostile, "sleep") for _ in range(2)]  # one at work, one in the queue
        time.sleep(0.2)
        start = time.monotonic()
        hostile.close()
        for future in waiting:
            with pytest.raises(DecoderError, match="closed"):
                future.result()
        assert time.monotonic() - start < 15
    assert not others.children()


def test_an_interrupted_exchange_leaves_no_answer_behind(
    hostile: SandboxDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a child works: its late answer must not be taken for the next medium's."""
    before = refusal(hostile, "pid")[1]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(_Child, "_received", interrupted)
        do(hostile, "grey")
    assert refusal(hostile, "pid")[1] != before


@pytest.mark.long
def test_twenty_crashes_leak_nothing(others: Others) -> None:
    """Descriptors, processes and zombies: as many after as before."""
    with SandboxDecoder(CAPS, jobs=2, child_module="support.hostile.child") as decoder:
        assert_works(decoder)
        before = len(open_descriptors())
        with ThreadPoolExecutor(2) as pool:
            reasons = {reason for reason, _ in pool.map(lambda _: refusal(decoder, "segfault"), range(20))}
        assert reasons == {Reason.DECODER_CRASHED}
        assert not others.children()
        assert_works(decoder)
        assert len(open_descriptors()) <= before
    assert not others.children()


_PARENT = """
import sys, threading
from fedi_safety.core.types import MediaType
from fedi_safety.media import Caps, SandboxDecoder
decoder = SandboxDecoder(Caps(max_seconds=100), jobs=1, child_module="support.hostile.child")
try:
    decoder.decode(b"pid", MediaType.PNG)
except Exception as refusal:
    sys.stdout.write(refusal.detail + "\\n")
    sys.stdout.flush()
decoder.decode(b"sleep", MediaType.PNG)
"""


@pytest.mark.long
def test_kill_9_of_the_parent_leaves_no_orphan() -> None:
    """Not even one that is busy and does not look at its socket."""
    environment = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry)}
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.2)
        assert child.is_running()
        parent.kill()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_the_parent_imports_no_imaging_library() -> None:
    """Untrusted bytes meet no codec in the process that holds the credentials."""
    assert loaded_with("fedi_safety.media.pool", "PIL", "numpy") == []


def test_a_child_imports_nothing_of_its_parents_side() -> None:
    """A third of its start, which a pass waits for."""
    theirs = ("fedi_safety.media.pool", "importlib.metadata", "fedi_safety.core.types", "fedi_safety.core.pictures")
    assert loaded_with("fedi_safety.media.decoder.main", *theirs) == []


def test_what_a_child_compiles_is_kept_where_its_parent_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout's decoder is otherwise compiled anew for each child: a third of its start."""
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    for kept in (False, True):
        monkeypatch.setattr(sys, "dont_write_bytecode", not kept)
        with SandboxDecoder(CAPS, jobs=1) as decoder:
            decoder.protections()
        assert [path.name.partition(".")[0] for path in tmp_path.rglob("dispatch.*.pyc")] == ["dispatch"] * kept


def loaded_with(module: str, *others: str) -> list[str]:
    """Return which of the others a module loads."""
    check = f"import json, sys, {module}; print(json.dumps([name for name in {others} if name in sys.modules]))"
    environment = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry)}
    said = subprocess.run([sys.executable, "-c", check], env=environment, check=True, capture_output=True, text=True)
    return list(json.loads(said.stdout))


@pytest.mark.parametrize(
    "name",
    ["max_bytes", "max_pixels", "max_memory_bytes", "max_seconds", "max_objects_per_child", "frames", "more_frames"],
)
def test_caps_must_be_positive(name: str) -> None:
    """A cap of nothing would unscan everything."""
    with pytest.raises(ValueError, match=name):
        Caps(**{name: 0})  # type: ignore[arg-type]
