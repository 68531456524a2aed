"""The first start installs for half a minute or more: it says how far it is, and a failure ends in one clear line."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import runpy
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = '. tools/venv.sh; ensure_venv "$PWD" requirements.lock'
NAMES = ("alpha", "beta")


def wheel(folder: Path, name: str) -> Path:
    """Make a package that holds one line."""
    path, info = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "HERE = True\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)
    return path


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose lock pins two small packages, and one that is for another system; no network is needed."""
    place, wheels = tmp_path / "clone", tmp_path / "wheels"
    place.mkdir()
    wheels.mkdir()
    (place / "tools").symlink_to(ROOT / "tools")
    pins = ["elsewhere==1.0 ; sys_platform == 'win32' --hash=sha256:" + 64 * "0"]
    for name in NAMES:
        pins.append(f"{name}==1.0 --hash=sha256:{hashlib.sha256(wheel(wheels, name).read_bytes()).hexdigest()}")
    (place / "requirements.lock").write_text("\n".join(pins) + "\n")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return place


def ensure(clone: Path) -> subprocess.CompletedProcess[str]:
    command = ["/bin/bash", "-c", SCRIPT]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.long
def test_a_failure_ends_in_one_clear_line_and_the_next_start_installs_once(clone: Path) -> None:
    lock = clone / "requirements.lock"
    whole = lock.read_text()
    lock.write_text(whole.replace("beta==1.0", "nowhere==1.0"))
    done = ensure(clone)
    assert done.returncode == 2
    *faults, last = done.stderr.splitlines()
    assert last == "fedi-safety: the installation failed; check the network and the disk, then run this again"
    assert any("nowhere" in line for line in faults) and "Traceback" not in done.stderr

    lock.write_text(whole)
    first, second = ensure(clone), ensure(clone)
    assert (first.returncode, first.stdout) == (0, ""), first
    said = first.stderr.splitlines()
    assert [line.startswith("fedi-safety: ") for line in said] == [True] * len(said), said
    assert said[-1] == "fedi-safety: ready"
    there = [".venv/bin/python", "-c", "import alpha, beta"]
    assert subprocess.run(there, cwd=clone, check=False).returncode == 0
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


# --- how far it is: with a stand-in for pip that takes its time

PIP = """\
import pathlib, sys, sysconfig, time
say = lambda text: print(text, flush=True)
site = pathlib.Path({site!r})
say("Ignoring elsewhere: markers 'sys_platform == \\"win32\\"' don't match your environment")
say("Requirement already satisfied: alpha==1.0 in /somewhere")
say("Collecting beta==1.0 (from -r requirements.lock (line 3))")
say("  Downloading beta-1.0-py3-none-any.whl (17.1 MB)")
print("WARNING: Retrying", file=sys.stderr, flush=True)
time.sleep({pause})
say("Collecting gamma==1.0 (from -r requirements.lock (line 4))")
say("Installing collected packages: beta, gamma")
for name in ("beta", "gamma"):
    (site / f"{{name}}-1.0.dist-info").mkdir(parents=True)
    (site / f"{{name}}-1.0.dist-info/RECORD").write_text("")
    time.sleep({pause})
"""
LOCK = "elsewhere==1.0 \\\n    --hash=sha256:00\nalpha==1.0 \\\n    --hash=sha256:00\nbeta==1.0\ngamma==1.0\n"
DONE = ["fetching: 1 of 2 packages (beta, 17.1 MB)", "installing: 1 of 2 packages", "installing: 2 of 2 packages"]


def standing_in(tmp_path: Path, pause: float) -> tuple[Path, list[str]]:
    """Return a lock, and the command of a pip that installs it."""
    (tmp_path / "requirements.lock").write_text(LOCK)
    (tmp_path / "pip.py").write_text(PIP.format(site=str(tmp_path / "site"), pause=pause))
    return tmp_path / "requirements.lock", [sys.executable, str(tmp_path / "pip.py")]


def test_without_a_terminal_a_plain_line_comes_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lock, pip = standing_in(tmp_path, 0.3)
    module = runpy.run_path(str(ROOT / "tools/install.py"))
    install = module["install"]
    install.__globals__.update(EVERY_S=0.02)
    monkeypatch.setitem(module["Progress"]._installed.__globals__, "sysconfig", Site(tmp_path / "site"))
    assert install(lock, pip) == 0
    said = capfd.readouterr().err
    assert "\r" not in said and "\x1b" not in said
    lines = list(dict.fromkeys(said.splitlines()))
    assert "WARNING: Retrying" in lines
    told = [line.removeprefix("fedi-safety: ") for line in lines if line.startswith("fedi-safety: ")]
    assert [line for line in told if line in DONE] == DONE, told


def test_a_long_lock_is_installed_in_shares_that_have_every_pin_once(tmp_path: Path) -> None:
    """As many as there are processors; what one of them ends with is what it all ends with."""
    module = runpy.run_path(str(ROOT / "tools/install.py"))
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text("utf-8")
        for count in (1, 2, 3):
            shares = module["split"](text, count)
            pins = [[line for line in share.splitlines() if "==" in line] for share in shares]
            assert sorted(pin for share in pins for pin in share) == sorted(
                line for line in text.splitlines() if "==" in line
            )
            assert all("--hash=sha256:" in share for share in shares)
            assert max(map(len, pins)) - min(map(len, pins)) <= 1
    (tmp_path / "requirements.lock").write_text("".join(f"p{number}==1.0\n" for number in range(5)))
    said = tmp_path / "said"
    pip = [
        *(sys.executable, "-c", "import pathlib, sys\n"
          "names = pathlib.Path(sys.argv[2]).read_text().split()\n"
          "pathlib.Path(sys.argv[1], names[0]).write_text(' '.join(names))\n"
          "sys.exit(7 if 'p1==1.0' in names else 0)"),
        *(str(said), str(tmp_path / "requirements.lock")),
    ]  # fmt: skip
    said.mkdir()
    install = module["install"]
    install.__globals__.update(_LEAST_EACH=2, _MOST_AT_ONCE=2, os=Cores())
    assert install(tmp_path / "requirements.lock", pip) == 7
    shares = sorted(path.read_text() for path in said.iterdir())
    assert shares == ["p0==1.0 p2==1.0 p4==1.0", "p1==1.0 p3==1.0"]


class Cores:
    """A machine with four of them."""

    environ = os.environ

    def sched_getaffinity(self, _pid: int) -> set[int]:
        return set(range(4))


class Site:
    """Where packages lie, for the one that counts them."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def get_path(self, _name: str) -> str:
        return str(self.place)


def on_terminal(command: list[str], *, interrupt_at: str = "") -> tuple[int, str]:
    """Run a command on a terminal of 60 columns; return its code and every byte it showed."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ["COLUMNS"] = "60"
        os.execv(command[0], command)
    said, until = "", time.monotonic() + 60
    while time.monotonic() < until:
        try:
            said += os.read(terminal, 4096).decode()
        except OSError:  # how a terminal ends
            break
        if interrupt_at and interrupt_at in said:
            os.write(terminal, b"\x03")
            interrupt_at = ""
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def test_on_a_terminal_one_line_changes_and_is_gone_at_the_end(tmp_path: Path) -> None:
    lock, pip = standing_in(tmp_path, 0.4)
    code, said = on_terminal([sys.executable, str(ROOT / "tools/install.py"), str(lock), *pip])
    assert code == 0
    drawn = re.findall(r"\r(fedi-safety: [^\x1b]*)\x1b\[K", said)
    assert f"fedi-safety: {DONE[0]}" in drawn and all(len(line) < 60 for line in drawn)
    assert said.endswith("\r\x1b[K"), "nothing of it is left"
    assert "\r\x1b[KWARNING: Retrying\r\n" in said, "what pip says of faults stands on a line of its own"


def test_ctrl_c_is_one_calm_line(clone: Path) -> None:
    """A lock that waits stands in for the network."""
    (clone / "tools").unlink()
    (clone / "tools").mkdir()
    for name in ("venv.sh", "install.py"):
        (clone / "tools" / name).symlink_to(ROOT / "tools" / name)
    pip = clone / "tools/pip-1-py3-none-any.whl/pip"
    pip.mkdir(parents=True)
    (pip / "__main__.py").write_text("import time\nprint('Collecting alpha==1.0', flush=True)\ntime.sleep(60)\n")
    command = ["/bin/bash", "-c", f'cd "{clone}"; {SCRIPT}; exit $?']
    code, said = on_terminal(command, interrupt_at="fetching: 1 of 3")
    assert code == 130, said
    assert "Traceback" not in said
    assert said.rstrip().endswith("fedi-safety: interrupted; run this again and it is installed"), said
    assert "failed" not in said
