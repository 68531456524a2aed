"""I1: media never touches a disk in the clear and never leaves the machine; records carry no pixels."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from support import stand_in
from support.corpus import shapes
from support.corpus.photos import jpeg_bytes, picture
from support.program import FACES, FIRST, on_disks, program
from support.sealing import public

# Runs a whole scan, and reports everything that Python was asked to open for writing or to connect to.
WATCHED = """
import json, os, resource, sys
seen = {"written": [], "network": []}
def hook(event, args):
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        path = os.readlink(f"/proc/self/fd/{args[0]}") if isinstance(args[0], int) else os.fsdecode(args[0])
        if not path.startswith("pipe:["):  # to a child, and nowhere else
            seen["written"].append(path)
    elif event == "sqlite3.connect":
        seen["written"].append(os.fsdecode(args[0]))
    elif event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        seen["network"].append(str(args))
sys.addaudithook(hook)
from fedi_safety.cli import run
code = run(sys.argv[1:])
seen["core"] = resource.getrlimit(resource.RLIMIT_CORE)
seen["code"] = code
sys.stderr.write("\\n" + json.dumps(seen))
"""


def test_a_scan_writes_nothing_but_its_ledger_and_speaks_to_nobody(tmp_path: Path) -> None:
    media, ledger, scratch = tmp_path / "media", tmp_path / "ledger.db", tmp_path / "scratch"
    media.mkdir()
    scratch.mkdir()
    bodies = [jpeg_bytes("astronaut"), jpeg_bytes("coffee"), b"notes about somebody " * 50]
    for i, body in enumerate(bodies):
        (media / f"{i}").write_bytes(body)
    policy = tmp_path / "faces.toml"
    policy.write_text(FACES)
    arguments = ["scan", str(media), "--policy", str(policy), *FIRST, "--ledger", str(ledger), "--log-level", "debug"]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        capture_output=True,
        check=True,
        env={**_environment(), "TMPDIR": str(scratch)},
    )
    text, _, report = done.stderr.rpartition(b"\n")
    seen = json.loads(report)
    assert seen["code"] == 0, done.stderr
    written = on_disks(seen["written"])
    assert written, "the hook saw nothing: this test would not notice a leak"
    beside = {re.sub(r"^ledger\.db(\.pass-\d+$)?", "", Path(path).name) for path in written}
    assert beside <= {"", ".lock", "?mode=rw"}, written
    assert seen["network"] == []
    assert seen["core"] in ([1, 1], [0, 0])
    assert list(scratch.iterdir()) == []
    everything = b"".join(p.read_bytes() for p in tmp_path.glob("ledger.db*")) + done.stdout + text
    assert len(everything) > 10_000
    for body in [*bodies, picture("coffee", 600).tobytes()]:
        for at in range(0, len(body) - 16, 509):
            assert body[at : at + 16] not in everything


def test_the_inference_library_has_no_reporting_built_in() -> None:
    """Python's hooks do not see what native code sends; a build without the sender has nothing to send with."""
    import onnxruntime

    libraries = [p for p in Path(onnxruntime.__file__).parent.rglob("*.so*") if p.is_file()]
    assert any(p.stat().st_size > 5_000_000 for p in libraries)
    assert [p.name for p in libraries if b"events.data.microsoft" in p.read_bytes()] == []


def _environment() -> dict[str, str]:
    return dict(os.environ)


@pytest.mark.long
def test_embeddings_are_kept_only_when_they_are_asked_for(tmp_path: Path) -> None:
    """They are no pixels, but derived from them; and even when kept, no pixel comes along."""
    store = tmp_path / "store"
    store.mkdir()
    scenes = list(shapes.held_out(6, 50_000_000))
    for what in scenes:
        (store / f"{what.seed}.png").write_bytes(shapes.png_bytes(what))
    config = str(stand_in.write_config(tmp_path, store))
    kept = []
    for more in ([], ["--recheck", "all", "--keep-embeddings", "int8"]):
        assert (
            program("scan", "--dry-run", "--config", config, "--ledger", str(tmp_path / "ledger.db"), *more).code == 0
        )
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
            kept.append(connection.execute("SELECT count(*) FROM embeddings").fetchone()[0])
    assert kept == [0, 6]
    everything = b"".join(p.read_bytes() for p in tmp_path.glob("ledger.db*"))
    for what in scenes:
        for body in (shapes.png_bytes(what), shapes.draw(what).tobytes()):
            # Not the flat parts of a drawing, which are like any other run of equal bytes.
            pieces = [body[at : at + 16] for at in range(0, len(body) - 16, 251)]
            assert not any(piece in everything for piece in pieces if len(set(piece)) > 8)


CRASHING = """
import ctypes, os, resource, sys
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
if {piped}:
    resource.setrlimit = lambda *_: None
from fedi_safety.cli import run
if {forbid}:
    run(["--version"])
    assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0, "dumpable"  # PR_GET_DUMPABLE
os.abort()
"""


def _dumps_core(folder: Path, **steps: bool) -> bool:
    """Let a process crash as `CRASHING` says, and return whether the kernel dumped it."""
    folder.mkdir()
    arguments = [sys.executable, "-c", f"import os; os.chdir({str(folder)!r})" + CRASHING.format(**steps)]
    crashed = os.posix_spawn(sys.executable, arguments, _environment())
    _, status = os.waitpid(crashed, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGABRT
    return os.WCOREDUMP(status) or any(folder.iterdir())


def test_a_crash_of_the_program_is_never_dumped(tmp_path: Path) -> None:
    """Nor where the limit does not count, as it does not where `core_pattern` pipes a dump to a program (core(5))."""
    assert not _dumps_core(tmp_path / "limited", piped=False, forbid=True)
    assert not _dumps_core(tmp_path / "piped", piped=True, forbid=True)
    unlimited = resource.getrlimit(resource.RLIMIT_CORE)[1] == resource.RLIM_INFINITY
    if unlimited and Path("/proc/sys/kernel/core_pattern").read_text() == "core\n":
        assert _dumps_core(tmp_path / "control", piped=False, forbid=False), "this proves nothing"


@pytest.mark.long
def test_a_seal_writes_nothing_but_its_ledger_and_its_vault(tmp_path: Path) -> None:
    """Every file that is opened for writing is known, and none of them, nor the output, has a piece of the picture."""
    media, vault, scratch = tmp_path / "media", tmp_path / "vault", tmp_path / "scratch"
    for folder in (media, vault, scratch):
        folder.mkdir()
    body = jpeg_bytes("astronaut")
    (media / "a").write_bytes(body)
    (tmp_path / "faces.toml").write_text(FACES)
    config = tmp_path / "config.toml"
    config.write_text(f'policy = "{tmp_path / "faces.toml"}"\n[seal]\nrecipients = ["{public()}"]\nvault = "{vault}"\n')
    arguments = ["scan", str(media), "--act", "seal", "--without-dry-run", "--resume-acts", "--log-level", "debug"]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments, "--config", str(config), "--ledger", str(tmp_path / "ledger.db")],
        capture_output=True,
        check=True,
        env={**_environment(), "TMPDIR": str(scratch)},
    )
    text, _, report = done.stderr.rpartition(b"\n")
    seen = json.loads(report)
    assert seen["code"] == 0 and not list(media.iterdir()), done.stderr
    (sealed,) = vault.iterdir()
    written = {Path(path).name for path in on_disks(seen["written"])}
    beside = {re.sub(r"^ledger\.db(\.pass-\d+$)?", "", name) for name in written}
    # The file in the vault has no name when it is opened: what is opened is the directory.
    assert beside <= {"", ".lock", "?mode=rw", f"{sealed.name}.part"} and written & {"", f"{sealed.name}.part"}, written
    assert seen["network"] == [] and list(scratch.iterdir()) == []
    everything = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()) + done.stdout + text
    for at in range(0, len(body) - 16, 101):
        assert body[at : at + 16] not in everything
